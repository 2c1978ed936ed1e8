//! The last hour of every app that runs, and of the host: one figure each for every five seconds.
//!
//! An app's points are kept in columns of four bytes each, so that an hour takes at most 17 KB.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Collector, Reading, host::Load};
use crate::host::free_bytes;
use crate::model::{AppName, Timestamp};
use crate::state::{ContainerId, Gpu, Inventory};

/// The time between two points.
pub const HISTORY_STEP: Duration = Duration::from_secs(5);
/// How many points are kept.
pub const HISTORY_LENGTH: usize = 720;
/// The room on the disk is noted so often, in steps.
const DISK_STEPS: i64 = 12;
/// Fewer points than these say nothing of where the room goes.
const TREND_POINTS: usize = 10;

/// Keeps what apps used, and follows what they use.
pub struct History {
    collector: Arc<Collector>,
    gpus: watch::Receiver<Arc<Inventory>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    apps: BTreeMap<AppName, Ring>,
    /// What each container had used when it was last looked at.
    last: BTreeMap<ContainerId, Counters>,
    load: Option<Load>,
    host: HostUsage,
    /// When, and how many bytes were free.
    room: VecDeque<(Timestamp, u64)>,
    slot: i64,
}

/// What a container had used.
#[derive(Clone, Copy)]
struct Counters {
    at: Timestamp,
    cpu_ns: Option<u64>,
    network: Option<(u64, u64)>,
}

/// What an app uses. What nobody knows is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppUsage {
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes of memory, without cache that was not used lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_receive: Option<f64>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_transmit: Option<f64>,
    /// Bytes of all GPUs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
    /// Percent, summed over all GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_utilization: Option<f64>,
}

/// What the host has and uses. What nobody knows is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostUsage {
    /// How many processors there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<u64>,
    /// How many of them work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// Bytes that programs could still have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<u64>,
}

/// Where the room on a disk goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trend {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that become free each second; less than nothing when they are used up. None while it
    /// was not watched for long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// In how many seconds none is left, if it goes on like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_in: Option<u64>,
}

/// An app's points, oldest first, one for each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// When the first point was taken.
    pub from: Timestamp,
    /// The points; what nobody knows is none.
    pub points: Vec<AppUsage>,
}

/// The points of an app.
struct Ring {
    /// The number of the newest slot.
    newest: i64,
    points: VecDeque<Point>,
}

/// A point, in 24 bytes. Figures that nobody knows are not numbers, or the greatest ones.
#[derive(Clone, Copy)]
struct Point {
    cpu: f32,
    memory_kib: u32,
    network: (f32, f32),
    gpu_memory_kib: u32,
    gpu_utilization: f32,
}

const NOTHING: Point = Point {
    cpu: f32::NAN,
    memory_kib: u32::MAX,
    network: (f32::NAN, f32::NAN),
    gpu_memory_kib: u32::MAX,
    gpu_utilization: f32::NAN,
};

impl From<AppUsage> for Point {
    fn from(usage: AppUsage) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are kept")]
        let few = |figure: Option<f64>| figure.map_or(f32::NAN, |figure| figure as f32);
        let kib = |bytes: Option<u64>| {
            bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes >> 10).unwrap_or(u32::MAX - 1))
        };
        Self {
            cpu: few(usage.cpu),
            memory_kib: kib(usage.memory),
            network: (few(usage.network_receive), few(usage.network_transmit)),
            gpu_memory_kib: kib(usage.gpu_memory),
            gpu_utilization: few(usage.gpu_utilization),
        }
    }
}

impl From<Point> for AppUsage {
    fn from(point: Point) -> Self {
        let known = |figure: f32| (!figure.is_nan()).then(|| rounded(f64::from(figure)));
        let bytes = |kib: u32| (kib != u32::MAX).then(|| u64::from(kib) << 10);
        Self {
            cpu: known(point.cpu),
            memory: bytes(point.memory_kib),
            network_receive: known(point.network.0),
            network_transmit: known(point.network.1),
            gpu_memory: bytes(point.gpu_memory_kib),
            gpu_utilization: known(point.gpu_utilization),
        }
    }
}

