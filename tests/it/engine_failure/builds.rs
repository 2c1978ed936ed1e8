//! Builds that take too much: more than the disk has, for ever, or without end. What ran goes on,
//! what was used is bounded, and the status says which limit it was.

use std::{cell::Cell, fs};

use super::second::{Berth, Home, Second, TINY};
use crate::e2e::repository::Repository;

/// What may be written of a log: the default limit, and the lines that are kept in any case.
const LOG_BYTES_MAX: u64 = (10 << 20) + 200 * (8 << 10);
/// How much more of Berth may be in memory while a log without end is read.
const MEMORY_MAX: u64 = 64 << 20;

pub(super) struct App<'a> {
    home: &'a Home,
    name: &'static str,
    repository: Repository,
}

impl<'a> App<'a> {
    /// An app of a repository whose Dockerfile has these lines.
    pub(super) fn new(home: &'a Home, name: &'static str, lines: &str) -> Self {
        let repository = Repository::bare(&home.path("served").join(name));
        let app = Self { home, name, repository };
        app.commit(lines, "");
        app.home.write(
            name,
            &format!(
                "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  \
                 source: {{git: {}, interval: 1s}}\n  run: sleep 3600\n  health: none\n",
                app.repository.url()
            ),
        );
        app
    }

    pub(super) fn commit(&self, lines: &str, data: &str) {
        let source = format!("FROM {TINY}\n{lines}\n");
        self.repository.commit(&[("Dockerfile", &source), ("data", data)]);
    }

    fn log_bytes(&self) -> u64 {
        let log = self.home.path("workspaces").join(self.name).join(".berth/build.log");
        fs::metadata(log).map_or(0, |found| found.len())
    }
}

fn reason(berth: &Berth<'_>, app: &str) -> String {
    berth.status(app).map(|status| status["reason"].to_string()).unwrap_or_default()
}

fn images(second: &Second) -> Vec<String> {
    let said = second.docker(&["images", "--quiet", "--no-trunc"]);
    let mut all: Vec<_> = said.lines().map(ToOwned::to_owned).collect();
    all.sort();
    all.dedup();
    all
}

/// Faults D41, B03: a build that can't fit is refused before it begins, with the figures; one that
/// hangs is ended at its limit. What runs goes on, and what fits is built.
#[test]
fn a_build_that_does_not_fit_or_does_not_end_is_said_with_its_figures() {
    let second = Second::start("128m", &[]);
    let home = Home::new();
    let page = App::new(&home, "page", "COPY data /data");
    let flags = ["--allow-local-git", "--build-idle-timeout", "3s"];
    let berth = home.start_with(&second, "engine.sock", &flags);
    let before = berth.until_running(&["page"]);
    let had = images(&second);

    page.commit("COPY data /data", &"x".repeat(60 << 20));
    berth.until("the build is refused", || reason(&berth, "page").contains("InsufficientDisk"));
    let message = berth.status("page").unwrap()["message"].to_string();
    for figure in ["may take 12", "60Mi of context twice", "are free on the engine's disk"] {
        assert!(message.contains(figure), "{figure}: {message}");
    }
    assert_eq!(images(&second), had, "nothing was begun");
    assert_eq!(second.lives("page"), before);

    page.commit("RUN sleep 3600", "");
    berth.until_said("page", "Degraded", "the build was silent for 3s (build-idle-timeout)");
    assert_eq!(second.lives("page"), before);

    page.commit("COPY data /data", "smaller");
    berth.until("the new version runs", || {
        let now = second.lives("page");
        now.len() == 1 && now != before
    });
    berth.until_running(&["page"]);
}

