//! The model store beside nginx with sendfile: the same files, on the same loopback, from the same
//! page cache, asked by the same client. And what it takes in, beside what hashing and the disk can.
//!
//! `BENCH_MIB` sets how large the files are (2048), `BENCH_BERTH` names another Berth to measure.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    bed::Bed,
    report::{Row, Samples, Target},
    say,
};

const BLOCK: usize = 1 << 20;
const PARALLEL: usize = 16;
/// So many send, and so many load, while memory is measured.
const EACH: usize = 8;
const LISTED: usize = 10_000;
const HEADS: usize = 3000;

/// How large the files are, in MiB.
fn mib() -> usize {
    std::env::var("BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(2048)
}

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let folder = bed.make_folder("model-bench");
    let (state, instance) = (bed.make_folder("state"), bed.instance.clone());
    let work = move || measure(&folder, &state, &instance);
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn measure(folder: &Path, state: &Path, instance: &str) -> Vec<Row> {
    let store = folder.join("models");
    fill(&store);
    let berth = Berth::start(folder, &state.join("one"), instance, LISTED);
    let mut rows = vec![list(&berth)];
    let with_models = berth.status("RssAnon");
    let path = "/models/bench/large/1/m";
    let first = berth.put(path, 1, mib());
    let served = store.join("bench/large/1/m/model");
    let nginx = Nginx::start(folder, &served);
    rows.extend([one(&berth, &nginx, path), many(&berth, &nginx, path), head(&berth, path)]);
    rows.push(again(&berth, &store));
    rows.push(taken(&berth, folder, first));
    drop(berth);
    // What the list of thousands takes is not what it takes to move files.
    let other = folder.join("other");
    let berth = Berth::start(&other, &state.join("other"), instance, 0);
    rows.push(index(with_models - berth.status("RssAnon")));
    berth.put(path, 1, mib());
    rows.extend(memory(&berth, path));
    rows
}

/// Models as another system left them: nothing but their files.
fn fill(store: &Path) {
    for at in 0..LISTED {
        let model = store.join(format!("p{}/app/{}/m{at}", at % 100, at % 7));
        fs::create_dir_all(&model).unwrap();
        fs::write(model.join("model"), at.to_string()).unwrap();
        let about = format!(
            "{{\"project_id\":\"p{}\",\"app_name\":\"app\",\"version\":\"{}\",\"model_name\":\"m{at}\",\
             \"original_filename\":\"m{at}.onnx\",\"content_type\":\"application/octet-stream\",\
             \"upload_timestamp\":\"2026-01-01T00:00:00.000000+00:00\",\"size\":{}}}",
            at % 100,
            at % 7,
            at.to_string().len()
        );
        fs::write(model.join("metadata.json"), about).unwrap();
    }
}

/// A Berth of its own process.
struct Berth {
    child: Child,
    port: u16,
}

impl Drop for Berth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Berth {
    fn start(folder: &Path, state: &Path, instance: &str, listed: usize) -> Self {
        let port = super::metrics::free_port();
        let manifests = folder.join("manifests");
        for folder in [&manifests, &folder.join("models"), state] {
            fs::create_dir_all(folder).unwrap();
        }
        let program = std::env::var_os("BENCH_BERTH");
        let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_berth").into()));
        command.arg("run").arg("--manifests").arg(&manifests).arg("--state-dir").arg(state);
        command.arg("--workspaces").arg(folder.join("workspaces"));
        command.arg("--model-store").arg(folder.join("models"));
        command.args(["--engine", "fake", "--instance", instance, "--api-socket", "off"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let berth = Self { child: command.spawn().unwrap(), port };
        await_port(port);
        // The list is told once all that is there was read, and its digests are known.
        let limit = Instant::now() + Duration::from_secs(120);
        loop {
            assert!(Instant::now() < limit, "the store was never read");
            let mut line = Line::open(port);
            let body = line.get("GET", "/models/list").1;
            let text = String::from_utf8_lossy(&body);
            let is_read = !text.contains("\"sha256\":null");
            if is_read && text.starts_with(&format!("{{\"total_models\":{listed},")) {
                return berth;
            }
            thread::park_timeout(Duration::from_millis(300));
        }
    }

    /// Uploads so many MiB that nobody sent before, unless `seed` was; how long that took.
    fn put(&self, path: &str, seed: u64, mib: usize) -> Duration {
        let mut line = Line::open(self.port);
        let mut block = block(seed);
        let started = Instant::now();
        let length = mib * BLOCK;
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
        );
        line.stream.write_all(head.as_bytes()).unwrap();
        for at in 0..mib {
            // Each block differs, and costs next to nothing to make.
            let own = at.to_be_bytes();
            block[..own.len()].copy_from_slice(&own);
            line.stream.write_all(&block).unwrap();
        }
        let (status, _) = line.answer(false);
        assert_eq!(status, 201, "{path}");
        started.elapsed()
    }

    fn status(&self, field: &str) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.unwrap_or("").trim_start_matches(':').split_whitespace().next();
        kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
    }
}

/// Bytes that do not compress, and that another number has others of.
fn block(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..BLOCK / 8).flat_map(|_| next()).collect()
}

