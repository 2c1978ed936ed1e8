//! What is said of an app's state: how far it is behind, and each cause once.

use berth::{
    model::{Phase, Reason},
    state::Ahead,
};

use super::look;
use crate::api::stage::Stage;

#[tokio::test]
async fn a_version_is_shown_with_how_far_it_is_behind() {
    let stage = Stage::start().await;
    stage.settle();
    for (behind, shown) in [
        (None, None),
        (Some(Ahead { commits: 0, is_more: false }), None),
        (Some(Ahead { commits: 1, is_more: false }), Some("1 commit")),
        (Some(Ahead { commits: 12, is_more: false }), Some("12 commits")),
        (Some(Ahead { commits: 1000, is_more: true }), Some("1000+ commits")),
    ] {
        stage.put("chat", |entry| {
            entry.status.commit = Some("c0ffee11".repeat(5));
            entry.status.commits_behind = behind;
        });
        let list = look(&stage, "/").await.body;
        let cell = list.split("data-label=\"Version\">").nth(1).unwrap();
        let cell = cell.split("</td>").next().unwrap();
        assert!(cell.starts_with("<code>c0ffee1</code>"), "{cell}");
        let tag = shown.map(|shown| format!("<span class=\"tag\">{shown} behind</span>"));
        assert_eq!(cell.contains("behind"), tag.is_some(), "{cell}");
        assert!(tag.is_none_or(|tag| cell.contains(&tag)), "{cell}");
        let app = look(&stage, "/ui/apps/chat").await.body;
        let fact = shown.map(|shown| format!("<dt>Behind its source</dt><dd>{shown}</dd>"));
        assert_eq!(app.contains("Behind its source"), fact.is_some(), "{app}");
        assert!(fact.is_none_or(|fact| app.contains(&fact)), "{app}");
        let said = stage.get("/api/v1/apps/chat").await.json();
        let commits = behind.map(|behind| behind.commits.into());
        assert_eq!(said["status"].get("commitsBehind"), commits.as_ref(), "{said}");
        let is_minimum = said["status"].get("commitsBehindIsMinimum").is_some();
        assert_eq!(is_minimum, behind.is_some_and(|behind| behind.is_more), "{said}");
    }
}

#[tokio::test]
async fn a_cause_stands_once_above_all_that_follows_from_it() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |entry| {
        (entry.status.phase, entry.status.reason) = (Phase::Failed, Reason::BuildFailed);
        entry.status.message = "the wheel does not turn".to_owned();
        for condition in entry.status.conditions.iter_mut().take(3) {
            condition.message = "the wheel does not turn".to_owned();
        }
    });
    for _ in 0..3 {
        stage.tell("chat", "another attempt");
    }
    let page = look(&stage, "/ui/apps/chat").await.body;
    // Besides that it stands in a mark, which tells programs the verdict.
    let shown = page.replace("data-verdict=\"Failed: the wheel does not turn\"", "");
    assert_eq!(shown.matches("the wheel does not turn").count(), 1, "{page}");
    assert_eq!(page.matches("another attempt").count(), 1, "{page}");
    assert!(page.contains("another attempt (3 times)"), "{page}");
    // The list of all events leaves none out.
    let all = look(&stage, "/ui/events").await.body;
    assert_eq!(all.matches("another attempt").count(), 3, "{all}");
}

#[tokio::test]
async fn a_build_that_failed_is_shown_by_its_own_last_lines() {
    let stage = Stage::start().await;
    stage.settle();
    let area = stage.folder.path().join("ws/chat/.berth");
    std::fs::create_dir_all(&area).unwrap();
    std::fs::write(area.join("build.log"), "Step 3/7\nno matching distribution\n").unwrap();
    // The version before runs on meanwhile, and has its own log.
    stage.put("chat", |_| ());
    let page = look(&stage, "/ui/apps/chat").await.body;
    assert!(page.contains("new log, tail 30") && !page.contains("no matching"), "{page}");
    stage.put("chat", |entry| entry.status.reason = Reason::BuildFailed);
    let page = look(&stage, "/ui/apps/chat").await.body;
    assert!(page.contains("no matching distribution"), "{page}");
    assert!(page.contains("Last lines of the build") && !page.contains("new log"), "{page}");
}
