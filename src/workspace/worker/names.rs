//! The names that a repository may use for its files.

/// Why a file or folder of this name is never written (faults G06, G14).
pub(super) fn problem(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Some("has a name that leads elsewhere");
    }
    if name.contains(&0) || 255 < name.len() {
        return Some("has a name that no file can have");
    }
    let text = String::from_utf8_lossy(name).to_lowercase();
    // Some file systems leave out invisible characters, and what follows a colon, a dot or a
    // space at the end.
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let plain = visible.split(':').next().unwrap_or("").trim_end_matches(['.', ' ']);
    (plain == ".git" || plain == "git~1").then_some("has the name of git's own folder")
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// The form in which two names are the same for a file system that ignores case.
pub(super) fn folded(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults G06, G14.
    #[test]
    fn names_that_mean_something_else_elsewhere_are_refused() {
        for bad in ["", ".", "..", "a/b", ".git", ".GIT", ".git. ", ".g\u{200c}it", "GIT~1"] {
            assert!(problem(bad.as_bytes()).is_some(), "{bad:?}");
        }
        assert!(problem(b".git::$INDEX_ALLOCATION").is_some());
        assert!(problem(b"a\0b").is_some());
        for good in [".gitignore", ".github", "git", "ä", "a b", "...", "-x"] {
            assert!(problem(good.as_bytes()).is_none(), "{good:?}");
        }
    }
}
