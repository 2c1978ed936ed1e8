//! Uploads that go on after a break: tus 1.0 and the IETF's draft on the same rules.
//!
//! The draft's interim answer 104 is not sent: hyper can't send one of that status. A client learns
//! the address of its upload from the answer to an empty first part (`Upload-Complete: ?0`).

mod answer;
mod joined;
mod machine;
mod receive;
mod said;

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::BodyDataStream,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    Answer, Asker, Named, blocking,
    download::requirement,
    fields::Said as Fields,
    refusal::{Refused, Verb, refuse},
    store, tried,
    upload::{counted, created, linger, seat},
};
use crate::auth::Mode;
use crate::server::{Shared, dry::Dry, problem::Problem};
use crate::store::{Claim, Concat, Kept, Key, Order, Partial, Store, Stored};
use answer::{empty, flawed, put, stand};
use machine::{Append, Ends, State as Stand};
use receive::{Goal, Received};
use said::{Dialect, Said};

/// How long a request waits until an earlier one about the same upload has ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a part is called: by tus, by the draft.
const PART: [&str; 2] = ["application/offset+octet-stream", "application/partial-upload"];

fn read(headers: &HeaderMap) -> Result<Said, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    said::read(header).map_err(flawed)
}

/// The protocol of a request that says nothing but which upload it is about.
fn dialect(headers: &HeaderMap) -> Result<Dialect, Refused> {
    match headers.get("tus-resumable") {
        None => Ok(Dialect::Draft),
        Some(version) if version == "1.0.0" => Ok(Dialect::Tus),
        Some(_) => Err(flawed(said::Flaw::Version)),
    }
}

/// Counts what was refused, and says it as its protocol does.
fn told(shared: &Shared, headers: &HeaderMap, told: Answer) -> Answer {
    let is_tus = headers.contains_key("tus-resumable");
    counted(shared, told.map_err(|refused| answer::dressed(refused, is_tus)))
}

fn content(headers: &HeaderMap) -> Option<u64> {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    length.filter(|_| !chunked)
}

fn bad(code: &'static str, detail: &str) -> Refused {
    refuse(StatusCode::BAD_REQUEST, code, detail)
}

/// `POST /uploads`: begins an upload, with its first part.
pub(in super::super) async fn begin(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    dry: Dry,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let begun = async {
        let said = read(&parts.headers)?;
        let mut fields = Fields::of_query(&parts.uri)?;
        for (name, value) in &said.metadata {
            fields.add(name, value.clone());
        }
        let key = match fields.key() {
            Some(key) => key?,
            None => return Err(super::refusal::unprocessable(&fields.flaws())),
        };
        begun(&shared, &asker, (key, said, fields), (&parts.headers, dry), &mut body).await
    };
    let begun = begun.await;
    if begun.is_err() {
        linger(&mut body).await;
    }
    told(&shared, &parts.headers, begun)
}

/// `PUT /models/{project}/{app}/{version}/{model}` with `Upload-Complete`.
pub(super) async fn begin_at(
    shared: &Arc<Shared>,
    asker: &Asker,
    (key, dry): (Key, Dry),
    parts: &axum::http::request::Parts,
    body: &mut BodyDataStream,
) -> Answer {
    let fields = Fields::of_query(&parts.uri)?;
    let said = read(&parts.headers)?;
    begun(shared, asker, (key, said, fields), (&parts.headers, dry), body).await
}

