//! Whether a machine is fit for Berth: checks as data, each with its evidence and what to do.
//!
//! # Guarantees
//! - Each check has a deadline; one that hangs holds up no other.
//! - Looking changes nothing. What [`Report::mend`] changes is safe: it makes a missing folder, or
//!   takes a permission away from others.

mod cards;
mod engine;
mod gpus;
mod host;
mod inside;
mod ours;
mod reach;
mod remote;

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use reach::Host;

use crate::engine::Engine;
use crate::model::{PortRange, Timestamp, code};
use crate::state::Inventory;

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is looked at.
#[derive(Clone)]
pub struct Place {
    /// Where Berth keeps its state.
    pub state: PathBuf,
    /// The watched folder, where there is one.
    pub manifests: Option<PathBuf>,
    /// The apps' folders.
    pub workspaces: PathBuf,
    /// The model store.
    pub models: PathBuf,
    /// The folder of secrets.
    pub secrets: PathBuf,
    /// Where the interface listens.
    pub listen: SocketAddr,
    /// The host ports that are given out.
    pub ports: PortRange,
    /// Where the engine listens, as it is configured; none where it only pretends.
    pub docker_host: Option<String>,
    /// The engine.
    pub engine: Option<Arc<dyn Engine>>,
    /// The hosts of git repositories that are named somewhere.
    pub git_hosts: Vec<Host>,
    /// The images that manifests name.
    pub images: Vec<String>,
    /// A file of authorities whose certificates are believed beside those of this machine.
    pub authorities: Option<PathBuf>,
    /// Whether commands may be run in containers of apps.
    pub is_inside: bool,
    /// Where the host's `/proc` is.
    pub proc: PathBuf,
    /// Where the host's cgroups are.
    pub cgroup: PathBuf,
    /// What is known of the GPUs.
    pub gpus: Arc<Inventory>,
    /// What the controller says of itself; none where nobody answers.
    pub controller: Option<Controller>,
    /// Berth's version.
    pub version: String,
    /// The time.
    pub now: Timestamp,
}

impl Default for Place {
    /// A place of which nothing is known.
    fn default() -> Self {
        let state = PathBuf::from("/var/lib/berth");
        Self {
            manifests: None,
            workspaces: PathBuf::from("/opt/dockerstore"),
            models: state.join("models"),
            secrets: state.join("secrets"),
            state,
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            ports: PortRange { first: 8001, last: 8999 },
            docker_host: None,
            engine: None,
            git_hosts: Vec::new(),
            images: Vec::new(),
            authorities: None,
            is_inside: false,
            proc: PathBuf::from("/proc"),
            cgroup: PathBuf::from("/sys/fs/cgroup"),
            gpus: Arc::default(),
            controller: None,
            version: String::new(),
            now: Timestamp::from_millis(0),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What a controller says of itself.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    /// Its version.
    pub version: String,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// How many apps differ from what is wanted.
    pub differing: usize,
    /// How many mistakes the manifests have.
    pub mistakes: usize,
    /// When the interface's certificate ends.
    pub certificate: Option<Timestamp>,
    /// When the manifests were last read completely.
    pub read_at: Option<Timestamp>,
    /// Why they can't be read now.
    pub unreadable: Option<String>,
    /// How many apps wait for a pass or are in one, and how long the first of those that wait has
    /// been due; none where the controller does not say.
    pub queue: Option<(u64, Duration)>,
}

/// What checks are about, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The machine.
    Host,
    /// The engine.
    Docker,
    /// The GPUs.
    Gpu,
    /// What is elsewhere.
    Network,
    /// What Berth keeps.
    State,
    /// The Berth that runs.
    Controller,
    /// What ends one day.
    Certificates,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Host,
        Self::Docker,
        Self::Gpu,
        Self::Network,
        Self::State,
        Self::Controller,
        Self::Certificates,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Docker => "docker",
            Self::Gpu => "gpu",
            Self::Network => "network",
            Self::State => "state",
            Self::Controller => "controller",
            Self::Certificates => "certificates",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a check came out, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There is nothing to look at here.
    Skipped,
    /// All is well.
    Good,
    /// It works, and may not always.
    Warning,
    /// It does not work.
    Error,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    outcome: Outcome,
    evidence: String,
    fix: String,
    mends: Vec<Mend>,
}

impl Finding {
    fn new(outcome: Outcome, evidence: impl Into<String>) -> Self {
        Self { outcome, evidence: evidence.into(), fix: String::new(), mends: Vec::new() }
    }

