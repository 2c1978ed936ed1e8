//! The write side: what is to be sent in which way, and commits.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::HeaderValue,
    response::IntoResponse as _,
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Base, Refused, Repo, Revision, bad, blocking, document,
    lines::{self, Flaw, Line, Lines},
    projects, read, store,
};
use crate::model::Digest;
use crate::server::{Shared, models, trail::Note};
use crate::store::{Change, Key, NewCommit, Store, Upload, repo_path};

/// Up to here, a file comes as text in the commit itself.
const INLINE_MAX: u64 = 1 << 20;
/// How much the names in one commit may have together: they are in memory until it is made.
const NAMES_MAX: usize = 32 << 20;

/// What is said once, when a branch begins to be a version of its own.
const PARTED: &str = "versions; `main` is a version of its own now: it began with what `latest` has, and no longer follows it";

#[derive(Deserialize)]
struct Announced {
    files: Vec<AnnouncedFile>,
}

#[derive(Deserialize)]
struct AnnouncedFile {
    path: String,
    size: u64,
}

/// `POST /api/models/{ns}/{name}/preupload/{rev}`
pub(in super::super) async fn preupload(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
    body: Body,
) -> Answer {
    let Announced { files } = document(body).await?;
    let store = store(&shared).await?;
    let found = read::find(&store, &repo, &revision)?;
    let told = blocking(move || {
        let one = |file: &AnnouncedFile| {
            let is_inline = file.size <= INLINE_MAX;
            let path = repo_path(&file.path)?;
            let known = found.tree.files.get(&path);
            // Small files are compared by the name that git has for them, others by their digest.
            let oid = match known {
                Some(known) if is_inline && known.size == file.size => {
                    store.hub_bytes(&known.sha256, INLINE_MAX).map(read::blob_id)
                }
                Some(known) if !is_inline => Some(known.sha256.to_string()),
                _ => None,
            };
            Ok(json!({
                "path": file.path, "uploadMode": if is_inline { "regular" } else { "lfs" },
                "shouldIgnore": false, "oid": oid,
            }))
        };
        let files: Result<Vec<_>, crate::store::Error> = files.iter().map(one).collect();
        Ok(json!({ "files": files?, "commitOid": found.tree.id }))
    });
    Ok(Json(told.await?).into_response())
}

/// A commit, as far as it has come.
#[derive(Default)]
struct Coming {
    title: String,
    message: String,
    parent: Option<String>,
    changes: Vec<Change>,
    /// How much the names in the changes have.
    names: usize,
}

impl Coming {
    /// Checks a path, and counts it.
    fn path(&mut self, path: &str) -> Result<String, Refused> {
        self.count(path.len())?;
        repo_path(path).map_err(|error| super::refuse(&error))
    }

    fn count(&mut self, length: usize) -> Result<(), Refused> {
        self.names += length;
        if NAMES_MAX < self.names {
            let detail = format!("the names in a commit have at most {NAMES_MAX} bytes");
            let status = axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            return Err(super::errors::with(status, "request.too-large", detail));
        }
        Ok(())
    }
}