async fn begun(
    shared: &Arc<Shared>,
    asker: &Asker,
    (key, said, fields): (Key, Said, Fields),
    (headers, Dry(is_dry)): (&HeaderMap, Dry),
    body: &mut BodyDataStream,
) -> Answer {
    asker.check(Mode::Write, &key.project)?;
    if let Some(said::Concat::Final(urls)) = &said.concat {
        let order = order(headers, (key, &said, fields))?;
        return joined::join(shared, asker, (order, &said, urls), (headers, is_dry)).await;
    }
    if said.dialect == Dialect::Tus && said.length.is_none() && !said.is_deferred {
        return Err(bad("upload.length", "say `Upload-Length`, or `Upload-Defer-Length: 1`"));
    }
    let ends = ends(&said);
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let mut coming = content(headers);
    if said.dialect == Dialect::Tus && text("content-type") != Some(PART[0]) {
        // Without a part, the length of the body says nothing.
        if coming.is_some_and(|coming| coming != 0) {
            return Err(unsupported(said.dialect));
        }
        coming = Some(0);
    }
    let order = order(headers, (key, &said, fields))?;
    let append = Append { offset: 0, content: coming, length: said.length, ends };
    let store = store(shared, Verb::Upload).await?;
    let _place = seat(shared, &asker.1)?;
    let course = machine::begin(Stand::default(), append, store.settings().file_max);
    let course = course.map_err(|_| {
        let detail = "the file is larger than one may be, or than it was said to be";
        refuse(StatusCode::PAYLOAD_TOO_LARGE, "model.too-large", detail)
    })?;
    if is_dry {
        let length = course.length;
        let key = order.key.clone();
        blocking(Verb::Upload, move || store.check_begin(&order, length)).await?;
        return Ok(tried::begin(headers, &key, length));
    }
    let id = crate::auth::random_text(32).map_err(|_| Problem::failed())?;
    let (now, making) = (shared.parts.clock.now(), Arc::clone(&store));
    let metadata = text("upload-metadata").map(str::to_owned);
    let length = course.length;
    let concat = said.concat.is_some().then_some(Concat::Part);
    let making = move || making.begin_partial((&id, metadata), order, length, concat, now);
    let partial = blocking(Verb::Upload, making).await?;
    let claim = hold(&partial).await?;
    let goal = goal(shared, &store, &partial, claim, (course, said.sum));
    let received = receive::receive(goal, body).await;
    let is_broken = matches!(received, Ok(Received::Broken(_)));
    let told = match received {
        Ok(received) => answered(shared, &store, &partial, said.dialect, received),
        Err(error) => Err(Verb::Upload.refuse(&error)),
    };
    if told.is_err() && !is_broken {
        // Who hears that it failed does not hear where it is.
        let (store, partial) = (Arc::clone(&store), Arc::clone(&partial));
        give_up(store, partial).await?;
    }
    told.map(|response| located(response, &partial))
}

/// The answer to a beginning says where it goes on.
fn located(mut response: Response, partial: &Partial) -> Response {
    if response.status() != StatusCode::CREATED {
        *response.status_mut() = StatusCode::CREATED;
        put(response.headers_mut(), "location", &answer::place(partial));
    }
    response
}

/// What is to become of an upload.
fn order(headers: &HeaderMap, (key, said, fields): (Key, &Said, Fields)) -> Result<Order, Refused> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let kind = match said.dialect {
        Dialect::Tus => said.metadata.get("filetype").cloned(),
        Dialect::Draft => text("content-type").filter(|kind| *kind != PART[1]).map(str::to_owned),
    };
    let about = fields.about(said.metadata.get("filename").cloned(), kind);
    let mut expected = fields.digests(headers, false)?;
    if said.concat == Some(said::Concat::Part) {
        // An address for all of them says what the whole is.
        expected.clear();
    }
    let require = requirement(headers);
    Ok(Order { about, expected, require, ..Order::new(key) })
}

fn ends(said: &Said) -> Ends {
    match (said.dialect, said.complete) {
        (Dialect::Tus, _) => Ends::WhenFull,
        (Dialect::Draft, Some(true)) => Ends::Now,
        (Dialect::Draft, _) => Ends::NotYet,
    }
}

fn unsupported(dialect: Dialect) -> Refused {
    let kind = PART[usize::from(dialect == Dialect::Draft)];
    let detail = format!("a part is of the type `{kind}`");
    refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.media-type", detail)
}

async fn hold(partial: &Partial) -> Result<Claim, Refused> {
    partial.claim(PATIENCE).await.ok_or_else(|| {
        let detail = "another request about this upload does not end";
        refuse(StatusCode::LOCKED, "upload.locked", detail)
    })
}

async fn claim(shared: &Shared, store: &Store, partial: &Partial) -> Result<Claim, Refused> {
    let claim = hold(partial).await?;
    // Meanwhile it may have been given up.
    store.partial(&partial.id, shared.parts.clock.now()).map(|_| claim).ok_or_else(nothing)
}

fn nothing() -> Refused {
    let detail = "there is no such upload, or its time is over";
    refuse(StatusCode::NOT_FOUND, "upload.nothing", detail)
}

async fn give_up(store: Arc<Store>, partial: Arc<Partial>) -> Result<(), Refused> {
    let work = move || {
        store.remove_partial(&partial);
        Ok(())
    };
    blocking(Verb::Upload, work).await
}

fn goal(
    shared: &Shared,
    store: &Arc<Store>,
    partial: &Arc<Partial>,
    claim: Claim,
    (course, sum): (machine::Course, Option<said::Sum>),
) -> Goal {
    let (store, partial) = (Arc::clone(store), Arc::clone(partial));
    Goal { store, partial, claim, course, sum, now: shared.parts.clock.now() }
}

