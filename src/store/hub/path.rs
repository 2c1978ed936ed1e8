//! Paths in a repository, and the names of models that they are.
//!
//! A model's folder is one name below its version, so what a path has and a name may not is written
//! in percent: `onnx/model.onnx` is kept as `onnx%2Fmodel.onnx`.

use unicode_normalization::UnicodeNormalization as _;

use super::super::{Error, NAME_MAX, entry::Entry, name};
use crate::model::Digest;

/// The longest path, in bytes.
const PATH_MAX: usize = 1024;
/// How much of a long path its name begins with; a mark and a digest follow.
const HEAD_MAX: usize = 100;

/// Checks a path of a repository, and brings it into composed form (NFC).
pub fn repo_path(text: &str) -> Result<String, Error> {
    let path: String = text.nfc().collect();
    let wrong = |why: &str| Error::Bad(format!("`{path}` is no path: {why}"));
    if path.is_empty() || PATH_MAX < path.len() {
        return Err(wrong("it has from 1 to 1024 bytes"));
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return Err(wrong("it may not hold `\\` or control characters"));
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("its parts may not be empty, `.` or `..`"));
    }
    name("path", &encoded(&path))?;
    Ok(path)
}

/// Checks the name of a branch or tag.
pub fn ref_name(text: &str) -> Result<String, Error> {
    let found = repo_path(text)?;
    super::super::version_name(&version_of(&found))?;
    let is_id = found.len() == 40 && found.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id || found == super::super::resolve::LATEST {
        return Err(Error::Bad(format!("`{found}` can't be a branch or tag")));
    }
    Ok(found)
}

/// The version that a branch is.
pub(super) fn version_of(branch: &str) -> String {
    encoded(branch)
}

/// The branch that a version is.
pub(super) fn branch_of(version: &str) -> String {
    decoded(version).unwrap_or_else(|| version.to_owned())
}

/// The name of the model that is at a path.
pub fn encoded(path: &str) -> String {
    let mut name = String::with_capacity(path.len() + 8);
    let last = path.chars().count().saturating_sub(1);
    for (at, c) in path.chars().enumerate() {
        let is_edge = at == 0 || at == last;
        match c {
            '/' => name.push_str("%2F"),
            '%' => name.push_str("%25"),
            '.' if at == 0 => name.push_str("%2E"),
            '@' if at == 0 => name.push_str("%40"),
            ' ' if is_edge => name.push_str("%20"),
            c => name.push(c),
        }
    }
    if name.len() <= NAME_MAX {
        return name;
    }
    let mut end = HEAD_MAX;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // A mark that is cut in two is left out.
    while name[..end].rfind('%').is_some_and(|at| end < at + 3) {
        end -= 1;
    }
    format!("{}~{}", name[..end].trim_end(), Digest::of_bytes(path.as_bytes()).short(16))
}

/// The path that a name was made of, unless it was made otherwise.
fn decoded(name: &str) -> Option<String> {
    let path = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    (encoded(&path) == name).then(|| path.into_owned())
}

/// The path at which a model is shown.
pub fn shown(entry: &Entry) -> String {
    let name = &entry.key.model;
    let said = entry.filename();
    // What was cut off a long path is only said there, and the rest reads like a path of its own.
    let said = said.filter(|said| encoded(said) == *name).map(str::to_owned);
    said.or_else(|| decoded(name)).unwrap_or_else(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_name_and_comes_back() {
        for (path, name) in [
            ("config.json", "config.json"),
            ("onnx/model.onnx", "onnx%2Fmodel.onnx"),
            ("50%/a", "50%25%2Fa"),
            (".gitattributes", "%2Egitattributes"),
            ("a/.b", "a%2F.b"),
            ("sub dir/ü ñ+%41.txt", "sub dir%2Fü ñ+%2541.txt"),
            (" x ", "%20x%20"),
        ] {
            assert_eq!(encoded(path), name);
            assert_eq!(decoded(name).as_deref(), Some(path));
            assert_eq!(repo_path(path).unwrap(), path);
        }
        assert_eq!(decoded("50%"), None);
        assert_eq!(decoded("%41"), None, "it was not made so");
    }

    #[test]
    fn long_paths_have_names_of_their_own() {
        let long = format!("{}/é", "deep/".repeat(60));
        let other = format!("{long}2");
        assert!(encoded(&long).len() <= NAME_MAX && encoded(&long) != encoded(&other));
        repo_path(&long.replace("//", "/")).unwrap();
        for length in 90..130 {
            let path = "%".repeat(length);
            name("path", &encoded(&path)).unwrap();
        }
    }

    #[test]
    fn tricks_are_no_paths() {
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
        ] {
            assert!(repo_path(bad).is_err(), "{bad:?}");
        }
        assert!(repo_path(&"x".repeat(1025)).is_err());
        for bad in ["aliases", "latest", &"a1".repeat(20), "a..", "x/../y"] {
            let is_bad = ref_name(bad).is_err();
            assert_eq!(is_bad, bad != "a..", "{bad}");
        }
        assert_eq!(ref_name("exp/a-1").unwrap(), "exp/a-1");
    }
}
