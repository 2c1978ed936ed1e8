//! Decides when a difference counts: what is being written, and what has just gone, is looked at
//! twice.
//!
//! Pure: it is told what was found and what time it is. A write that ended and a file that was
//! moved in count at once. A file that vanished stays in the snapshot until a second look
//! confirms it, so saving by renaming and half a synchronisation never take an app down
//! (faults W04, W05, W07, W20).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::manifest::{FileContent, Snapshot};
use crate::model::Digest;

use super::scan::{Change, Seen, is_same};

/// For how long a file is left alone before its content counts, if nobody says that it is whole.
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// How long after the first look at something suspicious the second one is.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(300);

/// What is known apart from the files.
pub(super) struct Circumstances<'a> {
    /// What the folder is.
    pub(super) identity: &'a str,
    /// Paths of files and folders that the kernel called whole: closed after writing or moved in.
    pub(super) whole: &'a BTreeSet<String>,
    /// Whether another folder was put in the place of this one in one step.
    pub(super) is_switched: bool,
    /// Whether the very first snapshot is due and can't wait for anything any longer.
    pub(super) is_last_chance: bool,
    /// When the look was.
    pub(super) now: Instant,
}

/// The snapshot, and what waits to get into it.
#[derive(Default)]
pub(super) struct Settle {
    snapshot: Arc<Snapshot>,
    is_told: bool,
    waiting: BTreeMap<String, Waiting>,
}

/// A difference that does not count yet.
struct Waiting {
    /// What will be in the snapshot: none for a file that is gone.
    outcome: Option<FileContent>,
    /// Whether the file changed while it was read, so that another look has to come first.
    is_unstable: bool,
    /// Whether the kernel's word that the file is whole settles it.
    is_settled_by_word: bool,
    due: Instant,
}

impl Settle {
    /// Whether nothing was told yet.
    pub(super) fn is_first(&self) -> bool {
        !self.is_told
    }

    /// When another look is needed to settle something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Takes the differences since the last look. Answers the snapshot; none while the first one
    /// has to wait for a second look.
    pub(super) fn offer(
        &mut self,
        changes: Vec<Change>,
        now: &Circumstances<'_>,
    ) -> Option<Arc<Snapshot>> {
        let mut edits = BTreeMap::new();
        for change in changes {
            match change {
                Change::Seen(path, seen) => self.seen(path, seen, now, &mut edits),
                Change::Gone(path) => self.gone(path, now, &mut edits),
            }
        }
        self.collect_due(now, &mut edits);
        self.collect_moved(&mut edits);
        self.put(edits, now.identity);
        if !self.is_told && !self.waiting.is_empty() && !now.is_last_chance {
            return None;
        }
        self.is_told = true;
        Some(Arc::clone(&self.snapshot))
    }

    fn seen(&mut self, path: String, seen: Seen, now: &Circumstances<'_>, edits: &mut Edits) {
        let told = self.told(&path);
        let Some(content) = seen.content else {
            let unfinished = FileContent::Unreadable("is being written all the time".to_owned());
            self.wait(path.clone(), Some(unfinished), now.now + QUIET, false);
            if let Some(waiting) = self.waiting.get_mut(&path) {
                waiting.is_unstable = true;
            }
            return;
        };
        if told.is_some_and(|told| is_same(told, &content)) {
            self.waiting.remove(&path);
            edits.remove(&path);
            return;
        }
        let is_readable = matches!(content, FileContent::Text { .. });
        let is_emptied = is_empty(&content) && told.is_some_and(|told| !is_empty(told));
        let is_certain = is_readable && !is_emptied;
        let is_settled = now.is_switched
            || (is_certain && (QUIET <= seen.age || seen.is_switched || now.says_whole(&path)))
            || (!is_readable && self.is_first());
        if is_settled {
            self.waiting.remove(&path);
            edits.insert(path, Some(content));
        } else {
            edits.remove(&path);
            let due = now.now + if is_certain { QUIET } else { SECOND_LOOK };
            self.wait(path, Some(content), due, is_certain);
        }
    }

