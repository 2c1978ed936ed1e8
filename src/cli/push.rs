//! Storing a large file: in parts that go on after a break, also of this program.

use std::{io, path::Path, sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    document::{list, text},
    error::{Error, Exit},
    models::{BLOCK, other, progress::Progress, unreadable},
    output::{Output, plain},
    server::Server,
    steps::Style,
};
use crate::model::{Digest, format_bytes};
use crate::server::client::Method;
use crate::store::Key;

/// From how many bytes on a file is sent so.
pub(super) const LARGE: u64 = 64 << 20;
/// How often it is tried again when nothing more could be sent.
const ATTEMPTS: u32 = 6;

/// A file that is to be stored.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) name: &'a Key,
    pub(super) size: u64,
    pub(super) is_new: bool,
    /// What is said about it, as a query.
    pub(super) said: String,
}

impl File<'_> {
    async fn digest(&self) -> Result<Digest, Error> {
        let mut file = tokio::fs::File::open(self.path).await.map_err(unreadable(self.path))?;
        let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
        loop {
            match file.read(&mut block).await.map_err(unreadable(self.path))? {
                0 => return Ok(Digest::of_hash(hasher.finalize().into())),
                length => hasher.update(&block[..length]),
            }
        }
    }

    /// Finds what was begun with this content under this name.
    async fn find(&self, digest: &Digest, server: &Server) -> Result<Option<Value>, Error> {
        let all = server.get("/uploads").await?;
        let is_this = |upload: &&Value| {
            let announced = list(upload, "/announced");
            upload["length"] == self.size
                && text(upload, "/model") == self.name.to_string()
                && announced.iter().any(|one| one.as_str() == Some(digest.as_str()))
        };
        Ok(list(&all, "/items").iter().find(is_this).cloned())
    }

    /// Ends what still adds to an upload, as a request that broke off unheard may: then what has come is
    /// said. Whatever fails here is found out by what follows.
    async fn claim(&self, upload: &Value, server: &Server) {
        let nothing = futures_util::stream::empty::<io::Result<bytes::Bytes>>();
        let _ = server.part(Method::HEAD, text(upload, "/url"), &[], 0, nothing).await;
    }

    async fn begin(&self, digest: &Digest, server: &Server) -> Result<Value, Error> {
        let path = format!("{}?{}&sha256={digest}", self.name.path(), self.said);
        let mut headers =
            vec![("upload-complete", "?0".to_owned()), ("upload-length", self.size.to_string())];
        if self.is_new {
            headers.push(("if-none-match", "*".to_owned()));
        }
        let nothing = futures_util::stream::empty::<io::Result<bytes::Bytes>>();
        server.part(Method::PUT, &path, &headers, 0, nothing).await?;
        let begun = self.find(digest, server).await?;
        begun.ok_or_else(|| Error::new(Exit::Unreachable, "the upload that was begun is gone"))
    }

    /// Sends what is missing; answers what became of it, none when it broke off.
    async fn send(
        &self,
        upload: &Value,
        style: Style,
        server: &Server,
    ) -> Result<Option<Value>, Error> {
        let offset = upload["offset"].as_u64().unwrap_or_default();
        let mut file = tokio::fs::File::open(self.path).await.map_err(unreadable(self.path))?;
        file.seek(io::SeekFrom::Start(offset)).await.map_err(unreadable(self.path))?;
        let rest = self.size.saturating_sub(offset);
        let headers = [
            ("upload-complete", "?1".to_owned()),
            ("upload-offset", offset.to_string()),
            ("content-type", "application/partial-upload".to_owned()),
        ];
        let what = format!("model/{}", self.name);
        let progress = Arc::new(Progress::new(style, &what, self.size, offset));
        let shown = Arc::clone(&progress);
        let blocks = ReaderStream::with_capacity(file.take(rest), BLOCK);
        let blocks = blocks.inspect_ok(move |block| {
            shown.add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        });
        let sent = server.part(Method::PATCH, text(upload, "/url"), &headers, rest, blocks).await;
        progress.end();
        match sent {
            Ok(stored) => Ok(Some(stored)),
            // It broke off, or its end was not heard.
            Err(error) if error.exit() == Exit::Unreachable => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Stores a file, and goes on where an earlier try ended.
pub(super) async fn push(
    file: &File<'_>,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let digest = file.digest().await?;
    let name = file.name;
    let mut upload = match file.find(&digest, server).await? {
        Some(upload) => {
            file.claim(&upload, server).await;
            let upload = server.get(text(&upload, "/url")).await.unwrap_or(upload);
            let offset = upload["offset"].as_u64().unwrap_or_default();
            output.line(&plain(&format!("goes on at {}", format_bytes(offset))))?;
            upload
        }
        None => file.begin(&digest, server).await?,
    };
    let (mut attempts, mut pause) = (0, Duration::from_secs(1));
    let sha256 = loop {
        if let Some(done) = upload["sha256"].as_str() {
            break done.to_owned();
        }
        if let Some(stored) = file.send(&upload, output.progress(), server).await? {
            break text(&stored, "/sha256").to_owned();
        }
        attempts += 1;
        if attempts == ATTEMPTS {
            let what = format!("model/{name} could not be sent to its end");
            let fix = "the same command goes on where it ended";
            return Err(Error::new(Exit::Unreachable, what).fix(fix));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        file.claim(&upload, server).await;
        let Ok(now) = server.get(text(&upload, "/url")).await else { continue };
        if upload["offset"] != now["offset"] {
            (attempts, pause) = (0, Duration::from_secs(1));
        }
        upload = now;
    };
    if sha256 != digest.as_str() {
        return Err(other(name));
    }
    let size = format_bytes(file.size);
    output.line(&plain(&format!("model/{name} stored: {size}, {digest}")))?;
    Ok(Exit::Done)
}
