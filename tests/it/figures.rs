//! What Prometheus sees: the page of figures, the targets, the alerts and the dashboard.

mod alerts;
mod contract;
mod field;
pub(crate) mod prometheus;
mod scene;

use std::{collections::BTreeMap, io::Read as _, sync::Arc};

use berth::{
    model::AppName,
    server::Figures,
    state::{Inventory, World},
    telemetry::{Exposed, dcgm::Names},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::api::stage::Stage;
use scene::{Scene, container};

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|shown| shown == *line), "{line} is not in\n{text}");
    }
}

/// An answer, byte by byte.
async fn raw(stage: &Stage, method: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "{method} /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = bytes.split_off(end);
    (String::from_utf8(bytes).unwrap().to_ascii_lowercase(), body)
}

#[tokio::test]
async fn the_page_is_text_or_open_metrics_packed_or_not_as_the_reader_likes() {
    let scene = Scene::plain().await;
    let (head, text) = raw(&scene.stage, "GET", "").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("vary: accept, accept-encoding\r\n"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("# TYPE berth_reconcile_total counter\n") && !text.contains("# EOF"));

    let (head, body) =
        raw(&scene.stage, "GET", "accept: application/openmetrics-text;version=1.0.0\r\n").await;
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
    let open = String::from_utf8(body).unwrap();
    assert!(open.contains("# TYPE berth_reconcile counter\n") && open.ends_with("\n# EOF\n"));
    assert!(open.contains("\nberth_reconcile_total{outcome=\"changed\"} 1\n"), "{open}");

    let (head, packed) = raw(&scene.stage, "GET", "accept-encoding: deflate, gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut unpacked = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(families(&unpacked), families(&text));
    assert!(packed.len() * 4 < text.len(), "{} of {}", packed.len(), text.len());

    let (head, body) = raw(&scene.stage, "HEAD", "").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
}

/// Every family with its type, in order. One that is there twice is a defect.
#[track_caller]
fn families(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(found.insert(name, kind), None, "{name} is there twice");
    }
    found
}

/// Every sample belongs to a family with help and type, and no series is there twice.
#[tokio::test]
async fn the_page_is_well_formed() {
    let scene = Scene::start(|figures| figures.gpu_names = Names::Both, 9090).await;
    let text = scene.text().await;
    let families = families(&text);
    assert!(80 < families.len(), "{} families", families.len());
    let mut series = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name), "{name} is there twice");
        assert!(value.parse::<f64>().is_ok() || value == "+Inf", "{line}");
        let family = name.split('{').next().unwrap();
        let ends = ["", "_bucket", "_sum", "_count"];
        let is_known = ends.iter().any(|end| {
            family.strip_suffix(end).is_some_and(|family| families.contains_key(family))
        });
        assert!(is_known, "{line} is of no family");
    }
    for name in families.keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        let open = name.strip_suffix("_total").unwrap_or(name);
        let is_free = open == *name || !families.contains_key(open);
        assert!(is_free, "{name} and {open} are one family in OpenMetrics");
    }
}

#[tokio::test]
async fn how_each_app_stands_is_shown() {
    let scene = Scene::plain().await;
    let text = scene.text().await;
    assert_lines(
        &text,
        &[
            "berth_apps_by_reason{phase=\"Running\",reason=\"Healthy\"} 3",
            "berth_apps_by_reason{phase=\"Installed\",reason=\"WaitingForGpu\"} 1",
            "berth_app_status{app=\"chat\",phase=\"Running\",reason=\"Healthy\"} 1",
            "berth_app_condition{app=\"chat\",condition=\"Ready\",status=\"True\"} 1",
            "berth_app_condition{app=\"queued\",condition=\"Ready\",status=\"False\"} 1",
            "berth_app_restarts_total{app=\"chat\"} 2",
            "berth_app_generation{app=\"chat\"} 3",
            "berth_apps_left_out 0",
            "berth_removals_waiting 0",
            "berth_gpu_queue_depth 1",
            "berth_images 1",
            "berth_images_bytes 1500000000",
        ],
    );
    let waited =
        text.lines().find_map(|l| l.strip_prefix("berth_gpu_queue_wait_seconds{app=\"queued\"} "));
    let waited: f64 = waited.unwrap().parse().unwrap();
    assert!((60.0..600.0).contains(&waited), "{waited}");
    assert!(text.contains("berth_disk_free_bytes{folder=\"state\"} "), "{text}");
    assert!(!text.contains("folder=\"gone\""), "a disk that nobody can look at is no series");
}

