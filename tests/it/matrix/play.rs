//! Plays one experiment: a whole Berth, its Docker client, the proxy, and the engine in memory
//! behind HTTP, in time that the test owns.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    time::Duration,
};

use berth::{
    engine::{
        docker::{Builder, Docker, Gate, Settings},
        fake::{Behaviour, Script as Doing},
    },
    model::{ImageRef, Phase, PortRange},
    state::{Checkout, ContainerId, ContainerState, DetectedFile},
    status::Status,
};
use tokio::time::Instant;

use super::table::{APP, Cell, IDLE, Kind, NEAR, Pattern, REMOTE, SAID, Work, is_of_one_app};
use crate::{
    front,
    proxy::{EventRule, Line, Outcome, Proxy},
    rig::{Berth, RESYNC, Rig, name},
};

/// How long calls fail that fail until the engine is healed.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long nobody touches anything before a container is killed, in the quiet work.
const QUIET: Duration = Duration::from_secs(75);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// So soon the status must name the cause.
const NAMED_WITHIN: Duration = Duration::from_secs(2);
/// So much later than without faults another app may be ready when its calls do not fail.
const NEIGHBOUR_SLACK: Duration = Duration::from_secs(3);
/// How long a build or a pull may be silent here; by default it is minutes.
const WORK_IDLE_LIMIT: Duration = Duration::from_secs(20);
/// How many apps there are.
const APPS: usize = 3;
/// The time over which requests are counted: at most one a second for each app.
const WINDOW: Duration = Duration::from_secs(30);

/// How things stand, without what may differ from play to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    containers: BTreeSet<String>,
    images: BTreeSet<String>,
    statuses: BTreeMap<String, String>,
}

/// What a play showed.
#[derive(Clone, Debug)]
pub(super) struct Played {
    picture: Picture,
    /// The same without names and ports.
    sketch: BTreeSet<String>,
    /// How often each thing was done to each app since the faults began.
    tally: BTreeMap<String, usize>,
    /// Which of the containers that were there before were removed.
    removed: BTreeSet<String>,
    /// When the other app was ready, from the beginning of the work.
    near: Duration,
    /// How many requests there were within the window.
    requests: usize,
    /// How many requests failed.
    pub(super) faults: usize,
}

/// Whether a cell's fault shows a world that is not so.
fn is_about_the_world(cell: &Cell) -> bool {
    cell.failure.kind == Kind::Lie && cell.endpoint == "list_containers"
}

/// Whether a cell's fault shows a network that is not there, so that what is made in it is in vain.
fn is_about_the_network(cell: &Cell) -> bool {
    cell.failure.kind == Kind::Lie && cell.endpoint.ends_with("_network")
}

pub(super) struct Stage {
    pub(super) rig: Rig,
    pub(super) proxy: Proxy,
    berth: Option<Berth>,
    idle: Option<ContainerId>,
    /// Where the work's part of the journal begins.
    pub(super) begin: usize,
}

/// Plays it in a runtime of its own. Without a cell, the work is done undisturbed.
pub(super) fn play(work: Work, against: Option<(&Cell, &Played)>) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut stage = Stage::set(work, EventRule::AsTheyAre).await;
        let played = stage.run(work, against).await;
        played.map_err(|what| {
            format!(
                "{what}\njournal: {:#?}\n{}\n{}",
                &stage.rig.fake.journal()[stage.begin..],
                stage.proxy.trace(),
                stage.told()
            )
        })
    })
}

fn manifest(app: &str, source: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  {source}\n  port: 5000\n  \
         health: {{exec: [check], startPeriod: 20s, interval: 60s, timeout: 5s}}\n  \
         stopGracePeriod: 1s\n"
    )
}

fn image(app: &str, version: u32) -> String {
    manifest(app, &format!("image: shop/app:{version}"))
}

