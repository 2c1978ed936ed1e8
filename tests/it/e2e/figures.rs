//! The real program and an app in a real container, scraped by a real Prometheus.

use crate::figures::prometheus::Prometheus;

use super::{
    program::{Network, Program},
    stage::{Stage, name, project_file, tiny},
};

const SERVE: &str =
    "mkdir /tmp/w && echo 'chat_up 1' > /tmp/w/figures && exec httpd -f -p 9100 -h /tmp/w";

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_tells_figures_is_found_and_scraped() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let command = format!("[sh, -c, \"{SERVE}\"]");
    // The port is not published: Prometheus asks the container itself.
    stage.write("chat.yaml", &tiny("chat", &command, "metrics: {port: 9100, path: /figures}"));
    stage.write("mute.yaml", &tiny("mute", "[sleep, \"1000\"]", ""));
    let mut program = Program::start(&stage);
    let address = program.address().await;
    let prometheus = Prometheus::watching(&address, "500ms").await;
    prometheus
        .until("the app's own figure is there", async || {
            prometheus.value("chat_up{app=\"chat\"}").await == Some(1.0)
        })
        .await;
    prometheus
        .until("both apps are shown as running", async || {
            prometheus.value("sum(berth_apps{phase=\"Running\"})").await == Some(2.0)
        })
        .await;
    for query in [
        "berth_engine_calls_total{call=\"list_containers\",outcome=\"ok\"} > 1",
        "berth_engine_calls_total{call=\"create\",outcome=\"ok\"} == 2",
        "berth_engine_call_duration_seconds_count{call=\"start\"} == 2",
        "berth_rollouts_total{outcome=\"succeeded\"} == 2",
        "berth_disk_free_bytes{folder=\"workspaces\"} < ignoring(folder) berth_disk_size_bytes{folder=\"workspaces\"}",
        "berth_engine_up == 1",
        "process_resident_memory_bytes{job=\"berth\"} > 1e6",
        "count(up{job=\"berth-apps\"}) == 1",
        "berth_resync_timestamp_seconds > time() - 60",
    ] {
        let holds = async || !prometheus.query(query).await.unwrap().is_empty();
        prometheus.until(query, holds).await;
    }
    assert!(program.stop().await);
    assert_eq!(stage.containers(name("chat").as_str()).len(), 1, "the app goes on running");
}

/// The files of `compose/monitoring` as they are shipped, but for the address, and for how often is
/// looked: all targets are up, all rules well, and alerts come and go with what happens.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_monitoring_watches_a_berth_and_raises_its_alerts() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let command = format!("[sh, -c, \"{SERVE}\"]");
    stage.write("chat.yaml", &tiny("chat", &command, "metrics: {port: 9100, path: /figures}"));
    let mut program = Program::start(&stage);
    let address = program.address().await;
    let place = |text: String| {
        text.replace("127.0.0.1:8000", &address).replace("http://http://", "http://")
    };
    let config = place(project_file("compose/monitoring/prometheus/prometheus.yaml"));
    assert_eq!(config.matches(&address).count(), 2, "{config}");
    // A scrape may take as long as it is from the next.
    let config = config.replace("15s", "2s").replace("30s", "1s");
    // Full waits are played by `promtool test rules`; what waits five minutes is seen to begin.
    let rules = project_file("compose/monitoring/prometheus/alerts.yaml");
    let count = rules.matches("- alert: ").count();
    let rules = rules.replace("for: 1m\n", "for: 2s\n");
    let prometheus = Prometheus::start_beside(&config, &[("alerts.yaml", &rules)]).await;
    for job in ["berth", "berth-apps"] {
        let is_up = async || prometheus.targets(job).await == [("up".to_owned(), String::new())];
        prometheus.until(&format!("the target of {job} is up"), is_up).await;
    }
    prometheus
        .until("all rules were looked at and are well", async || {
            let rules = prometheus.rules().await;
            rules.len() == count && rules.iter().all(|(_, health)| health == "ok")
        })
        .await;
    let is = async |alert: &str, state: &str, word: &str| {
        let seen = prometheus.alert(alert).await;
        seen.is_some_and(|(now, summary)| now == state && summary.contains(word))
    };
    assert_eq!(prometheus.alert("BerthAppDegraded").await, None);
    // Before the first scrape there was nothing.
    prometheus
        .until("Berth is known to be up", async || prometheus.alert("BerthDown").await.is_none())
        .await;

    stage.write("broken.yaml", &tiny("broken", "[sh, -c, \"exit 3\"]", ""));
    prometheus
        .until("an app that does not run as wanted is noticed", async || {
            is("BerthAppDegraded", "pending", "broken does not run as wanted").await
        })
        .await;
    stage.erase("broken.yaml");
    prometheus
        .until("it is quiet once the app is gone", async || {
            prometheus.alert("BerthAppDegraded").await.is_none()
        })
        .await;
    assert!(program.stop().await);
    prometheus
        .until("a Berth that does not answer is noticed", async || {
            is("BerthDown", "firing", "Berth does not answer").await
        })
        .await;
}
