//! Workspaces, with real repositories, a real git worker and git's own HTTP server.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod behind;
mod full;
mod modules;
mod refs;
mod sharing;
mod starved;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    time::Duration,
};

use berth::model::{AppName, GitSource, GitUrl, Reason};
use berth::state::Checkout;
use berth::workspace::{Error, Settings, Workspace};
use git2::{IndexEntry, IndexTime, ObjectType, Oid, Repository, Signature};
use tempfile::TempDir;
use tokio::{process::Command, sync::mpsc};

use crate::git_server::{Answers, Server};

const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_000;

/// A repository, and a workspace to fetch it into.
struct Bench {
    folder: TempDir,
    repository: Repository,
    workspace: Workspace,
    app: AppName,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path().join("served/app.git")).unwrap();
        repository.set_head("refs/heads/main").unwrap();
        let mut settings = Settings {
            program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
            is_local_allowed: true,
            ..Settings::default()
        };
        change(&mut settings);
        let workspace = Workspace::new(folder.path().join("workspaces"), settings);
        Self { folder, repository, workspace, app: AppName::new("chat").unwrap() }
    }

    fn commit(&self, files: &[(&str, u32, &str)]) -> Oid {
        let mut index = self.repository.index().unwrap();
        index.clear().unwrap();
        for (path, mode, text) in files {
            index.add_frombuffer(&entry(path, *mode), text.as_bytes()).unwrap();
        }
        self.commit_tree(index.write_tree().unwrap())
    }

    fn commit_tree(&self, tree: Oid) -> Oid {
        let author = Signature::now("a", "a@example.com").unwrap();
        let parent = self.repository.head().and_then(|head| head.peel_to_commit()).ok();
        let tree = self.repository.find_tree(tree).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        let head = Some("refs/heads/main");
        self.repository.commit(head, &author, &author, "m", &tree, &parents).unwrap()
    }

    async fn fetch(&self, source: &GitSource) -> Result<Checkout, Error> {
        self.fetch_and_listen(source).await.0
    }

    /// Fetches, and answers with what was said meanwhile.
    async fn fetch_and_listen(&self, source: &GitSource) -> (Result<Checkout, Error>, Vec<String>) {
        let (sender, mut said) = mpsc::channel(1000);
        let look_for = ["docker/gpu".to_owned(), "docker/absent".to_owned()];
        let done =
            self.workspace.fetch(&self.app, source, self.folder.path(), &look_for, sender).await;
        let mut lines = Vec::new();
        while let Ok(line) = said.try_recv() {
            lines.push(line);
        }
        (done, lines)
    }

    fn code(&self, path: &str) -> String {
        fs::read_to_string(self.workspace.code_dir(&self.app).join(path)).unwrap()
    }

    fn area(&self) -> PathBuf {
        self.workspace.folder(&self.app).join(".berth")
    }

    /// The one mirror that there is.
    fn mirror(&self) -> PathBuf {
        let mut mirrors = self.mirrors();
        assert_eq!(mirrors.len(), 1, "{mirrors:?}");
        mirrors.remove(0)
    }

    fn mirrors(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join("workspaces/.mirrors")).unwrap();
        let all = folder.map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|end| end == "git")).collect()
    }

    fn serve(&self) -> Server {
        Server::start(Answers::Git(self.folder.path().join("served")))
    }
}

pub(crate) fn entry(path: &str, mode: u32) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: Oid::ZERO_SHA1,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

/// Text that gets no smaller than half when it is compressed.
fn noise(length: usize, seed: usize) -> String {
    let blocks = (0..length.div_ceil(64)).map(|nth| {
        let text = format!("{seed} {nth}");
        berth::model::Digest::of_bytes(text.as_bytes()).short(64).to_owned()
    });
    let mut text: String = blocks.collect();
    text.truncate(length);
    text
}

fn source(url: &str) -> GitSource {
    GitSource {
        url: GitUrl::parse(url).unwrap(),
        reference: None,
        path: String::new(),
        depth: None,
        submodules: false,
        lfs: false,
        interval: Duration::ZERO,
        auth: None,
    }
}

/// The repository, as a folder of this machine.
fn local() -> GitSource {
    source("./served/app.git")
}

fn at(source: &GitSource, reference: &str) -> GitSource {
    GitSource { reference: Some(reference.to_owned()), ..source.clone() }
}