fn built(level: u32) -> String {
    let source = "source: {git: \"https://git.example/shop/chat\", interval: 0}";
    format!("{}  run: serve\n  build: {{args: {{LEVEL: '{level}'}}}}\n", manifest(APP, source))
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
        rig.folder = folder;
    }
    "/srv/workspaces".clone_into(&mut rig.policy.workspaces);
    rig.policy.ports = PortRange { first: 21_101, last: 21_199 };
    rig.fake.add_image("python:3.12-slim", Behaviour::default());
    let remote = ImageRef::parse(REMOTE).unwrap();
    rig.fake.add_remote(&remote, Doing::takes(Duration::from_secs(1)), Behaviour::default());
    put_checkout(&rig);
    rig.files.insert("idle.yaml".to_owned(), image(IDLE, 1));
    rig
}

/// A checkout that is in place, so that nothing is fetched.
fn put_checkout(rig: &Rig) {
    let checkout = Checkout {
        url: "https://git.example/shop/chat".to_owned(),
        reference: None,
        path: String::new(),
        resolved: None,
        submodules: false,
        commit: "c".repeat(40),
        tree: "d".repeat(40),
        files: vec![DetectedFile { path: "requirements.txt".to_owned() }],
        facts: BTreeMap::new(),
        ahead: BTreeMap::new(),
        looked_for: None,
    };
    let folder = rig.folder.path().join("workspaces").join(APP);
    fs::create_dir_all(folder.join("code")).unwrap();
    fs::write(folder.join("code/requirements.txt"), "flask\n").unwrap();
    // A log that can't be begun is not written: its writer would keep paused time from moving.
    fs::create_dir_all(folder.join(".berth/build.log.1")).unwrap();
    fs::write(folder.join(".berth/build.log"), "").unwrap();
    let metadata = serde_json::json!({"version": 1, "checkout": checkout});
    fs::write(folder.join("metadata.json"), metadata.to_string()).unwrap();
}

