//! Hostile input for every reader of text: no panic, no hang; 1 MiB at most costs 100 ms of CPU
//! time and 64 MiB at most.
//!
//! ```text
//! fuzz [seconds [target]]     FUZZ_SEED=n chooses other inputs
//! fuzz replay target file
//! ```
//!
//! An input that breaks a promise is written to `target/fuzz/failures/` and named.

// The readers, as they are.
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
#[path = "../../../src/manifest/mod.rs"]
mod manifest;
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
#[path = "../../../src/model/mod.rs"]
mod model;
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
#[path = "../../../src/record/file.rs"]
mod record;
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
#[path = "../../../src/state/mod.rs"]
mod state;

mod answers;
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
mod compose;
mod composed;
mod cost;
#[allow(dead_code, reason = "not all of it is read here")]
mod engine;
mod hub;
#[allow(dead_code, reason = "not all of it is read here")]
mod models;
mod mutate;
mod readers;
/// What readers of uploads take from the store.
mod store {
    /// As the store bounds it.
    pub(crate) const PARTS_MAX: usize = 256;
}
mod workspace;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cost::Cost;
use mutate::Dice;
use readers::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: cost::Counting = cost::Counting;

const CPU_MAX: Duration = Duration::from_millis(100);
const BYTES_MAX: usize = 64 << 20;
/// An input that takes so long by the clock hangs.
const HANG: Duration = Duration::from_secs(60);

/// What is being read, for the watchdog: since when, and the input.
type Current = Arc<Mutex<Option<(Instant, &'static str, Vec<u8>)>>>;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [verb, name, file] = args.as_slice()
        && verb == "replay"
    {
        let target = TARGETS.iter().find(|target| target.name == *name).expect("a target");
        let bytes = fs::read(file).expect("a file");
        println!("{:?} {:?}", cost::of(|| (target.read)(&bytes)), bytes.len());
        return ExitCode::from(u8::from(judge(target, &bytes).is_err()));
    }
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let seconds: u64 = number(args.first().cloned()).unwrap_or(60);
    let seed: u64 = number(std::env::var("FUZZ_SEED").ok()).unwrap_or(1);
    let chosen = |target: &&Target| args.get(1).is_none_or(|name| name == target.name);
    let targets: Vec<_> = TARGETS.iter().filter(chosen).collect();
    let share = Duration::from_secs(seconds) / u32::try_from(targets.len().max(1)).unwrap_or(1);
    let current = Current::default();
    watch(Arc::clone(&current));
    // The panics that are looked for are told by this program.
    std::panic::set_hook(Box::new(|_| {}));
    let mut is_clean = !targets.is_empty();
    for target in targets {
        is_clean &= run(target, seed, share, &current);
    }
    ExitCode::from(u8::from(!is_clean))
}

/// Reads inputs for a while; answers whether every promise was kept.
fn run(target: &'static Target, seed: u64, share: Duration, current: &Current) -> bool {
    let known = corpus(target);
    let mut dice = Dice::new(seed);
    let (start, mut count, mut most) = (Instant::now(), 0_u64, Cost::default());
    let mut inputs = known.clone().into_iter();
    while start.elapsed() < share {
        let bytes = inputs.next().unwrap_or_else(|| mutate::input(&mut dice, target, &known));
        *lock(current) = Some((Instant::now(), target.name, bytes.clone()));
        count += 1;
        match judge(target, &bytes) {
            Ok(cost) => {
                most.cpu = most.cpu.max(cost.cpu);
                most.bytes = most.bytes.max(cost.bytes);
            }
            Err(why) => {
                let path = keep(target.name, &bytes);
                println!("{:<16} {why}\n  {}", target.name, path.display());
                return false;
            }
        }
    }
    *lock(current) = None;
    println!(
        "{:<16} {count:>9} inputs, at most {:>5.1} ms of CPU and {:>5.1} MiB",
        target.name,
        most.cpu.as_secs_f64() * 1000.0,
        f64::from(u32::try_from(most.bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
    );
    true
}

/// Reads one input; an error says which promise was broken.
fn judge(target: &Target, bytes: &[u8]) -> Result<Cost, String> {
    let read = || {
        let mut cost = Cost::default();
        catch_unwind(AssertUnwindSafe(|| cost = cost::of(|| (target.read)(bytes)))).map(|()| cost)
    };
    let said = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    };
    let mut cost = read().map_err(|panic| format!("panics: {}", said(panic)))?;
    // A slow one gets two more chances: the machine may have been at fault.
    for _ in 0..2 {
        if CPU_MAX < cost.cpu {
            cost.cpu = cost.cpu.min(read().map_err(said)?.cpu);
        }
    }
    if CPU_MAX < cost.cpu {
        return Err(format!("{} bytes cost {:?} of CPU time", bytes.len(), cost.cpu));
    }
    if BYTES_MAX < cost.bytes {
        return Err(format!("{} bytes cost {} MiB", bytes.len(), cost.bytes >> 20));
    }
    Ok(cost)
}

/// The inputs to begin with: the target's own, its files of the golden tests, and what once failed.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut known: Vec<_> = target.seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [top.join("corpus").join(target.name), top.join("../golden").join(target.name)];
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        known.extend(paths.iter().filter_map(|path| fs::read(path).ok()));
    }
    known
}

fn lock(current: &Current) -> std::sync::MutexGuard<'_, Option<(Instant, &'static str, Vec<u8>)>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let digest = model::Digest::of_bytes(bytes);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz/failures");
    let path = folder.join(format!("{name}-{}", digest.short(12)));
    let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, bytes));
    path
}

/// Ends everything when an input hangs, and says which.
fn watch(current: Current) {
    std::thread::spawn(move || {
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            if let Some((since, name, bytes)) = lock(&current).as_ref()
                && HANG < since.elapsed()
            {
                println!("{name:<16} hangs\n  {}", keep(name, bytes).display());
                std::process::exit(1);
            }
        }
    });
}
