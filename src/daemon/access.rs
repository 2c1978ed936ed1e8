//! The wiring of who may ask, and of who changed what.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Deed, Log, Who};
use crate::auth::Tokens;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::App;
use crate::record::Record;
use crate::server::{Access, CertificateSource, Settings, Socket, Tls};
use crate::state::{Desired, Want};
use crate::workspace::Reach;

/// What is kept beside the log: how each app was when it was recorded last.
const SEEN: &str = "seen.json";
/// What could not be recorded is tried again after this pause.
const RETRY: Duration = Duration::from_secs(30);

/// How the server behaves, and who may ask.
pub(super) fn settings(config: &Config, log: &Arc<Log>) -> Settings {
    let auth = &config.auth;
    let base_url = config.gitops.base_url.as_deref();
    let host_names = auth.host_names.iter().cloned().chain(base_url.and_then(host)).collect();
    Settings {
        access: Access {
            tokens: Some(Arc::new(Tokens::new(&config.state_dir))),
            proxy: auth.proxy.clone(),
            is_open_allowed: auth.is_open_allowed,
            are_metrics_public: auth.are_metrics_public,
            open_models: auth.open_models.clone(),
            host_names,
            base_url: base_url.map(ToOwned::to_owned),
            is_tls: base_url.is_some_and(|url| url.starts_with("https://")),
            group: auth.group.clone(),
            audit: Some(Arc::clone(log)),
            state_dir: config.state_dir.clone(),
        },
        socket: auth.socket.clone().map(|path| Socket {
            path,
            group: auth.group.clone(),
            is_required: auth.is_socket_set,
        }),
        tls: tls(config),
        place: Some(Arc::new(super::place(config))),
        reach: Reach::of(super::access(config)),
        terminals_max: config.terminals.max,
        terminal_idle: config.terminals.idle,
        ..Settings::new(config.listen)
    }
}

/// How it speaks TLS. A certificate that Berth makes is for all names by which it is reached.
fn tls(config: &Config) -> Option<Tls> {
    let mut source = config.tls.source.clone()?;
    if let CertificateSource::SelfSigned { names, .. } = &mut source {
        names.extend(config.gitops.base_url.as_deref().and_then(host));
        let listen = config.listen.ip();
        names.extend((!listen.is_unspecified()).then(|| listen.to_string()));
    }
    Some(Tls { hsts: config.tls.hsts, ..Tls::new(source) })
}