    fn good(evidence: impl Into<String>) -> Self {
        Self::new(Outcome::Good, evidence)
    }

    fn skipped(evidence: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, evidence)
    }

    fn warning(evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..Self::new(Outcome::Warning, evidence) }
    }

    fn error(evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..Self::new(Outcome::Error, evidence) }
    }

    fn mended_by(self, mends: Vec<Mend>) -> Self {
        Self { mends, ..self }
    }
}

/// A safe change that mends what a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mend {
    /// Makes a folder.
    Make(PathBuf),
    /// Takes what others may do with a file from them.
    Close(PathBuf),
}

/// What came of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it is about.
    pub group: Group,
    /// What was looked at.
    pub name: &'static str,
    /// The code that `berth explain` knows.
    pub code: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was seen.
    pub evidence: String,
    /// What to do about it; empty when there is nothing to be done.
    pub fix: String,
    /// Why it matters.
    pub hint: &'static str,
    #[serde(skip)]
    mends: Vec<Mend>,
}

impl Report {
    /// Whether [`Report::mend`] can do something about it.
    pub fn is_mendable(&self) -> bool {
        !self.mends.is_empty()
    }

    /// Mends what can be mended safely; answers what was done.
    pub fn mend(&self) -> io::Result<Vec<String>> {
        let mut done = Vec::new();
        for mend in &self.mends {
            done.push(match mend {
                Mend::Make(path) => {
                    std::fs::create_dir_all(path)?;
                    format!("made {}", path.display())
                }
                Mend::Close(path) => {
                    use std::os::unix::fs::PermissionsExt as _;
                    let mode = std::fs::metadata(path)?.permissions().mode();
                    let mode = std::fs::Permissions::from_mode(mode & 0o700);
                    std::fs::set_permissions(path, mode)?;
                    format!("closed {} to others", path.display())
                }
            });
        }
        Ok(done)
    }
}

type Look = fn(Arc<Place>) -> BoxFuture<'static, Finding>;

/// A check.
#[derive(Clone, Copy)]
struct Check {
    group: Group,
    name: &'static str,
    code: &'static str,
    look: Look,
}

const fn check(group: Group, name: &'static str, code: &'static str, look: Look) -> Check {
    Check { group, name, code, look }
}

/// Every check, in the order in which they are shown.
fn checks() -> impl Iterator<Item = Check> {
    [host::CHECKS, engine::CHECKS, gpus::CHECKS, remote::CHECKS, ours::CHECKS]
        .into_iter()
        .flatten()
        .copied()
}

/// Looks at a place: all of it, or one group.
pub async fn examine(place: &Arc<Place>, only: Option<Group>) -> Vec<Report> {
    let wanted: Vec<_> = checks().filter(|c| only.is_none_or(|only| c.group == only)).collect();
    let looking: Vec<_> = wanted
        .iter()
        .map(|check| tokio::spawn(tokio::time::timeout(PATIENCE, (check.look)(Arc::clone(place)))))
        .collect();
    let mut reports = Vec::new();
    for (check, looking) in wanted.into_iter().zip(looking) {
        let finding = match looking.await {
            Ok(Ok(finding)) => finding,
            Ok(Err(_)) => {
                let evidence = format!("it did not answer within {} s", PATIENCE.as_secs());
                Finding::error(evidence, "see what it hangs on")
            }
            Err(_) => Finding::error("the check itself failed", "report it: a defect of Berth"),
        };
        let Finding { outcome, evidence, fix, mends } = finding;
        let Check { group, name, code: slug, .. } = check;
        let hint = code(slug).map_or("", |code| code.means);
        reports.push(Report { group, name, code: slug, outcome, evidence, fix, hint, mends });
    }
    reports
}

/// The worst of several.
pub fn worst(reports: &[Report]) -> Outcome {
    reports.iter().map(|report| report.outcome).max().unwrap_or(Outcome::Skipped)
}

/// A look that waits for the disk.
fn blocking(
    place: Arc<Place>,
    look: impl FnOnce(&Place) -> Finding + Send + 'static,
) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let looked = tokio::task::spawn_blocking(move || look(&place)).await;
        looked.unwrap_or_else(|_| Finding::error("the check itself failed", "report it"))
    })
}

#[cfg(test)]
mod tests;
