//! Downloads: whole, in part, or only if it is worth it.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Answer, Asker, Named, blocking,
    body::{Piece, Sending},
    care::{in_hub, inspection},
    range::{self, Asked as Ranges},
    refusal::{Refused, Verb, refuse},
    store,
};
use crate::model::Digest;
use crate::server::{
    Shared,
    access::Client,
    request::{Asked, flag},
};
use crate::store::{Entry, Error, Figures, Key, Resolved, Store, Way};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const WANT_CONTENT: HeaderName = HeaderName::from_static("want-content-digest");
const WANT_REPR: HeaderName = HeaderName::from_static("want-repr-digest");
const RESOLVED: HeaderName = HeaderName::from_static("x-resolved-version");
const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum-sha256");
const SAFETY: HeaderName = HeaderName::from_static("x-model-safety");
/// Stands for itself in a quoted name.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');

/// What may be asked of a model.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wish {
    resolve: Option<String>,
    require: Option<String>,
}

/// What may be asked of a content.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct BlobWish {
    require: Option<String>,
}

type Names = (String, String, String, String);

/// Finds the model that is asked for; the version may be said in other words.
fn find(
    store: &Store,
    (project, app, version, model): Names,
    wish: &Wish,
) -> Result<Resolved, Refused> {
    let is_range = flag("resolve", wish.resolve.as_deref())?;
    let not_found = |error: &Error| Verb::Read.refuse(error);
    // What can't be a name names nothing.
    let given = Key { project, app, version, model };
    let absent = || not_found(&Error::NotFound(Box::new(given.clone())));
    let key = Key::new(&given.project, &given.app, "0", &given.model).map_err(|_| absent())?;
    let version = crate::store::name("version", &given.version).map_err(|_| absent())?;
    let key = Key { version, ..key };
    store.resolve(&key, is_range).map_err(|error| not_found(&error))
}

/// `GET /models/{project}/{app}/{version}/{model}/info`
pub(in super::super) async fn info(
    State(shared): State<Arc<Shared>>,
    Named(names): Named<Names>,
    Asked(wish): Asked<Wish>,
) -> Answer {
    let store = store(&shared, Verb::Read).await?;
    let found = find(&store, names, &wish)?;
    let entry = Arc::clone(&found.entry);
    let text = blocking(Verb::Read, move || {
        let mut text = entry.listed();
        text.pop();
        for (name, value) in in_hub(&store, &entry) {
            let _ = write!(text, ",\"{name}\":{value}");
        }
        let _ = write!(text, ",\"inspection\":{}}}", inspection(&store, &entry));
        Ok(text)
    });
    let text = text.await?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (kind, text).into_response();
    tell_version(response.headers_mut(), &found);
    Ok(response)
}

/// `GET` and `HEAD /models/{project}/{app}/{version}/{model}`
pub(in super::super) async fn download(
    State(shared): State<Arc<Shared>>,
    Named(names): Named<Names>,
    Asked(wish): Asked<Wish>,
    client: Client,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared, Verb::Read).await?;
    let found = find(&store, names, &wish)?;
    check_safe(&found.entry, wish.require.as_deref())?;
    send(store, found, &client, &method, &headers).await
}

/// Refuses what is not safe to load, where the client asks for that.
pub(in super::super) fn check_safe(entry: &Entry, require: Option<&str>) -> Result<(), Refused> {
    match require {
        None => Ok(()),
        Some("safe") => Store::check_safe(entry).map_err(|error| Verb::Read.refuse(&error)),
        Some(_) => {
            let detail = "`require` is `safe`, or is left out";
            Err(refuse(StatusCode::BAD_REQUEST, "request.invalid", detail))
        }
    }
}

