//! What goes over the wire, and what an engine can do to it: a stub speaks for the engine.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth::engine::docker::{Builder, Docker, Settings};
use berth::engine::{
    About, Applied, BuildExtras, BuildRequest, Engine as _, Error, Hint, ResolvedCall,
};
use berth::model::{AppName, label};
use berth::plan::{Call, Dockerfile, Recipe, Target};
use berth::state::ContainerId;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// What the stub answers: a status, then pieces of a body.
struct Reply(u16, BoxStream<'static, Bytes>);

fn say(status: u16, body: &'static str) -> Reply {
    Reply(status, stream::iter([Bytes::from(body)]).boxed())
}

fn say_and_hang(body: &'static str) -> Reply {
    Reply(200, stream::iter([Bytes::from(body)]).chain(stream::pending()).boxed())
}

type Answer = dyn Fn(&str) -> Reply + Send + Sync;

/// An engine that answers as it is told and remembers what it was asked.
struct Stub {
    docker: Docker,
    asked: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

const VERSION: &str = r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Stub {
    fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = format!("unix://{}", folder.path().join("engine.sock").display());
        let docker =
            Docker::connect(Settings { builder: Builder::Classic, ..Settings::new(host, "home") });
        let docker = docker.unwrap();
        let stub = Self { docker, asked: Arc::default(), folder };
        stub.listen(answer);
        stub
    }

    /// Takes the socket's place with a new one.
    fn listen(&self, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        let path = self.folder.path().join("engine.sock");
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (asked, answer) = (Arc::clone(&self.asked), Arc::new(answer) as Arc<Answer>);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&asked), Arc::clone(&answer)));
            }
        });
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn apply(&self, call: Call) -> Result<Applied, Error> {
        self.docker
            .apply(&ResolvedCall {
                call: &call,
                id: Some(ContainerId::new(ID)),
                given: berth::secret::Given::default(),
            })
            .await
    }
}

async fn serve(
    socket: tokio::net::UnixStream,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Answer>,
) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let line = format!("{} {}", request.method(), request.uri());
        asked.lock().unwrap().push(line.clone());
        let Reply(status, pieces) = answer(&line);
        let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        async move {
            // A build's context is read whole before anything is said, as engines do.
            let _ = http_body_util::BodyExt::collect(request.into_body()).await;
            Response::builder().status(status).body(StreamBody::new(frames))
        }
    });
    let io = TokioIo::new(socket);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

fn target() -> Target {
    Target { id: Some(ContainerId::new(ID)), name: "chat".to_owned() }
}