#[tokio::test]
async fn a_fetch_over_http_takes_one_commit_and_writes_it_complete() {
    let bench = Bench::new();
    bench.commit(&[("old", FILE, "old")]);
    let commit = bench.commit(&[
        ("requirements.txt", FILE, "flask"),
        ("run.sh", PROGRAM, "#!/bin/sh"),
        ("docker/gpu", FILE, "FROM x"),
        ("link", LINK, "docker/gpu"),
        ("ä/b c", FILE, "x"),
    ]);
    let server = bench.serve();
    let checkout = bench.fetch(&source(&server.url())).await.unwrap();
    assert_eq!(checkout.commit, commit.to_string());
    let files: Vec<_> = checkout.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["docker/gpu", "link", "requirements.txt", "run.sh"]);
    assert_eq!(bench.code("ä/b c"), "x");
    assert_eq!(bench.code("link"), "FROM x");
    let code = bench.workspace.code_dir(&bench.app);
    let mode = |name: &str| fs::metadata(code.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run.sh"), mode("requirements.txt"), mode("docker")), (0o755, 0o644, 0o755));
    assert!(!code.join("old").exists());
    assert!(Repository::open_bare(bench.mirror()).unwrap().is_shallow());
    assert_eq!(bench.workspace.load(&bench.app), Some(checkout));
    assert!(bench.workspace.data_dir(&bench.app).is_dir());
}

#[tokio::test]
async fn a_new_commit_swaps_the_code_as_a_whole_and_leaves_the_data_alone() {
    let bench = Bench::new();
    let server = bench.serve();
    bench.commit(&[("a", FILE, "1"), ("gone", FILE, "1")]);
    bench.fetch(&source(&server.url())).await.unwrap();
    fs::write(bench.workspace.data_dir(&bench.app).join("kept"), "mine").unwrap();
    let update = |metadata: &mut berth::workspace::Metadata| metadata.port = Some(8001);
    bench.workspace.update_metadata(&bench.app, update).unwrap();
    let second = bench.commit(&[("a", FILE, "2")]);
    let checkout = bench.fetch(&source(&server.url())).await.unwrap();
    assert_eq!(checkout.commit, second.to_string());
    assert_eq!(bench.code("a"), "2");
    assert!(!bench.workspace.code_dir(&bench.app).join("gone").exists());
    let kept = fs::read_to_string(bench.workspace.data_dir(&bench.app).join("kept")).unwrap();
    assert_eq!(kept, "mine");
    let metadata = bench.workspace.read_metadata(&bench.app).unwrap();
    assert_eq!((metadata.port, metadata.checkout), (Some(8001), Some(checkout)));
}

#[tokio::test]
async fn the_same_commit_again_writes_nothing() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    let server = bench.serve();
    let first = bench.fetch(&source(&server.url())).await.unwrap();
    let seen = || {
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        let folder = bench.workspace.folder(&bench.app);
        (inode(folder.join("code")), inode(folder.join("metadata.json")))
    };
    let before = seen();
    assert_eq!(bench.fetch(&source(&server.url())).await.unwrap(), first);
    assert_eq!(seen(), before);
}

#[tokio::test]
async fn branches_tags_and_commits_can_be_asked_for() {
    let bench = Bench::new();
    let first = bench.commit(&[("a", FILE, "1")]);
    let second = bench.commit(&[("a", FILE, "2")]);
    let third = bench.commit(&[("a", FILE, "3")]);
    let object = bench.repository.find_object(second, None).unwrap();
    let author = Signature::now("a", "a@example.com").unwrap();
    bench.repository.tag("v2", &object, &author, "annotated", false).unwrap();
    let server = bench.serve();
    for source in [source(&server.url()), local()] {
        for (reference, commit) in
            [("v2", second), ("main", third), (first.to_string().as_str(), first)]
        {
            let checkout = bench.fetch(&at(&source, reference)).await.unwrap();
            assert_eq!(checkout.commit, commit.to_string(), "{reference}");
        }
    }
    // A commit is what it is: once it is here, nobody is asked again.
    let pinned = at(&source(&server.url()), &first.to_string());
    drop(server);
    bench.fetch(&pinned).await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_the_repository_is_told_with_what_is() {
    let bench = Bench::new();
    let server = bench.serve();
    for source in [source(&server.url()), local()] {
        let error = bench.fetch(&source).await.unwrap_err();
        assert!(error.to_string().ends_with("; the repository is empty"), "{error}");
    }
    let commit = bench.commit(&[("web/a", FILE, "1"), ("api/b", FILE, "1")]);
    for source in [source(&server.url()), local()] {
        let error = bench.fetch(&at(&source, "vv")).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RefNotFound);
        let told = format!("no branch, tag or commit `vv` in {}; branches there: main", source.url);
        assert_eq!(error.to_string(), told);
        // Fault G18: a commit that is named in full is that one, or none.
        let unknown = bench.fetch(&at(&source, &"0".repeat(40))).await.unwrap_err();
        assert_eq!(unknown.reason(), Reason::RefNotFound, "{unknown}");
        let elsewhere = GitSource { path: "x".to_owned(), ..source };
        let error = bench.fetch(&elsewhere).await.unwrap_err();
        assert_eq!(error.reason(), Reason::PathNotFound);
        let short = &commit.to_string()[..7];
        let told =
            format!("no folder `x` in the repository at commit {short}; folders there: api, web");
        assert_eq!(error.to_string(), told);
    }
    assert_eq!(bench.workspace.load(&bench.app), None);
}

