//! What the host has and uses, under node-exporter's names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    files::{Buffer, Kept, Purse, read_once},
    mounts::Mounts,
    parse::{self, Interface},
    text::{self, Figure},
};

/// One tick of `/proc/stat`: a hundredth of a second on every machine (time(7)).
const TICK_NS: u64 = 10_000_000;
/// What `/proc/diskstats` counts in.
const SECTOR: u64 = 512;
/// The most devices, disks and filesystems that are shown of each kind.
const PARTS_MAX: usize = 64;
/// The columns of a processor in `/proc/stat`, in their order (proc(5)).
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// What is shown of `/proc/meminfo`.
const MEMORY: [&str; 12] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "Active",
    "Inactive",
    "Dirty",
    "Shmem",
    "Slab",
];

/// The host's own files.
pub(super) struct Host {
    root: PathBuf,
    stat: Kept,
    memory: Kept,
    buffer: Buffer,
    purse: Purse,
    /// The names of block devices by their numbers, as they were last seen.
    devices: BTreeMap<(u32, u32), String>,
    interfaces: Vec<Interface>,
    mounts: Mounts,
    boot_s: Option<u64>,
}

/// What the host has and uses at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) processors: u64,
    /// Ticks of all processors since the start: those with work, and all.
    pub(super) busy: u64,
    pub(super) ticks: u64,
    pub(super) memory_total: Option<u64>,
    pub(super) memory_available: Option<u64>,
}

/// A line of `/proc/stat` that is about a processor: its number, and its columns.
struct Processor {
    name: String,
    ticks: [u64; 8],
}

impl Host {
    pub(super) fn new(root: &Path) -> Self {
        let mut host = Self {
            root: root.to_owned(),
            stat: Kept::new(root.join("stat")),
            memory: Kept::new(root.join("meminfo")),
            buffer: Buffer::default(),
            purse: Purse::of(2),
            devices: BTreeMap::new(),
            interfaces: Vec::new(),
            mounts: Mounts::of(root),
            boot_s: None,
        };
        host.processors();
        host
    }

    /// When the machine was started, in milliseconds since 1970.
    pub(super) fn boot_ms(&self) -> Option<u64> {
        self.boot_s.map(|seconds| seconds.saturating_mul(1000))
    }

    /// The name of a block device.
    pub(super) fn device(&self, major: u32, minor: u32) -> String {
        let name = self.devices.get(&(major, minor));
        name.map_or_else(|| format!("{major}:{minor}"), |name| format!("/dev/{name}"))
    }

    /// What it uses now.
    pub(super) fn load(&mut self) -> Load {
        let all = self.processors();
        let memory = self.memory();
        let (mut busy, mut ticks) = (0_u64, 0_u64);
        for Processor { ticks: [user, nice, system, idle, wait, irq, soft, steal], .. } in &all {
            let work = [user, nice, system, irq, soft, steal];
            let work = work.into_iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
            busy = busy.saturating_add(work);
            ticks = ticks.saturating_add(work).saturating_add(*idle).saturating_add(*wait);
        }
        Load {
            processors: u64::try_from(all.len()).unwrap_or(0),
            busy,
            ticks,
            memory_total: memory.first().copied().flatten(),
            memory_available: memory.get(2).copied().flatten(),
        }
    }

    fn processors(&mut self) -> Vec<Processor> {
        if self.stat.read(&mut self.buffer, &mut self.purse).is_err() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for line in parse::lines(&self.buffer) {
            let mut words = parse::words(line);
            let Some(first) = words.next() else { continue };
            if first == b"btime" {
                self.boot_s = words.next().and_then(parse::number);
            }
            let Some(name) = first.strip_prefix(b"cpu").filter(|name| !name.is_empty()) else {
                continue;
            };
            let mut ticks = [0_u64; 8];
            for (slot, word) in ticks.iter_mut().zip(words) {
                *slot = parse::number(word).unwrap_or(0);
            }
            all.push(Processor { name: String::from_utf8_lossy(name).into_owned(), ticks });
        }
        all
    }