/// Fault D16, faults.md §4.1.4: bollard would lose the version.
#[tokio::test]
async fn every_request_names_the_version_that_was_agreed_on() {
    let stub =
        Stub::new(|line| if line.contains("version") { say(200, VERSION) } else { say(200, "[]") });
    stub.docker.observe().await.unwrap();
    assert!(matches!(stub.apply(Call::Start(target())).await, Ok(Applied::Changed)));
    let mut asked = stub.asked();
    asked[1..3].sort();
    assert_eq!(
        asked,
        [
            "GET /version".to_owned(),
            "GET /v1.41/containers/json?all=1".to_owned(),
            "GET /v1.41/images/json".to_owned(),
            format!("POST /v1.41/containers/{ID}/start"),
        ]
    );
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_said_to_be_too_old() {
    let stub = Stub::new(|_| say(200, r#"{"ApiVersion":"1.39"}"#));
    let seen = stub.docker.observe().await;
    assert!(matches!(seen, Err(Error::Unsupported(message)) if message.contains("1.39")));
    assert_eq!(stub.asked(), ["GET /version"]);
}

/// Faults D16, D48, D49: the socket is another one, and the engine behind it is newer. Nothing is
/// asked of it before it has said who it is and is trusted.
#[tokio::test]
async fn a_replaced_engine_is_found_and_asked_for_its_version() {
    let stub =
        Stub::new(|line| if line.contains("version") { say(200, VERSION) } else { say(200, "[]") });
    stub.docker.observe().await.unwrap();
    stub.listen(|line| match line {
        "GET /version" => say(200, r#"{"ApiVersion":"1.52","MinAPIVersion":"1.44"}"#),
        line if line.contains("/v1.41/") => {
            say(400, r#"{"message":"client version 1.41 is too old"}"#)
        }
        line if line.contains("/info") => say(200, r#"{"ID":"new","DockerRootDir":"/new"}"#),
        _ => say(200, "[]"),
    });
    for _ in 0..3 {
        let seen = stub.docker.observe().await;
        assert!(matches!(&seen, Err(error @ Error::Unreachable { .. })
            if error.to_string().contains("another program listens there now")));
    }
    assert!(matches!(stub.apply(Call::Start(target())).await, Err(Error::Unreachable { .. })));
    let about = stub.docker.describe().await.unwrap();
    assert_eq!(about.id, "new in /new");
    assert!(stub.docker.observe().await.is_err(), "it is known, not trusted");
    stub.docker.trust(&About { id: "another".to_owned(), ..about.clone() });
    assert!(stub.docker.observe().await.is_err(), "another one was trusted");
    stub.docker.trust(&about);
    stub.docker.observe().await.unwrap();
    assert!(stub.asked().iter().all(|line| !line.contains("POST")));
    assert!(stub.asked().iter().any(|line| line.starts_with("GET /v1.52/containers")));
}

/// Fault D35: the head came, the body never ends.
#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_a_timeout() {
    let stub =
        Stub::new(
            |line| {
                if line.contains("version") { say(200, VERSION) } else { say_and_hang("[") }
            },
        );
    let seen = stub.docker.observe().await;
    assert!(matches!(seen, Err(Error::Timeout { seconds: 10, .. })), "{seen:?}");
    assert!(matches!(
        stub.docker.inspect(&ContainerId::new(ID)).await,
        Err(Error::Timeout { call: "inspect", seconds: 5 })
    ));
}

/// Fault D04.
#[tokio::test(start_paused = true)]
async fn a_removal_that_is_under_way_is_waited_for() {
    let looks = AtomicU32::new(0);
    let stub = Stub::new(move |line| match line.split(' ').next() {
        _ if line.contains("version") => say(200, VERSION),
        Some("DELETE") => {
            say(409, r#"{"message":"removal of container x is already in progress"}"#)
        }
        _ if looks.fetch_add(1, Ordering::Relaxed) < 3 => say(200, "{}"),
        _ => say(404, r#"{"message":"No such container: x"}"#),
    });
    assert!(matches!(stub.apply(Call::Remove(target())).await, Ok(Applied::AlreadySo)));
    assert_eq!(stub.asked().iter().filter(|line| line.contains("/json")).count(), 4);
}

/// Faults D09, D10: the deadline of a stop follows its grace period.
#[tokio::test(start_paused = true)]
async fn a_stop_may_take_its_grace_period_and_a_margin() {
    let stub = Stub::new(|line| {
        if line.contains("version") {
            say(200, VERSION)
        } else {
            Reply(500, stream::pending().boxed())
        }
    });
    let stopped = stub.apply(Call::Stop { target: target(), grace_s: Some(30) }).await;
    assert!(matches!(stopped, Err(Error::Timeout { call: "stop", seconds: 45 })), "{stopped:?}");
    assert!(stub.asked().iter().any(|line| line.ends_with("/stop?t=30")));
    // Of one whose promise is known to the engine alone, the most that can be promised is waited.
    let stopped = stub.apply(Call::Stop { target: target(), grace_s: None }).await;
    assert!(matches!(stopped, Err(Error::Timeout { call: "stop", seconds: 615 })), "{stopped:?}");
    let asked = stub.asked();
    assert!(asked.last().is_some_and(|line| line.contains("/stop") && !line.contains("t=")));
}

fn recipe() -> Recipe {
    Recipe {
        instance: "home".to_owned(),
        app: AppName::new("chat").unwrap(),
        tree: "t".to_owned(),
        commit: String::new(),
        dockerfile: Dockerfile::Generated("FROM x".to_owned()),
        target: None,
        args: std::collections::BTreeMap::new(),
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

async fn build(stub: &Stub) -> Result<String, Error> {
    build_of(stub, &recipe()).await
}

async fn build_of(stub: &Stub, recipe: &Recipe) -> Result<String, Error> {
    let (log, _lines) = tokio::sync::mpsc::channel(10);
    let request = BuildRequest {
        recipe,
        instance: "home",
        dockerfile: "Dockerfile".to_owned(),
        context: stream::iter([Ok(Bytes::from_static(b"tar"))]).boxed(),
        log,
        extras: BuildExtras::default(),
    };
    stub.docker.build(request).await
}

fn stub_that_builds(build: fn() -> Reply, image: &'static str) -> Stub {
    Stub::new(move |line| match line {
        "GET /version" => say(200, VERSION),
        line if line.starts_with("POST") => build(),
        _ if image.is_empty() => say(404, r#"{"message":"No such image"}"#),
        _ => say(200, image),
    })
}

fn image_labelled(build: &str) -> &'static str {
    let labels = serde_json::json!({
        label::IMAGE_INSTANCE: "home",
        label::IMAGE_APP: "chat",
        label::IMAGE_BUILD: build,
        label::IMAGE_INPUTS: recipe().inputs().as_str(),
    });
    let image = serde_json::json!({ "Id": "sha256:1", "Config": { "Labels": labels } });
    Box::leak(image.to_string().into_boxed_str())
}

/// Faults B04, D39: the stream ended well, and there is no image, or it is another one's.
#[tokio::test]
async fn a_build_without_its_image_has_failed() {
    let ends = || say(200, "{\"stream\":\"Step 1/1\\n\"}\n");
    let built = build(&stub_that_builds(ends, "")).await;
    assert!(
        matches!(built, Err(Error::Work(ref said)) if said.contains("without an image")),
        "{built:?}"
    );
    let foreign = build(&stub_that_builds(ends, image_labelled("00"))).await;
    assert!(matches!(foreign, Err(Error::Work(_))), "{foreign:?}");
    let ours = image_labelled(recipe().digest().as_str());
    assert_eq!(build(&stub_that_builds(ends, ours)).await.unwrap(), "sha256:1");
}

/// What a person asked for from scratch takes nothing of earlier builds; what is built later does.
#[tokio::test]
async fn only_a_build_from_scratch_takes_nothing_of_earlier_ones() {
    for is_from_scratch in [false, true] {
        let recipe = Recipe { rebuilds: 1, is_from_scratch, ..recipe() };
        let ours = image_labelled(recipe.digest().as_str());
        let stub = stub_that_builds(|| say(200, "{\"stream\":\"a\\n\"}\n"), ours);
        assert_eq!(build_of(&stub, &recipe).await.unwrap(), "sha256:1");
        let asked = stub.asked();
        let build = asked.iter().find(|line| line.contains("/build?")).unwrap();
        assert_eq!(build.contains("nocache=1"), is_from_scratch, "{build}");
    }
}

/// faults.md §4.1.6: a line break that comes in two pieces is no error.
#[tokio::test]
async fn a_stream_that_ends_with_a_split_line_break_has_ended_well() {
    let ours = image_labelled(recipe().digest().as_str());
    let split = || {
        let pieces = stream::iter(["{\"stream\":\"a\\n\"}", "\r\n", "\r"].map(Bytes::from));
        Reply(
            200,
            pieces
                .then(|piece| async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    piece
                })
                .boxed(),
        )
    };
    assert_eq!(build(&stub_that_builds(split, ours)).await.unwrap(), "sha256:1");
}

/// Fault B03.
#[tokio::test(start_paused = true)]
async fn a_silent_build_is_given_up() {
    let built = build(&stub_that_builds(|| say_and_hang("{\"stream\":\"a\\n\"}\n"), "")).await;
    assert!(matches!(built, Err(Error::Work(ref said)) if said.contains("silent")), "{built:?}");
}

/// Fault D12: silence is asked about, the end of the stream is an error.
#[tokio::test(start_paused = true)]
async fn silent_events_are_asked_about_and_an_end_is_an_error() {
    let stub = Stub::new(|line| match line {
        "GET /version" => say(200, VERSION),
        line if line.contains("/_ping") => say(500, r#"{"message":"wedged"}"#),
        _ => say_and_hang("{\"Action\":\"start\"}\n"),
    });
    let mut events = stub.docker.events();
    assert_eq!(events.next().await.unwrap().unwrap(), Hint::subscribed());
    assert_eq!(events.next().await.unwrap().unwrap().action, "start");
    assert!(matches!(events.next().await, Some(Err(Error::Failed { status: 500, .. }))));
    assert!(events.next().await.is_none());
    let ends =
        Stub::new(|line| if line.contains("/version") { say(200, VERSION) } else { say(200, "") });
    let told: Vec<_> = ends.docker.events().collect().await;
    assert!(matches!(told.as_slice(), [Ok(_), Err(Error::Broken { .. })]), "{told:?}");
}

/// One odd container must not blind us, and half a list is no list.
#[tokio::test]
async fn a_list_that_is_cut_off_is_no_observation() {
    let stub = Stub::new(|line| match line {
        "GET /version" => say(200, VERSION),
        line if line.contains("containers") => say(200, r#"[{"Id":"0a","#),
        _ => say(200, "[]"),
    });
    assert!(matches!(stub.docker.observe().await, Err(Error::Broken { call: "list", .. })));
}
