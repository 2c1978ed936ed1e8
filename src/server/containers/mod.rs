//! Containers of the whole host, as clients of an orchestration service know them.
//!
//! What is ours goes through what is desired: its manifest is written, paused or removed, and the
//! controller does the rest. What is not ours is touched by request only, and by nobody else:
//! passes have no [`Hands`].

mod act;
mod create;
pub(super) mod info;
mod stats;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use serde_json::Value;
use tokio::{sync::broadcast, time::Instant};

pub(super) use act::{remove, start, stop, until_removed};
pub(super) use create::create;
pub(super) use stats::{container as stats, system};

use super::{Shared, problem::Problem};
use crate::engine::{self, Dormant, Engine, Hands};
use crate::model::{AppName, PortRange, label};
use crate::record::{Change, Entry, Record, ledger::Ledger};
use crate::state::{Container, ContainerId, ContainerState, Ownership, World, owner_of};

/// How long a request waits until what it asked for is so.
const PATIENCE: Duration = Duration::from_secs(60);

/// What these routes need beside what all others have.
pub struct Compat {
    /// The engine, as people use it by hand.
    pub hands: Arc<dyn Hands>,
    /// Which ports apps were given.
    pub ledger: Arc<Ledger>,
    /// The host ports that are given out.
    pub ports: PortRange,
    /// Which Berth this is.
    pub instance: String,
    /// The container that Berth itself runs in.
    pub own_container: Option<ContainerId>,
    /// What the engine listed last for a request.
    pub latest: Latest,
    /// The ports of stopped containers.
    pub dormant: Dormant,
}

impl fmt::Debug for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compat").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Compat {
    /// What is needed for this engine.
    pub fn new(hands: Arc<dyn Hands>, instance: &str, ports: PortRange) -> Self {
        Self {
            hands,
            ledger: Arc::default(),
            ports,
            instance: instance.to_owned(),
            own_container: None,
            latest: Latest::default(),
            dormant: Dormant::default(),
        }
    }
}

/// What the engine listed: one list for all that ask while they wait for it.
#[derive(Debug, Default)]
pub struct Latest(tokio::sync::Mutex<Option<(Instant, Arc<World>)>>);

impl Latest {
    /// What the engine lists, asked for now or later.
    async fn look(&self, engine: &dyn Engine) -> Result<Arc<World>, engine::Error> {
        let asked = Instant::now();
        let mut latest = self.0.lock().await;
        if let Some((begun, world)) = latest.as_ref()
            && asked <= *begun
        {
            return Ok(Arc::clone(world));
        }
        let begun = Instant::now();
        let world = Arc::new(engine.observe().await?);
        *latest = Some((begun, Arc::clone(&world)));
        Ok(world)
    }
}

/// The container that a path names: by an id, the beginning of one, or a name.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| nowhere())
    }
}

/// `GET /containers`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let world = look(&shared).await?;
    let all = world.containers.iter();
    Ok(Json(all.map(|one| info::info(&shared.parts.record, &world, one)).collect()))
}

/// `GET /containers/running`
pub(super) async fn running(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let world = look(&shared).await?;
    let running = world.containers.iter().filter(|one| one.state == ContainerState::Running);
    Ok(Json(running.map(|one| info::info(&shared.parts.record, &world, one)).collect()))
}

/// `GET /containers/{id}`
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let world = look(&shared).await?;
    let record = &shared.parts.record;
    let container = find(record, &world, &id)?.ok_or_else(nowhere)?;
    Ok(Json(info::info(record, &world, container)))
}

/// What the engine lists now.
pub(super) async fn look(shared: &Shared) -> Result<Arc<World>, Problem> {
    let parts = &shared.parts;
    parts.compat.latest.look(parts.engine.as_ref()).await.map_err(|error| away(&error))
}

/// The container that `id` means: its id, its name, its app's name, or how its id begins.
fn find<'a>(record: &Record, world: &'a World, id: &str) -> Result<Option<&'a Container>, Problem> {
    let all = &world.containers;
    let is_named = |one: &&Container| one.id.as_str() == id || one.name == id;
    if let Some(found) = all.iter().find(is_named) {
        return Ok(Some(found));
    }
    if let Some(found) = all.iter().find(|one| info::name(record, world, one) == id) {
        return Ok(Some(found));
    }
    let is_hex = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut begun = all.iter().filter(|one| is_hex && one.id.as_str().starts_with(id));
    match (begun.next(), begun.next()) {
        (Some(_), Some(_)) => {
            let detail = format!("the ids of several containers begin with {id}");
            Err(Problem::conflict("container.ambiguous", "Not one container", detail))
        }
        (found, _) => Ok(found),
    }
}