    /// Bytes, in the order of [`MEMORY`].
    fn memory(&mut self) -> [Option<u64>; MEMORY.len()] {
        let mut found = [None; MEMORY.len()];
        if self.memory.read(&mut self.buffer, &mut self.purse).is_err() {
            return found;
        }
        for line in parse::lines(&self.buffer) {
            let mut words = parse::words(line);
            let key = words.next().and_then(|word| word.strip_suffix(b":"));
            let at = MEMORY.iter().position(|name| Some(name.as_bytes()) == key);
            if let Some(slot) = at.and_then(|at| found.get_mut(at)) {
                let kib = words.next().and_then(parse::number);
                *slot = kib.map(|kib| kib.saturating_mul(1024));
            }
        }
        found
    }

    fn read(&mut self, path: &str) -> bool {
        read_once(&self.root.join(path), &mut self.buffer).is_ok()
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, out: &mut String, now_ms: u64) {
        self.write_processors(out);
        self.write_memory(out);
        self.write_load(out);
        self.write_pressure(out);
        self.write_disks(out);
        self.write_network(out);
        write_filesystems(&mut self.mounts, out);
        if self.read("vmstat")
            && let [Some(kills)] = parse::fields(&self.buffer, [b"oom_kill"])
        {
            let name = "node_vmstat_oom_kill";
            text::head(out, name, "untyped", "Programs killed for want of memory.");
            text::line(out, name, &[], Figure::Whole(kills));
        }
        if let Some(boot) = self.boot_s {
            single(out, "node_boot_time_seconds", "When it was started.", Figure::Whole(boot));
        }
        single(out, "node_time_seconds", "Its clock.", Figure::Millis(now_ms));
    }

    fn write_processors(&mut self, out: &mut String) {
        let all = self.processors();
        if all.is_empty() {
            return;
        }
        let name = "node_cpu_seconds_total";
        text::head(out, name, "counter", "What processors did.");
        for Processor { name: cpu, ticks } in &all {
            for (mode, ticks) in MODES.into_iter().zip(ticks) {
                let labels = ["cpu=\"", cpu, "\",mode=\"", mode, "\""];
                text::line(out, name, &labels, Figure::Nanos(ticks.saturating_mul(TICK_NS)));
            }
        }
        let count = Figure::Whole(u64::try_from(all.len()).unwrap_or(0));
        single(out, "machine_cpu_cores", "Processors.", count);
    }

    fn write_memory(&mut self, out: &mut String) {
        let all = self.memory();
        for (key, bytes) in MEMORY.into_iter().zip(all) {
            let Some(bytes) = bytes else { continue };
            let name = format!("node_memory_{key}_bytes");
            single(out, &name, "Of /proc/meminfo.", Figure::Whole(bytes));
        }
        if let Some(bytes) = all.first().copied().flatten() {
            single(out, "machine_memory_bytes", "Memory.", Figure::Whole(bytes));
        }
    }

    fn write_load(&mut self, out: &mut String) {
        if !self.read("loadavg") {
            return;
        }
        let text = String::from_utf8_lossy(&self.buffer);
        let names = ["node_load1", "node_load5", "node_load15"];
        for (name, word) in names.into_iter().zip(text.split_whitespace()) {
            if let Ok(figure) = word.parse::<f64>() {
                single(out, name, "Tasks that ran or waited, on average.", Figure::Float(figure));
            }
        }
    }

    fn write_pressure(&mut self, out: &mut String) {
        for (kind, some, full) in [
            ("cpu", Some("node_pressure_cpu_waiting_seconds_total"), None),
            (
                "memory",
                Some("node_pressure_memory_waiting_seconds_total"),
                Some("node_pressure_memory_stalled_seconds_total"),
            ),
            (
                "io",
                Some("node_pressure_io_waiting_seconds_total"),
                Some("node_pressure_io_stalled_seconds_total"),
            ),
        ] {
            if !self.read(&format!("pressure/{kind}")) {
                continue;
            }
            let seen = parse::pressure(&self.buffer);
            for (name, total) in [(some, seen.some), (full, seen.full)] {
                let (Some(name), Some(total)) = (name, total) else { continue };
                text::head(out, name, "counter", "How long tasks waited.");
                text::line(out, name, &[], Figure::Micros(total));
            }
        }
    }

