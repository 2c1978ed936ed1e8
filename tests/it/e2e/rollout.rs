//! New versions that are no good.

use std::time::Duration;

use berth::{
    model::{Phase, Reason},
    status::Status,
};

use super::{
    engine::Seen,
    stage::{Berth, Stage, get, tiny},
};

/// Serves its first argument after a moment; without one it never listens.
fn version(command: &str, rest: &str) -> String {
    tiny("web", &format!("[sh, -c, '{command}']"), &format!("port: 8080\n{rest}"))
}

const GOOD: &str = "echo good > /www/index.html; exec httpd -f -p 8080 -h /www";

async fn start(stage: &Stage) -> (Berth, (String, String), u16) {
    stage.write("web.yaml", &version(GOOD, "health: {startPeriod: 30s}"));
    let berth = stage.start();
    let port = berth.until_running("web").await.ports[0].host_port;
    (berth, stage.container("web").life(), port)
}

/// Waits until the new version was given up, and sees to it that it stays so.
async fn must_be_rolled_back(stage: &Stage, berth: &Berth, (old, port): (&str, u16), why: &str) {
    let is_said = |status: &Status| {
        (status.phase, status.reason) == (Phase::Degraded, Reason::RolledBack)
            && status.message.contains(why)
    };
    let status = berth.until_status("web", &format!("is rolled back: {why}"), is_said).await;
    assert!(status.message.contains("berth reconcile web"), "{}", status.message);
    let old_runs = || {
        let all = stage.containers("web");
        all.iter().filter(|seen| seen.is_running()).map(Seen::id).eq([old.to_owned()])
    };
    berth.until("only the old version runs", old_runs).await;
    berth.until_status("web", "the old one answers", |s| s.url.is_some()).await;
    assert!(get(port, "/").await.unwrap().ends_with("good\n"));
    let starts = berth.count("start");
    let creates = berth.count("create");
    berth.rounds(3).await;
    assert_eq!((berth.count("start"), berth.count("create")), (starts, creates), "not tried again");
    assert!(old_runs());
    assert_eq!(berth.status("web").unwrap().reason, Reason::RolledBack);
}

/// Faults D24, H02: an automatic port is one, so the old version must stop first and come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_gets_healthy_gives_way_to_the_one_before() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let (berth, (old, _), port) = start(&stage).await;
    stage.write("web.yaml", &version("exec sleep 3600", "health: {startPeriod: 3s}"));
    must_be_rolled_back(&stage, &berth, (&old, port), "did not pass within 3s").await;
    // Over a restart of Berth as well, with and without its memory.
    let kept = berth.stop().await;
    let berth = stage.start_with(kept);
    must_be_rolled_back(&stage, &berth, (&old, port), "did not pass within 3s").await;
    berth.stop().await;
    let berth = stage.start();
    must_be_rolled_back(&stage, &berth, (&old, port), "").await;
    // A good version takes over.
    stage.write("web.yaml", &version(GOOD, "env: {A: better}"));
    berth.until_running("web").await;
    berth.until("what went before is gone", || stage.containers("web").len() == 1).await;
}

/// Faults D25, D33: the deadline is the manifest's, however long the start may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_ready_by_its_deadline_gives_way_to_the_one_before() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let (berth, (old, _), port) = start(&stage).await;
    let late = "health: {startPeriod: 10m}\nrollout: {deadline: 4s}";
    stage.write("web.yaml", &version("exec sleep 3600", late));
    must_be_rolled_back(&stage, &berth, (&old, port), "did not pass within 4s").await;
    let rollout = berth.status("web").unwrap().rollout.unwrap();
    assert!(rollout.message.unwrap().contains("did not pass within 4s"));
    assert!(rollout.downtime_ms.is_some_and(|down| 4_000 <= down), "{:?}", rollout.downtime_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_exits_at_once_gives_way_to_the_one_before() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let (berth, (old, _), port) = start(&stage).await;
    stage.write("web.yaml", &version("exit 3", ""));
    must_be_rolled_back(&stage, &berth, (&old, port), "exits with code 3").await;
    // One whose program does not exist.
    stage.write("web.yaml", &tiny("web", "[/no/such/program]", "port: 8080"));
    must_be_rolled_back(&stage, &berth, (&old, port), "exits with code 127").await;
}

/// Without a health check there is still the difference between running and not.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchecked_version_that_exits_at_once_gives_way_too() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    stage.write("job.yaml", &tiny("job", "[sleep, \"3600\"]", ""));
    let berth = stage.start();
    berth.until_running("job").await;
    let old = stage.container("job").id();
    stage.write("job.yaml", &tiny("job", "[sh, -c, 'sleep 0.3; exit 4']", ""));
    berth.until_said("job", Phase::Degraded, Reason::RolledBack).await;
    let old_runs = || {
        let all = stage.containers("job");
        all.iter().filter(|seen| seen.is_running()).map(Seen::id).eq([old.clone()])
    };
    berth.until("only the old version runs", old_runs).await;
}
