//! The part of a spec that is a version's own: how it runs, whatever its image comes from.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    access::SshAccess,
    app::{AppSpec, Command, Health, Mount, Resources, RestartPolicy, Rollout, WorkspaceSpec},
    gpu::GpuAsk,
    port::PortSpec,
    secret::{Profile, SecretRef},
    stored::ModelsSpec,
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
    /// The GPUs that it needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuAsk>,
    /// The variables whose values were secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, SecretRef>,
    /// How tightly its container was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The way in by ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshAccess>,
    /// How it used stored models, and which versions of them.
    #[serde(default, skip_serializing_if = "ModelsSpec::is_usual")]
    pub models: ModelsSpec,
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
            gpus: self.gpus.clone(),
            secret_env: self.secret_env.clone(),
            profile: self.profile,
            ssh: self.ssh.clone(),
            models: self.models.clone(),
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
            gpus: run.gpus,
            secret_env: run.secret_env,
            profile: run.profile,
            ssh: run.ssh,
            models: run.models,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuAsk;

    /// What an older Berth wrote of a version without GPUs is what this one writes.
    #[test]
    fn a_version_without_gpus_is_written_as_ever() {
        let mut run = RunSpec {
            command: Command::Image,
            ports: Vec::new(),
            env: BTreeMap::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            health: Health {
                check: None,
                start_period: Duration::ZERO,
                interval: Duration::ZERO,
                timeout: Duration::ZERO,
                retries: 1,
            },
            restart: RestartPolicy::Always,
            rollout: Rollout::default(),
            workspace: WorkspaceSpec::default(),
            stop_grace_period: Duration::ZERO,
            gpus: None,
            secret_env: BTreeMap::new(),
            profile: None,
            ssh: None,
            models: ModelsSpec::default(),
        };
        let text = serde_json::to_string(&run).unwrap();
        assert!(!text.contains("gpus"), "{text}");
        run.gpus = Some(GpuAsk::whole(2));
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<RunSpec>(&text).unwrap(), run);
    }
}
