//! What a client asks for: containers, builds, and how their work is told.

use std::{collections::BTreeMap, future::Future};

use berth::{
    engine::{Error, fake::Order},
    model::{
        AppName, Command, Digest, GpuGiven, GpuGrant, GpuRoute, PortBinding, Protocol, Resources,
        RestartPolicy, SpecHash, label,
    },
    plan::{ContainerSpec, Shape},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::shapes::Query;

/// Reads a body of JSON.
pub(super) async fn read(request: Request<Incoming>) -> Result<Value, Error> {
    let broken = |message: String| Error::Broken { call: "body", message };
    let body = request.into_body().collect().await.map_err(|error| broken(error.to_string()))?;
    let wrong =
        |error: serde_json::Error| Error::Refused { status: 400, message: error.to_string() };
    serde_json::from_slice(&body.to_bytes()).map_err(wrong)
}

fn bad(what: &str) -> Error {
    Error::Refused { status: 400, message: format!("bad parameter: {what}") }
}

/// The container that a create call asks for.
pub(super) fn spec(name: String, body: &Value) -> Result<ContainerSpec, Error> {
    let labels = &body["Labels"];
    let get = |key: &str| labels[key].as_str().map(ToOwned::to_owned);
    let must = |key: &str| get(key).ok_or_else(|| bad(key));
    let host = &body["HostConfig"];
    let restart = match host["RestartPolicy"]["Name"].as_str() {
        Some("unless-stopped" | "always") => RestartPolicy::Always,
        Some("on-failure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Never,
    };
    let network = host["NetworkMode"].as_str().ok_or_else(|| bad("NetworkMode"))?;
    Ok(ContainerSpec {
        name,
        instance: must(label::INSTANCE)?,
        app: AppName::new(&must(label::APP)?).map_err(|_| bad(label::APP))?,
        generation: must(label::GENERATION)?.parse().map_err(|_| bad(label::GENERATION))?,
        spec_hash: SpecHash::from_label(&must(label::SPEC_HASH)?),
        build: get(label::BUILD).and_then(|text| Digest::parse(&text)),
        commit: get(label::COMMIT),
        fields: get(label::FIELDS).unwrap_or_default(),
        grace_s: 1,
        gpu_way: get(label::GPU_WAY).and_then(|text| route(&text)),
        shape: Shape {
            image: body["Image"].as_str().unwrap_or_default().to_owned(),
            command: Command::Image,
            env: BTreeMap::new(),
            ports: ports(&host["PortBindings"])?,
            mounts: Vec::new(),
            resources: Resources::default(),
            restart,
            network: network.to_owned(),
            gpus: get(label::GPUS).and_then(|text| GpuGrant::parse(&text)),
            secrets: BTreeMap::new(),
            restricted: None,
            models: BTreeMap::new(),
            services: None,
        },
    })
}

fn route(text: &str) -> Option<GpuRoute> {
    let GpuGiven { way, driver } = GpuGiven::parse(text)?;
    let (names, nodes, groups) = (Vec::new(), Vec::new(), Vec::new());
    Some(GpuRoute { way, names, nodes, groups, driver, why: String::new() })
}

fn ports(map: &Value) -> Result<Vec<PortBinding>, Error> {
    let mut ports = Vec::new();
    for (key, bindings) in map.as_object().into_iter().flatten() {
        let (port, protocol) = key.split_once('/').ok_or_else(|| bad(key))?;
        let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        for binding in bindings.as_array().into_iter().flatten() {
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
            ports.push(PortBinding {
                host_ip: binding["HostIp"].as_str().unwrap_or_default().to_owned(),
                host_port: number(binding["HostPort"].as_str()).ok_or_else(|| bad("HostPort"))?,
                container_port: number(Some(port)).ok_or_else(|| bad(key))?,
                protocol,
            });
        }
    }
    Ok(ports)
}

/// What a build is to give.
pub(super) fn order(query: &Query) -> Result<Order, Error> {
    let tag = query.get("t").cloned().ok_or_else(|| bad("t"))?;
    let labels = query.get("labels").map_or("{}", String::as_str);
    let labels: BTreeMap<String, String> =
        serde_json::from_str(labels).map_err(|_| bad("labels"))?;
    let app = labels.get(label::IMAGE_APP).and_then(|app| AppName::new(app).ok());
    Ok(Order { app: app.ok_or_else(|| bad(label::IMAGE_APP))?, tag, labels })
}

type Piece = fn(String) -> Value;

fn line_of(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

/// Work as a stream of JSON lines; its failure is the last of them (fault D39).
pub(super) fn stream_of(
    work: impl Future<Output = Result<String, Error>> + Send + 'static,
    lines: Receiver<String>,
    piece: Piece,
) -> BoxStream<'static, Bytes> {
    let told = stream::unfold(lines, |mut lines| async { Some((lines.recv().await?, lines)) });
    let told = told.map(move |line| line_of(&piece(line)));
    let end = stream::once(work).map(|outcome| match outcome {
        Ok(id) => line_of(&json!({"aux": {"ID": id}})),
        Err(error) => {
            let message = error.to_string();
            line_of(&json!({"errorDetail": {"message": message}, "error": message}))
        }
    });
    // Both at once: the log flows while the work goes on.
    stream::select(told, end).boxed()
}

/// The same, where work that fails before it says anything is an error.
pub(super) async fn follow(
    work: impl Future<Output = Result<String, Error>> + Send + 'static,
    mut lines: Receiver<String>,
    piece: Piece,
) -> Result<BoxStream<'static, Bytes>, Error> {
    let mut work = Box::pin(work);
    tokio::select! {
        biased;
        outcome = &mut work => {
            let id = outcome?;
            let mut told = Vec::new();
            while let Ok(line) = lines.try_recv() {
                told.push(line_of(&piece(line)));
            }
            told.push(line_of(&json!({"status": format!("Digest: {id}")})));
            Ok(stream::iter(told).boxed())
        }
        Some(first) = lines.recv() => {
            let first = stream::iter([line_of(&piece(first))]);
            Ok(first.chain(stream_of(work, lines, piece)).boxed())
        }
    }
}
