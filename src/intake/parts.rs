//! Removals, source by source: each source answers for the apps that came from it.
//!
//! A single folder is one group of all apps. With several sources an app belongs to the one that
//! holds its last good manifest. One that came from a source that is not configured any more is
//! held back until a person confirms: another repository took its place (fault W01).

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::{Part, Snapshot};
use crate::model::AppName;
use crate::plan::Folder;

/// Apps whose removal is judged together.
pub(super) struct Group<'a> {
    /// The source that they came from; none is all of a single folder, or no source of these.
    pub(super) part: Option<&'a Part>,
    /// The apps that are known.
    pub(super) known: BTreeSet<AppName>,
    /// How their source compares with what was read before.
    pub(super) folder: Folder,
    /// Why nothing of it may be removed.
    pub(super) unreadable: Option<String>,
    /// Whether they came from sources that are not among these.
    is_foreign: bool,
}

impl Group<'_> {
    /// Why the brake holds its apps, with the source named where there are several.
    pub(super) fn cause(&self, cause: String) -> String {
        match (self.part, self.is_foreign) {
            (Some(part), _) if !part.prefix.is_empty() => format!("{} ({cause})", part.name),
            (_, true) => {
                "their manifests came from a source that is not configured any more".to_owned()
            }
            _ => cause,
        }
    }

    /// Whether a file is this source's.
    pub(super) fn has(&self, file: &str) -> bool {
        self.part.is_none_or(|part| part.has(file))
    }
}

/// How a source compares with those that were read before, given their identities.
fn compare(known: Option<&str>, identity: &str) -> Folder {
    match known {
        None => Folder::Unknown,
        Some(known) if known == identity || known.lines().any(|line| line == identity) => {
            Folder::Same
        }
        Some(_) => Folder::Replaced,
    }
}

/// The groups of these apps. `home` tells the file of an app's last good manifest.
pub(super) fn groups<'a>(
    snapshot: &'a Snapshot,
    known: Option<&str>,
    apps: &BTreeSet<AppName>,
    home: impl Fn(&AppName) -> Option<String>,
) -> Vec<Group<'a>> {
    if snapshot.parts.is_empty() {
        let folder = compare(known, &snapshot.identity);
        let known = apps.clone();
        return vec![Group { part: None, known, folder, unreadable: None, is_foreign: false }];
    }
    let group = |part: &'a Part| Group {
        part: Some(part),
        known: BTreeSet::new(),
        folder: compare(known, &part.identity),
        unreadable: part.error.clone(),
        is_foreign: false,
    };
    let mut groups: Vec<_> = snapshot.parts.iter().map(group).collect();
    let stray = |folder, is_foreign| Group {
        part: None,
        known: BTreeSet::new(),
        folder,
        unreadable: snapshot.trouble(),
        is_foreign,
    };
    // From a source that is not among these; and from nobody knows where.
    let mut foreign = stray(Folder::Replaced, true);
    let of_unknown = if known.is_none() { Folder::Unknown } else { Folder::Same };
    let mut unknown = stray(of_unknown, false);
    let mut homes = BTreeMap::new();
    for app in apps {
        homes.insert(app, home(app));
    }
    for (app, file) in homes {
        let group = match file {
            None => &mut unknown,
            Some(file) => match groups.iter_mut().find(|group| group.has(&file)) {
                Some(group) => group,
                None => &mut foreign,
            },
        };
        group.known.insert(app.clone());
    }
    groups.extend([foreign, unknown]);
    groups
}

/// The identities to be remembered: those of sources that hold nothing back, and those that were
/// remembered before.
pub(super) fn identities(
    snapshot: &Snapshot,
    known: Option<&str>,
    held: &[&Part],
) -> Option<String> {
    if snapshot.parts.is_empty() {
        return Some(snapshot.identity.clone());
    }
    let is_noted = |part: &&Part| {
        compare(known, &part.identity) == Folder::Same && !part.identity.is_empty()
            || part.is_read && part.error.is_none() && !held.contains(part)
    };
    let noted: Vec<_> =
        snapshot.parts.iter().filter(is_noted).map(|part| part.identity.as_str()).collect();
    (!noted.is_empty()).then(|| noted.join("\n"))
}
