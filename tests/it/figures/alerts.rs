//! The alerts of `compose/monitoring`: each fires when it should, is quiet when it should, and is
//! explained.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::prometheus::{promtool, try_promtool};

const RULES: &str = "compose/monitoring/prometheus/alerts.yaml";
const TESTS: &str = "compose/monitoring/prometheus/alerts_test.yaml";

fn project(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn alerts() -> Vec<String> {
    let rules = project(RULES);
    let named = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    named.map(ToOwned::to_owned).collect()
}

#[test]
fn every_alert_fires_when_it_should_and_not_when_it_should_not() {
    promtool(&["check", "rules", RULES]);
    promtool(&["check", "config", "compose/monitoring/prometheus/prometheus.yaml"]);
    let said = promtool(&["test", "rules", TESTS]);
    assert!(said.contains("SUCCESS"), "{said}");
    let tests = project(TESTS);
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for check in tests.split("alertname: ").skip(1) {
        let (name, rest) = check.split_once('\n').unwrap();
        let found =
            if rest.trim_start().starts_with("exp_alerts: []") { &mut quiet } else { &mut fires };
        found.insert(name.to_owned());
    }
    let all = alerts();
    assert!(15 <= all.len(), "{all:?}");
    for alert in &all {
        assert!(fires.contains(alert), "nothing shows that {alert} fires");
        assert!(quiet.contains(alert), "nothing shows that {alert} can be quiet");
    }
}

/// A check of the checker: an alert that does not fire as its test says is found.
#[test]
fn a_wrong_alert_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let rules = project(RULES).replace("berth_engine_up == 0\n", "berth_engine_up == 2\n");
    fs::write(folder.path().join("alerts.yaml"), rules).unwrap();
    let tests = folder.path().join("alerts_test.yaml");
    fs::write(&tests, project(TESTS)).unwrap();
    let (is_good, said) = try_promtool(&["test", "rules", tests.to_str().unwrap()], "");
    assert!(!is_good && said.contains("BerthEngineUnreachable"), "{said}");
}

#[test]
fn every_alert_is_explained() {
    let page = project("docs/monitoring.md");
    for alert in alerts() {
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} is not in docs/monitoring.md");
    }
}

/// What the compose file mounts is there, and the dashboard is one that Grafana can take.
#[test]
fn the_compose_file_names_what_is_there() {
    let compose = project("compose/monitoring/docker-compose.yaml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/monitoring");
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ."));
    let mounts: Vec<_> =
        mounts.map(|line| format!(".{}", line.split(':').next().unwrap())).collect();
    assert_eq!(mounts.len(), 3);
    for mount in mounts {
        assert!(folder.join(&mount).is_dir(), "{mount}");
    }
    let images = compose.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    for image in images {
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image} has no tag");
    }
    let dashboard: Value = serde_json::from_str(&project("examples/grafana/berth.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "an id is there twice");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} asks nothing", panel["title"]);
        assert!(targets.iter().all(|target| target["expr"].is_string()), "{}", panel["title"]);
    }
}

/// Grafana finds its data source, the dashboard, and the queries of the dashboard their data source:
/// what one file promises another keeps.
#[test]
fn the_dashboard_is_provided_and_finds_its_data_source() {
    let read = |path: &str| -> Value { serde_yaml::from_str(&project(path)).unwrap() };
    let folder = "compose/monitoring/grafana/provisioning";
    let sources = read(&format!("{folder}/datasources/prometheus.yaml"));
    let [source] = sources["datasources"].as_array().unwrap().as_slice() else {
        panic!("{sources}")
    };
    assert_eq!((&source["type"], &source["isDefault"]), (&json!("prometheus"), &json!(true)));
    let compose = project("compose/monitoring/docker-compose.yaml");
    let listens = source["url"].as_str().unwrap().trim_start_matches("http://");
    assert!(compose.contains(&format!("--web.listen-address={listens}\n")), "{listens}");
    let providers = read(&format!("{folder}/dashboards/berth.yaml"));
    let path = providers["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(compose.contains(&format!("- ../../examples/grafana:{path}:ro\n")), "{path}");

    let text = project("examples/grafana/berth.json");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let named = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    let chosen = named("datasource").unwrap();
    assert_eq!((&chosen["type"], &chosen["query"]), (&json!("datasource"), &source["type"]));
    let mut asked = 0;
    each(&dashboard, &mut |field, value| match field {
        "datasource" => {
            assert_eq!(value["uid"], "${datasource}", "{value}");
            assert_eq!(value["type"], source["type"], "{value}");
            asked += 1;
        }
        // What a query or a title puts in has a variable, or is Grafana's own.
        "expr" | "title" | "definition" => {
            for word in value.as_str().unwrap().split('$').skip(1) {
                let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let word = word.trim_start_matches('{').split(end).next().unwrap();
                assert!(word.starts_with("__") || named(word).is_some(), "{value}");
            }
        }
        _ => {}
    });
    assert!(40 <= asked, "{asked} queries name a data source");
}

/// Every field of a document, with its value.
fn each(document: &Value, look: &mut impl FnMut(&str, &Value)) {
    match document {
        Value::Object(fields) => {
            for (field, value) in fields {
                look(field, value);
                each(value, look);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| each(value, look)),
        _ => {}
    }
}