/// Fault B03: whoever builds, a log without end fills neither the disk nor Berth's memory.
#[test]
fn a_log_without_end_is_bounded() {
    let second = Second::start("", &[]);
    for builder in ["classic", "buildkit"] {
        let home = Home::new();
        let line = "y".repeat(500);
        let noisy = App::new(&home, "noisy", &format!("RUN yes {line}"));
        let flags = ["--allow-local-git", "--builder", builder, "--build-timeout", "8s"];
        let flags = [&flags[..], &["--build-idle-timeout", "5s"]].concat();
        let berth = home.start_with(&second, "engine.sock", &flags);
        berth.until("the build is under way", || 0 < noisy.log_bytes());
        let (before, most) = (berth.resident(), Cell::new(0));
        // BuildKit passes no more on than 2 MiB of a step, and is silent then.
        berth.until("the build is ended", || {
            most.set(most.get().max(berth.resident().saturating_sub(before)));
            reason(&berth, "noisy").contains("BuildFailed")
        });
        let most = most.get();
        assert!(most < MEMORY_MAX, "{builder}: {most} bytes more in memory");
        assert!(noisy.log_bytes() <= LOG_BYTES_MAX, "{builder}: {}", noisy.log_bytes());
        let message = berth.status("noisy").unwrap()["message"].to_string();
        assert!(message.contains("-timeout)"), "{builder}: {message}");
    }
}

/// Faults D28, B09: what nothing needs goes when somebody asks, and nothing else does.
#[test]
fn images_that_nothing_needs_go_on_request_and_foreign_ones_stay() {
    let second = Second::start("", &[]);
    let home = Home::new();
    let page = App::new(&home, "page", "COPY data /data");
    let flags =
        |age: &'static str| ["--allow-local-git", "--keep-images", "1", "--images-max-age", age];
    let berth = home.start_with(&second, "engine.sock", &flags("24h"));
    let mut life = berth.until_running(&["page"]);
    for version in ["2", "3"] {
        page.commit("COPY data /data", version);
        berth.until("the next version runs", || {
            let now = second.lives("page");
            now.len() == 1 && now[0].id != life[0].id
        });
        life = berth.until_running(&["page"]);
    }
    // Somebody else's: an image of the same labels under a name of its own, one of another
    // instance, and a nameless one.
    let own = second.docker(&["images", "--quiet", "--filter", "label=dev.berth.image.app=page"]);
    let newest = own.lines().next().unwrap();
    second.docker(&["tag", newest, "mine:1"]);
    let made = second.docker(&["create", "--label", "theirs=1", TINY, "true"]);
    let foreign = second.docker(&["commit", &made]);
    let other = second.docker(&[
        "commit",
        "--change",
        "LABEL dev.berth.image.instance=other dev.berth.image.app=page dev.berth.image.build=0",
        &made,
        "berth/page:000000000000",
    ]);
    let held = second.docker(&["create", "--name", "holder", own.lines().last().unwrap(), "true"]);
    berth.ask(&["stop", "page"]).unwrap();
    berth.until_said("page", "Paused", "");
    drop(berth);
    let all = images(&second);
    assert!(5 <= all.len(), "{all:?}");

    let berth = home.start_with(&second, "engine.sock", &flags("1s"));
    berth.until_said("page", "Paused", "");
    let said = berth.ask(&["images", "gc", "--dry-run"]).unwrap();
    assert!(
        said.contains("newer images of the app are kept") && said.contains("would be freed"),
        "{said}"
    );
    assert_eq!(images(&second), all, "a dry run removes nothing");
    let going = said.lines().filter(|line| line.starts_with("- ")).count();
    assert_eq!(going, 1, "{said}");
    let said = berth.ask(&["images", "gc"]).unwrap();
    assert!(said.contains(" freed at most"), "{said}");
    let left = images(&second);
    let gone: Vec<_> = all.iter().filter(|id| !left.contains(id)).collect();
    assert_eq!(gone.len(), 1, "{said}");
    for kept in [&foreign, &other] {
        assert!(left.contains(kept), "{kept} was not ours");
    }
    for name in ["mine:1", "holder"] {
        second.docker(&["inspect", name]);
    }
    assert!(second.all().contains(&held));
    let said = berth.ask(&["images", "gc"]).unwrap();
    assert!(!said.contains("- "), "{said}");
}
