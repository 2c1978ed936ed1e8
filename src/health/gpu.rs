//! Whether containers still reach their GPUs. A reload of the host's services can take the devices
//! from a container that runs on, and only a new container gets them back (fault U01).
//!
//! One task for each watched container, so none on hosts without GPUs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::engine::Engine;
use crate::gpu::{
    Cards,
    nodes::{Reach, Roots},
};
use crate::model::{AppName, GpuGrant, GpuVendor};
use crate::queue::Queue;
use crate::state::ContainerId;

/// The pause before a container is first looked at: it starts.
const FIRST: Duration = Duration::from_secs(5);
/// The pause between two looks at a list of devices.
const LIST_PAUSE: Duration = Duration::from_secs(5);
/// The pause between two commands in a container.
const EXEC_PAUSE: Duration = Duration::from_secs(60);
/// The pause before what looks lost is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the command may take.
const EXEC_LIMIT: Duration = Duration::from_secs(20);
/// So often the command may be of no use before it is given up.
const USELESS_MAX: u32 = 3;
/// Lists the cards that a process can reach; it comes with the driver.
const COMMAND: [&str; 2] = ["nvidia-smi", "-L"];
/// What it says when it can't reach the driver.
const NO_NVML: &str = "Failed to initialize NVML";

/// How it is found out whether a container still reaches its GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// By the list of devices that it may use, where there is one, else by a command in it.
    #[default]
    Auto,
    /// By the list of devices that it may use.
    Cgroup,
    /// By a command in it.
    Exec,
    /// Not at all.
    Off,
}

impl Check {
    /// A check, by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "cgroup" => Self::Cgroup,
            "exec" => Self::Exec,
            "off" => Self::Off,
            _ => return None,
        })
    }
}

/// What one look said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Reached,
    Lost(String),
    /// Nobody can tell.
    Unknown,
}

struct Watched {
    container: ContainerId,
    lost: Option<String>,
    task: AbortHandle,
}

/// Watches the GPUs of all apps that have some.
pub struct GpuWatch {
    engine: Arc<dyn Engine>,
    queue: Arc<Queue>,
    cards: Arc<Cards>,
    roots: Roots,
    check: Check,
    watched: Mutex<BTreeMap<AppName, Watched>>,
}

