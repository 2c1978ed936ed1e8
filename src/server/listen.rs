//! The accept loops: bounded connections, bounded waits, and an end that does not hang.
//!
//! The framework's own loop sets no timer and no limits, so this one drives the protocol itself.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Settings,
    direct::Direct,
    patience::Patient,
    protocol,
    tls::{self, DENIED, End},
};
use crate::telemetry::Metrics;

/// How long to wait when no connection can be taken, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections the socket of this machine may have: it is never crowded out by others.
const LOCAL_MAX: usize = 32;
/// How many clients are told at once that there is no room.
const TURNED_AWAY_MAX: usize = 64;
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 165\r\n\r\n{\"type\":\"urn:berth:problem:server.full\",\"title\":\"No room\",\"status\":503,\"detail\":\"as many connections are open as may be; try again in a moment\",\"code\":\"server.full\"}";
const TURNED_AWAY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 195\r\n\r\n{\"type\":\"urn:berth:problem:server.too-many-connections\",\"title\":\"Too many connections\",\"status\":429,\"detail\":\"this address has as many connections as it may\",\"code\":\"server.too-many-connections\"}";

/// Whose connection a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// The user and group of its process, when it came by the socket.
    pub(super) user: Option<(u32, u32)>,
    /// Whether it is encrypted as far as this machine.
    pub(super) is_tls: bool,
}

/// How many of something each address has.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<BTreeMap<IpAddr, usize>>);

/// A place in the crowd.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// A place for one more of `address`, when it has fewer than `max`.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if max <= *count {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: Arc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What all connections share.
#[derive(Clone)]
pub(super) struct Hall {
    pub(super) router: Router,
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<End>>,
    pub(super) stop: CancellationToken,
    /// Requests by connections that carry many of them: in all, and of each address.
    pub(super) requests: (Arc<Semaphore>, Arc<Crowd>),
    connections: TaskTracker,
}

/// How a client is turned away before anything is known of it.
#[derive(Clone, Copy)]
enum NoRoom {
    /// Its address has as many connections as it may.
    Address,
    /// There are as many connections as may be.
    Full,
}

impl Hall {
    pub(super) fn new(
        router: Router,
        settings: &Settings,
        metrics: Arc<Metrics>,
        tls: Option<Arc<End>>,
        stop: CancellationToken,
    ) -> Self {
        let settings = Arc::new(settings.clone());
        let requests = (Arc::new(Semaphore::new(protocol::REQUESTS_MAX)), Arc::default());
        let connections = TaskTracker::new();
        Self { router, settings, metrics, tls, stop, requests, connections }
    }

    /// Serves until it is told to stop, and a moment longer what is under way then.
    pub(super) async fn serve(self, listener: TcpListener, socket: Option<UnixListener>) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = accept_all(&listener, &self) => {}
            () = accept_local(socket.as_ref(), &self) => {}
        }
        drop((listener, socket));
        self.connections.close();
        self.connections.wait().await;
    }

    /// Begins a connection that was accepted.
    async fn greet(self, stream: TcpStream, mut peer: Peer) {
        let patience = self.settings.write_patience;
        let Some(tls) = self.tls.clone() else {
            let _open = self.metrics.door().open("plain");
            return protocol::http1(Patient::new(Direct::new(stream), patience), peer, self).await;
        };
        let _open = self.metrics.door().open("tls");
        let stop = self.stop.clone();
        let shaken = tokio::select! {
            () = stop.cancelled() => return,
            shaken = tls.accept(stream, (self.settings.header_timeout, patience)) => shaken,
        };
        match shaken {
            Ok(secured) => {
                peer.is_tls = true;
                if secured.is_http2 {
                    protocol::http2(secured.stream, peer, self).await;
                } else {
                    protocol::http1(secured.stream, peer, self).await;
                }
            }
            Err(reason) => self.metrics.door().turned_away(reason),
        }
    }

    /// Says that there is no room. Where TLS is spoken, an alert says it: shaking hands to say it
    /// better would cost more than to serve.
    fn turn_away(&self, mut stream: TcpStream, why: NoRoom, few: &Arc<Semaphore>) {
        self.metrics.door().turned_away(match why {
            NoRoom::Address => "address",
            NoRoom::Full => "full",
        });
        let said = match why {
            _ if self.tls.is_some() => DENIED,
            NoRoom::Address => TURNED_AWAY,
            NoRoom::Full => FULL,
        };
        // So many are told that nobody can be told more: those are just hung up on.
        let Ok(place) = Arc::clone(few).try_acquire_owned() else { return };
        self.connections.spawn(async move {
            tls::say(&mut stream, said).await;
            drop(place);
        });
    }
}

