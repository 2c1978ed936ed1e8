//! Rollouts as they are remembered and measured, and the way back, by the program's own verbs.

use std::time::Duration;

use berth::{
    model::{Phase, Reason, RolloutOrder},
    state::RevisionOutcome,
    status::{RolloutStatus, Status},
};
use serde_json::Value;
use tokio::process::Command;

use super::{
    program::{Network, Program},
    stage::{Berth, Stage, get, tiny},
};

/// Serves its own word, after a second.
fn version(word: &str, rest: &str) -> String {
    let line = format!("sleep 1; echo {word} > /www/index.html; exec httpd -f -p 8080 -h /www");
    tiny("web", &format!("[sh, -c, '{line}']"), &format!("health: {{tcp: 8080}}\n{rest}"))
}

async fn until_decided(berth: &Berth, revision: u64, outcome: RevisionOutcome) -> RolloutStatus {
    let is_decided = |status: &Status| {
        let rollout = status.rollout.as_ref();
        rollout.is_some_and(|last| (last.revision, last.outcome) == (revision, outcome))
    };
    let what = format!("revision {revision} is {outcome:?}");
    berth.until_status("web", &what, is_decided).await.rollout.unwrap()
}

/// Fault D24: what it costs is measured, whether it goes well or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_downtime_of_a_rollout_is_in_the_status() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    stage.write("web.yaml", &version("one", "port: 8080"));
    let berth = stage.start();
    let first = until_decided(&berth, 1, RevisionOutcome::Succeeded).await;
    assert_eq!((first.order, first.downtime_ms), (None, None));
    // One host port: the old one stops first, and the new one takes a second to answer.
    stage.write("web.yaml", &version("two", "port: 8080"));
    let second = until_decided(&berth, 2, RevisionOutcome::Succeeded).await;
    assert_eq!(second.order, Some(RolloutOrder::StopFirst));
    let down = second.downtime_ms.expect("the downtime is known");
    assert!((900..60_000).contains(&down), "{down} ms");
    let took = second.finished.unwrap().since(second.started).as_millis();
    assert!(u128::from(down) <= took + 1_000, "{down} ms of {took} ms");
    // One that never answers, for two seconds and more.
    let sick = tiny("web", "[sleep, \"3600\"]", "port: 8080\nhealth: {tcp: 8080, startPeriod: 2s}");
    stage.write("web.yaml", &sick);
    let third = until_decided(&berth, 3, RevisionOutcome::Restored).await;
    let down = third.downtime_ms.expect("the downtime is known");
    assert!((2_900..90_000).contains(&down), "{down} ms");
    assert!(third.message.unwrap().contains("did not pass within 2s"));
    berth.until_said("web", Phase::Degraded, Reason::RolledBack).await;
    // Without a host port nothing needs to stop before the new one answers.
    stage.write("web.yaml", &version("four", ""));
    berth.until_running("web").await;
    stage.write("web.yaml", &version("five", ""));
    let fifth = until_decided(&berth, 5, RevisionOutcome::Succeeded).await;
    assert_eq!((fifth.order, fifth.downtime_ms), (Some(RolloutOrder::StartFirst), Some(0)));
}

/// One of the program's verbs: its exit code, and what it wrote.
pub(super) async fn berth(server: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let output = command.env("BERTH_SERVER", server).args(args).output().await.unwrap();
    let (out, err) = (output.stdout, output.stderr);
    let text = [String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()].concat();
    (output.status.code().unwrap(), text)
}

/// Waits for the last rollout; answers the exit code, what was said, and what the app serves.
async fn after(stage: &Stage, server: &str) -> (i32, String, String) {
    let (code, said) = berth(server, &["rollout", "status", "web", "-w"]).await;
    let all = stage.containers("web");
    // Between two versions that can't run together there is none.
    let ports = all.iter().find(|seen| seen.is_running());
    let port = ports.and_then(|seen| {
        seen.0["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"].as_str()?.parse().ok()
    });
    let served = match port {
        Some(port) => get(port, "/").await.unwrap_or_default(),
        None => String::new(),
    };
    (code, said, served)
}

async fn up(stage: &Stage) -> (Program, String) {
    let mut program = Program::start(stage);
    let address = program.address().await;
    (program, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_by_the_command_line_lasts_until_the_manifest_changes() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    stage.write("web.yaml", &version("one", "port: 8080"));
    let (mut program, server) = up(&stage).await;
    let wait = ["wait", "web", "--timeout", "60s"];
    assert_eq!(berth(&server, &wait).await.0, 0);
    assert_eq!(after(&stage, &server).await.0, 0);
    stage.write("web.yaml", &version("two", "port: 8080\nenv: {COLOUR: blue}"));
    let mut served = String::new();
    for _ in 0..200 {
        served = after(&stage, &server).await.2;
        if served.ends_with("two\n") {
            break;
        }
    }
    assert!(served.ends_with("two\n"), "{served}");

    let (code, said) = berth(&server, &["rollout", "undo", "app/web"]).await;
    assert!(code == 0 && said.contains("going back to revision 1"), "{code} {said}");
    let back = async |server: String| {
        for _ in 0..200 {
            let (code, said, served) = after(&stage, &server).await;
            if code == 0 && served.ends_with("one\n") {
                return said;
            }
        }
        panic!("version one never came back: {:?}", after(&stage, &server).await);
    };
    let said = back(server.clone()).await;
    assert!(said.contains("held at revision 1 by `berth rollout undo`"), "{said}");
    let (code, history) = berth(&server, &["rollout", "history", "web", "-o", "json"]).await;
    let history: Value = serde_json::from_str(&history).unwrap();
    let items = history["items"].as_array().unwrap();
    assert_eq!((code, items.len(), &history["held"]["revision"]), (0, 3, &1.into()));
    assert_eq!((&items[2]["by"], &items[2]["again"]), (&"undo".into(), &1.into()));
    assert!(items[2]["downtimeMs"].as_u64().unwrap() >= 900, "{}", items[2]);
    let (code, said) = berth(&server, &["rollout", "undo", "web", "--to-revision", "99"]).await;
    assert!(
        code == 3 && said.contains("the images of these revisions are there: 1, 2, 3"),
        "{said}"
    );

    // As a power cut does, once what was asked for is on the disk.
    program.kill().await;
    let life = stage.container("web").life();
    let (mut program, server) = up(&stage).await;
    let said = back(server.clone()).await;
    assert!(said.contains("held at revision 1"), "{said}");
    assert_eq!(stage.container("web").life(), life, "nothing was done");

    stage.write("web.yaml", &version("three", "port: 8080"));
    let mut said = (0, String::new(), String::new());
    for _ in 0..200 {
        said = after(&stage, &server).await;
        if said.2.ends_with("three\n") {
            break;
        }
    }
    assert!(said.2.ends_with("three\n") && !said.1.contains("held"), "{said:?}");
    assert!(program.stop().await);
}
