//! The part of a folder that a build context is made from.

use std::{fs, path::Path};

/// Which paths are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Each is the parts of a path, with `*` and `?` in them.
    wanted: Vec<Vec<String>>,
}

/// What a selection says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is wanted, with all that lies below.
    Whole,
    /// Something below it may be wanted.
    Above,
    /// Nothing of it is wanted.
    Out,
}

impl Selection {
    /// The selection of these paths in the folder `root`. None when links in the way may lead to
    /// other places of the folder: then everything has to be there.
    pub fn new(root: &Path, paths: &[String]) -> Option<Self> {
        let parts = |path: &String| path.split('/').map(ToOwned::to_owned).collect::<Vec<_>>();
        let selection = Self { wanted: paths.iter().map(parts).collect() };
        let is_plain = selection.wanted.iter().all(|parts| is_without_links(root, parts));
        is_plain.then_some(selection)
    }

    /// What becomes of a path.
    pub fn part(&self, path: &str) -> Part {
        let mut part = Part::Out;
        for wanted in &self.wanted {
            match reach(wanted, path) {
                Part::Whole => return Part::Whole,
                Part::Above => part = Part::Above,
                Part::Out => {}
            }
        }
        part
    }
}

fn reach(wanted: &[String], path: &str) -> Part {
    let mut wanted = wanted.iter();
    for name in path.split('/') {
        match wanted.next() {
            None => return Part::Whole,
            Some(pattern) if fits(pattern.as_bytes(), name.as_bytes()) => {}
            Some(_) => return Part::Out,
        }
    }
    if wanted.next().is_none() { Part::Whole } else { Part::Above }
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not fit: it takes one byte more.
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            // A character may have several bytes; `?` is any number of them, to be on the safe side.
            Some(b'*' | b'?') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if Some(byte) == name.get(seen) => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    (at, seen) = (place + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| matches!(byte, b'*' | b'?')))
}

/// Whether no link lies on the way to what fits these parts.
fn is_without_links(folder: &Path, parts: &[String]) -> bool {
    let Some((first, rest)) = parts.split_first() else { return true };
    if !first.contains(['*', '?']) {
        return is_plain(&folder.join(first), rest);
    }
    let Ok(entries) = fs::read_dir(folder) else { return true };
    entries.filter_map(Result::ok).all(|entry| {
        use std::os::unix::ffi::OsStrExt as _;
        !fits(first.as_bytes(), entry.file_name().as_bytes()) || is_plain(&entry.path(), rest)
    })
}

fn is_plain(path: &Path, rest: &[String]) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => false,
        Ok(found) if found.is_dir() => is_without_links(path, rest),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", "a"),
            ("*", ""),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*c*", "abcc"),
            ("a?c", "abc"),
            ("?", "ä"),
            ("*.t?t", "x.y.txt"),
        ] {
            assert!(fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "b"), ("a*", "ba"), ("*c", "abd"), ("a?c", "abd"), ("", "a")]
        {
            assert!(!fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn a_selection_knows_what_lies_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["src/app", "*.txt"].map(str::to_owned);
        let selection = Selection::new(folder.path(), &paths).unwrap();
        assert_eq!(selection.part("src"), Part::Above);
        assert_eq!(selection.part("src/app"), Part::Whole);
        assert_eq!(selection.part("src/app/x/y"), Part::Whole);
        assert_eq!(selection.part("src/other"), Part::Out);
        assert_eq!(selection.part("a.txt"), Part::Whole);
        assert_eq!(selection.part("d/a.txt"), Part::Out);
    }

    /// Fault B05: a link may lead to what is not selected.
    #[test]
    fn a_link_on_the_way_selects_everything() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        std::os::unix::fs::symlink("d", folder.path().join("l")).unwrap();
        let select = |path: &str| Selection::new(folder.path(), &[path.to_owned()]);
        for path in ["l", "l/x", "*/x", "?"] {
            assert_eq!(select(path), None, "{path}");
        }
        assert!(select("d/x").is_some() && select("absent/l").is_some());
    }
}