impl Ring {
    fn put(&mut self, slot: i64, usage: AppUsage) {
        let length = i64::try_from(HISTORY_LENGTH).unwrap_or(i64::MAX);
        if self.points.is_empty() || self.newest + length <= slot || slot < self.newest {
            self.points.clear();
            self.newest = slot - 1;
        }
        while self.newest + 1 < slot {
            self.push(NOTHING);
        }
        if self.newest < slot {
            self.push(usage.into());
        }
    }

    fn push(&mut self, point: Point) {
        if HISTORY_LENGTH <= self.points.len() {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.newest += 1;
    }
}

impl History {
    /// Nothing is known yet.
    pub fn new(collector: Arc<Collector>, gpus: watch::Receiver<Arc<Inventory>>) -> Self {
        Self { collector, gpus, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what apps use, until it is told to stop. It sleeps while none runs.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut worlds = self.collector.worlds.clone();
        let mut ticks = tokio::time::interval(HISTORY_STEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            if self.collector.has_apps() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                // The kernel's files may take their time on a machine that is short of memory.
                let this = Arc::clone(&self);
                let _ = tokio::task::spawn_blocking(move || this.take()).await;
            } else {
                self.collector.forget();
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = worlds.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// Ticks of all processors since the start: those with work, and all.
    pub fn ticks(&self) -> (u64, u64) {
        let load = self.collector.lock().host.load();
        (load.busy, load.ticks)
    }

    /// Takes a point of every app that runs.
    pub fn take(&self) {
        let readings = self.collector.readings();
        let load = self.collector.lock().host.load();
        let now = self.collector.clock.now();
        let inventory = Arc::clone(&self.gpus.borrow());
        let slot = now.as_millis().div_euclid(step_ms());
        let mut kept = self.lock();
        let usages = kept.usages(&readings, &inventory, now);
        for (app, usage) in usages {
            let empty = || Ring { newest: 0, points: VecDeque::new() };
            kept.apps.entry(app).or_insert_with(empty).put(slot, usage);
        }
        kept.slot = slot;
        // An app that is gone for an hour has nothing left to show.
        let length = i64::try_from(HISTORY_LENGTH).unwrap_or(i64::MAX);
        kept.apps.retain(|_, ring| slot - ring.newest < length);
        kept.note_host(load);
        let is_due = kept
            .room
            .back()
            .is_none_or(|(at, _)| DISK_STEPS * step_ms() <= now.as_millis() - at.as_millis());
        if is_due && let Some(free) = free_bytes(&self.collector.settings.disk) {
            kept.note_room(now, free);
        }
    }

    /// The last hour of an app; none when it did not run.
    pub fn series(&self, app: &AppName) -> Option<Series> {
        let kept = self.lock();
        let ring = kept.apps.get(app)?;
        let count = i64::try_from(ring.points.len()).unwrap_or(0);
        let from = Timestamp::from_millis((ring.newest + 1 - count) * step_ms());
        Some(Series { from, points: ring.points.iter().copied().map(AppUsage::from).collect() })
    }

    /// What an app uses now; none when it does not run.
    pub fn now(&self, app: &AppName) -> Option<AppUsage> {
        let kept = self.lock();
        let ring = kept.apps.get(app)?;
        // A point that is not of the last round is of an app that has ended since.
        let point = (ring.newest == kept.slot).then(|| ring.points.back())??;
        Some((*point).into())
    }

    /// What the host has, and uses as far as it is watched.
    pub fn host(&self) -> HostUsage {
        let load = self.collector.lock().host.load();
        let seen = self.lock().host;
        HostUsage { cpu: seen.cpu, ..HostUsage::from(load) }
    }

    /// The host's GPUs, as they were read last.
    pub fn gpus(&self) -> Vec<Gpu> {
        self.gpus.borrow().gpus.clone()
    }

    /// The room on the disk, and where it goes.
    pub fn room(&self) -> Option<Trend> {
        let free = free_bytes(&self.collector.settings.disk)?;
        let kept = self.lock();
        let per_second = slope(&kept.room);
        let full_in = per_second.filter(|rate| *rate < 0.0).map(|rate| {
            #[expect(clippy::cast_precision_loss, reason = "a forecast is rough")]
            let seconds = free as f64 / -rate;
            whole(seconds)
        });
        Some(Trend { free, per_second, full_in })
    }

    /// The bytes of that disk that are used, and all that may be.
    pub fn disk(&self) -> Option<(u64, u64)> {
        crate::host::disk(&self.collector.settings.disk)
    }
}

impl From<Load> for HostUsage {
    fn from(load: Load) -> Self {
        Self {
            processors: (load.processors != 0).then_some(load.processors),
            cpu: None,
            memory_total: load.memory_total,
            memory_available: load.memory_available,
        }
    }
}

impl Kept {
    /// What each app used since it was last looked at.
    fn usages(
        &mut self,
        readings: &[Reading],
        inventory: &Inventory,
        now: Timestamp,
    ) -> BTreeMap<AppName, AppUsage> {
        let mut usages: BTreeMap<AppName, AppUsage> = BTreeMap::new();
        let mut last = BTreeMap::new();
        for reading in readings {
            let usage = usages.entry(reading.app.clone()).or_default();
            usage.memory = add(usage.memory, reading.memory, u64::saturating_add);
            let counters = Counters { at: now, cpu_ns: reading.cpu_ns, network: reading.network };
            if let Some(before) = self.last.get(&reading.id) {
                let rates = Rates::between(before, &counters);
                let sum = |a: f64, b: f64| a + b;
                usage.cpu = add(usage.cpu, rates.cpu, sum);
                usage.network_receive = add(usage.network_receive, rates.received, sum);
                usage.network_transmit = add(usage.network_transmit, rates.sent, sum);
            }
            last.insert(reading.id.clone(), counters);
        }
        self.last = last;
        let apps: BTreeMap<_, _> = readings.iter().map(|r| (&r.id, &r.app)).collect();
        for process in inventory.gpus.iter().flat_map(|gpu| &gpu.processes) {
            let app = process.container.as_ref().and_then(|id| apps.get(id));
            let Some(usage) = app.and_then(|app| usages.get_mut(*app)) else { continue };
            usage.gpu_memory = add(usage.gpu_memory, process.memory, u64::saturating_add);
            let percent = process.utilization.map(f64::from);
            usage.gpu_utilization = add(usage.gpu_utilization, percent, |a, b| a + b);
        }
        usages
    }

    fn note_host(&mut self, load: Load) {
        let before = self.load.replace(load);
        let busy = before.and_then(|before| {
            let ticks = load.ticks.checked_sub(before.ticks).filter(|ticks| *ticks != 0)?;
            let busy = load.busy.checked_sub(before.busy)?;
            #[expect(clippy::cast_precision_loss, reason = "some seconds are few ticks")]
            Some(rounded(busy as f64 / ticks as f64 * load.processors as f64))
        });
        self.host = HostUsage { cpu: busy, ..HostUsage::from(load) };
    }

    fn note_room(&mut self, now: Timestamp, free: u64) {
        if HISTORY_LENGTH / 12 <= self.room.len() {
            self.room.pop_front();
        }
        self.room.push_back((now, free));
    }
}

/// What a container did a second.
struct Rates {
    cpu: Option<f64>,
    received: Option<f64>,
    sent: Option<f64>,
}

impl Rates {
    /// Between two looks. Counters that went back were begun anew: nothing is said of them.
    fn between(before: &Counters, after: &Counters) -> Self {
        let ms = after.at.as_millis() - before.at.as_millis();
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
        let rate = |from: Option<u64>, to: Option<u64>, unit: f64| {
            let grown = to?.checked_sub(from?)?;
            (0 < ms).then(|| grown as f64 / unit / (ms as f64 / 1e3))
        };
        let part = |c: &Counters, of: fn((u64, u64)) -> u64| c.network.map(of);
        Self {
            cpu: rate(before.cpu_ns, after.cpu_ns, 1e9),
            received: rate(part(before, |n| n.0), part(after, |n| n.0), 1.0),
            sent: rate(part(before, |n| n.1), part(after, |n| n.1), 1.0),
        }
    }
}

/// With three digits behind the point.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// The sum of what is known.
fn add<T: Copy>(a: Option<T>, b: Option<T>, sum: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(sum(a, b)),
        (a, b) => a.or(b),
    }
}

fn step_ms() -> i64 {
    i64::try_from(HISTORY_STEP.as_millis()).unwrap_or(i64::MAX)
}

/// How fast a figure grows, each second: the line that fits its points best (least squares).
#[expect(clippy::cast_precision_loss, reason = "a forecast is rough")]
fn slope(points: &VecDeque<(Timestamp, u64)>) -> Option<f64> {
    if points.len() < TREND_POINTS {
        return None;
    }
    let (origin, base) = points.front()?;
    let pairs: Vec<_> = points
        .iter()
        .map(|(at, free)| {
            let seconds = (at.as_millis() - origin.as_millis()) as f64 / 1e3;
            (seconds, *free as f64 - *base as f64)
        })
        .collect();
    let count = pairs.len() as f64;
    let (sum_x, sum_y) = pairs.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let over: f64 = pairs.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    let under: f64 = pairs.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    (under != 0.0).then(|| over / under)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a forecast, never less than nothing"
)]
fn whole(seconds: f64) -> u64 {
    seconds.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: i64) -> AppUsage {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let cpu = Some(slot as f64);
        AppUsage { cpu, memory: Some(5 << 20), ..AppUsage::default() }
    }

