//! What a scrape of 200 containers costs, beside cAdvisor in the same run.
//!
//! cAdvisor is the program that `BENCH_CADVISOR` names; without it Berth is measured alone.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    time::Duration,
};

use berth::model::label;
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use super::idle::{cpu_ms, resident_mb};
use crate::{
    bed::Bed,
    raw,
    report::{Row, Samples, Target},
    say,
};

const COUNT: usize = 200;
const SCRAPES: u32 = 10;
/// Longer than what Berth answers from its memory.
const PAUSE: Duration = Duration::from_millis(1100);
/// What a container's name and a family have to agree in.
const COMPARED: [&str; 11] = [
    "container_cpu_usage_seconds_total",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_mapped_file",
    "container_memory_max_usage_bytes",
    "container_memory_failcnt",
    "container_spec_memory_limit_bytes",
    "container_spec_cpu_shares",
    "container_network_receive_errors_total",
];

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let names = bed.names('m', COUNT);
    let body = json!({
        "Image": "berth/tiny:offline",
        "Cmd": ["sleep", "3600"],
        "Labels": { label::INSTANCE: bed.raw },
    });
    let body = body.to_string();
    let make = async |line: &mut raw::Line, name: &String| {
        let id = line.create("", name, &body).await;
        line.start("", &id).await;
    };
    raw::each(&bed.socket, &names, make).await;
    let (mut berth, port) = start_berth(bed).await;
    let ours = measure(berth.id().unwrap(), port).await;
    let mut rows = vec![
        Row::new("scrape of 200 containers: CPU a container", "µs", Target::AtMost(100.0))
            .with("Berth", ours.cpu.clone()),
        Row::new("scrape of 200 containers: answer", "ms", Target::Below(50.0))
            .with("Berth", ours.answer.clone()),
        Row::new("scraped, 200 containers: resident memory", "MB", Target::Below(40.0))
            .with("Berth", ours.memory.clone()),
    ];
    if let Some((mut cadvisor, its_port)) = start_cadvisor().await {
        let its = measure(cadvisor.id().unwrap(), its_port).await;
        rows.push(
            Row::new("CPU a container and scrape, beside cAdvisor", "µs", Target::Ratio(0.1))
                .with("Berth", ours.cpu)
                .with("raw", its.cpu),
        );
        rows.push(Row::new("cAdvisor: answer", "ms", Target::None).with("cAdvisor", its.answer));
        rows.push(
            Row::new("cAdvisor: resident memory", "MB", Target::None).with("cAdvisor", its.memory),
        );
        // It looks at a container that does nothing once a minute.
        tokio::time::sleep(Duration::from_secs(75)).await;
        rows.push(compare(&get(port, "/metrics").await, &get(its_port, "/metrics").await));
        cadvisor.kill().await.unwrap();
    }
    berth.kill().await.unwrap();
    rows
}

struct Figures {
    /// Microseconds of processor time, for each container and scrape.
    cpu: Samples,
    answer: Samples,
    memory: Samples,
}

async fn measure(pid: u32, port: u16) -> Figures {
    get(port, "/metrics").await;
    let (mut cpu, mut answer, mut memory) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..3 {
        let before = cpu_ms(pid);
        for _ in 0..SCRAPES {
            tokio::time::sleep(PAUSE).await;
            let begun = Instant::now();
            let text = get(port, "/metrics").await;
            answer.add(begun.elapsed());
            assert!(COUNT <= seen(&text), "not all are shown");
        }
        let spent = (cpu_ms(pid) - before) * 1000.0;
        cpu.add_ms(spent / f64::from(SCRAPES) / f64::from(u32::try_from(COUNT).unwrap()));
        memory.add_ms(resident_mb(pid));
    }
    Figures { cpu, answer, memory }
}

/// How many containers are shown.
fn seen(text: &str) -> usize {
    text.matches("container_last_seen{").count()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start_berth(bed: &Bed) -> (Child, u16) {
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("run").arg("--manifests").arg(bed.make_folder("manifests"));
    command.arg("--state-dir").arg(bed.make_folder("state"));
    command.arg("--workspaces").arg(bed.path("workspaces"));
    command.arg("--model-store").arg(bed.path("models"));
    command.arg("--docker-host").arg(format!("unix://{}", bed.socket.display()));
    command.args(["--instance", &bed.instance, "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--resync", "1h"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    wait(port, "/readyz").await;
    (child, port)
}

async fn start_cadvisor() -> Option<(Child, u16)> {
    let program = std::env::var_os("BENCH_CADVISOR")?;
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-port", &port.to_string(), "-listen_ip", "127.0.0.1", "-docker_only"]);
    command.arg("-housekeeping_interval=10s");
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    wait(port, "/healthz").await;
    // It looks at each container for the first time by and by.
    let limit = Instant::now() + Duration::from_mins(3);
    while seen(&get(port, "/metrics").await) < COUNT {
        assert!(Instant::now() < limit, "cAdvisor does not see all containers");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    Some((child, port))
}

async fn wait(port: u16, path: &str) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !ask(port, path).await.is_ok_and(|answer| answer.contains(" 200 OK\r\n")) {
        assert!(Instant::now() < limit, "nobody answers at {port}{path}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn get(port: u16, path: &str) -> String {
    ask(port, path).await.unwrap()
}

async fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let path = path.to_owned();
    let work = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        // As of version 1.0, so that nobody sends it in chunks, whose marks would stand in figures.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Every figure by family and name of the container; those of several processors are summed.
fn figures(text: &str) -> BTreeMap<(&str, &str), f64> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let Some(family) = COMPARED.into_iter().find(|f| line.starts_with(&format!("{f}{{")))
        else {
            continue;
        };
        let name = line.split_once(",name=\"").and_then(|(_, rest)| rest.split('"').next());
        let figure = line.rsplit_once('}').and_then(|(_, rest)| rest.split_whitespace().next());
        if let (Some(name), Some(Ok(figure))) = (name, figure.map(str::parse::<f64>)) {
            *all.entry((family, name)).or_insert(0.0) += figure;
        }
    }
    all
}

fn compare(ours: &str, theirs: &str) -> Row {
    let (ours, theirs) = (figures(ours), figures(theirs));
    let mut off = BTreeMap::<&str, usize>::new();
    let mut compared = 0;
    for (key, figure) in &ours {
        let Some(other) = theirs.get(key) else { continue };
        compared += 1;
        if other.abs() * 0.02 < (figure - other).abs() {
            let count = off.entry(key.0).or_default();
            *count += 1;
            if *count <= 5 {
                say(&format!("{} of {}: {figure} here, {other} there", key.0, key.1));
            }
        }
    }
    say(&format!("{compared} figures compared with cAdvisor's; more than 2 % off: {off:?}"));
    assert!(COUNT * 8 < compared, "too few figures are the same ones");
    let mut count = Samples::default();
    count.add_plain(off.values().sum());
    Row::new("figures more than 2 % off cAdvisor's", "figures", Target::AtMost(0.0))
        .with("Berth", count)
}
