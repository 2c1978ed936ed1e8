//! The part of a spec that is a version's own: how it runs, whatever its image comes from.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    app::{AppSpec, Command, Health, Mount, Resources, RestartPolicy, Rollout, WorkspaceSpec},
    port::PortSpec,
};

/// How a version of an app ran. With its image it can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSpec {
    /// What ran.
    pub command: Command,
    /// What it listened on.
    pub ports: Vec<PortSpec>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// What was mounted into it.
    pub mounts: Vec<Mount>,
    /// What it might use.
    pub resources: Resources,
    /// How one could tell that it worked.
    pub health: Health,
    /// What happened when it exited.
    pub restart: RestartPolicy,
    /// How it took the place of the one before.
    pub rollout: Rollout,
    /// Its folder on the host.
    pub workspace: WorkspaceSpec,
    /// How long it might take to stop.
    pub stop_grace_period: Duration,
}

impl AppSpec {
    /// How the app runs at present.
    pub fn run_spec(&self) -> RunSpec {
        RunSpec {
            command: self.command.clone(),
            ports: self.ports.clone(),
            env: self.env.clone(),
            mounts: self.mounts.clone(),
            resources: self.resources.clone(),
            health: self.health.clone(),
            restart: self.restart,
            rollout: self.rollout.clone(),
            workspace: self.workspace.clone(),
            stop_grace_period: self.stop_grace_period,
        }
    }

    /// The same app, run as an earlier version of it was. Where its image comes from, what it
    /// depends on and whether it is meant to run stay as the manifest says.
    #[must_use]
    pub fn with_run(&self, run: &RunSpec) -> Self {
        let run = run.clone();
        Self {
            command: run.command,
            ports: run.ports,
            env: run.env,
            mounts: run.mounts,
            resources: run.resources,
            health: run.health,
            restart: run.restart,
            rollout: run.rollout,
            workspace: run.workspace,
            stop_grace_period: run.stop_grace_period,
            ..self.clone()
        }
    }
}
