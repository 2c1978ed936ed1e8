//! Folders of manifests as people, editors and tools treat them. The ids are those of the fault
//! catalogue.
#![cfg(test)]

use std::{
    fs::{self, File},
    future::Future,
    io::Write as _,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth::manifest::{FileContent, Snapshot};
use berth::source::directory::{Limits, Options};
use berth::source::{Directory, Error, Source, writer};
use futures_util::FutureExt as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// Far longer than any test takes: whoever waits for this waits for ever.
const NEVER: Duration = Duration::from_hours(1);

/// A folder and the source that reads it.
struct Bench {
    top: TempDir,
    root: PathBuf,
    source: Directory,
}

/// Woken by events only: the clock helps with nothing.
fn by_events() -> Options {
    Options { poll: NEVER, safety_poll: NEVER, ..Options::default() }
}

/// Woken by the clock only.
fn by_polling() -> Options {
    Options { poll: Duration::from_millis(10), events: false, ..Options::default() }
}

impl Bench {
    fn new(options: Options) -> Self {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("apps");
        fs::create_dir(&root).unwrap();
        let source = Directory::new(&root, options);
        Self { top, root, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn look(&mut self) -> Arc<Snapshot> {
        self.source.snapshot().await.unwrap()
    }

    /// Looks whenever the source says so, until the files are these: `a.yaml=one b.yaml=two`.
    async fn until(&mut self, files: &str) -> Arc<Snapshot> {
        self.until_each(files, |_| true).await
    }

    /// The same, and sees that each snapshot on the way holds a condition.
    async fn until_each(
        &mut self,
        files: &str,
        holds: impl Fn(&Snapshot) -> bool,
    ) -> Arc<Snapshot> {
        let mut last = String::new();
        let reached = async {
            loop {
                let seen = self.source.snapshot().await.ok();
                last = seen.as_deref().map_or_else(|| "an error".to_owned(), show);
                let is_fine = seen.as_deref().is_none_or(&holds);
                assert!(is_fine, "seen on the way: {last}");
                match seen {
                    Some(snapshot) if last == files => return snapshot,
                    _ => self.source.changed().await,
                }
            }
        };
        let reached = patient(reached).await;
        reached.unwrap_or_else(|| panic!("expected {files:?}, the last look gave {last:?}"))
    }

    async fn until_error(&mut self) -> Error {
        let failed = async {
            loop {
                match self.source.snapshot().await {
                    Err(error) => return error,
                    Ok(_) => self.source.changed().await,
                }
            }
        };
        patient(failed).await.expect("the source goes on to answer")
    }
}

async fn patient<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(20), future).await.ok()
}

fn show(snapshot: &Snapshot) -> String {
    let file = |(path, content): (&String, &FileContent)| match content {
        FileContent::Text { bytes, .. } => format!("{path}={}", String::from_utf8_lossy(bytes)),
        FileContent::Unreadable(why) => format!("{path}: {why}"),
    };
    snapshot.files.iter().map(file).collect::<Vec<_>>().join(" ")
}

/// Gives a file a time of writing that no clock has reached, so that it never seems quiet.
fn keep_fresh(file: &File) {
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 100)).unwrap();
}

#[tokio::test]
async fn every_change_in_the_folder_wakes_the_source() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    bench.put("notes.txt", "x");
    bench.put(".b.yaml", "x");
    bench.until("a.yaml=one").await;

    bench.put("a.yaml", "two");
    bench.until("a.yaml=two").await;
    fs::create_dir_all(bench.path("team/blue")).unwrap();
    bench.put("team/blue/c.yml", "three");
    bench.until("a.yaml=two team/blue/c.yml=three").await;
    bench.put("team/blue/c.yml", "four");
    bench.until("a.yaml=two team/blue/c.yml=four").await;
    fs::rename(bench.path("team"), bench.path("crew")).unwrap();
    bench.until("a.yaml=two crew/blue/c.yml=four").await;
    fs::remove_dir_all(bench.path("crew")).unwrap();
    bench.until("a.yaml=two").await;
    fs::remove_file(bench.path("a.yaml")).unwrap();
    bench.until("").await;
}

