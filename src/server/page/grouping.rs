//! The apps of the first screen in groups: by the folder of their manifests, or by a label.

use std::collections::BTreeSet;

use crate::record::Entry;

/// How many labels are offered.
const LABELS_MAX: usize = 8;
/// What stands between a group and the place in it: before all that titles hold.
const BETWEEN: char = '\t';

/// What the apps are grouped by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Not at all.
    #[default]
    None,
    /// The folder that the manifest is in.
    Folder,
    /// The value of this label.
    Label(String),
}

impl Grouping {
    /// Reads `folder` or `label:NAME`; anything else groups nothing.
    pub(super) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            None if text == "folder" => Self::Folder,
            Some(("label", name)) if !name.is_empty() => Self::Label(name.to_owned()),
            _ => Self::None,
        }
    }

    /// As [`Grouping::parse`] reads it.
    pub(super) fn word(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Folder => "folder".to_owned(),
            Self::Label(name) => format!("label:{name}"),
        }
    }

    /// The group of an app; none where nothing is grouped.
    pub(super) fn of(&self, entry: &Entry) -> Option<String> {
        let app = entry.app.as_deref();
        match self {
            Self::None => None,
            Self::Folder => {
                let file = app.map_or("", |app| app.origin.file.as_str());
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                Some(if folder.is_empty() {
                    "the top folder".to_owned()
                } else {
                    folder.to_owned()
                })
            }
            Self::Label(name) => {
                let value = app.and_then(|app| app.labels.get(name));
                Some(value.map_or_else(|| format!("no {name}"), |value| format!("{name}={value}")))
            }
        }
    }

    /// What a place in the list begins with, so that groups stay together.
    pub(super) fn prefix(&self, entry: &Entry) -> String {
        self.of(entry).map_or_else(String::new, |group| format!("{group}{BETWEEN}"))
    }
}

/// What there is to group by, with what it is called; nothing where all apps are alike.
pub(super) fn offered<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<(Grouping, String)> {
    let (mut folders, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        folders.extend(Grouping::Folder.of(entry));
        labels.extend(entry.app.iter().flat_map(|app| app.labels.keys()));
    }
    let mut offered = Vec::new();
    if 1 < folders.len() {
        offered.push((Grouping::Folder, "Folder".to_owned()));
    }
    let labels = labels.into_iter().take(LABELS_MAX);
    offered.extend(labels.map(|name| (Grouping::Label(name.clone()), name.clone())));
    if !offered.is_empty() {
        offered.insert(0, (Grouping::None, "Nothing".to_owned()));
    }
    offered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_groups_nothing() {
        for text in ["", "label:", "colour", "label"] {
            assert_eq!(Grouping::parse(text), Grouping::None, "{text}");
        }
        for grouping in [Grouping::Folder, Grouping::Label("team".to_owned()), Grouping::None] {
            assert_eq!(Grouping::parse(&grouping.word()), grouping);
        }
    }
}
