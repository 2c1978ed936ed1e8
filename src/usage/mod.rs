//! What each container uses, and what the host has: read from the kernel's own files when
//! somebody asks.
//!
//! # Guarantees
//! - The engine is never asked: which containers there are is known from what it listed anyway.
//! - Nothing is read while nobody asks, but for the history, which follows the apps that run.
//! - Who asks again within a second is told the same.
//! - What a kernel does not say is absent, never 0. A container that is gone has no series.
//! - There is an end to what is shown: of containers, and of devices and interfaces of each.

mod families;
mod files;
mod history;
mod host;
mod locate;
mod mounts;
mod parse;
mod sample;
mod subject;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::clock::Clock;
use crate::model::AppName;
use crate::state::{Container, ContainerId, ContainerState, World};
use crate::telemetry::exposed::Exposed;

use families::Shown;
use files::{Buffer, Purse};
use locate::{Layout, Places};
use sample::Depth;
use subject::Subject;
use text::Figure;

pub use history::{AppUsage, HISTORY_LENGTH, HISTORY_STEP, History, HostUsage, Series, Trend};

/// Who asks again within this is told the same.
const COALESCE: Duration = Duration::from_secs(1);
/// Containers at unusual places are looked for at most so often.
const SEARCH_PAUSE: Duration = Duration::from_secs(10);
/// The longest value of a label.
const VALUE_MAX: usize = 256;

/// Where the kernel's files are, and how much is shown.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the host's `/proc` is.
    pub proc_root: PathBuf,
    /// Where the host's `/sys/fs/cgroup` is.
    pub cgroup_root: PathBuf,
    /// A path on the disk whose room matters.
    pub disk: PathBuf,
    /// The labels of containers that are shown, by their keys.
    pub labels: Vec<String>,
    /// The most containers that are shown.
    pub containers_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let labels = [
            "com.docker.compose.project",
            "com.docker.compose.service",
            "com.docker.compose.project.working_dir",
        ];
        Self {
            proc_root: PathBuf::from("/proc"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            disk: PathBuf::from("/"),
            labels: labels.map(ToOwned::to_owned).to_vec(),
            containers_max: 1000,
        }
    }
}

/// Reads what containers use.
pub struct Collector {
    settings: Settings,
    layout: Layout,
    worlds: watch::Receiver<Arc<World>>,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    world: Arc<World>,
    subjects: BTreeMap<ContainerId, Subject>,
    left_out: usize,
    tools: Tools,
    places: Places,
    searched: Option<Instant>,
    read: Option<(Instant, Depth)>,
    took: Duration,
    host: host::Host,
}

/// What reading needs.
struct Tools {
    buffer: Buffer,
    purse: Purse,
}

/// What the containers of an app use at present.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    id: ContainerId,
    app: AppName,
    cpu_ns: Option<u64>,
    memory: Option<u64>,
    network: Option<(u64, u64)>,
}