// W02, W03, W09, W18: no event ever comes. W10: the edits are faster than the file system's
// clock and leave the size as it is.
#[tokio::test]
async fn without_events_every_change_is_seen_all_the_same() {
    let mut bench = Bench::new(by_polling());
    bench.put("a.yaml", "text 0");
    bench.until("a.yaml=text 0").await;
    for round in 1..6 {
        bench.put("a.yaml", &format!("text {round}"));
        bench.until(&format!("a.yaml=text {round}")).await;
    }
    fs::create_dir(bench.path("team")).unwrap();
    fs::rename(bench.path("a.yaml"), bench.path("team/a.yaml")).unwrap();
    bench.until("team/a.yaml=text 5").await;
    fs::remove_file(bench.path("team/a.yaml")).unwrap();
    bench.until("").await;
}

#[tokio::test]
async fn an_unchanged_folder_gives_the_same_snapshot() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    let first = bench.until("a.yaml=one").await;
    File::open(bench.path("a.yaml")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(Arc::ptr_eq(&first, &bench.look().await));
}

#[tokio::test]
async fn a_look_that_was_given_up_loses_nothing() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    bench.until("a.yaml=one").await;
    bench.put("b.yaml", "two");
    // A look that happens to be through at once was not given up.
    while bench.source.snapshot().now_or_never().is_some() {}
    bench.source.changed().now_or_never().expect("nobody has looked since");
    bench.until("a.yaml=one b.yaml=two").await;
}

#[tokio::test]
async fn a_manifest_that_berth_wrote_is_read_again_and_goes_when_removed() {
    let mut bench = Bench::new(by_events());
    bench.until("").await;
    writer::write(&bench.root, "web.yaml", b"one").unwrap();
    bench.until("web.yaml=one").await;
    writer::remove(&bench.root, "web.yaml").unwrap();
    bench.until("").await;
}

// W04: the steps of vim and of Emacs, with a look after each.
#[tokio::test]
async fn an_editor_that_saves_by_renaming_never_makes_the_file_vanish() {
    for name in ["a.yaml~", "#a.yaml#"] {
        let mut bench = Bench::new(by_events());
        bench.put("a.yaml", "old");
        bench.until("a.yaml=old").await;
        bench.put("4913", "");
        fs::remove_file(bench.path("4913")).unwrap();
        bench.put(".a.yaml.swp", "x");
        fs::rename(bench.path("a.yaml"), bench.path(name)).unwrap();
        assert_eq!(show(&*bench.look().await), "a.yaml=old");
        let mut file = File::create(bench.path("a.yaml")).unwrap();
        assert_eq!(show(&*bench.look().await), "a.yaml=old");
        file.write_all(b"new").unwrap();
        drop(file);
        fs::remove_file(bench.path(name)).unwrap();
        bench.until_each("a.yaml=new", |seen| seen.files.contains_key("a.yaml")).await;
    }
}

// W05
#[tokio::test]
async fn half_a_write_does_not_count_until_the_file_is_closed() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "old");
    bench.until("a.yaml=old").await;
    let mut file = File::create(bench.path("a.yaml")).unwrap();
    file.write_all(b"ne").unwrap();
    keep_fresh(&file);
    assert_eq!(show(&*bench.look().await), "a.yaml=old");
    file.write_all(b"w").unwrap();
    drop(file);
    bench.until("a.yaml=new").await;
}

// W05
#[tokio::test]
async fn a_write_that_never_ends_counts_when_it_is_quiet() {
    let mut bench = Bench::new(by_events());
    bench.until("").await;
    let mut file = File::create(bench.path("a.yaml")).unwrap();
    file.write_all(b"all of it").unwrap();
    bench.until("a.yaml=all of it").await;
    drop(file);
}

// W12, W19
#[tokio::test]
async fn a_renamed_file_is_never_there_twice_nor_absent() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    bench.until("a.yaml=one").await;
    for (from, to) in [("a.yaml", "b.yaml"), ("b.yaml", "c.yaml"), ("c.yaml", "a.yaml")] {
        fs::rename(bench.path(from), bench.path(to)).unwrap();
        bench.until_each(&format!("{to}=one"), |seen| seen.files.len() == 1).await;
    }
}

