//! What a repository says that it has: its branches, tags and HEAD.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, short},
    protocol::Had,
};
use crate::model::{VersionRange, is_full_commit, is_short_commit, version};

const BRANCH: &str = "refs/heads/";
const TAG: &str = "refs/tags/";
const HEAD: &str = "HEAD";
/// What a server adds to the name of a tag that is an object of its own, for the commit it names.
const PEELED: &str = "^{}";
/// How many names an error lists.
const NAMES_MAX: usize = 8;

/// What a repository has, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heads {
    /// Every name with its commit.
    names: BTreeMap<String, String>,
    /// The branch that HEAD is.
    head: Option<String>,
}

/// What a text of a manifest turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// What to ask the server for: a full name, or a commit that has none.
    pub(super) name: String,
    /// The commit.
    pub(super) commit: String,
    /// What it is, for people.
    pub(super) what: String,
}

/// What a text may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// It is this.
    Found(Found),
    /// It may be a commit that no name stands for; the whole history tells.
    Commit,
    /// It is nothing.
    Missing,
}

impl Heads {
    /// Takes what was listed: names with their commits, and the branch that HEAD is.
    pub(super) fn new(names: BTreeMap<String, String>, head: Option<String>) -> Self {
        Self { names, head }
    }

    /// The commit of a full name.
    pub(super) fn commit_of(&self, name: &str) -> Option<&String> {
        self.names.get(&format!("{name}{PEELED}")).or_else(|| self.names.get(name))
    }

    /// A name of this commit.
    pub(super) fn name_of(&self, commit: &str) -> Option<&str> {
        let mut names = self.names.iter();
        let named = names.find(|(name, id)| *id == commit && !name.ends_with(PEELED));
        named.map(|(name, _)| name.as_str())
    }

    /// What `reference` is: a branch first, as `git clone` does, then a tag, then a commit. None
    /// is HEAD.
    pub(super) fn seek(&self, reference: Option<&str>) -> Sought {
        let Some(reference) = reference else { return self.found(HEAD) };
        if is_full_commit(reference) {
            return self.tip(&reference.to_ascii_lowercase());
        }
        for name in full_names(reference) {
            if self.names.contains_key(&name) {
                return self.found(&name);
            }
        }
        if let Some(Ok(range)) = VersionRange::parse(reference) {
            return match range.highest(self.tags()) {
                Some(tag) => self.found(&format!("{TAG}{tag}")),
                None => Sought::Missing,
            };
        }
        if !is_short_commit(reference) {
            return Sought::Missing;
        }
        let digits = reference.to_ascii_lowercase();
        let fitting = self.names.values().filter(|id| id.starts_with(&digits));
        let fitting: BTreeSet<_> = fitting.collect();
        match fitting.len() {
            1 => fitting.first().map_or(Sought::Commit, |commit| self.tip(commit)),
            _ => Sought::Commit,
        }
    }

    fn found(&self, name: &str) -> Sought {
        let Some(commit) = self.commit_of(name) else { return Sought::Missing };
        let branch = if name == HEAD { self.head.as_deref() } else { Some(name) };
        let what = branch.map_or_else(|| HEAD.to_owned(), described);
        Sought::Found(Found { name: name.to_owned(), commit: commit.clone(), what })
    }

    /// A commit by its id. Servers give what has a name more readily.
    fn tip(&self, commit: &str) -> Sought {
        let name = self.name_of(commit).unwrap_or(commit).to_owned();
        let what = described_commit(commit);
        Sought::Found(Found { name, commit: commit.to_owned(), what })
    }

    /// Refuses a tag that names another commit than before, and a version that came down because
    /// a higher one is gone (fault G08).
    pub(super) fn check_moved(&self, had: &Had, found: &Found, url: &str) -> Result<(), Error> {
        let Some(tag) = had.what.strip_prefix("tag ") else { return Ok(()) };
        let (url, what, from) = (url.to_owned(), had.what.clone(), short(&had.commit));
        if had.what == found.what {
            let to = short(&found.commit);
            let moved = Error::TagMoved { url, what, from, to };
            return if had.commit == found.commit { Ok(()) } else { Err(moved) };
        }
        let new = found.what.strip_prefix("tag ").unwrap_or_default();
        if version(tag) <= version(new) || self.names.contains_key(&format!("{TAG}{tag}")) {
            return Ok(());
        }
        let hint = format!("; `berth rebuild` takes {}", found.what);
        Err(Error::RefGone { url, what, commit: from, hint })
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.names.keys().filter_map(|name| name.strip_prefix(TAG));
        tags.filter(|tag| !tag.ends_with(PEELED))
    }

