//! What goes into a build context. The table of patterns agrees with Docker's own client.
#![cfg(test)]

use std::{
    fs,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, fs::symlink},
    path::Path,
    time::Duration,
};

use berth::workspace::context::{ContextLimits, ContextOptions, Error, ExtraFile, measure, stream};
use berth::workspace::ignore::Ignore;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::time::Instant;

/// Patterns with `;` for the line's end, a path, and whether it is left out.
const TABLE: &[(&str, &str, bool)] = &[
    // Anchored at the root; a folder takes all below it along.
    ("a", "a", true),
    ("a", "a/b/c", true),
    ("a", "b/a", false),
    ("a", "ab", false),
    ("a/b", "a/c", false),
    ("abc.def", "abcdef", false),
    // Cleaned: slashes at either end, `.` and `..`.
    ("/a", "a", true),
    ("a/", "a", true),
    ("./a/../b//c/", "b/c", true),
    ("  a\t", "a", true),
    ("/", "a", false),
    (".", "a", false),
    ("../a", "a", false),
    // `*` and `?` stay within a part.
    ("*", "a/b", true),
    ("*.txt", "a.txt", true),
    ("*.txt", "d/a.txt", false),
    ("*/*.txt", "d/a.txt", true),
    ("a/*.txt", "a/b/c.txt", false),
    ("*/b", "a/b/c", true),
    ("abc?def", "abcZdef", true),
    ("a?b", "a/b", false),
    (".*", ".env", true),
    (".*", "env", false),
    // Classes.
    ("a[b-d]e", "ace", true),
    ("a[b-d]e", "aae", false),
    ("a[^b-d]e", "aze", true),
    ("[.]env", ".env", true),
    // `**`
    ("**", "a/b", true),
    ("**/", "a", true),
    ("**/a", "a", true),
    ("**/a", "x/y/a/z", true),
    ("**/a", "ba", false),
    ("**a", "x/ba", true),
    ("**/.foo", "bar.foo", false),
    ("a/**", "a", false),
    ("a/**", "a/b/c", true),
    ("a**", "abc/d", true),
    ("a**/*.txt", "a/b/c/file.txt", true),
    ("**/*.txt", "file.txt", true),
    ("**/*.txt", "a/b/file.txt", true),
    ("**/b/*", "a/b/b/c", true),
    ("a/**/b", "a/b", true),
    ("a/**/b", "a/x/y/b", true),
    ("a/**/b", "a/xb", false),
    // The last match wins, also under a folder that is left out.
    ("*.md;!README.md", "README.md", false),
    ("!README.md;*.md", "README.md", true),
    ("docs;!docs/keep", "docs/keep/a", false),
    ("docs;!docs/keep", "docs/other", true),
    ("docs;!docs/keep;docs/keep/a", "docs/keep/a", true),
    ("*;!a", "a/b", false),
    ("**;!**/*.rs", "src/deep/lib.rs", false),
    ("a;! b ;b", "b", true),
    // Comments only at the very beginning of a line; a byte order mark is nothing.
    ("#a", "#a", false),
    (" #a", "#a", true),
    ("\\#a", "#a", true),
    ("\u{feff}a", "a", true),
    (";;a", "a", true),
];

