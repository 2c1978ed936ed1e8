//! What the log promises, tried on real files.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

fn deed(action: &str) -> Deed {
    let who = Who { kind: "token".to_owned(), name: "ci".to_owned(), role: None };
    let (from, object) = (Some("127.0.0.1".to_owned()), "app/chat".to_owned());
    let (before, after, outcome) = (Value::Null, Value::Null, "done".to_owned());
    Deed { who, from, action: action.to_owned(), object, before, after, outcome }
}

/// A log with so many records, in files of some four records each.
fn written(records: u64) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::with(folder.path(), 1400, 100);
    for number in 1..=records {
        assert_eq!(log.append(&deed(&format!("a{number}")), NOW).unwrap().0, number);
    }
    (folder, log)
}

fn flaws(folder: &Path) -> Vec<Flaw> {
    verify(folder).unwrap().flaws
}

fn files(log: &Log) -> Vec<PathBuf> {
    file::files(log.folder()).unwrap()
}

#[test]
fn what_was_written_is_whole_and_comes_back_newest_first() {
    let (folder, log) = written(10);
    assert!(2 < files(&log).len(), "it was rotated");
    let verdict = verify(folder.path()).unwrap();
    assert_eq!((verdict.records, verdict.first, verdict.last), (10, Some(1), Some(10)));
    assert_eq!(verdict.flaws, []);
    let seqs = |before, limit| {
        let (records, more) = page(folder.path(), before, limit, |_| true).unwrap();
        (records.iter().map(|record| record.seq).collect::<Vec<_>>(), more)
    };
    assert_eq!(seqs(None, 3), (vec![10, 9, 8], true));
    assert_eq!(seqs(Some(4), 3), (vec![3, 2, 1], false));
    let (one, _) = page(folder.path(), None, 9, |r| r.deed.action == "a7").unwrap();
    assert_eq!((one.len(), one[0].seq), (1, 7));
    // Another process goes on where this one was.
    let other = Log::with(folder.path(), 1400, 100);
    assert_eq!(other.append(&deed("b"), NOW).unwrap().0, 11);
    assert_eq!(log.append(&deed("c"), NOW).unwrap().0, 12);
    assert_eq!(flaws(folder.path()), []);
    for path in files(&log) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn old_files_go_and_that_is_no_flaw() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::with(folder.path(), 1400, 3);
    for number in 0..40 {
        log.append(&deed(&format!("a{number}")), NOW).unwrap();
    }
    let verdict = verify(folder.path()).unwrap();
    assert_eq!((verdict.flaws, verdict.last), (Vec::new(), Some(40)));
    assert!(files(&log).len() <= 3 && 1 < verdict.first.unwrap());
    fs::remove_file(&files(&log)[0]).unwrap();
    assert_eq!(flaws(folder.path()).len(), 1, "one that goes otherwise is a flaw");
}

/// A cut end is found, and stays found after the log went on.
#[test]
fn records_cut_off_the_end_are_missed() {
    let (folder, log) = written(10);
    let last = files(&log).pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    let keep = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    fs::write(&last, &text[..keep]).unwrap();
    assert_eq!(flaws(folder.path()).len(), 1);
    assert_eq!(log.append(&deed("b"), NOW).unwrap().0, 12, "record 11 says what is missing");
    let flaws = flaws(folder.path());
    assert!(flaws.iter().any(|flaw| flaw.message.contains("damaged before")), "{flaws:?}");
    let (records, _) = page(folder.path(), None, 2, |_| true).unwrap();
    assert_eq!(records[1].deed.action, "audit.broken");
}

#[test]
fn a_lost_or_spoiled_head_is_a_flaw_and_stays_one() {
    for spoil in [None, Some("{}"), Some("\u{0}\u{0}")] {
        let (folder, log) = written(5);
        let head = log.folder().join("head.json");
        match spoil {
            None => fs::remove_file(&head).unwrap(),
            Some(text) => fs::write(&head, text).unwrap(),
        }
        assert_eq!(flaws(folder.path()).len(), 1);
        log.append(&deed("b"), NOW).unwrap();
        let flaws = flaws(folder.path());
        assert!(flaws.iter().any(|flaw| flaw.message.contains("head was lost")), "{flaws:?}");
    }
}

/// What a crash leaves at each point of an append is whole again with the next one.
#[test]
fn a_crash_between_any_two_writes_is_no_flaw() {
    let (folder, log) = written(5);
    let (head, path) = (log.folder().join("head.json"), files(&log).pop().unwrap());
    let old_head = fs::read(&head).unwrap();
    let old = fs::read(&path).unwrap();
    log.append(&deed("b"), NOW).unwrap();
    let new = fs::read(files(&log).pop().unwrap()).unwrap();
    let new = if new.starts_with(&old) { new } else { [old.clone(), new].concat() };
    for cut in old.len()..=new.len() {
        fs::write(&path, &new[..cut]).unwrap();
        for path in files(&log).into_iter().filter(|other| *other > path) {
            fs::remove_file(path).unwrap();
        }
        fs::write(&head, &old_head).unwrap();
        assert_eq!(flaws(folder.path()), [], "cut at {cut}");
        log.append(&deed("c"), NOW).unwrap();
        assert_eq!(flaws(folder.path()), [], "gone on after a cut at {cut}");
    }
}

#[test]
fn writers_in_several_threads_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = Log::with(folder.path(), 3000, 100);
            scope.spawn(move || (0..8).for_each(|_| drop(log.append(&deed("a"), NOW).unwrap())));
        }
    });
    let verdict = verify(folder.path()).unwrap();
    assert_eq!((verdict.flaws, verdict.records), (Vec::new(), 32));
}

#[test]
fn a_log_that_can_not_be_written_says_so_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new(folder.path());
    log.check_ready().unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join(FOLDER), "a file stands in the way").unwrap();
    let log = Log::new(other.path());
    assert!(log.check_ready().is_err() && log.append(&deed("a"), NOW).is_err());
}

#[test]
fn a_record_that_is_too_long_is_kept_without_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new(folder.path());
    let long = Deed { after: "x".repeat(100_000).into(), ..deed("a") };
    log.append(&long, NOW).unwrap();
    let (records, _) = page(folder.path(), None, 1, |_| true).unwrap();
    assert_eq!(records[0].deed.after, "too long");
    assert_eq!(flaws(folder.path()), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any byte that is changed anywhere, and any line that goes, is found.
    #[test]
    fn no_edit_goes_unseen(at in any::<prop::sample::Index>(), byte in any::<u8>(), line in any::<prop::sample::Index>()) {
        let (folder, log) = written(9);
        let all = files(&log);
        let path = &all[line.index(all.len())];
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        let at = at.index(bad.len());
        prop_assume!(bad[at] != byte);
        bad[at] = byte;
        fs::write(path, &bad).unwrap();
        prop_assert!(!flaws(folder.path()).is_empty(), "byte {at} of {}", path.display());
        let lines: Vec<_> = good.split_inclusive(|byte| *byte == b'\n').collect();
        let gone = line.index(lines.len());
        let rest = [&lines[..gone], &lines[gone + 1..]].concat().concat();
        fs::write(path, rest).unwrap();
        prop_assert!(!flaws(folder.path()).is_empty(), "line {gone} of {}", path.display());
    }
}
