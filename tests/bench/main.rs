//! Measures Berth beside a raw client of the same engine and beside docker compose, in one run.
//!
//! The rounds of those who are compared alternate, so that what else the machine does meets all of
//! them alike: ratios count, absolute times only in their company. Nothing here is a test: the exit
//! code is 0 whatever the figures say, and the targets that were missed are named at the end.
//!
//! | variable | meaning |
//! |---|---|
//! | `BENCH_ONLY` | jobs, comma separated: `calls`, `one`, `ten`, `fifty`, `idle`, `rescan`, `clone`, `poll`,
//! | | `build`, `metrics`, `serve`, `models` |
//! | `BENCH_BERTH` | the program that `models` measures, instead of the one of this build |
//! | `BENCH_MIB` | how large the files of `models` are, in MiB |
//! | `BENCH_CADVISOR` | the program that `metrics` is measured beside |
//! | `BENCH_ROUNDS` | how many rounds a job has, instead of its own number |
//! | `BENCH_COMPOSE` | a compose v2 program that is not installed as a plugin |
//! | `BENCH_LOG` | what the Berths of this process log, such as `berth=debug` |
//!
//! `--write` puts the table into `docs/performance.md`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that can't go on stops")]

mod bed;
mod compose;
#[path = "../it/git_server.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod git_server;
mod jobs;
mod proxy;
mod raw;
mod report;
mod stage;
mod watch;

use std::{io::Write as _, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use bed::Bed;
use report::Report;

/// Jobs in the order in which they run.
const JOBS: [&str; 12] = [
    "calls", "one", "ten", "fifty", "idle", "rescan", "clone", "poll", "build", "metrics", "serve",
    "models",
];

fn main() {
    if let Ok(filter) = std::env::var("BENCH_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let bed = match Bed::make().await {
        Ok(bed) => bed,
        Err(why) => return say(&format!("nothing is measured: {why}")),
    };
    let mut report = Report::new(&bed);
    for job in JOBS.into_iter().filter(|job| is_asked_for(job)) {
        say(&format!("# {job}"));
        let work = AssertUnwindSafe(measure(job, &bed)).catch_unwind();
        let done = tokio::select! {
            done = work => done,
            () = told_to_stop() => {
                say("given up");
                report.fail(job);
                break;
            }
        };
        match done {
            Ok(rows) => report.take(rows),
            Err(_) => report.fail(job),
        }
        bed.sweep().await;
    }
    bed.sweep().await;
    bed.sweep_network().await;
    let text = report.text();
    say(&text);
    if std::env::args().any(|word| word == "--write") {
        report.write();
    }
    for missed in report.missed() {
        say(&format!("MISSED {missed}"));
    }
}

async fn told_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn measure(job: &str, bed: &Bed) -> Vec<report::Row> {
    match job {
        "calls" => jobs::calls::run(bed).await,
        "one" => jobs::up::one(bed).await,
        "ten" => jobs::up::many(bed, 10, 4).await,
        "fifty" => jobs::up::many(bed, 50, 3).await,
        "idle" => jobs::idle::run(bed).await,
        "clone" => jobs::git::clone().await,
        "poll" => jobs::git::poll().await,
        "metrics" => jobs::metrics::run(bed).await,
        "build" => jobs::build::run(bed).await,
        "serve" => jobs::serve::run(bed).await,
        "models" => jobs::models::run(bed).await,
        _ => jobs::rescan::run().await,
    }
}

fn is_asked_for(job: &str) -> bool {
    std::env::var("BENCH_ONLY").map_or(true, |only| only.split(',').any(|word| word.trim() == job))
}

/// How many rounds: as asked for, or the job's own number.
fn rounds(usual: usize) -> usize {
    std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