/// Fault H09: series of removed apps must not pile up, and there is an end to how many there are.
#[tokio::test]
async fn the_series_of_an_app_end_with_it() {
    let scene = Scene::plain().await;
    assert!(scene.text().await.contains("app=\"chat\""));
    let chat = AppName::new("chat").unwrap();
    scene.stage.record.forget(&chat);
    scene.stage.metrics.forget_app(&chat);
    scene.scans.forget(&chat);
    scene.stage.record.see(&Arc::new(World::default()));
    scene.cards.put(Inventory::default());
    let text = scene.text().await;
    assert!(!text.contains("chat"), "{text}");

    for number in 0..2010 {
        scene.stage.put(&format!("app-{number}"), |_| ());
    }
    let text = scene.text().await;
    assert_eq!(text.matches("\nberth_app_status{").count(), 2000);
    assert_lines(&text, &["berth_apps_left_out 13", "berth_apps{phase=\"Running\"} 2012"]);
}

#[tokio::test]
async fn what_each_app_uses_of_the_gpus_is_shown() {
    let scene = Scene::plain().await;
    let gib = |count: u64| count << 30;
    let text = scene.text().await;
    let users = [
        ("chat", "chat-01234567", "0", "GPU-a", gib(25)),
        ("sd", "sd-01234567", "1", "GPU-b", gib(15)),
        ("", "somebodys", "1", "GPU-b", gib(4)),
        ("", "999999999999", "1", "GPU-b", gib(2)),
        ("_host", "", "1", "GPU-b", gib(1)),
    ];
    for (app, container, gpu, uuid, bytes) in users {
        let labels =
            format!("{{app=\"{app}\",container=\"{container}\",gpu=\"{gpu}\",UUID=\"{uuid}\"}}");
        assert_lines(&text, &[&format!("berth_app_gpu_memory_used_bytes{labels} {bytes}")]);
    }
    let used = |name: &str| text.matches(&format!("\n{name}{{")).count();
    assert_eq!(used("berth_app_gpu_memory_used_bytes"), 5, "whisper's is not known");
    assert_eq!(used("berth_app_gpu_sm_utilization_ratio"), 3, "{text}");
    let mode = |app: &str, gpu: &str, uuid: &str, mode: &str| {
        format!(
            "berth_gpu_allocated{{gpu=\"{gpu}\",UUID=\"{uuid}\",app=\"{app}\",container=\"{app}-01234567\",mode=\"{mode}\"}} 1"
        )
    };
    let (chat, sd) = (mode("chat", "0", "GPU-a", "exclusive"), mode("sd", "1", "GPU-b", "shared"));
    assert_lines(
        &text,
        &[
            &chat,
            &sd,
            "berth_app_gpu_sm_utilization_ratio{app=\"sd\",container=\"sd-01234567\",gpu=\"1\",UUID=\"GPU-b\"} 0.5",
            "berth_gpu_memory_requested_bytes{gpu=\"1\",UUID=\"GPU-b\",app=\"whisper\",container=\"whisper-01234567\"} 8589934592",
            "berth_gpu_unhealthy{gpu=\"0\",UUID=\"GPU-a\"} 0",
            "berth_gpu_unhealthy{gpu=\"1\",UUID=\"GPU-b\"} 1",
            "berth_gpu_memory_size_bytes{gpu=\"0\",UUID=\"GPU-a\"} 151397597184",
            "berth_gpu_power_watts{gpu=\"0\",UUID=\"GPU-a\"} 300",
            "berth_gpu_stale 0",
        ],
    );
    assert!(text.contains(
        "berth_gpu_info{gpu=\"0\",UUID=\"GPU-a\",vendor=\"nvidia\",model=\"NVIDIA H200\""
    ));
    let util: Vec<_> = text.lines().filter(|l| l.starts_with("DCGM_FI_DEV_GPU_UTIL{")).collect();
    assert_eq!(util.len(), 2);
    assert!(
        util[0].contains("container=\"chat-01234567\",app=\"chat\"")
            && !util[1].contains("container")
    );
}

