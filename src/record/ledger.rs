//! The ledger: what Berth knows about each app between two passes, beside what the engine lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::durable::{Durable, NotKept};
use super::file::{Kept, KeptApp, KeptBadRevision, KeptRest};
use crate::model::{AppName, Digest, GpuGrant, PortBinding, Protocol, Reason, SpecHash, Timestamp};
use crate::state::{
    BadRevision, Failure, Gpu, GpuError, GpuErrors, HostPort, Leases, Life, Pin, Request, Resolved,
    Rest, Revision, SeenDriver, WorkKind,
};

/// How long a host port that somebody else holds is not tried again (fault P02).
const BURNED: Duration = Duration::from_secs(300);

/// What is known about one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The generation of its manifest.
    pub generation: u64,
    /// The digest of its spec at that generation.
    pub spec_digest: String,
    /// Whether a person stopped it.
    pub is_paused: bool,
    /// How often a person asked for a build from scratch.
    pub rebuilds: u64,
    /// Up to which of these it was built.
    pub rebuilt: u64,
    /// The generation for which its image was pulled.
    pub pulled_generation: Option<u64>,
    /// The version that failed last.
    pub bad_revision: Option<BadRevision>,
    /// Its host ports, by container port.
    pub ports: BTreeMap<(Protocol, u16), u16>,
    /// The host ports on which its containers were seen to run, those of older versions too:
    /// others may have looked before they did. Not kept over restarts.
    pub held: BTreeSet<HostPort>,
    /// The file that held its last good manifest, and that file's text.
    pub last_good: Option<(String, String)>,
    /// When its remote was last looked at with success. Not kept over restarts.
    pub checked_at: Option<Timestamp>,
    /// Work that failed. Not kept over restarts.
    pub failures: BTreeMap<WorkKind, Failure>,
    /// What a person asked for and was not done yet.
    pub request: Option<Request>,
    /// How often something was asked for. Not kept over restarts.
    pub asks: u64,
    /// What a restart that was asked for ends.
    pub restarting: Option<Life>,
    /// Whether a person confirmed that it goes.
    pub is_removal_confirmed: bool,
    /// Whether its container could not be started because its network is gone. Not kept.
    pub is_network_lost: bool,
    /// Its last rollouts, oldest first.
    pub revisions: Arc<Vec<Revision>>,
    /// The earlier revision that it is held at.
    pub pin: Option<Arc<Pin>>,
    /// The GPUs that it was given, from before its container is made until it needs none.
    pub gpus: Option<GpuGrant>,
    /// Since when it waits for GPUs.
    pub waits_for_gpus_since: Option<Timestamp>,
    /// Whether two versions of it use these GPUs at the same time for a while. Not kept.
    pub has_gpus_twice: bool,
    /// When its container was made anew because it had lost its GPUs.
    pub gpu_mends: Vec<Timestamp>,
    /// What the name of its image was found to mean.
    pub resolved: Option<Resolved>,
}

/// Who was given each host port: the app, and its container's port.
pub type Given = BTreeMap<HostPort, (AppName, u16)>;

/// What is known about all apps.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
    changed: Notify,
    pub(super) leases_changed: Notify,
    durable: Durable,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inner {
    /// How often something was changed.
    number: u64,
    apps: BTreeMap<AppName, Facts>,
    resting: BTreeMap<HostPort, Rest>,
    engine_id: Option<String>,
    folder: Option<String>,
    pub(super) leases: Leases,
    gpu_errors: GpuErrors,
    pub(super) gpu_driver: Option<SeenDriver>,
    pub(super) gone: BTreeMap<AppName, Timestamp>,
}

impl Inner {
    /// A port is given to nobody else for a while. The later end counts.
    fn rest(&mut self, port: HostPort, rest: Rest) {
        if self.resting.get(&port).is_none_or(|known| known.until < rest.until) {
            self.resting.insert(port, rest);
        }
    }
}

impl Ledger {
    /// A ledger of what was kept.
    pub fn new(kept: Kept) -> Self {
        let apps = named(kept.apps).into_iter().map(|(name, app)| (name, facts(app)));
        let inner = Inner {
            number: 0,
            apps: apps.collect(),
            resting: kept.resting.into_iter().map(KeptRest::read).collect(),
            engine_id: kept.engine_id,
            folder: kept.folder,
            leases: kept.leases,
            gpu_errors: kept.gpu_errors,
            gpu_driver: kept.gpu_driver,
            gone: named(kept.gone),
        };
        Self { inner: Mutex::new(inner), ..Self::default() }
    }