/// nginx, with what Debian's package says and sendfile.
struct Nginx {
    child: Child,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-QUIT").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(folder: &Path, served: &Path) -> Self {
        let (place, port) = (folder.join("nginx"), super::metrics::free_port());
        fs::create_dir_all(place.join("www")).unwrap();
        fs::hard_link(served, place.join("www/m")).unwrap();
        let text = format!(
            "user root;\nworker_processes auto;\npid {0}/pid;\nerror_log {0}/error;\n\
             events {{ worker_connections 1024; }}\nhttp {{\n  sendfile on;\n  tcp_nopush on;\n  \
             access_log off;\n  server {{ listen 127.0.0.1:{port}; root {0}/www; }}\n}}\n",
            place.display()
        );
        fs::write(place.join("conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(place.join("conf")).args(["-g", "daemon off;"]);
        let spawned = command.stderr(Stdio::null()).spawn();
        let child = spawned.expect("nginx is missing: compose/setup/nginx.sh");
        await_port(port);
        Self { child, port }
    }
}

fn await_port(port: u16) {
    let limit = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < limit, "nobody listens");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A kept connection.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; BLOCK] }
    }

    fn get(&mut self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(head.as_bytes()).unwrap();
        self.answer(method == "HEAD")
    }

    fn head(&mut self) -> (u16, usize, Vec<u8>) {
        let mut text = Vec::new();
        let end = loop {
            let got = self.stream.read(&mut self.buffer[..16 << 10]).unwrap();
            assert_ne!(got, 0, "hung up");
            text.extend_from_slice(&self.buffer[..got]);
            if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        (status, length, text[end..].to_vec())
    }

    fn answer(&mut self, is_head: bool) -> (u16, Vec<u8>) {
        let (status, length, mut body) = self.head();
        while !is_head && body.len() < length {
            let got = self.stream.read(&mut self.buffer).unwrap();
            assert_ne!(got, 0, "hung up");
            body.extend_from_slice(&self.buffer[..got]);
        }
        (status, body)
    }

    /// Loads a file and keeps nothing of it; how long that took.
    fn load(&mut self, path: &str) -> Duration {
        let started = Instant::now();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(head.as_bytes()).unwrap();
        let (status, length, rest) = self.head();
        assert_eq!(status, 200, "{path}");
        let mut left = length - rest.len();
        while 0 < left {
            let got = self.stream.read(&mut self.buffer).unwrap();
            assert_ne!(got, 0, "hung up");
            left -= got;
        }
        started.elapsed()
    }
}

fn all(port: u16, path: &str, count: usize) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| Line::open(port).load(path));
        }
    });
    started.elapsed()
}

fn title(what: &str) -> String {
    format!("{what} of {} MiB, warm; raw: nginx, sendfile", mib())
}

/// One client after the other.
fn one(berth: &Berth, nginx: &Nginx, path: &str) -> Row {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut a, mut b) = (Line::open(berth.port), Line::open(nginx.port));
    a.load(path);
    b.load("/m");
    for _ in 0..crate::rounds(5) {
        ours.add(a.load(path));
        theirs.add(b.load("/m"));
    }
    Row::new(title("download"), "ms", Target::Ratio(1.0 / 1.5))
        .with("Berth", ours)
        .with("raw", theirs)
}

/// Many at once.
fn many(berth: &Berth, nginx: &Nginx, path: &str) -> Row {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 0..crate::rounds(6) {
        let ours = (&mut ours, berth.port, path);
        let mut pair = [ours, (&mut theirs, nginx.port, "/m")];
        // Who comes second is not always the same one.
        if round % 2 == 1 {
            pair.reverse();
        }
        for (samples, port, path) in pair {
            samples.add(all(port, path, PARALLEL));
        }
    }
    let title = title(&format!("{PARALLEL} downloads at once"));
    Row::new(title, "ms", Target::Ratio(1.0)).with("Berth", ours).with("raw", theirs)
}

fn head(berth: &Berth, path: &str) -> Row {
    let mut line = Line::open(berth.port);
    let mut took = Samples::default();
    for _ in 0..HEADS {
        let started = Instant::now();
        assert_eq!(line.get("HEAD", path).0, 200);
        took.add(started.elapsed());
    }
    Row::new("HEAD of a model", "ms", Target::Below(0.3)).with("Berth", took)
}

fn list(berth: &Berth) -> Row {
    let mut line = Line::open(berth.port);
    let mut took = Samples::default();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(line.get("GET", "/models/list").0, 200);
        took.add(started.elapsed());
    }
    Row::new(format!("list of {LISTED} models"), "ms", Target::Below(20.0)).with("Berth", took)
}