impl Collector {
    /// Nothing is read yet.
    pub fn new(settings: Settings, worlds: watch::Receiver<Arc<World>>, clock: Clock) -> Self {
        let layout = Layout::of(&settings.cgroup_root);
        let state = State {
            world: Arc::default(),
            subjects: BTreeMap::new(),
            left_out: 0,
            tools: Tools { buffer: Buffer::default(), purse: Purse::new() },
            places: Places::default(),
            searched: None,
            read: None,
            took: Duration::ZERO,
            host: host::Host::new(&settings.proc_root),
        };
        Self { settings, layout, worlds, clock, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(0)
    }

    /// Whether an app of ours runs.
    fn has_apps(&self) -> bool {
        let world = self.worlds.borrow();
        world.containers.iter().any(|c| c.ownership.app().is_some() && runs(c))
    }

    /// Lets go of what is held of containers that are gone.
    fn forget(&self) {
        self.follow(&mut self.lock());
    }

    /// What the containers of our apps use now.
    fn readings(&self) -> Vec<Reading> {
        let mut state = self.lock();
        self.collect(&mut state, Depth::Short);
        let ours = state.subjects.iter().filter_map(|(id, subject)| {
            let sample = subject.sample()?;
            Some(Reading {
                id: id.clone(),
                app: subject.app.clone()?,
                cpu_ns: sample.cpu_ns,
                memory: sample.working_set().or(sample.memory),
                network: sample.network(),
            })
        });
        ours.collect()
    }

    /// Takes over which containers there are.
    fn follow(&self, state: &mut State) {
        let world = Arc::clone(&self.worlds.borrow());
        if Arc::ptr_eq(&world, &state.world) {
            return;
        }
        // The oldest stay shown when there are too many, our own before all others.
        let mut there: Vec<_> = world.containers.iter().filter(|c| runs(c)).collect();
        there.sort_by_key(|c| (c.ownership.app().is_none(), c.created, &c.id));
        state.left_out = there.len().saturating_sub(self.settings.containers_max);
        there.truncate(self.settings.containers_max);
        let ids: BTreeSet<_> = there.iter().map(|c| &c.id).collect();
        let State { subjects, tools, .. } = state;
        subjects.retain(|id, subject| {
            let stays = ids.contains(id);
            if !stays {
                subject.close(&mut tools.purse);
            }
            stays
        });
        for container in there {
            let words = Words::of(&self.settings, container);
            match subjects.get_mut(&container.id) {
                Some(subject) => subject.rename(words),
                None => {
                    subjects.insert(container.id.clone(), Subject::new(words));
                }
            }
        }
        state.world = world;
        state.read = None;
    }

    /// Reads, unless that was done just now.
    fn collect(&self, state: &mut State, depth: Depth) {
        self.follow(state);
        let begun = Instant::now();
        let is_fresh = |(at, was): (Instant, Depth)| begun < at + COALESCE && depth <= was;
        if state.read.is_some_and(is_fresh) {
            return;
        }
        self.find(state, begun);
        let (layout, proc_root) = (&self.layout, self.settings.proc_root.as_path());
        let boot = state.host.boot_ms();
        let State { subjects, tools, places, .. } = state;
        for (id, subject) in subjects {
            if depth == Depth::Short && subject.app.is_none() {
                continue;
            }
            if subject.read((depth, begun), tools).is_ok() {
                continue;
            }
            // Gone, or started again: then its accounts are new ones at the same place.
            subject.close(&mut tools.purse);
            if let Some(place) = places.find(layout, id.as_str()) {
                subject.open(layout, place);
                subject.meet(layout, (proc_root, boot), id.as_str(), None);
                if subject.read((depth, begun), tools).is_err() {
                    subject.close(&mut tools.purse);
                }
            }
        }
        state.read = Some((begun, depth));
        state.took = begun.elapsed();
    }

    /// Finds the accounts of containers that are new, and processes of those that had none so far.
    fn find(&self, state: &mut State, now: Instant) {
        let layout = &self.layout;
        let may_search = state.searched.is_none_or(|at| at + SEARCH_PAUSE <= now);
        let is_sought = |s: &Subject| !s.is_open() || (may_search && s.is_unmet());
        let sought: Vec<_> = state.subjects.iter_mut().filter(|(_, s)| is_sought(s)).collect();
        if sought.is_empty() {
            return;
        }
        let mut missing = BTreeSet::new();
        let mut found = BTreeMap::new();
        for (id, _) in sought.iter().filter(|(_, s)| !s.is_open()) {
            match state.places.find(layout, id.as_str()) {
                Some(place) => drop(found.insert(id.as_str().to_owned(), place)),
                None => drop(missing.insert(id.as_str())),
            }
        }
        if may_search && !missing.is_empty() {
            state.searched = Some(now);
            found.append(&mut state.places.search(layout, &missing));
        }
        let place = (self.settings.proc_root.as_path(), state.host.boot_ms());
        let mut unmet = Vec::new();
        for (id, subject) in sought {
            if !subject.is_open() {
                let Some(folder) = found.remove(id.as_str()) else { continue };
                subject.open(layout, folder);
            }
            if !subject.meet(layout, place, id.as_str(), None) {
                unmet.push((id, subject));
            }
        }
        if may_search && !unmet.is_empty() {
            state.searched = Some(now);
            let ids = unmet.iter().map(|(id, _)| id.as_str()).collect();
            let table = locate::processes_by_table(place.0, &ids);
            for (id, subject) in unmet {
                let listed = table.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
                subject.meet(layout, place, id.as_str(), Some(listed));
            }
        }
    }

    fn write_about(state: &State, shown: usize, parts: families::LeftOut, out: &mut String) {
        let whole = |count: usize| Figure::Whole(u64::try_from(count).unwrap_or(u64::MAX));
        let unread = state.subjects.len() - shown;
        let name = "berth_usage_containers";
        text::head(out, name, "gauge", "Containers whose use is shown.");
        text::line(out, name, &[], whole(shown));
        let name = "berth_usage_left_out";
        text::head(out, name, "gauge", "What is not shown: too many, or not to be read.");
        for (what, count) in [
            ("what=\"containers\"", state.left_out),
            ("what=\"devices\"", parts.devices),
            ("what=\"interfaces\"", parts.interfaces),
            ("what=\"unreadable\"", unread),
        ] {
            text::line(out, name, &[what], whole(count));
        }
        let name = "berth_usage_read_duration_seconds";
        text::head(out, name, "gauge", "How long it took to read what containers use.");
        let nanos = u64::try_from(state.took.as_nanos()).unwrap_or(u64::MAX);
        text::line(out, name, &[], Figure::Nanos(nanos));
        let name = "berth_usage_open_files";
        text::head(out, name, "gauge", "Files that are kept open for that.");
        text::line(out, name, &[], Figure::Whole(state.tools.purse.kept()));
    }
}

impl Exposed for Collector {
    fn write(&self, out: &mut String) {
        let mut state = self.lock();
        self.collect(&mut state, Depth::Whole);
        state.host.write(out, self.now_ms());
        let shown: Vec<_> = state
            .subjects
            .values()
            .filter_map(|s| {
                Some(Shown { labels: s.labels(), sample: s.sample()?, started: s.started_ms() })
            })
            .collect();
        let parts = families::write(out, &shown, self.now_ms(), |major, minor| {
            state.host.device(major, minor)
        });
        Self::write_about(&state, shown.len(), parts, out);
    }
}

/// Whether a container may have processes.
fn runs(container: &Container) -> bool {
    use ContainerState as S;
    matches!(container.state, S::Running | S::Paused | S::Restarting | S::Unknown)
}

/// What is known of a container before anything is read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    app: Option<AppName>,
    /// The labels but for the container's place.
    labels: String,
    /// Whether it has a network of its own.
    has_network: bool,
}

impl Words {
    fn of(settings: &Settings, container: &Container) -> Self {
        let app = container.ownership.app().cloned();
        let mut labels = String::new();
        text::label(&mut labels, "image", cut(&container.image));
        text::label(&mut labels, "name", cut(&container.name));
        for key in &settings.labels {
            if let Some(value) = container.labels.get(key).filter(|value| !value.is_empty()) {
                text::label(&mut labels, &label_name(key), cut(value));
            }
        }
        if let Some(app) = &app {
            text::label(&mut labels, "app", app.as_str());
        }
        // One that shares another one's network, or the host's, has none of its own to count.
        let has_network =
            !container.networks.is_empty() && !container.networks.contains_key("host");
        Self { app, labels, has_network }
    }
}

/// The name under which cAdvisor shows a container's label.
fn label_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("container_label_{}", key.chars().map(plain).collect::<String>())
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(VALUE_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}
