//! Screens: that each is there, says what it must, and lets nothing of what others wrote act.

use std::sync::Arc;

use berth::{
    manifest,
    model::{Phase, Reason},
    server,
    state::Hold,
};

use super::{look, send};
use crate::api::stage::{MANIFEST, Stage};

const SCREENS: [&str; 16] = [
    "/",
    "/ui/register",
    "/ui/apps/chat",
    "/ui/apps/chat/plan",
    "/ui/apps/chat/logs",
    "/ui/apps/chat/metrics",
    "/ui/apps/chat/manifest",
    "/ui/apps/chat/history",
    "/ui/apps/chat/terminal",
    "/ui/apps/chat/confirm?do=remove",
    "/ui/plan",
    "/ui/models",
    "/ui/host",
    "/ui/events",
    "/ui/audit",
    "/ui/settings",
];

async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.tell("chat", "it answers");
    std::fs::write(stage.manifests().join("chat.yaml"), MANIFEST).unwrap();
    stage
}

/// Every attribute and element that could act without a script file of ours.
fn acts(page: &str) -> Vec<&str> {
    let lower = page.to_ascii_lowercase();
    let bad = [
        "javascript:",
        " onclick",
        " onload",
        " onerror",
        " style=",
        "<style",
        "<iframe",
        "<object",
        "<embed",
        "<base",
        "srcdoc",
        "alert(1)</",
    ];
    bad.into_iter().filter(|word| lower.contains(word)).collect()
}

#[tokio::test]
async fn every_screen_is_complete_without_a_script() {
    let stage = stage().await;
    for path in SCREENS {
        let page = look(&stage, path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let policy =
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';";
        assert!(
            page.head.contains(policy) && page.has("cache-control: no-store"),
            "{path}: {}",
            page.head
        );
        assert!(!page.head.contains("unsafe"), "{path}");
        // With `no-referrer`, a browser would send this page's forms with `Origin: null`.
        assert!(page.has("referrer-policy: same-origin"), "{path}: {}", page.head);
        assert_eq!(page.body.matches("<h1").count(), 1, "{path} has one title");
        for part in ["<html lang=\"en\">", "<main id=\"main\"", "class=\"skip\"", "<nav aria-label"]
        {
            assert!(page.body.contains(part), "{path}: {part}");
        }
        assert_eq!(acts(&page.body), Vec::<&str>::new(), "{path}");
        assert!(!page.body.contains("hunter2"), "{path} shows a value of the environment");
        let ids =
            page.body.match_indices(" id=\"").map(|(at, _)| page.body[at + 5..].split('"').next());
        let mut ids: Vec<_> = ids.flatten().collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "{path}: an id is there twice");
    }
}

/// Fault H06: what others chose to call their things must not become part of any screen.
#[tokio::test]
async fn what_others_wrote_is_text_on_every_screen() {
    let stage = stage().await;
    let evil = "<script>alert(1)</script>\"'& onclick=x";
    stage.put("chat", |entry| {
        entry.status.phase = Phase::Failed;
        entry.status.message = evil.to_owned();
        entry.status.commit = Some(evil.to_owned());
        entry.status.image = Some(evil.to_owned());
        entry.status.url = Some("javascript:alert(1)".to_owned());
        entry.status.gpus = vec![evil.to_owned()];
        for condition in &mut entry.status.conditions {
            condition.message = evil.to_owned();
        }
        let mut plan = (*entry.plan).clone();
        plan.held = Some(evil.to_owned());
        plan.refusals =
            vec![berth::plan::Refusal { reason: Reason::PortTaken, message: evil.into() }];
        plan.changes =
            vec![berth::plan::Change { field: evil.into(), from: evil.into(), to: evil.into() }];
        entry.plan = Arc::new(plan);
    });
    stage.tell("chat", evil);
    stage.record.update_overview(|overview| {
        overview.source = evil.to_owned();
        overview.source_error = Some(evil.to_owned());
        overview.backup_trouble = Some(evil.to_owned());
        overview.backups = Some(Arc::new(berth::record::BackupSeen {
            to: evil.to_owned(),
            every: std::time::Duration::from_hours(1),
            newest: None,
            due: crate::api::stage::now(),
            bytes: None,
        }));
        overview.engine_error = Some(evil.to_owned());
        overview.hold = Some(Hold::Unreadable(evil.to_owned()));
        let bad = manifest::read_file("<b>.yaml", b"apiVersion: [");
        overview.diagnostics = Arc::new(bad.diagnostics);
    });
    let hostile = ["?q=%3Cscript%3E%22", "?show=%22%3E%3Cscript%3E", "?done=%3Cscript%3E"];
    let more = hostile.map(|query| format!("/{query}"));
    let logs = "/ui/apps/chat/logs?q=%3Cscript%3E%22&tail=%22%3E&since=%22%3E&source=%22%3E";
    let events = "/ui/events?app=%22%3E%3Cscript%3E";
    let paths =
        SCREENS.iter().copied().chain(more.iter().map(String::as_str)).chain([logs, events]);
    for path in paths {
        let page = look(&stage, path).await.body;
        let own = page.matches("<script type=\"module\" src=\"/ui/assets/").count();
        assert_eq!((own, page.matches("<script").count()), (1, 1), "{path}: {page}");
        let found: Vec<_> = acts(&page).into_iter().filter(|word| *word != " onclick").collect();
        assert_eq!(found, Vec::<&str>::new(), "{path}");
        assert!(!page.contains("<b>.yaml") && !page.contains("\" onclick"), "{path}");
    }
    let overview = look(&stage, "/ui/apps/chat").await.body;
    assert!(
        overview.contains("&lt;script&gt;") || overview.contains("&#60;script&#62;"),
        "{overview}"
    );
}

