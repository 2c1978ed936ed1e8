//! How many commits a source has that an older one lacks, as far as the history that is here tells.
//!
//! Both histories are followed at once, what is newest first, so that little more is read than what
//! differs. Whatever a part of a history leaves open is said to be unknown, and never guessed.

use std::collections::{BTreeMap, BinaryHeap, btree_map::Entry};

use git2::{Odb, Oid, Repository};

use super::ancestry::{Commit, commit};
use crate::state::Ahead;

/// So many are counted; then it is said that there are more.
const COUNTED_MAX: usize = 1_000;
/// Clocks of machines differ: so many seconds further back is looked, too, for what leads to what is
/// counted.
const SKEW: i64 = 24 * 3600;
/// How many commits are looked at.
const COMMITS_MAX: usize = 10_000;

/// From where a commit was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    new: bool,
    old: bool,
}

impl Reached {
    fn is_new_alone(self) -> bool {
        self.new && !self.old
    }
}

/// A commit that was reached.
struct Seen {
    from: Reached,
    /// What it says itself; none when it is not here.
    commit: Option<Commit>,
    /// The earliest of the times of the commits that name it: it is no younger.
    before: i64,
    is_waiting: bool,
}

struct Walk<'a> {
    odb: Odb<'a>,
    seen: BTreeMap<Oid, Seen>,
    /// What is to be followed, the newest first.
    waiting: BinaryHeap<(i64, Oid)>,
    /// How many of these were reached from the new one alone.
    open: usize,
    /// How many of all were, and a time that none of them is older than.
    alone: usize,
    oldest: i64,
}

/// How many commits `new` has that `old` lacks; none when what is here does not tell.
pub(super) fn ahead(
    repository: &Repository,
    old: Oid,
    new: Oid,
) -> Result<Option<Ahead>, git2::Error> {
    let mut walk = Walk {
        odb: repository.odb()?,
        seen: BTreeMap::new(),
        waiting: BinaryHeap::new(),
        open: 0,
        alone: 0,
        oldest: i64::MAX,
    };
    walk.reach(new, Reached { new: true, old: false }, i64::MAX)?;
    walk.reach(old, Reached { new: false, old: true }, i64::MAX)?;
    walk.follow()
}

impl Walk<'_> {
    fn reach(&mut self, id: Oid, from: Reached, before: i64) -> Result<(), git2::Error> {
        let seen = match self.seen.entry(id) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(place) => {
                let (commit, from) = (commit(&self.odb, id)?, Reached::default());
                place.insert(Seen { from, commit, before, is_waiting: false })
            }
        };
        seen.before = seen.before.min(before);
        let was = seen.from;
        let now = Reached { new: was.new || from.new, old: was.old || from.old };
        if was == now {
            return Ok(());
        }
        seen.from = now;
        let time = seen.commit.as_ref().map(|commit| commit.time);
        if was.is_new_alone() {
            self.alone -= 1;
            self.open -= usize::from(seen.is_waiting);
        }
        if now.is_new_alone() {
            self.alone += 1;
            self.open += 1;
            self.oldest = time.map_or(self.oldest, |time| self.oldest.min(time));
        }
        if !seen.is_waiting {
            seen.is_waiting = true;
            // What is not here leads nowhere: all others may still lead to it.
            self.waiting.push((time.unwrap_or(i64::MIN), id));
        }
        Ok(())
    }

    fn follow(mut self) -> Result<Option<Ahead>, git2::Error> {
        // What is about as young as one that is counted may still lead to it.
        while let Some((time, id)) = self.waiting.pop() {
            if self.open == 0 && time < self.oldest.saturating_sub(SKEW) {
                break;
            }
            let Some(seen) = self.seen.get_mut(&id) else { continue };
            seen.is_waiting = false;
            let from = seen.from;
            if from.is_new_alone() {
                self.open -= 1;
            }
            let Some(commit) = &seen.commit else { continue };
            let (time, parents) = (commit.time, commit.parents.clone());
            for parent in parents {
                self.reach(parent, from, time)?;
            }
            if COUNTED_MAX < self.alone - self.open {
                let more = Ahead { commits: count(COUNTED_MAX), is_more: true };
                return Ok(self.is_old_told().then_some(more));
            }
            if COMMITS_MAX < self.seen.len() {
                return Ok(None);
            }
        }
        let is_whole = |seen: &Seen| seen.commit.is_some() || !seen.from.is_new_alone();
        let is_told = self.seen.values().all(is_whole) && self.is_old_told();
        Ok(is_told.then(|| Ahead { commits: count(self.alone), is_more: false }))
    }

    /// Whether what is not here of the old one's history is older than all that is counted.
    fn is_old_told(&self) -> bool {
        let mut missing = self.seen.values().filter(|seen| seen.commit.is_none() && seen.from.old);
        missing.all(|seen| seen.before <= self.oldest)
    }
}

