//! What the operator lets into the store, and out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Error, Store,
    entry::{About, Entry},
    name::Key,
    reports::Inspected,
};
use crate::inspect::Safety;

/// What becomes of a file that runs code when it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Danger {
    /// Nothing is said of it.
    Allow,
    /// It is told with every answer, and as an event.
    #[default]
    Warn,
    /// It is neither taken nor given.
    Block,
}

/// What the operator lets in and out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of dangerous files, where nothing else is said.
    pub danger: Danger,
    /// What becomes of them in these projects.
    pub projects: BTreeMap<String, Danger>,
    /// The endings that names of files may have, such as `.safetensors`; none is every one.
    pub endings: BTreeSet<String>,
}

impl Policy {
    /// What becomes of dangerous files in a project.
    pub fn of(&self, project: &str) -> Danger {
        self.projects.get(project).copied().unwrap_or(self.danger)
    }

    /// Whether a file may be called so. A name without an ending says nothing, unless no name has
    /// one.
    fn check_names(&self, names: &[&str], is_all: bool) -> Result<(), Error> {
        if self.endings.is_empty() {
            return Ok(());
        }
        let mut has_ending = false;
        for name in names {
            let name = name.to_lowercase();
            let Some((_, ending)) = name.rsplit_once('.') else { continue };
            has_ending = true;
            let ending = format!(".{ending}");
            if !self.endings.contains(&ending) {
                return Err(Error::Ending(format!(
                    "no file whose name ends with `{ending}` is taken"
                )));
            }
        }
        if is_all && !has_ending {
            let known: Vec<_> = self.endings.iter().map(String::as_str).collect();
            let detail = format!("the file's name must end with one of {}", known.join(", "));
            return Err(Error::Ending(detail));
        }
        Ok(())
    }
}

/// Whether it is refused where dangerous files are. What could not be read to its end is, if its
/// format may run code: it may run from its beginning.
fn is_refused(inspected: Inspected) -> bool {
    match inspected.safety {
        Safety::Dangerous => true,
        Safety::Inconclusive => inspected.format.may_run_code(),
        Safety::Safe | Safety::Suspicious => false,
    }
}

impl Store {
    /// Whether a model of this name may be stored, as far as its name says.
    pub(super) fn check_name(&self, key: &Key) -> Result<(), Error> {
        self.settings.policy.check_names(&[&key.model], false)
    }

    /// Whether a file may be stored, now that all its names are known.
    pub(super) fn check_ending(&self, key: &Key, about: &About) -> Result<(), Error> {
        let named = about.original_filename.as_deref();
        let names: Vec<_> = [Some(key.model.as_str()), named].into_iter().flatten().collect();
        self.settings.policy.check_names(&names, true)
    }

    /// Whether a content may be stored in a project.
    pub(super) fn check_content(&self, key: &Key, inspected: Inspected) -> Result<(), Error> {
        if self.settings.policy.of(&key.project) == Danger::Block && is_refused(inspected) {
            return Err(Error::Blocked(format!(
                "the file is {} to load, and the project `{}` takes no such files",
                inspected.safety.word(),
                key.project
            )));
        }
        Ok(())
    }

    /// Whether the content of a model may be given to anybody: it is not rotten, and not dangerous
    /// where that counts. Where it counts, what nobody has looked into yet waits.
    pub fn check_served(&self, entry: &Entry) -> Result<(), Error> {
        if let Some(rotten) = &entry.rotten {
            return Err(Error::Rotten(format!(
                "Model is quarantined: its content was found to have changed on {}; upload it again",
                rotten.found_at
            )));
        }
        if self.settings.policy.of(&entry.key.project) != Danger::Block {
            return Ok(());
        }
        let Some(inspected) = entry.inspected else { return Err(Error::Unscanned) };
        self.check_content(&entry.key, inspected).map_err(|_| {
            Error::Blocked(format!(
                "the model is {} to load, and the project `{}` gives no such files",
                inspected.safety.word(),
                entry.key.project
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Format;

    #[test]
    fn endings_are_checked_of_every_name_that_has_one() {
        let endings = [".gguf".to_owned(), ".json".to_owned()].into();
        let policy = Policy { endings, ..Policy::default() };
        for (names, is_all, is_good) in [
            (&["m.gguf"][..], true, true),
            (&["M.GGUF"], true, true),
            (&["m", "m.gguf"], true, true),
            (&["m"], false, true),
            (&["m"], true, false),
            (&["m.pkl"], false, false),
            (&["m.gguf", "m.pkl"], true, false),
            (&["m.pkl", "m.gguf"], true, false),
            (&["m.gguf.pkl"], true, false),
            (&["m."], true, false),
        ] {
            assert_eq!(policy.check_names(names, is_all).is_ok(), is_good, "{names:?} {is_all}");
        }
        assert!(Policy::default().check_names(&["m.pkl"], true).is_ok());
    }

    #[test]
    fn what_may_run_unread_is_refused_and_what_only_looks_odd_is_not() {
        for (safety, format, refused) in [
            (Safety::Dangerous, Format::Unknown, true),
            (Safety::Inconclusive, Format::Pickle, true),
            (Safety::Inconclusive, Format::Unknown, false),
            (Safety::Inconclusive, Format::Safetensors, false),
            (Safety::Suspicious, Format::Pickle, false),
            (Safety::Safe, Format::Pytorch, false),
        ] {
            assert_eq!(is_refused(Inspected { format, safety }), refused, "{safety:?} {format:?}");
        }
    }
}