    /// Another ledger that knows the same and keeps nothing, to try something on.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.lock().clone();
        Self { inner: Mutex::new(inner), ..Self::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be kept over restarts.
    pub fn kept(&self) -> Kept {
        self.numbered().1
    }

    /// The same, with the number of the last change in it.
    pub(super) fn numbered(&self) -> (u64, Kept) {
        let inner = self.lock();
        let apps = inner.apps.iter();
        let kept = Kept {
            format: 0,
            engine_id: inner.engine_id.clone(),
            folder: inner.folder.clone(),
            apps: apps.map(|(name, facts)| (name.to_string(), kept(facts))).collect(),
            leases: inner.leases.clone(),
            resting: inner.resting.iter().map(KeptRest::of).collect(),
            gpu_errors: inner.gpu_errors.clone(),
            gpu_driver: inner.gpu_driver.clone(),
            gone: inner.gone.iter().map(|(app, at)| (app.to_string(), *at)).collect(),
        };
        (inner.number, kept)
    }

    pub(super) fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Waits until all that was changed so far is on the disk. In a Berth that keeps nothing
    /// there is nothing to wait for.
    pub async fn until_kept(&self) -> Result<(), NotKept> {
        let number = self.lock().number;
        self.durable.wait(number).await
    }

    pub(super) fn note_change(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.number += 1;
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits until something that is kept may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is known about an app.
    pub fn facts(&self, app: &AppName) -> Option<Facts> {
        self.lock().apps.get(app).cloned()
    }

    /// All apps that something is known about.
    pub fn apps(&self) -> BTreeSet<AppName> {
        self.lock().apps.keys().cloned().collect()
    }

    /// The apps of which a person confirmed that they go.
    pub fn confirmed(&self) -> BTreeSet<AppName> {
        let inner = self.lock();
        let confirmed = inner.apps.iter().filter(|(_, facts)| facts.is_removal_confirmed);
        confirmed.map(|(name, _)| name.clone()).collect()
    }

    /// Changes what is known about an app.
    pub fn update<T>(&self, app: &AppName, change: impl FnOnce(&mut Facts) -> T) -> T {
        let mut inner = self.lock();
        let facts = inner.apps.entry(app.clone()).or_default();
        let before = facts.clone();
        let answer = change(facts);
        if before != *facts {
            self.note_change(inner);
        }
        answer
    }

    /// Takes note of an app's spec and answers its generation.
    pub fn note_spec(&self, app: &AppName, digest: &Digest, seen_generation: u64) -> u64 {
        self.update(app, |facts| {
            if facts.generation == 0 {
                facts.generation = seen_generation.max(1);
            } else if facts.spec_digest != digest.as_str() {
                facts.generation += 1;
                facts.failures.clear();
            }
            digest.as_str().clone_into(&mut facts.spec_digest);
            facts.generation
        })
    }

    /// Forgets an app. Its host ports rest until then before others get them (fault P10).
    pub fn forget(&self, app: &AppName, until: Timestamp) {
        let mut inner = self.lock();
        let Some(facts) = inner.apps.remove(app) else { return };
        let given = facts.ports.iter().map(|((protocol, _), port)| (*protocol, *port));
        for port in given.chain(facts.held.iter().copied()) {
            let why = format!("{app}, which was removed just now");
            inner.rest(port, Rest { until, why, app: Some(app.clone()) });
        }
        self.note_change(inner);
    }

    /// Ports that an app does not have any more rest until then before others get them.
    pub fn release(&self, app: &AppName, ports: &BTreeSet<HostPort>, until: Timestamp) {
        if ports.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for port in ports {
            let why = format!("{app}, which had it until just now");
            inner.rest(*port, Rest { until, why, app: Some(app.clone()) });
        }
        self.note_change(inner);
    }

    /// Moves along all that is remembered of times, after the clock was set (fault D47).
    pub fn move_along(&self, ms: i64) {
        let mut inner = self.lock();
        for lease in inner.leases.list.values_mut() {
            lease.acquired_at = lease.acquired_at.moved(ms);
            lease.expires_at = lease.expires_at.moved(ms);
        }
        for rest in inner.resting.values_mut() {
            rest.until = rest.until.moved(ms);
        }
        for facts in inner.apps.values_mut() {
            facts.checked_at = facts.checked_at.map(|at| at.moved(ms));
            facts.waits_for_gpus_since = facts.waits_for_gpus_since.map(|at| at.moved(ms));
            for at in &mut facts.gpu_mends {
                *at = at.moved(ms);
            }
            forget_times(&mut facts.revisions);
            for failure in facts.failures.values_mut() {
                failure.at = failure.at.moved(ms);
                failure.retry_at = failure.retry_at.map(|at| at.moved(ms));
            }
        }
    }

    /// Takes note that somebody else holds a host port, so that it is not given out for a while.
    /// A port of another app needs no such note.
    pub fn burn(&self, app: &AppName, bindings: &[PortBinding], now: Timestamp) {
        let mut inner = self.lock();
        for binding in bindings {
            let key = (binding.protocol, binding.host_port);
            let mut others = inner.apps.iter().filter(|(other, _)| *other != app);
            if others.any(|(_, facts)| facts.held.contains(&key)) {
                continue;
            }
            let why = "a program outside this Berth".to_owned();
            inner.resting.insert(key, Rest { until: now + BURNED, why, app: None });
        }
        if let Some(facts) = inner.apps.get_mut(app) {
            facts.ports.clear();
        }
        self.note_change(inner);
    }

    /// The host ports that are not given out: those of other apps, and those that rest.
    pub fn ports_of_others(&self, app: &AppName, now: Timestamp) -> BTreeMap<HostPort, String> {
        let mut inner = self.lock();
        inner.resting.retain(|_, rest| now < rest.until);
        let mut taken = BTreeMap::new();
        // What an app had it may have again.
        let is_others = |rest: &&Rest| rest.app.as_ref() != Some(app);
        for (port, rest) in inner.resting.iter().filter(|(_, rest)| is_others(rest)) {
            taken.insert(*port, rest.why.clone());
        }
        for (other, facts) in inner.apps.iter().filter(|(other, _)| *other != app) {
            let given = facts.ports.iter().map(|((protocol, _), port)| (*protocol, *port));
            for port in given.chain(facts.held.iter().copied()) {
                taken.insert(port, format!("app {other}"));
            }
        }
        taken
    }

    /// The host ports that apps were given, and those that rest.
    pub fn ports(&self, now: Timestamp) -> (Given, BTreeMap<HostPort, Rest>) {
        let inner = self.lock();
        let mut given = Given::new();
        for (app, facts) in &inner.apps {
            for ((protocol, inner), port) in &facts.ports {
                given.insert((*protocol, *port), (app.clone(), *inner));
            }
        }
        let resting = inner.resting.iter().filter(|(_, rest)| now < rest.until);
        let resting = resting.map(|(port, rest)| (*port, rest.clone())).collect();
        (given, resting)
    }

    /// What spoke against cards when Berth ended, if the host was not restarted since: that resets
    /// them. `trusted` names cards that a person says are well.
    pub fn gpu_errors(&self, boot: &str, trusted: &[String]) -> BTreeMap<String, GpuError> {
        let mut inner = self.lock();
        let is_of_now = inner.gpu_errors.boot == boot;
        inner.gpu_errors.cards.retain(|uuid, _| is_of_now && !trusted.contains(uuid));
        inner.gpu_errors.cards.clone()
    }

    /// Takes note of what speaks against the cards that are known; of others nothing is new.
    pub fn note_gpu_errors(&self, boot: &str, gpus: &[Gpu]) {
        let mut inner = self.lock();
        let before = inner.gpu_errors.clone();
        for gpu in gpus {
            match &gpu.health.lasting {
                Some(error) => drop(inner.gpu_errors.cards.insert(gpu.uuid.clone(), error.clone())),
                None => drop(inner.gpu_errors.cards.remove(&gpu.uuid)),
            }
        }
        let has_some = !inner.gpu_errors.cards.is_empty();
        inner.gpu_errors.boot = if has_some { boot.to_owned() } else { String::new() };
        if before != inner.gpu_errors {
            self.note_change(inner);
        }
    }

    /// The identity of the manifest folder that was read last.
    pub fn folder(&self) -> Option<String> {
        self.lock().folder.clone()
    }

    /// Takes note of the manifest folder's identity.
    pub fn note_folder(&self, identity: &str) {
        let mut inner = self.lock();
        if inner.folder.replace(identity.to_owned()).as_deref() != Some(identity) {
            self.note_change(inner);
        }
    }

    /// Takes note of the engine's id; answers the one that was known when that is another.
    pub fn note_engine(&self, id: &str) -> Option<String> {
        let known = self.lock().engine_id.clone();
        match known {
            Some(known) if known == id => None,
            // An id that was noted without the place of the containers.
            Some(known) if !id.starts_with(&format!("{known} in ")) => Some(known),
            Some(_) | None => {
                self.change_engine(id);
                None
            }
        }
    }

    /// From now on all that is known is about this engine.
    pub fn change_engine(&self, id: &str) {
        let mut inner = self.lock();
        inner.engine_id = Some(id.to_owned());
        self.note_change(inner);
    }
}

/// What was measured of a rollout that is on its way says nothing after the clock was set.
fn forget_times(revisions: &mut Arc<Vec<Revision>>) {
    if revisions.last().is_some_and(Revision::is_going)
        && let Some(last) = Arc::make_mut(revisions).last_mut()
    {
        (last.down_since, last.replaces_running) = (None, None);
    }
}

fn named<T>(all: BTreeMap<String, T>) -> BTreeMap<AppName, T> {
    let all = all.into_iter();
    all.filter_map(|(name, it)| Some((AppName::new(&name).ok()?, it))).collect()
}

fn facts(kept: KeptApp) -> Facts {
    let protocol = |text: &str| if text == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let ports = kept.ports.iter();
    Facts {
        generation: kept.generation,
        spec_digest: kept.spec_digest,
        is_paused: kept.is_paused,
        rebuilds: kept.rebuilds,
        rebuilt: kept.rebuilt,
        pulled_generation: kept.pulled_generation,
        bad_revision: kept.bad_revision.map(|bad| BadRevision {
            spec_hash: SpecHash::from_label(&bad.spec_hash),
            reason: Reason::RolledBack,
            message: bad.message,
            at: bad.at,
        }),
        ports: ports.map(|(port, text, host)| ((protocol(text), *port), *host)).collect(),
        last_good: kept.last_good,
        request: kept.request,
        restarting: kept.restarting,
        is_removal_confirmed: kept.is_removal_confirmed,
        revisions: Arc::new(kept.revisions),
        pin: kept.pin.map(Arc::new),
        gpus: kept.gpus.as_deref().and_then(GpuGrant::parse),
        waits_for_gpus_since: kept.waits_for_gpus_since,
        gpu_mends: kept.gpu_mends,
        resolved: kept.resolved,
        ..Facts::default()
    }
}

fn kept(facts: &Facts) -> KeptApp {
    let ports = facts.ports.iter();
    KeptApp {
        generation: facts.generation,
        spec_digest: facts.spec_digest.clone(),
        is_paused: facts.is_paused,
        rebuilds: facts.rebuilds,
        rebuilt: facts.rebuilt,
        pulled_generation: facts.pulled_generation,
        bad_revision: facts.bad_revision.as_ref().map(|bad| KeptBadRevision {
            spec_hash: bad.spec_hash.as_str().to_owned(),
            message: bad.message.clone(),
            at: bad.at,
        }),
        ports: ports.map(|((protocol, port), host)| (*port, protocol.to_string(), *host)).collect(),
        last_good: facts.last_good.clone(),
        request: facts.request,
        restarting: facts.restarting.clone(),
        is_removal_confirmed: facts.is_removal_confirmed,
        revisions: facts.revisions.to_vec(),
        pin: facts.pin.as_deref().cloned(),
        gpus: facts.gpus.as_ref().map(ToString::to_string),
        waits_for_gpus_since: facts.waits_for_gpus_since,
        gpu_mends: facts.gpu_mends.clone(),
        resolved: facts.resolved.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(60);

    fn name(text: &str) -> AppName {
        AppName::new(text).unwrap()
    }

    /// A port that an older version still has is not another app's, though the app got a new one.
    #[test]
    fn a_port_that_is_still_held_is_not_given_to_others() {
        let ledger = Ledger::default();
        ledger.update(&name("chat"), |facts| {
            facts.ports.insert((Protocol::Tcp, 5000), 8002);
            facts.held.insert((Protocol::Tcp, 8001));
        });
        let now = Timestamp::from_millis(0);
        let taken = ledger.ports_of_others(&name("web"), now);
        let taken: Vec<_> = taken.keys().map(|(_, port)| *port).collect();
        assert_eq!(taken, [8001, 8002]);
        assert!(ledger.ports_of_others(&name("chat"), now).is_empty());
    }

    /// Fault U03: what speaks against a card outlives Berth, not a restart of the host, nor the word
    /// of a person. Cards that are not seen are left as they were.
    #[test]
    fn errors_of_cards_are_kept_for_one_start_of_the_host() {
        let error = GpuError { code: 79, at: Timestamp::from_millis(5), energy: Some(9) };
        let card = |uuid: &str, lasting: Option<&GpuError>| {
            let mut gpu = Gpu { uuid: uuid.to_owned(), ..Gpu::default() };
            gpu.health.lasting = lasting.cloned();
            gpu
        };
        let text = |ledger: &Ledger| serde_json::to_string(&ledger.kept()).unwrap();
        let again = |text: &str| Ledger::new(serde_json::from_str(text).unwrap());
        let ledger = Ledger::default();
        let without = text(&ledger);
        assert!(!without.contains("gpuErrors"), "what never was is not written: {without}");
        ledger.note_gpu_errors("b1", &[card("GPU-a", Some(&error)), card("GPU-b", Some(&error))]);
        ledger.note_gpu_errors("b1", &[card("GPU-b", None), card("GPU-c", None)]);
        let kept = text(&ledger);
        let known = BTreeMap::from([("GPU-a".to_owned(), error.clone())]);
        assert_eq!(again(&kept).gpu_errors("b1", &[]), known);
        assert_eq!(again(&kept).gpu_errors("b1", &["GPU-x".to_owned()]), known);
        assert!(again(&kept).gpu_errors("b2", &[]).is_empty());
        assert!(again(&kept).gpu_errors("b1", &["GPU-a".to_owned()]).is_empty());
        ledger.note_gpu_errors("b1", &[card("GPU-a", None)]);
        assert_eq!(text(&ledger), without);
    }

    #[test]
    fn what_is_kept_reads_back() {
        let ledger = Ledger::default();
        ledger.update(&name("a"), |facts| {
            facts.generation = 4;
            facts.is_paused = true;
            facts.request = Some(Request::Restart);
            facts.restarting =
                Some(Life { id: "0a".into(), started_at: Timestamp::from_millis(3) });
            facts.is_removal_confirmed = true;
            facts.ports.insert((Protocol::Udp, 53), 8001);
            facts.bad_revision = Some(BadRevision {
                spec_hash: SpecHash::from_label("v1:00"),
                reason: Reason::RolledBack,
                message: "it failed".to_owned(),
                at: Timestamp::from_millis(5),
            });
        });
        let again = Ledger::new(ledger.kept());
        assert_eq!(again.facts(&name("a")), ledger.facts(&name("a")));
    }

    /// Fault P10: the port of an app that is gone is not given to another at once.
    #[test]
    fn a_released_port_rests_for_a_minute() {
        let ledger = Ledger::default();
        ledger.update(&name("a"), |facts| facts.ports.insert((Protocol::Tcp, 80), 8001));
        let now = Timestamp::from_millis(1_000);
        ledger.forget(&name("a"), now + QUARANTINE);
        assert!(ledger.ports_of_others(&name("b"), now).contains_key(&(Protocol::Tcp, 8001)));
        assert!(ledger.ports_of_others(&name("a"), now).is_empty(), "it may have it again");
        let again = Ledger::new(ledger.kept());
        assert_eq!(again.ports(now), ledger.ports(now), "also over a restart");
        assert_eq!(again.ports(now).1.len(), 1);
        assert!(ledger.ports_of_others(&name("b"), now + QUARANTINE).is_empty());
    }

    /// Fault D47: what waits does so for as long as before, wherever the clock is set.
    #[test]
    fn after_the_clock_was_set_pauses_are_as_long_as_before() {
        for by in [3_600_000, -3_600_000] {
            let now = Timestamp::from_millis(1_800_000_000_000);
            let failure = Failure {
                input: String::new(),
                reason: Reason::PullFailed,
                message: String::new(),
                at: now,
                attempts: 1,
                retry_at: Some(now + QUARANTINE),
            };
            let ledger = Ledger::default();
            ledger.update(&name("a"), |facts| {
                facts.checked_at = Some(now);
                facts.failures.insert(WorkKind::Pull, failure);
            });
            ledger.update(&name("b"), |facts| facts.ports.insert((Protocol::Tcp, 80), 8001));
            ledger.forget(&name("b"), now + QUARANTINE);
            ledger.move_along(by);
            let now = now.moved(by);
            let facts = ledger.facts(&name("a")).unwrap();
            assert_eq!(facts.checked_at, Some(now));
            assert_eq!(facts.failures[&WorkKind::Pull].retry_at, Some(now + QUARANTINE));
            assert!(!ledger.ports_of_others(&name("c"), now).is_empty());
            assert!(ledger.ports_of_others(&name("c"), now + QUARANTINE).is_empty());
        }
    }

    #[test]
    fn a_changed_spec_is_a_new_generation() {
        let ledger = Ledger::default();
        assert_eq!(ledger.note_spec(&name("a"), &Digest::of_bytes(b"1"), 7), 7);
        assert_eq!(ledger.note_spec(&name("a"), &Digest::of_bytes(b"1"), 7), 7);
        assert_eq!(ledger.note_spec(&name("a"), &Digest::of_bytes(b"2"), 7), 8);
    }
}
