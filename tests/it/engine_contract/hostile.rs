//! An engine that answers anything: cut, mixed up, doubled, without end, in any pieces. Each reader
//! of an answer ends with what it has read or with an error, soon, and keeps little of it.
//!
//! `BERTH_HOSTILE_SEED=n` plays one answer again, for every call; a failure prints it.
//! `BERTH_HOSTILE_CASES=n` plays so many for each call.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth::{
    engine::{
        BuildExtras, BuildRequest, Engine as _, Error, LogOptions,
        docker::{Builder, Docker, Settings},
    },
    model::{AppName, ImageRef},
    plan::{Dockerfile, Recipe},
    state::ContainerId,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// How many answers each call gets by default.
const CASES: u64 = 120;
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any reader takes of an answer without an end.
const ENDLESS: usize = 96 << 20;
/// As much as a reader may take before it gives up: 64 MiB of a document, and what is on its way.
const TAKEN_MAX: usize = 80 << 20;

/// A reader of answers: how its requests begin, and answers to begin with.
struct Reader {
    name: &'static str,
    asks: &'static str,
    seeds: &'static [&'static str],
}

const READERS: &[Reader] = &[
    Reader {
        name: "events",
        asks: "/events?",
        seeds: &[
            "{\"Action\":\"die\",\"Actor\":{\"ID\":\"0a\",\"Attributes\":{\"name\":\"a\"}},\"timeNano\":1}\n",
            "{\"Action\":\"start\"}\r\n\n{\"time\":9223372036854775807}\n",
        ],
    },
    Reader {
        name: "logs",
        asks: "/logs?",
        seeds: &[
            "\u{1}\0\0\0\0\0\0\u{3}one\u{2}\0\0\0\0\0\0\u{4}two\n",
            "\u{1}\0\0\0\u{7f}\0\0\0x",
        ],
    },
    Reader {
        name: "exec",
        asks: "/start",
        seeds: &["\u{1}\0\0\0\0\0\0\u{3}one", "\u{2}\0\0\0\u{7f}\u{7f}\u{7f}\u{7f}tail"],
    },
    Reader {
        name: "build",
        asks: "/build?",
        seeds: &[
            "{\"stream\":\"Step 1/2 : FROM x\\n\"}\r\n{\"aux\":{\"ID\":\"sha256:1\"}}\n",
            "{\"id\":\"moby.buildkit.trace\",\"aux\":\"CkgKR3NoYTI1NjphYmMSBnN0ZXA=\"}\n{\"error\":\"e\",\"errorDetail\":{\"message\":\"m\"}}",
        ],
    },
    Reader {
        name: "pull",
        asks: "/images/create?",
        seeds: &[
            "{\"status\":\"Downloading\",\"id\":\"l\",\"progressDetail\":{\"current\":9223372036854775807,\"total\":1}}\r\n{\"status\":\"Downloading\",\"id\":\"m\",\"progressDetail\":{\"current\":9223372036854775807,\"total\":-1}}\n",
            "{\"errorDetail\":{\"message\":\"toomanyrequests\"},\"error\":\"x\"}\n",
        ],
    },
    Reader {
        name: "list",
        asks: "/containers/json",
        seeds: &["[{\"Id\":\"0a\",\"Names\":[\"/a\"]}]"],
    },
    Reader {
        name: "inspect",
        asks: "/containers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/json",
        seeds: &[
            "{\"Id\":\"0a\",\"State\":{\"StartedAt\":\"2026-01-01T00:00:00Z\"},\"Config\":{}}",
        ],
    },
];

/// What an engine sends.
#[derive(Clone)]
enum Hostile {
    /// These pieces, and the end.
    Pieces(Vec<Vec<u8>>),
    /// This, and then this again and again, as far as anybody takes it.
    Endless(Vec<u8>, Vec<u8>),
}

/// Numbers that follow from a seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }
}

/// An answer's bytes: a head, and a body in one of the ways that HTTP has.
fn whole(dice: &mut Dice, reader: &Reader) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..=dice.roll(3) {
        body.extend_from_slice(reader.seeds[dice.roll(reader.seeds.len())].as_bytes());
    }
    for _ in 0..dice.roll(4) {
        spoil(dice, &mut body);
    }
    let status = ["200 OK", "200 OK", "200 OK", "101 UPGRADED", "404 No", "500 No", "999 Odd"];
    let status = status[dice.roll(status.len())];
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n").into_bytes();
    match dice.roll(4) {
        0 => bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes()),
        1 => bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len() + 7).bytes()),
        2 => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + dice.roll(40)) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            return bytes;
        }
        _ => bytes.extend(b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
    }
    bytes.extend(body);
    bytes
}

fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.roll(bytes.len() + 1);
    match dice.roll(5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, u8::try_from(dice.roll(256)).unwrap()),
        2 => {
            let piece = bytes[at..].to_vec();
            bytes.extend(piece);
        }
        3 => {
            const WORDS: [&[u8]; 8] =
                [b"null", b"[[[[", b"\xff\xfe", b"\0\0\0\0", b"1e999", b"\"", b"\n\n", b"\\ud800"];
            let word = WORDS[dice.roll(WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.roll(8);
            }
        }
    }
}

fn answer(seed: u64, reader: &Reader) -> Hostile {
    let mut dice = Dice(seed);
    let mut bytes = whole(&mut dice, reader);
    if dice.roll(3) == 0 {
        spoil(&mut dice, &mut bytes);
    }
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let rest = bytes.split_off((1 + dice.roll(60)).min(bytes.len()));
        pieces.push(std::mem::replace(&mut bytes, rest));
    }
    Hostile::Pieces(pieces)
}

/// An engine that answers one kind of request as it is told, and all others as it should.
struct Liar {
    docker: Docker,
    lie: Arc<Mutex<(&'static str, Hostile)>>,
    /// How many bytes of the last lie were taken.
    taken: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Liar {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let lie = Arc::new(Mutex::new(("nothing", Hostile::Pieces(Vec::new()))));
        let taken = Arc::new(AtomicUsize::new(0));
        listen(&path, Arc::clone(&lie), Arc::clone(&taken));
        let host = format!("unix://{}", path.display());
        let settings = Settings { builder: Builder::Classic, ..Settings::new(host, "home") };
        Self { docker: Docker::connect(settings).unwrap(), lie, taken, _folder: folder }
    }

    fn tell(&self, reader: &Reader, lie: Hostile) {
        *self.lie.lock().unwrap() = (reader.asks, lie);
        self.taken.store(0, Ordering::Relaxed);
    }
}

fn listen(path: &Path, lie: Arc<Mutex<(&'static str, Hostile)>>, taken: Arc<AtomicUsize>) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (asks, lie) = lie.lock().unwrap().clone();
            // Whoever leaves in the middle is who this is about.
            tokio::spawn(serve(socket, asks, lie, Arc::clone(&taken)));
        }
    });
}

async fn serve(
    mut socket: UnixStream,
    asks: &'static str,
    lie: Hostile,
    taken: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    if !line.contains(asks) {
        let (status, body) = honest(&line);
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        return socket.write_all(text.as_bytes()).await;
    }
    match lie {
        Hostile::Pieces(pieces) => {
            for piece in pieces {
                socket.write_all(&piece).await?;
                socket.flush().await?;
                tokio::task::yield_now().await;
            }
        }
        Hostile::Endless(first, again) => {
            socket.write_all(&first).await?;
            while taken.load(Ordering::Relaxed) < ENDLESS {
                socket.write_all(&again).await?;
                taken.fetch_add(again.len(), Ordering::Relaxed);
            }
        }
    }
    socket.shutdown().await
}

