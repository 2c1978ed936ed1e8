//! Uploads, by a form or as they are; and deletions.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use multer::{Field, Multipart};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    Answer, Asker, Named, blocking,
    blocks::{self, Blocks},
    download::{document, requirement},
    fields::{Said, TEXT_MAX, not_a_file},
    refusal::{Refused, Verb, missing, refuse, unprocessable},
    store, tried, used,
};
use crate::auth::Mode;
use crate::server::{Shared, access::Client, dry::Dry, listen::Seat, request::Asked, trail::Note};
use crate::store::{Entry, Error, Key, Order, Require, Store, Stored, Upload};

/// How long a client may send nothing.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(30);
/// How many bytes a second it sends at least, and how long that is not asked of it.
const RATE_MIN: u64 = 1024;
const RATE_GRACE: Duration = Duration::from_mins(1);
/// How much of a form may come without being of any use: heads of parts, and what stands before.
const USELESS_MAX: u64 = 4 << 20;
/// How much of a body is still taken after it was refused, so that the client hears why.
const LINGER_BYTES: usize = 32 << 20;
const LINGER: Duration = Duration::from_secs(2);
/// How many parts a form may have.
const FIELDS_MAX: usize = 64;

/// A content on its way to the disk.
struct Pipe {
    blocks: mpsc::Sender<Bytes>,
    coming: Blocks,
    writing: JoinHandle<Result<Upload, Error>>,
}

impl Pipe {
    fn begin(store: &Arc<Store>, size: Option<u64>, has_md5: bool) -> Self {
        let (blocks, mut received) = mpsc::channel::<Bytes>(blocks::WAITING);
        let store = Arc::clone(store);
        let writing = tokio::task::spawn_blocking(move || {
            let mut upload = Upload::begin(&store, size)?;
            if has_md5 {
                upload = upload.with_md5();
            }
            while let Some(block) = received.blocking_recv() {
                upload.take(&block)?;
            }
            Ok(upload)
        });
        Self { blocks, coming: Blocks::new(size), writing }
    }

    /// Takes a part. Whether more can be taken.
    async fn take(&mut self, mut part: Bytes) -> bool {
        while !part.is_empty() {
            if let Some(block) = self.coming.fill(&mut part)
                && self.blocks.send(block).await.is_err()
            {
                return false;
            }
        }
        true
    }

    /// All has come.
    async fn end(self) -> Result<Upload, Refused> {
        let Self { blocks, mut coming, writing } = self;
        // Whether it failed is known by what the writer says.
        let _ = blocks.send(coming.rest()).await;
        drop(blocks);
        match writing.await {
            Ok(written) => written.map_err(|error| Verb::Upload.refuse(&error)),
            Err(_) => Err(crate::server::problem::Problem::failed().into()),
        }
    }
}

/// `POST /models/upload`
pub(in super::super) async fn upload(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    dry: Dry,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let told = form(&shared, &asker, (&parts.uri, &parts.headers, dry), &mut body).await;
    if told.is_err() {
        linger(&mut body).await;
    }
    counted(&shared, told)
}

async fn form(
    shared: &Arc<Shared>,
    asker: &Asker,
    (uri, headers, dry): (&axum::http::Uri, &HeaderMap, Dry),
    body: &mut axum::body::BodyDataStream,
) -> Answer {
    let mut said = Said::of_query(uri)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let Ok(boundary) = multer::parse_boundary(kind.unwrap_or_default()) else {
        let mut flaws = said.flaws();
        flaws.push(missing(["body", "file"]));
        return Err(unprocessable(&flaws));
    };
    let require = requirement(headers);
    let store = store(shared, Verb::Upload).await?;
    let _place = seat(shared, &asker.1)?;
    if let Some(key) = said.key() {
        admit(&store, asker, key?, &require, None).await?;
    }
    let useless = Arc::new(AtomicU64::new(0));
    let stream = Bounded { stream: Box::pin(patient(body)), useless: Arc::clone(&useless) };
    let mut form = Multipart::new(stream, boundary);
    let mut file = None;
    let mut count = 0;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        useless.store(0, Ordering::Relaxed);
        count += 1;
        if FIELDS_MAX < count {
            let detail = "the form has too many parts";
            return Err(refuse(StatusCode::BAD_REQUEST, "request.form", detail));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" && file.is_none() && field.file_name().is_some() {
            if let Some(key) = said.key() {
                admit(&store, asker, key?, &require, None).await?;
            }
            let about = (
                field.file_name().map(str::to_owned),
                field.content_type().map(ToString::to_string),
            );
            file = Some((receive(&store, field, &useless).await?, about));
        } else {
            let text = read_text(field, &useless).await?;
            if name == "file" && file.is_none() {
                return Err(not_a_file(&text));
            }
            said.add(&name, text);
        }
    }
    let mut flaws = said.flaws();
    if file.is_none() {
        flaws.push(missing(["body", "file"]));
    }
    let (Some((upload, (name, kind))), Some(key)) = (file, said.key()) else {
        return Err(unprocessable(&flaws));
    };
    let key = key?;
    // Now it is known where to; before, nothing of it is visible.
    asker.check(Mode::Write, &key.project)?;
    let expected = said.digests(headers, false)?;
    let order = Order { about: said.about(name, kind), expected, require, ..Order::new(key) };
    finish(shared, upload, order, (headers, dry)).await
}