#[tokio::test]
async fn a_folder_of_the_repository_can_be_the_app() {
    let bench = Bench::new();
    bench.commit(&[("apps/web/Dockerfile", FILE, "FROM x"), ("README", FILE, "x")]);
    let source = GitSource { path: "apps/web".to_owned(), ..local() };
    let checkout = bench.fetch(&source).await.unwrap();
    assert!(checkout.has("Dockerfile"));
    assert_eq!(bench.code("Dockerfile"), "FROM x");
    let code = bench.workspace.code_dir(&bench.app);
    let inode = fs::metadata(&code).unwrap().ino();
    let other = bench.commit(&[("apps/web/Dockerfile", FILE, "FROM x"), ("README", FILE, "y")]);
    let again = bench.fetch(&source).await.unwrap();
    assert_eq!((again.commit, again.tree), (other.to_string(), checkout.tree));
    assert_eq!(fs::metadata(&code).unwrap().ino(), inode, "an equal tree is not written again");
}

#[tokio::test]
async fn what_a_host_says_is_told_so_that_one_can_act_on_it() {
    let bench = Bench::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let error = bench.fetch(&source(&format!("http://127.0.0.1:{port}/a"))).await.unwrap_err();
    let told = format!("can't reach host `127.0.0.1:{port}`: connection refused");
    assert_eq!((error.to_string(), error.is_permanent()), (told, false));
    let redirected =
        Some("http://localhost:1/app.git/info/refs?service=git-upload-pack".to_owned());
    let cases = [
        (401, None, Reason::GitAuth, true),
        (404, None, Reason::FetchFailed, true),
        (200, None, Reason::FetchFailed, true),
        (503, None, Reason::FetchFailed, false),
        // Fault G05: a host that sends us to another one.
        (301, redirected, Reason::SourceNotAllowed, true),
    ];
    for (status, location, reason, is_permanent) in cases {
        let server = Server::start(Answers::Status(status, location));
        let error = bench.fetch(&source(&server.url())).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), (reason, is_permanent), "{error}");
    }
}

/// Fault G01: a server that accepts and says nothing.
#[tokio::test]
async fn a_silent_server_is_given_up_and_blocks_nobody() {
    let bench = Bench::with(|settings| settings.idle = Duration::from_secs(1));
    bench.commit(&[("a", FILE, "1")]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/a", silent.local_addr().unwrap());
    let error = bench.fetch(&source(&address)).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { seconds: 1, .. }), "{error}");
    assert!(!error.is_permanent());
    // Who else uses the folder has more patience.
    let settings = Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
        is_local_allowed: true,
        ..Settings::default()
    };
    let patient = Workspace::new(bench.folder.path().join("workspaces"), settings);
    let (sender, _said) = mpsc::channel(1000);
    patient.fetch(&bench.app, &local(), bench.folder.path(), &[], sender).await.unwrap();
}

/// Faults G06, G12, G14: what a repository may not put on the disk.
#[tokio::test]
async fn a_commit_that_reaches_outside_is_refused_and_the_old_code_stays() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "good")]);
    let good = bench.fetch(&local()).await.unwrap();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for (files, path) in [
        (vec![("x/link", LINK, "../../etc/passwd")], "`x/link`"),
        (vec![("link", LINK, "/etc/passwd")], "`link`"),
        (vec![("Readme", FILE, "1"), ("README", FILE, "2")], "`Readme`"),
        (vec![("model.bin", FILE, lfs)], "Git LFS"),
    ] {
        bench.commit(&files);
        let error = bench.fetch(&local()).await.unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
        assert!(error.is_permanent());
    }
    let file = bench.repository.blob(b"evil").unwrap();
    let raw = [b"100644 ..\0", file.as_bytes()].concat();
    let tree = bench.repository.odb().unwrap().write(ObjectType::Tree, &raw).unwrap();
    bench.commit_tree(tree);
    assert!(bench.fetch(&local()).await.is_err());
    assert_eq!(bench.code("a"), "good");
    assert_eq!(bench.workspace.load(&bench.app), Some(good));
}

