//! Versions in order, and ranges of them.

use std::cmp::Ordering;

use semver::{Version, VersionReq};

/// Reads a version as people write them: `v1`, `1.2`, `1.2.3-rc.1`.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let core_end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(core_end);
    let missing = 2_usize.checked_sub(core.matches('.').count())?;
    Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

/// Which of two versions is the later one. What is a version comes after what is none.
pub(super) fn order(one: &str, other: &str) -> Ordering {
    match (read(one), read(other)) {
        (Some(a), Some(b)) => a.cmp(&b).then_with(|| one.cmp(other)),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => one.cmp(other),
    }
}

/// Whether a version is finished, and not on the way to one.
pub(super) fn is_release(text: &str) -> bool {
    read(text).is_some_and(|version| version.pre.is_empty())
}

/// A range of versions: `^1.2`, `~1`, `1.x`, `>=1,<2`.
#[derive(Clone, Debug)]
pub(super) struct Range(VersionReq);

impl Range {
    /// Reads a range.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // A bare number asks for that release and what is compatible with it, as elsewhere.
        VersionReq::parse(text).ok().map(Self)
    }

    /// Whether a version is in it.
    pub(super) fn has(&self, version: &str) -> bool {
        read(version).is_some_and(|version| self.0.matches(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for (text, full) in [
            ("1", "1.0.0"),
            ("v1.2", "1.2.0"),
            ("V1.2.3", "1.2.3"),
            ("1.2-rc.1", "1.2.0-rc.1"),
            ("2.0.1+cu121", "2.0.1+cu121"),
        ] {
            assert_eq!(read(text), Version::parse(full).ok(), "{text}");
        }
        for none in ["", "v", "main", "1.2.3.4", "2024-05-01x.", "1..2"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn later_versions_come_later() {
        let mut all = vec!["1.10.0", "main", "1.9.0", "v2", "2.0.0-rc.1", "dev", "1.9"];
        all.sort_by(|a, b| order(a, b));
        assert_eq!(all, ["dev", "main", "1.9", "1.9.0", "1.10.0", "2.0.0-rc.1", "v2"]);
        assert!(is_release("1.2") && !is_release("1.2-rc.1") && !is_release("main"));
    }

    #[test]
    fn a_range_has_what_it_says() {
        for (range, has, has_not) in [
            ("^1.2", "1.9.0", "2.0.0"),
            ("~1", "1.9.9", "2.0.0"),
            ("1.x", "v1.3", "2.0"),
            (">=1,<2", "1.0", "2.0.0"),
            ("^1.2", "1.2", "1.3.0-rc.1"),
            ("*", "7", "main"),
        ] {
            let range = Range::parse(range).unwrap();
            assert!(range.has(has) && !range.has(has_not), "{range:?}");
        }
        assert!(Range::parse("latest").is_none() && Range::parse("^").is_none());
    }
}