#[tokio::test]
async fn problems_come_first_and_filters_show_what_they_say() {
    let stage = stage().await;
    for (name, phase) in [
        ("asleep", Phase::Paused),
        ("broken", Phase::Failed),
        ("well", Phase::Running),
        ("young", Phase::Installing),
    ] {
        stage.put(name, |entry| entry.status.phase = phase);
    }
    let order = |page: &str| {
        let rows = page.match_indices("data-order=\"").map(|(at, _)| &page[at + 13..]);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = look(&stage, "/").await.body;
    assert_eq!(order(&all), ["broken", "young", "chat", "well", "asleep"]);
    assert!(all.contains("2 of 5 running") && all.contains("need somebody: </span>1"), "{all}");
    for (query, names) in [
        ("?show=problems", &["broken"][..]),
        ("?show=moving", &["young"]),
        ("?show=stopped", &["asleep"]),
        ("?show=running&q=WELL", &["well"]),
        ("?q=nobody", &[]),
        ("?only=well,gone", &["well"]),
    ] {
        assert_eq!(order(&look(&stage, &format!("/{query}")).await.body), names, "{query}");
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_is_a_screen_too() {
    let stage = stage().await;
    for path in ["/ui/apps/nobody", "/ui/apps/nobody/logs", "/ui/apps/No%20body/history"] {
        let page = look(&stage, path).await;
        assert_eq!(page.status, 404, "{path}");
    }
    assert!(look(&stage, "/ui/apps/nobody").await.body.contains("No such app"));
    let missing = send(&stage, "/ui/apps/nobody/stop", &[]).await;
    assert!(missing.status == 404 && missing.body.contains("role=\"alert\""), "{missing:?}");
}

#[tokio::test]
async fn scripts_and_style_are_kept_for_ever_under_an_address_of_their_own() {
    let stage = stage().await;
    let page = look(&stage, "/").await.body;
    let tag = page.split("/ui/assets/").nth(1).unwrap().split('/').next().unwrap();
    for (file, kind) in [
        ("page.css", "text/css"),
        ("main.js", "text/javascript"),
        ("worker.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let asset = stage.get(&format!("/ui/assets/{tag}/{file}")).await;
        assert!(
            asset.status == 200 && asset.head.contains(&format!("content-type: {kind}")),
            "{file}: {asset:?}"
        );
        assert!(asset.head.contains("immutable"), "{file}: {}", asset.head);
        let old = stage.get(&format!("/ui/assets/0000/{file}")).await;
        assert!(old.status == 200 && old.has("cache-control: no-store"), "{file}: {}", old.head);
    }
    assert_eq!(stage.get(&format!("/ui/assets/{tag}/mod.rs")).await.status, 404);
    let ours = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/assets");
    for entry in std::fs::read_dir(ours).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(
            stage.get(&format!("/ui/assets/{tag}/{file}")).await.body.trim(),
            text.trim(),
            "{file}"
        );
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "new Function",
            "document.write",
            "https://",
            ".style.",
        ] {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}

#[tokio::test]
async fn what_changes_is_told_by_name() {
    let stage = stage().await;
    let mut live = stage.open("/ui/live", "").await;
    live.until("event: hello").await;
    assert!(live.seen.contains("text/event-stream"), "{}", live.seen);
    stage.put("other", |_| ());
    live.until("\"apps\":[\"other\"]").await;
    stage.tell("chat", "something");
    live.until("\"apps\":[\"chat\"],\"events\":true").await;
}

/// A log's lines are elements, one a line, whatever is in them.
#[tokio::test]
async fn lines_of_a_log_come_as_parts_of_the_page() {
    let stage = stage().await;
    let lines = stage.get("/ui/apps/chat/lines").await;
    assert!(
        lines.status == 200 && lines.has("content-type: text/html; charset=utf-8"),
        "{lines:?}"
    );
    for line in lines.body.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("<div class=\"l\"") && line.ends_with("</div>"), "{line}");
    }
}

#[tokio::test]
async fn the_reference_names_every_screen() {
    let page = include_str!("../../../docs/page.md");
    for (method, path, _) in server::routes().filter(|(_, path, _)| path.starts_with("/ui/")) {
        assert!(
            page.contains(&format!("| `{method} {path}` |")),
            "{method} {path} is not in docs/page.md"
        );
    }
}
