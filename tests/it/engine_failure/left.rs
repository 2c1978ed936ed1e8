//! What builds of a repository's own Dockerfile leave behind with the classic builder, which labels
//! nothing but the image at the end (faults B01, B09).

use std::fs;

use serde_json::Value;

use super::{
    builds::App,
    second::{Home, Second, TINY},
};

/// How long the build stands still in the middle.
const HALF: &str = "RUN echo one > /one\nRUN echo two > /two\nRUN sleep 3600";
const FLAGS: [&str; 4] = ["--allow-local-git", "--builder", "classic", "--keep-images=1"];

/// What is written down of the builds of `page`, oldest first.
fn traces(home: &Home) -> Vec<Value> {
    let text = fs::read(home.path("workspaces/.steps/page.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The short ids that the last build has told, of images or of containers.
fn told(home: &Home, what: &str) -> Vec<String> {
    let traces = traces(home);
    let ids = traces.last().and_then(|trace| trace[what].as_array().cloned()).unwrap_or_default();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// All images, those that others rest on too.
fn images(second: &Second) -> Vec<String> {
    let said = second.docker(&["images", "--all", "--quiet", "--no-trunc"]);
    let mut all: Vec<_> = said.lines().map(ToOwned::to_owned).collect();
    all.sort();
    all.dedup();
    all
}

/// An image and a container that look like what a build leaves, and are somebody else's.
fn strangers(second: &Second) -> (String, String) {
    let made = second.docker(&["create", TINY, "true"]);
    let image = second.docker(&["commit", "--change", "LABEL theirs=1", &made]);
    second.docker(&["rm", &made]);
    (image, second.docker(&["create", TINY, "true"]))
}

/// A build was ended in the middle: what it made goes when somebody asks, whole, and nothing else.
#[test]
fn the_steps_of_an_ended_build_go_on_request() {
    let second = Second::start("", &[]);
    let home = Home::new();
    let page = App::new(&home, "page", "COPY data /data");
    let (image, container) = strangers(&second);
    let berth = home.start_with(&second, "engine.sock", &FLAGS);
    berth.until_running(&["page"]);
    let (before, containers) = (images(&second), second.all());

    page.commit(HALF, "");
    berth.until("the build is in its last step", || told(&home, "containers").len() == 3);
    let said = berth.ask(&["images", "gc"]).unwrap_or_else(|complaint| complaint);
    assert!(!said.contains("- sha256:"), "nothing goes during a build: {said}");
    drop(berth);
    let berth = home.start_with(&second, "engine.sock", &FLAGS);
    berth.until("it builds again", || traces(&home).len() == 3);
    berth.ask(&["stop", "page"]).unwrap();
    berth.until_said("page", "Paused", "");
    berth.until("the engine has ended the step", || second.all() == containers);
    let all = images(&second);
    assert_eq!(all.len(), before.len() + 2, "two steps were made");
    berth.passes_more(3);
    assert_eq!(images(&second), all, "the next build would go on from there");

    let said = berth.ask(&["images", "gc", "--dry-run"]).unwrap();
    assert!(said.contains("a build that came to no image"), "{said}");
    assert_eq!(images(&second), all, "a dry run removes nothing");
    let said = berth.ask(&["images", "gc"]).unwrap();
    assert_eq!(said.matches("a build that came to no image").count(), 2, "{said}");
    assert_eq!(images(&second), before);
    assert!(before.contains(&image) && second.all().contains(&container));
    let said = berth.ask(&["images", "gc"]).unwrap();
    assert!(!said.contains("- "), "{said}");
}

/// The engine died in the middle of a step: its container stays behind, and holds its image. A later
/// build of the app makes both useless.
#[test]
fn what_a_dead_engine_left_of_a_build_goes_on_request() {
    let second = Second::start("", &[]);
    let home = Home::new();
    let page = App::new(&home, "page", "COPY data /data");
    let (image, container) = strangers(&second);
    let berth = home.start_with(&second, "engine.sock", &FLAGS);
    berth.until_running(&["page"]);
    page.commit(HALF, "");
    berth.until("the build is in its last step", || told(&home, "containers").len() == 3);
    let step = told(&home, "containers").pop().unwrap();
    let made: Vec<_> = told(&home, "images").into_iter().skip(1).collect();
    assert_eq!(made.len(), 2);
    second.kill("dockerd");
    berth.until_said("page", "Unknown", "can't be reached");
    page.commit("COPY data /data", "smaller");
    second.up(&[]);
    berth.until("the next version is built", || {
        traces(&home).last().is_some_and(|trace| {
            trace["isDone"] == true && trace["since"] != traces(&home)[0]["since"]
        })
    });
    berth.until_running(&["page"]);
    let is_here = |id: &str| second.all().iter().any(|known| known.starts_with(id));
    let has_image = |short: &str| {
        images(&second).iter().any(|id| id.trim_start_matches("sha256:").starts_with(short))
    };
    assert!(is_here(&step), "the engine has left the container of the step");
    assert!(made.iter().all(|id| has_image(id)));

    let said = berth.ask(&["images", "gc", "--dry-run"]).unwrap();
    assert!(said.contains("- container "), "{said}");
    assert!(is_here(&step), "a dry run removes nothing");
    let said = berth.ask(&["images", "gc"]).unwrap();
    assert!(said.contains("- container "), "{said}");
    assert!(!is_here(&step), "{said}");
    for id in &made {
        assert!(!has_image(id), "{id}: {said}");
    }
    assert!(images(&second).contains(&image) && second.all().contains(&container));
    berth.until_running(&["page"]);
}
