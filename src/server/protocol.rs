//! The protocols by which requests come, each with its limits.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::Instant,
};

use super::{
    listen::{Hall, Peer, Seat},
    problem::Problem,
    tls,
    traffic::{Limits, Traffic, Verdict, Watched},
    turn::Turn,
};

/// How many headers a request may have.
const HEADERS_MAX: usize = 64;
/// How much of a request is kept in memory while its head is read.
const BUFFER_MAX: usize = 64 * 1024;
/// The same for HTTP/2, where names, values and 32 bytes for each header count.
const HEAD_MAX: u32 = 64 * 1024;
/// How many requests one HTTP/2 connection may carry at once.
const STREAMS_MAX: u32 = 32;
/// How many requests may be under way by HTTP/2, in all and of one address.
pub(super) const REQUESTS_MAX: usize = 512;
const REQUESTS_PER_ADDRESS: usize = 128;
/// How many requests may be taken back before they were looked at, or by Berth itself.
const RESETS_PENDING_MAX: usize = 20;
const RESETS_OWN_MAX: usize = 64;
/// How much of a body, or of all bodies, may come before it is read; how much of an answer waits.
const WINDOW: u32 = 64 * 1024;
const WINDOW_ALL: u32 = 256 * 1024;
const SEND_MAX: usize = 64 * 1024;
/// How often a client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// Connections are judged so often, and at least four times in the shortest of their limits.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The answer to who takes too long to ask.
const SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 168\r\n\r\n{\"type\":\"urn:berth:problem:request.timeout\",\"title\":\"The request did not arrive\",\"status\":408,\"detail\":\"the head of the request took too long\",\"code\":\"request.timeout\"}";

/// Serves requests one after the other. A request may have the connection become something else.
pub(super) async fn http1<S>(stream: S, peer: Peer, hall: Hall)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let turn = Turn::default();
    let asked = (hall.clone(), turn.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(asked.1.clone());
        answer(asked.0.clone(), peer, request)
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(hall.settings.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = hall.stop.cancelled() => {
            Pin::new(&mut serving).graceful_shutdown();
            let drained = tokio::time::timeout(hall.settings.drain_timeout, &mut serving).await;
            drained.unwrap_or(Ok(()))
        }
    };
    // Whoever has begun to ask is told why nobody answers; who was only silent is hung up on.
    let is_slow = ended.as_ref().is_err_and(is_late_head);
    let taker = turn.taker().filter(|_| ended.is_ok());
    note_end(&hall, ended);
    let parts = serving.into_parts();
    if let Some(taker) = taker {
        return taker(Box::new(parts.io.into_inner()), parts.read_buf.to_vec()).await;
    }
    if is_slow && !parts.read_buf.is_empty() {
        tls::say(&mut parts.io.into_inner(), SLOW).await;
    }
}

/// Whether a head did not come in time. A write that nobody takes is late, too, but has a cause.
fn is_late_head(error: &hyper::Error) -> bool {
    error.is_timeout() && std::error::Error::source(error).is_none()
}

/// Serves many requests at once.
pub(super) async fn http2<S>(stream: S, peer: Peer, hall: Hall)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let traffic = Traffic::new(Instant::now());
    let asked = (hall.clone(), traffic.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (hall, traffic) = asked.clone();
        admitted(hall, peer, traffic, request)
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OWN_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW_ALL)
        .max_send_buf_size(SEND_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let limits = Limits { idle: hall.settings.idle_timeout, unread: hall.settings.write_patience };
    let every = LOOK_EVERY.min(limits.idle / 4).min(limits.unread / 4);
    let mut look = tokio::time::interval(every.max(Duration::from_millis(10)));
    let ended = loop {
        let verdict = tokio::select! {
            ended = serving.as_mut() => break ended,
            () = hall.stop.cancelled() => Verdict::Idle,
            _ = look.tick() => traffic.verdict(Instant::now(), limits),
        };
        match verdict {
            Verdict::Fine => {}
            // What is under way may end; a client that does not even let go is hung up on.
            Verdict::Idle => {
                if !hall.stop.is_cancelled() {
                    hall.metrics.door().turned_away("idle");
                }
                serving.as_mut().graceful_shutdown();
                let drained = tokio::time::timeout(hall.settings.drain_timeout, serving).await;
                break drained.unwrap_or(Ok(()));
            }
            Verdict::Unread => return hall.metrics.door().turned_away("unread"),
            Verdict::Abused => return hall.metrics.door().turned_away("taken-back"),
        }
    };
    note_end(&hall, ended);
}

/// Says in the log and the figures why a connection ended before its time.
fn note_end(hall: &Hall, ended: Result<(), hyper::Error>) {
    let Err(error) = ended else { return };
    let reason = if error.is_timeout() {
        "slow"
    } else if error.is_parse_too_large() {
        "head-too-large"
    } else if error.is_parse() {
        "not-http"
    } else if error.is_user() {
        "answer"
    } else if is_protocol(&error) {
        "http2"
    } else {
        "gone"
    };
    hall.metrics.door().turned_away(reason);
    tracing::debug!(%error, reason, "a connection ended early");
}

/// Whether the other end broke the rules of HTTP/2, or used them against us.
fn is_protocol(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(|source| source.downcast_ref::<std::io::Error>().is_none())
}

type Kept = (OwnedSemaphorePermit, Option<Seat>);

/// Answers a request of a connection that carries many, if there is room for it.
async fn admitted(
    hall: Hall,
    peer: Peer,
    traffic: Traffic,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let passage = traffic.begin();
    let answered = match place(&hall, peer) {
        Ok(kept) => match named(&mut request) {
            Ok(()) => answer(hall, peer, request).await.map(|response| (response, Some(kept))),
            Err(problem) => Ok((refused(&hall, problem), Some(kept))),
        },
        Err(problem) => Ok((refused(&hall, problem), None)),
    };
    let Ok((response, kept)) = answered;
    Ok(response.map(|body| Body::new(Watched::new(body, passage, kept))))
}

fn place(hall: &Hall, peer: Peer) -> Result<Kept, Problem> {
    let (all, crowd) = &hall.requests;
    let detail = "as many requests are under way as may be; try again in a moment";
    let (code, title) = ("server.too-many-requests", "Too many requests at once");
    let seat = match hall.most(peer.address) {
        Some(_) => Some(
            crowd
                .seat(peer.address, REQUESTS_PER_ADDRESS)
                .ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, code, title, detail))?,
        ),
        None => None,
    };
    let slot = Arc::clone(all).try_acquire_owned();
    let slot = slot.map_err(|_| Problem::unavailable(code, title, detail.to_owned()))?;
    Ok((slot, seat))
}

