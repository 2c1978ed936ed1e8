//! What goes through a terminal, on the fake engine and on a real one.

use serde_json::json;

use super::{Bench, Hall, shell};

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
    a_shell_is_talked_with_and_its_code_comes_through;
    both_outputs_are_told_apart;
    what_is_piped_in_comes_out_whole;
    a_terminal_has_the_size_that_it_is_given;
    without_a_command_there_is_a_shell;
    what_is_not_there_can_not_be_run;
}

async fn a_shell_is_talked_with_and_its_code_comes_through(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut line = hall.line(&shell(false)).await;
    line.send("echo hello there\n").await;
    line.until("hello there\n").await;
    line.send("exit 3\n").await;
    assert_eq!(line.code().await, "3");
    let end = hall.ended().await;
    assert_eq!((&end["object"], &end["who"]["name"]), (&json!("app/chat"), &json!("mover")));
    assert_eq!((&end["outcome"], &end["after"]["exitCode"]), (&json!("done"), &json!(3)));
    assert_eq!(end["after"]["bytesIn"], "echo hello there\nexit 3\n".len());
    assert_eq!(end["after"]["bytesOut"], "hello there\n".len());
    let asked = hall
        .audit()
        .await
        .into_iter()
        .find(|one| one["action"] == "POST /api/v1/apps/{name}/terminal");
    let asked = asked.expect("it is recorded who asked");
    assert_eq!(asked["after"]["command"], json!(["sh"]));
    assert_eq!(asked["after"]["terminal"], end["after"]["terminal"]);
    assert!(asked["from"].as_str().unwrap().starts_with("127."));
}

async fn both_outputs_are_told_apart(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let order = json!({ "command": ["sh", "-c", "echo wrong >&2"], "tty": false });
    let mut line = hall.line(&order).await;
    assert_eq!(line.code().await, "0");
    assert_eq!((line.seen.as_str(), line.wrong.as_str()), ("", "wrong\n"));
}

async fn what_is_piped_in_comes_out_whole(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut line = hall.line(&json!({ "command": ["cat"], "tty": false })).await;
    let text = (0..40_000).map(|nth| format!("line {nth}\n")).collect::<Vec<_>>().concat();
    let mut input = line.input.take().unwrap();
    let sent = text.clone();
    let sending = tokio::spawn(async move {
        input.send(sent.as_bytes()).await.unwrap();
        input.end_input().await.unwrap();
        input
    });
    assert_eq!(line.code().await, "0");
    assert!(line.seen == text, "{} bytes of {} came", line.seen.len(), text.len());
    sending.await.unwrap();
}

async fn a_terminal_has_the_size_that_it_is_given(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut order = shell(true);
    (order["cols"], order["rows"]) = (json!(100), json!(30));
    let mut line = hall.line(&order).await;
    line.send("stty size\r").await;
    line.until("30 100\r\n").await;
    line.input.as_mut().unwrap().resize(120, 41).await.unwrap();
    line.send("stty size\r").await;
    line.until("41 120\r\n").await;
    // A terminal's end of input.
    line.input.as_mut().unwrap().end_input().await.unwrap();
    assert_eq!(line.code().await, "0");
}

async fn without_a_command_there_is_a_shell(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut line = hall.line(&json!({})).await;
    line.send("echo one$two\rexit 4\r").await;
    assert_eq!(line.code().await, "4");
    assert!(line.seen.contains("echo one"), "a terminal echoes: {:?}", line.seen);
    let asked = hall.audit().await;
    assert!(asked.iter().any(|one| one["after"]["command"] == "shell"), "{asked:?}");
}

async fn what_is_not_there_can_not_be_run(bench: Bench) {
    let hall = Hall::usual(bench).await;
    let mut line = hall.line(&json!({ "command": ["no-such-thing"], "tty": false })).await;
    let code = line.code().await;
    assert!(["126", "127"].contains(&code.as_str()), "{code}");
    let said = format!("{}{}", line.seen, line.wrong);
    assert!(said.contains("no-such-thing"), "{said}");
}
