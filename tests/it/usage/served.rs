//! What is used, as the interface tells it, and as `berth top` shows it.

use std::{fs, path::Path, process::Stdio, sync::Arc, time::Duration};

use berth::{
    gpu::Cards,
    model::{AppName, GpuAsk, Phase},
    state::{ContainerId, Gpu, GpuMemory, GpuProcess, GpuTelemetry, Inventory},
    usage::{HISTORY_STEP, History},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::Instant,
};

use super::tree::{Tree, container, id};
use crate::api::stage::Stage;

/// A server over a host of files: the app `web` was looked at twice, `idle` does not run, `held` is
/// suspended. Time stands still until this is done.
async fn stage() -> (Stage, Tree) {
    let tree = Tree::unpack("v2.tree", |_| ());
    let process = |memory, container: &str| GpuProcess {
        memory: Some(memory),
        utilization: Some(30),
        container: Some(ContainerId::new(id(container))),
        ..GpuProcess::default()
    };
    let gpu = Gpu {
        uuid: "GPU-a".to_owned(),
        index: 0,
        name: "NVIDIA H200".to_owned(),
        memory: GpuMemory { total: 140 << 30, reserved: 1 << 30, used: 5 << 30 },
        telemetry: GpuTelemetry { utilization: Some(40), ..GpuTelemetry::default() },
        processes: vec![process(3 << 30, "a1"), process(1 << 30, "a1"), process(1 << 30, "b2")],
        ..Gpu::default()
    };
    let cards = Cards::default();
    cards.put(Inventory { gpus: vec![gpu], ..Inventory::default() });
    let history = Arc::new(History::new(Arc::clone(&tree.collector), cards.follow()));
    let ours = container(&id("a1"), "web-01234567", Some("web"));
    tree.see(vec![ours, container(&id("b2"), "x", None)]);
    history.take();
    tokio::time::advance(HISTORY_STEP).await;
    let place = |file: &str| format!("cgroup/system.slice/docker-{}.scope/{file}", id("a1"));
    tree.put(&place("cpu.stat"), "usage_usec 2524262\n");
    tree.put(&place("memory.current"), "9388608\n");
    tree.put("proc/42/net/dev", "eth0: 5486 5 0 0 0 0 0 0 1090 6 0 0 0 0 0 0\n");
    let stat = "cpu0 110 0 15 60 1 0 1 0\ncpu1 20 0 5 140 0 0 1 0\nbtime 1700000000\n";
    tree.put("proc/stat", stat);
    history.take();
    tokio::time::resume();
    let stage = Stage::with_usage(history).await;
    stage.settle();
    for (name, phase) in [("held", Phase::Paused), ("idle", Phase::Failed), ("web", Phase::Running)]
    {
        stage.put(name, |entry| {
            entry.status.phase = phase;
            let mut app = entry.app.as_deref().unwrap().clone();
            match name {
                "web" => {
                    let mut ask = GpuAsk::whole(2);
                    ask.memory_bytes = Some(8 << 30);
                    app.spec.gpus = Some(ask);
                }
                "idle" => {
                    (app.spec.resources.cpu_millis, app.spec.resources.memory_bytes) = (None, None);
                }
                _ => app.spec.suspend = true,
            }
            entry.app = Some(Arc::new(app));
        });
    }
    (stage, tree)
}

/// What `web` used in the end.
fn used() -> Value {
    json!({
        "cpu": 0.5, "memory": 8_388_608, "networkReceive": 1000.0, "networkTransmit": 200.0,
        "gpuMemory": 4_u64 << 30, "gpuUtilization": 60.0,
    })
}

fn asked() -> Value {
    json!({"cpu": 1.5, "memory": 2_u64 << 30, "gpus": 2, "gpuMemory": 16_u64 << 30})
}

