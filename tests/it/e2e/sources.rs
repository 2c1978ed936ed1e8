//! Repositories with more than plain files, those that mean harm, and builds that do not end:
//! beside a version that runs and goes on running.

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth::{
    model::{Phase, Reason},
    record::Command,
};

use super::{
    engine::TINY,
    repository::Repository,
    stage::{Berth, Stage, get, httpd, name},
};
use crate::git_access::{
    lfs_server::{Content, Store},
    wire::Wire,
};

fn manifest(app: &str, source: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         source: {{git: {{{source}}}, interval: 1s}}\n  run: httpd -f -p 8080 -h /www\n  port: 8080\n"
    )
}

/// What an app answers.
async fn said(berth: &Berth, app: &str, path: &str) -> String {
    let status = berth.status(app).unwrap();
    let answer = get(status.ports[0].host_port, path).await.expect("nothing answers");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn until_at(berth: &Berth, app: &str, commit: &str) {
    let is_there = |status: &berth::status::Status| {
        status.phase == Phase::Running && status.commit.as_ref().is_some_and(|at| *at == *commit)
    };
    berth.until_status(app, &format!("runs {commit}"), is_there).await;
}

/// Faults G12, G13: what lies elsewhere is in the image, as it should be, and a newer one takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_git_lfs_and_submodules_are_in_the_image() {
    let stage = Stage::new();
    let served = stage.path("served");
    let contents = ["weights", "other", "lib"].map(|seed| Content::new(seed, 200_000));
    let [first, second, lib] = &contents;
    let store = Store::default();
    for content in &contents {
        store.add(content);
    }
    let wire = store.serve_to(&served, None, None);
    let module = Repository::bare(&served.join("lib.git"));
    let lib_at = module.commit(&[("lib.bin", &lib.pointer()), ("plain", "of the module")]);
    let app = Repository::bare(&served.join("app.git"));
    let dockerfile = format!("FROM {TINY}\nCOPY . /www\n");
    let commit = |model: &Content| {
        app.commit_with(
            &[
                ("Dockerfile", &dockerfile),
                (".gitmodules", "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n"),
                ("model.bin", &model.pointer()),
            ],
            &[],
            &[("lib", &lib_at)],
        )
    };
    let at = commit(first);
    let source = format!("url: {}, lfs: true, submodules: true", wire.url("/app.git"));
    stage.write("app.yaml", &manifest("app", &source));
    let berth = stage.start();
    until_at(&berth, "app", &at).await;
    let text = |content: &Content| String::from_utf8(content.bytes()).unwrap();
    assert!(said(&berth, "app", "/model.bin").await == text(first));
    assert!(said(&berth, "app", "/lib/lib.bin").await == text(lib));
    assert_eq!(said(&berth, "app", "/lib/plain").await, "of the module");

    let at = commit(second);
    until_at(&berth, "app", &at).await;
    assert!(said(&berth, "app", "/model.bin").await == text(second));
}

/// An app that runs a good version of its repository.
struct Page {
    repository: Repository,
    url: String,
    life: (String, String),
    _wire: Wire,
}

impl Page {
    async fn start(stage: &Stage, berth: &Berth) -> Self {
        let served = stage.path("served");
        let repository = Repository::bare(&served.join("page.git"));
        let wire = Store::default().serve_to(&served, None, None);
        let url = wire.url("/page.git");
        let page = Self { repository, url, life: Default::default(), _wire: wire };
        let at = page.commit("", "one");
        stage.write("page.yaml", &page.manifest());
        until_at(berth, "page", &at).await;
        berth.until_running("page").await;
        Self { life: stage.container("page").life(), ..page }
    }

    fn manifest(&self) -> String {
        manifest("page", &format!("url: {}", self.url))
    }

    /// Commits a version that says this; its Dockerfile has more lines.
    fn commit(&self, lines: &str, text: &str) -> String {
        let dockerfile = format!("FROM {TINY}\nCOPY index.html /www/\n{lines}\n");
        self.repository.commit(&[("Dockerfile", &dockerfile), ("index.html", text)])
    }

    /// Fails unless the first version runs as it did.
    async fn must_run(&self, stage: &Stage, berth: &Berth) {
        assert_eq!(stage.container("page").life(), self.life);
        assert_eq!(said(berth, "page", "/").await, "one");
    }

    fn log(stage: &Stage) -> String {
        fs::read_to_string(stage.workspace("page", ".berth/build.log")).unwrap_or_default()
    }
}

