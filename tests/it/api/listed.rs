//! The list of apps, and the snapshot of a stream, are made once for all who ask: they say what the
//! record says all the same.

use serde_json::Value;

use super::stage::Stage;
use berth::model::AppName;

/// The apps of the list, each held against its own document.
async fn names(stage: &Stage) -> Vec<String> {
    let list = stage.get("/api/v1/apps").await.json();
    assert_eq!(list["kind"], "AppList");
    let mut names = Vec::new();
    for item in list["items"].as_array().unwrap() {
        let name = item["metadata"]["name"].as_str().unwrap();
        let mut one = stage.get(&format!("/api/v1/apps/{name}")).await.json();
        // What it uses at this moment is in its own document only.
        one["status"].as_object_mut().unwrap().remove("usage");
        assert_eq!(*item, one);
        names.push(name.to_owned());
    }
    let mut stream = Box::pin(stage.open("/api/v1/events", "")).await;
    Box::pin(stream.until("]}\n\n")).await;
    let snapshot: &Value = &stream.events("snapshot")[0];
    assert_eq!(snapshot["items"], list["items"]);
    assert_eq!(snapshot["revision"], list["metadata"]["revision"]);
    names
}

#[tokio::test]
async fn what_changes_is_seen_at_once_by_who_asks_again() {
    let stage = Stage::start().await;
    assert_eq!(names(&stage).await, Vec::<String>::new());
    for name in ["a", "b", "c"] {
        stage.put(name, |_| ());
    }
    assert_eq!(names(&stage).await, ["a", "b", "c"]);
    stage.put("b", |entry| entry.status.message = "it says «\"]}»".to_owned());
    assert_eq!(names(&stage).await, ["a", "b", "c"]);
    stage.record.forget(&AppName::new("a").unwrap());
    assert_eq!(names(&stage).await, ["b", "c"]);
    // One of that name that comes later is another one.
    stage.put("a", |entry| entry.generation = 9);
    assert_eq!(names(&stage).await, ["a", "b", "c"]);
    let error = |text: &str| Some(text.to_owned());
    stage.record.update_overview(|overview| overview.source_error = error("it is gone"));
    let list = stage.get("/api/v1/apps").await.json();
    assert_eq!(list["source"]["error"], "it is gone", "what is known beside the apps is not old");
}
