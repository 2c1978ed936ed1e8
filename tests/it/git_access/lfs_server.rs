//! A server with Git LFS behind it, that can be made to misbehave.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{Request, Response, body::Frame, body::Incoming};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::wire::{self, Answer, Body, Wire, basic, boxed, has_login};

pub(super) const PASSWORD: &str = "lfs-w0rd";
const CHUNK: usize = 64 << 10;

/// A content: a text that is repeated, so that a large one costs no memory.
#[derive(Clone)]
pub(crate) struct Content {
    chunk: Bytes,
    pub(super) size: usize,
}

impl Content {
    pub(crate) fn new(seed: &str, size: usize) -> Self {
        let chunk: Vec<u8> = seed.bytes().cycle().take(CHUNK).collect();
        Self { chunk: chunk.into(), size }
    }

    fn chunks(&self, from: usize, to: usize) -> impl Iterator<Item = Bytes> + Send + 'static {
        let chunk = self.chunk.clone();
        let mut at = from;
        std::iter::from_fn(move || {
            let start = at % CHUNK;
            let count = (CHUNK - start).min(to.saturating_sub(at));
            at += count;
            (0 < count).then(|| chunk.slice(start..start + count))
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.chunks(0, self.size).flatten().collect()
    }

    pub(super) fn oid(&self) -> String {
        let mut hasher = Sha256::new();
        self.chunks(0, self.size).for_each(|chunk| hasher.update(chunk));
        hasher.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The file that stands for it.
    pub(crate) fn pointer(&self) -> String {
        let oid = self.oid();
        format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n",
            self.size
        )
    }
}

/// How the server misbehaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// So many links are dead at once.
    pub(super) dead_links: u32,
    /// So many downloads break off in the middle.
    pub(super) cuts: u32,
    /// So many downloads never go on after their middle.
    pub(super) hangs: u32,
    /// So many requests are answered with 503.
    pub(super) busy: u32,
    /// What comes is another content.
    pub(super) is_wrong: bool,
    /// What the batch API says instead of links.
    pub(super) batch: Option<(u16, Value)>,
    /// A part of a content can't be asked for.
    pub(super) has_no_ranges: bool,
    /// Where downloads are sent on to.
    pub(super) redirect: Option<String>,
}

/// The server's memory.
#[derive(Clone, Default)]
pub(crate) struct Store {
    contents: Arc<Mutex<BTreeMap<String, Content>>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    links: Arc<Mutex<u32>>,
    /// Where the contents are said to be; none is the same server.
    pub(super) elsewhere: Arc<Mutex<Option<String>>>,
}

impl Store {
    pub(crate) fn add(&self, content: &Content) {
        self.contents.lock().unwrap().insert(content.oid(), content.clone());
    }

