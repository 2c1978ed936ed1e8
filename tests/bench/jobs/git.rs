//! Fetching repositories, beside the git command line program.

use std::{io::Write as _, path::Path, process::Stdio, time::Duration};

use berth::{
    model::{AppName, GitSource, GitUrl},
    plan::Look,
    workspace::{Seen, Settings, Workspace},
};
use futures_util::future::join_all;
use tokio::{process::Command, sync::mpsc, time::Instant};

use crate::{
    git_server::{Answers, Server},
    report::{Row, Samples, Target},
    rounds,
};

const FILES: usize = 20_000;
const COMMITS: usize = 5;
/// How many files each commit but the first changes.
const CHANGED: usize = 500;
const APPS: usize = 100;

/// A clone of a large repository over smart HTTP, and its files on the disk.
pub(crate) async fn clone() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().join("served/app.git"), FILES, COMMITS).await;
    let server = Server::start(Answers::Git(folder.path().join("served")));
    let mut rows = Vec::new();
    for (depth, title) in [(1, "one commit"), (0, "the whole history")] {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for round in 0..rounds(4) {
            for side in 0..2 {
                let to = folder.path().join(format!("to-{round}-{side}"));
                if (round + side) % 2 == 0 {
                    ours.add(berth(&to, &server.url(), depth).await);
                } else {
                    theirs.add(git(&to, &server.url(), depth).await);
                }
                tokio::fs::remove_dir_all(&to).await.unwrap();
            }
        }
        let title = format!("clone of {FILES} files, {title}");
        let row = Row::new(title, "ms", Target::Ratio(1.1));
        rows.push(row.with("Berth", ours).with("raw", theirs));
    }
    rows
}

/// Looking for news that are none, for many apps of one remote.
pub(crate) async fn poll() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().join("served/app.git"), 10, 1).await;
    let server = Server::start(Answers::Git(folder.path().join("served")));
    let source = source(&server.url(), 1);
    let (mut took, mut connections) = (Samples::default(), Samples::default());
    for round in 0..rounds(5) {
        let root = folder.path().join(format!("workspaces-{round}"));
        let apps: Vec<_> = (0..APPS).map(|n| AppName::new(&format!("a{n}")).unwrap()).collect();
        {
            let workspace = workspace(&root);
            for app in &apps {
                let (sender, _said) = mpsc::channel(1000);
                workspace.fetch(app, &source, &root, &[], sender).await.unwrap();
            }
        }
        // As after a start: nothing was asked yet.
        let workspace = workspace(&root);
        let (before, since) = (server.connections(), Instant::now());
        let poll = async |app: &AppName| {
            let at = (Look::Polled, Instant::now());
            workspace.look(app, &source, &root, &[], at).await.unwrap()
        };
        let seen = join_all(apps.iter().map(poll)).await;
        took.add(since.elapsed());
        connections.add_plain(server.connections() - before);
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Same(_))));
    }
    let title = |what: &str| format!("poll of {APPS} apps on one remote without news: {what}");
    vec![
        Row::new(title("connections"), "connections", Target::AtMost(1.0))
            .with("Berth", connections),
        Row::new(title("time"), "ms", Target::None).with("Berth", took),
    ]
}

async fn berth(to: &Path, url: &str, depth: u32) -> Duration {
    let workspace = workspace(to);
    let app = AppName::new("app").unwrap();
    let (sender, _said) = mpsc::channel(1000);
    let since = Instant::now();
    workspace.fetch(&app, &source(url, depth), to, &[], sender).await.unwrap();
    since.elapsed()
}

async fn git(to: &Path, url: &str, depth: u32) -> Duration {
    let mut command = Command::new("git");
    command.args(["clone", "--quiet"]);
    if depth != 0 {
        command.arg(format!("--depth={depth}"));
    }
    let since = Instant::now();
    let status = command.arg(url).arg(to).stderr(Stdio::null()).status().await.unwrap();
    assert!(status.success());
    since.elapsed()
}

fn workspace(root: &Path) -> Workspace {
    let program = env!("CARGO_BIN_EXE_berth").into();
    Workspace::new(root.to_owned(), Settings { program, ..Settings::default() })
}

fn source(url: &str, depth: u32) -> GitSource {
    GitSource {
        url: GitUrl::parse(url).unwrap(),
        reference: None,
        path: String::new(),
        depth: Some(depth),
        submodules: false,
        lfs: false,
        auth: None,
        interval: Duration::ZERO,
    }
}

/// A packed repository of about 200 MB of words, the same in every run.
async fn make(path: &Path, files: usize, commits: usize) {
    let git = async |args: &[&str]| {
        let status = Command::new("git").args(args).arg(path).status().await.unwrap();
        assert!(status.success());
    };
    git(&["init", "--quiet", "--bare", "--initial-branch=main"]).await;
    let mut command = std::process::Command::new("git");
    command.arg("-C").arg(path).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let write = tokio::task::spawn_blocking(move || write(stdin, files, commits));
    write.await.unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    let mut repack = Command::new("git");
    repack.arg("-C").arg(path).args(["repack", "-adq"]);
    assert!(repack.status().await.unwrap().success());
}

fn write(to: std::process::ChildStdin, files: usize, commits: usize) -> std::io::Result<()> {
    let mut to = std::io::BufWriter::new(to);
    let mut chance = 7_u64;
    let mut next = move || {
        // A linear congruential generator: its upper bits are random enough for words.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chance >> 33
    };
    for commit in 0..commits {
        let time = 1_700_000_000 + commit;
        writeln!(to, "commit refs/heads/main\ncommitter a <a@example.com> {time} +0000\ndata 0")?;
        let changed = if commit == 0 { files } else { CHANGED.min(files) };
        for nth in 0..changed {
            let nth = if commit == 0 { nth } else { usize::try_from(next()).unwrap() % files };
            let length = [500, 2_000, 4_000, 8_000, 12_000, 30_000][nth % 6];
            let mut text = String::new();
            while text.len() < length {
                text.push_str(&format!("{:x} ", next() % 50_000));
            }
            let path = format!("d{}/s{}/f{nth}.txt", nth % 100, nth % 7);
            writeln!(to, "M 100644 inline {path}\ndata {}\n{text}", text.len())?;
        }
    }
    to.flush()
}
