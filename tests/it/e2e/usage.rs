//! What a real container uses, beside what the engine says of it.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
};

use berth::{
    clock::Clock,
    engine::{
        Engine as _,
        docker::{Docker, Settings as DockerSettings},
    },
    record::Record,
    telemetry::exposed::Exposed as _,
    usage::{Collector, Settings},
};
use serde_json::Value;

use super::engine::{self, docker};

/// A container that is gone with the test.
struct Busy(String);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = engine::try_docker(&["rm", "-f", &self.0]);
    }
}

/// One that worked, holds memory, and sleeps now.
fn busy(name: &str, network: &str) -> Busy {
    let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; exec sleep 600";
    let id = docker(&[
        "run",
        "-d",
        "--name",
        name,
        "--network",
        network,
        "--memory",
        "64m",
        "--cpus",
        "0.9",
        "--label",
        "com.docker.compose.project=usage-test",
        engine::TINY,
        "sh",
        "-c",
        work,
    ]);
    Busy(id.trim().to_owned())
}

/// The engine's own figures.
fn stats(id: &str) -> Value {
    let host = engine::host();
    let mut stream = UnixStream::connect(host.strip_prefix("unix://").unwrap()).unwrap();
    let ask = format!("GET /containers/{id}/stats?stream=false HTTP/1.0\r\nHost: d\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap()
}

/// A figure of the container of this name.
fn figure(text: &str, family: &str, name: &str) -> Option<f64> {
    let name = format!("name=\"{name}\"");
    let is_it = |line: &&str| line.starts_with(&format!("{family}{{")) && line.contains(&name);
    text.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
}

/// Whether our figures of a container are those that the engine tells.
fn agree(text: &str, theirs: &Value, name: &str) -> Result<(), String> {
    let of = |pointer: &str| theirs.pointer(pointer).and_then(Value::as_f64);
    let seconds = |pointer: &str| of(pointer).map(|nanos| nanos / 1e9);
    let is_v1 = theirs.pointer("/memory_stats/stats/total_rss").is_some();
    let stat =
        |v1: &str, v2: &str| of(&format!("/memory_stats/stats/{}", if is_v1 { v1 } else { v2 }));
    for (family, expected) in [
        ("container_cpu_usage_seconds_total", seconds("/cpu_stats/cpu_usage/total_usage")),
        ("container_cpu_user_seconds_total", seconds("/cpu_stats/cpu_usage/usage_in_usermode")),
        ("container_cpu_cfs_periods_total", of("/cpu_stats/throttling_data/periods")),
        ("container_memory_usage_bytes", of("/memory_stats/usage")),
        ("container_spec_memory_limit_bytes", of("/memory_stats/limit")),
        ("container_memory_rss", stat("total_rss", "anon")),
        ("container_memory_cache", stat("total_cache", "file")),
        ("container_threads", of("/pids_stats/current")),
        ("container_network_receive_bytes_total", of("/networks/eth0/rx_bytes")),
    ] {
        let (ours, expected) = (figure(text, family, name), expected.unwrap());
        let ours = ours.ok_or_else(|| format!("{family} is missing in\n{text}"))?;
        // What arrives by itself, and the kernel's own small change, is a few hundred bytes.
        let slack = if family.ends_with("bytes_total") { 2000.0 } else { 0.0 };
        if expected * 0.02 + slack < (ours - expected).abs() {
            return Err(format!("{family}: {ours}, the engine says {expected}"));
        }
    }
    Ok(())
}

async fn look(record: &Record, docker: &Docker, collector: &Collector) -> String {
    record.see(&Arc::new(docker.observe().await.unwrap()));
    let mut text = String::new();
    collector.write(&mut text);
    text
}

#[tokio::test]
async fn figures_are_those_of_the_engine_and_end_with_the_container() {
    engine::must_be_ready();
    let pid = std::process::id();
    let (own, host) = (format!("usage-{pid}-own"), format!("usage-{pid}-host"));
    let (first, second) = (busy(&own, "bridge"), busy(&host, "host"));
    while !docker(&["logs", &first.0]).contains("done")
        || !docker(&["logs", &second.0]).contains("done")
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let engine = Docker::connect(DockerSettings::new(engine::host(), "usage-test")).unwrap();
    let record = Record::default();
    let collector = Collector::new(Settings::default(), record.worlds(), Clock::System);
    // The two are read one after the other, and the kernel adds up late: they agree soon.
    let mut tries = 0;
    let text = loop {
        let theirs = stats(&first.0);
        let text = look(&record, &engine, &collector).await;
        let Err(off) = agree(&text, &theirs, &own) else { break text };
        tries += 1;
        assert!(tries < 40, "{off}");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    };
    let line = text.lines().find(|l| l.starts_with("container_last_seen{") && l.contains(&own));
    let line = line.unwrap();
    for label in [
        format!("{}\"", first.0),
        format!("image=\"{}\"", engine::TINY),
        "container_label_com_docker_compose_project=\"usage-test\"".to_owned(),
    ] {
        assert!(line.contains(&label), "{label} is not in {line}");
    }
    assert!(figure(&text, "container_network_receive_bytes_total", &host).is_none());
    assert!(figure(&text, "container_memory_usage_bytes", &host).is_some());
    let started = figure(&text, "container_start_time_seconds", &own).unwrap();
    let seen = figure(&text, "container_last_seen", &own).unwrap();
    assert!((0.0..600.0).contains(&(seen - started)), "{started} {seen}");
    // Killed and removed: the engine is not asked again, and yet it is not shown any more.
    let before = record.worlds().borrow().clone();
    drop(first);
    record.see(&Arc::new((*before).clone()));
    let mut text = String::new();
    collector.write(&mut text);
    assert!(!text.contains(&own), "{text}");
    assert!(text.contains(&host));
}