    fn gone(&mut self, path: String, now: &Circumstances<'_>, edits: &mut Edits) {
        edits.remove(&path);
        self.waiting.remove(&path);
        if self.told(&path).is_none() {
            return;
        }
        if now.is_switched {
            edits.insert(path, None);
            return;
        }
        // Files that go one after the other go together: half of a slow deletion must not look
        // like the removal of a few (fault W07).
        let due = now.now + SECOND_LOOK;
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.outcome.is_none()) {
            waiting.due = due;
        }
        self.wait(path, None, due, false);
    }

    /// What had its second look, or was called whole meanwhile.
    fn collect_due(&mut self, now: &Circumstances<'_>, edits: &mut Edits) {
        let is_last_chance = now.is_last_chance && self.is_first();
        let settled = self.waiting.extract_if(.., |path, waiting| {
            is_last_chance
                || (!waiting.is_unstable && waiting.due <= now.now)
                || (waiting.is_settled_by_word && now.says_whole(path))
        });
        edits.extend(settled.map(|(path, waiting)| (path, waiting.outcome)));
    }

    /// A file that is gone while its very text is in another file was renamed: the text is not
    /// lost, and having it twice for a moment would be a conflict (fault W12).
    fn collect_moved(&mut self, edits: &mut Edits) {
        if self.waiting.values().all(|waiting| waiting.outcome.is_some()) {
            return;
        }
        let files = &self.snapshot.files;
        let staying = files
            .iter()
            .filter(|(path, _)| !edits.contains_key(*path) && !self.is_leaving(path))
            .map(|(_, content)| content)
            .chain(edits.values().flatten());
        let present: BTreeSet<Digest> = staying.filter_map(digest).cloned().collect();
        let moved = self.waiting.extract_if(.., |path, waiting| {
            waiting.outcome.is_none()
                && files.get(path).and_then(digest).is_some_and(|d| present.contains(d))
        });
        edits.extend(moved.map(|(path, waiting)| (path, waiting.outcome)));
    }

    fn is_leaving(&self, path: &str) -> bool {
        self.waiting.get(path).is_some_and(|waiting| waiting.outcome.is_none())
    }

    fn put(&mut self, edits: Edits, identity: &str) {
        if edits.is_empty() && self.snapshot.identity == identity {
            return;
        }
        let snapshot = Arc::make_mut(&mut self.snapshot);
        identity.clone_into(&mut snapshot.identity);
        for (path, outcome) in edits {
            match outcome {
                Some(content) => snapshot.files.insert(path, content),
                None => snapshot.files.remove(&path),
            };
        }
    }

    fn told(&self, path: &str) -> Option<&FileContent> {
        self.snapshot.files.get(path)
    }

    fn wait(&mut self, path: String, outcome: Option<FileContent>, due: Instant, by_word: bool) {
        let waiting = Waiting { outcome, is_unstable: false, is_settled_by_word: by_word, due };
        self.waiting.insert(path, waiting);
    }
}

/// What to put into the snapshot, or to take out of it, by path.
type Edits = BTreeMap<String, Option<FileContent>>;

impl Circumstances<'_> {
    /// Whether the kernel called the file whole, or a folder that it is in.
    fn says_whole(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        !self.whole.is_empty()
            && ends.into_iter().any(|at| path.get(..at).is_some_and(|p| self.whole.contains(p)))
    }
}

fn digest(content: &FileContent) -> Option<&Digest> {
    match content {
        FileContent::Text { digest, .. } => Some(digest),
        FileContent::Unreadable(_) => None,
    }
}

