//! `berth exec`, on pipes and on a terminal.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::desk::{CHAT, Desk};
use crate::authority::{Authority, USUAL};

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
    begin(&desk);
    let ended = desk.run(&["exec", "chat", "--", "sleep", "60"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.err.contains("error[terminal.idle]"), "{ended:?}");
}

/// Has the app `chat` run.
fn begin(desk: &Desk) {
    desk.write("chat.yaml", CHAT);
    assert_eq!(desk.run(&["apply", "-f", "chat.yaml"]).code, 0);
    desk.settle("chat");
}

/// Where the desk's Berth says that it listens.
fn address(desk: &Desk) -> String {
    let log = desk.read("log");
    let address = log.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    address.trim_matches('"').trim_end_matches('/').to_owned()
}

/// What goes through a terminal that is reached in this way: codes, both outputs, a long pipe, and a
/// whole shell with keys.
fn is_got_by(desk: &Desk, way: &[&str]) {
    let with = |args: &[&'static str]| [way, &["exec"], args].concat();
    let both = desk.run(&with(&["chat", "--", "sh", "-c", "echo wrong >&2"]));
    assert_eq!((both.code, both.out.as_str(), both.err.as_str()), (0, "", "wrong\n"), "{way:?}");
    let ended = desk.run(&with(&["chat", "--", "sh", "-c", "exit 7"]));
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (7, "", ""), "{way:?}");
    let text = "0123456789abcde\n".repeat(40_000);
    let mut child = piped(desk, &with(&["-i", "chat", "--", "cat"]));
    let (mut input, sent) = (child.stdin.take().unwrap(), text.clone());
    let sending = std::thread::spawn(move || input.write_all(sent.as_bytes()));
    let output = child.wait_with_output().unwrap();
    sending.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == text.as_bytes(), "{way:?}");
    let mut seat = Seat::take(desk, &with(&["-it", "chat"]));
    seat.until("$ ");
    assert!(seat.is_raw() && seat.answer("stty size").contains("24 80\r\n"), "{:?}", seat.seen);
    seat.master.write_all(b"exit 9\r").unwrap();
    assert_eq!(seat.child.wait().unwrap().code(), Some(9), "{way:?}");
    assert!(!seat.is_raw(), "{way:?}: the terminal is as it was");
}

#[test]
fn a_terminal_is_got_by_the_socket_and_by_http() {
    let desk = Desk::start();
    let (socket, plain) = (desk.path("state/berth.sock"), address(&desk));
    assert!(plain.starts_with("http://127.0.0.1:"), "{plain}");
    is_got_by(&desk, &["--server", &format!("unix://{}", socket.display())]);
    is_got_by(&desk, &["--server", &plain]);
    // Where nobody says, it is the socket.
    is_got_by(&desk, &[]);
    let nowhere = desk.path("no.sock");
    let nowhere = format!("unix://{}", nowhere.display());
    let gone = desk.run(&["--server", &nowhere, "exec", "chat", "--", "true"]);
    assert_eq!(gone.code, 125, "{gone:?}");
    assert!(gone.err.contains("no Berth answers at the socket"), "{gone:?}");
    let wrong = desk.run(&["--server", "unix://no.sock", "exec", "chat", "--", "true"]);
    assert!(wrong.err.contains("is not the address of a Berth"), "{wrong:?}");
}

/// A controller whose certificate a private authority has signed.
#[test]
fn a_terminal_is_got_by_https_from_whom_is_believed_and_from_nobody_else() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new("the house's");
    let (certificate, key) = authority.pair(2, USUAL);
    fs::write(at("cert.pem"), certificate).unwrap();
    fs::write(at("key.pem"), key).unwrap();
    fs::set_permissions(at("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("root.pem"), authority.pem()).unwrap();
    fs::write(at("strange.pem"), Authority::new("a stranger's").pem()).unwrap();
    let desk = Desk::with(&["--tls-cert", &at("cert.pem"), "--tls-key", &at("key.pem")]);
    begin(&desk);
    let secure = address(&desk);
    assert!(secure.starts_with("https://127.0.0.1:"), "{secure}");
    is_got_by(&desk, &["--tls-ca", &at("root.pem"), "--server", &secure]);
    let (root, strange) = (at("root.pem"), at("strange.pem"));
    for (way, said) in [
        (&["--tls-ca", &strange, "--server", &secure][..], "does not lead to one in"),
        (&["--server", &secure][..], "--tls-fingerprint"),
        (&["--tls-ca", &root, "--server", &secure.replace("https", "http")][..], "https"),
    ] {
        let refused = desk.run(&[way, &["exec", "chat", "--", "true"]].concat());
        assert_eq!((refused.code, refused.out.as_str()), (125, ""), "{refused:?}");
        assert!(refused.err.contains(said), "{said}: {refused:?}");
    }
}