/// `POST /api/models/{ns}/{name}/commit/{rev}`
pub(in super::super) async fn commit(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    repo: Repo,
    Revision(revision): Revision,
    Base(base): Base,
    body: Body,
) -> Answer {
    let store = store(&shared).await?;
    let found = read::find(&store, &repo, &revision)?;
    let _place = models::seat(&shared, &asker.1)?;
    let mut body = body.into_data_stream();
    let read = read_lines(&shared, &store, &repo, &mut body).await;
    if read.is_err() {
        models::linger(&mut body).await;
    }
    let Coming { title, message, parent, changes, .. } = read?;
    if title.trim().is_empty() {
        return Err(bad("the commit has no summary"));
    }
    let branch = found.branch.ok_or_else(|| bad("a commit is made on a branch"))?;
    // As long as there is no such version, `main` shows what `latest` is.
    let is_parting =
        !found.tree.files.is_empty() && !store.has_version(&repo.ns, &repo.name, &branch);
    let order = NewCommit {
        project: repo.ns.clone(),
        app: repo.name.clone(),
        branch,
        title,
        message,
        author: read::account(&asker),
        parent,
        changes,
        projects: projects(&asker),
    };
    let (now, before) = (shared.parts.clock.now(), found.tree.id.clone());
    let may_go = move |keys: &[Key]| models::check_all(&shared, keys);
    let made = blocking(move || store.commit(&order, now, &may_go)).await?;
    let url = format!("{base}/{}/commit/{}", repo.id(), made.id);
    let body = json!({
        "success": true, "commitOid": made.id, "commitUrl": url, "hookOutput": "",
    });
    let mut response = Json(body).into_response();
    if is_parting {
        response.headers_mut().insert("x-hf-warning", HeaderValue::from_static(PARTED));
    }
    let object = format!("repository/{}", repo.id());
    let (before, after) = (json!({ "commit": before }), json!({ "commit": made.id }));
    response.extensions_mut().insert(Note { object, before, after });
    Ok(response)
}

async fn read_lines(
    shared: &Arc<Shared>,
    store: &Arc<Store>,
    repo: &Repo,
    body: &mut axum::body::BodyDataStream,
) -> Result<Coming, Refused> {
    let (mut coming, mut lines) = (Coming::default(), Lines::default());
    let mut stream = Box::pin(models::patient(body));
    loop {
        let part = stream.next().await.transpose().map_err(|error| models::broken(&error))?;
        let is_over = part.is_none();
        lines.push(&part.unwrap_or_else(|| Bytes::from_static(b"\n")));
        while let Some(line) = lines.next_line()? {
            take(shared, store, repo, &mut coming, line).await?;
        }
        if is_over {
            return Ok(coming);
        }
    }
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::TooLong => {
                let detail = "a file is too large for the text of a commit: upload it first";
                let status = axum::http::StatusCode::PAYLOAD_TOO_LARGE;
                super::errors::with(status, "request.too-large", detail)
            }
            Flaw::Bad(why) => bad(why),
        }
    }
}

async fn take(
    shared: &Arc<Shared>,
    store: &Arc<Store>,
    repo: &Repo,
    coming: &mut Coming,
    line: Line,
) -> Result<(), Refused> {
    let change = match line {
        Line::Header { summary, description, parent_commit } => {
            (coming.title, coming.message, coming.parent) = (summary, description, parent_commit);
            return Ok(());
        }
        Line::File { path, content, encoding } => {
            let path = coming.path(&path)?;
            let bytes = lines::content(content, encoding.as_deref())?;
            let (store, project) = (Arc::clone(store), repo.ns.clone());
            let now = shared.parts.clock.now();
            let kept = blocking(move || {
                let mut upload = Upload::begin(&store, u64::try_from(bytes.len()).ok())?;
                upload.write(&bytes)?;
                store.keep_content(upload, &project, None, now)
            });
            Change::Put(path, kept.await?.0)
        }
        Line::LfsFile { path, oid } => {
            let digest = Digest::parse(&oid).ok_or_else(|| bad(format!("`{oid}` is no sha256")))?;
            Change::Put(coming.path(&path)?, digest)
        }
        Line::CopyFile { path, src_path, src_revision } => {
            let (path, from) = (coming.path(&path)?, coming.path(&src_path)?);
            // A revision is as long as a path may be, at most.
            let revision = coming.path(&src_revision)?;
            Change::Copy { path, from, revision }
        }
        Line::DeletedFile { path } => Change::Delete(coming.path(&path)?),
        Line::DeletedFolder { path } => {
            Change::DeleteFolder(coming.path(path.trim_end_matches('/'))?)
        }
    };
    coming.changes.push(change);
    Ok(())
}
