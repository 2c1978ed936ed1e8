//! Groups of apps, the first rows of many, the machine, one model, settings, and help in editors.

use std::{collections::BTreeMap, sync::Arc};

use berth::model::{MountedModel, Timestamp};
use berth::state::{Container, ContainerId, ContainerState, Ownership, World};

use super::{HTML, look, place, send};
use crate::api::stage::{MANIFEST, Stage};

/// The rows of the list, as they stand: groups in brackets.
fn rows(page: &str) -> Vec<String> {
    let of = |part: &str| part.split('"').next().unwrap().to_owned();
    let all = page.split("<tr").filter_map(|row| row.split_once("data-key=\"").map(|it| of(it.1)));
    all.map(|key| match key.strip_prefix("group ") {
        Some(title) => format!("[{title}]"),
        None => key,
    })
    .collect()
}

#[tokio::test]
async fn apps_are_shown_in_groups_of_folders_and_labels() {
    let stage = Stage::start().await;
    stage.settle();
    for (name, file, team) in [
        ("one", "apps/a/one.yaml", Some("vision")),
        ("two", "apps/b/two.yaml", None),
        ("three", "apps/a/three.yaml", Some("audio")),
    ] {
        stage.put(name, |entry| {
            let app = Arc::make_mut(entry.app.as_mut().unwrap());
            app.origin.file = file.into();
            app.labels.clear();
            app.labels.extend(team.map(|team| ("team".to_owned(), team.to_owned())));
        });
    }
    let plain = look(&stage, "/").await.body;
    assert_eq!(rows(&plain), ["one", "three", "two"]);
    assert!(
        plain.contains("/?show=&#38;group=folder") || plain.contains("group=folder"),
        "{plain}"
    );
    let folders = look(&stage, "/?group=folder").await.body;
    assert_eq!(rows(&folders), ["[apps/a]", "one", "three", "[apps/b]", "two"]);
    let teams = look(&stage, "/?group=label:team").await.body;
    assert_eq!(rows(&teams), ["[no team]", "two", "[team=audio]", "three", "[team=vision]", "one"]);
    assert!(teams.contains("name=\"group\" value=\"label:team\""), "a search keeps the groups");
    let searched = look(&stage, "/?group=label%3Ateam&q=three").await.body;
    assert_eq!(rows(&searched), ["[team=audio]", "three"]);
    assert_eq!(rows(&look(&stage, "/?group=colour").await.body), ["one", "three", "two"]);
}

#[tokio::test]
async fn of_many_apps_the_first_are_there_at_once_and_the_others_when_they_are_asked_for() {
    let stage = Stage::start().await;
    stage.settle();
    for number in 0..130 {
        stage.put(&format!("app-{number:03}"), |_| ());
    }
    let first = look(&stage, "/").await.body;
    assert_eq!(rows(&first).len(), 100);
    assert!(first.contains("data-first") && first.contains("30 more</a>"), "{first}");
    let more = first.split("class=\"more\"><a href=\"").nth(1).unwrap().split('"').next().unwrap();
    let more = look(&stage, &more.replace("&#38;", "&").replace("&amp;", "&")).await.body;
    let shown = rows(&more);
    assert_eq!((shown.len(), shown[0].as_str()), (30, "app-100"), "{shown:?}");
    let all = look(&stage, "/?all=1").await.body;
    assert_eq!(rows(&all).len(), 130);
    assert!(!all.contains("data-first") && !all.contains("more</a>"));
}

/// What `berth doctor` says is on the screen, and under the API.
#[tokio::test]
async fn the_machine_is_judged_on_its_screen_as_by_the_doctor() {
    let stage = Stage::start().await;
    stage.settle();
    let page = look(&stage, "/ui/host").await.body;
    let said = stage.get("/api/v1/host").await.json();
    let checks = said["checks"].as_array().unwrap();
    assert!(30 < checks.len(), "{said}");
    for check in checks {
        let (code, name) = (check["code"].as_str().unwrap(), check["name"].as_str().unwrap());
        let row = page.split(&format!("data-key=\"{code}\"")).nth(1);
        let row = row.unwrap_or_else(|| panic!("{code}: {page}")).split("</li>").next().unwrap();
        assert!(row.contains(name), "{code}: {row}");
        let is_trouble = ["warning", "error"].contains(&check["outcome"].as_str().unwrap());
        assert_eq!(row.contains("What to do: "), is_trouble, "{code}: {row}");
    }
    assert!(page.contains("looked at <time"), "{page}");
    // Both are of one look; a fresh one is another.
    assert_eq!(stage.get("/api/v1/host").await.json()["at"], said["at"]);
    let part = stage.get("/api/v1/host?group=state&fresh=true").await.json();
    assert!(part["checks"].as_array().unwrap().iter().all(|check| check["group"] == "state"));
    assert_eq!(stage.get("/api/v1/host?fresh=perhaps").await.status, 400);
}