impl Stage {
    /// An engine on which Berth runs what the work begins with.
    pub(super) async fn set(work: Work, events: EventRule) -> Self {
        let rig = rig();
        let proxy = Proxy::before(front::connect(&rig.fake));
        proxy.events(events);
        let mut stage = Self { rig, proxy, berth: None, idle: None, begin: 0 };
        if work == Work::First {
            return stage;
        }
        if work != Work::Install {
            stage.rig.files.insert("near.yaml".to_owned(), image(NEAR, 1));
            let chat = if work == Work::Rebuild { built(1) } else { image(APP, 1) };
            stage.rig.files.insert("chat.yaml".to_owned(), chat);
        }
        stage.start();
        stage.until_all_run().await;
        if work == Work::Rebuild {
            for level in 2..4 {
                stage.edit("chat.yaml", Some(built(level)));
                tokio::time::sleep(Duration::from_secs(1)).await;
                stage.until_all_run().await;
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.idle = stage.rig.fake.container_of(&name(IDLE));
        stage.begin = stage.rig.fake.journal().len();
        stage
    }

    fn start(&mut self) {
        let settings = Settings {
            build_idle_limit: WORK_IDLE_LIMIT,
            pull_idle_limit: WORK_IDLE_LIMIT,
            builder: Builder::Classic,
            gate: Gate::of(&self.rig.policy),
            ..Settings::new("unix:///nowhere", "default")
        };
        let docker = Docker::through(settings, self.proxy.connect()).unwrap();
        self.berth = Some(self.rig.start_on(Arc::new(docker)));
    }

    fn berth(&self) -> &Berth {
        self.berth.as_ref().unwrap()
    }

    async fn until_all_run(&self) {
        for app in [APP, NEAR, IDLE] {
            if self.rig.files.contains_key(&format!("{app}.yaml")) {
                self.berth().until_running(app).await;
            }
        }
    }

    fn edit(&mut self, file: &str, text: Option<String>) {
        match text {
            Some(text) => self.rig.files.insert(file.to_owned(), text),
            None => self.rig.files.remove(file),
        };
        self.publish();
    }

    fn publish(&self) {
        let files = self.rig.files.iter();
        self.berth().manifests.set(files.map(|(path, text)| (path.as_str(), text.as_str())));
    }

    /// Begins the work.
    pub(super) async fn begin(&mut self, work: Work) {
        let files = &mut self.rig.files;
        let near = if matches!(work, Work::First | Work::Install) { 1 } else { 2 };
        files.insert("near.yaml".to_owned(), image(NEAR, near));
        let chat = match work {
            Work::First | Work::Install | Work::Kill | Work::Quiet => image(APP, 1),
            Work::Update => image(APP, 2),
            Work::Pull => manifest(APP, &format!("image: {REMOTE}")),
            Work::Build => built(1),
            Work::Rebuild => built(4),
            Work::Remove => {
                files.remove("chat.yaml");
                return self.publish();
            }
        };
        files.insert("chat.yaml".to_owned(), chat);
        match work {
            Work::First => self.start(),
            Work::Install => {
                self.rig.kept = self.berth.take().unwrap().stop().await;
                self.start();
            }
            Work::Kill => {
                // It is subscribed again, and hears nothing of this until then.
                self.rig.fake.break_events();
                self.publish();
                assert!(self.rig.fake.kill(&name(APP)));
            }
            _ => self.publish(),
        }
    }

    /// Has the cell's requests fail.
    fn arm(&self, cell: &Cell) {
        let Cell { endpoint, failure, pattern, .. } = *cell;
        let mut nth = 0;
        self.proxy.script(move |call| {
            let is_meant = call.endpoint == endpoint
                && (!is_of_one_app(endpoint) || call.is_about(APP) || call.about == REMOTE);
            if !is_meant {
                return Outcome::Pass;
            }
            nth += 1;
            if pattern.hits(nth - 1) { (failure.outcome)() } else { Outcome::Pass }
        });
    }

    async fn run(
        &mut self,
        work: Work,
        against: Option<(&Cell, &Played)>,
    ) -> Result<Played, String> {
        let first_line = self.proxy.lines(<[Line]>::len);
        if let Some((cell, _)) = against {
            self.arm(cell);
        }
        let begin = Instant::now();
        self.begin(work).await;
        let near = self.wait(work, against, first_line, begin).await?;
        let journal = self.rig.fake.journal();
        tokio::time::sleep(RESYNC + Duration::from_secs(2)).await;
        if self.rig.fake.journal() != journal {
            return Err("it did not come to rest".to_owned());
        }
        let (requests, faults) = self.proxy.lines(|lines| {
            let early = |line: &&Line| line.at.duration_since(begin) < WINDOW;
            let mine = lines[first_line..].iter();
            (mine.clone().filter(early).count(), mine.filter(|line| line.fault.is_some()).count())
        });
        let tally = tally(&journal[self.begin..]);
        let played = Played {
            picture: self.picture(),
            sketch: self.sketch(),
            tally,
            removed: self.removed(),
            near,
            requests,
            faults,
        };
        if let Some((cell, calm)) = against {
            self.compare(cell, calm, &played)?;
        }
        Ok(played)
    }

    /// Waits until the engine is healed and all is as without faults; without a cell, as long as
    /// that may take. Answers when the other app was ready.
    async fn wait(
        &mut self,
        work: Work,
        against: Option<(&Cell, &Played)>,
        first_line: usize,
        begin: Instant,
    ) -> Result<Duration, String> {
        let outage = if work == Work::Quiet { QUIET + OUTAGE } else { OUTAGE };
        let (mut near, mut is_healed, mut is_killed) = (None, false, work != Work::Quiet);
        let mut watch = Watch::default();
        loop {
            tokio::time::sleep(LOOK).await;
            let spent = begin.elapsed();
            let is_late = outage + RESYNC * 3 < spent;
            if !is_killed && QUIET <= spent {
                is_killed = self.rig.fake.kill(&name(APP));
            }
            if near.is_none() && self.is_ready(NEAR) {
                near = Some(spent);
            }
            let Some((cell, calm)) = against else {
                if is_late {
                    return near.ok_or_else(|| "the other app is never ready".to_owned());
                }
                continue;
            };
            if !is_healed {
                self.watch(cell, calm, first_line, &mut watch)?;
                is_healed = outage <= spent;
                if is_healed {
                    self.proxy.heal();
                }
            } else if self.is_as(cell, calm) {
                return Ok(near.unwrap_or(spent));
            } else if is_late {
                return Err(format!("{:#?}\nshould be {:#?}", self.picture(), calm.picture));
            }
        }
    }

    fn is_ready(&self, app: &str) -> bool {
        let Some(status) = self.berth().status(app) else { return false };
        let text = self.rig.files.get(&format!("{app}.yaml"));
        let is_wanted = text
            .zip(status.image.as_ref())
            .is_some_and(|(text, image)| text.contains(image.as_str()));
        status.phase == Phase::Running && status.url.is_some() && is_wanted
    }

    /// Whether all is as without faults. Where the engine showed a world that was not so, a port may
    /// have been given anew because it was held by what was not shown.
    fn is_as(&self, cell: &Cell, calm: &Played) -> bool {
        if is_about_the_world(cell) {
            return self.sketch() == calm.sketch
                && self.picture().statuses == calm.picture.statuses;
        }
        self.picture() == calm.picture
    }

    fn sketch(&self) -> BTreeSet<String> {
        let world = self.rig.fake.world();
        let tell = |app: &str| {
            let mine = world.containers_of(&name(app));
            let all: Vec<_> = mine.iter().map(|c| format!("{} {:?}", c.image, c.state)).collect();
            format!("{app}: {}", all.join(", "))
        };
        [APP, NEAR, IDLE].map(tell).into()
    }

    /// Whether a container of the app runs.
    pub(super) fn runs(&self, app: &str) -> bool {
        let world = self.rig.fake.world();
        world.containers_of(&name(app)).iter().any(|one| one.state == ContainerState::Running)
    }

    /// Which of the containers that were there before the work are gone.
    fn removed(&self) -> BTreeSet<String> {
        let journal = self.rig.fake.journal();
        let before = &journal[..self.begin];
        let made: BTreeSet<_> = before.iter().filter_map(|l| l.strip_prefix("create ")).collect();
        let gone = journal[self.begin..].iter().filter_map(|line| line.strip_prefix("remove "));
        gone.filter(|name| made.contains(name)).map(ToOwned::to_owned).collect()
    }

    fn status_of(&self, app: &str) -> Option<String> {
        self.berth().status(app).map(|status| format!("{} {:?}", status.phase, status.reason))
    }

    pub(super) fn picture(&self) -> Picture {
        let world = self.rig.fake.world();
        let containers = world.containers.iter().map(|container| {
            let ports: Vec<_> = container.ports.iter().map(ToString::to_string).collect();
            let (name, image, state) = (&container.name, &container.image, container.state);
            format!("{name} {image} {state:?} {}", ports.join("+"))
        });
        let entries = self.berth().record.entries();
        let statuses = entries.iter().map(|entry| {
            let status = &entry.status;
            (entry.name.to_string(), format!("{} {:?}", status.phase, status.reason))
        });
        Picture {
            containers: containers.collect(),
            images: world.images.keys().cloned().collect(),
            statuses: statuses.collect(),
        }
    }

    /// What was done compared with what is done when nothing fails.
    fn compare(&self, cell: &Cell, calm: &Played, played: &Played) -> Result<(), String> {
        let is_same = self.rig.fake.container_of(&name(IDLE)) == self.idle;
        if self.idle.is_some() && !is_same {
            return Err("the idle app has another container".to_owned());
        }
        if calm.removed != played.removed {
            return Err(format!("removed {:?}, not {:?}", played.removed, calm.removed));
        }
        let mut told = Vec::new();
        let keys: BTreeSet<_> = calm.tally.keys().chain(played.tally.keys()).collect();
        for key in keys {
            let get = |tally: &BTreeMap<String, usize>| tally.get(key).copied().unwrap_or(0);
            let (usual, seen) = (get(&calm.tally), get(&played.tally));
            // A version may be given up and tried again; nothing is made or removed without need.
            let is_switch = ["start chat", "stop chat", "prove chat"]
                .iter()
                .any(|begin| key.starts_with(begin));
            // A stop that is said to be done when it is not is done by the removal.
            let is_lied = cell.failure.kind == Kind::Lie && key.starts_with("stop chat");
            let is_fine = is_lied
                || is_about_the_world(cell)
                || is_about_the_network(cell)
                || if is_switch { usual <= seen } else { usual == seen };
            if !is_fine {
                told.push(format!("{key}: {seen} times, not {usual}"));
            }
        }
        let is_alone = is_of_one_app(cell.endpoint) && cell.failure.name != "refused";
        if is_alone && calm.near + NEIGHBOUR_SLACK < played.near {
            told.push(format!(
                "the other app was ready after {:?}, not {:?}",
                played.near, calm.near
            ));
        }
        if told.is_empty() { Ok(()) } else { Err(told.join("\n")) }
    }
}

/// What is watched while calls fail.
#[derive(Default)]
struct Watch {
    /// Since when the app has not been as it should without its status saying why.
    unsaid: Option<Instant>,
}

impl Stage {
    fn watch(
        &self,
        cell: &Cell,
        calm: &Played,
        first_line: usize,
        watch: &mut Watch,
    ) -> Result<(), String> {
        let now = Instant::now();
        let failing = if is_of_one_app(cell.endpoint) { 1 } else { APPS };
        let (all, failed, has_failed) = self.proxy.lines(|lines| {
            let lines = &lines[first_line..];
            let late = lines.iter().rev().take_while(|line| now - line.at < WINDOW);
            let failed = late.clone().filter(|line| line.fault.is_some());
            (late.count(), failed.count(), lines.iter().any(|line| line.fault.is_some()))
        });
        let seconds = usize::try_from(WINDOW.as_secs()).unwrap();
        // The work itself is asked for, whatever fails, and a lie about the world asks for it again.
        let work = if cell.failure.kind == Kind::Lie { 2 } else { 1 } * calm.requests;
        if work + seconds * APPS < all || seconds * failing < failed {
            return Err(format!("{all} requests within {seconds} s, {failed} of them failed"));
        }
        let is_so = self.status_of(APP) == calm.picture.statuses.get(APP).cloned();
        let must_name = cell.pattern == Pattern::UntilHealed && cell.failure.kind != Kind::Lie;
        if !has_failed || is_so || !must_name || self.names_cause(cell) {
            watch.unsaid = None;
            return Ok(());
        }
        let since = *watch.unsaid.get_or_insert(now);
        if NAMED_WITHIN + LOOK < now.duration_since(since) {
            let said = self.berth().status(APP);
            return Err(format!("the status does not name the cause: {said:?}"));
        }
        Ok(())
    }

    fn names_cause(&self, cell: &Cell) -> bool {
        const WORDS: [&str; 11] = [
            "no answer",
            "no reason given",
            "was silent",
            "it does not show",
            "can't be reached",
            "broke off",
            "did not answer",
            "has not answered",
            "the engine failed",
            "the engine refused",
            "the engine came back just now",
        ];
        let Some(Status { message, .. }) = self.berth().status(APP) else { return false };
        // Nobody knows yet whether long work is only long.
        let is_long = matches!(cell.endpoint, "build" | "pull" | "inspect_image");
        let is_at_work = ["building", "pulling", "the build is", "the pull is"]
            .iter()
            .any(|begin| message.starts_with(begin));
        if is_long && is_at_work && matches!(cell.failure.kind, Kind::Silent | Kind::Slow) {
            return true;
        }
        match cell.failure.kind {
            Kind::Spoken => message.contains(SAID),
            _ => message.contains(SAID) || WORDS.iter().any(|word| message.contains(word)),
        }
    }

    fn told(&self) -> String {
        let entries = self.berth.as_ref().map(|berth| berth.record.entries()).unwrap_or_default();
        let told: Vec<_> = entries
            .iter()
            .map(|e| {
                let plan = berth::plan::render(&e.plan);
                format!(
                    "{}: {} {:?} {}\n{plan}",
                    e.name, e.status.phase, e.status.reason, e.status.message
                )
            })
            .collect();
        told.join("\n")
    }
}

/// How often each thing was done: `create chat`, `remove image berth/chat`, ….
pub(super) fn tally(journal: &[String]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in journal {
        let what = line.rsplit_once(['-', ':']).map_or(line.as_str(), |(what, _)| what);
        *tally.entry(what.to_owned()).or_default() += 1;
    }
    tally
}
