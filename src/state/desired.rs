//! What is wanted, as the manifests say it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::{App, AppName, SecretDocs};

/// What the manifests say about one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is wanted so.
    Present(Arc<App>),
    /// Its manifest has mistakes. What was good before stays.
    Invalid {
        /// The last version without mistakes that this Berth knows.
        last_good: Option<Arc<App>>,
        /// The mistakes, in one sentence.
        problem: String,
    },
    /// No manifest names it, and that was seen on a complete reading.
    Absent,
    /// No manifest names it, but removals are held back at present.
    Held(Hold),
}

/// Why removals are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The source could not be read completely.
    Unreadable(String),
    /// Too many apps vanished at once, or the folder is not the one it was.
    Brake {
        /// The apps that would be removed.
        apps: Vec<AppName>,
        /// Why the brake engaged, as a sentence.
        cause: String,
    },
}

impl Hold {
    /// The hold as a sentence that says what to do.
    pub fn message(&self) -> String {
        match self {
            Self::Unreadable(why) => {
                format!("nothing is removed while the manifests can't be read completely: {why}")
            }
            Self::Brake { apps, cause } => {
                let names: Vec<_> = apps.iter().map(AppName::as_str).collect();
                format!(
                    "{cause}; {} would be removed ({}): run `berth confirm` to go on, or put the manifests back",
                    names.len(),
                    names.join(", ")
                )
            }
        }
    }
}

/// What is wanted of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every app that a manifest names, well or badly.
    pub apps: BTreeMap<AppName, Want>,
    /// The apps that are positively gone: a complete reading did not name them, and the brake let
    /// them pass. No other app is ever removed.
    pub removals: BTreeSet<AppName>,
    /// Why the other apps that no manifest names are not removed, when that has a cause.
    pub hold: Option<Hold>,
    /// What the manifests say of secrets.
    pub secrets: Arc<SecretDocs>,
    /// Which reading this is: the digest of all contents.
    pub revision: String,
}

impl Desired {
    /// What is wanted of `name`.
    pub fn want(&self, name: &AppName) -> Want {
        if let Some(want) = self.apps.get(name) {
            return want.clone();
        }
        if self.removals.contains(name) {
            return Want::Absent;
        }
        let unread = || Hold::Unreadable("they have not been read yet".to_owned());
        Want::Held(self.hold.clone().unwrap_or_else(unread))
    }

    /// The app as it should run now: as wanted, or as it was last good.
    pub fn app(&self, name: &AppName) -> Option<&Arc<App>> {
        match self.apps.get(name)? {
            Want::Present(app) => Some(app),
            Want::Invalid { last_good, .. } => last_good.as_ref(),
            Want::Absent | Want::Held(_) => None,
        }
    }
}
