//! Large files as Git LFS sends them: whole, or in parts.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Answer, Base, Refused, Repo, bad, blocking, document, errors,
    links::{LIFE, LONG_LIFE},
    named, projects, read, store,
};
use crate::model::Digest;
use crate::server::{Shared, access::Client, models, problem::Problem, request::Asked, trail};
use crate::store::Store;

const KIND: &str = "application/vnd.git-lfs+json";
/// How many objects are asked for at once.
const OBJECTS_MAX: usize = 1000;
/// How many parts a file is sent in at most.
const PARTS_MAX: u64 = 10_000;

#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    operation: String,
    #[serde(default)]
    transfers: Vec<String>,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    size: u64,
}

/// `POST /{ns}/{name}.git/info/lfs/objects/batch`
pub(in super::super) async fn batch(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    repo: Repo,
    Base(base): Base,
    body: Body,
) -> Answer {
    let Batch { operation, transfers, objects } = document(body).await?;
    if operation != "upload" {
        return Err(bad("only uploads go this way: files are loaded from `resolve`"));
    }
    if OBJECTS_MAX < objects.len() {
        return Err(bad(format!("at most {OBJECTS_MAX} objects at once")));
    }
    let store = store(&shared).await?;
    read::find(&store, &repo, "main")?;
    let offers = |name: &str| transfers.iter().any(|transfer| transfer == name);
    // Clients that can, send chunks; then only those that are new here.
    let transfer = if offers("xet") {
        "xet"
    } else if offers("multipart") && objects.iter().any(|o| store.settings().part_size < o.size) {
        "multipart"
    } else {
        "basic"
    };
    let projects = projects(&asker);
    let by = asker.identity().name.as_str();
    let mut told = Vec::new();
    for object in objects {
        let mut one = json!({ "oid": object.oid, "size": object.size, "authenticated": true });
        match actions(&shared, &store, (&repo, &base, by), (&object, transfer), projects.clone())
            .await
        {
            Ok(Some(actions)) => one["actions"] = actions,
            Ok(None) => {}
            Err((code, message)) => one["error"] = json!({ "code": code, "message": message }),
        }
        told.push(one);
    }
    let document = json!({ "transfer": transfer, "objects": told, "hash_algo": "sha256" });
    Ok(([(header::CONTENT_TYPE, KIND)], document.to_string()).into_response())
}

async fn actions(
    shared: &Arc<Shared>,
    store: &Arc<Store>,
    (repo, base, by): (&Repo, &str, &str),
    (object, transfer): (&Object, &str),
    projects: Option<Vec<String>>,
) -> Result<Option<Value>, (u16, String)> {
    let Some(digest) = Digest::parse(&object.oid) else {
        return Err((422, "an object is named by its sha256".to_owned()));
    };
    store.check_size(object.size).map_err(|error| (413, error.to_string()))?;
    let now = shared.parts.clock.now();
    let (held, ns, own) = (Arc::clone(store), repo.ns.clone(), digest.clone());
    let holding = move || Ok(held.hold(&own, &ns, projects.as_deref(), now));
    let held = blocking(holding).await.map_err(|_| (500, "the store failed".to_owned()))?;
    if held == Some(object.size) {
        return Ok(None);
    }
    let (room, ns, more) = (Arc::clone(store), repo.ns.clone(), object.size);
    let checked = tokio::task::spawn_blocking(move || room.check_coming(&ns, more)).await;
    let checked = checked.map_err(|_| (500, "the store failed".to_owned()))?;
    checked.map_err(|error| (413, error.to_string()))?;
    let (size, seconds) = (object.size.to_string(), now.as_millis() / 1000);
    let named = utf8_percent_encode(by, NON_ALPHANUMERIC).to_string();
    let link = |what: &str, life: i64| {
        let until = seconds + life;
        let words = ["lfs", repo.ns.as_str(), digest.as_str(), &size, what, by];
        let sign = shared.links.sign(&words, until);
        let part = if what.is_empty() { String::new() } else { format!("/{what}") };
        format!(
            "{base}/_lfs/{}/{digest}{part}?size={size}&exp={until}&by={named}&sig={sign}",
            repo.ns
        )
    };
    let verify = json!({ "href": format!("{base}/{}.git/info/lfs/objects/verify", repo.id()) });
    let part = store.settings().part_size.max(1).max(object.size.div_ceil(PARTS_MAX));
    if transfer != "multipart" || object.size <= part {
        let upload = json!({ "href": link("", LIFE) });
        return Ok(Some(json!({ "upload": upload, "verify": verify })));
    }
    let mut head = Map::new();
    head.insert("chunk_size".to_owned(), json!(part.to_string()));
    for number in 1..=object.size.div_ceil(part) {
        head.insert(format!("{number:05}"), json!(link(&number.to_string(), LONG_LIFE)));
    }
    let upload = json!({ "href": link("join", LONG_LIFE), "header": head });
    Ok(Some(json!({ "upload": upload, "verify": verify })))
}

