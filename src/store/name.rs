//! What a model is called: four names, each of which is a folder.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The longest name, in bytes.
pub const NAME_MAX: usize = 128;
/// The version under whose path an app's aliases are.
pub(super) const ALIASES: &str = "aliases";

/// What stands for itself in a path.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+').remove(b'@');

/// The four names of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The project.
    pub project: String,
    /// The app.
    pub app: String,
    /// The version.
    pub version: String,
    /// The model.
    pub model: String,
}

/// Why something is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadName {
    /// Which of the four, as requests call it.
    pub part: &'static str,
    /// What it was.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What requests call the four names.
pub const PARTS: [&str; 4] = ["project_id", "app_name", "version", "model_name"];

impl Key {
    /// Checks the four names, and brings them into composed form (NFC), so that what looks alike is
    /// alike.
    pub fn new(project: &str, app: &str, version: &str, model: &str) -> Result<Self, BadName> {
        Ok(Self {
            project: name(PARTS[0], project)?,
            app: name(PARTS[1], app)?,
            version: version_name(version)?,
            model: name(PARTS[3], model)?,
        })
    }

    /// Its path in the interface.
    pub fn path(&self) -> String {
        let mut path = String::new();
        self.path_into(&mut path);
        path
    }

    /// Adds to a text its path in the interface.
    pub(super) fn path_into(&self, text: &mut String) {
        text.push_str("/models");
        for name in [&self.project, &self.app, &self.version, &self.model] {
            text.push('/');
            text.extend(utf8_percent_encode(name, PLAIN));
        }
    }

    /// Its folder, below the root.
    pub fn folder(&self) -> PathBuf {
        [&self.project, &self.app, &self.version, &self.model].iter().collect()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.project, self.app, self.version, self.model)
    }
}

/// Checks the name of a version.
pub fn version_name(text: &str) -> Result<String, BadName> {
    let found = name(PARTS[2], text)?;
    let wrong = |why| BadName { part: PARTS[2], given: text.to_owned(), why };
    if found == ALIASES {
        return Err(wrong("`aliases` is where an app's aliases are: take another name"));
    }
    if found.starts_with('@') {
        return Err(wrong("a name may not begin with `@`, which asks for a range of versions"));
    }
    Ok(found)
}

/// Checks one name.
pub fn name(part: &'static str, text: &str) -> Result<String, BadName> {
    let text = if is_nfc(text) { text.to_owned() } else { text.nfc().collect() };
    match flaw(&text) {
        None => Ok(text),
        Some(why) => Err(BadName { part, given: text, why }),
    }
}

/// What is wrong with a name.
fn flaw(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("a name may not be empty");
    }
    if NAME_MAX < text.len() {
        return Some("a name has at most 128 bytes");
    }
    if text.starts_with('.') {
        return Some("a name may not begin with a dot");
    }
    if text.trim() != text {
        return Some("a name may not begin or end with white space");
    }
    if text.contains(['/', '\\']) {
        return Some("a name may not hold `/` or `\\`");
    }
    // Among these are marks that turn the direction of text around, and that are not seen.
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
    };
    text.contains(is_hidden).then_some("a name may not hold control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_folders_of_their_own_are_refused() {
        let long = "x".repeat(129);
        for bad in [
            "",
            ".",
            "..",
            ".store",
            ".hidden",
            "a/b",
            "a\\b",
            "../x",
            "a\0",
            "a\nb",
            "a\u{7f}",
            "a\u{85}",
            "\u{202e}gnp.exe",
            "a\u{200b}",
            " a",
            "a ",
            "a\u{fffd}",
            &long,
        ] {
            assert!(name("version", bad).is_err(), "{bad:?}");
        }
        let most = "x".repeat(128);
        for good in ["a", "a..b", "1.0.0", "v1+cu121", "läuft", "モデル", "a b", "-x", "~", &most]
        {
            assert_eq!(name("version", good).as_deref(), Ok(good), "{good:?}");
        }
    }

    #[test]
    fn what_looks_alike_is_alike() {
        let composed = Key::new("p", "caf\u{e9}", "1", "m").unwrap();
        assert_eq!(Key::new("p", "cafe\u{301}", "1", "m"), Ok(composed));
        // The limit is that of what is kept.
        let wide = "e\u{301}".repeat(64);
        assert_eq!(name("model_name", &wide).map(|name| name.len()), Ok(128));
    }

    #[test]
    fn versions_are_no_words_of_the_interface() {
        assert!(version_name("aliases").is_err() && version_name("@^1").is_err());
        assert_eq!(
            Key::new("p", "aliases", "1", "aliases").map(|k| k.to_string()).as_deref(),
            Ok("p/aliases/1/aliases")
        );
    }
}
