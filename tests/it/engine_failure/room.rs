//! No room for what is to come: on the disk of the workspaces, and in the middle of a build.

use std::{cell::RefCell, fs};

use serde_json::Value;

use super::{
    builds::App,
    second::{Berth, Home, Life, Second},
};
use crate::folder::Mounted;

fn until_replaced(second: &Second, berth: &Berth<'_>, before: &[Life]) -> Vec<Life> {
    berth.until("the new version runs", || {
        let now = second.lives("page");
        now.len() == 1 && now != before
    });
    berth.until_running(&["page"])
}

/// Waits for a reason, and answers the status that has it.
fn until_reason(berth: &Berth<'_>, reason: &str) -> Value {
    let seen = RefCell::new(Value::Null);
    berth.until(&format!("the reason is {reason}"), || {
        seen.replace(berth.status("page").unwrap_or_default());
        seen.borrow()["reason"] == reason
    });
    seen.into_inner()
}

/// What is there of names, sorted.
fn names(home: &Home, part: &str) -> Vec<String> {
    let all = fs::read_dir(home.path(part)).unwrap();
    let mut all: Vec<_> = all.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// Faults G09, D41: a commit for which the workspaces have no room is said to be that, what runs goes
/// on, nothing of the attempt is left, and the next one that fits is built.
#[test]
fn full_workspaces_cost_no_running_version() {
    let home = Home::new();
    let place = home.path("workspaces");
    // New versions need 64 MiB there.
    let _disk = Mounted::at(&place, "100m").expect("mounting a file system in memory needs root");
    let second = Second::start("", &[]);
    let page = App::new(&home, "page", "COPY data /data");
    let berth = home.start_with(&second, "engine.sock", &["--allow-local-git"]);
    let before = berth.until_running(&["page"]);
    let (all, had) = (second.all(), names(&home, "workspaces/page/code"));
    let beside = names(&home, ".");

    page.commit("COPY data /data", &"x".repeat(120 << 20));
    let status = until_reason(&berth, "DiskFull");
    let message = status["message"].to_string();
    assert_eq!(status["phase"], "Running", "{message}");
    let conditions = status["conditions"].as_array().unwrap();
    let source = conditions.iter().find(|one| one["type"] == "SourceReady").unwrap();
    assert_eq!((&source["status"], &source["reason"]), (&"False".into(), &"DiskFull".into()));
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains(&place.display().to_string()), "{message}");
    berth.passes_more(3);
    assert_eq!(second.lives("page"), before, "what runs goes on");
    assert_eq!((second.all(), names(&home, "workspaces/page/code")), (all, had));
    assert_eq!(names(&home, "."), beside);
    let half = names(&home, "workspaces/page/.berth").into_iter().find(|n| n.starts_with("new-"));
    assert_eq!(half, None);

    page.commit("COPY data /data", "small");
    until_replaced(&second, &berth, &before);
}

/// Faults D41, B03: what nobody can foresee, a step that fills the disk, ends as what it is.
#[test]
fn a_step_that_fills_the_disk_costs_no_running_version() {
    let second = Second::start("128m", &[]);
    let home = Home::new();
    let page = App::new(&home, "page", "COPY data /data");
    let berth = home.start_with(&second, "engine.sock", &["--allow-local-git"]);
    let before = berth.until_running(&["page"]);
    let all = second.all();

    page.commit("RUN cat /dev/zero > /filler", "");
    let message = until_reason(&berth, "InsufficientDisk")["message"].to_string();
    assert!(message.to_lowercase().contains("no space left on device"), "{message}");
    assert_eq!(second.lives("page"), before, "what runs goes on");
    berth.until("nothing of the build is left", || second.all() == all);

    page.commit("COPY data /data", "small");
    until_replaced(&second, &berth, &before);
}

/// A first build has no last image to be guessed by: its base speaks for it.
#[test]
fn a_first_build_that_does_not_fit_is_refused_by_its_base() {
    let second = Second::start("160m", &[]);
    let home = Home::new();
    let filler = home.path("filler");
    fs::create_dir(&filler).unwrap();
    fs::write(filler.join("data"), "x".repeat(90 << 20)).unwrap();
    let archive = home.path("base.tar");
    let made = std::process::Command::new("tar")
        .args(["-C", &filler.display().to_string(), "-cf", &archive.display().to_string(), "data"])
        .status();
    assert!(made.unwrap().success());
    second.docker(&["import", &archive.display().to_string(), "shop/large:1"]);
    // The last `FROM` is what the image rests on.
    let _page = App::new(&home, "page", "FROM shop/large:1\nCOPY data /new");
    let berth = home.start_with(&second, "engine.sock", &["--allow-local-git"]);
    let message = until_reason(&berth, "InsufficientDisk")["message"].to_string();
    for words in ["as its base berth/tiny:offline and shop/large:1", "since it is the first build"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(second.lives("page").is_empty());
}