/// `PUT /models/{project}/{app}/{version}/{model}`
pub(in super::super) async fn put(
    State(shared): State<Arc<Shared>>,
    Named((project, app, version, model)): Named<(String, String, String, String)>,
    asker: Asker,
    dry: Dry,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let key = Key::new(&project, &app, &version, &model);
    let told = match key.map_err(|bad| Verb::Upload.refuse(&bad.into())) {
        Ok(key) if parts.headers.contains_key("upload-complete") => {
            let told =
                super::uploads::begin_at(&shared, &asker, (key, dry), &parts, &mut body).await;
            if told.is_err() {
                linger(&mut body).await;
            }
            return counted(&shared, told);
        }
        Ok(key) => raw(&shared, &asker, (key, dry), &parts, &mut body).await,
        Err(refused) => Err(refused),
    };
    if told.is_err() {
        linger(&mut body).await;
    }
    counted(&shared, told)
}

async fn raw(
    shared: &Arc<Shared>,
    asker: &Asker,
    (key, dry): (Key, Dry),
    parts: &axum::http::request::Parts,
    body: &mut axum::body::BodyDataStream,
) -> Answer {
    let headers = &parts.headers;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let detail = "send the file as it is, without a content coding";
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.media-type", detail));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        let detail = "a part of a file can't be put";
        return Err(refuse(StatusCode::BAD_REQUEST, "request.range", detail));
    }
    let said = Said::of_query(&parts.uri)?;
    let expected = said.digests(headers, true)?;
    let require = requirement(headers);
    let size = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let store = store(shared, Verb::Upload).await?;
    let _place = seat(shared, &asker.1)?;
    admit(&store, asker, key.clone(), &require, size).await?;
    let md5 = said.md5(headers)?;
    let upload = pour(&store, (size, None), md5.is_some(), body).await?;
    let kind = text(header::CONTENT_TYPE).map(str::to_owned);
    let about = said.about(None, kind);
    let order = Order { about, expected, md5, require, ..Order::new(key) };
    finish(shared, upload, order, (headers, dry)).await
}

/// `DELETE /models/{project}/{app}/{version}/{model}`
pub(in super::super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Named((project, app, version, model)): Named<(String, String, String, String)>,
    Asked(wish): Asked<used::Wish>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let given = Key { project, app, version, model };
    let key = Key::new(&given.project, &given.app, &given.version, &given.model)
        .map_err(|_| Verb::Delete.refuse(&Error::NotFound(Box::new(given))))?;
    let store = store(&shared, Verb::Delete).await?;
    counted(&shared, used::check(&shared, &key, &wish))?;
    let (now, require) = (shared.parts.clock.now(), requirement(&headers));
    if is_dry {
        let looked = blocking(Verb::Delete, move || store.deletable(&key, &require)).await;
        let entry = counted(&shared, looked)?;
        return Ok(tried::delete(&shared, &headers, &entry));
    }
    let deleting = key.clone();
    let deleted = blocking(Verb::Delete, move || store.delete(&deleting, &require, now)).await;
    let entry = counted(&shared, deleted)?;
    let mut response = Json(json!({
        "message": "Model deleted successfully",
        "project_id": key.project,
        "app_name": key.app,
        "version": key.version,
        "model_name": key.model,
    }))
    .into_response();
    let note = Note { object: format!("model/{key}"), before: facts(&entry), after: Value::Null };
    response.extensions_mut().insert(note);
    Ok(response)
}

/// Takes a body that nobody has a name for yet, and no more than `most` of it. `size` is how long it
/// will be, where that is known.
pub(in super::super) async fn receive_body(
    shared: &Shared,
    store: &Arc<Store>,
    (size, most, client): (Option<u64>, u64, &Client),
    body: axum::body::Body,
) -> Result<Upload, Refused> {
    use axum::body::HttpBody as _;
    let _place = seat(shared, client)?;
    let is_longer = body.size_hint().exact().is_some_and(|length| most < length);
    let mut body = body.into_data_stream();
    let taken = if is_longer {
        Err(longer(most))
    } else {
        pour(store, (size, Some(most)), false, &mut body).await
    };
    if taken.is_err() {
        linger(&mut body).await;
    }
    taken
}