    /// The error for a text that is nothing here. `aside` ends what it says is there.
    pub(super) fn missing(&self, url: &str, reference: Option<&str>, aside: &str) -> Error {
        let branches = self.names.keys().filter_map(|name| name.strip_prefix(BRANCH));
        let branches = list(branches.map(ToOwned::to_owned).collect());
        let is_range = reference.is_some_and(|text| VersionRange::parse(text).is_some());
        let hint = match branches {
            None => "; the repository is empty".to_owned(),
            Some(_) if is_range => match self.versions() {
                Some(tags) => format!("; versions there: {tags}"),
                None => "; none of its tags is a version".to_owned(),
            },
            Some(names) => format!("; branches there: {names}"),
        };
        let (url, hint) = (url.to_owned(), format!("{hint}{aside}"));
        Error::RefNotFound { url, reference: reference.unwrap_or(HEAD).to_owned(), hint }
    }

    /// The newest versions among the tags.
    fn versions(&self) -> Option<String> {
        let mut tags: Vec<_> = self.tags().filter_map(|tag| Some((version(tag)?, tag))).collect();
        tags.sort();
        list(tags.into_iter().rev().map(|(_, tag)| tag.to_owned()).collect())
    }
}

/// What is said of a commit that was asked for by its id.
pub(super) fn described_commit(commit: &str) -> String {
    format!("commit {}", short(commit))
}

fn described(name: &str) -> String {
    if let Some(branch) = name.strip_prefix(BRANCH) {
        return format!("branch {branch}");
    }
    name.strip_prefix(TAG).map_or_else(|| name.to_owned(), |tag| format!("tag {tag}"))
}

fn full_names(reference: &str) -> Vec<String> {
    let mut names = vec![format!("{BRANCH}{reference}"), format!("{TAG}{reference}")];
    if reference.starts_with("refs/") {
        names.insert(0, reference.to_owned());
    }
    names
}

/// The first of some names, for an error.
pub(super) fn list(names: Vec<String>) -> Option<String> {
    let more = if NAMES_MAX < names.len() { ", …" } else { "" };
    let shown: Vec<_> = names.into_iter().take(NAMES_MAX).collect();
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let id = |digit: &str| digit.repeat(40);
        let names = [
            ("HEAD", id("a")),
            ("refs/heads/main", id("a")),
            ("refs/heads/v1", id("b")),
            ("refs/tags/v1", id("c")),
            ("refs/tags/v1.2.0", id("d")),
            ("refs/tags/v1.2.0^{}", id("e")),
            ("refs/heads/1.x", id("f")),
        ];
        let names = names.into_iter().map(|(name, id)| (name.to_owned(), id));
        Heads::new(names.collect(), Some("refs/heads/main".to_owned()))
    }

    fn seek(reference: &str) -> Option<(String, String)> {
        match heads().seek(Some(reference)) {
            Sought::Found(found) => Some((found.what, found.commit[..1].to_owned())),
            _ => None,
        }
    }

    fn is(what: &str, commit: &str) -> (String, String) {
        (what.to_owned(), commit.to_owned())
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_a_name_before_a_range() {
        assert_eq!(seek("main"), Some(is("branch main", "a")));
        assert_eq!(seek("v1"), Some(is("branch v1", "b")));
        assert_eq!(seek("refs/tags/v1"), Some(is("tag v1", "c")));
        assert_eq!(seek("1.x"), Some(is("branch 1.x", "f")));
        assert_eq!(seek("^1"), Some(is("tag v1.2.0", "e")), "the commit, not the tag's own object");
        assert_eq!(seek("^2"), None);
        assert_eq!(seek("none"), None);
    }

    #[test]
    fn head_is_told_by_its_branch() {
        let Sought::Found(found) = heads().seek(None) else { unreachable!() };
        assert_eq!((found.name.as_str(), found.what.as_str()), ("HEAD", "branch main"));
    }

    #[test]
    fn a_commit_is_asked_for_by_a_name_where_it_has_one() {
        let Sought::Found(found) = heads().seek(Some(&"e".repeat(9))) else { unreachable!() };
        assert_eq!(found.commit, "e".repeat(40));
        let Sought::Found(found) = heads().seek(Some(&"B".repeat(40))) else { unreachable!() };
        assert_eq!(found.name, "refs/heads/v1");
        assert_eq!(heads().seek(Some("1234567")), Sought::Commit);
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let text = |reference: &str| heads().missing("u", Some(reference), "").to_string();
        assert!(text("^2").ends_with("`^2` in u; versions there: v1.2.0, v1"), "{}", text("^2"));
        assert!(text("x").ends_with("; branches there: 1.x, main, v1"), "{}", text("x"));
    }
}