#[tokio::test]
async fn a_host_without_gpus_has_no_series_of_gpus() {
    let scene = Scene::plain().await;
    scene.cards.put(Inventory { at: Some(crate::api::stage::now()), ..Inventory::default() });
    let text = scene.text().await;
    assert!(!text.contains("DCGM") && !text.contains("berth_gpu_info"), "{text}");
    scene.cards.put(Inventory::default());
    assert!(!scene.text().await.contains("berth_gpu_stale"), "nobody has looked yet");
}

struct More;

impl Exposed for More {
    fn write(&self, out: &mut String) {
        out.push_str(
            "# HELP berth_images Ours.\n# TYPE berth_images gauge\nberth_images{at=\"x\"} 4\n",
        );
        out.push_str("# HELP container_last_seen When.\n# TYPE container_last_seen gauge\ncontainer_last_seen{name=\"chat\"} 7\n");
        out.push_str("# TYPE berth_apps counter\nberth_apps 4\n");
    }
}

#[tokio::test]
async fn what_others_have_to_show_is_joined() {
    let scene = Scene::start(|figures| figures.sources = vec![Arc::new(More)], 9090).await;
    let text = scene.text().await;
    families(&text);
    assert!(text.contains("\nberth_images 1\nberth_images{at=\"x\"} 4\n"), "{text}");
    assert_lines(&text, &["container_last_seen{name=\"chat\"} 7", "berth_families_left_out 1"]);
    assert!(!text.contains("\nberth_apps 4\n"));
}

#[tokio::test]
async fn the_targets_are_the_apps_that_declare_figures() {
    let scene = Scene::plain().await;
    let answer = scene.stage.get("/sd/prometheus").await;
    assert!(answer.status == 200 && answer.has("content-type: application/json"), "{answer:?}");
    let labels = json!({
        "app": "chat", "__metrics_path__": "/figures", "__meta_berth_phase": "Running",
        "__meta_berth_ready": "true", "__meta_berth_container": "chat-01234567",
    });
    assert_eq!(answer.json(), json!([{"targets": ["127.0.0.1:9090"], "labels": labels}]));
    for (query, targets) in [
        ("?network=berth", json!(["127.0.0.1:9090"])),
        ("?network=six", json!(["[fd00::7]:9090"])),
        ("?network=other", Value::Null),
        ("?address=published", json!(["127.0.0.1:8010"])),
        ("?address=published&host=host.docker.internal", json!(["host.docker.internal:8010"])),
    ] {
        let answer = scene.stage.get(&format!("/sd/prometheus{query}")).await;
        assert_eq!(answer.json()[0]["targets"], targets, "{query}");
    }
    for wrong in ["?address=other", "?networks=x", "?host=a/b", "?host="] {
        let answer = scene.stage.get(&format!("/sd/prometheus{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

/// An app without a running container has no address; one that is replaced has the newer one's.
#[tokio::test]
async fn a_target_is_what_runs_at_present() {
    let scene = Scene::plain().await;
    let mut newer = container('e', "chat", None);
    newer.networks = BTreeMap::from([("berth".to_owned(), Some("10.0.0.9".to_owned()))]);
    newer.created = crate::api::stage::now();
    let mut both = scene::world();
    both.containers.push(newer);
    scene.stage.record.see(&Arc::new(both.clone()));
    let target = async || scene.stage.get("/sd/prometheus").await.json()[0]["targets"][0].clone();
    assert_eq!(target().await, "127.0.0.1:9090", "the status still names the old one");
    both.containers.remove(0);
    scene.stage.record.see(&Arc::new(both));
    assert_eq!(target().await, "10.0.0.9:9090");
    scene.stage.record.see(&Arc::new(World::default()));
    assert_eq!(scene.stage.get("/sd/prometheus").await.json(), json!([]));
}

#[test]
fn nothing_is_shown_beside_berths_own_figures_unless_said() {
    let figures = Figures::default();
    assert!(figures.sources.is_empty() && figures.disks.is_empty());
    assert_eq!((figures.gpu_names, figures.host.is_empty()), (Names::Classic, false));
}

/// Counts everything once more, so that rates have something to tell.
fn count_again(stage: &Stage) {
    scene::count(stage);
}
