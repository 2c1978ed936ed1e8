//! Contents as Xet clients send them: chunks in xorbs, then which files are made of them.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequestParts, State},
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Answer, Base, Refused, Repo, bad, blocking,
    errors::{put, with},
    links::LIFE,
    named, read, refuse, store,
};
use crate::model::{Digest, Timestamp};
use crate::server::{Shared, access::Client, models, problem::Problem, trail};
use crate::store::{Error, Store, XorbDraft};
use crate::xet::{FileInfo, Hash, Malformed, ShardReader, XorbReader};

const CAS: HeaderName = HeaderName::from_static("x-xet-cas-url");
const TOKEN: HeaderName = HeaderName::from_static("x-xet-access-token");
const UNTIL: HeaderName = HeaderName::from_static("x-xet-token-expiration");
/// How much a shard has at most.
const SHARD_MAX: usize = 256 << 20;
/// How many contents a record of the audit log names.
const LISTED: usize = 100;
/// After how much of a file it is told that it is being looked at.
const STEP: u64 = 1 << 30;

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        bad(malformed.0)
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Why a xorb was not taken.
enum Failure {
    Malformed(Malformed),
    Store(Error),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed(malformed) => malformed.into(),
            Failure::Store(error) => refuse(&error),
        }
    }
}

/// `GET /api/models/{ns}/{name}/xet-write-token/{rev}`
pub(in super::super) async fn write_token(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    repo: Repo,
    Base(base): Base,
) -> Answer {
    let store = store(&shared).await?;
    read::find(&store, &repo, "main")?;
    let until = shared.parts.clock.now().as_millis() / 1000 + LIFE;
    // Who may use the chunks of all projects says so.
    let reach = if super::projects(&asker).is_none() { "all" } else { "own" };
    let by = asker.identity().name.as_str();
    let sign = shared.links.sign(&["xet", &repo.ns, reach, by], until);
    let named = super::hex(by.as_bytes());
    let token = format!("xet.{until}.{reach}.{sign}.{named}.{}", repo.ns);
    // Clients remember for weeks what they sent to an address: what is forgotten here must have
    // another one.
    let cas = format!("{base}/xet/{}-{}", shared.boot, store.xorb_generation());
    let body = json!({ "accessToken": token, "exp": until, "casUrl": cas });
    let mut response = Json(body).into_response();
    put(&mut response, CAS, &cas);
    put(&mut response, TOKEN, &token);
    put(&mut response, UNTIL, &until.to_string());
    Ok(response)
}

/// For which project chunks are sent, and whether those of others may be used.
pub(in super::super) struct Permit {
    project: String,
    is_all: bool,
    /// Who asked for the token, and who uses it.
    by: String,
    client: Client,
}

impl Permit {
    /// Records which contents came, before that is answered.
    async fn record(
        &self,
        shared: &Shared,
        action: &str,
        made: &[(Digest, u64)],
    ) -> Result<(), Problem> {
        let listed: Vec<_> = made.iter().take(LISTED).map(|(digest, _)| digest).collect();
        let size = made.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let after = json!({ "files": made.len(), "size": size, "sha256": listed });
        let object = format!("content/{}", self.project);
        trail::note_signed(shared, (&self.client, &self.by), action, (object, after)).await
    }
}

impl FromRequestParts<Arc<Shared>> for Permit {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refused> {
        let text = super::asked(&parts.headers, "authorization").unwrap_or_default();
        let token = text.strip_prefix("Bearer ").unwrap_or_default();
        let wrong =
            || with(StatusCode::UNAUTHORIZED, "xet.token", "the token for chunks is not good");
        let mut words = token.splitn(6, '.');
        let (kind, until, reach) = (words.next(), words.next(), words.next());
        let mut next = || words.next().unwrap_or_default();
        let (sign, named, project) = (next(), next(), next());
        let by = unhex(named).ok_or_else(wrong)?;
        let until: i64 = until.and_then(|until| until.parse().ok()).ok_or_else(wrong)?;
        let reach = reach.unwrap_or_default();
        let now = shared.parts.clock.now();
        let words = ["xet", project, reach, &by];
        if kind != Some("xet") || !shared.links.is_good(&words, until, sign, now) {
            return Err(wrong());
        }
        let (project, is_all) = (project.to_owned(), reach == "all");
        let client = Client::from_request_parts(parts, shared).await?;
        Ok(Self { project, is_all, by, client })
    }
}

fn unhex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<_>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// The hash of a path.
pub(in super::super) struct Named(Hash);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        struct Names {
            hash: String,
        }
        let Names { hash } = named(parts).await?;
        Hash::parse(&hash).map(Self).ok_or_else(|| bad("a xorb is named by its hash"))
    }
}

/// `POST /xet/{gen}/v1/xorb-grants/{prefix}/{hash}`: whether it need not be sent.
pub(in super::super) async fn grant(
    State(shared): State<Arc<Shared>>,
    permit: Permit,
    Named(hash): Named,
    body: Body,
) -> Answer {
    super::text(body).await?;
    let store = store(&shared).await?;
    if store.has_xorb(&hash, &permit.project) {
        return Ok(StatusCode::OK.into_response());
    }
    Err(with(StatusCode::NOT_FOUND, "model.nothing", "send the xorb itself"))
}