fn is_empty(content: &FileContent) -> bool {
    matches!(content, FileContent::Text { bytes, .. } if bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_AGO: Duration = Duration::from_hours(1);

    /// A folder whose looks are made up.
    struct Table {
        settle: Settle,
        start: Instant,
        whole: BTreeSet<String>,
        is_switched: bool,
    }

    impl Table {
        /// Begins with `a.yaml` holding `one`, known for long.
        fn new() -> Self {
            let (settle, start) = (Settle::default(), Instant::now());
            let mut table = Self { settle, start, whole: BTreeSet::new(), is_switched: false };
            assert_eq!(table.look(0, vec![seen("a.yaml", "one", LONG_AGO)]), "a.yaml=one");
            table
        }

        fn offer(&mut self, at_ms: u64, changes: Vec<Change>) -> Option<Arc<Snapshot>> {
            self.settle.offer(
                changes,
                &Circumstances {
                    identity: "folder",
                    whole: &std::mem::take(&mut self.whole),
                    is_switched: self.is_switched,
                    is_last_chance: false,
                    now: self.start + Duration::from_millis(at_ms),
                },
            )
        }

        fn look(&mut self, at_ms: u64, changes: Vec<Change>) -> String {
            show(&self.offer(at_ms, changes).unwrap())
        }

        fn due_ms(&self) -> Option<u128> {
            self.settle.due().map(|due| (due - self.start).as_millis())
        }
    }

    fn show(snapshot: &Snapshot) -> String {
        let text = |content: &FileContent| match content {
            FileContent::Text { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
            FileContent::Unreadable(why) => format!("({why})"),
        };
        let files = snapshot.files.iter();
        files.map(|(path, c)| format!("{path}={}", text(c))).collect::<Vec<_>>().join(" ")
    }

    fn seen(path: &str, text: &str, age: Duration) -> Change {
        let content = FileContent::Text {
            bytes: text.as_bytes().into(),
            digest: Digest::of_bytes(text.as_bytes()),
        };
        Change::Seen(path.to_owned(), Seen { content: Some(content), age, is_switched: false })
    }

    fn spoiled(path: &str, why: Option<&str>) -> Change {
        let content = why.map(|why| FileContent::Unreadable(why.to_owned()));
        let seen = Seen { content, age: Duration::ZERO, is_switched: false };
        Change::Seen(path.to_owned(), seen)
    }

    fn gone(path: &str) -> Change {
        Change::Gone(path.to_owned())
    }

    // W04, W07: half of a rename-save or of a synchronisation must not take an app down.
    #[test]
    fn a_file_that_vanished_stays_until_a_second_look_confirms_it() {
        let mut table = Table::new();
        assert_eq!(table.look(10, vec![gone("a.yaml")]), "a.yaml=one");
        assert_eq!(table.due_ms(), Some(310));
        assert_eq!(table.look(200, vec![]), "a.yaml=one");
        assert_eq!(table.look(310, vec![]), "");
        assert_eq!(table.due_ms(), None);
    }

    // W20
    #[test]
    fn a_file_that_comes_back_with_its_text_was_never_away() {
        let mut table = Table::new();
        let before = table.offer(1, vec![]).unwrap();
        table.look(10, vec![gone("a.yaml")]);
        let after = table.offer(50, vec![seen("a.yaml", "one", Duration::ZERO)]).unwrap();
        assert!(Arc::ptr_eq(&before, &after));
        assert_eq!(table.due_ms(), None);
    }

    // W05
    #[test]
    fn a_file_being_written_counts_when_it_is_quiet_or_called_whole() {
        let mut table = Table::new();
        let half = || vec![seen("a.yaml", "tw", Duration::from_millis(20))];
        assert_eq!(table.look(10, half()), "a.yaml=one");
        assert_eq!(table.look(150, vec![seen("a.yaml", "two", Duration::ZERO)]), "a.yaml=one");
        assert_eq!(table.look(349, vec![]), "a.yaml=one");
        assert_eq!(table.look(350, vec![]), "a.yaml=two");

        assert_eq!(table.look(400, vec![seen("a.yaml", "3", Duration::ZERO)]), "a.yaml=two");
        table.whole.insert("a.yaml".to_owned());
        assert_eq!(table.look(401, vec![]), "a.yaml=3");
        table.whole.insert("team".to_owned());
        let moved_in = vec![seen("team/b.yaml", "4", Duration::ZERO)];
        assert_eq!(table.look(402, moved_in), "a.yaml=3 team/b.yaml=4");
    }

    // W07
    #[test]
    fn files_that_go_one_after_the_other_go_together() {
        let mut table = Table::new();
        let both = vec![seen("b.yaml", "two", LONG_AGO), seen("c.yaml", "three", LONG_AGO)];
        assert_eq!(table.look(10, both), "a.yaml=one b.yaml=two c.yaml=three");
        assert_eq!(table.look(100, vec![gone("a.yaml")]), "a.yaml=one b.yaml=two c.yaml=three");
        assert_eq!(table.look(390, vec![gone("b.yaml")]), "a.yaml=one b.yaml=two c.yaml=three");
        assert_eq!(table.look(400, vec![]), "a.yaml=one b.yaml=two c.yaml=three");
        assert_eq!(table.look(690, vec![]), "c.yaml=three");
    }

    #[test]
    fn a_file_that_never_stays_the_same_keeps_its_old_text() {
        let mut table = Table::new();
        for at in [10, 300, 600] {
            assert_eq!(table.look(at, vec![spoiled("a.yaml", None)]), "a.yaml=one");
        }
    }

    // W05: truncating comes before writing.
    #[test]
    fn a_file_that_became_empty_is_looked_at_twice() {
        let mut table = Table::new();
        table.whole.insert("a.yaml".to_owned());
        assert_eq!(table.look(10, vec![seen("a.yaml", "", Duration::ZERO)]), "a.yaml=one");
        assert_eq!(table.look(310, vec![]), "a.yaml=");
    }

    // W12
    #[test]
    fn a_renamed_file_is_never_there_twice() {
        let mut table = Table::new();
        let renamed = vec![gone("a.yaml"), seen("b.yaml", "one", LONG_AGO)];
        assert_eq!(table.look(10, renamed), "b.yaml=one");
        assert_eq!(table.due_ms(), None);
    }

    // W15
    #[test]
    fn a_file_that_became_unreadable_is_told_as_such_after_a_second_look() {
        let mut table = Table::new();
        let why = vec![spoiled("a.yaml", Some("is a FIFO"))];
        assert_eq!(table.look(10, why), "a.yaml=one");
        assert_eq!(table.look(310, vec![]), "a.yaml=(is a FIFO)");
    }

    // W06
    #[test]
    fn a_folder_that_was_switched_counts_as_a_whole() {
        let mut table = Table::new();
        table.is_switched = true;
        let other = vec![gone("a.yaml"), seen("b.yaml", "two", Duration::ZERO)];
        assert_eq!(table.look(10, other), "b.yaml=two");
    }

    #[test]
    fn the_first_snapshot_waits_for_what_is_being_written() {
        let (settle, start) = (Settle::default(), Instant::now());
        let mut table = Table { settle, start, whole: BTreeSet::new(), is_switched: false };
        let both = vec![seen("a.yaml", "one", LONG_AGO), seen("b.yaml", "tw", Duration::ZERO)];
        assert!(table.offer(0, both).is_none());
        assert_eq!(table.due_ms(), Some(200));
        assert_eq!(table.look(200, vec![]), "a.yaml=one b.yaml=tw");
    }
}