// W20
#[tokio::test]
async fn a_file_that_is_removed_and_written_again_was_never_away() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    let first = bench.until("a.yaml=one").await;
    fs::remove_file(bench.path("a.yaml")).unwrap();
    assert!(Arc::ptr_eq(&first, &bench.look().await));
    bench.put("a.yaml", "one");
    bench.put("b.yaml", "two");
    let later = bench.until_each("a.yaml=one b.yaml=two", |s| s.files.contains_key("a.yaml")).await;
    assert_eq!(later.identity, first.identity);
}

// W06: what git-sync does. The link is switched in one step; the old tree goes later.
#[tokio::test]
async fn a_switched_root_link_shows_the_new_tree_whole_as_the_same_folder() {
    let top = tempfile::tempdir().unwrap();
    let link = top.path().join("current");
    let tree = |number: u32| top.path().join(format!(".trees/{number}"));
    let switch = |number: u32| {
        fs::create_dir_all(tree(number)).unwrap();
        for file in ["a", "b"] {
            fs::write(tree(number).join(format!("{file}.yaml")), number.to_string()).unwrap();
        }
        fs::write(tree(number).join(format!("only-{number}.yaml")), "x").unwrap();
        symlink(tree(number), top.path().join("next")).unwrap();
        fs::rename(top.path().join("next"), &link).unwrap();
    };
    switch(0);
    let source = Directory::new(&link, by_events());
    let mut bench = Bench { root: link.clone(), source, top: tempfile::tempdir().unwrap() };
    let first = bench.until("a.yaml=0 b.yaml=0 only-0.yaml=x").await;
    for number in 1..5 {
        switch(number);
        let files = format!("a.yaml={number} b.yaml={number} only-{number}.yaml=x");
        let is_one_tree = |seen: &Snapshot| {
            seen.files.len() == 3 && seen.files.get("a.yaml") == seen.files.get("b.yaml")
        };
        let seen = bench.until_each(&files, is_one_tree).await;
        assert_eq!(seen.identity, first.identity);
        fs::remove_dir_all(tree(number - 1)).unwrap();
    }
    // The new tree is listened to.
    bench.put("c.yaml", "y");
    bench.until("a.yaml=4 b.yaml=4 c.yaml=y only-4.yaml=x").await;
}