/// `POST /xet/{gen}/v1/xorbs/{prefix}/{hash}`
pub(in super::super) async fn xorb(
    State(shared): State<Arc<Shared>>,
    permit: Permit,
    Named(hash): Named,
    body: Body,
) -> Answer {
    let _place = models::seat(&shared, &permit.client)?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let length = axum::body::HttpBody::size_hint(&body).exact().unwrap_or(0);
    let (room, project) = (Arc::clone(&store), permit.project.clone());
    blocking(move || room.check_coming(&project, length)).await?;
    let mut body = body.into_data_stream();
    let taken = take(&store, (hash, permit.project, now), &mut body).await;
    if taken.is_err() {
        models::linger(&mut body).await;
    }
    Ok(Json(json!({ "was_inserted": taken? })).into_response())
}

async fn take(
    store: &Arc<Store>,
    (hash, project, now): (Hash, String, Timestamp),
    body: &mut axum::body::BodyDataStream,
) -> Result<bool, Refused> {
    let (sender, mut parts) = mpsc::channel::<Bytes>(16);
    let store = Arc::clone(store);
    let writing = tokio::task::spawn_blocking(move || {
        let (mut draft, mut reader) =
            (XorbDraft::begin(&store).map_err(Failure::Store)?, XorbReader::default());
        while let Some(part) = parts.blocking_recv() {
            reader.push(&part, |chunk| draft.chunk(chunk).map_err(Failure::Store))?;
        }
        Ok::<_, Failure>((draft, reader))
    });
    let mut stream = Box::pin(models::patient(body));
    while let Some(part) = stream.next().await {
        if sender.send(part.map_err(|error| models::broken(&error))?).await.is_err() {
            break;
        }
    }
    drop((sender, stream));
    let failed = |_| Problem::failed();
    let (draft, reader) = writing.await.map_err(failed)??;
    let found = reader.finish()?;
    if found != hash {
        return Err(bad(format!("the xorb is {found}, and was said to be {hash}")));
    }
    blocking(move || draft.finish(hash, &project, now)).await
}

async fn files(body: Body) -> Result<Vec<FileInfo>, Refused> {
    let mut body = body.into_data_stream();
    let (mut reader, mut length) = (ShardReader::default(), 0);
    let mut stream = Box::pin(models::patient(&mut body));
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| models::broken(&error))?;
        length += part.len();
        if SHARD_MAX < length {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(with(status, "request.too-large", "the shard is too large"));
        }
        reader.push(&part)?;
    }
    Ok(reader.finish()?)
}

/// Makes the contents of all files; `told` hears how far that is.
fn assemble(
    store: &Arc<Store>,
    permit: &Permit,
    files: &[FileInfo],
    now: Timestamp,
    told: &mut dyn FnMut(u64),
) -> Result<Vec<(Digest, u64)>, Error> {
    let (mut before, mut made) = (0, Vec::new());
    for file in files {
        let mut step = |done| told(before + done);
        let place = (permit.project.as_str(), permit.is_all);
        let one = store.assemble(place, file, now, &mut step)?;
        before += one.1;
        made.push(one);
    }
    Ok(made)
}

/// `POST /xet/{gen}/v1/shards`
pub(in super::super) async fn shard(
    State(shared): State<Arc<Shared>>,
    permit: Permit,
    body: Body,
) -> Answer {
    let _place = models::seat(&shared, &permit.client)?;
    let (files, store) = (files(body).await?, store(&shared).await?);
    trail::check_ready(&shared).await?;
    let now = shared.parts.clock.now();
    let making = move || {
        let made = assemble(&store, &permit, &files, now, &mut |_| ())?;
        Ok((made, permit))
    };
    let (made, permit) = blocking(making).await?;
    permit.record(&shared, "POST /xet/{gen}/v1/shards", &made).await?;
    Ok(Json(json!({ "result": 1 })).into_response())
}

/// `POST /xet/{gen}/v2/shards`: the same, and it is told how far it is.
pub(in super::super) async fn shard_told(
    State(shared): State<Arc<Shared>>,
    permit: Permit,
    body: Body,
) -> Answer {
    let place = models::seat(&shared, &permit.client)?;
    let (files, store) = (files(body).await?, store(&shared).await?);
    trail::check_ready(&shared).await?;
    let now = shared.parts.clock.now();
    let (sender, receiver) = mpsc::channel::<String>(16);
    let lines = sender.clone();
    let total: u64 =
        files.iter().flat_map(|file| &file.terms).map(|term| u64::from(term.bytes)).sum();
    let making = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        let mut told = |verified: u64| {
            if last + STEP <= verified {
                last = verified;
                let line = json!({ "type": "validating", "verified": verified, "total": total });
                // Who has gone hears nothing.
                let _ = lines.try_send(format!("{line}\n"));
            }
        };
        (assemble(&store, &permit, &files, now, &mut told), permit)
    });
    tokio::spawn(async move {
        let _place = place;
        let Ok((made, permit)) = making.await else { return };
        let failed = |message: String, is_ours: bool| json!({ "type": "error", "message": message, "retryable": is_ours });
        let line = match made {
            Ok(made) => {
                let action = "POST /xet/{gen}/v2/shards";
                match permit.record(&shared, action, &made).await {
                    Ok(()) => json!({ "type": "result" }),
                    Err(problem) => failed(problem.detail().to_owned(), true),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a shard was refused");
                let is_ours = matches!(error, Error::Disk { .. } | Error::Full(_));
                failed(error.to_string(), is_ours)
            }
        };
        let _ = sender.send(format!("{line}\n")).await;
    });
    let lines = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let body = Body::from_stream(lines.map(Ok::<_, std::io::Error>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What clients tell of themselves is not kept.
pub(in super::super) async fn telemetry(_: Permit) -> StatusCode {
    StatusCode::OK
}

/// What is not known of chunks: clients send them then.
pub(in super::super) async fn nothing() -> Response {
    with(StatusCode::NOT_FOUND, "model.nothing", "it is not known here").into_response()
}