/// Of several containers of an app, the one that it is about.
fn of_app<'a>(record: &Record, world: &'a World, app: &AppName) -> Option<&'a Container> {
    let mine = world.containers_of(app);
    let entry = record.entry(app);
    let shown = entry.as_ref().and_then(|entry| entry.status.container_id.as_deref());
    let found = mine.iter().find(|one| Some(one.id.as_str()) == shown);
    found.or(mine.last()).copied()
}

/// The instance of the other Berth that a container belongs to.
pub(super) fn other_berth(container: &Container, instance: &str) -> Option<String> {
    let theirs = container.labels.get(label::INSTANCE)?;
    let ownership = owner_of(theirs, &container.name, &container.labels);
    let is_theirs = theirs != instance && matches!(ownership, Ownership::Ours(_));
    is_theirs.then(|| theirs.clone())
}

/// There is no such container. Clients know these words.
fn nowhere() -> Problem {
    let status = StatusCode::NOT_FOUND;
    Problem::new(status, "container.not-found", "No such container", "Container not found")
}

/// The engine does not answer. Clients know these words; why it does not is in the log.
fn away(error: &engine::Error) -> Problem {
    tracing::warn!(%error, "the engine does not answer a request");
    let (status, detail) = (StatusCode::INTERNAL_SERVER_ERROR, "Docker service not available");
    Problem::new(status, error.reason().slug(), "The engine does not answer", detail)
}

/// Looks at an app again and again, until what was asked for is so or that takes too long.
struct Wait<'a> {
    shared: &'a Shared,
    app: &'a AppName,
    end: Instant,
    changes: broadcast::Receiver<Change>,
}

impl<'a> Wait<'a> {
    fn new(shared: &'a Shared, app: &'a AppName, end: Instant) -> Self {
        let (_, _, changes) = shared.parts.record.subscribe();
        Self { shared, app, end, changes }
    }

    /// What is known of the app now.
    fn entry(&self) -> Option<Arc<Entry>> {
        self.shared.parts.record.entry(self.app)
    }

    /// Waits until there may be something new; answers whether it is worth another look.
    async fn goes_on(&mut self) -> bool {
        /// What happens on the engine alone is no change of the record.
        const LOOK: Duration = Duration::from_millis(250);
        if self.end <= Instant::now() || self.shared.stop.is_cancelled() {
            return false;
        }
        // A reader that was too slow looks again, too.
        let _ = tokio::time::timeout(LOOK, self.changes.recv()).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::fake::Fake;
    use crate::model::Timestamp;

    fn world() -> World {
        let fake = Fake::new("home", Clock::runtime(Timestamp::from_millis(1)));
        fake.add_foreign("db", Vec::new());
        fake.add_foreign("cache", Vec::new());
        fake.world()
    }

    #[test]
    fn a_container_is_found_by_its_id_its_name_and_how_its_id_begins() {
        let (world, record) = (world(), Record::default());
        for one in &world.containers {
            let full = one.id.as_str();
            for id in [full, &full[..12], &full[..3], &one.name] {
                let found = find(&record, &world, id).unwrap_or(None);
                assert_eq!(found.map(|found| &found.id), Some(&one.id), "{id}");
            }
        }
        for id in ["", "d", "nobody", "zz", &"0".repeat(64)] {
            let found = find(&record, &world, id).unwrap_or(None);
            let is_prefix = world.containers.iter().any(|one| one.id.as_str().starts_with(id));
            assert!(found.is_none() || (is_prefix && !id.is_empty()), "{id}");
        }
    }

    #[test]
    fn what_may_be_several_is_none_of_them() {
        let mut world = world();
        for (one, end) in world.containers.iter_mut().zip(["1", "2"]) {
            one.id = ContainerId::new(format!("{}{end}", "a".repeat(63)));
        }
        let record = Record::default();
        assert!(find(&record, &world, "aaa").is_err());
        let second = format!("{}2", "a".repeat(63));
        assert!(find(&record, &world, &second).is_ok_and(|found| found.is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_share_one_list() {
        let fake = Fake::new("home", Clock::runtime(Timestamp::from_millis(1)));
        let latest = Latest::default();
        let looks = (0..50).map(|_| latest.look(&fake));
        let seen = futures_util::future::join_all(looks).await;
        assert!(seen.iter().all(Result::is_ok));
        assert!(fake.counts()["observe"] <= 2, "{:?}", fake.counts());
    }
}
