//! The real program on the real engine, killed at every request that it makes: before the engine
//! hears of it, once it has it, once it has answered, and in the middle of the answer. Started
//! again it ends where it would have ended, and the engine was asked for nothing twice.
//!
//! The program speaks to the engine through the fault proxy, which kills it. `BERTH_CRASH_REAL=all`
//! tries every point, `BERTH_CRASH_REAL=<act>/<request>/<moment>` one of them; without it a sample is
//! taken, always the same one.

use std::{collections::BTreeMap, fmt, io::Write as _, path::Path, time::Duration};

use berth::{
    clock::Clock,
    engine::{Engine as _, docker::Docker},
    state::ContainerState,
};
use tokio::time::Instant;

use super::{
    engine::{self, docker},
    program::{Network, Program},
    repository::Repository,
    stage::{PATIENCE, Stage, name, tiny},
};
use crate::proxy::{Listening, Moment, Outcome, Proxy};

const MOMENTS: [Moment; 4] = [Moment::Before, Moment::Sent, Moment::Done, Moment::Mid];
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing more must happen before an act is over.
const REST: Duration = Duration::from_millis(300);
pub(super) const APP: &str = "chat";
const SOURCE: &str = "FROM berth/tiny:offline\nCOPY . /www\n";

/// What is asked of Berth while it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Install,
    Update,
    Remove,
    /// By the classic builder.
    Build,
    /// By `BuildKit`, with a session.
    Buildkit,
}

impl Act {
    fn builder(self) -> &'static str {
        if self == Self::Build { "classic" } else { "buildkit" }
    }

    fn is_build(self) -> bool {
        matches!(self, Self::Build | Self::Buildkit)
    }
}

/// A request of an act.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The one with this number.
    Nth(u64),
    /// The first of this endpoint.
    First(&'static str),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(nth) => nth.fmt(f),
            Self::First(endpoint) => f.write_str(endpoint),
        }
    }
}

/// How often the engine told of each thing: `create chat`, ….
pub(super) type Tally = BTreeMap<String, usize>;

pub(super) struct Scene {
    stage: Stage,
    _network: Network,
    pub(super) proxy: Proxy,
    listening: Listening,
    docker: Docker,
    repository: Option<Repository>,
    program: Option<Program>,
    /// Makes each version of the app another one.
    version: usize,
    bystander: (String, String),
    builder: &'static str,
}

impl Scene {
    pub(super) async fn set(act: Act) -> Self {
        let stage = Stage::new();
        let host = engine::host();
        let socket = Path::new(host.strip_prefix("unix://").expect("an engine at a socket"));
        let proxy = Proxy::before_socket(socket);
        let listening = proxy.listen(stage.path("proxy.sock"));
        let docker = Docker::connect(stage.settings()).unwrap();
        let repository = act.is_build().then(|| Repository::bare(&stage.path("served/app.git")));
        let mut scene = Self {
            _network: Network(stage.instance.clone()),
            stage,
            proxy,
            listening,
            docker,
            repository,
            program: None,
            version: 0,
            bystander: Default::default(),
            builder: act.builder(),
        };
        scene.stage.write("idle.yaml", &app("idle", 0));
        scene.start();
        scene.until("the bystander runs", Some(("idle", None))).await;
        scene.bystander = scene.stage.container("idle").life();
        scene
    }

    fn start(&mut self) {
        let address = &self.listening.address;
        self.program = Some(Program::start_at(&self.stage, address, self.builder));
    }

    /// The name of the app's container, when it has one and that one runs.
    async fn running(&self, of: &str) -> (usize, Option<String>) {
        let Ok(world) = self.docker.observe().await else { return (usize::MAX, None) };
        let mine = world.containers_of(&name(of));
        let only =
            mine.first().filter(|one| mine.len() == 1 && one.state == ContainerState::Running);
        (mine.len(), only.map(|one| one.name.clone()))
    }

