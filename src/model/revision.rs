//! What a manifest may name of a repository: a branch, a tag, a commit, or the highest of a range
//! of versions.

use semver::{Version, VersionReq};

/// How many digits a shortened commit has at least.
const SHORT_MIN: usize = 7;
/// How many digits a commit has.
const FULL: usize = 40;

/// Whether this is a commit with all its digits.
pub fn is_full_commit(text: &str) -> bool {
    text.len() == FULL && is_hex(text)
}

/// Whether this may be a commit of which the first digits were written.
pub fn is_short_commit(text: &str) -> bool {
    (SHORT_MIN..FULL).contains(&text.len()) && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A range of versions: `>=1.2 <2`, `^1.2`, `~1.4`, `=1.2.3`, `1.x`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange(VersionReq);

impl VersionRange {
    /// The range, when `text` has the form of one. The error says what is wrong with it.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let begins = text.starts_with(['^', '~', '>', '<', '=', '*']);
        if !begins && !has_wildcard(text) {
            return None;
        }
        // Between two comparisons people write a comma, a space or both.
        let mut parts: Vec<String> = Vec::new();
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            match parts.last_mut() {
                Some(last) if last.ends_with(['^', '~', '>', '<', '=']) => last.push_str(word),
                _ => parts.push(word.to_owned()),
            }
        }
        let parts: Vec<_> = parts.iter().map(|part| without_v(part)).collect();
        let parsed = VersionReq::parse(&parts.join(", "));
        Some(parsed.map(Self).map_err(|error| error.to_string()))
    }

    /// The tag with the highest version of the range. Versions before a release count only where
    /// the range names one.
    pub fn highest<'a>(&self, tags: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let versions = tags.filter_map(|tag| Some((version(tag)?, tag)));
        let fitting = versions.filter(|(version, _)| self.0.matches(version));
        fitting.max().map(|(_, tag)| tag)
    }
}

/// The version that a tag stands for: `v1.2.3`, `1.2.3`, or shorter ones.
pub fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 2_usize.checked_sub(numbers.matches('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

/// `1.x`, `1.2.*`: numbers with a wildcard at their end.
fn has_wildcard(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let Some((numbers, "x" | "X" | "*")) = text.rsplit_once('.') else { return false };
    numbers.split('.').all(|number| {
        matches!(number, "x" | "X" | "*")
            || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A comparison without the `v` before its number.
fn without_v(part: &str) -> String {
    let at = part.find(|c| !matches!(c, '^' | '~' | '>' | '<' | '='));
    let (operator, number) = part.split_at(at.unwrap_or(part.len()));
    let number = number.strip_prefix(['v', 'V']).unwrap_or(number);
    format!("{operator}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&str; 11] = [
        "v1.1.9",
        "v1.2.0",
        "1.4.2",
        "v1.10.0",
        "v2.0.0-rc.1",
        "v2.0.0",
        "v3.0.0-beta.2",
        "v4",
        "latest",
        "release-9.9.9",
        "v1.2.3.4",
    ];

    fn highest(range: &str) -> Option<&'static str> {
        VersionRange::parse(range).unwrap().unwrap().highest(TAGS.into_iter())
    }

    #[test]
    fn the_highest_version_of_a_range_wins() {
        assert_eq!(highest(">=1.2 <2"), Some("v1.10.0"));
        assert_eq!(highest(">= v1.2, < 1.10"), Some("1.4.2"));
        assert_eq!(highest("^1.2"), Some("v1.10.0"));
        assert_eq!(highest("~1.4"), Some("1.4.2"));
        assert_eq!(highest("=1.2.0"), Some("v1.2.0"));
        assert_eq!(highest("1.x"), Some("v1.10.0"));
        assert_eq!(highest("1.1.*"), Some("v1.1.9"));
        assert_eq!(highest("*"), Some("v4"));
        assert_eq!(highest("^5"), None);
    }

    #[test]
    fn what_comes_before_a_release_counts_only_where_it_is_named() {
        assert_eq!(highest("^3"), None);
        assert_eq!(highest(">=3.0.0-alpha, <4"), Some("v3.0.0-beta.2"));
        assert_eq!(highest(">=2.0.0-rc.1 <3"), Some("v2.0.0"));
    }

    #[test]
    fn names_and_commits_are_no_ranges() {
        for name in ["main", "v1.2.3", "1.2", "release/1.x", "feature-x", "x", "a1b2c3d"] {
            assert_eq!(VersionRange::parse(name), None, "{name}");
        }
        for broken in [">=", "^main", ">=1.2 || <1", "<1 2 -"] {
            assert!(VersionRange::parse(broken).unwrap().is_err(), "{broken}");
        }
    }

    #[test]
    fn commits_are_told_by_their_digits() {
        assert!(is_full_commit(&"a1".repeat(20)));
        assert!(!is_full_commit("a1a1a1a"));
        assert!(is_short_commit("a1a1a1a"));
        assert!(!is_short_commit("a1a1a1") && !is_short_commit("main123"));
        assert!(!is_short_commit(&"a1".repeat(20)));
    }
}