    fn ring(slots: impl IntoIterator<Item = i64>) -> Ring {
        let mut ring = Ring { newest: 0, points: VecDeque::new() };
        for slot in slots {
            ring.put(slot, at(slot));
        }
        ring
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let ring = ring(1000..3000);
        assert_eq!((ring.points.len(), ring.newest), (HISTORY_LENGTH, 2999));
        assert_eq!(AppUsage::from(*ring.points.front().unwrap()), at(3000 - 720));
        assert!(size_of::<Point>() * HISTORY_LENGTH <= 17_280);
    }

    #[test]
    fn a_gap_is_a_gap_and_an_old_hour_is_forgotten() {
        let gap = ring([10, 13]);
        let cpu: Vec<_> = gap.points.iter().map(|p| AppUsage::from(*p).cpu).collect();
        assert_eq!(cpu, [Some(10.0), None, None, Some(13.0)]);
        assert_eq!(ring([10, 10, 10 + 720]).points.len(), 1);
        assert_eq!(ring([10, 5]).newest, 5, "the clock was set back");
    }

    #[test]
    fn rates_are_of_what_grew() {
        let counters =
            |ms, cpu, net| Counters { at: Timestamp::from_millis(ms), cpu_ns: cpu, network: net };
        let (a, b) = (
            counters(0, Some(1_000_000_000), Some((100, 50))),
            counters(5000, Some(6_000_000_000), Some((600, 40))),
        );
        let rates = Rates::between(&a, &b);
        assert_eq!((rates.cpu, rates.received, rates.sent), (Some(1.0), Some(100.0), None));
        let none = Rates::between(&b, &counters(5000, Some(7_000_000_000), None));
        assert_eq!((none.cpu, none.received), (None, None));
    }

    #[test]
    fn the_room_that_shrinks_is_forecast() {
        let mut room = VecDeque::new();
        for minute in 0..12_i64 {
            let free = 100_000_000 - u64::try_from(minute).unwrap() * 60_000;
            room.push_back((Timestamp::from_millis(minute * 60_000), free));
        }
        let rate = slope(&room).unwrap();
        assert!((rate + 1000.0).abs() < 1.0, "{rate}");
        room.truncate(5);
        assert_eq!(slope(&room), None);
    }
}
