//! Health checks: is the app at work, not only its process?
//!
//! One task for each checked container. It knocks often while the app starts, then at the check's
//! interval, and asks for a look at the app when the verdict changes.

pub mod gpu;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::AbortHandle, time::Instant};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::model::{AppName, Health, HealthCheck};
use crate::queue::Queue;
use crate::state::{ContainerId, HealthSeen};

/// The first pause between two checks of an app that starts; it grows up to the second figure.
const EAGER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The first pause after the engine did not do a check; it doubles up to the second figure. A check
/// is up to three calls.
const BLIND: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// Why a check did not pass.
enum Trouble {
    /// The app did not answer as it should.
    App(String),
    /// The engine did not do the check.
    Engine(String),
}

/// What was listed so shortly before a verdict is new enough to act on it.
const LIST_AGE: Duration = Duration::from_millis(50);

/// Where an app's container is reached from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its own address, when it has one.
    pub address: Option<String>,
    /// Host ports by container port, for engines whose networks the host can't see.
    pub published: BTreeMap<u16, u16>,
}

struct Watched {
    container: ContainerId,
    health: Health,
    reach: Reach,
    seen: HealthSeen,
    task: AbortHandle,
}

/// Checks the health of all apps.
pub struct Prober {
    engine: Arc<dyn Engine>,
    queue: Arc<Queue>,
    clock: Clock,
    watched: Mutex<BTreeMap<AppName, Watched>>,
}