fn longer(most: u64) -> Refused {
    let detail = format!("at most {most} bytes may come here");
    refuse(StatusCode::PAYLOAD_TOO_LARGE, "request.too-large", detail)
}

async fn pour(
    store: &Arc<Store>,
    (size, most): (Option<u64>, Option<u64>),
    has_md5: bool,
    body: &mut axum::body::BodyDataStream,
) -> Result<Upload, Refused> {
    let mut pipe = Pipe::begin(store, size, has_md5);
    let mut stream = Box::pin(patient(body));
    let mut came = 0_u64;
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| broken(&error))?;
        came = came.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        if let Some(most) = most.filter(|most| *most < came) {
            return Err(longer(most));
        }
        if !pipe.take(part).await {
            break;
        }
    }
    pipe.end().await
}

/// Counts what was refused.
pub(super) fn counted<T>(shared: &Shared, told: Result<T, Refused>) -> Result<T, Refused> {
    told.inspect_err(|_| {
        shared.parts.models.figures().refusals.fetch_add(1, Ordering::Relaxed);
    })
}

/// A place among the uploads that are under way, and among those of one client.
pub(in super::super) type Place = (tokio::sync::OwnedSemaphorePermit, Option<Seat>);

/// A place for one more upload. Who asks by the socket is kept out by nobody.
pub(in super::super) fn seat(shared: &Shared, client: &Client) -> Result<Place, Refused> {
    let (crowd, most) = &shared.uploading;
    let own = most.filter(|_| client.user.is_none()).map(|most| {
        crowd.seat(client.address, most).ok_or_else(|| {
            let detail = format!("this client has {most} uploads under way; try again");
            refuse(StatusCode::TOO_MANY_REQUESTS, "model.busy", detail)
        })
    });
    let own = own.transpose()?;
    let slot = Arc::clone(&shared.uploads).try_acquire_owned().map_err(|_| {
        let detail = "too many uploads are under way; try again";
        refuse(StatusCode::SERVICE_UNAVAILABLE, "model.busy", detail)
    })?;
    Ok((slot, own))
}

/// Whether this one may, and what is there lets it, before anything is read.
async fn admit(
    store: &Arc<Store>,
    asker: &Asker,
    key: Key,
    require: &Require,
    size: Option<u64>,
) -> Result<(), Refused> {
    asker.check(Mode::Write, &key.project)?;
    let (store, require) = (Arc::clone(store), require.clone());
    blocking(Verb::Upload, move || store.admit(&key, &require, size)).await
}

async fn receive(
    store: &Arc<Store>,
    mut field: Field<'_>,
    useless: &AtomicU64,
) -> Result<Upload, Refused> {
    let mut pipe = Pipe::begin(store, None, false);
    while let Some(part) = field.chunk().await.map_err(|error| unreadable(&error))? {
        useless.store(0, Ordering::Relaxed);
        if !pipe.take(part).await {
            break;
        }
    }
    pipe.end().await
}

async fn read_text(mut field: Field<'_>, useless: &AtomicU64) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    while let Some(part) = field.chunk().await.map_err(|error| unreadable(&error))? {
        useless.store(0, Ordering::Relaxed);
        bytes.extend_from_slice(&part);
        if TEXT_MAX < bytes.len() {
            let detail = format!("a field of the form has more than {TEXT_MAX} bytes");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "request.too-large", detail));
        }
    }
    let wrong =
        |_| refuse(StatusCode::BAD_REQUEST, "request.form", "a field of the form is not text");
    String::from_utf8(bytes).map_err(wrong)
}

/// Makes a model of what has come; or says only what would come of it.
async fn finish(
    shared: &Shared,
    upload: Upload,
    order: Order,
    (headers, Dry(is_dry)): (&HeaderMap, Dry),
) -> Answer {
    if is_dry {
        let tried = blocking(Verb::Upload, move || upload.try_out(&order)).await?;
        return Ok(tried::upload(shared, headers, &tried));
    }
    let now = shared.parts.clock.now();
    let stored = blocking(Verb::Upload, move || upload.finish(&order, now)).await?;
    Ok(created(&stored))
}