/// Fault G13.
#[tokio::test]
async fn a_submodule_is_left_empty_and_noted() {
    let bench = Bench::new();
    let commit = bench.commit(&[("a", FILE, "1")]);
    let mut builder = bench.repository.treebuilder(None).unwrap();
    builder.insert("vendor", commit, 0o160_000).unwrap();
    bench.commit_tree(builder.write().unwrap());
    let (done, said) = bench.fetch_and_listen(&local()).await;
    done.unwrap();
    assert!(said.iter().any(|line| line.contains("`vendor` is a submodule")), "{said:?}");
    assert!(bench.workspace.code_dir(&bench.app).join("vendor").is_dir());
}

/// Faults G09, B10: Berth or its worker is killed while it writes.
#[tokio::test]
async fn a_fetch_that_is_cancelled_leaves_the_old_code_and_the_next_one_heals() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "old")]);
    let old = bench.fetch(&local()).await.unwrap();
    let names: Vec<_> = (0..3000).map(|number| format!("d{}/f{number}", number % 50)).collect();
    let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), FILE, "x")).collect();
    files.push(("a", FILE, "new"));
    bench.commit(&files);
    let (sender, mut said) = mpsc::channel(1000);
    let source = local();
    {
        let fetch = bench.workspace.fetch(&bench.app, &source, bench.folder.path(), &[], sender);
        tokio::pin!(fetch);
        loop {
            tokio::select! {
                biased;
                line = said.recv() => if line.unwrap().starts_with("writing") { break },
                done = &mut fetch => panic!("done before it was cancelled: {done:?}"),
            }
        }
    }
    assert_eq!(bench.code("a"), "old");
    assert_eq!(bench.workspace.load(&bench.app), Some(old));
    bench.fetch(&source).await.unwrap();
    assert_eq!(bench.code("a"), "new");
    let code = bench.workspace.code_dir(&bench.app);
    assert!(names.iter().all(|name| code.join(name).is_file()));
}

/// Fault G09: a crash between the swap and `metadata.json`, or a hand that removed the code.
#[tokio::test]
async fn code_that_may_be_wrong_is_written_again() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    bench.fetch(&local()).await.unwrap();
    fs::write(bench.workspace.code_dir(&bench.app).join("a"), "half").unwrap();
    fs::write(bench.area().join("swap"), "").unwrap();
    assert_eq!(bench.workspace.load(&bench.app), None);
    bench.fetch(&local()).await.unwrap();
    assert_eq!(bench.code("a"), "1");
    fs::remove_dir_all(bench.workspace.code_dir(&bench.app)).unwrap();
    assert_eq!(bench.workspace.load(&bench.app), None);
    bench.fetch(&local()).await.unwrap();
    assert!(bench.workspace.load(&bench.app).is_some());
    fs::write(bench.workspace.folder(&bench.app).join("metadata.json"), "{").unwrap();
    assert_eq!(bench.workspace.load(&bench.app), None);
    bench.fetch(&local()).await.unwrap();
    assert!(bench.workspace.load(&bench.app).is_some());
}

