//! A Berth that has nothing to do: what it asks the engine for, and what it takes from the host.
//!
//! This is the real program, in a process of its own, with a proxy between it and the engine.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

use crate::{
    bed::{Bed, drop_into},
    proxy::Proxy,
    report::{Row, Samples, Target},
    say,
    watch::Watch,
};

/// Long enough that two resyncs are two bursts.
const RESYNC: Duration = Duration::from_secs(5);
/// How long a burst lasts at most.
const BURST: Duration = Duration::from_secs(2);
/// The populations, each what is added to the one before.
const STEPS: [(usize, usize); 2] = [(50, 50), (200, 150)];
/// The network that `berth run` makes.
const NETWORK: &str = "berth";

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let path = format!("/networks/{NETWORK}");
    let was_there = bed.line().await.call("GET", &path, None).await.0 == 200;
    let proxy = Proxy::start(&bed.socket, bed.make_folder("proxy").join("engine.sock"));
    let manifests = bed.make_folder("manifests");
    let mut watch = Watch::instance(bed, &bed.instance).await;
    let mut berth = start(bed, &manifests, &proxy.socket);
    let pid = berth.id().unwrap();
    let mut rows = Vec::new();
    for (count, more) in STEPS {
        let names = bed.names('i', more);
        let file = |name: &String| (format!("{name}.yaml"), Bed::manifest(name, 0));
        drop_into(&manifests, &names.iter().map(file).collect::<Vec<_>>());
        watch.many("start", more).await;
        settle(&proxy).await;
        rows.extend(resyncs(&proxy, count).await);
    }
    rows.extend(cost(pid).await);
    berth.kill().await.unwrap();
    bed.sweep().await;
    if !was_there {
        bed.line().await.call("DELETE", &path, None).await;
    }
    rows
}

fn start(bed: &Bed, manifests: &Path, socket: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("run").arg("--manifests").arg(manifests);
    command.arg("--state-dir").arg(bed.make_folder("state"));
    command.arg("--workspaces").arg(bed.path("workspaces"));
    command.arg("--model-store").arg(bed.path("models"));
    command.arg("--docker-host").arg(format!("unix://{}", socket.display()));
    command.args(["--instance", &bed.instance, "--listen", "127.0.0.1:0", "--resync", "5s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// Waits until nothing but resyncs is left.
async fn settle(proxy: &Proxy) {
    loop {
        proxy.take();
        tokio::time::sleep(RESYNC / 2).await;
        if proxy.len() == 0 {
            return;
        }
    }
}

/// The calls of two resyncs, each counted by itself.
async fn resyncs(proxy: &Proxy, count: usize) -> Vec<Row> {
    let (mut all, mut mutating) = (Samples::default(), Samples::default());
    for _ in 0..2 {
        let wait = async {
            while proxy.len() == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(RESYNC * 3, wait).await.unwrap();
        tokio::time::sleep(BURST).await;
        let calls = proxy.take();
        let mut kinds = std::collections::BTreeMap::<_, usize>::new();
        for call in &calls {
            *kinds.entry(call.what()).or_default() += 1;
        }
        say(&format!("{count} apps: {kinds:?}"));
        all.add_plain(calls.len());
        mutating.add_plain(calls.iter().filter(|call| call.is_mutating()).count());
    }
    let row = |what: &str, target, samples| {
        let title = format!("resync of {count} unchanged apps: {what}");
        Row::new(title, "calls", target).with("Berth", samples)
    };
    vec![
        row("engine calls", Target::AtMost(2.0), all),
        row("changing calls", Target::AtMost(0.0), mutating),
    ]
}

/// Memory, and CPU time over a few resyncs.
async fn cost(pid: u32) -> Vec<Row> {
    let (mut memory, mut cpu) = (Samples::default(), Samples::default());
    for _ in 0..2 {
        let before = cpu_ms(pid);
        tokio::time::sleep(RESYNC).await;
        cpu.add_ms((cpu_ms(pid) - before) / RESYNC.as_secs_f64());
        memory.add_ms(resident_mb(pid));
    }
    let title = |what: &str| format!("idle with 200 running apps: {what}");
    vec![
        Row::new(title("resident memory"), "MB", Target::Below(40.0)).with("Berth", memory),
        Row::new(title("CPU time a second, resync each 5 s"), "ms", Target::None)
            .with("Berth", cpu),
    ]
}

pub(crate) fn resident_mb(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024.0 / 1e6
}

/// proc(5): fields 14 and 15 of `stat`, in hundredths of a second.
pub(crate) fn cpu_ms(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = text.rsplit_once(')').unwrap().1;
    let ticks: Vec<f64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The state, which is no number, comes first.
    (ticks[10] + ticks[11]) * 10.0
}