#[test]
fn patterns_leave_out_what_docker_leaves_out() {
    let wrong: Vec<_> = TABLE
        .iter()
        .filter(|(lines, path, is_ignored)| {
            let ignore = Ignore::parse(&lines.replace(';', "\r\n")).unwrap();
            ignore.is_ignored(path) != *is_ignored
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_line_that_is_no_pattern_is_an_error_that_names_the_line() {
    for line in ["!", "! ", "a[", "a[]b", "[b-a]", "a\\", "!/"] {
        let error = Ignore::parse(&format!("# first\n{line}")).unwrap_err();
        assert!(matches!(error, Error::BadPattern { line: 2, .. }), "{line}: {error}");
    }
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    let ignore = Ignore::parse(&format!("{}b", "a*".repeat(200))).unwrap();
    assert!(!ignore.is_ignored(&"a".repeat(2_000)));
    // As many patterns as a file may hold, on a path as deep as a context may be.
    let ignore = Ignore::parse(&format!("*\n{}", "!docs/*.o\n".repeat(6_500))).unwrap();
    assert!(ignore.is_ignored(&"ab/".repeat(60)));
}

/// A folder with these files, each holding its own path.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        put(folder.path(), file, file);
    }
    folder
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn options() -> ContextOptions {
    let limits = ContextLimits::default();
    ContextOptions { dockerfile: None, extra: Vec::new(), only: None, limits }
}

async fn collect(stream: impl Stream<Item = io::Result<Bytes>>) -> io::Result<Vec<u8>> {
    let mut stream = Box::pin(stream);
    let mut archive = Vec::new();
    while let Some(chunk) = stream.next().await {
        archive.extend_from_slice(&chunk?);
    }
    Ok(archive)
}

async fn archive(folder: &Path, options: ContextOptions) -> Vec<u8> {
    collect(stream(folder.to_owned(), options)).await.unwrap()
}

async fn error(folder: &Path, options: ContextOptions) -> String {
    collect(stream(folder.to_owned(), options)).await.unwrap_err().to_string()
}

/// One line for each entry: its permissions, path and what is in it.
fn list(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mode = entry.header().mode().unwrap();
        let link = entry.link_name().unwrap().map(|to| format!(" -> {}", to.display()));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let text = if text.is_empty() || text == path { text } else { format!(" {text:.40}") };
        let shown = if text == path { "" } else { &text };
        lines.push(format!("{mode:o} {path}{}{shown}", link.unwrap_or_default()));
    }
    lines
}

async fn paths(folder: &Path, options: ContextOptions) -> Vec<String> {
    let lines = list(&archive(folder, options).await);
    lines.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

#[tokio::test]
async fn a_context_is_sorted_with_plain_permissions_and_without_git() {
    let folder = folder(&["b", "a/z", "a-b", "run.sh", ".git/config", "sub/.git", "B"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    let set = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("run.sh", 0o4711);
    set("b", 0o600);
    set("a", 0o700);
    symlink("../outside", folder.path().join("link")).unwrap();
    symlink("/etc", folder.path().join("etc")).unwrap();
    let expected = [
        "644 B",
        "755 a/",
        "644 a/z",
        "644 a-b",
        "644 b",
        "755 empty/",
        "777 etc -> /etc",
        "777 link -> ../outside",
        "755 run.sh",
        "755 sub/",
    ];
    assert_eq!(list(&archive(folder.path(), options()).await), expected);
}

// B06
#[tokio::test]
async fn the_same_files_give_the_same_bytes() {
    let files = ["a/b", "c", &format!("{}/{}", "long".repeat(30), "name".repeat(40))];
    let (one, other) = (folder(&files), folder(&files));
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::open(one.path().join("c")).unwrap().set_times(times).unwrap();
    let archive_of_one = archive(one.path(), options()).await;
    assert_eq!(archive_of_one, archive(other.path(), options()).await);
    put(other.path(), "c", "C");
    assert_ne!(archive_of_one, archive(other.path(), options()).await);
}

#[tokio::test]
async fn ignored_files_stay_out_but_what_the_engine_needs_goes_in() {
    let folder = folder(&["src/main.rs", "src/junk.o", "target/x", "docs/keep/a", "docs/b"]);
    put(folder.path(), "deploy/Dockerfile", "FROM scratch");
    put(folder.path(), ".dockerignore", "*\n!src\n**/*.o\n!docs/keep");
    let dockerfile = Some("deploy/Dockerfile".to_owned());
    let seen = paths(folder.path(), ContextOptions { dockerfile, ..options() }).await;
    let expected = [
        ".dockerignore *\n!src\n**/*.o\n!docs/keep",
        "deploy/",
        "deploy/Dockerfile FROM scratch",
        "docs/",
        "docs/keep/",
        "docs/keep/a",
        "src/",
        "src/main.rs",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn files_made_for_the_build_come_before_files_of_the_same_name() {
    let folder = folder(&["a", ".berth/old"]);
    put(folder.path(), ".berth/Dockerfile", "FROM evil");
    put(folder.path(), ".dockerignore", ".berth/Dockerfile");
    let made = |path: &str, text: &str, is_executable| ExtraFile {
        path: path.to_owned(),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        is_executable,
    };
    let extra =
        vec![made(".berth/start", "#!", true), made(".berth/Dockerfile", "FROM good", false)];
    let seen = list(&archive(folder.path(), ContextOptions { extra, ..options() }).await);
    let expected = [
        "755 .berth/",
        "644 .berth/old",
        "644 .dockerignore .berth/Dockerfile",
        "644 a",
        "644 .berth/Dockerfile FROM good",
        "755 .berth/start #!",
    ];
    assert_eq!(seen, expected);
}

// B05: unpacking `.berth/Dockerfile` behind a link would write somewhere else.
#[tokio::test]
async fn a_link_in_the_place_of_the_made_folder_is_refused() {
    let folder = folder(&["a"]);
    symlink("/tmp", folder.path().join(".berth")).unwrap();
    let file = ExtraFile { path: ".berth/x".into(), bytes: Bytes::new(), is_executable: false };
    let error = error(folder.path(), ContextOptions { extra: vec![file], ..options() }).await;
    assert!(error.starts_with("`.berth` is where Berth adds a folder"), "{error}");
}

// B06
#[tokio::test]
async fn a_fifo_is_refused_by_name_unless_it_is_ignored() {
    let folder = folder(&["a"]);
    mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let refused = error(folder.path(), options()).await;
    assert!(refused.starts_with("`pipe` is a FIFO"), "{refused}");
    put(folder.path(), ".dockerignore", "pipe");
    assert_eq!(paths(folder.path(), options()).await, [".dockerignore pipe", "a"]);
}

// B06
#[tokio::test]
async fn a_name_that_is_not_utf_8_is_refused() {
    let folder = folder(&["a"]);
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"b\xff")), "").unwrap();
    let refused = error(folder.path(), options()).await;
    assert!(refused.contains("other than UTF-8"), "{refused}");
}

// B05
#[tokio::test]
async fn too_large_a_context_is_refused() {
    let folder = folder(&["a", "b", "c"]);
    put(folder.path(), "d", &"x".repeat(1000));
    let limited = |bytes, entries| {
        let limits = ContextLimits { bytes, entries };
        ContextOptions { limits, ..options() }
    };
    assert!(error(folder.path(), limited(999, 9)).await.contains("999 bytes"));
    assert!(error(folder.path(), limited(9999, 3)).await.contains("3 files"));
    assert_eq!(paths(folder.path(), limited(1003, 4)).await.len(), 4);
}

// B04: a build from half a context must not begin.
#[tokio::test]
async fn an_archive_that_broke_off_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    // With its header and an archive's end this would fill one chunk.
    put(folder.path(), "a", &"x".repeat(64 * 1024 - 512 - 1024));
    mknodat(CWD, folder.path().join("z"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut stream = Box::pin(stream(folder.path().to_owned(), options()));
    let mut archive = Vec::new();
    let mut is_error = false;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => archive.extend_from_slice(&chunk),
            Err(_) => is_error = true,
        }
    }
    assert!(is_error && !archive.ends_with(&[0; 1024]));
}

#[test]
fn a_stream_that_is_dropped_ends_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "large", &"x".repeat(8 * 1024 * 1024));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stream = Box::pin(stream(folder.path().to_owned(), options()));
        assert!(stream.next().await.is_some());
    });
    // This waits for the thread.
    let (patience, start) = (Duration::from_secs(20), Instant::now());
    runtime.shutdown_timeout(patience);
    assert!(start.elapsed() < patience);
}