    /// Waits until the app runs, not as the container of this name; or until it is gone.
    async fn until(&mut self, what: &str, wanted: Option<(&str, Option<&str>)>) {
        let begin = Instant::now();
        loop {
            let is_so = match wanted {
                Some((app, before)) => {
                    let (_, now) = self.running(app).await;
                    now.is_some() && now.as_deref() != before
                }
                None => self.running(APP).await.0 == 0,
            };
            if is_so {
                return;
            }
            // The proxy may kill it a moment after somebody looked whether it had.
            if self.program.as_mut().unwrap().was_killed() {
                self.start();
            }
            if PATIENCE * 3 < begin.elapsed() {
                let log = self.program.as_mut().unwrap().rest().await;
                panic!("never came to pass: {what}\n{}\n{log}", self.proxy.trace());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the app stands as it should, and Berth has nothing more to do.
    pub(super) async fn until_done(&mut self, act: Act, before: Option<&str>) {
        let wanted = (act != Act::Remove).then_some((APP, before));
        let what = format!("{act:?} is done");
        self.until(&what, wanted).await;
        // Half a rollout looks like a whole one until the old container shows; wait for rest.
        loop {
            let seen = self.changes();
            tokio::time::sleep(REST).await;
            if self.changes() == seen {
                return self.until(&what, wanted).await;
            }
        }
    }

    /// How many requests have passed that may change something, or look into what was changed.
    fn changes(&self) -> usize {
        self.proxy.lines(|lines| {
            lines.iter().filter(|line| !line.call.endpoint.starts_with("list_")).count()
        })
    }

    pub(super) fn put(&mut self, act: Act) {
        self.version += 1;
        match &self.repository {
            Some(repository) => {
                let page = format!("page {}\n", self.version);
                repository.commit(&[("Dockerfile", SOURCE), ("index.html", &page)]);
                let url = repository.url();
                let text = format!(
                    "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {APP}}}\nspec:\n  \
                     source: {{git: {url}, interval: 1s}}\n  run: sleep 86400\n  \
                     stopGracePeriod: 2s\n  health: {{exec: [\"true\"], interval: 60s}}\n"
                );
                // Only the repository changes: two changes may be two rollouts, or one.
                if self.version == 1 {
                    self.stage.write("chat.yaml", &text);
                }
            }
            None if act == Act::Remove => self.stage.erase("chat.yaml"),
            None => self.stage.write("chat.yaml", &app(APP, self.version)),
        }
    }

    /// Brings the app to where the act begins.
    pub(super) async fn prepare(&mut self, act: Act) -> Option<String> {
        let (count, now) = self.running(APP).await;
        let is_there = count != 0;
        match act {
            Act::Install if is_there => {
                self.stage.erase("chat.yaml");
                self.until_done(Act::Remove, None).await;
                None
            }
            Act::Install => None,
            _ if is_there => now,
            _ => {
                let put = if act == Act::Remove { Act::Install } else { act };
                self.put(put);
                self.until_done(put, None).await;
                self.running(APP).await.1
            }
        }
    }

    /// What the engine told of the app's containers since then.
    pub(super) fn told(&self, since: &str) -> Tally {
        let until = engine_time();
        let instance = format!("label=dev.berth.instance={}", self.stage.instance);
        let app = format!("label=dev.berth.app={APP}");
        let events = docker(&[
            "events",
            "--since",
            since,
            "--until",
            &until,
            "--filter",
            "type=container",
            "--filter",
            &instance,
            "--filter",
            &app,
            "--format",
            "{{.Action}}",
        ]);
        let mut tally = Tally::new();
        for action in events.lines() {
            if ["create", "start", "die", "destroy"].contains(&action) {
                *tally.entry(action.to_owned()).or_default() += 1;
            }
        }
        tally
    }

    /// Does the act, with a death at this request, counted from its beginning. Answers what the
    /// engine told, how many requests there were, and whether Berth died.
    async fn play(&mut self, act: Act, death: Option<(Point, Moment)>) -> (Tally, usize, bool) {
        let before = self.prepare(act).await;
        let since = engine_time();
        let first = self.proxy.lines(<[_]>::len);
        if let Some((point, moment)) = death {
            let hook = self.program.as_ref().unwrap().killer();
            let mut seen = 0;
            self.proxy.script(move |call| {
                let is_meant = match point {
                    Point::Nth(_) => call.endpoint != "ping",
                    Point::First(endpoint) => call.endpoint == endpoint,
                };
                seen += u64::from(is_meant);
                let nth = if let Point::Nth(nth) = point { nth } else { 0 };
                let is_now = is_meant && seen - 1 == nth;
                if is_now { Outcome::Do(moment, hook.clone()) } else { Outcome::Pass }
            });
        }
        self.put(act);
        let has_died = death.is_some() && self.until_dead(act, before.as_deref()).await;
        self.proxy.heal();
        if has_died {
            self.program.as_mut().unwrap().kill().await;
            self.start();
        }
        self.until_done(act, before.as_deref()).await;
        let requests = self.proxy.lines(<[_]>::len) - first;
        self.check_bystander();
        (self.told(&since), requests, has_died)
    }

    /// The app of which nothing is asked has not been touched.
    pub(super) fn check_bystander(&self) {
        assert_eq!(self.stage.container("idle").life(), self.bystander, "the bystander");
    }

    /// Waits until Berth is dead; or until it has done all without coming to its end.
    async fn until_dead(&mut self, act: Act, before: Option<&str>) -> bool {
        let begin = Instant::now();
        let mut done_since = None;
        loop {
            if self.program.as_mut().unwrap().was_killed() {
                return true;
            }
            let (count, now) = self.running(APP).await;
            let is_done = match act {
                Act::Remove => count == 0,
                _ => now.is_some() && now.as_deref() != before,
            };
            let done_since = is_done.then(|| *done_since.get_or_insert_with(Instant::now));
            let is_over = done_since.is_some_and(|since| REST * 3 < since.elapsed());
            if is_over || PATIENCE < begin.elapsed() {
                return self.program.as_mut().unwrap().was_killed();
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// An app that costs little to run and to stop.
fn app(of: &str, version: usize) -> String {
    let rest = format!(
        "env: {{VERSION: \"{version}\"}}\nstopGracePeriod: 2s\n\
         health: {{exec: [\"true\"], interval: 60s}}"
    );
    tiny(of, "[sleep, \"86400\"]", &rest)
}

/// The time as `docker events` takes it.
pub(super) fn engine_time() -> String {
    let millis = Clock::System.now().as_millis();
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// The points at which an act with so many requests is tried.
fn points(act: Act, requests: usize) -> Vec<(Point, Moment)> {
    let requests = u64::try_from(requests).unwrap();
    let named = if act == Act::Buildkit { ["session", "build"].as_slice() } else { &[] };
    let named: Vec<_> = named
        .iter()
        .flat_map(|endpoint| MOMENTS.map(|moment| (Point::First(endpoint), moment)))
        .collect();
    let all = (0..requests).flat_map(|nth| MOMENTS.map(|moment| (Point::Nth(nth), moment)));
    let all = named.iter().copied().chain(all);
    match std::env::var("BERTH_CRASH_REAL").as_deref() {
        Ok("all") => all.collect(),
        Ok(one) => all.filter(|(nth, moment)| one == format!("{act:?}/{nth}/{moment:?}")).collect(),
        // More than sixty in all.
        Err(_) => {
            let step = match act {
                Act::Install | Act::Remove => 3,
                Act::Update => 5,
                Act::Build => 7,
                // What differs from the classic builder.
                Act::Buildkit => return named.into_iter().step_by(2).collect(),
            };
            all.step_by(step).collect()
        }
    }
}

async fn check(act: Act) {
    let mut scene = Scene::set(act).await;
    let (usual, requests, _) = scene.play(act, None).await;
    let points = points(act, requests);
    let mut deaths = 0;
    let mut wrong = Vec::new();
    for (point, moment) in &points {
        let (told, _, has_died) = scene.play(act, Some((*point, *moment))).await;
        deaths += usize::from(has_died);
        if told != usual {
            wrong.push(format!(
                "BERTH_CRASH_REAL={act:?}/{point}/{moment:?}: {told:?}, not {usual:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), scene.proxy.trace());
    // The last requests of an act are often made after its end, or by a look at everything: the
    // slower the machine, the more of them.
    assert!(points.len() / 2 <= deaths, "{deaths} deaths at {} points", points.len());
    let _ = writeln!(
        std::io::stderr(),
        "{act:?}: {requests} requests, {} points, {deaths} deaths",
        points.len()
    );
}

/// Faults D01, D24, T01.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_of_an_install_it_makes_one_container() {
    check(Act::Install).await;
}

/// Faults D01, D24, D25.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_of_an_update_it_replaces_once() {
    check(Act::Update).await;
}

/// Faults D04, D09.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_of_a_removal_it_removes_once() {
    check(Act::Remove).await;
}

/// Faults B10, G08: killed at any request of a build, its session included, it builds and replaces.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_of_a_build_with_a_session_it_replaces_once() {
    check(Act::Buildkit).await;
}

/// Faults B10, G08: killed at any request of a build, it builds and replaces.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_of_a_build_it_replaces_once() {
    check(Act::Build).await;
}