#[tokio::test]
async fn a_model_is_shown_with_who_uses_it_before_it_is_removed() {
    let stage = Stage::start().await;
    stage.settle();
    let path = "/models/demo/llm/1.0.0/weights.txt";
    let put = stage.ask("PUT", &format!("{path}?description=of+the+tests"), &[], "0123").await;
    assert!(put.status < 300, "{put:?}");
    let alias = stage.ask("PUT", "/models/demo/llm/aliases/stable?version=1.0.0", &[], "").await;
    assert!(alias.status < 300, "{alias:?}");
    let listed = look(&stage, "/ui/models").await.body;
    assert!(listed.contains(&format!("href=\"/ui{path}\"")), "{listed}");
    let alone = look(&stage, &format!("/ui{path}")).await;
    assert_eq!(alone.status, 200, "{alone:?}");
    for part in ["of the tests", "<dt>sha256</dt>", "<code>stable</code>", "No app mounts it"] {
        assert!(alone.body.contains(part), "{part}: {}", alone.body);
    }
    stage.put("chat", |entry| {
        let mounted = serde_json::json!({
            "model": "demo/llm", "version": "1.0.0", "digest": "0".repeat(64),
        });
        let mounted: MountedModel = serde_json::from_value(mounted).unwrap();
        entry.status.models.insert("/models".to_owned(), mounted);
    });
    let used = look(&stage, &format!("/ui{path}")).await.body;
    assert!(used.contains("1 app mounts it") && used.contains("name=\"force\""), "{used}");
    let names =
        [("project", "demo"), ("app", "llm"), ("version", "1.0.0"), ("model", "weights.txt")];
    let refused = send(&stage, "/ui/models/remove", &names).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(!refused.body.contains("force=true"), "the page has a box: {}", refused.body);
    let forced = [&names[..], &[("force", "true")]].concat();
    let removed = send(&stage, "/ui/models/remove", &forced).await;
    assert_eq!((removed.status, place(&removed).as_str()), (303, "/ui/models?done=model-remove"));
    let gone = look(&stage, &format!("/ui{path}")).await;
    assert!(gone.status == 404 && gone.body.contains("no model"), "{gone:?}");
}

#[tokio::test]
async fn a_manifest_is_begun_from_a_container_that_none_is_about() {
    let stage = Stage::start().await;
    stage.settle();
    let id = "e".repeat(64);
    let container = Container {
        id: ContainerId::new(id.clone()),
        name: "Old_Shop".to_owned(),
        ownership: Ownership::Foreign,
        image: "example.com/shop:7".to_owned(),
        image_id: String::new(),
        state: ContainerState::Running,
        exit_code: None,
        ports: vec![berth::model::PortBinding {
            host_ip: "127.0.0.1".to_owned(),
            host_port: 8080,
            container_port: 80,
            protocol: berth::model::Protocol::Tcp,
        }],
        networks: BTreeMap::new(),
        created: Timestamp::from_millis(0),
        gpus: None,
        labels: BTreeMap::new(),
    };
    stage.record.see(&Arc::new(World { containers: vec![container], ..World::default() }));
    let home = look(&stage, "/").await.body;
    assert!(home.contains(&format!("container={id}")), "{home}");
    let begun = look(&stage, &format!("/ui/register?as=text&container={id}")).await.body;
    for part in ["name: old-shop", "image: example.com/shop:7", "port: 80"] {
        assert!(begun.contains(part), "{part}: {begun}");
    }
    let gone = look(&stage, "/ui/register?as=text&container=none").await.body;
    assert!(gone.contains("not there any more"), "{gone}");
}

#[tokio::test]
async fn settings_say_where_links_lead_and_how_that_is_set() {
    let stage = Stage::start().await;
    let page = look(&stage, "/ui/settings").await.body;
    assert!(page.contains("Nothing is set") && page.contains("--base-url"), "{page}");
    let stage =
        Stage::with(|settings| settings.access.base_url = Some("https://b.example".into())).await;
    let page = look(&stage, "/ui/settings").await.body;
    assert!(page.contains("<code>https://b.example</code>"), "{page}");
}

#[tokio::test]
async fn editors_have_every_field_beside_them() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    std::fs::write(stage.manifests().join("chat.yaml"), MANIFEST).unwrap();
    for path in ["/ui/apps/chat/manifest", "/ui/register?as=text"] {
        let page = stage.ask("GET", path, &[HTML], "").await.body;
        for field in berth::manifest::fields::all() {
            let row = format!("data-path=\"{}\"", field.path);
            assert_eq!(page.matches(&row).count(), 1, "{path}: {row}");
        }
    }
}