#[tokio::test(start_paused = true)]
async fn the_last_hour_of_an_app_is_told_field_by_field() {
    let (stage, _tree) = stage().await;
    let mut answer = stage.get("/api/v1/apps/web/usage").await.json();
    let from = answer["from"].take();
    // Figures of four bytes each.
    let expected = json!({
        "apiVersion": "berth/v1",
        "kind": "AppUsage",
        "metadata": {"name": "web"},
        "units": {
            "cpu": "cores", "memory": "bytes", "networkReceive": "bytes/s",
            "networkTransmit": "bytes/s", "gpuMemory": "bytes", "gpuUtilization": "percent",
        },
        "asked": asked(),
        "now": used(),
        "step": 5,
        "from": null,
        "series": {
            "cpu": [null, 0.5],
            "memory": [999_424, 8_388_608],
            "networkReceive": [null, 1000.0],
            "networkTransmit": [null, 200.0],
            "gpuMemory": [4_u64 << 30, 4_u64 << 30],
            "gpuUtilization": [60.0, 60.0],
        },
    });
    assert_eq!(answer, expected);
    assert_eq!(from, json!("2027-01-15T08:00:00.000Z"), "when the first point was taken");
    let none = stage.get("/api/v1/apps/idle/usage").await.json();
    assert_eq!(
        (&none["now"], &none["series"], &none["asked"]),
        (&Value::Null, &json!({}), &json!({}))
    );
    let nobody = stage.get("/api/v1/apps/nobody/usage").await;
    assert_eq!((nobody.status, nobody.json()["code"].as_str()), (404, Some("app.not-found")));
}

