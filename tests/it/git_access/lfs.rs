//! Git LFS, against a server that misbehaves on request (fault G12).

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use berth::{
    model::{GitSource, Reason},
    workspace::Error,
};
use serde_json::json;

use super::{
    Yard,
    lfs_server::{Content, Faults, PASSWORD, Store},
    source,
    wire::Wire,
};

/// A repository with a large file, the server that has it, and how to fetch it.
struct Depot {
    yard: Yard,
    store: Store,
    wire: Wire,
    model: Content,
}

impl Depot {
    fn new() -> Self {
        Self::with(Yard::new(), 200_000)
    }

    fn with(yard: Yard, size: usize) -> Self {
        let model = Content::new("some weights", size);
        let store = Store::default();
        store.add(&model);
        yard.keep("work", &[("token", PASSWORD)]);
        yard.commit(&[("model.bin", &model.pointer()), ("a", "1")]);
        let wire = store.serve(&yard.served());
        Self { yard, store, wire, model }
    }

    fn source(&self) -> GitSource {
        GitSource { lfs: true, ..source(&self.wire.url("/app.git"), Some("work")) }
    }

    async fn fetch(&self) -> Result<(), Error> {
        self.yard.fetch(&self.source()).await.map(drop)
    }

    fn is_complete(&self) -> bool {
        fs::read(self.yard.code("model.bin")).unwrap() == self.model.bytes()
    }

    fn downloads(&self) -> usize {
        self.wire.seen().iter().filter(|request| request.path.starts_with("/media/")).count()
    }

    fn asked(&self) -> usize {
        self.wire.seen().iter().filter(|request| request.path.ends_with("/batch")).count()
    }
}

#[tokio::test]
async fn files_of_git_lfs_are_fetched_once_for_all_apps_of_a_repository() {
    let depot = Depot::new();
    let other = Content::new("other", 10);
    depot.store.add(&other);
    let (model, small) = (depot.model.pointer(), other.pointer());
    let files = [
        ("web/model.bin", model.as_str()),
        ("web/copy.bin", &model),
        ("web/x", "x"),
        ("y.bin", &small),
    ];
    depot.yard.commit(&files);
    let web = GitSource { path: "web".to_owned(), ..depot.source() };
    depot.yard.fetch(&web).await.unwrap();
    for name in ["model.bin", "copy.bin"] {
        assert_eq!(fs::read(depot.yard.code(name)).unwrap(), depot.model.bytes(), "{name}");
        assert_eq!(fs::metadata(depot.yard.code(name)).unwrap().mode() & 0o777, 0o644);
    }
    assert_eq!((depot.asked(), depot.downloads()), (1, 1), "only what is below the path");
    depot.yard.fetch_as("other", &web).await.0.unwrap();
    assert_eq!((depot.asked(), depot.downloads()), (1, 1), "the apps share what was fetched");
    depot.yard.fetch_as("all", &depot.source()).await.0.unwrap();
    assert_eq!((depot.asked(), depot.downloads()), (2, 2));
    // A hand on one checkout does not reach the next one.
    fs::write(depot.yard.code("model.bin"), "changed by hand").unwrap();
    depot.yard.fetch_as("third", &web).await.0.unwrap();
    let third = depot.yard.folder.path().join("workspaces/third/code/model.bin");
    assert_eq!(fs::read(third).unwrap(), depot.model.bytes());
}

#[tokio::test]
async fn pointers_that_nobody_asked_for_are_refused_by_name() {
    let depot = Depot::new();
    let plain = GitSource { lfs: false, ..depot.source() };
    let error = depot.yard.fetch(&plain).await.unwrap_err();
    assert!(error.is_permanent());
    let told = error.to_string();
    assert!(told.contains("`model.bin`") && told.contains("`source.git.lfs: true`"), "{told}");
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
}

