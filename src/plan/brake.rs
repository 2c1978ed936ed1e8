//! The brake: when many apps vanish from the manifests at once, or the folder is not the one it
//! was, nothing is removed until a person confirms or the manifests come back (fault W01).

use std::collections::BTreeSet;

use crate::model::AppName;
use crate::state::Hold;

/// Above this share of the known apps, in per cent, a removal needs a person.
const SHARE_MAX: usize = 30;

/// How the folder compares with the one that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is the one it was.
    Same,
    /// Which one was read before is not known: the state was lost, or this is the first start
    /// (fault T01).
    Unknown,
    /// It is another one.
    Replaced,
}

/// What is about to vanish.
#[derive(Clone, Copy, Debug)]
pub struct Removals<'a> {
    /// Every app that is known: named before, or seen on the engine.
    pub known: &'a BTreeSet<AppName>,
    /// Every app that a manifest names now.
    pub named: &'a BTreeSet<AppName>,
    /// How the folder compares.
    pub folder: Folder,
    /// The apps whose removal a person has confirmed.
    pub confirmed: &'a BTreeSet<AppName>,
}

/// Whether removals must wait, and why. One app is a plain removal, even the last one.
pub fn brake(removals: Removals<'_>) -> Option<Hold> {
    let Removals { known, named, folder, confirmed } = removals;
    let gone: Vec<_> =
        known.iter().filter(|app| !named.contains(app) && !confirmed.contains(app)).collect();
    if gone.is_empty() {
        return None;
    }
    let is_mass = 1 < gone.len() && known.len() * SHARE_MAX < gone.len() * 100;
    let cause = match folder {
        Folder::Replaced => "the manifest folder is not the one it was".to_owned(),
        Folder::Unknown => {
            "apps run of which it is not known whether they came from this manifest folder"
                .to_owned()
        }
        Folder::Same if is_mass => {
            format!("{} of {} apps vanished from the manifests at once", gone.len(), known.len())
        }
        Folder::Same => return None,
    };
    Some(Hold::Brake { apps: gone.into_iter().cloned().collect(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> BTreeSet<AppName> {
        texts.iter().map(|text| AppName::new(text).unwrap()).collect()
    }

    fn hold(known: &[&str], named: &[&str], folder: Folder, confirmed: &[&str]) -> bool {
        let (known, named, confirmed) = (names(known), names(named), names(confirmed));
        let removals = Removals { known: &known, named: &named, folder, confirmed: &confirmed };
        brake(removals).is_some()
    }

    #[test]
    fn one_app_is_a_plain_removal_even_the_last_one() {
        assert!(!hold(&["a"], &[], Folder::Same, &[]));
        assert!(!hold(&["a", "b"], &["a"], Folder::Same, &[]));
    }

    #[test]
    fn more_than_one_and_more_than_a_third_needs_a_person() {
        assert!(hold(&["a", "b"], &[], Folder::Same, &[]));
        assert!(hold(&["a", "b", "c", "d", "e", "f"], &["a", "b", "c", "d"], Folder::Same, &[]));
        let many = ["a", "b", "c", "d", "e", "f", "g"];
        assert!(!hold(&many, &many[2..], Folder::Same, &[]));
        assert!(!hold(&["a", "b"], &[], Folder::Same, &["a", "b"]));
        assert!(hold(&["a", "b", "c"], &[], Folder::Same, &["a"]));
        // Exactly at the limit is not above it.
        let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert!(!hold(&ten, &ten[3..], Folder::Same, &[]));
        assert!(hold(&ten, &ten[4..], Folder::Same, &[]));
    }

    #[test]
    fn another_folder_removes_nothing_but_may_add() {
        assert!(hold(&["a", "b", "c", "d"], &["a", "b", "c"], Folder::Replaced, &[]));
        assert!(!hold(&["a"], &["a", "b"], Folder::Replaced, &[]));
    }

    /// Fault T01.
    #[test]
    fn without_knowing_the_folder_not_even_one_app_is_removed() {
        assert!(hold(&["a", "b"], &["a"], Folder::Unknown, &[]));
        assert!(!hold(&["a"], &["a", "b"], Folder::Unknown, &[]));
    }
}
