//! Another version of Berth in its place, and the earlier one again: what runs is left alone.
//!
//! `BERTH_TEST_OTHER` is the program of another version, as `make upgrade` builds it; without it the
//! other version is this program, on a state in which every object has a field that it does not know.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{
    base::app::until_reason,
    engine::{self, Seen},
    program::{Network, Program},
    repository::Repository,
    stage::{Stage, httpd},
};

const HEALTH: &str = "health: {interval: 1s}";

/// The three programs, one after the other; the one in the middle is what is upgraded to.
fn programs() -> [PathBuf; 3] {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_berth"));
    match std::env::var_os("BERTH_TEST_OTHER").map(PathBuf::from) {
        Some(other) => [other.clone(), own, other],
        None => [own.clone(), own.clone(), own],
    }
}

/// As a version that knows more would have written it.
fn know_more(stage: &Stage) {
    fn more(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(more);
                // Lists by name are objects too; a name that no app can have is passed over.
                if fields.values().all(|value| !value.is_object()) {
                    fields.insert("knownLater".to_owned(), json!(["x"]));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(more),
            _ => {}
        }
    }
    let path = stage.path("state/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    more(&mut state);
    let text = state.to_string();
    assert!(text.contains("knownLater"), "{text}");
    fs::write(path, text).unwrap();
}

/// Which processes the apps are, and where they listen.
fn lives(stage: &Stage, apps: &[&str]) -> Vec<((String, String), Value)> {
    let life = |seen: Seen| (seen.life(), seen.0["NetworkSettings"]["Ports"].clone());
    apps.iter().map(|app| life(stage.container(app))).collect()
}

/// Fault T02: a program that is replaced by another version, and comes back, recreates nothing, and
/// each of them goes on working.
#[tokio::test(flavor = "multi_thread")]
async fn another_version_and_the_way_back_recreate_nothing() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let repository = Repository::bare(&stage.path("served/app.git"));
    let recipe = format!("FROM {}\nCMD [\"sleep\", \"3600\"]\n", engine::TINY);
    repository.commit(&[("Dockerfile", &recipe)]);
    let built = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: built}}\nspec:\n  \
         source: {{git: {}, interval: 1s}}\n",
        repository.url()
    );
    stage.write("built.yaml", &built);
    let more = format!(
        "{HEALTH}\nenv: {{ONE: \"1\"}}\nresources: {{memory: 64Mi, pids: 64}}\n\
         mounts: [{{path: /keep, volume: {}-keep}}, {{path: /tmp, tmpfs: 1Mi}}]\n\
         security: {{profile: restricted}}",
        stage.instance
    );
    stage.write("web.yaml", &httpd("web", &more));
    let mut apps = vec!["built", "web"];
    let mut before = Vec::new();
    let with_other = std::env::var_os("BERTH_TEST_OTHER").is_some();
    for (nth, path) in programs().iter().enumerate() {
        let mut program = Program::start_other(path, &stage);
        let address = program.address().await;
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        for app in &apps {
            until_reason(port, app, &["Healthy", "RunningUnchecked"]).await;
        }
        // It works: what is new is started.
        let name = ["first", "second", "third"][nth];
        stage.write(&format!("{name}.yaml"), &httpd(name, HEALTH));
        until_reason(port, name, &["Healthy"]).await;
        let now = lives(&stage, &apps);
        assert_eq!(now[..before.len()], before, "the version {nth} has changed what ran");
        assert!(program.stop().await);
        apps.push(name);
        before = lives(&stage, &apps);
        if !with_other {
            know_more(&stage);
        }
    }
    assert_eq!(before.len(), 5);
}