// W06: what Kubernetes does with a mounted ConfigMap.
#[tokio::test]
async fn a_switched_data_link_shows_the_new_files() {
    let mut bench = Bench::new(by_events());
    let switch = |root: &Path, version: &str| {
        let folder = root.join(format!("..{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), version).unwrap();
        symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    switch(&bench.root, "one");
    symlink("..data/a.yaml", bench.path("a.yaml")).unwrap();
    let first = bench.until("a.yaml=one").await;
    for version in ["two", "three"] {
        switch(&bench.root, version);
        let seen = bench.until(&format!("a.yaml={version}")).await;
        assert_eq!(seen.identity, first.identity);
    }
}

// W01, W08
#[tokio::test]
async fn a_root_that_is_removed_is_an_error_and_one_made_anew_is_another_folder() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    let first = bench.until("a.yaml=one").await;
    fs::remove_dir_all(&bench.root).unwrap();
    assert!(matches!(bench.until_error().await, Error::Missing { .. }));
    fs::create_dir(&bench.root).unwrap();
    bench.put("b.yaml", "two");
    let second = bench.until("b.yaml=two").await;
    assert_ne!(first.identity, second.identity);
    bench.put("b.yaml", "three");
    bench.until("b.yaml=three").await;
}

// W01, W08
#[tokio::test]
async fn a_root_that_is_moved_away_and_back_is_the_same_folder() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    let first = bench.until("a.yaml=one").await;
    let away = bench.top.path().join("away");
    fs::rename(&bench.root, &away).unwrap();
    bench.until_error().await;
    fs::rename(&away, &bench.root).unwrap();
    let second = bench.until("a.yaml=one").await;
    assert!(Arc::ptr_eq(&first, &second));
}

// W01
#[tokio::test]
async fn a_root_that_is_no_folder_is_an_error_and_never_an_empty_snapshot() {
    let mut bench = Bench::new(by_events());
    fs::remove_dir(&bench.root).unwrap();
    fs::write(&bench.root, "").unwrap();
    assert!(matches!(bench.until_error().await, Error::NotAFolder { .. }));
}

// W14: each of these would block a reader, or lead it out of the folder.
#[tokio::test]
async fn what_is_not_a_file_in_the_folder_is_unreadable_and_harms_no_other_file() {
    let mut bench = Bench::new(by_events());
    fs::write(bench.top.path().join("secret.yaml"), "secret").unwrap();
    bench.put("good.yaml", "one");
    bench.put("real", "two");
    mknodat(CWD, bench.path("fifo.yaml"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(bench.path("socket.yaml")).unwrap();
    fs::create_dir(bench.path("folder.yaml")).unwrap();
    fs::create_dir(bench.path("team")).unwrap();
    let links = [
        ("absolute.yaml", bench.top.path().join("secret.yaml").display().to_string()),
        ("dangling.yaml", "nowhere".to_owned()),
        ("device.yaml", "/dev/zero".to_owned()),
        ("loop.yaml", "loop.yaml".to_owned()),
        ("out.yaml", "../secret.yaml".to_owned()),
        ("to-fifo.yaml", "fifo.yaml".to_owned()),
        ("team/within.yaml", "../real".to_owned()),
    ];
    for (name, target) in links {
        symlink(target, bench.path(name)).unwrap();
    }
    let seen = patient(bench.look()).await.expect("nothing blocks");
    let out = "is a link that leads out of the folder; use a relative link that stays in it";
    let expected = [
        format!("absolute.yaml: {out}"),
        "dangling.yaml: is a link to nothing".to_owned(),
        format!("device.yaml: {out}"),
        "fifo.yaml: is a FIFO, not a file".to_owned(),
        "folder.yaml: is a folder, not a file".to_owned(),
        "good.yaml=one".to_owned(),
        "loop.yaml: is a link that leads back to itself".to_owned(),
        format!("out.yaml: {out}"),
        "socket.yaml: is a socket, not a file".to_owned(),
        "team/within.yaml=two".to_owned(),
        "to-fifo.yaml: is a FIFO, not a file".to_owned(),
    ];
    assert_eq!(show(&seen), expected.join(" "));
}

// W15
#[tokio::test]
async fn a_file_that_can_no_longer_be_read_is_unreadable_and_not_absent() {
    let mut bench = Bench::new(by_events());
    bench.put("a.yaml", "one");
    bench.until("a.yaml=one").await;
    fs::remove_file(bench.path("a.yaml")).unwrap();
    fs::create_dir(bench.path("a.yaml")).unwrap();
    let is_there = |seen: &Snapshot| seen.files.contains_key("a.yaml");
    bench.until_each("a.yaml: is a folder, not a file", is_there).await;
    fs::remove_dir(bench.path("a.yaml")).unwrap();
    bench.put("a.yaml", "two");
    bench.until_each("a.yaml=two", is_there).await;
}

// W16
#[tokio::test]
async fn too_large_a_file_is_unreadable_and_too_many_files_are_an_error() {
    let limits = Limits { files: 3, file_bytes: 1024 };
    let mut bench = Bench::new(Options { limits, ..by_events() });
    bench.put("a.yaml", &"x".repeat(2048));
    bench.put("b.yaml", "one");
    bench.until("a.yaml: is too large for a manifest: 2Ki, at most 1Ki are read b.yaml=one").await;
    bench.put("c.yaml", "x");
    bench.put("d.yaml", "x");
    assert!(matches!(bench.until_error().await, Error::TooManyFiles { limit: 3, .. }));
    fs::remove_file(bench.path("a.yaml")).unwrap();
    bench.until("b.yaml=one c.yaml=x d.yaml=x").await;
}

// W16
#[tokio::test]
async fn ten_thousand_files_are_read_and_one_changed_among_them_is_found() {
    let mut bench = Bench::new(by_events());
    for number in 0..10_000 {
        bench.put(&format!("app-{number}.yaml"), "kind: App");
    }
    let first = bench.look().await;
    assert_eq!(first.files.len(), 10_000);
    assert!(Arc::ptr_eq(&first, &bench.look().await));
    bench.put("app-5000.yaml", "kind: Job");
    let differs = |seen: &Snapshot| {
        seen.files.iter().filter(|(path, content)| first.files.get(*path) != Some(*content)).count()
    };
    let found = async {
        while differs(&*bench.look().await) == 0 {
            bench.source.changed().await;
        }
    };
    patient(found).await.expect("the change is found");
    assert_eq!(differs(&*bench.look().await), 1);
}
