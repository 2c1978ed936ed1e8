//! What happens in the store, for those who want to hear of it.

use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::name::Key;
use crate::inspect::Safety;
use crate::model::{Digest, Timestamp};

/// How many happenings wait for a slow listener; what it misses after that it is told of as missed.
const WAITING: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A model was stored; `is_new` says that none of its name was there.
    Stored {
        /// Its name.
        key: Key,
        /// Its content.
        sha256: Digest,
        /// How long it is.
        size: u64,
        /// Whether it is a new version, and not another content of one.
        is_new: bool,
    },
    /// An alias stands for another version; none is that it is gone.
    Alias {
        /// The project.
        project: String,
        /// The app.
        app: String,
        /// The alias.
        alias: String,
        /// What it stood for.
        before: Option<String>,
        /// What it stands for.
        after: Option<String>,
    },
    /// A model was deleted.
    Deleted {
        /// Its name.
        key: Key,
    },
    /// It is known what is inside a model.
    Scanned {
        /// Its name.
        key: Key,
        /// Its content.
        sha256: Digest,
        /// What loading it does.
        safety: Safety,
        /// Whether it was stored just now, and not looked into again.
        is_new: bool,
    },
    /// The content of a model has changed on the disk, and was moved aside.
    Quarantined {
        /// Its name.
        key: Key,
        /// What its content was.
        sha256: Digest,
    },
}

/// What happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Its number since the start.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl What {
    /// Its word: `version.created`, ….
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stored { is_new: true, .. } => "version.created",
            Self::Stored { .. } => "version.changed",
            Self::Alias { .. } => "alias.moved",
            Self::Deleted { .. } => "model.deleted",
            Self::Scanned { .. } => "scan.finished",
            Self::Quarantined { .. } => "model.quarantined",
        }
    }

    /// The project that it is about.
    pub fn project(&self) -> &str {
        match self {
            Self::Alias { project, .. } => project,
            Self::Stored { key, .. }
            | Self::Deleted { key }
            | Self::Scanned { key, .. }
            | Self::Quarantined { key, .. } => &key.project,
        }
    }

    /// Whether a person may have to act.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Quarantined { .. } => true,
            Self::Scanned { safety, .. } => *safety == Safety::Dangerous,
            _ => false,
        }
    }

    /// A sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::Stored { key, size, is_new, .. } => {
                let verb = if *is_new { "stored" } else { "replaced" };
                format!("model/{key} was {verb}: {}", crate::model::format_bytes(*size))
            }
            Self::Alias { project, app, alias, after: Some(version), .. } => {
                format!("alias `{alias}` of {project}/{app} stands for {version}")
            }
            Self::Alias { project, app, alias, .. } => {
                format!("alias `{alias}` of {project}/{app} is gone")
            }
            Self::Deleted { key } => format!("model/{key} was deleted"),
            Self::Scanned { key, safety, .. } => {
                format!("model/{key} was looked into: {}", safety.word())
            }
            Self::Quarantined { key, .. } => {
                format!(
                    "model/{key} has changed on the disk, and is in quarantine: upload it again"
                )
            }
        }
    }

    /// The facts, by name.
    pub fn facts(&self) -> Map<String, Value> {
        let named = |key: &Key| {
            json!({
                "project_id": key.project, "app_name": key.app, "version": key.version,
                "model_name": key.model, "url": key.path(),
            })
        };
        let mut facts = match self {
            Self::Alias { project, app, alias, before, after } => json!({
                "project_id": project, "app_name": app, "alias": alias,
                "version": after, "previous_version": before,
            }),
            Self::Stored { key, .. }
            | Self::Deleted { key }
            | Self::Scanned { key, .. }
            | Self::Quarantined { key, .. } => named(key),
        };
        match self {
            Self::Stored { sha256, size, .. } => {
                facts["sha256"] = json!(sha256);
                facts["size"] = json!(size);
            }
            Self::Scanned { sha256, safety, .. } => {
                facts["sha256"] = json!(sha256);
                facts["safety"] = json!(safety);
            }
            Self::Quarantined { sha256, .. } => facts["sha256"] = json!(sha256),
            Self::Alias { .. } | Self::Deleted { .. } => {}
        }
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }
}

/// Where it is told. Telling waits for nobody.
#[derive(Clone, Debug)]
pub(super) struct Bulletin {
    sender: broadcast::Sender<Happening>,
    next: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Default for Bulletin {
    fn default() -> Self {
        Self { sender: broadcast::channel(WAITING).0, next: std::sync::Arc::default() }
    }
}

impl Bulletin {
    pub(super) fn listen(&self) -> broadcast::Receiver<Happening> {
        self.sender.subscribe()
    }

    pub(super) fn tell(&self, what: What, at: Timestamp) {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        // Nobody listens only where nobody wants to know.
        let _ = self.sender.send(Happening { id, at, what });
    }
}
