//! What the interface gives to many who look: the list of 500 apps, and event streams.
//!
//! This is the real program in a process of its own, with an engine in memory, so that the figures
//! are the interface's own. Who asks shares the machine's cores with it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::Instant,
};

use super::idle::{cpu_ms, resident_mb};
use crate::{
    bed::{Bed, drop_into},
    report::{Row, Samples, Target},
    say,
};

const APPS: usize = 500;
const STREAMS: usize = 200;
const LIST: &str = "/api/v1/apps";
/// So many ask at once, each over and over on one connection.
const CLIENTS: u32 = 8;
const RATE: u32 = 1000;
const ROUND: Duration = Duration::from_secs(5);
/// How often an app's manifest changes meanwhile.
const EDIT: Duration = Duration::from_millis(200);

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let manifests = bed.make_folder("manifests");
    let names = bed.names('s', APPS);
    let repository = repository(bed);
    let file = |name: &String| (format!("{name}.yaml"), manifest(&repository, name, 0));
    drop_into(&manifests, &names.iter().map(file).collect::<Vec<_>>());
    let port = super::metrics::free_port();
    let mut berth = start(bed, &manifests, port);
    let pid = berth.id().unwrap();
    settle(port).await;
    let editor = Editor::start(manifests, repository, names.clone());
    let mut rows = lists(port, pid).await;
    let edits = editor.end().await;
    say(&format!("{edits} manifests were edited meanwhile"));
    settle(port).await;
    rows.extend(streams(port, pid, &names[0]).await);
    berth.kill().await.unwrap();
    rows
}

fn start(bed: &Bed, manifests: &Path, port: u16) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("run").arg("--manifests").arg(manifests);
    command.arg("--state-dir").arg(bed.make_folder("state"));
    command.arg("--workspaces").arg(bed.make_folder("workspaces"));
    command.arg("--model-store").arg(bed.path("models"));
    command.args(["--engine", "fake", "--instance", &bed.instance, "--resync", "1s"]);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--api-socket", "off"]);
    command.arg("--allow-local-git");
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// A repository of this machine: the engine in memory builds, and pulls nothing.
fn repository(bed: &Bed) -> PathBuf {
    let folder = bed.make_folder("repository");
    let repository = git2::Repository::init(&folder).unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY app.py /\n").unwrap();
    std::fs::write(folder.join("app.py"), "one").unwrap();
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("bench", "bench@example.com").unwrap();
    repository.commit(Some("HEAD"), &who, &who, "one", &tree, &[]).unwrap();
    folder
}

/// An app of it; another `env` is another version.
fn manifest(repository: &Path, app: &str, env: usize) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: {app}\nspec:\n  \
         source: {{git: 'file://{}'}}\n  run: python app.py\n  env:\n    ROUND: \"{env}\"\n",
        repository.display()
    )
}

/// Waits until every app runs.
async fn settle(port: u16) {
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < limit, "the apps never ran");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Ok(mut line) = Line::open(port).await else { continue };
        let Ok(body) = line.get(LIST).await else { continue };
        let text = String::from_utf8_lossy(&body);
        if text.matches("\"phase\":\"Running\"").count() == APPS {
            say(&format!("the list of {APPS} apps has {} bytes", body.len()));
            return;
        }
    }
}

/// Changes one manifest after the other.
struct Editor {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Editor {
    fn start(manifests: PathBuf, repository: PathBuf, names: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let name = &names[count % names.len()];
                count += 1;
                let text = manifest(&repository, name, count);
                drop_into(&manifests, &[(format!("{name}.yaml"), text)]);
                tokio::time::sleep(EDIT).await;
            }
            count
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn lists(port: u16, pid: u32) -> Vec<Row> {
    let (mut most, mut paced, mut late) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut middle, mut cost) = (Samples::default(), Samples::default());
    for _ in 0..crate::rounds(3) {
        most.add_ms(load(port, None).await.rate);
        let before = cpu_ms(pid);
        let figures = load(port, Some(RATE)).await;
        cost.add_ms((cpu_ms(pid) - before) * 1000.0 / f64::from(figures.count));
        paced.add_ms(figures.rate);
        late.add(figures.at(0.99));
        middle.add(figures.at(0.5));
    }
    let title = |what: &str| format!("list of {APPS} apps, during passes: {what}");
    let per_second = "a second";
    vec![
        Row::new(title("requests"), per_second, Target::AtLeast(f64::from(RATE)))
            .with("Berth", most),
        Row::new(title("requests, when 1,000 are sent"), per_second, Target::AtLeast(990.0))
            .with("Berth", paced),
        Row::new(title("answered then, p99"), "ms", Target::Below(20.0)).with("Berth", late),
        Row::new(title("answered then, median"), "ms", Target::None).with("Berth", middle),
        Row::new(title("CPU time a request"), "µs", Target::None).with("Berth", cost),
    ]
}

struct Load {
    rate: f64,
    count: u32,
    /// How long each took, from when it was due.
    took: Vec<Duration>,
}

impl Load {
    fn at(&self, share: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let place = (self.took.len() as f64 * share) as usize;
        self.took[place.min(self.took.len() - 1)]
    }
}

/// Asks for a while: as often as one can, or so many times a second, each when it is due, whether
/// or not those before have been answered.
async fn load(port: u16, rate: Option<u32>) -> Load {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut line = Line::open(port).await.unwrap();
            let mut took = Vec::new();
            for number in 0.. {
                let due = match rate {
                    Some(rate) => {
                        let nth = client + number * CLIENTS;
                        begun + Duration::from_secs_f64(f64::from(nth) / f64::from(rate))
                    }
                    None => Instant::now(),
                };
                if begun + ROUND <= due.max(Instant::now()) {
                    break;
                }
                tokio::time::sleep_until(due).await;
                line.skip(LIST).await.unwrap();
                took.push(due.elapsed());
            }
            took
        });
    }
    let mut took = clients.join_all().await.concat();
    let passed = begun.elapsed().as_secs_f64();
    took.sort();
    let count = u32::try_from(took.len()).unwrap();
    Load { rate: f64::from(count) / passed, count, took }
}

