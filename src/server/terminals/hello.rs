//! How a websocket begins (RFC 6455, section 4).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

use super::channel::PROTOCOL;
use crate::server::problem::Problem;

/// The version of the protocol.
const VERSION: &str = "13";
/// What the key is hashed with, so that only who speaks the protocol answers.
const FIXED: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a server answers to a key.
pub(in crate::server) fn accepts(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}{FIXED}")))
}

/// A key of a client.
pub(in crate::server) fn key() -> std::io::Result<String> {
    let text = crate::auth::random_text(16)?;
    Ok(STANDARD.encode(text))
}

/// Whether one of the words of a header is this one.
pub(in crate::server) fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let mut words = lines.flat_map(|line| line.split(','));
    words.any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// The answer to a request for a websocket; `can_turn` says that its connection can be one.
pub(super) fn greeting(headers: &HeaderMap, can_turn: bool) -> Result<Response, Problem> {
    let one = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let key = one(&header::SEC_WEBSOCKET_KEY).filter(|key| {
        let bytes = STANDARD.decode(key).unwrap_or_default();
        bytes.len() == 16
    });
    let is_asked = can_turn
        && says(headers, &header::UPGRADE, "websocket")
        && says(headers, &header::CONNECTION, "upgrade")
        && one(&header::SEC_WEBSOCKET_VERSION) == Some(VERSION);
    let Some(key) = key.filter(|_| is_asked) else {
        let detail = "a terminal is a websocket: open it by HTTP/1.1 with `Upgrade: websocket`";
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Problem::new(status, "terminal.upgrade", "A websocket", detail));
    };
    // The other side reads nothing else, and would take our messages for something that they are not.
    if !says(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        let detail = format!("say `Sec-WebSocket-Protocol: {PROTOCOL}`");
        let status = StatusCode::BAD_REQUEST;
        return Err(Problem::new(status, "terminal.protocol", "Another protocol", detail));
    }
    let accept = HeaderValue::from_str(&accepts(key)).map_err(|_| Problem::failed())?;
    let head = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, head, Body::empty()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(change: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        let usual = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io, v5.channel.k8s.io"),
        ];
        for (name, value) in usual.iter().chain(change) {
            all.insert(*name, HeaderValue::from_static(value));
        }
        all
    }

    /// The example of RFC 6455.
    #[test]
    fn a_websocket_is_greeted_as_the_standard_says() {
        let answer = greeting(&headers(&[]), true).unwrap();
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.headers()["sec-websocket-protocol"], PROTOCOL);
    }

    #[test]
    fn what_is_no_websocket_is_told_what_is() {
        let refused = |name, value, can_turn| {
            let problem = greeting(&headers(&[(name, value)]), can_turn).unwrap_err();
            (problem.status().as_u16(), problem.code())
        };
        let upgrade = (426, "terminal.upgrade");
        assert_eq!(refused("upgrade", "h2c", true), upgrade);
        assert_eq!(refused("connection", "close", true), upgrade);
        assert_eq!(refused("sec-websocket-version", "8", true), upgrade);
        assert_eq!(refused("sec-websocket-key", "short", true), upgrade);
        assert_eq!(refused("x-none", "", false), upgrade);
        let protocol = (400, "terminal.protocol");
        assert_eq!(refused("sec-websocket-protocol", "chat", true), protocol);
    }
}
