//! App names.

use std::fmt;

/// The longest name an app may have. Container names append nine characters.
const NAME_LENGTH_MAX: usize = 40;

/// The name of an app: a DNS label of at most 40 characters that starts with a letter.
///
/// A name that could be read as the prefix of a container id (12 or more hexadecimal digits and
/// nothing else) is refused, because the engine resolves ids and names in one namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct AppName(String);

/// Why a text is not an app name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name may not be empty")]
    Empty,
    /// Longer than 40 characters.
    #[error("a name has at most {NAME_LENGTH_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside `a-z`, `0-9`, `-`, or a wrong first or last one.
    #[error(
        "a name consists of lower-case letters, digits and `-`, starts with a letter and ends with a letter or digit"
    )]
    Characters,
    /// Reads like a container id.
    #[error("a name of 12 or more hexadecimal digits reads like a container id")]
    LooksLikeId,
}

impl AppName {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if NAME_LENGTH_MAX < text.chars().count() {
            return Err(NameError::TooLong(text.chars().count()));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !text.chars().all(legal) || !starts_well || text.ends_with('-') {
            return Err(NameError::Characters);
        }
        if 12 <= text.len() && text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(NameError::LooksLikeId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "chat", "sd-ui", "a1", "x-9"] {
            assert!(AppName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a-", "a_b", "a.b", "ä", "a/b", &"a".repeat(41)] {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
    }

    /// Fault D19: a name that is also another container's id prefix.
    #[test]
    fn a_name_that_reads_like_an_id_is_refused() {
        assert_eq!(AppName::new("abcdefabcdef"), Err(NameError::LooksLikeId));
        assert!(AppName::new("abcdefabcde").is_ok());
    }
}