/// `GET` and `HEAD /blobs/{digest}`: a content, whatever it is called.
pub(in super::super) async fn blob(
    State(shared): State<Arc<Shared>>,
    Named(digest): Named<String>,
    Asked(wish): Asked<BlobWish>,
    asker: Asker,
    (method, headers): (Method, HeaderMap),
) -> Answer {
    let store = store(&shared, Verb::Read).await?;
    let plain = digest.strip_prefix("sha256:").unwrap_or(&digest).to_lowercase();
    let digest = Digest::parse(&plain).ok_or_else(|| {
        let detail = format!("`{digest}` is no digest: write `sha256:` and 64 hexadecimal digits");
        refuse(StatusCode::BAD_REQUEST, "request.invalid", detail)
    })?;
    let projects = asker.identity().projects();
    let entry = store.with_content(&digest, projects.as_deref()).ok_or_else(|| {
        let detail = format!("no model that you may read has the content sha256:{digest}");
        refuse(StatusCode::NOT_FOUND, "model.nothing", detail)
    })?;
    check_safe(&entry, wish.require.as_deref())?;
    send(store, Resolved { entry, is_other: true }, &asker.1, &method, &headers).await
}

/// Sends what was found: all of it, the parts that are asked for, or why not.
pub(in super::super) async fn send(
    store: Arc<Store>,
    mut found: Resolved,
    client: &Client,
    method: &Method,
    headers: &HeaderMap,
) -> Answer {
    if *method == Method::HEAD {
        store.check_served(&found.entry).map_err(|error| Verb::Read.refuse(&error))?;
        if !found.entry.is_ours {
            let entry = Arc::clone(&found.entry);
            found.entry = blocking(Verb::Read, move || store.current(&entry)).await?;
        }
        if let Some(answer) = judge(headers, &found.entry)? {
            return Ok(with_facts(answer, &found));
        }
        let mut head = with_facts(whole_head(&found.entry), &found);
        tell_digests(headers, &mut head);
        return Ok(head);
    }
    let opening = (Arc::clone(&store), Arc::clone(&found.entry));
    let opened = blocking(Verb::Read, move || opening.0.open_content(&opening.1)).await?;
    let (entry, mut content) = opened;
    found.entry = entry;
    if client.is_tls {
        content.way = Way::Read;
    }
    if let Some(answer) = judge(headers, &found.entry)? {
        return Ok(with_facts(answer, &found));
    }
    let asked =
        match text(headers, &header::RANGE).filter(|_| is_range_meant(headers, &found.entry)) {
            Some(text) => range::read(text, content.size),
            None => Ranges::Whole,
        };
    let size = content.size;
    let is_from_start = match &asked {
        Ranges::Whole => true,
        Ranges::Parts(parts) => parts.first().is_some_and(|(first, _)| *first == 0),
        _ => false,
    };
    let (head, pieces) = match asked {
        Ranges::Whole => (Response::new(Body::empty()), VecDeque::from([Piece::Slice(0, size)])),
        Ranges::Parts(parts) if parts.len() == 1 => one_part(parts[0], size),
        Ranges::Parts(parts) => many_parts(&parts, size),
        Ranges::Malformed => {
            let detail = "Malformed range header.";
            return Err(refuse(StatusCode::BAD_REQUEST, "request.range", detail));
        }
        Ranges::Nothing => return Ok(with_facts(unsatisfied(size), &found)),
    };
    let pieces = pieces.into_iter().filter(|piece| !matches!(piece, Piece::Slice(a, b) if a == b));
    count(&store.figures().downloads);
    if is_from_start {
        store.count_download(&found.entry.key);
    }
    let sending = Sending::new(store, content, pieces.collect());
    let mut response = with_facts(head, &found);
    tell_digests(headers, &mut response);
    response.headers_mut().insert(header::CONTENT_LENGTH, sending.length().into());
    *response.body_mut() = sending.boxed();
    Ok(response)
}

fn count(counter: &AtomicU64) {
    Figures::add(counter, 1);
}

fn whole_head(entry: &Entry) -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_LENGTH, entry.size.into());
    response
}