/// What may be fetched may be built: repositories with gigabytes of Git LFS too.
#[test]
fn a_context_may_be_as_large_as_a_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = |name: &str, bytes: u64| {
        fs::File::create(folder.path().join(name)).unwrap().set_len(bytes).unwrap();
    };
    let options = |limits| ContextOptions {
        dockerfile: Some(".berth/Dockerfile".to_owned()),
        extra: vec![ExtraFile {
            path: ".berth/Dockerfile".to_owned(),
            bytes: Bytes::from_static(b"FROM scratch"),
            is_executable: false,
        }],
        only: None,
        limits,
    };
    let usual = berth::workspace::Settings::default();
    let of_jobs = berth::execute::JobSettings::new("default", folder.path()).context;
    sparse("weights", usual.tree_bytes_max);
    let size = measure(folder.path(), &options(of_jobs)).unwrap();
    assert!(usual.tree_bytes_max < size.bytes, "{size:?}");
    // One that is larger than the operator allows is refused, with what to change.
    sparse("more", 3 << 20);
    let refusal = |limits| measure(folder.path(), &options(limits)).unwrap_err().to_string();
    let said = refusal(of_jobs);
    assert!(said.contains("bytes (git-max-checkout); ignore some in .dockerignore"), "{said}");
    for nth in 0..20 {
        sparse(&format!("small{nth}"), 0);
    }
    let said = refusal(ContextLimits::of_checkout(u64::MAX, 4));
    assert!(said.contains("more than 20 files (git-max-files)"), "{said}");
}
