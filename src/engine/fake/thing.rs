//! One container of the fake: its life as Docker would lead it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{PortBinding, RestartPolicy, Timestamp};
use crate::secret::Value;
use crate::state::{ContainerState, Detail, GpuHold};

/// The first pause before the engine starts a container again; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// A container that ran this long gets the first pause again.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

/// The grace period of one that was promised none, in seconds.
const GRACE_S: u32 = 10;

/// What the program in an image does.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// After which time it exits by itself, with which code; none runs on.
    pub exits: Option<(Duration, i64)>,
    /// Whether it answers health checks.
    pub is_healthy: bool,
    /// How long after its start it answers.
    pub warm_up: Duration,
    /// Whether it ignores the stop signal and is killed after the grace period.
    pub ignores_stop: bool,
    /// What a command inside of it answers: exit code and output.
    pub exec: (i64, String),
    /// What it writes at its start.
    pub says: Vec<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            exits: None,
            is_healthy: true,
            warm_up: Duration::ZERO,
            ignores_stop: false,
            exec: (0, String::new()),
            says: Vec::new(),
        }
    }
}

impl Behaviour {
    /// It exits at once.
    pub fn exits(code: i64) -> Self {
        Self { exits: Some((Duration::ZERO, code)), ..Self::default() }
    }

    /// It runs and never answers a health check.
    pub fn never_healthy() -> Self {
        Self { is_healthy: false, exec: (1, "unhealthy".to_owned()), ..Self::default() }
    }
}

/// One container.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) created: Timestamp,
    pub(super) ports: Vec<PortBinding>,
    pub(super) network: Option<String>,
    pub(super) restart: RestartPolicy,
    pub(super) behaviour: Behaviour,
    pub(super) state: ContainerState,
    pub(super) ip: Option<String>,
    pub(super) exit_code: Option<i64>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) restart_count: u64,
    pub(super) is_oom_killed: bool,
    pub(super) error: Option<String>,
    /// How long it may take to stop, in seconds.
    pub(super) grace_s: u32,
    pub(super) restart_at: Option<Timestamp>,
    pub(super) backoff: Option<Duration>,
    pub(super) log: Vec<(Timestamp, String)>,
    /// The values of its variables that are secrets.
    pub(super) given: Vec<Value>,
    /// The GPUs that it was made with, when no Berth made it.
    pub(super) gpus: Option<GpuHold>,
}

impl Thing {
    pub(super) fn new(name: String, image: (String, String), created: Timestamp) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            image: image.0,
            image_id: image.1,
            created,
            ports: Vec::new(),
            network: None,
            restart: RestartPolicy::Never,
            behaviour: Behaviour::default(),
            state: ContainerState::Created,
            ip: None,
            exit_code: None,
            started_at: None,
            finished_at: None,
            restart_count: 0,
            is_oom_killed: false,
            error: None,
            grace_s: GRACE_S,
            restart_at: None,
            backoff: None,
            log: Vec::new(),
            given: Vec::new(),
            gpus: None,
        }
    }

    /// Whether it holds its ports.
    pub(super) fn runs(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }

    /// Whether it runs, or will again by itself.
    pub(super) fn is_live(&self) -> bool {
        self.runs() || self.state == ContainerState::Restarting
    }

    pub(super) fn run(&mut self, ip: String, at: Timestamp) {
        self.state = ContainerState::Running;
        self.ip = Some(ip);
        self.started_at = Some(at);
        self.exit_code = None;
        self.error = None;
        self.restart_at = None;
        self.is_oom_killed = false;
        self.log.extend(self.behaviour.says.iter().map(|line| (at, line.clone())));
    }

    /// Its main process ends; the engine starts it again if its policy says so.
    pub(super) fn crash(&mut self, code: i64, at: Timestamp) {
        self.end(code, at);
        let is_wanted = match self.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        if is_wanted {
            let ran = self.started_at.map_or(Duration::ZERO, |start| at.since(start));
            let pause = match self.backoff {
                Some(last) if ran < BACKOFF_RESET => (last * 2).min(BACKOFF_MAX),
                _ => BACKOFF_FIRST,
            };
            self.backoff = Some(pause);
            self.restart_at = Some(at + pause);
            self.state = ContainerState::Restarting;
        }
    }

    /// Somebody ends it; it stays down.
    pub(super) fn end(&mut self, code: i64, at: Timestamp) {
        self.state = ContainerState::Exited;
        self.ip = None;
        self.exit_code = Some(code);
        self.finished_at = Some(at);
        self.restart_at = None;
    }

    /// When something happens to it by itself next.
    pub(super) fn next_turn(&self) -> Option<Timestamp> {
        match self.state {
            ContainerState::Running => {
                Some(self.started_at? + self.behaviour.exits.as_ref().map(|(after, _)| *after)?)
            }
            ContainerState::Restarting => self.restart_at,
            _ => None,
        }
    }

    pub(super) fn detail(&self) -> Detail {
        Detail {
            started_at: self.started_at,
            finished_at: self.finished_at,
            restart_count: self.restart_count,
            is_oom_killed: self.is_oom_killed,
            exit_code: self.exit_code,
            error: self.error.clone(),
        }
    }
}