fn one_part((first, last): (u64, u64), size: u64) -> (Response, VecDeque<Piece>) {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    (response, VecDeque::from([Piece::Slice(first, last + 1)]))
}

fn many_parts(parts: &[(u64, u64)], size: u64) -> (Response, VecDeque<Piece>) {
    let boundary = crate::auth::random_text(24).unwrap_or_else(|_| "berth-parts-of-a-model".into());
    let mut pieces = VecDeque::new();
    for (at, (first, last)) in parts.iter().enumerate() {
        let mut head = String::from(if at == 0 { "" } else { "\r\n" });
        let _ = write!(
            head,
            "--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes {first}-{last}/{size}\r\n\r\n"
        );
        pieces.push_back(Piece::Text(Bytes::from(head)));
        pieces.push_back(Piece::Slice(*first, last + 1));
    }
    pieces.push_back(Piece::Text(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let kind = format!("multipart/byteranges; boundary={boundary}");
    insert(response.headers_mut(), header::CONTENT_TYPE, &kind);
    (response, pieces)
}

fn unsatisfied(size: u64) -> Response {
    let detail = "Requested range not satisfiable";
    let refused = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "request.range", detail);
    let mut response = refused.into_response();
    insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// The headers that every answer about a model has.
fn with_facts(mut response: Response, found: &Resolved) -> Response {
    let entry = &found.entry;
    let status = response.status();
    let headers = response.headers_mut();
    insert(headers, header::ETAG, &entry.etag());
    insert(headers, header::LAST_MODIFIED, &date(entry));
    // What is kept may be used again after asking whether it is still so.
    insert(headers, header::CACHE_CONTROL, "private, no-cache");
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(digest) = &entry.sha256 {
        insert(headers, CHECKSUM, digest.as_str());
        insert(headers, REPR_DIGEST, &repr_digest(digest.as_str()));
    }
    if let Some(inspected) = entry.inspected {
        headers.insert(SAFETY, HeaderValue::from_static(inspected.safety.word()));
    }
    if status.is_success() {
        let kind = HeaderValue::from_static("application/octet-stream");
        headers.entry(header::CONTENT_TYPE).or_insert(kind);
        insert(headers, header::CONTENT_DISPOSITION, &disposition(&entry.key));
    }
    tell_version(headers, found);
    response
}

/// Tells the digest of what is sent where that is asked for and known, as it is of all of a content;
/// and leaves out that of the whole where somebody says that it is of no use (RFC 9530).
fn tell_digests(asked: &HeaderMap, response: &mut Response) {
    let is_whole = response.status() == StatusCode::OK;
    let headers = response.headers_mut();
    if is_whole
        && wants_digest(asked, &WANT_CONTENT) == Some(true)
        && let Some(digest) = headers.get(REPR_DIGEST).cloned()
    {
        headers.insert(CONTENT_DIGEST, digest);
    }
    if wants_digest(asked, &WANT_REPR) == Some(false) {
        headers.remove(REPR_DIGEST);
    }
}

/// Whether somebody wants a SHA-256, as `sha-256=10` says; nothing where nothing is said of it.
fn wants_digest(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    let all = text(headers, name)?.split(',').map(str::trim);
    let found = all.filter_map(|one| one.split_once('=')).find(|(name, _)| *name == "sha-256");
    found.and_then(|(_, weight)| weight.trim().parse::<u8>().ok()).map(|weight| 0 < weight)
}

fn tell_version(headers: &mut HeaderMap, found: &Resolved) {
    if found.is_other {
        insert(headers, header::CONTENT_LOCATION, &found.entry.key.path());
        let version = utf8_percent_encode(&found.entry.key.version, PLAIN).to_string();
        let version = Some(&found.entry.key.version).filter(|v| v.is_ascii()).unwrap_or(&version);
        insert(headers, RESOLVED, version);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A digest as RFC 9530 writes it.
pub(super) fn repr_digest(hex: &str) -> String {
    let pairs = hex.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Vec<_> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    format!("sha-256=:{}:", STANDARD.encode(bytes))
}

fn disposition(key: &Key) -> String {
    let Key { project, app, version, model } = key;
    let name = format!("{project}_{app}_{version}_{model}");
    let quoted = utf8_percent_encode(&name, PLAIN).to_string();
    if quoted == name {
        format!("attachment; filename=\"{name}\"")
    } else {
        format!("attachment; filename*=utf-8''{quoted}")
    }
}

/// When it came, to the second.
fn moment(entry: &Entry) -> SystemTime {
    let seconds = u64::try_from(entry.changed() / 1_000_000_000).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn date(entry: &Entry) -> String {
    httpdate::fmt_http_date(moment(entry))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The validators in a header, weak ones too; `*` is any.
pub(super) fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let all = lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().to_owned());
    headers.contains_key(name).then(|| all.filter(|tag| !tag.is_empty()).collect())
}

/// Answers what the conditions of a request decide (RFC 9110, section 13.2.2).
fn judge(headers: &HeaderMap, entry: &Entry) -> Result<Option<Response>, Refused> {
    let etag = entry.etag();
    let since = |name: &HeaderName| {
        text(headers, name).and_then(|date| httpdate::parse_http_date(date).ok())
    };
    let is_met = match tags(headers, &header::IF_MATCH) {
        Some(tags) => tags.iter().any(|tag| *tag == "*" || *tag == etag),
        None => since(&header::IF_UNMODIFIED_SINCE).is_none_or(|at| moment(entry) <= at),
    };
    if !is_met {
        let detail = format!("the model is {etag}");
        return Err(refuse(StatusCode::PRECONDITION_FAILED, "model.precondition", detail));
    }
    let is_known = match tags(headers, &header::IF_NONE_MATCH) {
        Some(tags) => {
            tags.iter().any(|tag| *tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
        }
        None => since(&header::IF_MODIFIED_SINCE).is_some_and(|at| moment(entry) <= at),
    };
    if !is_known {
        return Ok(None);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    Ok(Some(response))
}

/// Whether a part may be sent: what the client has the rest of must be the same (`If-Range`).
fn is_range_meant(headers: &HeaderMap, entry: &Entry) -> bool {
    let Some(value) = text(headers, &header::IF_RANGE) else { return true };
    if value.starts_with('"') || value.starts_with("W/") {
        return value == entry.etag();
    }
    httpdate::parse_http_date(value).is_ok_and(|at| at == moment(entry))
}

/// What an upload or a deletion requires of what is there.
pub(super) fn requirement(headers: &HeaderMap) -> crate::store::Require {
    use crate::store::Require;
    let is_any = |tags: &[String]| tags.iter().any(|tag| tag == "*");
    match (tags(headers, &header::IF_MATCH), tags(headers, &header::IF_NONE_MATCH)) {
        (Some(tags), _) if is_any(&tags) => Require::Present,
        (Some(tags), _) => Require::Is(tags),
        (None, Some(tags)) if is_any(&tags) => Require::Absent,
        (None, Some(tags)) => Require::IsNot(tags),
        (None, None) => Require::Nothing,
    }
}

/// The document of a model.
pub(super) fn document(entry: &Entry) -> Value {
    serde_json::from_str(&entry.listed()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_as_it_always_was() {
        let key = Key::new("p", "a", "1.0", "m").unwrap();
        assert_eq!(disposition(&key), "attachment; filename=\"p_a_1.0_m\"");
        let key = Key::new("p", "a b", "1", "\"é").unwrap();
        assert_eq!(disposition(&key), "attachment; filename*=utf-8''p_a%20b_1_%22%C3%A9");
    }

    #[test]
    fn digests_are_written_in_base_64() {
        let digest = Digest::of_bytes(b"");
        let wanted = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(repr_digest(digest.as_str()), wanted);
    }
}