fn refused(hall: &Hall, problem: Problem) -> Response {
    let response = problem.into_response();
    if let Some(told) = response.extensions().get::<super::problem::Told>() {
        hall.metrics.door().problem(told.code);
    }
    response
}

/// Has the request name its host where HTTP/1 does, and holds it to as many headers.
fn named(request: &mut Request<Incoming>) -> Result<(), Problem> {
    if HEADERS_MAX < request.headers().len() {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let detail = format!("a request has at most {HEADERS_MAX} headers");
        return Err(Problem::new(status, "request.headers", "Too many headers", detail));
    }
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let wrong = |_| Problem::bad_request("the request's host makes no sense");
    let host = HeaderValue::from_str(authority.as_str()).map_err(wrong)?;
    // The two must not differ (RFC 9113, 8.3.1): one is not asked for another's sake.
    if request.headers().get(header::HOST).is_some_and(|named| *named != host) {
        return Err(Problem::bad_request("the request names two hosts"));
    }
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

async fn answer(
    hall: Hall,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    const HSTS: HeaderName = header::STRICT_TRANSPORT_SECURITY;
    request.extensions_mut().insert(peer);
    let Ok(mut response) = TowerToHyperService::new(hall.router).call(request).await;
    let hsts = hall.tls.filter(|_| peer.is_tls).and_then(|tls| tls.hsts());
    if let Some(value) = hsts.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(HSTS, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_who_is_slow_is_as_long_as_it_says() {
        let text = std::str::from_utf8(SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 408);
    }
}