    pub(super) fn fail(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Starts a server with repositories, which wants a login, and this store.
    pub(super) fn serve(&self, folder: &Path) -> Wire {
        let login = basic("x-access-token", PASSWORD);
        self.serve_to(folder, Some(login.clone()), Some(login))
    }

    /// Starts one that wants these headers for repositories, and for this store.
    pub(crate) fn serve_to(
        &self,
        folder: &Path,
        git: Option<String>,
        login: Option<String>,
    ) -> Wire {
        let (store, folder) = (self.clone(), folder.to_owned());
        let git = wire::git(&folder, git);
        Wire::start(Arc::new(move |request| {
            let path = request.uri().path().to_owned();
            if path.starts_with("/media/") {
                let store = store.clone();
                return Box::pin(async move { store.media(&request) });
            }
            if !path.ends_with("/objects/batch") {
                return git(request);
            }
            let (store, login) = (store.clone(), login.clone());
            Box::pin(async move {
                if !has_login(&request, login.as_deref()) {
                    return wire::status(401, &[]);
                }
                store.batch(request).await
            })
        }))
    }

    /// A server of contents alone.
    pub(super) fn media_server(&self) -> Answer {
        let store = self.clone();
        Arc::new(move |request| {
            let store = store.clone();
            Box::pin(async move { store.media(&request) })
        })
    }

    async fn batch(&self, request: Request<Incoming>) -> Response<Body> {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        assert_eq!(request.headers()["accept"], "application/vnd.git-lfs+json");
        assert_eq!(request.headers()["content-type"], "application/vnd.git-lfs+json");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if self.take(|faults| &mut faults.busy) {
            return wire::status(503, &[]);
        }
        if let Some((status, answer)) = &self.faults.lock().unwrap().batch {
            let body = Full::from(answer.to_string());
            return Response::builder().status(*status).body(boxed(body)).unwrap();
        }
        let asked: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&asked["operation"], &asked["hash_algo"]),
            (&json!("download"), &json!("sha256"))
        );
        let base = self.elsewhere.lock().unwrap().clone().unwrap_or(format!("http://{host}"));
        let contents = self.contents.lock().unwrap();
        let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
            let oid = object["oid"].as_str().unwrap();
            let size = &object["size"];
            if contents.get(oid).is_none_or(|content| json!(content.size) != *size) {
                let error = json!({"code": 404, "message": "Object does not exist"});
                return json!({"oid": oid, "size": size, "error": error});
            }
            let mut links = self.links.lock().unwrap();
            *links += 1;
            let action = json!({"href": format!("{base}/media/{oid}"), "header": {"X-Link": links.to_string()}});
            json!({"oid": oid, "size": size, "actions": {"download": action}})
        });
        let answer = json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
        Response::new(boxed(Full::from(answer.to_string())))
    }

    fn media(&self, request: &Request<Incoming>) -> Response<Body> {
        if let Some(to) = self.faults.lock().unwrap().redirect.clone() {
            return wire::status(302, &[("location", &format!("{to}{}", request.uri().path()))]);
        }
        if self.take(|faults| &mut faults.busy) {
            return wire::status(503, &[("retry-after", "0")]);
        }
        if self.take(|faults| &mut faults.dead_links) {
            return wire::status(403, &[]);
        }
        let oid = request.uri().path().trim_start_matches("/media/");
        let Some(mut content) = self.contents.lock().unwrap().get(oid).cloned() else {
            return wire::status(404, &[]);
        };
        let faults = self.faults.lock().unwrap().clone();
        if faults.is_wrong {
            content = Content::new("wrong", content.size);
        }
        let range = request.headers().get("range").map(|range| range.to_str().unwrap());
        let range = range.filter(|_| !faults.has_no_ranges);
        let start: usize = range.map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
        });
        let middle = start + (content.size - start) / 2;
        let is_cut = self.take(|faults| &mut faults.cuts);
        let is_hung = !is_cut && self.take(|faults| &mut faults.hangs);
        let end = if is_cut || is_hung { middle } else { content.size };
        let chunks = stream::iter(content.chunks(start, end)).map(Ok);
        let last = stream::once(async move {
            if is_hung {
                std::future::pending::<()>().await;
            }
            // What was sent before goes out while there is nothing to send.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Err(std::io::Error::other("cut"))
        });
        let body = chunks.chain(last.take(usize::from(is_cut || is_hung)));
        let mut response = Response::builder().header("content-length", content.size - start);
        if range.is_some() {
            let shown = format!("bytes {start}-{}/{}", content.size - 1, content.size);
            response = response.status(206).header("content-range", shown);
        }
        response
            .body(BodyExt::boxed(StreamBody::new(body.map(|chunk| chunk.map(Frame::data)))))
            .unwrap()
    }

    /// Uses up one of the faults that are counted.
    fn take(&self, which: impl Fn(&mut Faults) -> &mut u32) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let count = which(&mut faults);
        let is_some = 0 < *count;
        *count = count.saturating_sub(1);
        is_some
    }
}