    /// Whole disks and what stands on them, but for what is only in memory.
    fn write_disks(&mut self, out: &mut String) {
        if !self.read("diskstats") {
            return;
        }
        self.devices.clear();
        let mut all = Vec::new();
        for line in parse::lines(&self.buffer) {
            let words: Vec<_> = parse::words(line).collect();
            let number = |at: usize| words.get(at).copied().and_then(parse::number);
            let small = |at: usize| number(at).and_then(|n| u32::try_from(n).ok());
            let (Some(major), Some(minor), Some(name)) = (small(0), small(1), words.get(2)) else {
                continue;
            };
            let name = String::from_utf8_lossy(name).into_owned();
            self.devices.insert((major, minor), name.clone());
            if ["loop", "ram", "zram", "sr"].iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            let mut label = String::new();
            text::label(&mut label, "device", &name);
            let bytes = |at| number(at).map(|sectors| sectors.saturating_mul(SECTOR));
            let busy = number(12).map(|ms| ms.saturating_mul(1000));
            all.push((label, [number(3), bytes(5), number(7), bytes(9)], busy));
        }
        all.truncate(PARTS_MAX);
        for (at, name, help) in [
            (0, "node_disk_reads_completed_total", "Reads."),
            (1, "node_disk_read_bytes_total", "Bytes read."),
            (2, "node_disk_writes_completed_total", "Writes."),
            (3, "node_disk_written_bytes_total", "Bytes written."),
        ] {
            text::head(out, name, "counter", help);
            for (label, counts, _) in &all {
                if let Some(count) = counts.get(at).copied().flatten() {
                    text::line(out, name, &[label], Figure::Whole(count));
                }
            }
        }
        let name = "node_disk_io_time_seconds_total";
        text::head(out, name, "counter", "How long there was something to do.");
        for (label, _, busy) in &all {
            if let Some(busy) = busy {
                text::line(out, name, &[label], Figure::Micros(*busy));
            }
        }
    }

    /// The host's own interfaces; the ends of containers' ones are shown with the containers.
    fn write_network(&mut self, out: &mut String) {
        // `/proc/net` is about whoever reads it; the first process is the host's.
        if !self.read("1/net/dev") && !self.read("net/dev") {
            return;
        }
        let all = &mut self.interfaces;
        parse::net_dev(&self.buffer, Some(b"veth"), all);
        all.truncate(PARTS_MAX);
        for (name, help, is_received, at) in [
            ("node_network_receive_bytes_total", "Bytes received.", true, 0),
            ("node_network_receive_packets_total", "Packets received.", true, 1),
            ("node_network_receive_errs_total", "Errors while receiving.", true, 2),
            ("node_network_receive_drop_total", "Received packets dropped.", true, 3),
            ("node_network_transmit_bytes_total", "Bytes sent.", false, 0),
            ("node_network_transmit_packets_total", "Packets sent.", false, 1),
            ("node_network_transmit_errs_total", "Errors while sending.", false, 2),
            ("node_network_transmit_drop_total", "Packets to send dropped.", false, 3),
        ] {
            text::head(out, name, "counter", help);
            for interface in &*all {
                let counts = if is_received { &interface.received } else { &interface.sent };
                let Some(count) = counts.get::<usize>(at) else { continue };
                text::line(out, name, &["device=", &interface.quoted], Figure::Whole(*count));
            }
        }
    }
}

fn single(out: &mut String, name: &str, help: &str, figure: Figure) {
    text::head(out, name, "gauge", help);
    text::line(out, name, &[], figure);
}

fn write_filesystems(mounts: &mut Mounts, out: &mut String) {
    let seen = mounts.rooms(PARTS_MAX);
    let unit = |blocks: u64, size: u64| Figure::Whole(blocks.saturating_mul(size));
    for (name, help, of) in [
        ("node_filesystem_size_bytes", "Its size.", 0),
        ("node_filesystem_free_bytes", "What is free.", 1),
        ("node_filesystem_avail_bytes", "What is free for everybody.", 2),
        ("node_filesystem_files", "How many files it may hold.", 3),
        ("node_filesystem_files_free", "How many more files it may hold.", 4),
    ] {
        text::head(out, name, "gauge", help);
        for (labels, room) in &seen {
            let figure = match of {
                0 => unit(room.f_blocks, room.f_frsize),
                1 => unit(room.f_bfree, room.f_frsize),
                2 => unit(room.f_bavail, room.f_frsize),
                3 => Figure::Whole(room.f_files),
                _ => Figure::Whole(room.f_ffree),
            };
            text::line(out, name, &[labels], figure);
        }
    }
}