pub(super) fn created(stored: &Stored) -> Response {
    let entry = &stored.entry;
    let Key { project, app, version, model } = &entry.key;
    let listed = document(entry);
    let body = json!({
        "message": "Model uploaded successfully",
        "project_id": project,
        "app_name": app,
        "version": version,
        "model_name": model,
        "size": entry.size,
        "path": entry.file(),
        "sha256": entry.sha256,
        "etag": entry.etag(),
        "url": listed["url"],
    });
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(etag) = entry.etag().parse() {
        response.headers_mut().insert(header::ETAG, etag);
    }
    if let Ok(path) = entry.key.path().parse() {
        response.headers_mut().insert(header::LOCATION, path);
    }
    let before = stored.before.as_deref().map_or(Value::Null, facts);
    let note = Note { object: format!("model/{}", entry.key), before, after: facts(entry) };
    response.extensions_mut().insert(note);
    response
}

fn facts(entry: &Entry) -> Value {
    json!({ "sha256": entry.sha256, "size": entry.size })
}

/// The parts of a body, as long as they keep coming, and not in drops.
pub(in super::super) fn patient(
    body: &mut axum::body::BodyDataStream,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let state = (body, Duration::ZERO, 0);
    futures_util::stream::try_unfold(state, |(body, waited, length)| async move {
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let since = Instant::now();
        let next = tokio::time::timeout(PATIENCE, body.try_next()).await.map_err(|_| late())?;
        // What Berth's own disk takes is not the client's fault.
        let waited: Duration = waited + since.elapsed();
        let Some(part) = next.map_err(std::io::Error::other)? else { return Ok(None) };
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX).saturating_add(length);
        if RATE_GRACE <= waited && length < RATE_MIN.saturating_mul(waited.as_secs()) {
            return Err(late());
        }
        Ok(Some((part, (body, waited, length))))
    })
}

/// A stream that ends when too much comes without being of use: a head of a part that never ends
/// would fill the memory.
struct Bounded<'a> {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send + 'a>>,
    useless: Arc<AtomicU64>,
}

impl Stream for Bounded<'_> {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = std::task::ready!(this.stream.as_mut().poll_next(cx));
        if let Some(Ok(part)) = &next {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            if USELESS_MAX < this.useless.fetch_add(length, Ordering::Relaxed) + length {
                return Poll::Ready(Some(Err(std::io::ErrorKind::InvalidData.into())));
            }
        }
        Poll::Ready(next)
    }
}

/// The form is none.
fn unreadable(error: &multer::Error) -> Refused {
    if let multer::Error::StreamReadFailed(source) = error
        && let Some(source) = source.downcast_ref::<std::io::Error>()
    {
        return broken(source);
    }
    tracing::debug!(%error, "a form is not readable");
    refuse(StatusCode::BAD_REQUEST, "request.form", "There was an error parsing the body")
}

/// The body did not come.
pub(in super::super) fn broken(error: &std::io::Error) -> Refused {
    match error.kind() {
        std::io::ErrorKind::TimedOut => refuse(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "the file did not arrive in time",
        ),
        std::io::ErrorKind::InvalidData => {
            refuse(StatusCode::BAD_REQUEST, "request.form", "There was an error parsing the body")
        }
        _ => refuse(StatusCode::BAD_REQUEST, "request.broken", "the file did not arrive whole"),
    }
}

/// Takes a bit more of what is not wanted: a client that is cut off while it sends does not hear
/// the answer.
pub(in super::super) async fn linger(body: &mut axum::body::BodyDataStream) {
    let taking = async {
        let mut taken = 0;
        while let Some(Ok(part)) = body.next().await {
            taken += part.len();
            if LINGER_BYTES < taken {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, taking).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault S12: a body in drops holds its place for a minute, and one that keeps coming as long
    /// as it takes.
    #[tokio::test(start_paused = true)]
    async fn a_body_comes_at_a_rate_or_not_at_all() {
        let begun = Instant::now();
        let taken = async |size: usize| {
            let drops = futures_util::stream::repeat(()).take(30).then(move |()| async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Ok::<_, std::io::Error>(Bytes::from(vec![0; size]))
            });
            let mut body = axum::body::Body::from_stream(drops).into_data_stream();
            let mut stream = Box::pin(patient(&mut body));
            let mut count = 0;
            while let Some(part) = stream.next().await {
                match part {
                    Ok(_) => count += 1,
                    Err(error) => return Err((error.kind(), count)),
                }
            }
            Ok(count)
        };
        assert_eq!(taken(1).await, Err((std::io::ErrorKind::TimedOut, 2)));
        assert_eq!(begun.elapsed().as_secs(), 60);
        assert_eq!(taken(20 * 1024).await, Ok(30));
    }
}