fn honest(line: &str) -> (u16, &'static str) {
    match line {
        line if line.contains("/version") => {
            (200, r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#)
        }
        line if line.starts_with("POST") && line.contains("/exec ") => (201, r#"{"Id":"0a1b"}"#),
        line if line.contains("/exec/") => (200, r#"{"ExitCode":0}"#),
        line if line.contains("/images/json") => (200, "[]"),
        line if line.contains(ID) => (200, r#"{"Id":"0a","State":{},"Config":{"Tty":false}}"#),
        _ => (404, r#"{"message":"no such thing"}"#),
    }
}

/// Reads an answer to its end; says how it ended.
async fn read(docker: &Docker, reader: &str) -> Result<usize, Error> {
    let id = ContainerId::new(ID);
    let (log, mut lines) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move { while lines.recv().await.is_some() {} });
    match reader {
        "events" => {
            let mut events = docker.events();
            let mut count = 0;
            while let Some(event) = events.next().await {
                event?;
                count += 1;
            }
            Ok(count)
        }
        "logs" => {
            let mut logs = docker.logs(&id, LogOptions::default());
            let mut bytes = 0;
            while let Some(piece) = logs.next().await {
                bytes += piece?.len();
            }
            Ok(bytes)
        }
        "exec" => {
            let ended = docker.exec(&id, &["true".to_owned()], PATIENCE).await;
            ended.map(|(_, output)| output.len())
        }
        "pull" => docker.pull(&ImageRef::parse("shop/a:1").unwrap(), log).await.map(|id| id.len()),
        "build" => {
            let recipe = recipe();
            let request = BuildRequest {
                recipe: &recipe,
                instance: "home",
                dockerfile: "Dockerfile".to_owned(),
                context: stream::iter([Ok(Bytes::from_static(b"tar"))]).boxed(),
                log,
                extras: BuildExtras::default(),
            };
            docker.build(request).await.map(|id| id.len())
        }
        "list" => docker.observe().await.map(|world| world.containers.len()),
        _ => docker.inspect(&id).await.map(|detail| usize::from(detail.is_some())),
    }
}

fn recipe() -> Recipe {
    Recipe {
        instance: "home".to_owned(),
        app: AppName::new("chat").unwrap(),
        tree: "t".to_owned(),
        commit: String::new(),
        dockerfile: Dockerfile::Generated("FROM x".to_owned()),
        target: None,
        args: BTreeMap::default(),
        base: None,
        ca_bundle: None,
        secrets: Vec::new(),
        rebuilds: 0,
        is_from_scratch: false,
        twin: None,
        from: None,
        why: String::new(),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Faults B03, D09, D12, D37, D39: whatever comes, no reader panics, and each ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_engine_answers_each_reader_comes_to_an_end() {
    let liar = Liar::new();
    let one = number("BERTH_HOSTILE_SEED");
    let seeds = one.map_or(0..number("BERTH_HOSTILE_CASES").unwrap_or(CASES), |one| one..one + 1);
    for reader in READERS {
        let (mut errors, mut ends) = (0, 0);
        for seed in seeds.clone() {
            liar.tell(reader, answer(seed, reader));
            let (docker, name) = (liar.docker.clone(), reader.name);
            let reading = tokio::spawn(async move { read(&docker, name).await });
            let told = format!("BERTH_HOSTILE_SEED={seed}, {name}");
            let ended = tokio::time::timeout(PATIENCE, reading).await;
            let ended = ended.unwrap_or_else(|_| panic!("{told}: it never ends"));
            match ended.unwrap_or_else(|died| panic!("{told}: {died}")) {
                Ok(_) => ends += 1,
                Err(_) => errors += 1,
            }
        }
        let _ = writeln!(std::io::stderr(), "{:<8} {ends} ends, {errors} errors", reader.name);
    }
}

/// The same of an answer without an end: nothing of it is kept that may not be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_end_is_not_kept() {
    let liar = Liar::new();
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n".to_vec();
    let body = [head.clone(), b"\r\n".to_vec()].concat();
    let mib = |byte: u8| vec![byte; 1 << 20];
    for reader in READERS {
        let lies = [
            ("a line", Hostile::Endless(body.clone(), mib(b'x'))),
            ("a document", Hostile::Endless([body.clone(), b"[\"".to_vec()].concat(), mib(b' '))),
            ("a head", Hostile::Endless([head.clone(), b"X-Long: ".to_vec()].concat(), mib(b'y'))),
        ];
        for (what, lie) in lies {
            liar.tell(reader, lie);
            let reading = tokio::time::timeout(PATIENCE * 2, read(&liar.docker, reader.name));
            let ended =
                reading.await.unwrap_or_else(|_| panic!("{}: {what} never ends", reader.name));
            let taken = liar.taken.load(Ordering::Relaxed);
            assert!(ended.is_err(), "{}: {what} was read: {ended:?}", reader.name);
            assert!(taken < TAKEN_MAX, "{}: {} MiB of {what}", reader.name, taken >> 20);
        }
    }
}

/// Fault H14: of a command that says gigabytes, in one frame, the end is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_commands_output_only_the_end_is_kept() {
    let liar = Liar::new();
    let exec = READERS.iter().find(|reader| reader.name == "exec").unwrap();
    for status in ["101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp", "200 OK"] {
        let first = format!("HTTP/1.1 {status}\r\n\r\n").into_bytes();
        let frame = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        liar.tell(exec, Hostile::Endless([first, frame.to_vec()].concat(), vec![b'x'; 1 << 20]));
        let kept = read(&liar.docker, "exec").await.unwrap();
        assert_eq!(kept, 4096, "{status}");
        assert!(ENDLESS <= liar.taken.load(Ordering::Relaxed), "all of it passed by");
    }
}