impl Prober {
    /// Checks nothing yet.
    pub fn new(engine: Arc<dyn Engine>, queue: Arc<Queue>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { engine, queue, clock, watched: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that this container is checked so. What was seen of it is kept while nothing of
    /// this changes.
    pub fn watch(
        self: &Arc<Self>,
        app: &AppName,
        container: &ContainerId,
        reach: Reach,
        health: &Health,
    ) {
        let mut all = self.lock();
        if let Some(old) = all.get(app) {
            if old.container == *container && old.reach == reach && old.health == *health {
                return;
            }
            old.task.abort();
        }
        let seen = HealthSeen::Starting { since: self.clock.now(), error: None };
        let task = tokio::spawn({
            let (prober, app, container) = (Arc::clone(self), app.clone(), container.clone());
            let (reach, health) = (reach.clone(), health.clone());
            async move { prober.run(&app, &container, &reach, &health).await }
        });
        let (container, health, task) = (container.clone(), health.clone(), task.abort_handle());
        all.insert(app.clone(), Watched { container, health, reach, seen, task });
    }

    /// Checks the app no more, and forgets what was seen.
    pub fn forget(&self, app: &AppName) {
        if let Some(old) = self.lock().remove(app) {
            old.task.abort();
        }
    }

    /// What was seen of the app's container.
    pub fn seen(&self, app: &AppName) -> BTreeMap<ContainerId, HealthSeen> {
        let all = self.lock();
        let seen = all.get(app).map(|watched| (watched.container.clone(), watched.seen.clone()));
        seen.into_iter().collect()
    }

    async fn run(&self, app: &AppName, id: &ContainerId, reach: &Reach, health: &Health) {
        let Some(check) = &health.check else { return };
        let (mut eager, mut blind) = (EAGER.0, BLIND.0);
        let mut failures = 0;
        loop {
            let checked = tokio::time::timeout(health.timeout, self.check(id, reach, check)).await;
            let late = |_| Err(Trouble::App("no answer in time".to_owned()));
            let result = match checked.unwrap_or_else(late) {
                Err(Trouble::Engine(error)) => {
                    self.note_blind(app, id, error);
                    tokio::time::sleep(blind).await;
                    blind = (blind * 2).min(BLIND.1);
                    continue;
                }
                Err(Trouble::App(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            blind = BLIND.0;
            failures = if result.is_ok() { 0 } else { failures + 1 };
            let is_healthy = self.note(app, id, &result, failures >= health.retries);
            let pause = if is_healthy {
                health.interval
            } else {
                eager = (eager * 3 / 2).min(EAGER.1);
                eager.min(health.interval)
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes down what a check said; answers whether the app counts as healthy.
    fn note(
        &self,
        app: &AppName,
        id: &ContainerId,
        result: &Result<(), String>,
        is_limit: bool,
    ) -> bool {
        let now = self.clock.now();
        let mut all = self.lock();
        let Some(watched) = all.get_mut(app).filter(|watched| watched.container == *id) else {
            return false;
        };
        let before = watched.seen.clone();
        watched.seen = match (result, &before) {
            (Ok(()), HealthSeen::Healthy { .. }) => before.clone(),
            (Ok(()), _) => HealthSeen::Healthy { since: now },
            (Err(error), HealthSeen::Healthy { .. }) if is_limit => {
                HealthSeen::Unhealthy { since: now, error: error.clone() }
            }
            (Err(_), HealthSeen::Healthy { .. }) => before.clone(),
            (Err(error), HealthSeen::Unhealthy { since, .. }) => {
                HealthSeen::Unhealthy { since: *since, error: error.clone() }
            }
            (Err(error), HealthSeen::Starting { since, .. } | HealthSeen::Unseen { since, .. }) => {
                HealthSeen::Starting { since: *since, error: Some(error.clone()) }
            }
        };
        let is_turn = std::mem::discriminant(&before) != std::mem::discriminant(&watched.seen);
        let is_healthy = matches!(watched.seen, HealthSeen::Healthy { .. });
        drop(all);
        if is_turn {
            let now = Instant::now();
            self.queue.ask_since(app, now.checked_sub(LIST_AGE).unwrap_or(now));
        }
        is_healthy
    }

    /// Writes down that a check could not be made. What was seen before that is still the best that
    /// is known.
    fn note_blind(&self, app: &AppName, id: &ContainerId, error: String) {
        let now = self.clock.now();
        let mut all = self.lock();
        let Some(watched) = all.get_mut(app).filter(|watched| watched.container == *id) else {
            return;
        };
        let since = match &watched.seen {
            HealthSeen::Healthy { .. } | HealthSeen::Unhealthy { .. } => return,
            HealthSeen::Unseen { error: before, .. } if *before == error => return,
            HealthSeen::Unseen { since, .. } => *since,
            HealthSeen::Starting { .. } => now,
        };
        watched.seen = HealthSeen::Unseen { since, error };
        drop(all);
        self.queue.ask(app, Duration::ZERO);
    }

    async fn check(
        &self,
        id: &ContainerId,
        reach: &Reach,
        check: &HealthCheck,
    ) -> Result<(), Trouble> {
        match check {
            HealthCheck::Tcp { port } => tcp(reach, *port).await.map(|_| ()).map_err(Trouble::App),
            HealthCheck::Http { path, port } => {
                http(reach, *port, path).await.map_err(Trouble::App)
            }
            HealthCheck::Exec(command) => {
                let timeout = Duration::from_secs(60);
                match self.engine.exec(id, command, timeout).await {
                    Ok((0, _)) => Ok(()),
                    Ok((code, output)) => {
                        let last = output.lines().last().unwrap_or("").trim().to_owned();
                        Err(Trouble::App(format!("the check exited with code {code}: {last}")))
                    }
                    Err(error) => Err(Trouble::Engine(error.to_string())),
                }
            }
        }
    }
}

/// Connects to the container's own address. A published port is the second choice: the engine's
/// proxy accepts there before the app does, so that the connection must also stay open.
async fn tcp(reach: &Reach, port: u16) -> Result<TcpStream, String> {
    let (target, is_proxied) = match (&reach.address, reach.published.get(&port)) {
        (Some(address), _) => (format!("{address}:{port}"), false),
        (None, Some(published)) => (format!("127.0.0.1:{published}"), true),
        (None, None) => return Err(format!("port {port} can't be reached from the host")),
    };
    let stream = TcpStream::connect(&target)
        .await
        .map_err(|error| format!("{} on port {port}", plain(&error)))?;
    if is_proxied {
        let mut byte = [0];
        let peeked = tokio::time::timeout(Duration::from_millis(100), stream.peek(&mut byte)).await;
        if matches!(peeked, Ok(Ok(0) | Err(_))) {
            return Err(format!("connection closed on port {port}"));
        }
    }
    Ok(stream)
}

/// A network error without the operating system's number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to the container".to_owned(),
        _ => error.to_string(),
    }
}

async fn http(reach: &Reach, port: u16, path: &str) -> Result<(), String> {
    let stream = tcp(reach, port).await?;
    let broken = |error: hyper::Error| format!("GET {path} on port {port}: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("host", "localhost")
        .header("user-agent", "berth-health")
        .header("connection", "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(broken);
    driver.abort();
    let status = answer?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("GET {path} on port {port} answered {status}"))
    }
}