/// Paths, and what is there.
type Files<'a> = &'a [(&'a str, &'a str)];

/// Faults G06, B05: a repository that means harm is refused with the reason, and what ran goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_repository_is_refused_by_name_and_loses_nothing() {
    let stage = Stage::new();
    let berth = stage.start();
    let page = Page::start(&stage, &berth).await;
    let kept = stage.path("kept");
    fs::write(&kept, "mine").unwrap();
    let far = kept.display().to_string();
    let plain = format!("FROM {TINY}\nCOPY . /www/\n");
    let outside = format!("FROM {TINY}\nCOPY ../../../../kept /www/\n");
    let long = "# nothing\n".repeat(7000);
    let hostile: [(Files<'_>, Files<'_>, &str); 5] = [
        (
            &[("Dockerfile", &plain)],
            &[("index.html", &far)],
            "`index.html` in the repository is a link that leads outside",
        ),
        (
            &[("Dockerfile", &plain)],
            &[("a/b/c", "../../../kept")],
            "`a/b/c` in the repository is a link that leads outside",
        ),
        (
            &[("index.html", "x")],
            &[("Dockerfile", "/etc/hostname")],
            "`Dockerfile` in the repository is a link that leads outside",
        ),
        (
            &[("Dockerfile", &plain), (".dockerignore", &long)],
            &[],
            "`.dockerignore` is larger than 64 KiB",
        ),
        (&[("Dockerfile", &outside)], &[], "kept"),
    ];
    for (files, links, words) in hostile {
        page.repository.commit_with(files, links, &[]);
        berth.command(Command::Reconcile(name("page"))).await;
        let is_said = |status: &berth::status::Status| status.message.contains(words);
        let status = berth.until_status("page", words, is_said).await;
        assert!(status.url.is_some(), "{status:?}");
        page.must_run(&stage, &berth).await;
        assert_eq!(fs::read_to_string(&kept).unwrap(), "mine");
        assert!(!leads_out(&stage.workspace("page", "")), "{words}");
    }
    // A manifest can't point out of the repository either.
    let source = page.manifest();
    stage.write("page.yaml", &format!("{source}  build: {{dockerfile: ../../Dockerfile}}\n"));
    let is_said = |status: &berth::status::Status| {
        status.conditions.iter().any(|one| one.reason == Reason::InvalidManifest)
    };
    berth.until_status("page", "its manifest is refused", is_said).await;
    page.must_run(&stage, &berth).await;

    stage.write("page.yaml", &source);
    let at = page.commit("", "two");
    berth.command(Command::Reconcile(name("page"))).await;
    until_at(&berth, "page", &at).await;
    assert_eq!(said(&berth, "page", "/").await, "two");
}

/// Whether a link below a folder leads to another place.
fn leads_out(folder: &Path) -> bool {
    let root = folder.canonicalize().unwrap();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        // What goes meanwhile leads nowhere.
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let Ok(kind) = entry.file_type() else { continue };
            let is_inside =
                |path: PathBuf| path.canonicalize().is_ok_and(|to| to.starts_with(&root));
            if kind.is_symlink() && !is_inside(entry.path()) {
                return true;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    false
}

/// Fault B03: a build with a log without end, and one that hangs, leave what runs and others
/// alone, and each ends as soon as there is a newer commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_end_gives_way_to_a_newer_commit() {
    let stage = Stage::new();
    let berth = stage.start();
    let page = Page::start(&stage, &berth).await;

    let line = "y".repeat(200);
    page.commit(&format!("RUN yes {line}"), "never");
    berth
        .until("the log grows", || {
            Page::log(&stage).lines().filter(|l| l.contains(&line)).count() > 50
        })
        .await;
    page.must_run(&stage, &berth).await;
    stage.write("other.yaml", &httpd("other", ""));
    berth.until_running("other").await;

    page.commit("RUN echo it hangs && sleep 3600", "never");
    berth
        .until("the next build is under way", || {
            let log = Page::log(&stage);
            log.lines().any(|l| l.trim_end().ends_with("it hangs")) && !log.contains(&line)
        })
        .await;
    page.must_run(&stage, &berth).await;

    let at = page.commit("", "two");
    until_at(&berth, "page", &at).await;
    assert_eq!(said(&berth, "page", "/").await, "two");
    berth.until("what went before is gone", || stage.containers("page").len() == 1).await;
}
