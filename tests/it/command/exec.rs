//! `berth exec`, on pipes and on a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Child, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::desk::Desk;

#[test]
fn a_command_runs_and_its_code_is_this_ones() {
    let desk = Desk::start();
    let hello = desk.run(&["exec", "chat", "--", "echo", "hello", "there"]);
    assert_eq!((hello.code, hello.out.as_str(), hello.err.as_str()), (0, "hello there\n", ""));
    let wrong = desk.run(&["exec", "app/chat", "--", "sh", "-c", "echo wrong >&2"]);
    assert_eq!((wrong.code, wrong.out.as_str(), wrong.err.as_str()), (0, "", "wrong\n"));
    for code in [1, 3, 125, 255] {
        let ended = desk.run(&["exec", "chat", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (code, "", ""));
    }
    let unknown = desk.run(&["exec", "-T", "chat", "--", "no-such-thing"]);
    assert_eq!(unknown.code, 127, "{unknown:?}");
}

#[test]
fn what_did_not_run_is_told_apart_from_what_did() {
    let desk = Desk::start();
    let nobody = desk.run(&["exec", "nobody", "--", "true"]);
    assert_eq!(nobody.code, 125, "{nobody:?}");
    assert!(nobody.err.contains("error[app.not-found]"), "{nobody:?}");
    assert_eq!(desk.run(&["stop", "chat"]).code, 0);
    desk.until("it is stopped", |desk| desk.run(&["status", "chat"]).code == 1);
    desk.until("there is nothing to get into", |desk| {
        let stopped = desk.run(&["exec", "chat", "--", "true"]);
        stopped.code == 125 && stopped.err.contains("error[app.not-running]")
    });
    let piped = desk.run(&["exec", "-t", "chat", "--", "true"]);
    assert_eq!(piped.code, 125, "{piped:?}");
    assert!(piped.err.contains("the input is not a terminal"), "{piped:?}");
    assert_eq!(desk.run(&["exec", "-t", "-T", "chat"]).code, 2);
}

/// Runs `berth exec` with pipes to it.
fn piped(desk: &Desk, args: &[&str]) -> Child {
    desk.command(args).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_pipe_is_handed_on_to_its_end() {
    let desk = Desk::start();
    let text = (0..30_000).map(|nth| format!("line {nth}\n")).collect::<Vec<_>>().concat();
    let mut child = piped(&desk, &["exec", "-i", "chat", "--", "cat"]);
    let (mut input, sent) = (child.stdin.take().unwrap(), text.clone());
    let sending = std::thread::spawn(move || input.write_all(sent.as_bytes()));
    let output = child.wait_with_output().unwrap();
    sending.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == text.as_bytes(), "{} of {}", output.stdout.len(), text.len());
    // A loop's own list is left alone.
    let mut child = piped(&desk, &["exec", "--no-stdin", "chat", "--", "cat"]);
    let input = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

/// A terminal of 24 by 80, with `berth exec` on it.
struct Seat {
    master: File,
    slave: File,
    child: Child,
    seen: String,
}

impl Seat {
    fn take(desk: &Desk, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let seat = |slave: &File| Stdio::from(slave.try_clone().unwrap());
        tcsetwinsize(&slave, size(24, 80)).unwrap();
        let mut command = desk.command(args);
        command.stdin(seat(&slave)).stdout(seat(&slave)).stderr(seat(&slave));
        let child = command.spawn().unwrap();
        Self { master: File::from(master), slave, child, seen: String::new() }
    }

    fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !self.seen.contains(text) {
            let length = self.master.read(&mut piece).unwrap();
            assert!(0 < length, "{text:?} did not come: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    /// What comes of a line that is typed, up to the next prompt.
    fn answer(&mut self, line: &str) -> String {
        self.seen.clear();
        self.master.write_all(format!("{line}\r").as_bytes()).unwrap();
        self.until("$ ");
        self.seen.clone()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_terminal_is_handed_over_whole_and_given_back_as_it_was() {
    let desk = Desk::start();
    let mut seat = Seat::take(&desk, &["exec", "-it", "chat"]);
    seat.until("$ ");
    assert!(seat.is_raw(), "every key goes to the command");
    assert!(seat.answer("stty size").contains("24 80\r\n"), "{:?}", seat.seen);
    // An interrupt is the command's, not this program's.
    seat.master.write_all(b"half\x03").unwrap();
    seat.until("^C\r\n$ ");
    tcsetwinsize(&seat.slave, size(50, 132)).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&seat.child),
        rustix::process::Signal::WINCH,
    )
    .unwrap();
    // The new size is on its way beside what is typed.
    let is_new = (0..100).any(|_| seat.answer("stty size").contains("50 132\r\n"));
    assert!(is_new, "{:?}", seat.seen);
    seat.master.write_all(b"exit 9\r").unwrap();
    assert_eq!(seat.child.wait().unwrap().code(), Some(9));
    assert!(!seat.is_raw(), "the terminal is as it was");
}

#[test]
fn who_is_told_to_end_gives_the_terminal_back() {
    let desk = Desk::start();
    let mut seat = Seat::take(&desk, &["exec", "chat"]);
    seat.until("$ ");
    let pid = rustix::process::Pid::from_child(&seat.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(seat.child.wait().unwrap().code(), Some(143));
    assert!(!seat.is_raw(), "the terminal is as it was");
}

#[test]
fn silence_is_said_and_no_code_is_made_up() {
    let desk = Desk::with(&["--terminal-idle-timeout", "1s"]);
    desk.write("chat.yaml", super::desk::CHAT);
    assert_eq!(desk.run(&["apply", "-f", "chat.yaml"]).code, 0);
    desk.settle("chat");
    let ended = desk.run(&["exec", "chat", "--", "sleep", "60"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.err.contains("error[terminal.idle]"), "{ended:?}");
}
