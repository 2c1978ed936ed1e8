//! What one hour has left: memory, descriptors, threads, disk, and things on the engine.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::super::second::{Berth, Home, Second};
use super::flat::Series;

/// What is sampled, and how much each may grow over all hours. The reasons:
/// - memory: 8 MiB over 20 hours of about 6,000 requests and 400 changes is 1.4 KB a request;
/// - descriptors and threads: connections and threads that are kept for a while come and go;
/// - the disk: numbers that get longer, and one snapshot more or less at the time of the sample.
///
/// The audit log grows by design, up to 256 MiB; it is counted by itself, and taken out of the
/// archives, which hold it once for each backup that is kept.
const FIGURES: [(&str, f64); 12] = [
    ("memory (RssAnon, MiB)", 8.0),
    ("open descriptors", 6.0),
    ("threads", 4.0),
    ("state folder (MiB)", 1.0),
    ("workspaces (MiB)", 2.0),
    ("model store (MiB)", 1.0),
    ("backups (MiB)", 3.0),
    ("engine's disk (MiB)", 24.0),
    ("images", 3.0),
    ("containers", 0.5),
    ("networks", 0.5),
    ("volumes", 0.5),
];
/// How many backups each archive keeps.
pub(super) const KEEP: u32 = 3;
/// A sample is the least of so many looks, a while apart: what is under way just then is no leftover.
const LOOKS: (usize, Duration) = (4, Duration::from_millis(500));

/// The bytes below a folder, in MiB. What goes meanwhile is not counted.
fn size(path: &Path) -> f64 {
    fn bytes(path: &Path, skip: &Path) -> u64 {
        let Some(seen) = fs::symlink_metadata(path).ok().filter(|_| path != skip) else { return 0 };
        if !seen.is_dir() {
            return seen.blocks() * 512;
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        seen.blocks() * 512 + entries.map(|entry| bytes(&entry.path(), skip)).sum::<u64>()
    }
    mib(bytes(path, &path.join("audit")))
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap()) / 1024.0
}

fn count(text: &str) -> f64 {
    f64::from(u32::try_from(text.lines().count()).unwrap())
}

/// Memory, descriptors and threads of the process.
fn process(pid: u32) -> [f64; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let open = f64::from(u32::try_from(open).unwrap());
    [field("RssAnon") / 1024.0, open, field("Threads")]
}

fn look(berth: &Berth<'_>, home: &Home, second: &Second) -> [f64; 12] {
    let [memory, open, threads] = process(berth.pid());
    let audit = size(&home.path("state").join("audit"));
    let archives = size(&home.path("by-clock")) + size(&home.path("by-hand"));
    let list = |args: &[&str]| count(&second.docker(args));
    [
        memory,
        open,
        threads,
        size(&home.path("state")),
        size(&home.path("workspaces")),
        size(&home.path("models")),
        archives - audit * f64::from(2 * KEEP),
        size(&second.path("data")),
        list(&["images", "--all", "--quiet"]),
        count(&second.all().join("\n")),
        list(&["network", "ls", "--quiet"]),
        list(&["volume", "ls", "--quiet"]),
    ]
}

/// Each hour's figures.
pub(super) struct Samples(Vec<[f64; 12]>);

impl Samples {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn take(&mut self, berth: &Berth<'_>, home: &Home, second: &Second) {
        let mut least = look(berth, home, second);
        for _ in 1..LOOKS.0 {
            let next = Instant::now() + LOOKS.1;
            while let Some(rest) = next.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(rest);
            }
            for (least, seen) in least.iter_mut().zip(look(berth, home, second)) {
                *least = least.min(seen);
            }
        }
        self.0.push(least);
    }

    /// As people read them.
    pub(super) fn render(&self) -> String {
        let rows = FIGURES.iter().enumerate().map(|(nth, (name, _))| {
            let values: Vec<_> = self.0.iter().map(|row| format!("{:.1}", row[nth])).collect();
            format!("{name:>24}  {}\n", values.join(" "))
        });
        rows.collect()
    }

    /// What grows.
    pub(super) fn troubles(&self) -> Vec<String> {
        let series = FIGURES.iter().enumerate().map(|(nth, (name, slack))| Series {
            name,
            slack: *slack,
            seen: self.0.iter().map(|row| row[nth]).collect(),
        });
        series.filter_map(|series| series.trouble()).collect()
    }
}