#[tokio::test]
async fn the_login_goes_to_the_repositorys_host_and_nowhere_else() {
    let depot = Depot::new();
    let elsewhere = Wire::start(depot.store.media_server());
    let url = format!("http://localhost:{}", elsewhere.port());
    *depot.store.elsewhere.lock().unwrap() = Some(url.clone());
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
    assert!(depot.wire.seen().iter().any(|request| request.login.is_some()));
    let seen = elsewhere.seen();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.login.is_none()), "{seen:?}");
    // The same by a redirect.
    let depot = Depot::new();
    let elsewhere = Wire::start(depot.store.clone().media_server());
    let clean = Store::default();
    clean.add(&depot.model);
    let last = Wire::start(clean.media_server());
    drop(elsewhere);
    let redirect = Some(format!("http://localhost:{}", last.port()));
    depot.store.fail(Faults { redirect, ..Faults::default() });
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
    let seen = last.seen();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.login.is_none()), "{seen:?}");
    let redirect = Some("file:///etc".to_owned());
    let depot = Depot::new();
    depot.store.fail(Faults { redirect, ..Faults::default() });
    assert_eq!(depot.fetch().await.unwrap_err().reason(), Reason::SourceNotAllowed);
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_was() {
    let depot = Depot::new();
    depot.store.fail(Faults { cuts: 3, busy: 1, dead_links: 1, ..Faults::default() });
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
    let seen = depot.wire.seen();
    let ranges = seen.iter().filter(|request| request.range.is_some()).count();
    assert_eq!(ranges, 3, "{seen:?}");
    let depot = Depot::new();
    depot.store.fail(Faults { cuts: 1, has_no_ranges: true, ..Faults::default() });
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
}

/// Fault G01: the next attempt has what this one brought.
#[tokio::test]
async fn a_download_that_hangs_is_killed_and_resumed_by_the_next_attempt() {
    let yard = Yard::with(|settings| settings.idle = Duration::from_secs(8));
    let depot = Depot::with(yard, 2_000_000);
    depot.store.fail(Faults { hangs: 1, ..Faults::default() });
    let error = depot.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    depot.fetch().await.unwrap();
    assert!(depot.is_complete());
    let seen = depot.wire.seen();
    assert!(seen.iter().any(|request| request.range.is_some()), "{seen:?}");
}

#[tokio::test]
async fn what_can_not_be_had_is_told_by_name_and_the_old_code_stays() {
    let depot = Depot::new();
    depot.fetch().await.unwrap();
    let gone = Content::new("gone", 100);
    let empty = json!({});
    let object = |error| json!({"objects": [{"oid": gone.oid(), "size": 100, "error": error}]});
    let cases = [
        (Faults::default(), "`new.bin`", "404: Object does not exist", true),
        (
            Faults {
                batch: Some((200, object(json!({"code": 422, "message": "no\u{1b}[2J"})))),
                ..Faults::default()
            },
            "`new.bin`",
            "422: no [2J",
            true,
        ),
        (
            Faults { batch: Some((404, empty.clone())), ..Faults::default() },
            "`new.bin`",
            "no Git LFS",
            true,
        ),
        (
            Faults { batch: Some((422, json!({"message": "bad ref"}))), ..Faults::default() },
            "`new.bin`",
            "422: bad ref",
            true,
        ),
        (
            Faults { batch: Some((401, empty.clone())), ..Faults::default() },
            "`work`",
            "login",
            true,
        ),
        (
            Faults { batch: Some((200, json!([1]))), ..Faults::default() },
            "`new.bin`",
            "does not answer as",
            true,
        ),
        (Faults { batch: Some((500, empty)), ..Faults::default() }, "app.git", "status 500", false),
    ];
    depot.yard.commit(&[("new.bin", &gone.pointer()), ("a", "2")]);
    for (faults, name, told, is_permanent) in cases {
        depot.store.fail(faults);
        let error = depot.fetch().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(told), "{text}");
        assert_eq!(error.is_permanent(), is_permanent, "{text}");
    }
    depot.store.add(&gone);
    depot.store.fail(Faults { is_wrong: true, ..Faults::default() });
    let error = depot.fetch().await.unwrap_err();
    assert!(error.to_string().contains("not what its pointer says"), "{error}");
    assert_eq!(depot.yard.read("a"), "1");
    assert!(depot.is_complete());
    depot.store.fail(Faults::default());
    depot.fetch().await.unwrap();
    assert_eq!(fs::read(depot.yard.code("new.bin")).unwrap(), gone.bytes());
}

