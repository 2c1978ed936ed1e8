//! How a terminal ends that does not end by itself, on the fake engine and on a real one.

use std::time::Duration;

use berth::engine::Deed;
use serde_json::{Value, json};

use super::{Bench, Hall, PATIENCE, shell};

macro_rules! on_both {
    ($($name:ident;)*) => {
        mod fake {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::fake()).await; })*
        }
        mod docker {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::docker().await).await; })*
        }
    };
}

on_both! {
    silence_ends_a_terminal_and_its_command;
    a_client_that_leaves_takes_its_command_along;
    berths_stop_ends_a_terminal_at_once;
    a_container_that_goes_takes_its_terminal_along;
}

/// A command that would go on for long.
fn endless() -> Value {
    json!({ "command": ["sleep", "4711"], "tty": false })
}

impl Hall {
    /// Waits until the processes of a command have been told, and are gone.
    async fn until_hung_up(&self) {
        match self.bench.as_fake() {
            Some(fake) => assert_eq!(fake.hung_up().values().sum::<u64>(), 1),
            None => self.until_gone("sleep 4711").await,
        }
    }
}

async fn silence_ends_a_terminal_and_its_command(bench: Bench) {
    let hall = Hall::new(bench, |settings| {
        settings.terminal_idle = Duration::from_millis(400);
    })
    .await;
    let mut line = hall.line(&endless()).await;
    let end = line.end().await;
    assert_eq!((&end["status"], &end["reason"]), (&json!("Failure"), &json!("terminal.idle")));
    let record = hall.ended().await;
    assert_eq!(
        (&record["outcome"], &record["after"]["hungUp"]),
        (&json!("terminal.idle"), &json!(true))
    );
    hall.until_hung_up().await;
}

async fn a_client_that_leaves_takes_its_command_along(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let line = hall.line(&endless()).await;
    drop(line);
    let record = hall.ended().await;
    assert_eq!(
        (&record["outcome"], &record["after"]["end"]),
        (&json!("done"), &json!("the client left"))
    );
    hall.until_hung_up().await;
}

async fn berths_stop_ends_a_terminal_at_once(bench: Bench) {
    let mut hall = Hall::usual(bench).await;
    let mut line = hall.line(&shell(true)).await;
    line.send("echo here\r").await;
    line.until("here\r\n").await;
    let stopped = tokio::time::Instant::now();
    hall.stage.stop.cancel();
    assert_eq!(line.end().await["reason"], "server.stopping");
    let served = tokio::time::timeout(PATIENCE, &mut hall.stage.served).await;
    served.expect("it does not stop").unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    // Nobody answers any more; the log is there.
    let (records, _) = berth::audit::page(hall.state.path(), None, 100, |_| true).unwrap();
    let record = records.iter().find(|record| record.deed.action == "terminal ended").unwrap();
    assert_eq!(record.deed.outcome, "server.stopping");
}

async fn a_container_that_goes_takes_its_terminal_along(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut line = hall.line(&shell(true)).await;
    line.send("echo here\r").await;
    line.until("here\r\n").await;
    hall.bench.hands.act(&hall.container, Deed::Remove).await.unwrap();
    let end = line.end().await;
    let is_gone = end["reason"] == "terminal.gone";
    assert!(is_gone || end["details"]["causes"][0]["message"] == "137", "{end}");
}

/// Whoever may not have a terminal any more does not keep one either.
#[tokio::test]
async fn a_revoked_token_ends_its_terminals() {
    let hall = Hall::new(Bench::fake(), |settings| {
        settings.keep_alive = Duration::from_millis(100);
    })
    .await;
    let mut line = hall.line(&endless()).await;
    hall.tokens.revoke("shaker").unwrap();
    // Somebody else's changes nothing: it is asked whether the client is there, and goes on.
    let calm = tokio::time::timeout(Duration::from_millis(600), line.output.next()).await;
    assert!(calm.is_err(), "{calm:?}");
    hall.tokens.revoke("mover").unwrap();
    assert_eq!(line.end().await["reason"], "terminal.denied");
}

async fn unclear(hall: &Hall, message: &[u8]) -> Value {
    let mut line = hall.line(&endless()).await;
    line.input.as_mut().unwrap().send_as(message[0], &message[1..]).await.unwrap();
    line.end().await
}

/// A message that is none ends the terminal, not the server.
#[tokio::test]
async fn what_a_client_must_not_say_is_said_to_be_wrong() {
    let hall = Hall::usual(Bench::fake()).await;
    for message in [&b"\x01x"[..], b"\x04{}", b"\x07", b"\xff\x02"] {
        assert_eq!(unclear(&hall, message).await["reason"], "terminal.unclear", "{message:?}");
    }
    let mut line = hall.line(&shell(false)).await;
    line.send("exit 5\n").await;
    assert_eq!(line.code().await, "5");
}
