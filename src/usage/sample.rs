//! What a container uses: which files say so, and how they are read.

use std::{io, time::Duration};

use tokio::time::Instant;

use super::{
    files::{Buffer, Kept, Purse},
    locate::{Layout, Tree},
    parse::{self, Blkio, Disk, Interface, Pressure},
};

/// Limits of cgroup v1 above this are none: the kernel rounds "no limit" down to a whole page.
const NO_LIMIT: u64 = i64::MAX as u64 - 4096;
/// Limits are read again after so long.
const LIMITS_AGE: Duration = Duration::from_secs(30);
/// One tick of `cpuacct.stat` in nanoseconds: a hundredth of a second on every machine (time(7)).
const TICK_NS: u64 = 10_000_000;

/// What a container uses, as far as the kernel says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Nanoseconds.
    pub(super) cpu_ns: Option<u64>,
    pub(super) cpu_user_ns: Option<u64>,
    pub(super) cpu_system_ns: Option<u64>,
    pub(super) periods: Option<u64>,
    pub(super) throttled_periods: Option<u64>,
    pub(super) throttled_ns: Option<u64>,
    /// Microseconds; no quota is none.
    pub(super) quota_us: Option<u64>,
    pub(super) period_us: Option<u64>,
    pub(super) shares: Option<u64>,
    /// Bytes.
    pub(super) memory: Option<u64>,
    pub(super) inactive_file: Option<u64>,
    pub(super) rss: Option<u64>,
    pub(super) cache: Option<u64>,
    pub(super) mapped: Option<u64>,
    pub(super) swap: Option<u64>,
    pub(super) memory_max: Option<u64>,
    pub(super) failcnt: Option<u64>,
    pub(super) page_faults: Option<u64>,
    pub(super) major_faults: Option<u64>,
    pub(super) oom_kills: Option<u64>,
    /// Limits: 0 is none, as cAdvisor writes it.
    pub(super) memory_limit: Option<u64>,
    pub(super) memory_reservation: Option<u64>,
    pub(super) swap_limit: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) threads_max: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) disks: Vec<Disk>,
    pub(super) cpu_pressure: Option<Pressure>,
    pub(super) memory_pressure: Option<Pressure>,
    pub(super) io_pressure: Option<Pressure>,
    pub(super) interfaces: Vec<Interface>,
}

impl Sample {
    /// What can't be given back without harm: usage without cache that was not used lately.
    pub(super) fn working_set(&self) -> Option<u64> {
        Some(self.memory?.saturating_sub(self.inactive_file?))
    }

    /// Bytes received and sent over all interfaces; none without one.
    pub(super) fn network(&self) -> Option<(u64, u64)> {
        let sum = |(rx, tx): (u64, u64), i: &Interface| {
            (rx.saturating_add(i.received[0]), tx.saturating_add(i.sent[0]))
        };
        (!self.interfaces.is_empty()).then(|| self.interfaces.iter().fold((0, 0), sum))
    }
}

/// What a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    CpuTotal,
    CpuTicks,
    Throttling,
    Cpu2,
    Quota,
    Period,
    Shares,
    CpuMax2,
    Memory,
    MemoryMax,
    MemoryStat,
    MemoryStat2,
    Failcnt,
    OomControl,
    Events2,
    Swap2,
    MemoryLimit,
    MemoryLimit2,
    Reservation,
    SwapLimit,
    SwapLimit2,
    Pids,
    PidsMax,
    Processes,
    BlkioBytes,
    BlkioOperations,
    IoStat,
    CpuPressure,
    MemoryPressure,
    IoPressure,
}

/// Which files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Those of the history: the time used, and the memory.
    Short,
    /// All but the limits.
    Whole,
    /// The limits too, which only a hand on the engine changes.
    Limits,
}

use What as W;

/// The files of cgroup v1, by controller. Those of the history come first.
const CPUACCT: &[(&str, What, Depth)] =
    &[("cpuacct.usage", W::CpuTotal, Depth::Short), ("cpuacct.stat", W::CpuTicks, Depth::Whole)];
const CPU: &[(&str, What, Depth)] = &[
    ("cpu.stat", W::Throttling, Depth::Whole),
    ("cpu.cfs_quota_us", W::Quota, Depth::Limits),
    ("cpu.cfs_period_us", W::Period, Depth::Limits),
    ("cpu.shares", W::Shares, Depth::Limits),
];
const MEMORY: &[(&str, What, Depth)] = &[
    ("memory.usage_in_bytes", W::Memory, Depth::Short),
    ("memory.stat", W::MemoryStat, Depth::Short),
    ("memory.max_usage_in_bytes", W::MemoryMax, Depth::Whole),
    ("memory.failcnt", W::Failcnt, Depth::Whole),
    ("memory.oom_control", W::OomControl, Depth::Whole),
    ("memory.limit_in_bytes", W::MemoryLimit, Depth::Limits),
    ("memory.soft_limit_in_bytes", W::Reservation, Depth::Limits),
    ("memory.memsw.limit_in_bytes", W::SwapLimit, Depth::Limits),
];
const PIDS: &[(&str, What, Depth)] = &[
    ("pids.current", W::Pids, Depth::Whole),
    ("pids.max", W::PidsMax, Depth::Limits),
    ("cgroup.procs", W::Processes, Depth::Whole),
];
const BLKIO: &[(&str, What, Depth)] = &[
    ("blkio.throttle.io_service_bytes_recursive", W::BlkioBytes, Depth::Whole),
    ("blkio.throttle.io_serviced_recursive", W::BlkioOperations, Depth::Whole),
];
/// The files of cgroup v2, by controller.
const CPU2: &[(&str, What, Depth)] =
    &[("cpu.stat", W::Cpu2, Depth::Short), ("cpu.max", W::CpuMax2, Depth::Limits)];
