//! Containers of the host that no manifest is about.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Uri},
    response::Response,
};

use super::{
    Fields, Look, onward, unclear,
    words::{self, Moment},
};
use crate::server::{
    containers::{self, Id},
    dry::Dry,
    problem::Problem,
};
use crate::state::{Container, ContainerState, Ownership};

/// One of them.
pub(super) struct ForeignRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) is_up: bool,
    /// Whether it may be touched from here.
    pub(super) is_ours_to_touch: bool,
    pub(super) ports: Vec<PortLink>,
    pub(super) created: Moment,
}

/// A port that is bound on the host.
pub(super) struct PortLink {
    pub(super) text: String,
    pub(super) href: Option<String>,
}

/// All containers that are not those of apps, as they were seen last.
pub(super) fn foreign(look: &Look) -> Vec<ForeignRow> {
    let world = look.shared.parts.record.world();
    let own = look.shared.parts.compat.own_container.as_ref();
    let all = world.containers.iter().filter(|one| one.ownership.app().is_none());
    let mut rows: Vec<_> = all
        .map(|one| {
            let is_other =
                containers::other_berth(one, &look.shared.parts.compat.instance).is_some();
            row(one, look, !is_other && own != Some(&one.id))
        })
        .collect();
    rows.sort_by(|a, b| (!a.is_up, &a.name).cmp(&(!b.is_up, &b.name)));
    rows
}

/// What tells whether the list above would be another one.
pub(super) fn mark(look: &crate::server::Shared) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut mark = DefaultHasher::new();
    for one in &look.parts.record.world().containers {
        if !matches!(one.ownership, Ownership::Ours(_)) {
            (one.id.as_str(), containers::info::word(one.state)).hash(&mut mark);
        }
    }
    mark.finish()
}

fn row(one: &Container, look: &Look, is_ours_to_touch: bool) -> ForeignRow {
    let host = look.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let is_up = matches!(
        one.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    );
    let ports = one.ports.iter().filter(|_| is_up).map(|port| {
        let is_tcp = port.protocol.to_string() == "tcp";
        let text = format!("{} → {}/{}", port.host_port, port.container_port, port.protocol);
        let href = is_tcp.then(|| format!("http://{}:{}/", name_of(host), port.host_port));
        PortLink { text, href }
    });
    ForeignRow {
        id: one.id.as_str().to_owned(),
        name: one.name.clone(),
        image: one.image.clone(),
        state: containers::info::word(one.state),
        tone: match one.state {
            ContainerState::Running => "good",
            ContainerState::Restarting | ContainerState::Dead => "bad",
            _ => "quiet",
        },
        is_up,
        is_ours_to_touch,
        ports: ports.collect(),
        created: words::moment(one.created, look.now),
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `POST /ui/containers`: starts, stops or removes one.
pub(in super::super) async fn change(look: Look, body: Body) -> Response {
    let changed = async {
        let fields = Fields::read(&look.headers, body).await?;
        let (id, shared) = (fields.get("id").to_owned(), State(look.shared.clone()));
        if id.is_empty() {
            return Err(unclear("the form names no container"));
        }
        // By the whole id only: a name or a beginning could come to mean another one meanwhile.
        let known = look.shared.parts.record.world();
        if !known
            .containers
            .iter()
            .any(|one| one.id.as_str() == id && one.ownership.app().is_none())
        {
            let status = axum::http::StatusCode::CONFLICT;
            let detail = "this container is not there any more, or belongs to an app";
            return Err(Problem::new(status, "container.not-found", "No such container", detail));
        }
        let (id, wet, headers) = (Id(id), Dry(false), HeaderMap::new());
        let (done, code) = match fields.get("do") {
            "start" => (containers::start(shared, id, wet, headers).await?, "start"),
            "stop" => (containers::stop(shared, id, wet, headers).await?, "stop"),
            "remove" => {
                (containers::remove(shared, id, wet, headers, Uri::default()).await?, "remove")
            }
            _ => return Err(unclear("the form does not say what to do")),
        };
        Ok(onward(done, format!("/?done=container-{code}#others")))
    };
    look.answer(changed.await)
}