impl GpuWatch {
    /// Watches nothing yet.
    pub fn new(
        engine: Arc<dyn Engine>,
        queue: Arc<Queue>,
        cards: Arc<Cards>,
        (roots, check): (Roots, Check),
    ) -> Arc<Self> {
        Arc::new(Self { engine, queue, cards, roots, check, watched: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that this container is watched.
    pub fn watch(self: &Arc<Self>, app: &AppName, container: &ContainerId, grant: &GpuGrant) {
        if self.check == Check::Off {
            return;
        }
        let mut all = self.lock();
        if all.get(app).is_some_and(|old| old.container == *container) {
            return;
        }
        let task = tokio::spawn({
            let (this, app) = (Arc::clone(self), app.clone());
            let (container, grant) = (container.clone(), grant.clone());
            async move { this.run(&app, &container, &grant).await }
        });
        let new = Watched { container: container.clone(), lost: None, task: task.abort_handle() };
        if let Some(old) = all.insert(app.clone(), new) {
            old.task.abort();
        }
    }

    /// Watches the app no more, and forgets what was seen.
    pub fn forget(&self, app: &AppName) {
        if let Some(old) = self.lock().remove(app) {
            old.task.abort();
        }
    }

    /// The app's container that lost its GPUs, and how that was seen.
    pub fn lost(&self, app: &AppName) -> Option<(ContainerId, String)> {
        let all = self.lock();
        let watched = all.get(app)?;
        Some((watched.container.clone(), watched.lost.clone()?))
    }

    async fn run(&self, app: &AppName, id: &ContainerId, grant: &GpuGrant) {
        tokio::time::sleep(FIRST).await;
        let mut list = self.roots.device_list(id).filter(|_| self.check != Check::Exec);
        let mut is_exec = match self.check {
            Check::Auto | Check::Exec => list.is_none() && has_command(grant),
            Check::Cgroup | Check::Off => false,
        };
        if list.is_none() && !is_exec {
            tracing::info!(app = app.as_str(), "whether it reaches its GPUs can't be told here");
            return;
        }
        let (mut useless, mut doubts) = (0, 0);
        loop {
            let look = match &list {
                Some(list) => by_list(self.roots.reach(list, grant, &self.cards.latest())),
                None => self.by_command(id, grant).await,
            };
            let mut pause = if list.is_some() { LIST_PAUSE } else { EXEC_PAUSE };
            useless = if look == Look::Unknown { useless + 1 } else { 0 };
            match look {
                Look::Unknown if useless == USELESS_MAX => {
                    let has_other =
                        self.check == Check::Auto && list.is_some() && has_command(grant);
                    if has_other {
                        tracing::info!(
                            app = app.as_str(),
                            "its list of devices does not tell whether it reaches its GPUs: the driver's command in it is asked"
                        );
                        (list, is_exec, useless) = (None, true, 0);
                        continue;
                    }
                    tracing::info!(
                        app = app.as_str(),
                        "whether it reaches its GPUs can't be told here"
                    );
                    if is_exec {
                        return;
                    }
                }
                Look::Unknown => {}
                Look::Reached => {
                    doubts = 0;
                    self.note(app, id, None);
                }
                // Once may be a moment's trouble.
                Look::Lost(_) if doubts == 0 => {
                    doubts = 1;
                    pause = AGAIN;
                }
                Look::Lost(message) => self.note(app, id, Some(message)),
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn note(&self, app: &AppName, id: &ContainerId, lost: Option<String>) {
        let mut all = self.lock();
        let Some(watched) = all.get_mut(app).filter(|watched| watched.container == *id) else {
            return;
        };
        let is_turn = watched.lost.is_some() != lost.is_some();
        watched.lost = lost;
        drop(all);
        if is_turn {
            self.queue.ask(app, Duration::ZERO);
        }
    }

    async fn by_command(&self, id: &ContainerId, grant: &GpuGrant) -> Look {
        let command = COMMAND.map(ToOwned::to_owned);
        match self.engine.exec(id, &command, EXEC_LIMIT).await {
            Ok((code, output)) => read(code, &output, grant),
            Err(_) => Look::Unknown,
        }
    }
}

fn by_list(reach: Reach) -> Look {
    match reach {
        Reach::All => Look::Reached,
        Reach::Denied(node) => Look::Lost(format!(
            "the container can't use its GPU any more: {node} was taken from it"
        )),
        Reach::Unknown => Look::Unknown,
    }
}

/// Whether the command is in a container with these GPUs.
fn has_command(grant: &GpuGrant) -> bool {
    let words = &grant.capabilities;
    let has = words.is_empty() || words.iter().any(|word| word == "utility" || word == "all");
    grant.vendor == GpuVendor::Nvidia && has
}

/// What the command's answer means.
fn read(code: i64, output: &str, grant: &GpuGrant) -> Look {
    if output.contains(NO_NVML) {
        // Of a driver that was changed under it a container knows nothing until it is made anew,
        // and it could not be made anew.
        let said = output.lines().find(|line| line.contains(NO_NVML)).unwrap_or_default().trim();
        return if said.contains("version mismatch") {
            Look::Unknown
        } else {
            Look::Lost(format!("the container can't use its GPU any more: {said}"))
        };
    }
    if code != 0 || !output.contains("UUID: ") {
        return Look::Unknown;
    }
    match grant.devices.iter().find(|device| !output.contains(device.as_str())) {
        None => Look::Reached,
        Some(gone) => Look::Lost(format!("the container can't see its GPU {gone} any more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuShare;

    #[test]
    fn the_commands_answers_are_understood() {
        let grant = GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: vec!["GPU-a".to_owned(), "GPU-b".to_owned()],
            share: GpuShare::Exclusive,
            memory_bytes: None,
            capabilities: Vec::new(),
        };
        let both = "GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n";
        assert_eq!(read(0, both, &grant), Look::Reached);
        let one = "GPU 0: NVIDIA H200 (UUID: GPU-a)\n";
        assert!(matches!(read(0, one, &grant), Look::Lost(said) if said.contains("GPU-b")));
        let lost = read(255, "Failed to initialize NVML: Unknown Error\n", &grant);
        assert!(matches!(lost, Look::Lost(said) if said.ends_with("NVML: Unknown Error")));
        let changed = "Failed to initialize NVML: Driver/library version mismatch";
        assert_eq!(read(18, changed, &grant), Look::Unknown);
        let absent = "exec: \"nvidia-smi\": executable file not found in $PATH";
        assert_eq!(read(126, absent, &grant), Look::Unknown);
        assert!(has_command(&grant));
        let capabilities = vec!["compute".to_owned()];
        assert!(!has_command(&GpuGrant { capabilities, ..grant }));
    }

    #[test]
    fn checks_go_by_their_names() {
        let all = ["auto", "cgroup", "exec", "off", "no"].map(Check::parse);
        let [auto, cgroup, exec, off, no] = all;
        assert_eq!((auto, cgroup), (Some(Check::Auto), Some(Check::Cgroup)));
        assert_eq!((exec, off, no), (Some(Check::Exec), Some(Check::Off), None));
    }
}