fn count(commits: usize) -> u32 {
    u32::try_from(commits).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::worker::ancestry::tests::History;

    /// `d` rests on `c`, that on `b`, that on `a`; `side` rests on `a`, and both are merged.
    const ROWS: &[(&str, &[&str])] = &[
        ("a", &[]),
        ("b", &["a"]),
        ("side", &["a"]),
        ("more", &["side"]),
        ("c", &["b"]),
        ("d", &["c"]),
        ("merge", &["d", "more"]),
        ("root", &[]),
    ];

    fn told(history: &History, old: &str, new: &str) -> Option<u32> {
        let ahead = ahead(&history.repository, history.ids[old], history.ids[new]).unwrap();
        ahead.map(|ahead| {
            assert!(!ahead.is_more, "{old} {new}");
            ahead.commits
        })
    }

    /// Also when all were made in the same second, as machines make them.
    #[test]
    fn what_the_old_one_lacks_is_counted_whatever_the_dates() {
        for step in [0, 1, -1] {
            let history = History::dated(ROWS, step);
            for (old, new, expected) in [
                ("a", "a", 0),
                ("c", "d", 1),
                ("a", "d", 3),
                // Back to an earlier one: that has nothing new.
                ("d", "a", 0),
                ("d", "merge", 3),
                ("more", "merge", 4),
                ("c", "more", 2),
                ("d", "root", 1),
            ] {
                assert_eq!(told(&history, old, new), Some(expected), "{old} {new} {step}");
            }
        }
    }

    #[test]
    fn a_part_of_a_history_tells_what_it_can_and_guesses_nothing() {
        let part = History::dated(ROWS, 1).without(&["a", "b"]);
        for (old, new, expected) in [
            ("c", "d", Some(1)),
            // The commit that runs is named by those after it, it need not be here.
            ("b", "d", Some(2)),
            // What is between is not here.
            ("a", "d", None),
            ("root", "d", None),
            // Both lead to what is not here.
            ("c", "more", None),
        ] {
            assert_eq!(told(&part, old, new), expected, "{old} {new}");
        }
        let part = History::dated(ROWS, 1).without(&["a"]);
        assert_eq!(told(&part, "d", "merge"), Some(3), "the side rests on what both rest on");
        // Of one that is nowhere, nothing is known.
        let nobody = Oid::from_str(&"12".repeat(20)).unwrap();
        assert_eq!(ahead(&part.repository, nobody, part.ids["d"]).unwrap(), None);
    }

    #[test]
    fn more_than_a_thousand_is_said_to_be_so() {
        let names: Vec<String> = (0..1_003).map(|nth| format!("c{nth}")).collect();
        let mut history = History::dated(&[("c0", &[])], 1);
        for pair in names.windows(2) {
            history.add(&pair[1], &[&pair[0]]);
        }
        let ahead = |old: &str, new: &str| {
            ahead(&history.repository, history.ids[old], history.ids[new]).unwrap().unwrap()
        };
        assert_eq!(ahead("c2", "c1002"), Ahead { commits: 1_000, is_more: false });
        assert_eq!(ahead("c1", "c1002"), Ahead { commits: 1_000, is_more: true });
        assert_eq!(ahead("c0", "c1002").to_string(), "1000+ commits");
        assert_eq!(ahead("c1", "c2").to_string(), "1 commit");
    }
}
