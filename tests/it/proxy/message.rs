//! What the proxy needs to know of HTTP: heads, bodies in chunks, and what a path is about.

use std::collections::BTreeMap;

use serde_json::Value;

/// The head of a request.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<String>,
    /// Whether the connection is to become another one: what follows belongs to neither side alone.
    pub(super) is_upgrade: bool,
}

/// Where a head ends, when all of it is there.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

impl Head {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers: Vec<_> = lines.map(ToOwned::to_owned).collect();
        let is_upgrade =
            headers.iter().any(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
        Some(Self { method, target, headers, is_upgrade })
    }

    /// The head as the engine gets it: it closes the connection after its answer, so that the
    /// answer's end is the connection's.
    pub(super) fn for_engine(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for line in &self.headers {
            if self.is_upgrade || !line.to_ascii_lowercase().starts_with("connection:") {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        if !self.is_upgrade {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn parts(&self) -> Vec<&str> {
        let path = self.target.split('?').next().unwrap_or_default();
        path.split('/').skip(1).filter(|part| !part.starts_with("v1.")).collect()
    }

    fn query(&self, key: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == key)?;
        Some(value.replace("%2F", "/").replace("%3A", ":"))
    }

    /// The endpoint's word.
    pub(super) fn endpoint(&self) -> &'static str {
        match (self.method.as_str(), self.parts().as_slice()) {
            ("GET", ["version"]) => "version",
            ("GET", ["info"]) => "info",
            ("GET", ["_ping"]) => "ping",
            ("GET", ["events"]) => "events",
            ("GET", ["containers", "json"]) => "list_containers",
            ("GET", ["images", "json"]) => "list_images",
            ("GET", ["containers", _, "json"]) => "inspect",
            ("GET", ["containers", _, "logs"]) => "logs",
            ("POST", ["containers", "create"]) => "create",
            ("POST", ["containers", _, "start"]) => "start",
            ("POST", ["containers", _, "stop"]) => "stop",
            ("DELETE", ["containers", _]) => "remove",
            ("POST", ["containers", _, "exec"]) => "exec_create",
            ("POST", ["exec", _, "start"]) => "exec_start",
            ("GET", ["exec", _, "json"]) => "exec_inspect",
            ("POST", ["images", "create"]) => "pull",
            ("GET", ["images", .., "json"]) => "inspect_image",
            ("DELETE", ["images", ..]) => "remove_image",
            ("GET", ["networks", _]) => "inspect_network",
            ("POST", ["networks", "create"]) => "create_network",
            ("POST", ["build"]) => "build",
            ("POST", ["session"]) => "session",
            ("POST", ["grpc"]) => "grpc",
            _ => "other",
        }
    }

    /// The container or image that it is about, as well as it is known.
    pub(super) fn about(&self, names: &BTreeMap<String, String>) -> String {
        let known = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
        match self.parts().as_slice() {
            ["containers", "create"] => self.query("name").unwrap_or_default(),
            ["containers" | "images", "json"] => String::new(),
            ["containers" | "exec", id, ..] => known(id),
            ["images", "create"] => {
                let tag = self.query("tag").unwrap_or_default();
                format!("{}:{tag}", self.query("fromImage").unwrap_or_default())
            }
            ["images", name @ .., "json"] | ["images" | "networks", name @ ..] => name.join("/"),
            ["build"] => self.query("t").unwrap_or_default(),
            _ => String::new(),
        }
    }
}

/// What an answer tells about names.
pub(super) fn learn(
    endpoint: &str,
    about: &str,
    answer: &[u8],
    names: &mut BTreeMap<String, String>,
) {
    let Some(value) = json_of(answer) else { return };
    match endpoint {
        "create" | "exec_create" => {
            if let Some(id) = value["Id"].as_str() {
                names.insert(id.to_owned(), about.to_owned());
            }
        }
        "list_containers" => {
            for row in value.as_array().into_iter().flatten() {
                let name = row["Names"][0].as_str().unwrap_or_default().trim_start_matches('/');
                if let Some(id) = row["Id"].as_str() {
                    names.insert(id.to_owned(), name.to_owned());
                }
            }
        }
        _ => {}
    }
}

fn json_of(answer: &[u8]) -> Option<Value> {
    let (head, body) = answer.split_at(end_of_head(answer)?);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut chunks = Chunks::default();
    let body =
        if head.contains("transfer-encoding: chunked") { chunks.take(body) } else { body.to_vec() };
    serde_json::from_slice(&body).ok()
}

/// Takes a body in chunks apart, wherever it was cut.
#[derive(Default)]
pub(super) struct Chunks {
    rest: Vec<u8>,
}

impl Chunks {
    /// The data that is whole once these bytes have come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut data = Vec::new();
        loop {
            let Some(line) = self.rest.windows(2).position(|two| two == b"\r\n") else {
                return data;
            };
            let size = str::from_utf8(&self.rest[..line]).unwrap_or_default();
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
            let Ok(size) = size else { return data };
            let end = line + 2 + size + 2;
            if self.rest.len() < end || size == 0 {
                return data;
            }
            data.extend_from_slice(&self.rest[line + 2..line + 2 + size]);
            self.rest.drain(..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_taken_apart_wherever_it_is_cut() {
        let whole = b"3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n";
        for at in 0..whole.len() {
            let mut chunks = Chunks::default();
            let mut data = chunks.take(&whole[..at]);
            data.extend(chunks.take(&whole[at..]));
            assert_eq!(data, b"abc0123456789");
        }
    }

    #[test]
    fn a_request_is_known_by_endpoint_and_by_what_it_is_about() {
        let names = BTreeMap::from([("0a".to_owned(), "chat-01234567".to_owned())]);
        for (line, endpoint, about) in [
            ("POST /v1.41/containers/0a/start", "start", "chat-01234567"),
            ("POST /v1.41/containers/create?name=chat-01234567", "create", "chat-01234567"),
            ("GET /v1.41/containers/json?all=1", "list_containers", ""),
            ("POST /v1.41/build?t=berth%2Fchat%3A12&rm=true", "build", "berth/chat:12"),
            ("GET /v1.41/images/berth/chat:12/json", "inspect_image", "berth/chat:12"),
            ("GET /version", "version", ""),
            ("POST /session", "session", ""),
            ("POST /v1.41/grpc", "grpc", ""),
        ] {
            let head =
                Head::parse(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(
                (head.endpoint(), head.about(&names)),
                (endpoint, about.to_owned()),
                "{line}"
            );
        }
    }
}
