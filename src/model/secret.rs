//! Secrets as manifests speak of them: by name. Nothing here holds a value.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::app::Origin;

/// The key of a secret that is one value.
pub const SECRET_VALUE: &str = "value";
/// What stands for an app's own token where secrets are named; no secret can be called so.
pub const HUB_TOKEN: &str = ".hub";
/// What the names of variables start with that secrets may be taken from.
pub const SECRET_VARIABLE: &str = "BERTH_SECRET_";

/// One value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretRef {
    /// The secret.
    pub secret: String,
    /// Which value of it; none is its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl SecretRef {
    /// The key, said or not.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(SECRET_VALUE)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            None => write!(f, "`{}`", self.secret),
            Some(key) => write!(f, "`{}` (key `{key}`)", self.secret),
        }
    }
}

/// What a document of kind `Secret` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// What it is called.
    pub name: String,
    /// Where its values come from.
    pub from: SecretFrom,
    /// Where that was written.
    pub origin: Origin,
}

/// Where the values of a secret come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFrom {
    /// The secret of this name in the operator's folder.
    Folder(String),
    /// The credential of this name that systemd hands over.
    Credential(String),
    /// The variable of this name in Berth's own environment.
    Variable(String),
    /// A text encrypted with age, armoured.
    Age(String),
    /// A document encrypted with SOPS: its first level are the keys.
    Sops(String),
}

/// The secrets that manifests describe, each with what is wrong with it, if something is.
pub type SecretDocs = BTreeMap<String, Result<Arc<SecretSpec>, String>>;

/// How tightly a container is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As every container of Berth: no privilege, no `NET_RAW`, nothing of the host.
    #[default]
    Baseline,
    /// Besides, not root, no capability at all, nothing of the image can be written.
    Restricted,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}
