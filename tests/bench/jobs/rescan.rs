//! Reading ten thousand manifests, and looking at them again when nothing has changed.

use std::{collections::BTreeSet, path::Path, time::Duration};

use berth::{
    intake::Intake,
    record::{file::Kept, ledger::Ledger},
    source::{Directory, Source as _, directory::Options},
};
use tokio::time::Instant;

use crate::{
    report::{Row, Samples, Target},
    rounds,
};

const FILES: usize = 10_000;
/// How often an unchanged folder is looked at.
const AGAIN: usize = 5;

pub(crate) async fn run() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    for nth in 0..FILES {
        let name = format!("app-{nth:05}");
        std::fs::write(folder.path().join(format!("{name}.yaml")), manifest(&name)).unwrap();
    }
    // A file that is as new as the clock is fine is read again each time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut samples: [Samples; 6] = Default::default();
    for _ in 0..rounds(7) {
        let mut source = Directory::new(folder.path(), Options::default());
        let (mut intake, ledger) = (Intake::default(), Ledger::new(Kept::default()));
        // The second time settles what the first one has brought; from then on all is the same.
        for time in 0..2 + AGAIN {
            let since = Instant::now();
            let snapshot = source.snapshot().await.unwrap();
            let read = since.elapsed();
            let taken = intake.take(Ok(snapshot), Some(&BTreeSet::new()), &ledger);
            match time {
                0 => (samples[0].add(read), samples[1].add(since.elapsed())),
                1 => ((), ()),
                _ => (samples[2].add(read), samples[3].add(since.elapsed())),
            };
            let (looked, read) = by_hand(folder.path());
            samples[4].add(looked);
            samples[5].add(read);
            assert_eq!(taken.desired.apps.len(), FILES);
            assert!(taken.diagnostics.is_empty(), "{:?}", taken.diagnostics.first());
        }
    }
    let row = |title: &str, target, nth: usize| {
        Row::new(title, "ms", target).with("Berth", samples[nth].clone())
    };
    vec![
        row("10,000 manifests: read", Target::None, 0).with("raw", samples[5].clone()),
        row("10,000 manifests: read, parsed and taken in", Target::Below(400.0), 1),
        row("10,000 unchanged manifests: looked at again", Target::Below(10.0), 2)
            .with("raw", samples[4].clone()),
        // A look that finds nothing new ends before this; only a resync takes everything in again.
        row("10,000 unchanged manifests: looked at and taken in", Target::None, 3),
    ]
}

/// What the system takes: listing and asking for each file, and reading each file beside.
fn by_hand(folder: &Path) -> (Duration, Duration) {
    let since = Instant::now();
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    let looked = since.elapsed();
    let read: usize = files.iter().map(|file| std::fs::read(file.path()).unwrap().len()).sum();
    assert_eq!(u64::try_from(read).unwrap(), bytes);
    (looked, since.elapsed())
}

/// About 450 bytes, as the manifests of real apps are.
fn manifest(name: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: {name}\n  labels:\n    team: search\n\
         spec:\n  source:\n    git: {{url: 'https://git.example.com/{name}.git', ref: main}}\n  \
         run: python app.py --port 7860\n  port: 7860\n  env:\n    LOG_LEVEL: info\n    \
         CACHE_DIR: /workspace/cache\n    WORKERS: \"4\"\n  resources:\n    memory: 512Mi\n    \
         cpus: 500m\n  health:\n    http: {{path: /healthz}}\n  restart: Always\n"
    )
}
