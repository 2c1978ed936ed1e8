//! Whether a branch went on from where it was, or was written anew (fault G08).
//!
//! A mirror may have a part of the history only. What it has of a commit names the commits before
//! it, also where those are not here: often that is enough to know, and where it is not, that is
//! what is said.

use std::collections::BTreeSet;

use git2::{ObjectType, Odb, Oid, Repository};

/// How many commits are looked at.
const COMMITS_MAX: usize = 10_000;

/// How a branch came from one commit to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The new one rests on the old one.
    On,
    /// It does not.
    Anew,
    /// The part of the history that is here does not tell.
    Unknown,
}

/// What comes before a commit, itself included.
struct Before {
    /// All that are named, here or not.
    named: BTreeSet<Oid>,
    /// Those that are not here: what comes before them is not known.
    edge: BTreeSet<Oid>,
    /// Whether there were too many to look at all.
    is_cut: bool,
}

/// How a branch came from `old` to `new`.
pub(super) fn way(repository: &Repository, old: Oid, new: Oid) -> Result<Way, git2::Error> {
    let odb = repository.odb()?;
    let of_new = before(&odb, new)?;
    if of_new.named.contains(&old) {
        return Ok(Way::On);
    }
    if of_new.is_cut {
        return Ok(Way::Unknown);
    }
    // What comes before the old one does not rest on it: where all that is not known of the new one
    // lies there, the old one is nowhere before the new one.
    let of_old = before(&odb, old)?;
    let is_told = of_new.edge.iter().all(|id| *id != old && of_old.named.contains(id));
    Ok(if is_told { Way::Anew } else { Way::Unknown })
}

fn before(odb: &Odb<'_>, start: Oid) -> Result<Before, git2::Error> {
    let mut seen = Before { named: BTreeSet::new(), edge: BTreeSet::new(), is_cut: false };
    let mut ahead = vec![start];
    while let Some(id) = ahead.pop() {
        if !seen.named.insert(id) {
            continue;
        }
        if COMMITS_MAX < seen.named.len() {
            seen.is_cut = true;
            break;
        }
        match commit(odb, id)? {
            Some(commit) => ahead.extend(commit.parents),
            None => drop(seen.edge.insert(id)),
        }
    }
    Ok(seen)
}

/// What a commit says of itself.
pub(super) struct Commit {
    /// When it was made, in seconds.
    pub(super) time: i64,
    /// The commits before it, here or not.
    pub(super) parents: Vec<Oid>,
}

/// A commit, as it says itself; none when it is not here. The library leaves out the commits before
/// it that are not here.
pub(super) fn commit(odb: &Odb<'_>, id: Oid) -> Result<Option<Commit>, git2::Error> {
    if !odb.exists(id) {
        return Ok(None);
    }
    let object = odb.read(id)?;
    if object.kind() != ObjectType::Commit {
        return Ok(None);
    }
    let mut commit = Commit { time: 0, parents: Vec::new() };
    let head = object.data().split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    for line in head {
        if let Some(digits) = line.strip_prefix(b"parent ") {
            commit.parents.push(Oid::from_str(&String::from_utf8_lossy(digits))?);
        } else if let Some(who) = line.strip_prefix(b"committer ") {
            let who = String::from_utf8_lossy(who);
            let time = who.rsplit(' ').nth(1).and_then(|seconds| seconds.parse().ok());
            commit.time = time.unwrap_or_default();
        }
    }
    Ok(Some(commit))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, fs};

    use git2::{Signature, Time};

    use super::*;

    /// A history by names: `b` rests on `a` where the pair says so.
    pub(in super::super) struct History {
        folder: tempfile::TempDir,
        pub(in super::super) repository: Repository,
        pub(in super::super) ids: BTreeMap<String, Oid>,
        /// How many seconds are between two commits.
        step: i64,
    }

    impl History {
        fn of(rows: &[(&str, &[&str])]) -> Self {
            Self::dated(rows, 0)
        }

        /// The same, each commit so many seconds after the one above it.
        pub(in super::super) fn dated(rows: &[(&str, &[&str])], step: i64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let repository = Repository::init_bare(folder.path()).unwrap();
            let mut history = Self { folder, repository, ids: BTreeMap::new(), step };
            for (name, parents) in rows {
                history.add(name, parents);
            }
            history
        }

        pub(in super::super) fn add(&mut self, name: &str, parents: &[&str]) {
            let repository = &self.repository;
            let tree = repository.treebuilder(None).unwrap().write().unwrap();
            let tree = repository.find_tree(tree).unwrap();
            let nth = i64::try_from(self.ids.len()).unwrap();
            let time = Time::new(1_700_000_000 + nth * self.step, 60);
            let author = Signature::new("a", "a@example.com", &time).unwrap();
            let parents: Vec<_> =
                parents.iter().map(|one| repository.find_commit(self.ids[*one]).unwrap()).collect();
            let parents: Vec<_> = parents.iter().collect();
            let id = repository.commit(None, &author, &author, name, &tree, &parents).unwrap();
            self.ids.insert(name.to_owned(), id);
        }

        /// The same without some commits, as a mirror of a part has it.
        pub(in super::super) fn without(self, names: &[&str]) -> Self {
            for name in names {
                let id = self.ids[*name].to_string();
                fs::remove_file(self.folder.path().join("objects").join(&id[..2]).join(&id[2..]))
                    .unwrap();
            }
            let repository = Repository::open_bare(self.folder.path()).unwrap();
            Self { repository, ..self }
        }

        fn way(&self, old: &str, new: &str) -> Way {
            way(&self.repository, self.ids[old], self.ids[new]).unwrap()
        }
    }

    const ROWS: &[(&str, &[&str])] = &[
        ("a", &[]),
        ("b", &["a"]),
        ("c", &["b"]),
        ("d", &["c"]),
        ("amended", &["b"]),
        ("other", &["a"]),
        ("merge", &["amended", "c"]),
        ("root", &[]),
    ];

    #[test]
    fn a_whole_history_tells_all() {
        let all = History::of(ROWS);
        for (old, new, expected) in [
            ("b", "c", Way::On),
            ("a", "d", Way::On),
            ("c", "merge", Way::On),
            ("c", "amended", Way::Anew),
            ("d", "b", Way::Anew),
            ("d", "root", Way::Anew),
            ("amended", "other", Way::Anew),
        ] {
            assert_eq!(all.way(old, new), expected, "{old} {new}");
        }
    }

    /// A commit names those before it, also where they are not here.
    #[test]
    fn a_part_of_a_history_tells_what_it_can() {
        let part = History::of(ROWS).without(&["a", "b"]);
        for (old, new, expected) in [
            ("c", "d", Way::On),
            // The commit that is named is enough, it need not be here.
            ("b", "c", Way::On),
            ("c", "merge", Way::On),
            // The two rest on the same commit, of which neither comes after the other.
            ("c", "amended", Way::Anew),
            ("d", "root", Way::Anew),
            // What is not here may rest on it.
            ("other", "d", Way::Unknown),
            ("root", "d", Way::Unknown),
            ("a", "d", Way::Unknown),
        ] {
            assert_eq!(part.way(old, new), expected, "{old} {new}");
        }
        // Back to one before: it is named by the one that was there.
        let back = History::of(ROWS).without(&["a", "c"]);
        assert_eq!(back.way("d", "b"), Way::Unknown, "what d rests on names b, and is not here");
        let back = History::of(ROWS).without(&["a"]);
        assert_eq!(back.way("d", "b"), Way::Anew);
    }
}