#[tokio::test(start_paused = true)]
async fn capacity_is_told_field_by_field() {
    let (stage, _tree) = stage().await;
    let mut answer = stage.get("/api/v1/capacity").await.json();
    let disk = answer["disk"].take();
    let expected = json!({
        "apiVersion": "berth/v1",
        "kind": "Capacity",
        "host": {
            "processors": 2, "cpu": 1.0,
            "memoryTotal": 16_777_216, "memoryAvailable": 8_388_608,
        },
        "disk": null,
        "gpus": [{
            "uuid": "GPU-a", "index": 0, "name": "NVIDIA H200", "utilization": 40,
            "memory": {"total": 140_u64 << 30, "reserved": 1_u64 << 30, "used": 5_u64 << 30},
        }],
        // Of the suspended one nothing counts.
        "asked": {
            "cpu": 1.5, "memory": 2_u64 << 30, "gpus": 2, "gpuMemory": 16_u64 << 30,
            "withoutCpu": 1, "withoutMemory": 1,
        },
        "used": used(),
        "apps": [
            {"name": "held", "phase": "Paused", "asked": {"cpu": 1.5, "memory": 2_u64 << 30}, "used": null},
            {"name": "idle", "phase": "Failed", "asked": {}, "used": null},
            {"name": "web", "phase": "Running", "asked": asked(), "used": used()},
        ],
        "knownEscapes": [],
    });
    assert_eq!(answer, expected);
    // The first point of the room alone says nothing of where it goes.
    assert!(0 < disk["free"].as_u64().unwrap());
    assert_eq!(disk.as_object().unwrap().len(), 1, "{disk}");
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/usage").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

/// The room on the disk is this machine's own.
fn without_disk(text: &str) -> String {
    let line = |line: &str| {
        line.split("; ").filter(|p| !p.contains("disk")).collect::<Vec<_>>().join("; ")
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[tokio::test(start_paused = true)]
async fn top_shows_it_once_where_no_terminal_is() {
    let (stage, _tree) = stage().await;
    let shown = stage.run(&["top"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    golden("top.txt", &format!("{}\n{}", without_disk(&shown.err), shown.out));
    let wide = stage.run(&["top", "--once", "-o", "wide", "--sort", "name"]).await;
    golden("top-wide.txt", &wide.out);
    let names = stage.run(&["top", "-o", "name", "--sort", "memory"]).await;
    assert_eq!(names.out, "app/web\napp/held\napp/idle\n");
    let document = stage.run(&["top", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&document.out).unwrap();
    let mut asked = stage.get("/api/v1/capacity").await.json();
    asked["disk"] = document["disk"].clone();
    assert_eq!(document, asked, "it is the API's document");
    let wrong = stage.run(&["top", "--sort", "colour"]).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""), "{wrong:?}");
}

/// `berth top` on a terminal of its own, between two looks at how that is set.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: String,
}

impl Terminal {
    fn open(stage: &Stage, verb: &str) -> Self {
        let top = format!("{} {verb} --every 1s", env!("CARGO_BIN_EXE_berth"));
        let line =
            format!("trap : INT; stty rows 12 cols 60; stty -g; {top}; echo ended $?; stty -g");
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("BERTH_SERVER", stage.base());
        command.env("TERM", "xterm").env_remove("NO_COLOR").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        Self { child, keys, seen: String::new() }
    }

    /// Reads until what came since the last time has this; answers it.
    async fn until(&mut self, text: &str) -> String {
        let out = self.child.stdout.as_mut().unwrap();
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut bytes = [0; 4096];
            let reading = tokio::time::timeout_at(limit, out.read(&mut bytes)).await;
            let length = reading.unwrap_or_else(|_| panic!("no `{text}`: {:?}", self.seen));
            let length = length.unwrap_or(0);
            assert!(length != 0, "it ended before `{text}`: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Reads until a page is so: what is drawn may be from before.
    async fn until_page(&mut self, is_so: impl Fn(&str) -> bool) {
        let mut page = String::new();
        for _ in 0..30 {
            page = self.until("q ends").await;
            if is_so(&page) {
                return;
            }
        }
        panic!("it is never so: {page:?}");
    }

    async fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).await.unwrap();
        self.keys.flush().await.unwrap();
    }
}

/// However it ends, the terminal is as it was before.
#[tokio::test(start_paused = true)]
async fn top_on_a_terminal_goes_on_until_a_key_and_leaves_no_trace() {
    let (stage, _tree) = stage().await;
    for end in [&b"q"[..], b"\x03"] {
        let mut terminal = Terminal::open(&stage, "top");
        let before = terminal.until("\u{1b}[?1049h").await;
        let before = before.lines().find(|line| line.contains(':')).unwrap().trim().to_owned();
        let page = terminal.until("q ends").await;
        let first = page.lines().find(|line| line.starts_with("web")).unwrap().to_owned();
        assert!(page.contains("\u{1b}[32mRunning\u{1b}[0m"), "{page:?}");
        for line in page.lines() {
            let plain = anstream::adapter::strip_str(line).to_string();
            assert!(plain.trim_end().chars().count() <= 60, "{plain:?}");
        }
        // The order is another one at once, and what is new comes by itself.
        terminal.press(b"n").await;
        let is_by_name = |page: &str| {
            let apps = ["held", "idle", "web"].map(|app| page.find(&format!("\n{app} ")));
            apps.iter().all(Option::is_some) && apps.is_sorted()
        };
        terminal.until_page(is_by_name).await;
        stage.put("late", |_| ());
        terminal.until_page(|page| page.contains("\nlate ")).await;
        stage.record.forget(&AppName::new("late").unwrap());
        terminal.press(end).await;
        terminal.until("\u{1b}[?25h\u{1b}[?1049l").await;
        let rest = terminal.until("ended 0\r\n").await;
        let after = terminal.until("\n").await;
        assert_eq!(after.trim(), before, "{first} {rest:?}");
        assert!(terminal.child.wait().await.unwrap().success());
    }
}

/// The last hour of one app, again and again: it is as narrow as the terminal, and follows what is
/// new.
#[tokio::test(start_paused = true)]
async fn top_of_one_app_draws_its_last_hour_on_a_terminal() {
    let (stage, _tree) = stage().await;
    let shown = stage.run(&["top", "web", "--no-unicode"]).await;
    let head = "web, the last 10s: each column is 5s, the most of it\n";
    assert_eq!((shown.code, shown.err.as_str()), (0, head), "{shown:?}");
    golden("top-web.txt", &shown.out);
    let mut terminal = Terminal::open(&stage, "top web --no-unicode");
    terminal.until("\u{1b}[?1049h").await;
    let page = terminal.until("q ends").await;
    assert!(page.contains("web, the last 10s") && page.contains("GPU UTIL"), "{page:?}");
    for line in page.lines() {
        let plain = anstream::adapter::strip_str(line).to_string();
        assert!(plain.trim_end().chars().count() <= 60, "{plain:?}");
    }
    terminal.press(b"q").await;
    terminal.until("ended 0\r\n").await;
    assert!(terminal.child.wait().await.unwrap().success());
}
