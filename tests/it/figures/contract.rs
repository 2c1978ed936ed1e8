//! The dashboard contract: a real Prometheus scrapes Berth, and no query of our dashboard, of our
//! alerts, or of the public dashboards that people use is without data.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use berth::{
    auth::{New, Role, Tokens},
    server::Access,
};
use serde_json::Value;

use super::{
    count_again,
    prometheus::{self, Prometheus, try_promtool},
    scene::Scene,
};

/// The queries of public dashboards, as they reach Prometheus: every variable stands for all.
const PUBLIC: &[(&str, &str)] = &[
    ("12239", "DCGM_FI_DEV_GPU_TEMP{instance=~\".*\",gpu=~\".*\"}"),
    ("12239", "avg(DCGM_FI_DEV_GPU_TEMP{instance=~\".*\",gpu=~\".*\"})"),
    ("12239", "DCGM_FI_DEV_POWER_USAGE{instance=~\".*\",gpu=~\".*\"}"),
    ("12239", "sum(DCGM_FI_DEV_POWER_USAGE{instance=~\".*\",gpu=~\".*\"})"),
    ("12239", "DCGM_FI_DEV_SM_CLOCK{instance=~\".*\",gpu=~\".*\"} * 1000000"),
    ("12239", "DCGM_FI_DEV_GPU_UTIL{instance=~\".*\",gpu=~\".*\"}"),
    ("12239", "DCGM_FI_DEV_FB_USED{instance=~\".*\",gpu=~\".*\"}"),
    ("12239", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{instance=~\".*\",gpu=~\".*\"}"),
    ("193", "count(container_last_seen{image!=\"\"})"),
    ("193", "container_memory_usage_bytes{image!=\"\"}"),
    ("193", "rate(container_cpu_user_seconds_total{image!=\"\"}[5m]) * 100"),
    ("193", "irate(container_network_receive_bytes_total{image!=\"\"}[5m])"),
    ("193", "irate(container_network_transmit_bytes_total{image!=\"\"}[5m])"),
    (
        "14282",
        "sum(rate(container_cpu_usage_seconds_total{instance=~\".*\",name=~\".*\",name=~\".+\"}[5m])) by (name) * 100",
    ),
    ("14282", "sum(container_memory_rss{instance=~\".*\",name=~\".*\",name=~\".+\"}) by (name)"),
    ("14282", "sum(container_memory_cache{instance=~\".*\",name=~\".*\",name=~\".+\"}) by (name)"),
    (
        "14282",
        "sum(rate(container_network_receive_bytes_total{instance=~\".*\",name=~\".*\",name=~\".+\"}[5m])) by (name)",
    ),
    (
        "14282",
        "sum(rate(container_network_transmit_bytes_total{instance=~\".*\",name=~\".*\",name=~\".+\"}[5m])) by (name)",
    ),
    (
        "14282",
        "(time() - container_start_time_seconds{instance=~\".*\",name=~\".*\",name=~\".+\"}) / 86400",
    ),
];

fn project(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// All queries of a dashboard, with Grafana's variables standing for all.
fn queries(document: &Value, found: &mut BTreeSet<String>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(query) if name == "expr" => {
                        let query =
                            query.replace("$__rate_interval", "1m").replace("$__range", "1m");
                        found.insert(query.replace("$instance", ".*").replace("$app", ".*"));
                    }
                    // What a variable can be: `label_values(METRIC, LABEL)`.
                    Value::String(query) if name == "definition" => {
                        let asked = query.strip_prefix("label_values(").unwrap();
                        let (metric, label) = asked.rsplit_once(", ").unwrap();
                        let label = label.trim_end_matches(')');
                        let query = format!("count by ({label}) ({metric})");
                        found.insert(query.replace("$instance", ".*"));
                    }
                    value => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// The names of metrics in a query.
fn metrics(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let starts = ["berth_", "container_", "DCGM_", "process_", "node_", "up"];
    let is_metric = |word: &&str| {
        *word == "up" || starts.iter().any(|start| *start != "up" && word.starts_with(start))
    };
    words.filter(is_metric).map(ToOwned::to_owned).collect()
}

async fn watched(scene: &Scene) -> Prometheus {
    let prometheus = Prometheus::watching(&scene.stage.address.to_string(), "250ms").await;
    prometheus
        .until("Berth and its app are scraped several times", async || {
            let scrapes = "min(count_over_time(up[1m])) >= 4 and count(up == 1) == 2";
            !prometheus.query(scrapes).await.unwrap().is_empty()
        })
        .await;
    prometheus
}

#[tokio::test]
async fn a_real_prometheus_finds_data_for_every_query() {
    let app = prometheus::app().await;
    let shop = crate::usage::shop();
    let day = std::time::Duration::from_hours(24);
    let backups = berth::daemon::backups::Figures::new(day);
    backups.note(berth::clock::Clock::System.now(), day / 1000, (2, 1), false);
    let more: [Arc<dyn berth::telemetry::Exposed>; 2] = [shop, Arc::new(backups)];
    let scene = Scene::start(|figures| figures.sources.extend(more), app.port()).await;
    let prometheus = watched(&scene).await;
    count_again(&scene.stage);
    prometheus
        .until("what was counted since is seen", async || {
            0.0 < prometheus
                .value("increase(berth_rollout_duration_seconds_count[1m])")
                .await
                .unwrap_or(0.0)
        })
        .await;

    let mut asked: Vec<(&str, String)> =
        PUBLIC.iter().map(|(board, query)| (*board, (*query).to_owned())).collect();
    let mut own = BTreeSet::new();
    queries(&serde_json::from_str(&project("examples/grafana/berth.json")).unwrap(), &mut own);
    assert!(30 <= own.len(), "our dashboard has shrunk to {} queries", own.len());
    for query in own {
        asked.push(("ours", query));
    }
    // One late scrape leaves all of them without data until the next.
    for (board, query) in &asked {
        let holds = async || prometheus.query(query).await.is_ok_and(|all| !all.is_empty());
        prometheus.until(&format!("{board}: {query}"), holds).await;
    }

    alerts_have_data(&prometheus).await;
    types_are_right(&prometheus).await;
    assert_eq!(prometheus.targets("berth-apps").await, [("up".to_owned(), String::new())]);
    let figure = "chat_answers_total{app=\"chat\",job=\"berth-apps\"}";
    prometheus.until(figure, async || prometheus.value(figure).await == Some(5.0)).await;
}

/// An alert about a metric that does not exist never fires.
async fn alerts_have_data(prometheus: &Prometheus) {
    let rules = project("compose/monitoring/prometheus/alerts.yaml");
    let named = metrics(&rules.replace("BerthDown", ""));
    let named: Vec<_> = named.iter().filter(|name| !name.starts_with("berth_alert")).collect();
    assert!(12 <= named.len(), "{named:?}");
    for name in named {
        let query = format!("count({name})");
        let holds = async || !prometheus.query(&query).await.unwrap().is_empty();
        prometheus.until(&format!("alerts name {name}"), holds).await;
    }
}

/// Scraped as `OpenMetrics`, names and types are what they are as text.
async fn types_are_right(prometheus: &Prometheus) {
    for (metric, kind) in [
        ("berth_reconcile", "counter"),
        ("berth_reconcile_duration_seconds", "histogram"),
        ("berth_apps", "gauge"),
        ("DCGM_FI_DEV_GPU_UTIL", "gauge"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "unknown"),
    ] {
        assert_eq!(prometheus.kind(metric).await, kind, "{metric}");
    }
    for (query, value) in [
        ("berth_reconcile_total{outcome=\"changed\"}", 2.0),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\"}", 9_000_000.0),
        ("sum(berth_apps)", 4.0),
    ] {
        prometheus.until(query, async || prometheus.value(query).await == Some(value)).await;
    }
}

/// Where people sign in the shipped configuration needs its commented lines, and nothing else.
#[tokio::test]
async fn the_shipped_configuration_signs_in() {
    let app = prometheus::app().await;
    let state = tempfile::tempdir().unwrap();
    let tokens = Arc::new(Tokens::new(state.path()));
    let name = "prometheus".to_owned();
    let new = New { name, role: Role::Viewer, expires: None, scopes: Vec::new() };
    let token = tokens.create(new, crate::api::stage::now()).unwrap();
    let file = state.path().join("berth.token");
    fs::write(&file, format!("{}\n", token.secret.reveal())).unwrap();
    let access =
        Access { tokens: Some(tokens), state_dir: state.path().to_owned(), ..Access::default() };
    let scene = Scene::of(|_| (), |settings| settings.access = access, app.port()).await;
    let shipped = project("compose/monitoring/prometheus/prometheus.yaml")
        .replace("rule_files:\n  - alerts.yaml\n", "")
        .replace("15s", "250ms")
        .replace("30s", "1s")
        .replace("127.0.0.1:8000", &scene.stage.address.to_string());
    let shut_out = Prometheus::start(&shipped).await;
    shut_out
        .until("it is not let in", async || {
            matches!(&shut_out.targets("berth").await[..], [(health, why)] if health == "down" && why.contains("401"))
        })
        .await;
    assert!(shut_out.targets("berth-apps").await.is_empty());
    let with = shipped
        .replace("# authorization:", "authorization:")
        .replace("/etc/prometheus/berth.token", file.to_str().unwrap());
    assert_eq!(with.matches(file.to_str().unwrap()).count(), 2, "{with}");
    let prometheus = Prometheus::start(&with).await;
    prometheus
        .until("Berth and its app are scraped", async || {
            !prometheus.query("count(up == 1) == 2").await.unwrap().is_empty()
        })
        .await;
}

/// `promtool check metrics` is the judge of names, units and helps of Berth's own families.
#[tokio::test]
async fn berths_own_families_pass_the_linter() {
    let scene = Scene::plain().await;
    let text = scene.text().await;
    let own: Vec<_> = text
        .lines()
        .filter(|line| {
            let name = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
            name.unwrap_or(line).starts_with("berth_")
        })
        .collect();
    assert!(200 < own.len(), "{} lines", own.len());
    let (is_good, said) = try_promtool(&["check", "metrics"], &format!("{}\n", own.join("\n")));
    assert!(is_good && said.trim().is_empty(), "{said}");
    let (is_good, said) =
        try_promtool(&["check", "metrics"], "# TYPE berth_x counter\nberth_x 1\n");
    assert!(!is_good && said.contains("berth_x"), "the linter finds nothing: {said}");
    // Names that others gave are not linted, but they parse.
    let (_, said) = try_promtool(&["check", "metrics"], &text);
    assert!(!said.contains("error while linting") && !said.contains("parse"), "{said}");
}