/// Fault G09: the mirror is a cache.
#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    // There is never room for so much, so that a pack has one commit alone.
    let bench = Bench::with(|settings| settings.tree_bytes_max = u64::MAX);
    let server = bench.serve();
    bench.commit(&[("a", FILE, "0")]);
    bench.fetch(&source(&server.url())).await.unwrap();
    let git = bench.mirror();
    let damages: [&dyn Fn(); 4] = [
        &|| fs::write(git.join("HEAD"), "rubbish").unwrap(),
        &|| fs::write(git.join("objects/pack/tmp_pack_x"), "").unwrap(),
        &|| fs::write(git.join("shallow.lock"), "").unwrap(),
        &|| {
            for entry in fs::read_dir(git.join("objects/pack")).unwrap() {
                let path = entry.unwrap().path();
                fs::remove_file(&path).unwrap();
                fs::write(path, "rubbish").unwrap();
            }
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let text = format!("{number}!");
        bench.commit(&[("a", FILE, &text)]);
        bench.fetch(&source(&server.url())).await.unwrap();
        assert_eq!(bench.code("a"), text);
    }
    // The same commit, of which only a file is damaged.
    let pack = fs::read_dir(git.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    for path in pack.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() - 30;
        bytes[middle] ^= 0x55;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_dir_all(bench.workspace.code_dir(&bench.app)).unwrap();
    let (done, said) = bench.fetch_and_listen(&source(&server.url())).await;
    done.unwrap();
    assert!(said.iter().any(|line| line.contains("is made anew")), "{said:?}");
    assert_eq!(bench.code("a"), "3!");
}

/// Fault G10: the local transport can't copy from a shallow clone.
#[tokio::test]
async fn a_shallow_clone_of_this_machine_is_a_good_source() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    bench.commit(&[("a", FILE, "2")]);
    let from = format!("file://{}", bench.repository.path().display());
    let clone = bench.folder.path().join("clone");
    let status = Command::new("git")
        .args(["clone", "--quiet", "--depth", "1", &from])
        .arg(&clone)
        .status()
        .await;
    assert!(status.unwrap().success());
    bench.fetch(&source("./clone")).await.unwrap();
    assert_eq!(bench.code("a"), "2");
    let error = bench.fetch(&at(&source("./clone"), "vv")).await.unwrap_err();
    assert!(error.to_string().contains("it is a shallow clone"), "{error}");
    let error = bench.fetch(&source("./nowhere")).await.unwrap_err();
    assert!(matches!(error, Error::NoRepository { .. }), "{error}");
}

#[tokio::test]
async fn a_worker_that_dies_is_an_error_to_be_tried_again() {
    let bench = Bench::with(|settings| settings.program = PathBuf::from("/bin/false"));
    let error = bench.fetch(&local()).await.unwrap_err();
    assert!(error.to_string().contains("ended without an answer"), "{error}");
    assert!(!error.is_permanent());
}

/// Fault G04.
#[tokio::test]
async fn only_what_the_operator_allows_is_fetched() {
    let bench = Bench::with(|settings| settings.is_local_allowed = false);
    bench.commit(&[("a", FILE, "1")]);
    let error = bench.fetch(&local()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceNotAllowed);
    let error = bench.fetch(&source("http://169.254.169.254/a")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceNotAllowed, "fault G05");
}

type Limit = fn(&mut Settings);

/// Fault G11.
#[tokio::test]
async fn a_repository_beyond_the_limits_is_refused() {
    let noise: String =
        (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string()).collect();
    let limits: [(Limit, &str); 4] = [
        (|settings| settings.transfer_bytes_max = 10_000, "git-max-transfer"),
        (|settings| settings.tree_bytes_max = 10_000, "git-max-checkout"),
        (|settings| settings.file_bytes_max = 10_000, "git-max-file"),
        (|settings| settings.files_max = 1, "git-max-files"),
    ];
    for (limit, option) in limits {
        let bench = Bench::with(limit);
        bench.commit(&[("a", FILE, &noise), ("b", FILE, "")]);
        let server = bench.serve();
        let error = bench.fetch(&source(&server.url())).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_) | Error::Content { .. }), "{error}");
        assert!(error.to_string().contains(&format!("({option})")), "{error}");
        assert!(error.is_permanent());
    }
}

/// Fault G19: the host's git configuration sends addresses elsewhere.
#[tokio::test]
async fn the_configuration_of_the_host_does_not_apply() {
    let home = tempfile::tempdir().unwrap();
    let config = "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127.0.0.1\n";
    fs::write(home.path().join(".gitconfig"), config).unwrap();
    let home_text = home.path().display().to_string();
    let bench = Bench::with(|settings| {
        settings.env = [("HOME".to_owned(), home_text)].into();
    });
    bench.commit(&[("a", FILE, "1")]);
    let server = bench.serve();
    bench.fetch(&source(&server.url())).await.unwrap();
}

#[tokio::test]
async fn the_data_belongs_to_the_user_that_the_app_names() {
    let bench = Bench::new();
    let data = bench.workspace.data_dir(&bench.app);
    bench.workspace.prepare(&bench.app, None).unwrap();
    let mine = fs::metadata(&data).unwrap().uid();
    bench.workspace.prepare(&bench.app, Some(mine)).unwrap();
    let other = bench.workspace.prepare(&bench.app, Some(12_345));
    let owner = fs::metadata(&data).unwrap().uid();
    assert!(if mine == 0 { owner == 12_345 } else { other.is_err() });
}