async fn accept_all(listener: &TcpListener, hall: &Hall) {
    let slots = Arc::new(Semaphore::new(hall.settings.connections_max));
    let few = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let crowd = Arc::new(Crowd::default());
    loop {
        let Some((stream, address)) = accepted(listener.accept().await).await else { continue };
        let address = address.ip().to_canonical();
        match room(hall, address, (&slots, &crowd)) {
            Ok(place) => {
                let _ = stream.set_nodelay(true);
                let peer = Peer { address, user: None, is_tls: false };
                let served = hall.clone().greet(stream, peer);
                hall.connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(why) => hall.turn_away(stream, why, &few),
        }
    }
}

/// A place for one more connection of an address.
fn room(
    hall: &Hall,
    address: IpAddr,
    (slots, crowd): (&Arc<Semaphore>, &Arc<Crowd>),
) -> Result<(OwnedSemaphorePermit, Option<Seat>), NoRoom> {
    let seat = match hall.most(address) {
        Some(max) => Some(crowd.seat(address, max).ok_or(NoRoom::Address)?),
        None => None,
    };
    let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| NoRoom::Full)?;
    Ok((slot, seat))
}

impl Hall {
    /// How many connections an address may have, if that is limited.
    pub(super) fn most(&self, address: IpAddr) -> Option<usize> {
        let is_trusted = self.settings.access.proxy.trusts(address);
        self.settings.connections_per_address.filter(|_| !is_trusted)
    }
}

async fn accept_local(socket: Option<&UnixListener>, hall: &Hall) {
    let Some(socket) = socket else { return std::future::pending().await };
    let slots = Arc::new(Semaphore::new(LOCAL_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(socket.accept().await).await else { continue };
        let Some(user) = user(&stream) else { continue };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer = Peer { address, user: Some(user), is_tls: false };
        let stream = Patient::new(stream, hall.settings.write_patience);
        let open = hall.metrics.door().open("socket");
        let served = protocol::http1(stream, peer, hall.clone());
        hall.connections.spawn(async move {
            served.await;
            drop((slot, open));
        });
    }
}

/// Who is at the other end, as the kernel says (`SO_PEERCRED`).
fn user(stream: &UnixStream) -> Option<(u32, u32)> {
    match stream.peer_cred() {
        Ok(peer) => Some((peer.uid(), peer.gid())),
        Err(error) => {
            tracing::warn!(%error, "nobody knows who is at the other end of the socket");
            None
        }
    }
}

/// A connection that was accepted; when it was not, that after a pause.
async fn accepted<T>(accepted: std::io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_seats_and_gets_them_back() {
        let crowd = Arc::new(Crowd::default());
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let seats: Vec<_> = (0..5).filter_map(|_| crowd.seat(one, 3)).collect();
        assert_eq!(seats.len(), 3);
        assert!(crowd.seat(two, 3).is_some(), "others are not held up");
        drop(seats);
        assert!(crowd.seat(one, 3).is_some());
        assert!(crowd.0.lock().unwrap().is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn the_answers_to_those_turned_away_are_as_long_as_they_say() {
        for (said, status) in [(TURNED_AWAY, 429), (FULL, 503)] {
            let text = std::str::from_utf8(said).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"], status);
        }
    }
}