#[tokio::test]
async fn a_pointer_to_too_much_is_refused_before_anything_is_transferred() {
    for (transfer, tree) in [(100_000, 8 << 30), (4 << 30, 100_000)] {
        let yard = Yard::with(|settings| {
            settings.transfer_bytes_max = transfer;
            settings.tree_bytes_max = tree;
        });
        let depot = Depot::with(yard, 200_000);
        let error = depot.fetch().await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        assert_eq!(depot.downloads(), 0);
    }
    let depot = Depot::new();
    let huge = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        "0".repeat(64),
        u64::MAX
    );
    depot.yard.commit(&[("a.bin", &huge), ("b.bin", &huge)]);
    let error = depot.fetch().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

/// Fault G09: whatever the limits allow, what the disk has no room for is not begun.
#[tokio::test]
async fn what_the_disk_has_no_room_for_is_refused_before_anything_is_transferred() {
    let yard = Yard::with(|settings| {
        (settings.transfer_bytes_max, settings.tree_bytes_max) = (u64::MAX, u64::MAX);
    });
    let depot = Depot::with(yard, 200_000);
    depot.fetch().await.unwrap();
    let before = depot.downloads();
    let huge = |digit: &str| {
        let oid = digit.repeat(64);
        let size = 1_u64 << 50;
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
    };
    depot.yard.commit(&[("a.bin", &huge("0")), ("b.bin", &huge("1")), ("c.bin", &huge("1"))]);
    let asked = depot.asked();
    let error = depot.fetch().await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::DiskFull, false), "{error}");
    let text = error.to_string();
    // Equal contents count once.
    assert!(text.contains("still to come hold 2048Ti, and "), "{text}");
    assert!(text.contains(" are free at ") && text.contains("64Mi are to stay free"), "{text}");
    assert_eq!((depot.downloads(), depot.asked()), (before, asked), "nobody was asked for them");
    assert!(depot.is_complete(), "what was in place stays");
}

#[tokio::test]
async fn a_repository_of_this_machine_gives_what_its_own_store_has() {
    let depot = Depot::new();
    let local = GitSource { lfs: true, ..source("./served/app.git", None) };
    let error = depot.yard.fetch(&local).await.unwrap_err();
    assert!(error.to_string().contains("git lfs fetch"), "{error}");
    let oid = depot.model.oid();
    let below = PathBuf::from("app.git/lfs/objects").join(&oid[..2]).join(&oid[2..4]);
    let folder = depot.yard.served().join(below);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&oid), "rubbish").unwrap();
    assert!(depot.yard.fetch(&local).await.is_err());
    fs::write(folder.join(&oid), depot.model.bytes()).unwrap();
    depot.yard.fetch(&local).await.unwrap();
    assert!(depot.is_complete());
}

/// As large as `BERTH_LFS_MIB` says; what the worker needs does not grow with it.
#[tokio::test]
async fn a_large_file_is_streamed_and_costs_no_memory() {
    let mib = std::env::var("BERTH_LFS_MIB").ok().and_then(|text| text.parse().ok());
    let size = mib.unwrap_or(96_usize) << 20;
    let depot = Depot::with(Yard::new(), size);
    let fetch = depot.fetch();
    tokio::pin!(fetch);
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut fetch => break done.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => most = most.max(worker_kib()),
        }
    }
    assert_eq!(fs::metadata(depot.yard.code("model.bin")).unwrap().len(), size as u64);
    assert!(0 < most && most < 64 << 10, "the worker had {most} KiB in memory");
}

/// The most memory that a worker of this process has had so far.
fn worker_kib() -> u64 {
    let own = format!("PPid:\t{}", std::process::id());
    let mut most = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(status) = fs::read_to_string(process.path().join("status")) else { continue };
        if !status.lines().any(|line| line == own) {
            continue;
        }
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok());
        if String::from_utf8_lossy(&command).contains("git-worker") {
            most = most.max(kib.unwrap_or(0));
        }
    }
    most
}