/// The answer once a part has come, or has not.
fn answered(
    shared: &Shared,
    store: &Store,
    partial: &Partial,
    dialect: Dialect,
    received: Received,
) -> Answer {
    let kept = partial.kept();
    let mut response = match received {
        Received::Open => empty(StatusCode::NO_CONTENT),
        Received::Done(stored) => whole(dialect, &stored),
        Received::Sum => {
            let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
            return Err(refuse(
                status,
                "upload.checksum",
                "the part is not what it was said to be",
            ));
        }
        Received::Short => {
            return Err(bad("upload.length", "the upload is not as long as it was said to be"));
        }
        Received::TooLong => {
            return Err(answer::refused(machine::Refusal::TooLong, &kept, kept.offset));
        }
        Received::Broken(io::ErrorKind::TimedOut) => {
            let detail = "the part did not arrive in time";
            return Err(refuse(StatusCode::REQUEST_TIMEOUT, "request.timeout", detail));
        }
        Received::Broken(io::ErrorKind::ConnectionAborted) => {
            let detail = "a later request took the upload over";
            return Err(refuse(StatusCode::CONFLICT, "upload.taken-over", detail));
        }
        Received::Broken(_) => return Err(bad("request.broken", "the part did not arrive whole")),
    };
    let now = shared.parts.clock.now();
    stand(response.headers_mut(), dialect, &kept, store.settings(), now);
    Ok(response)
}

/// The answer to the last part.
fn whole(dialect: Dialect, stored: &Stored) -> Response {
    let mut response = created(stored);
    if dialect == Dialect::Tus {
        // Its clients know an empty answer.
        let mut empty = empty(StatusCode::NO_CONTENT);
        if let Some(etag) = response.headers_mut().remove(header::ETAG) {
            empty.headers_mut().insert(header::ETAG, etag);
        }
        if let Some(note) = response.extensions_mut().remove::<crate::server::trail::Note>() {
            empty.extensions_mut().insert(note);
        }
        response = empty;
    }
    put(response.headers_mut(), "content-location", &stored.entry.key.path());
    response
}

/// Finds an upload that this one may add to.
async fn find(
    shared: &Arc<Shared>,
    asker: &Asker,
    id: &str,
) -> Result<(Arc<Store>, Arc<Partial>), Refused> {
    let store = store(shared, Verb::Upload).await?;
    let partial = store.partial(id, shared.parts.clock.now()).ok_or_else(nothing)?;
    asker.check(Mode::Write, &partial.kept().key().project)?;
    Ok((store, partial))
}

/// Makes a model of what has come whole and is none yet: a kill or a full disk came between.
async fn finish(
    shared: &Shared,
    store: &Arc<Store>,
    partial: &Arc<Partial>,
    kept: &Kept,
    dialect: Dialect,
) -> Result<Option<Stored>, Refused> {
    let is_full = dialect == Dialect::Tus && kept.done.is_none();
    let is_full = is_full && kept.length == Some(kept.offset);
    if kept.is_part() || !kept.is_complete() && !is_full {
        return Ok(None);
    }
    let (store, partial, now) = (Arc::clone(store), Arc::clone(partial), shared.parts.clock.now());
    let length = kept.offset;
    let work = move || {
        store.settle_partial(&partial, length, true)?;
        store.complete_partial(&partial, now)
    };
    blocking(Verb::Upload, work).await.map(Some)
}

/// `HEAD /uploads/{id}`: how far it is. `GET`: the same as a document.
pub(in super::super) async fn look(
    State(shared): State<Arc<Shared>>,
    Named(id): Named<String>,
    asker: Asker,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let looked = looked(&shared, &asker, &id, &method, &headers).await;
    told(&shared, &headers, looked)
}

