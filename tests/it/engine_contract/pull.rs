//! Pulls by the real engine from a registry on this machine. What the registry says is what the
//! reference implementation of the registry protocol says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use berth::engine::Error;
use berth::model::ImageRef;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};

use super::bench::Bench;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<_> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// What is there, by path, with its type.
type Shelf = BTreeMap<String, (&'static str, Vec<u8>)>;

struct Registry {
    address: String,
    /// The id of the image, and the digest of its manifest.
    image: (String, String),
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// A registry of one image, `app:1`, that nobody else has.
    async fn start(of: &str) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(of.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "of", of.as_bytes()).unwrap();
        let layer = tar.into_inner().unwrap();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let part = |kind: &str, bytes: &[u8]| serde_json::json!({ "mediaType": kind, "size": bytes.len(), "digest": digest(bytes) });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part(CONFIG, &config), "layers": [part(LAYER, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let image = (digest(&config), digest(&manifest));
        // A private one wants to know who asks before anything else.
        let mut shelf = Shelf::from([("/v2/".to_owned(), ("application/json", b"{}".to_vec()))]);
        for name in ["1", &image.1] {
            shelf.insert(format!("/v2/app/manifests/{name}"), (MANIFEST, manifest.clone()));
            shelf.insert(format!("/v2/torn/manifests/{name}"), (MANIFEST, manifest.clone()));
        }
        for blob in [&config, &layer] {
            let path = format!("/v2/app/blobs/{}", digest(blob));
            shelf.insert(path, ("application/octet-stream", blob.clone()));
        }
        // Its layer is as long as it should be, and another one.
        let torn = format!("/v2/torn/blobs/{}", digest(&layer));
        shelf.insert(torn, ("application/octet-stream", vec![0; layer.len()]));
        let path = format!("/v2/torn/blobs/{}", digest(&config));
        shelf.insert(path, ("application/octet-stream", config));
        Self::serve(image, shelf).await
    }

    /// A registry that answers nobody.
    async fn private() -> Self {
        Self::serve((String::new(), String::new()), Shelf::new()).await
    }

    async fn serve(image: (String, String), shelf: Shelf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        tokio::spawn(listen(listener, Arc::new(shelf), Arc::clone(&asked)));
        Self { address, image, asked }
    }

    fn reference(&self, rest: &str) -> ImageRef {
        ImageRef::parse(&format!("{}/{rest}", self.address)).unwrap()
    }
}

async fn listen(
    listener: tokio::net::TcpListener,
    shelf: Arc<Shelf>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (shelf, asked) = (Arc::clone(&shelf), Arc::clone(&asked));
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answer(&shelf, request.uri().path());
                asked.lock().unwrap().push(request.uri().path().to_owned());
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            // An engine tries TLS first; that is no HTTP and ends the connection.
            let io = TokioIo::new(socket);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"errors": [{"code": code, "message": message, "detail": null}]});
    let mut answer = Response::builder().status(status).header("content-type", "application/json");
    if status == 401 {
        answer = answer.header("www-authenticate", "Basic realm=\"private\"");
    }
    answer.body(Full::from(body.to_string())).unwrap()
}

fn answer(shelf: &Shelf, path: &str) -> Response<Full<Bytes>> {
    match (path, shelf.get(path)) {
        (_, _) if shelf.is_empty() => refusal(401, "UNAUTHORIZED", "authentication required"),
        (path, _) if path.starts_with("/v2/secret/") => {
            refusal(401, "UNAUTHORIZED", "authentication required")
        }
        (path, _) if path.starts_with("/v2/busy/") => {
            refusal(429, "TOOMANYREQUESTS", "You have reached your pull rate limit")
        }
        (_, Some((kind, bytes))) => Response::builder()
            .header("content-type", *kind)
            .header("docker-content-digest", digest(bytes))
            .body(Full::from(bytes.clone()))
            .unwrap(),
        (_, None) => refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

pub(super) async fn pull(bench: &Bench, image: &ImageRef) -> (Result<String, Error>, Vec<String>) {
    let (log, mut lines) = tokio::sync::mpsc::channel(1000);
    let pulled = bench.engine.pull(image, log).await;
    (pulled, std::iter::from_fn(|| lines.try_recv().ok()).collect())
}

/// Takes what was pulled away again.
async fn drop_image(bench: &Bench, id: &str, image: &ImageRef) {
    let tag = image.as_str().to_owned();
    let call = berth::plan::Call::RemoveImage { id: id.to_owned(), tag };
    let _ = bench.apply(&call, None).await;
}

/// Faults D38, D39: by tag and by digest, and again when it is there already.
#[tokio::test]
async fn an_image_is_pulled_and_is_there() {
    let bench = Bench::docker().await;
    let registry = Registry::start(&bench.instance).await;
    let pinned = registry.reference(&format!("app@{}", registry.image.1));
    for image in [registry.reference("app:1"), pinned] {
        for _ in 0..2 {
            let (pulled, log) = pull(&bench, &image).await;
            assert_eq!(pulled.unwrap(), registry.image.0, "{log:?}");
            assert!(log.iter().any(|line| line.contains("Digest: sha256:")), "{log:?}");
            let world = bench.engine.observe().await.unwrap();
            assert_eq!(world.image_id(image.as_str()), Some(registry.image.0.as_str()));
        }
        drop_image(&bench, &registry.image.0, &image).await;
    }
    let asked = registry.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|path| path.contains("/blobs/")), "{asked:?}");
}

/// Fault D38: each is a sentence that names the image and the cause; none leaves an image.
#[tokio::test]
async fn what_can_not_be_pulled_is_said_and_leaves_nothing() {
    let bench = Bench::docker().await;
    let registry = Registry::start(&bench.instance).await;
    let private = Registry::private().await;
    let cases: &[(&Registry, &str, &[&str])] = &[
        (&registry, "app:2", &["manifest", "unknown"]),
        (&registry, "other:1", &["manifest", "unknown"]),
        (&registry, "secret/app:1", &["unauthorized", "docker login"]),
        (&private, "app:1", &["no basic auth credentials", "docker login"]),
        (&registry, "busy/app:1", &["toomanyrequests", "wait, or"]),
        (&registry, "torn:1", &["verif"]),
    ];
    for (registry, rest, parts) in cases {
        let image = registry.reference(rest);
        let (pulled, _) = pull(&bench, &image).await;
        let Err(Error::Work(message)) = pulled else { panic!("{rest}: {pulled:?}") };
        let begins = format!("failed to pull image `{image}`: ");
        assert!(message.starts_with(&begins), "{message}");
        for part in *parts {
            assert!(message.contains(part), "{rest}: {part}: {message}");
        }
        assert_eq!(bench.engine.observe().await.unwrap().image_id(image.as_str()), None, "{rest}");
    }
}
