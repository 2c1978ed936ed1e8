//! `berth exec`: a command in an app's container, by the controller.
//!
//! The exit code is the command's own; 125 says that there was none, or that its end is not known.

use std::{
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{
    error::{Error, Exit},
    output::Output,
    server::{Server, app_name},
};
use crate::model::AppName;
use crate::server::client::{Input, Opened, Output as Heard, Talk, Told};

/// What is said when the command did not run, or its end is not known, as docker says it.
const NOT_RUN: u8 = 125;
/// How much is read at once, and how many such pieces may wait.
const PIECE: usize = 32 * 1024;
const PIECES_WAITING: usize = 8;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Hand on what is written to this command [default: it is].
    #[arg(short = 'i', long, conflicts_with = "no_stdin")]
    stdin: bool,
    /// Hand nothing on: for loops that read a list themselves.
    #[arg(long)]
    no_stdin: bool,
    /// Give the command a terminal [default: it gets one where this one has one].
    #[arg(short = 't', long, conflicts_with_all = ["no_tty", "no_stdin"])]
    tty: bool,
    /// Give the command no terminal.
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// What to run there, after `--` [default: a shell].
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How the command ended.
enum End {
    Code(i64),
    Failed(String, String),
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    ask(args, server, output).await.map_err(|error| error.with_exit(Exit::Theirs(NOT_RUN)))
}

async fn ask(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let has_both = io::stdin().is_terminal() && io::stdout().is_terminal();
    if args.tty && !io::stdin().is_terminal() {
        return Err(Error::new(Exit::Trouble, "the input is not a terminal")
            .why("`-t` hands this terminal to the command")
            .fix("leave out `-t`, or say `-T`"));
    }
    let has_terminal = args.tty || (has_both && !args.no_tty && !args.no_stdin);
    let mut order = json!({
        "command": args.command,
        "tty": has_terminal,
        "stdin": !args.no_stdin,
    });
    if let Some((columns, rows)) = size().filter(|_| has_terminal) {
        (order["cols"], order["rows"]) = (json!(columns), json!(rows));
    }
    let path = format!("/api/v1/apps/{}/terminal", args.name);
    let content = ("application/json", order.to_string().into_bytes());
    let told = server.post_with(&path, content).await?;
    let path = told["path"].as_str().unwrap_or_default();
    let talk = match server.terminal(path).await? {
        Opened::Talk(talk) => *talk,
        Opened::Refused(answer) => return Err(Error::of_answer(answer.status, &answer.body)),
    };
    let raw = has_terminal.then(Raw::new).transpose()?;
    let ended = follow(talk, !args.no_stdin, has_terminal).await;
    drop(raw);
    match ended? {
        End::Code(code) => Ok(Exit::Theirs(u8::try_from(code & 0xff).unwrap_or(NOT_RUN))),
        End::Failed(code, message) => {
            if has_terminal {
                output.remark("");
            }
            let what = format!("the terminal in `{}` ended: {message}", args.name);
            Err(Error::new(Exit::NotSo, what).code(&code))
        }
    }
}

/// Hands on what is written here and there, until the command ends.
async fn follow(talk: Talk, has_input: bool, has_terminal: bool) -> Result<End, Error> {
    let Talk { input, output } = talk;
    let [mut hangup, mut quit] = [SignalKind::hangup(), SignalKind::terminate()].map(signal);
    let (hangup, quit) = (hangup.as_mut(), quit.as_mut());
    let told = async |signal: Result<&mut Signal, &mut io::Error>| match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        end = hear(output) => end,
        error = speak(input, has_input, has_terminal) => Err(error),
        // The terminal is put back as it was; the controller ends the command.
        () = told(hangup) => Ok(End::Code(129)),
        () = told(quit) => Ok(End::Code(143)),
    }
}

/// Writes what the command writes.
async fn hear(mut output: Heard) -> Result<End, Error> {
    let mut end = None;
    while let Some(told) = output.next().await? {
        match told {
            Told::Out(bytes) => put(&mut io::stdout().lock(), &bytes)?,
            Told::Err(bytes) => put(&mut io::stderr().lock(), &bytes)?,
            Told::End(status) => end = Some(status),
        }
    }
    let lost = || {
        Error::new(
            Exit::Unreachable,
            "the connection broke off; nobody knows how the command ended",
        )
        .fix("`berth audit` says how it ended, once the controller knows")
    };
    end.map(|status| read(&status)).ok_or_else(lost)
}

fn put(to: &mut impl io::Write, bytes: &[u8]) -> Result<(), Error> {
    to.write_all(bytes)?;
    Ok(to.flush()?)
}

/// How a command ended, as a server says it.
fn read(status: &Value) -> End {
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    if text("status") == "Success" {
        return End::Code(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let mut codes = causes.filter(|cause| cause["reason"] == "ExitCode");
    let code = codes.next().and_then(|cause| cause["message"].as_str()?.parse().ok());
    code.map_or_else(|| End::Failed(text("reason"), text("message")), End::Code)
}

/// Hands on what is written here, and how large the terminal is. It ends only when that fails.
async fn speak(mut input: Input, has_input: bool, has_terminal: bool) -> Error {
    let mut pieces = has_input.then(pieces);
    let mut resized = signal(SignalKind::window_change()).ok().filter(|_| has_terminal);
    loop {
        let done = tokio::select! {
            piece = next(&mut pieces) => if let Some(piece) = piece {
                input.send(&piece).await
            } else {
                pieces = None;
                input.end_input().await
            },
            () = changed(&mut resized) => match size() {
                Some((columns, rows)) => input.resize(columns, rows).await,
                None => Ok(()),
            },
        };
        // What is not heard any more has an end, which is about to come.
        if done.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn next(pieces: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match pieces {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

async fn changed(resized: &mut Option<Signal>) {
    match resized {
        Some(resized) => drop(resized.recv().await),
        None => std::future::pending().await,
    }
}

/// What is written to this command, by a thread of its own: a read of a terminal can't be called off,
/// and must not keep this program from its end.
fn pieces() -> mpsc::Receiver<Vec<u8>> {
    let (tell, pieces) = mpsc::channel(PIECES_WAITING);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = io::stdin().lock().read(&mut piece) {
            let Some(read) = piece.get(..length) else { return };
            if tell.blocking_send(read.to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}

/// How large this terminal is.
fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (0 < size.ws_col && 0 < size.ws_row).then_some((size.ws_col, size.ws_row))
}

/// This terminal while every key goes to the command. It is put back as it was when this is dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> Result<Self, Error> {
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw).map_err(io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_as_the_field_writes_it() {
        let code = |status: Value| match read(&status) {
            End::Code(code) => code.to_string(),
            End::Failed(reason, message) => format!("{reason}: {message}"),
        };
        assert_eq!(code(json!({"metadata": {}, "status": "Success"})), "0");
        let causes = json!({"causes": [{"reason": "ExitCode", "message": "3"}]});
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": causes});
        assert_eq!(code(failed), "3");
        let idle = json!({"status": "Failure", "reason": "terminal.idle", "message": "nobody"});
        assert_eq!(code(idle), "terminal.idle: nobody");
    }
}
