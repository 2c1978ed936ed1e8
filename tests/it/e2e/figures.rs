//! The real program and an app in a real container, scraped by a real Prometheus.

use crate::figures::prometheus::Prometheus;

use super::{
    program::{Network, Program},
    stage::{Stage, name, tiny},
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
