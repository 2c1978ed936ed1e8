//! What systemd is told: that Berth is up, that it still is, and that it ends. Without systemd,
//! nothing is done.
//!
//! The protocol is one datagram with `NAME=value` lines to the socket in `NOTIFY_SOCKET`.

use std::{
    ffi::OsStr,
    io,
    os::linux::net::SocketAddrExt as _,
    os::unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::record::Record;

/// Tells the service manager that started this process, if there is one.
pub(super) fn begin(record: Arc<Record>, resync: Duration, stop: &CancellationToken) {
    if let Some(manager) = Manager::of_process() {
        tokio::spawn(manager.follow(record, resync, stop.clone()));
    }
}

/// The service manager that started this process.
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often it wants to hear from us; none is never.
    every: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    fn of_process() -> Option<Self> {
        let said = |name: &str| std::env::var(name).ok();
        let pid = said("WATCHDOG_PID").and_then(|pid| pid.parse::<u32>().ok());
        let is_ours = pid.is_none_or(|pid| pid == std::process::id());
        let period = said("WATCHDOG_USEC").filter(|_| is_ours);
        Self::at(&std::env::var_os("NOTIFY_SOCKET")?, period.as_deref())
    }

    fn at(socket: &OsStr, period: Option<&str>) -> Option<Self> {
        let address = match address(socket) {
            Ok(address) => address,
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET can't be used; systemd is told nothing");
                return None;
            }
        };
        let period = period.and_then(|text| text.parse().ok()).map(Duration::from_micros);
        // Half of it, so that one that is late does not count.
        let every = period.filter(|period| !period.is_zero()).map(|period| period / 2);
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, address, every })
    }

    /// Tells it something. A manager that does not listen keeps nobody from working.
    pub(super) fn tell(&self, text: &str) {
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.address) {
            tracing::debug!(%error, "systemd was not told");
        }
    }

    /// Says that it is up, then that it still is for as long as the controller moves and does what it
    /// is there for, and at its end that it ends.
    async fn follow(self, record: Arc<Record>, resync: Duration, stop: CancellationToken) {
        self.tell("READY=1\nSTATUS=running");
        let mut last = 0;
        let never = Duration::from_hours(24);
        let mut beat = tokio::time::interval(self.every.unwrap_or(never));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => {
                    let moves = record.moves();
                    let silence = record.stuck(resync);
                    if let Some(silence) = silence {
                        tracing::error!(?silence, "the controller is stuck; systemd hears nothing more");
                    }
                    if self.every.is_some() && moves != last && silence.is_none() {
                        self.tell("WATCHDOG=1");
                    }
                    last = moves;
                }
            }
        }
        self.tell("STOPPING=1\nSTATUS=stopping; the apps go on running");
    }
}

/// A path, or a name without a file when it begins with `@`.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::other("it is neither a path nor an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Beat;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 128];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// A controller that stands still is one that systemd starts anew, though the rest still moves.
    #[tokio::test(start_paused = true)]
    async fn it_beats_while_the_controller_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = Manager::at(path.as_os_str(), Some("60000000")).unwrap();
        assert_eq!(manager.every, Some(Duration::from_secs(30)));
        let (record, stop) = (Arc::new(Record::default()), CancellationToken::new());
        let resync = Duration::from_secs(30);
        let following = tokio::spawn(manager.follow(Arc::clone(&record), resync, stop.clone()));
        let passes = || tokio::time::sleep(Duration::from_secs(31));
        passes().await;
        assert_eq!(heard(&socket).as_deref(), Some("READY=1\nSTATUS=running"));
        assert_eq!(heard(&socket), None);
        for _ in 0..3 {
            record.moved();
            passes().await;
            assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"));
            passes().await;
            assert_eq!(heard(&socket), None);
        }
        // What ticks beside a controller that does nothing is no sign of life.
        record.beat(Beat::Turn);
        for nth in 0..6 {
            record.moved();
            record.beat(Beat::Look);
            passes().await;
            let expected = (nth < 4).then_some("WATCHDOG=1");
            assert_eq!(heard(&socket).as_deref(), expected, "{nth}");
        }
        stop.cancel();
        following.await.unwrap();
        assert!(heard(&socket).unwrap().starts_with("STOPPING=1\n"));
        assert!(Manager::at(OsStr::new("manager"), None).is_none());
    }
}