const MEMORY2: &[(&str, What, Depth)] = &[
    ("memory.current", W::Memory, Depth::Short),
    ("memory.stat", W::MemoryStat2, Depth::Short),
    ("memory.peak", W::MemoryMax, Depth::Whole),
    ("memory.events", W::Events2, Depth::Whole),
    ("memory.swap.current", W::Swap2, Depth::Whole),
    ("memory.max", W::MemoryLimit2, Depth::Limits),
    ("memory.low", W::Reservation, Depth::Limits),
    ("memory.swap.max", W::SwapLimit2, Depth::Limits),
];
const IO2: &[(&str, What, Depth)] = &[("io.stat", W::IoStat, Depth::Whole)];
const PRESSURE: &[(&str, What, Depth)] = &[
    ("cpu.pressure", W::CpuPressure, Depth::Whole),
    ("memory.pressure", W::MemoryPressure, Depth::Whole),
    ("io.pressure", W::IoPressure, Depth::Whole),
];

/// The files of one container.
#[derive(Debug)]
pub(super) struct Files {
    all: Vec<(What, Depth, Kept)>,
    /// Whether what is not there was sorted out: not every kernel has every file.
    is_sorted: bool,
    /// When the limits were read.
    limits_at: Option<Instant>,
}

impl Files {
    pub(super) fn new(layout: &Layout, place: &str) -> Self {
        type Rows = &'static [(&'static str, What, Depth)];
        let none: Rows = &[];
        let trees: [(&Option<Tree>, Rows, Rows); 6] = [
            (&layout.cpuacct, CPUACCT, none),
            (&layout.cpu, CPU, CPU2),
            (&layout.memory, MEMORY, MEMORY2),
            (&layout.pids, PIDS, PIDS),
            (&layout.io, BLKIO, IO2),
            (&layout.pressure, none, PRESSURE),
        ];
        let mut all = Vec::new();
        for (tree, v1, v2) in trees {
            let Some(tree) = tree else { continue };
            let folder = tree.root.join(place);
            for (name, what, depth) in if tree.is_v2 { v2 } else { v1 } {
                all.push((*what, *depth, Kept::new(folder.join(name))));
            }
        }
        Self { all, is_sorted: false, limits_at: None }
    }

    /// Reads them into `sample`; what is not read is left as it was. An error means that the
    /// container is gone.
    pub(super) fn read(
        &mut self,
        (depth, now): (Depth, Instant),
        sample: &mut Sample,
        buffer: &mut Buffer,
        purse: &mut Purse,
    ) -> io::Result<()> {
        if !self.is_sorted {
            self.limits_at = Some(now);
            return self.sort(sample, buffer, purse);
        }
        let is_due = self.limits_at.is_none_or(|at| at + LIMITS_AGE <= now);
        let depth = if depth == Depth::Whole && is_due { Depth::Limits } else { depth };
        if depth == Depth::Limits {
            self.limits_at = Some(now);
        }
        for (what, at, kept) in &mut self.all {
            if *at <= depth {
                kept.read(buffer, purse)?;
                take(*what, buffer, sample);
            }
        }
        Ok(())
    }

    /// Reads all of them for the first time, and keeps those that can be read.
    fn sort(
        &mut self,
        sample: &mut Sample,
        buffer: &mut Buffer,
        purse: &mut Purse,
    ) -> io::Result<()> {
        self.all.retain_mut(|(what, _, kept)| {
            let is_read = kept.read(buffer, purse).is_ok();
            if is_read {
                take(*what, buffer, sample);
            }
            is_read
        });
        self.is_sorted = true;
        if self.all.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    pub(super) fn close(&mut self, purse: &mut Purse) {
        for (_, _, kept) in &mut self.all {
            kept.close(purse);
        }
    }
}

/// A limit of cgroup v1.
fn limit(text: &[u8]) -> Option<u64> {
    parse::number(text).map(|bytes| if NO_LIMIT <= bytes { 0 } else { bytes })
}

/// A limit of cgroup v2, where `max` is none.
fn limit2(text: &[u8]) -> Option<u64> {
    if text.trim_ascii() == b"max" { Some(0) } else { parse::number(text) }
}

fn times(number: Option<u64>, factor: u64) -> Option<u64> {
    number.map(|number| number.saturating_mul(factor))
}

