//! A terminal of a chosen width, and what a command writes to it.

use std::{fs::OpenOptions, io::Read as _, process::Command, process::Stdio};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Runs a command on a terminal; answers its exit code and all that it wrote.
pub(super) fn on_terminal(command: &mut Command, width: u16) -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    command.env("TERM", "xterm-256color");
    command.stdin(Stdio::from(slave.try_clone().unwrap()));
    command.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave));
    let mut child = command.spawn().unwrap();
    // Ours are closed: the terminal ends with the child's.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut master = std::fs::File::from(master);
    let (mut seen, mut piece) = (Vec::new(), [0_u8; 4096]);
    while let Ok(count @ 1..) = master.read(&mut piece) {
        seen.extend_from_slice(&piece[..count]);
    }
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (code, String::from_utf8(seen).unwrap().replace("\r\n", "\n"))
}