/// The host of an address such as `https://berth.example.com:8443/x`.
fn host(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1.split('/').next()?;
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => rest.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Records what comes by file and by git: which app, by which file and commit, and what differs.
///
/// It compares with what was recorded last, kept in a file beside the log, so that what was changed
/// while Berth did not run is recorded too.
#[derive(Debug)]
pub struct Changes {
    desired: watch::Receiver<Arc<Desired>>,
    record: Arc<Record>,
    log: Arc<Log>,
    clock: Clock,
    seen: Option<Seen>,
    /// What was desired when all of it was recorded last.
    noted: Option<Arc<Desired>>,
}

/// Each app's spec, and the file that it was in.
type Seen = BTreeMap<String, (String, Value)>;

impl Changes {
    /// A recorder of changes.
    pub fn new(
        desired: watch::Receiver<Arc<Desired>>,
        record: Arc<Record>,
        log: Arc<Log>,
        clock: Clock,
    ) -> Self {
        Self { desired, record, log, clock, seen: None, noted: None }
    }

    /// Records that Berth itself begins or ends.
    async fn note_own(&self, action: &'static str, after: Value) {
        let (log, now) = (Arc::clone(&self.log), self.clock.now());
        let who = Who { kind: "berth".to_owned(), name: "berth".to_owned(), role: None };
        let (object, outcome) = ("berth".to_owned(), "done".to_owned());
        let action = action.to_owned();
        let deed = Deed { who, from: None, action, object, before: Value::Null, after, outcome };
        let written = tokio::task::spawn_blocking(move || log.append(&deed, now).map(drop)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the audit log does not say that Berth begins or ends");
        }
    }

    /// Records until it is told to stop: that Berth begins, what changes, and that it ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let version = env!("CARGO_PKG_VERSION");
        let began = serde_json::json!({"version": version, "pid": std::process::id()});
        self.note_own("berth.started", began).await;
        self.follow(&stop).await;
        // What took effect last is recorded before the end is.
        if let Err(error) = self.note().await {
            tracing::warn!(%error, "the last changes of manifests are not recorded");
        }
        self.note_own("berth.stopped", Value::Null).await;
    }

    async fn follow(&mut self, stop: &CancellationToken) {
        let mut problem: Option<String> = None;
        loop {
            let error = self.note().await.err().map(|error| error.to_string());
            if let Some(error) = error.as_ref().filter(|_| problem != error) {
                tracing::warn!(error, "changes of manifests not recorded; it is tried again");
            }
            problem = error;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if problem.is_some() => {}
            }
        }
    }

    async fn note(&mut self) -> io::Result<()> {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        if desired.revision.is_empty() {
            return Ok(());
        }
        let parts = self.record.overview().sources;
        let source = move |file: &str| -> Who {
            let part = parts.iter().find(|part| !part.prefix.is_empty() && part.has(file));
            match part {
                Some(part) => {
                    let path = file.strip_prefix(&part.prefix).unwrap_or(file);
                    let commit = part.commit.clone().unwrap_or_default();
                    let name = format!("{} {commit} {path}", part.name);
                    Who { kind: "git".to_owned(), name, role: None }
                }
                None => Who { kind: "file".to_owned(), name: file.to_owned(), role: None },
            }
        };
        let (log, now, seen) = (Arc::clone(&self.log), self.clock.now(), self.seen.take());
        let (now_desired, noted) = (Arc::clone(&desired), self.noted.take());
        let work = move || {
            let mut seen = seen.map_or_else(|| read(log.folder()), Ok)?;
            let noted = note(&desired, noted.as_deref(), &mut seen, &source, |deed| {
                log.append(&deed, now)
                    .map(drop)
                    .map_err(|error| io::Error::other(error.to_string()))
            });
            if noted? {
                keep(log.folder(), &seen)?;
            }
            io::Result::Ok(seen)
        };
        self.seen = Some(tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??);
        self.noted = Some(now_desired);
        Ok(())
    }
}

/// Records what differs between what is desired and what was seen; an app that is still the one
/// that was `noted` can't differ. Whether there was anything.
fn note(
    desired: &Desired,
    noted: Option<&Desired>,
    seen: &mut Seen,
    source: &dyn Fn(&str) -> Who,
    mut write: impl FnMut(Deed) -> io::Result<()>,
) -> io::Result<bool> {
    let mut is_changed = false;
    let mut tell = |app: &str, file: &str, action: &str, (before, after): (Value, Value)| {
        let (action, object) = (action.to_owned(), format!("app/{app}"));
        let (who, outcome) = (source(file), "done".to_owned());
        write(Deed { who, from: None, action, object, before, after, outcome })
    };
    for (name, want) in &desired.apps {
        let Want::Present(app) = want else { continue };
        let before = noted.and_then(|noted| noted.apps.get(name));
        if matches!(before, Some(Want::Present(before)) if Arc::ptr_eq(before, app)) {
            continue;
        }
        let App { spec, origin, .. } = app.as_ref();
        let after = audit::of_spec(spec);
        let (action, before) = match seen.get(name.as_str()) {
            Some((_, before)) if *before == after => continue,
            Some((_, before)) => ("manifest.changed", before.clone()),
            None => ("manifest.added", Value::Null),
        };
        tell(name.as_str(), &origin.file, action, audit::differences(&before, &after))?;
        seen.insert(name.to_string(), (origin.file.clone(), after));
        is_changed = true;
    }
    let gone: Vec<_> = desired.removals.iter().filter(|n| seen.contains_key(n.as_str())).collect();
    for name in gone {
        let Some((file, before)) = seen.remove(name.as_str()) else { continue };
        tell(name.as_str(), &file, "manifest.removed", audit::differences(&before, &Value::Null))?;
        is_changed = true;
    }
    Ok(is_changed)
}

fn path(folder: &Path) -> PathBuf {
    folder.join(SEEN)
}

fn read(folder: &Path) -> io::Result<Seen> {
    match fs::read(path(folder)) {
        // What makes no sense costs records that were there already, and nothing else.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::new()),
        Err(error) => Err(error),
    }
}

fn keep(folder: &Path, seen: &Seen) -> io::Result<()> {
    let new = path(folder).with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(seen)?)?;
    file.sync_all()?;
    fs::rename(&new, path(folder))
}
