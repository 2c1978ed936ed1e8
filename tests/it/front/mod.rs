//! The engine in memory behind HTTP, as a Docker Engine 20.10 would answer: what a real client
//! sends and reads, without an engine. The contract suite is held against it.

mod orders;
mod shapes;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::ErrorKind,
    sync::{Arc, Mutex},
};

use berth::{
    engine::{
        Applied, Engine as _, Error, Hands as _, LogOptions, ResolvedCall,
        docker::Connect,
        fake::{Fake, Told},
    },
    model::{ImageRef, Timestamp},
    plan::{Call, Target},
    state::{Around, Container, ContainerId, ContainerState},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Frame, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use shapes::Query;

/// How much may be on its way on a connection.
const PIPE_BYTES: usize = 256 << 10;
/// How many lines of a log may wait.
const LINES_WAITING: usize = 1024;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Answer = Result<Response<Body>, Error>;

/// A command in a container: which one, and its code and output once it has run.
#[derive(Clone)]
struct Exec {
    container: ContainerId,
    code: Option<i64>,
}

/// The engine's HTTP side.
pub(crate) struct Front {
    fake: Fake,
    execs: Mutex<BTreeMap<String, Exec>>,
}

/// A request, read.
struct Asked {
    method: String,
    parts: Vec<String>,
    query: Query,
    request: Request<Incoming>,
}

/// Connections to this engine, each served by a task of its own.
pub(crate) fn connect(fake: &Fake) -> Connect {
    let front = Arc::new(Front { fake: fake.clone(), execs: Mutex::default() });
    Arc::new(move || {
        let front = Arc::clone(&front);
        async move {
            if front.fake.is_down() {
                return Err(ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(front.serve(far));
            Ok(near)
        }
        .boxed()
    })
}

impl Front {
    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(move |request| {
            let front = Arc::clone(&self);
            // An engine that is gone says nothing.
            async move { front.answer(request).await.ok_or("gone") }
        });
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Body>> {
        let path = request.uri().path();
        let mut parts: Vec<_> = path.split('/').skip(1).map(shapes::decoded).collect();
        if parts.first().is_some_and(|part| part.starts_with("v1.")) {
            parts.remove(0);
        }
        let query = shapes::query(request.uri().query().unwrap_or_default());
        let method = request.method().to_string();
        let outcome = self.route(Asked { method, parts, query, request }).await;
        let mut answer = match outcome {
            Ok(answer) => answer,
            Err(Error::Unreachable { .. } | Error::Broken { .. }) => return None,
            Err(error) => refused(error),
        };
        let fixed =
            [("Api-Version", "1.41"), ("Docker-Experimental", "false"), ("Ostype", "linux")];
        for (key, value) in fixed {
            answer.headers_mut().insert(key, header::HeaderValue::from_static(value));
        }
        (!self.fake.is_down()).then_some(answer)
    }

    async fn route(&self, asked: Asked) -> Answer {
        let parts: Vec<_> = asked.parts.iter().map(String::as_str).collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["version"]) => Ok(said(200, &shapes::version())),
            ("GET", ["_ping"]) => Ok(whole(200, "text/plain; charset=utf-8", "OK")),
            ("GET", ["info"]) => Ok(said(200, &shapes::info(&self.fake.describe().await?))),
            ("GET", ["events"]) => Ok(self.events()),
            ("GET", ["containers", "json"]) => self.list().await,
            ("GET", ["containers", id, "json"]) => self.inspect(id, &asked.query).await,
            ("GET", ["containers", id, "stats"]) => self.stats(id).await,
            ("GET", ["containers", id, "logs"]) => self.logs(id, &asked.query),
            ("GET", ["images", "json"]) => Ok(said(200, &shapes::images(&self.fake))),
            ("GET", ["images", name @ .., "json"]) => self.image(&name.join("/")).await,
            ("DELETE", ["images", name @ ..]) => self.remove_image(&name.join("/")).await,
            ("GET", ["networks"]) => Ok(said(200, &shapes::networks(&self.around().await?))),
            ("GET", ["volumes"]) => {
                Ok(said(200, &shapes::volumes(&self.around().await?, &asked.query)))
            }
            ("GET", ["system", "df"]) => {
                let sizes = self.fake.volume_sizes().await?;
                Ok(said(200, &shapes::measured(&sizes)))
            }
            ("DELETE", ["networks", id]) => self.remove_network(id).await,
            ("GET", ["networks", name]) => self.network(name),
            ("POST", ["networks", "create"]) => self.make_network(asked).await,
            ("POST", ["containers", "create"]) => self.create(asked).await,
            ("POST", ["containers", id, verb @ ("start" | "stop")]) => {
                let grace = asked.query.get("t").and_then(|text| text.parse().ok());
                self.switch(id, *verb == "start", grace).await
            }
            ("DELETE", ["containers", id]) => self.remove(id, &asked.query).await,
            ("POST", ["containers", id, "exec"]) => self.make_exec(id),
            ("POST", ["exec", _, "start"]) => self.start_exec(asked).await,
            ("GET", ["exec", id, "json"]) => self.inspect_exec(id),
            ("POST", ["images", "create"]) => self.pull(&asked.query).await,
            ("POST", ["build"]) => self.build(asked).await,
            _ => Err(Error::NotFound("page not found".to_owned())),
        }
    }

    async fn list(&self) -> Answer {
        let world = self.fake.observe().await?;
        let labels = |container: &Container| self.fake.labels_of(&container.id).unwrap_or_default();
        let rows = world.containers.iter().map(|one| shapes::container(one, &labels(one)));
        Ok(said(200, &rows.collect()))
    }

    fn found(&self, id: &str) -> Result<Container, Error> {
        let world = self.fake.world();
        let found = world.containers.into_iter().find(|container| container.id.as_str() == id);
        found.ok_or_else(|| Error::NotFound(format!("No such container: {id}")))
    }

    async fn around(&self) -> Result<Around, Error> {
        self.fake.surroundings().await
    }

    async fn remove_network(&self, id: &str) -> Answer {
        let networks = self.fake.surroundings().await?.networks;
        if !networks.iter().any(|network| network.id == id) {
            return Err(Error::NotFound(format!("network {id} not found")));
        }
        if self.fake.drop_network(id).await? {
            return Ok(empty(204));
        }
        let message = format!("error while removing network: network {id} has active endpoints");
        Err(Error::Refused { status: 403, message })
    }

    async fn inspect(&self, id: &str, query: &Query) -> Answer {
        let id = ContainerId::new(id);
        let detail = self.fake.inspect(&id).await?;
        let container = self.found(id.as_str())?;
        let ports = self.fake.ports_of(&id).await?;
        let mut told = shapes::inspection(&container, &detail.unwrap_or_default(), &ports);
        if query.contains_key("size") {
            told["SizeRw"] = json!(self.fake.layer_size(&id).await?);
        }
        Ok(said(200, &told))
    }

    async fn stats(&self, id: &str) -> Answer {
        let id = ContainerId::new(id);
        let load = self.fake.load(&id).await?;
        let load = load.ok_or_else(|| Error::NotFound(format!("No such container: {id}")))?;
        Ok(said(200, &shapes::stats(&load)))
    }

    async fn image(&self, name: &str) -> Answer {
        let Some((id, labels)) = self.fake.image(name) else {
            return Err(Error::NotFound(format!("no such image: {name}: No such image: {name}")));
        };
        let exposed = self.fake.exposed(name).await?.unwrap_or_default();
        let ports: serde_json::Map<_, _> =
            exposed.iter().map(|(port, of)| (format!("{port}/{of}"), json!({}))).collect();
        let config = json!({"Labels": labels, "ExposedPorts": ports});
        Ok(said(200, &json!({"Id": id, "RepoTags": [name], "Config": config})))
    }

    fn network(&self, name: &str) -> Answer {
        if !self.fake.has_network(name) {
            return Err(Error::NotFound(format!("network {name} not found")));
        }
        Ok(said(200, &json!({"Name": name, "Id": "0a".repeat(32), "Driver": "bridge"})))
    }

    async fn apply(&self, call: &Call, id: Option<&str>) -> Result<Applied, Error> {
        self.fake
            .apply(&ResolvedCall {
                call,
                id: id.map(ContainerId::new),
                given: berth::secret::Given::default(),
            })
            .await
    }

    async fn make_network(&self, asked: Asked) -> Answer {
        let body = orders::read(asked.request).await?;
        let name = body["Name"].as_str().unwrap_or_default().to_owned();
        match self.apply(&Call::EnsureNetwork { name: name.clone() }, None).await? {
            Applied::Changed => Ok(said(201, &json!({"Id": "0a".repeat(32), "Warning": ""}))),
            _ => Err(Error::Conflict(format!("network with name {name} already exists"))),
        }
    }

    async fn create(&self, asked: Asked) -> Answer {
        let name = asked.query.get("name").cloned().unwrap_or_default();
        let spec = orders::spec(name, &orders::read(asked.request).await?)?;
        match self.apply(&Call::Create(Box::new(spec)), None).await? {
            Applied::Created(id) => Ok(said(201, &json!({"Id": id.as_str(), "Warnings": []}))),
            other => Err(Error::Failed { status: 500, message: format!("{other:?}") }),
        }
    }

    async fn switch(&self, id: &str, is_start: bool, grace_s: Option<u32>) -> Answer {
        self.found(id)?;
        let target = Target { id: Some(ContainerId::new(id)), name: String::new() };
        let call = if is_start { Call::Start(target) } else { Call::Stop { target, grace_s } };
        let applied = self.apply(&call, Some(id)).await?;
        Ok(empty(if applied == Applied::AlreadySo { 304 } else { 204 }))
    }

    async fn remove(&self, id: &str, query: &Query) -> Answer {
        self.found(id)?;
        if query.get("force").is_none_or(|force| force != "true") {
            return if self.fake.drop_stopped(&ContainerId::new(id)).await? {
                Ok(empty(204))
            } else {
                let message = format!(
                    "You cannot remove a running container {id}. Stop the container before attempting removal or force remove"
                );
                Err(Error::Conflict(message))
            };
        }
        let target = Target { id: Some(ContainerId::new(id)), name: String::new() };
        self.apply(&Call::Remove(target), Some(id)).await?;
        Ok(empty(204))
    }

    async fn remove_image(&self, tag: &str) -> Answer {
        let Some((id, _)) = self.fake.image(tag) else {
            return Err(Error::NotFound(format!("No such image: {tag}")));
        };
        let call = Call::RemoveImage { id: id.clone(), tag: tag.to_owned() };
        match self.apply(&call, None).await? {
            Applied::Changed => Ok(said(200, &json!([{"Untagged": tag}, {"Deleted": id}]))),
            _ => Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference \"{tag}\" (must force)"
            ))),
        }
    }

    fn make_exec(&self, id: &str) -> Answer {
        let container = self.found(id)?;
        if container.state != ContainerState::Running {
            return Err(Error::Conflict(format!("Container {id} is not running")));
        }
        let mut execs = self.execs.lock().unwrap();
        let exec = format!("{:064x}", execs.len() + 1);
        execs.insert(exec.clone(), Exec { container: container.id, code: None });
        Ok(said(201, &json!({"Id": exec})))
    }

    fn exec(&self, id: &str) -> Result<Exec, Error> {
        let found = self.execs.lock().unwrap().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("No such exec instance: {id}")))
    }

    /// The connection becomes the command's output.
    async fn start_exec(&self, mut asked: Asked) -> Answer {
        let id = asked.parts[1].clone();
        let mut exec = self.exec(&id)?;
        let patience = std::time::Duration::from_secs(600);
        let (code, output) = self.fake.exec(&exec.container, &[], patience).await?;
        exec.code = Some(code);
        self.execs.lock().unwrap().insert(id, exec);
        let upgrade = hyper::upgrade::on(&mut asked.request);
        tokio::spawn(async move {
            let Ok(stream) = upgrade.await else { return };
            let mut stream = TokioIo::new(stream);
            let _ = stream.write_all(&shapes::frame(output.as_bytes())).await;
            let _ = stream.shutdown().await;
        });
        let mut answer = empty(101);
        let fixed = [
            (header::CONTENT_TYPE, "application/vnd.docker.raw-stream"),
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "tcp"),
        ];
        for (key, value) in fixed {
            answer.headers_mut().insert(key, header::HeaderValue::from_static(value));
        }
        Ok(answer)
    }

    fn inspect_exec(&self, id: &str) -> Answer {
        let Exec { container, code } = self.exec(id)?;
        let told = json!({"ID": id, "Running": code.is_none(), "ExitCode": code, "ContainerID": container.as_str()});
        Ok(said(200, &told))
    }

    fn events(&self) -> Response<Body> {
        let told = stream::unfold(self.fake.told(), |mut told| async move {
            let Ok(Some(event)) = told.recv().await else { return None };
            Some((shapes::event(&event), told))
        });
        streamed("application/json", told.boxed())
    }

    fn logs(&self, id: &str, query: &Query) -> Answer {
        let container = self.found(id)?;
        let is_set = |key: &str| query.get(key).is_some_and(|value| value == "1");
        let seconds = query.get("since").and_then(|since| since.parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds fits")]
        let since = seconds.map(|seconds| Timestamp::from_millis((seconds * 1000.0) as i64));
        let options = LogOptions {
            follow: is_set("follow"),
            tail: query.get("tail").and_then(|tail| tail.parse().ok()),
            since,
            timestamps: is_set("timestamps"),
        };
        let pieces = self.fake.logs(&container.id, options);
        let pieces = pieces.filter_map(async |piece| Some(shapes::frame(&piece.ok()?)));
        Ok(streamed("application/octet-stream", pieces.boxed()))
    }

    async fn pull(&self, query: &Query) -> Answer {
        let get = |key: &str| query.get(key).cloned().unwrap_or_default();
        let (name, tag) = (get("fromImage"), get("tag"));
        let separator = if tag.contains(':') { '@' } else { ':' };
        let text = format!("{name}{separator}{tag}");
        let wrong = |error: &dyn std::fmt::Display| Error::Refused {
            status: 400,
            message: error.to_string(),
        };
        let reference = ImageRef::parse(&text).map_err(|error| wrong(&error))?;
        let (log, lines) = tokio::sync::mpsc::channel(LINES_WAITING);
        let fake = self.fake.clone();
        let prefix = format!("failed to pull image `{reference}`: ");
        let work = async move { fake.pull(&reference, log).await };
        match orders::follow(work, lines, |line| json!({"status": line})).await {
            Ok(body) => Ok(streamed("application/json", body)),
            // Before anything was streamed an engine answers with a status.
            Err(Error::Work(message)) => {
                let message = message.trim_start_matches(&prefix).to_owned();
                Err(Error::Failed { status: 500, message })
            }
            Err(error) => Err(error),
        }
    }

    async fn build(&self, asked: Asked) -> Answer {
        let order = orders::order(&asked.query)?;
        let body = asked.request.into_body().collect().await;
        let context =
            body.map_err(|error| Error::Broken { call: "build", message: error.to_string() })?;
        let context = stream::iter([Ok(context.to_bytes())]).boxed();
        let (log, lines) = tokio::sync::mpsc::channel(LINES_WAITING);
        let fake = self.fake.clone();
        let work = async move { fake.build_to_order(&order, context, log).await };
        let body = orders::stream_of(work, lines, |line| json!({"stream": format!("{line}\n")}));
        Ok(streamed("application/json", body))
    }
}

/// An answer with a status and a body of one piece.
fn whole(status: u16, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    answer.body(body).unwrap()
}

fn said(status: u16, value: &Value) -> Response<Body> {
    whole(status, "application/json", format!("{value}\n"))
}

fn empty(status: u16) -> Response<Body> {
    let mut answer = whole(status, "application/json", "");
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

fn streamed(kind: &'static str, pieces: stream::BoxStream<'static, Bytes>) -> Response<Body> {
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    let answer = Response::builder().status(200).header(header::CONTENT_TYPE, kind);
    answer.body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

/// What the engine says when it does not do a thing.
fn refused(error: Error) -> Response<Body> {
    let (status, message) = match error {
        Error::NotFound(message) => (404, message),
        Error::ImageMissing(image) => (404, format!("No such image: {image}")),
        Error::Conflict(message) => (409, message),
        Error::PortTaken(message) => (
            500,
            format!("driver failed programming external connectivity on endpoint x: {message}"),
        ),
        Error::Gpu(message) => (500, message),
        Error::Refused { status, message } | Error::Failed { status, message } => (status, message),
        other => (500, other.to_string()),
    };
    said(status, &json!({"message": message}))
}