fn take(what: What, text: &[u8], sample: &mut Sample) {
    match what {
        W::CpuTotal => sample.cpu_ns = parse::number(text),
        W::CpuTicks => {
            let [user, system] = parse::fields(text, [b"user", b"system"]);
            sample.cpu_user_ns = times(user, TICK_NS);
            sample.cpu_system_ns = times(system, TICK_NS);
        }
        W::Throttling => {
            let [periods, throttled, time] =
                parse::fields(text, [b"nr_periods", b"nr_throttled", b"throttled_time"]);
            (sample.periods, sample.throttled_periods) = (periods, throttled);
            sample.throttled_ns = time;
        }
        W::Cpu2 => take_cpu2(text, sample),
        W::Quota => sample.quota_us = parse::number(text),
        W::Period => sample.period_us = parse::number(text),
        W::Shares => sample.shares = parse::number(text),
        W::CpuMax2 => {
            let mut words = parse::words(text);
            sample.quota_us = words.next().and_then(parse::number);
            sample.period_us = words.next().and_then(parse::number);
        }
        W::Pids => sample.threads = parse::number(text),
        W::PidsMax => sample.threads_max = limit2(text),
        W::Processes => {
            let count = parse::lines(text).filter(|line| parse::number(line).is_some()).count();
            // Who reads it from another namespace of processes may be shown none of them.
            sample.processes = u64::try_from(count).ok().filter(|count| 0 < *count);
        }
        W::BlkioBytes => {
            sample.disks.clear();
            parse::blkio(text, Blkio::Bytes, &mut sample.disks);
        }
        W::BlkioOperations => parse::blkio(text, Blkio::Operations, &mut sample.disks),
        W::IoStat => {
            sample.disks.clear();
            parse::io_stat(text, &mut sample.disks);
        }
        W::CpuPressure => sample.cpu_pressure = Some(parse::pressure(text)),
        W::MemoryPressure => sample.memory_pressure = Some(parse::pressure(text)),
        W::IoPressure => sample.io_pressure = Some(parse::pressure(text)),
        _ => take_memory(what, text, sample),
    }
}

fn take_cpu2(text: &[u8], sample: &mut Sample) {
    let [total, user, system, periods, throttled, time] = parse::fields(
        text,
        [
            b"usage_usec",
            b"user_usec",
            b"system_usec",
            b"nr_periods",
            b"nr_throttled",
            b"throttled_usec",
        ],
    );
    sample.cpu_ns = times(total, 1000);
    (sample.cpu_user_ns, sample.cpu_system_ns) = (times(user, 1000), times(system, 1000));
    (sample.periods, sample.throttled_periods) = (periods, throttled);
    sample.throttled_ns = times(time, 1000);
}

fn take_memory(what: What, text: &[u8], sample: &mut Sample) {
    match what {
        W::Memory => sample.memory = parse::number(text),
        W::MemoryMax => sample.memory_max = parse::number(text),
        W::MemoryStat => {
            let [rss, cache, mapped, swap, inactive, faults, major] = parse::fields(
                text,
                [
                    b"total_rss",
                    b"total_cache",
                    b"total_mapped_file",
                    b"total_swap",
                    b"total_inactive_file",
                    b"total_pgfault",
                    b"total_pgmajfault",
                ],
            );
            (sample.rss, sample.cache, sample.mapped, sample.swap) = (rss, cache, mapped, swap);
            sample.inactive_file = inactive;
            (sample.page_faults, sample.major_faults) = (faults, major);
        }
        W::MemoryStat2 => {
            let [rss, cache, mapped, inactive, faults, major] = parse::fields(
                text,
                [b"anon", b"file", b"file_mapped", b"inactive_file", b"pgfault", b"pgmajfault"],
            );
            (sample.rss, sample.cache, sample.mapped) = (rss, cache, mapped);
            sample.inactive_file = inactive;
            (sample.page_faults, sample.major_faults) = (faults, major);
        }
        W::Failcnt => sample.failcnt = parse::number(text),
        W::OomControl => {
            [sample.oom_kills] = parse::fields(text, [b"oom_kill"]);
        }
        W::Events2 => {
            [sample.oom_kills, sample.failcnt] = parse::fields(text, [b"oom_kill", b"max"]);
        }
        W::Swap2 => sample.swap = parse::number(text),
        W::MemoryLimit => sample.memory_limit = limit(text),
        W::MemoryLimit2 => sample.memory_limit = limit2(text),
        W::Reservation => sample.memory_reservation = limit(text),
        W::SwapLimit => sample.swap_limit = limit(text),
        W::SwapLimit2 => sample.swap_limit = limit2(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a container with processes of its own, a list of version 1 shows those of no other.
    #[test]
    fn a_list_that_shows_no_process_says_nothing() {
        let mut sample = Sample::default();
        take(W::Processes, b"7\n0\n0\n", &mut sample);
        assert_eq!(sample.processes, Some(3));
        take(W::Processes, b"", &mut sample);
        assert_eq!(sample.processes, None);
    }
}