/// What it takes to know of thousands, once they were listed.
fn index(mb: f64) -> Row {
    let mut samples = Samples::default();
    samples.add_ms(mb);
    let title = format!("memory of {LISTED} models");
    Row::new(title, "MB", Target::Below(15.0)).with("Berth", samples)
}

/// What files take on the disk, each content once.
fn used(folder: &Path, seen: &mut std::collections::BTreeSet<u64>) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        if about.is_dir() {
            // What is found out about contents is written meanwhile.
            let is_told = path.file_name().is_some_and(|name| name == "reports");
            sum += if is_told { 0 } else { used(&path, seen) };
        } else if seen.insert(about.ino()) && path.file_name().is_none_or(|n| n != "metadata.json")
        {
            sum += about.blocks() * 512;
        }
    }
    sum
}

/// The same content once more.
fn again(berth: &Berth, store: &Path) -> Row {
    let sum = || used(store, &mut std::collections::BTreeSet::new());
    let before = sum();
    berth.put("/models/bench/large/2/m", 1, mib());
    let more = sum().saturating_sub(before);
    let mut samples = Samples::default();
    samples.add_plain(usize::try_from(more / 1024).unwrap());
    let title = "the same content once more: room for contents";
    Row::new(title, "KiB", Target::AtMost(0.0)).with("Berth", samples)
}

/// MB of SHA-256 in a second, as openssl measures itself.
fn hashed() -> f64 {
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", "1", "-bytes", "1048576", "-evp", "sha256"]);
    let said = command.stderr(Stdio::null()).output().expect("openssl is missing");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("+F:"));
    let rate = line.and_then(|line| line.rsplit(':').next()).and_then(|rate| rate.parse().ok());
    let rate: f64 = rate.unwrap_or_else(|| panic!("openssl said {text}"));
    rate / 1e6
}

/// How long the disk takes for a file, until it has it.
fn written(folder: &Path, seed: u64) -> Duration {
    let (path, block) = (folder.join("plain"), block(seed));
    let started = Instant::now();
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..mib() {
        file.write_all(&block).unwrap();
    }
    file.sync_data().unwrap();
    let took = started.elapsed();
    fs::remove_file(path).unwrap();
    took
}

fn megabytes() -> f64 {
    f64::from(u32::try_from(mib() * BLOCK / 1000).unwrap()) / 1000.0
}

/// Uploads, until they are acknowledged.
fn taken(berth: &Berth, folder: &Path, first: Duration) -> Row {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let rate = hashed();
    let hashing = Duration::from_secs_f64(megabytes() / rate);
    say(&format!("openssl hashes {rate:.0} MB/s; the first upload took {} ms", first.as_millis()));
    for round in 0..u64::try_from(crate::rounds(3)).unwrap() {
        let took = berth.put(&format!("/models/bench/up/{round}/m"), 10 + round, mib());
        let disk = written(folder, 20 + round);
        say(&format!("upload {} ms, disk {} ms", took.as_millis(), disk.as_millis()));
        ours.add(took);
        theirs.add(disk.max(hashing));
    }
    let title = format!("upload of {} MiB; raw: the slower of SHA-256 and the disk", mib());
    Row::new(title, "ms", Target::Ratio(1.0 / 0.9)).with("Berth", ours).with("raw", theirs)
}

/// The most memory while some send and some load.
fn memory(berth: &Berth, path: &str) -> Vec<Row> {
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut own, mut mapped) = (0_f64, 0_f64);
    let before = berth.status("RssAnon");
    thread::scope(|scope| {
        let port = berth.port;
        let clients: Vec<_> = (0..EACH)
            .flat_map(|at| {
                let seed = 100 + u64::try_from(at).unwrap();
                let to = format!("/models/bench/memory/{at}/m");
                [
                    scope.spawn(move || {
                        Line::open(port).load(path);
                    }),
                    scope.spawn(move || {
                        berth.put(&to, seed, mib());
                    }),
                ]
            })
            .collect();
        let over = Arc::clone(&is_over);
        scope.spawn(move || {
            for client in clients {
                client.join().unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            own = own.max(berth.status("RssAnon"));
            mapped = mapped.max(berth.status("RssFile"));
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    say(&format!(
        "before: {before:.1} MB; the most of all kinds since the start: {:.1} MB",
        berth.status("VmHWM")
    ));
    let row = |title: &str, figure: f64, target| {
        let mut samples = Samples::default();
        samples.add_ms(figure);
        let title = format!("{EACH} up, {EACH} down, {} MiB each: {title}", mib());
        Row::new(title, "MB", target).with("Berth", samples)
    };
    vec![
        row("memory", own, Target::Below(64.0)),
        row("pages of files and of the program that are mapped besides", mapped, Target::None),
    ]
}
