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
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Settings, patience::Patient};

/// How many headers a request may have.
const HEADERS_MAX: usize = 64;
/// How much of a request is kept in memory while its head is read.
const BUFFER_MAX: usize = 64 * 1024;
/// How long a write may get nowhere.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be taken, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections the socket of this machine may have: it is never crowded out by others.
const LOCAL_MAX: usize = 32;
/// How long a client that is turned away is listened to.
const TURN_AWAY: Duration = Duration::from_secs(1);
const TURNED_AWAY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 195\r\n\r\n{\"type\":\"urn:berth:problem:server.too-many-connections\",\"title\":\"Too many connections\",\"status\":429,\"detail\":\"this address has as many connections as it may\",\"code\":\"server.too-many-connections\"}";

/// Whose connection a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// The user and group of its process, when it came by the socket.
    pub(super) user: Option<(u32, u32)>,
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Crowd(Mutex<BTreeMap<IpAddr, usize>>);

/// A connection's place in the crowd.
struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// A place for one more connection of `address`, when it has fewer than `max`.
    fn seat(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Seat> {
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
struct Hall {
    router: Router,
    settings: Settings,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// Serves until `stop`, and a moment longer what is under way then.
pub(super) async fn serve(
    listener: TcpListener,
    socket: Option<UnixListener>,
    router: Router,
    settings: &Settings,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let settings = settings.clone();
    let hall = Hall { router, settings, stop: stop.clone(), connections: connections.clone() };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept_all(&listener, &hall) => {}
        () = accept_local(socket.as_ref(), &hall) => {}
    }
    drop((listener, socket));
    connections.close();
    connections.wait().await;
}

async fn accept_all(listener: &TcpListener, hall: &Hall) {
    let slots = Arc::new(Semaphore::new(hall.settings.connections_max));
    let crowd = Arc::new(Crowd::default());
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Some((stream, address)) = accepted(listener.accept().await).await else { continue };
        let peer = Peer { address: address.ip().to_canonical(), user: None };
        let is_trusted = hall.settings.access.proxy.trusts(peer.address);
        let max = hall.settings.connections_per_address.filter(|_| !is_trusted);
        let seat = max.map(|max| crowd.seat(peer.address, max));
        if let Some(None) = seat {
            hall.connections.spawn(async move {
                turn_away(stream).await;
                drop(slot);
            });
            continue;
        }
        let _ = stream.set_nodelay(true);
        let served = connection((stream, peer), hall.clone());
        hall.connections.spawn(async move {
            served.await;
            drop((slot, seat));
        });
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
        let served = connection((stream, Peer { address, user: Some(user) }), hall.clone());
        hall.connections.spawn(async move {
            served.await;
            drop(slot);
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

/// Says that there are too many, in a few bytes that fit into any send buffer.
async fn turn_away(mut stream: TcpStream) {
    let saying = async {
        let _ = stream.write_all(TURNED_AWAY).await;
        let _ = stream.shutdown().await;
        // Closed with bytes unread, the answer would be lost on the way.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(TURN_AWAY, saying).await;
}

async fn connection<S>((stream, peer): (S, Peer), hall: Hall)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Hall { router, settings, stop, .. } = hall;
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_PATIENCE)), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(settings.drain_timeout, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
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
    fn the_answer_to_those_turned_away_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TURNED_AWAY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 429);
    }
}
