//! What all jobs share: the engine, names of their own, folders, and the broom.

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use berth::model::label;
use serde_json::Value;
use tempfile::TempDir;

use crate::raw::{self, Line, encode};

/// The image of every app; `compose/base/tiny.sh` makes it. It stops at once.
pub(crate) const IMAGE: &str = "berth/tiny:offline";
/// The label of compose's containers.
pub(crate) const COMPOSE: &str = "bench.compose";
const SOCKET: &str = "unix:///var/run/docker.sock";

/// Where the measuring takes place.
pub(crate) struct Bed {
    pub(crate) socket: PathBuf,
    /// The instance of the Berths that are measured.
    pub(crate) instance: String,
    /// The value of the same label on the raw client's containers.
    pub(crate) raw: String,
    pub(crate) network: String,
    pub(crate) engine: String,
    folder: TempDir,
    names: AtomicU32,
    template: OnceLock<Template>,
}

/// Berth's own create call.
pub(crate) struct Template {
    /// The version as a path: `/v1.41`.
    pub(crate) version: String,
    pub(crate) body: String,
}

impl Bed {
    /// Finds the engine; says why there is none to measure with.
    pub(crate) async fn make() -> Result<Self, String> {
        let host = std::env::var("BERTH_TEST_ENGINE").unwrap_or_else(|_| SOCKET.to_owned());
        let socket = host.strip_prefix("unix://").ok_or("the engine must be a unix socket")?;
        let socket = PathBuf::from(socket);
        let mut line = Line::open(&socket).await.map_err(|error| format!("{host}: {error}"))?;
        let (status, _) = line.call("GET", &format!("/images/{IMAGE}/json"), None).await;
        if status != 200 {
            return Err(format!("no image {IMAGE}: run compose/base/tiny.sh"));
        }
        let (_, version) = line.call("GET", "/version", None).await;
        let version: Value = serde_json::from_slice(&version).unwrap();
        let pid = std::process::id();
        Ok(Self {
            socket,
            instance: format!("bench-b{pid}"),
            raw: format!("bench-r{pid}"),
            network: format!("bench-{pid}"),
            engine: version["Version"].as_str().unwrap_or("?").to_owned(),
            folder: tempfile::tempdir().unwrap(),
            names: AtomicU32::new(1),
            template: OnceLock::new(),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder below the bed's.
    pub(crate) fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}-{}", self.names.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Names that were never used, each as long as any other: apps that are new to the host.
    pub(crate) fn names(&self, letter: char, count: usize) -> Vec<String> {
        let next = || self.names.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|_| name(letter, next())).collect()
    }

    /// The app whose create call is the pattern of the raw client's.
    pub(crate) fn pattern() -> String {
        name('b', 0)
    }

    pub(crate) async fn line(&self) -> Line {
        Line::open(&self.socket).await.unwrap()
    }

    pub(crate) fn set_template(&self, version: String, body: String) {
        assert!(
            body.contains(&Self::pattern()) && body.contains(&self.instance),
            "not Berth's: {body}"
        );
        let _ = self.template.set(Template { version, body });
    }

    pub(crate) fn has_template(&self) -> bool {
        self.template.get().is_some()
    }

    pub(crate) fn template(&self) -> &Template {
        self.template.get().unwrap()
    }

    /// Berth's create body for a container of the raw client. The folder that it mounts is made.
    pub(crate) fn raw_body(&self, app: &str, env: usize) -> String {
        std::fs::create_dir_all(self.path("workspaces").join(app).join("data")).unwrap();
        let body =
            self.template().body.replace(&Self::pattern(), app).replace(&self.instance, &self.raw);
        body.replace("ROUND=0", &format!("ROUND={env}"))
    }

    /// Removes every container of this run. A Berth that was just told to stop may still finish
    /// what it has begun, so that there are two looks.
    pub(crate) async fn sweep(&self) {
        for _ in 0..2 {
            let mut ids = self.ids(&format!("{}={}", label::INSTANCE, self.instance)).await;
            ids.extend(self.ids(&format!("{}={}", label::INSTANCE, self.raw)).await);
            ids.extend(self.ids(&format!("{COMPOSE}={}", self.instance)).await);
            if ids.is_empty() {
                return;
            }
            let end = async |line: &mut Line, id: &String| {
                line.call("DELETE", &format!("/containers/{id}?force=1"), None).await;
            };
            raw::each(&self.socket, &ids, end).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// The ids of all containers with this label.
    pub(crate) async fn ids(&self, label: &str) -> Vec<String> {
        let filters = encode(&format!(r#"{{"label":["{label}"]}}"#));
        let path = format!("/containers/json?all=1&filters={filters}");
        let (_, body) = self.line().await.call("GET", &path, None).await;
        let rows: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
        rows.iter().filter_map(|row| row["Id"].as_str().map(ToOwned::to_owned)).collect()
    }

    pub(crate) async fn sweep_network(&self) {
        self.line().await.call("DELETE", &format!("/networks/{}", self.network), None).await;
    }

    /// The same with a health check, which decides when an old version may go.
    pub(crate) fn checked_manifest(app: &str, env: usize) -> String {
        let check = "  run: httpd -f -p 8080 -h /www\n  health: {tcp: 8080}\n";
        format!("{}{check}", Self::manifest(app, env))
    }

    /// A manifest of an app; another `env` is another version of it.
    pub(crate) fn manifest(app: &str, env: usize) -> String {
        format!(
            "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: {app}\nspec:\n  image: {IMAGE}\n  \
             env:\n    ROUND: \"{env}\"\n"
        )
    }
}

fn name(letter: char, nth: u32) -> String {
    format!("{letter}{}-{nth:05}", std::process::id())
}

/// Puts files into a watched folder: written beside it, then renamed one after the other.
pub(crate) fn drop_into(folder: &Path, files: &[(String, String)]) -> tokio::time::Instant {
    let beside = tempfile::tempdir_in(folder.ancestors().nth(2).unwrap()).unwrap();
    let beside = beside.path();
    for (name, text) in files {
        std::fs::write(beside.join(name), text).unwrap();
    }
    for (name, _) in files {
        std::fs::rename(beside.join(name), folder.join(name)).unwrap();
    }
    tokio::time::Instant::now()
}