/// `POST /{ns}/{name}.git/info/lfs/objects/verify`
pub(in super::super) async fn verify(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    repo: Repo,
    body: Body,
) -> Answer {
    let Object { oid, size } = document(body).await?;
    let store = store(&shared).await?;
    let projects = projects(&asker);
    let digest = Digest::parse(&oid).ok_or_else(|| bad("an object is named by its sha256"))?;
    let held = blocking(move || Ok(store.holds(&digest, &repo.ns, projects.as_deref()))).await?;
    if held == Some(size) {
        return Ok(Json(json!({})).into_response());
    }
    Err(errors::with(StatusCode::NOT_FOUND, "model.nothing", "the object is not there"))
}

#[derive(Deserialize)]
struct Signed {
    size: u64,
    exp: i64,
    by: String,
    sig: String,
}

/// Where a content is sent to, by an address that was signed.
pub(in super::super) struct Target {
    ns: String,
    digest: Digest,
    part: String,
    size: u64,
    /// Who asked for the address, and who uses it.
    by: String,
    client: Client,
}

impl Target {
    /// Whether so much more may be on its way into the project.
    async fn check_room(&self, store: &Arc<Store>, more: u64) -> Result<(), Refused> {
        let (store, ns) = (Arc::clone(store), self.ns.clone());
        blocking(move || store.check_coming(&ns, more)).await
    }

    /// Records that its content came, before that is answered.
    async fn record(&self, shared: &Shared, action: &str) -> Result<(), Problem> {
        let object = format!("content/{}/{}", self.ns, self.digest);
        let after = json!({ "sha256": self.digest, "size": self.size });
        trail::note_signed(shared, (&self.client, &self.by), action, (object, after)).await
    }
}

impl FromRequestParts<Arc<Shared>> for Target {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        struct Names {
            ns: String,
            oid: String,
            #[serde(default)]
            part: String,
        }
        let Names { ns, oid, part } = named(parts).await?;
        let wrong = || {
            let detail = "the address is not signed, or not good any more: ask for it again";
            errors::with(StatusCode::FORBIDDEN, "link.invalid", detail)
        };
        let asked = Asked::<Signed>::from_request_parts(parts, shared).await;
        let Asked(Signed { size, exp, by, sig }) = asked.map_err(|_: Problem| wrong())?;
        let digest = Digest::parse(&oid).ok_or_else(wrong)?;
        let (text, now) = (size.to_string(), shared.parts.clock.now());
        let words = ["lfs", ns.as_str(), digest.as_str(), &text, &part, &by];
        if !shared.links.is_good(&words, exp, &sig, now) {
            return Err(wrong());
        }
        let client = Client::from_request_parts(parts, shared).await?;
        Ok(Self { ns, digest, part, size, by, client })
    }
}

/// `PUT /_lfs/{ns}/{oid}`
pub(in super::super) async fn put(
    State(shared): State<Arc<Shared>>,
    target: Target,
    body: Body,
) -> Answer {
    trail::check_ready(&shared).await?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    target.check_room(&store, target.size).await?;
    let bounds = (Some(target.size), target.size, &target.client);
    let upload = models::receive_body(&shared, &store, bounds, body).await?;
    if upload.size() != target.size {
        return Err(bad(format!("{} of {} bytes have come", upload.size(), target.size)));
    }
    let (ns, digest) = (target.ns.clone(), target.digest.clone());
    let etag = format!("\"{digest}\"");
    blocking(move || store.keep_content(upload, &ns, Some(&digest), now)).await?;
    target.record(&shared, "PUT /_lfs/{ns}/{oid}").await?;
    Ok(([(header::ETAG, etag)], Json(json!({}))).into_response())
}

/// `PUT /_lfs/{ns}/{oid}/{part}`
pub(in super::super) async fn part(
    State(shared): State<Arc<Shared>>,
    target: Target,
    body: Body,
) -> Answer {
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let number: u32 = target.part.parse().map_err(|_| bad("a part has a number"))?;
    let length = store.settings().part_size.max(target.size.div_ceil(PARTS_MAX)).min(target.size);
    target.check_room(&store, length).await?;
    let upload =
        models::receive_body(&shared, &store, (None, length, &target.client), body).await?;
    let Target { ns, digest, .. } = target;
    let kept = blocking(move || store.keep_part(upload, (&ns, &digest), number, now)).await?;
    Ok(([(header::ETAG, format!("\"{kept}\""))], "").into_response())
}

/// `POST /_lfs/{ns}/{oid}/join`
pub(in super::super) async fn join(
    State(shared): State<Arc<Shared>>,
    target: Target,
    body: Body,
) -> Answer {
    super::text(body).await?;
    trail::check_ready(&shared).await?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    if target.part != "join" {
        return Err(bad("parts are put, and then joined"));
    }
    let (ns, digest, size) = (target.ns.clone(), target.digest.clone(), target.size);
    blocking(move || store.join_parts((&ns, &digest), size, now)).await?;
    target.record(&shared, "POST /_lfs/{ns}/{oid}/{part}").await?;
    let done: Response = Json(json!({})).into_response();
    Ok(done)
}