async fn streams(port: u16, pid: u32, app: &str) -> Vec<Row> {
    let before = resident_mb(pid);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut followers = JoinSet::new();
    for _ in 0..STREAMS {
        let mut line = Line::open(port).await.unwrap();
        line.ask("/api/v1/events").await.unwrap();
        line.until(b"]}\n\n").await;
        followers.spawn(follow(line, Arc::clone(&seen)));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut memory = Samples::default();
    memory.add_ms(resident_mb(pid) - before);
    let mut line = Line::open(port).await.unwrap();
    for _ in 0..5 {
        for verb in ["stop", "start"] {
            line.post(&format!("{LIST}/{app}/{verb}")).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let (count, mut took) = {
        let seen = seen.lock().unwrap();
        (seen.len(), seen.clone())
    };
    took.sort_by(f64::total_cmp);
    assert!(10 * STREAMS <= count, "only {count} events reached the clients");
    say(&format!("{count} events reached {STREAMS} clients"));
    let (mut late, mut most) = (Samples::default(), Samples::default());
    late.add_ms(took[count * 99 / 100]);
    most.add_ms(took[count - 1]);
    memory.add_ms(resident_mb(pid) - before);
    followers.abort_all();
    let title = |what: &str| format!("{STREAMS} event streams: {what}");
    vec![
        Row::new(title("more resident memory"), "MB", Target::Below(30.0)).with("Berth", memory),
        Row::new(title("from an event to the client, p99"), "ms", Target::Below(100.0))
            .with("Berth", late),
        Row::new(title("from an event to the client, the slowest"), "ms", Target::None)
            .with("Berth", most),
    ]
}

/// Notes how old each event is when it comes, in milliseconds.
async fn follow(mut line: Line, seen: Arc<Mutex<Vec<f64>>>) {
    let mut text = Vec::new();
    while let Ok(length @ 1..) = line.stream.read(&mut line.buffer).await {
        let now = jiff::Timestamp::now();
        text.extend_from_slice(&line.buffer[..length]);
        let Some(end) = text.windows(2).rposition(|pair| pair == b"\n\n") else { continue };
        let whole = String::from_utf8_lossy(&text[..end]).into_owned();
        text.drain(..end);
        let of_kind = whole.split("event: event\n").skip(1);
        let times = of_kind.filter_map(|rest| {
            let (_, rest) = rest.split_once("\"at\":\"")?;
            let at: jiff::Timestamp = rest.split('"').next()?.parse().ok()?;
            Some(now.duration_since(at).as_secs_f64() * 1e3)
        });
        seen.lock().unwrap().extend(times);
    }
}

/// A connection that is kept.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    async fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024] })
    }

    async fn ask(&mut self, path: &str) -> std::io::Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await
    }

    async fn post(&mut self, path: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await.unwrap();
        let (body, left) = self.head().await.unwrap();
        assert!(left < 10_000, "{}", String::from_utf8_lossy(&body));
        self.rest(left).await.unwrap();
    }

    /// The head of an answer: what came of the body with it, and how much of that is missing.
    async fn head(&mut self) -> std::io::Result<(Vec<u8>, usize)> {
        let mut seen = Vec::new();
        loop {
            let length = self.stream.read(&mut self.buffer).await?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            seen.extend_from_slice(&self.buffer[..length]);
            let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 20"), "{head}");
            let size = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let size: usize = size.unwrap().trim().parse().unwrap();
            let body = seen.split_off(end + 4);
            let left = size - body.len();
            return Ok((body, left));
        }
    }

    async fn rest(&mut self, mut left: usize) -> std::io::Result<()> {
        while 0 < left {
            let length = self.stream.read(&mut self.buffer).await?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= length;
        }
        Ok(())
    }

    /// Asks, and reads the whole answer without a look at it.
    async fn skip(&mut self, path: &str) -> std::io::Result<()> {
        self.ask(path).await?;
        let (_, left) = self.head().await?;
        self.rest(left).await
    }

    async fn get(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        self.ask(path).await?;
        let (mut body, left) = self.head().await?;
        let start = body.len();
        body.resize(start + left, 0);
        self.stream.read_exact(&mut body[start..]).await?;
        Ok(body)
    }

    /// Reads until these bytes were seen.
    async fn until(&mut self, wanted: &[u8]) {
        let mut last = Vec::new();
        loop {
            let length = self.stream.read(&mut self.buffer).await.unwrap();
            assert!(0 < length, "the stream ended");
            last.extend_from_slice(&self.buffer[..length]);
            if last.windows(wanted.len()).any(|seen| seen == wanted) {
                return;
            }
            last.drain(..last.len().saturating_sub(wanted.len()));
        }
    }
}