async fn looked(
    shared: &Arc<Shared>,
    asker: &Asker,
    id: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Answer {
    let dialect = dialect(headers)?;
    let (store, partial) = find(shared, asker, id).await?;
    if method != Method::HEAD {
        return Ok(axum::Json(answer::document(&partial)).into_response());
    }
    let _claim = claim(shared, &store, &partial).await?;
    finish(shared, &store, &partial, &partial.kept(), dialect).await?;
    let tus = dialect == Dialect::Tus;
    let mut response = empty(if tus { StatusCode::OK } else { StatusCode::NO_CONTENT });
    let now = shared.parts.clock.now();
    stand(response.headers_mut(), dialect, &partial.kept(), store.settings(), now);
    Ok(response)
}

/// `PATCH /uploads/{id}`: adds a part.
pub(in super::super) async fn add(
    State(shared): State<Arc<Shared>>,
    Named(id): Named<String>,
    asker: Asker,
    dry: Dry,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let added = added(&shared, &asker, &id, (&parts.headers, dry), &mut body).await;
    if added.is_err() {
        linger(&mut body).await;
    }
    told(&shared, &parts.headers, added)
}

async fn added(
    shared: &Arc<Shared>,
    asker: &Asker,
    id: &str,
    (headers, Dry(is_dry)): (&HeaderMap, Dry),
    body: &mut BodyDataStream,
) -> Answer {
    let (store, partial) = find(shared, asker, id).await?;
    let said = read(headers)?;
    joined::check_open(&partial.kept())?;
    let kind = PART[usize::from(said.dialect == Dialect::Draft)];
    if headers.get(header::CONTENT_TYPE).is_none_or(|given| given.as_bytes() != kind.as_bytes()) {
        return Err(unsupported(said.dialect));
    }
    let Some(offset) = said.offset else {
        return Err(bad("upload.offset", "say `Upload-Offset`"));
    };
    let coming = content(headers);
    if is_dry {
        let kept = partial.kept();
        course(&store, &kept, (offset, coming), &said)?;
        return Ok(tried::part(headers, &kept, coming));
    }
    let _place = seat(shared, &asker.1)?;
    let claim = claim(shared, &store, &partial).await?;
    let kept = partial.kept();
    if offset == kept.offset
        && coming == Some(0)
        && let Some(stored) = finish(shared, &store, &partial, &kept, said.dialect).await?
    {
        let received = Received::Done(Box::new(stored));
        return answered(shared, &store, &partial, said.dialect, received);
    }
    if offset == kept.offset && coming == Some(0) && kept.is_part() && kept.is_whole {
        return answered(shared, &store, &partial, said.dialect, Received::Open);
    }
    let course = course(&store, &kept, (offset, coming), &said)?;
    if 0 < kept.offset {
        crate::store::Figures::add(&store.figures().resumed, 1);
    }
    let goal = goal(shared, &store, &partial, claim, (course, said.sum));
    let received = receive::receive(goal, body).await;
    let received = received.map_err(|error| Verb::Upload.refuse(&error))?;
    answered(shared, &store, &partial, said.dialect, received)
}

/// What may be added to an upload.
fn course(
    store: &Store,
    kept: &Kept,
    (offset, content): (u64, Option<u64>),
    said: &Said,
) -> Result<machine::Course, Refused> {
    let is_over = kept.is_whole || kept.done.is_some();
    let stand = Stand { offset: kept.offset, length: kept.length, is_over };
    let append = Append { offset, content, length: said.length, ends: ends(said) };
    let course = machine::begin(stand, append, store.settings().file_max);
    course.map_err(|refusal| answer::refused(refusal, kept, offset))
}

/// `DELETE /uploads/{id}`
pub(in super::super) async fn end(
    State(shared): State<Arc<Shared>>,
    Named(id): Named<String>,
    asker: Asker,
    dry: Dry,
    headers: HeaderMap,
) -> Answer {
    let ended = ended(&shared, &asker, &id, (&headers, dry)).await;
    told(&shared, &headers, ended)
}

async fn ended(
    shared: &Arc<Shared>,
    asker: &Asker,
    id: &str,
    (headers, Dry(is_dry)): (&HeaderMap, Dry),
) -> Answer {
    let dialect = dialect(headers)?;
    let (store, partial) = find(shared, asker, id).await?;
    if is_dry {
        return Ok(tried::end(headers, &partial.kept()));
    }
    let _claim = claim(shared, &store, &partial).await?;
    give_up(store, partial).await?;
    let mut response = empty(StatusCode::NO_CONTENT);
    if dialect == Dialect::Tus {
        put(response.headers_mut(), "tus-resumable", "1.0.0");
    }
    Ok(response)
}

/// `GET /uploads`: the uploads that may go on, of the projects that this one may see.
pub(in super::super) async fn all(State(shared): State<Arc<Shared>>, asker: Asker) -> Answer {
    let store = store(&shared, Verb::List).await?;
    let projects = asker.0.projects();
    let items: Vec<_> = store
        .all_partials()
        .iter()
        .filter(|partial| {
            let kept = partial.kept();
            let is_seen = |all: &Vec<String>| all.contains(&kept.key().project);
            kept.done.is_none() && projects.as_ref().is_none_or(is_seen)
        })
        .map(|partial| answer::document(partial))
        .collect();
    Ok(answer::list(&items))
}

/// `OPTIONS /uploads`
pub(in super::super) fn abilities(shared: &Shared) -> Response {
    answer::options(shared.parts.models.settings())
}
