//! GPUs of the fake: which it knows, in which ways it gives them, and who lost them.

use std::collections::BTreeSet;

use super::super::labels::proof_labels;
use super::super::{Applied, Error, gpus};
use super::Fake;
use super::state::State;
use super::thing::Thing;
use crate::model::{AppName, GpuGiven, GpuGrant, GpuVendor, GpuWay, Timestamp, label};
use crate::plan::ContainerSpec;
use crate::state::{ContainerId, GpuHold, GpuWays, gpus_of_labels};

/// What the driver's command answers where it can't reach the driver.
const LOST: (i64, &str) = (255, "Failed to initialize NVML: Unknown Error\n");

/// What the fake knows of GPUs.
#[derive(Clone, Debug)]
pub(super) struct Gpus {
    /// The devices that there are; none is all that anybody names.
    pub(super) devices: Option<BTreeSet<String>>,
    pub(super) ways: GpuWays,
    /// Whether the vendor's hook is there.
    pub(super) has_hook: bool,
    /// Which containers can't reach their GPUs.
    pub(super) lost: BTreeSet<ContainerId>,
}

impl Default for Gpus {
    fn default() -> Self {
        let ways = GpuWays::default();
        Self { devices: None, ways, has_hook: true, lost: BTreeSet::new() }
    }
}

impl State {
    /// What Docker Engine 20.10 and 28.5 say at the start of a container whose GPUs they can't
    /// give.
    pub(super) fn check_gpus(&self, id: &ContainerId) -> Result<(), Error> {
        let Some(thing) = self.things.get(id) else { return Ok(()) };
        let Some(GpuHold::Granted(grant)) = gpus_of_labels(&thing.labels) else { return Ok(()) };
        let given = thing.labels.get(label::GPU_WAY).and_then(|text| GpuGiven::parse(text));
        self.check_grant(&grant, given.map_or(GpuWay::DeviceRequest, |given| given.way))
    }

    fn check_grant(&self, grant: &GpuGrant, way: GpuWay) -> Result<(), Error> {
        let is_known =
            |device: &&String| self.gpus.devices.as_ref().is_none_or(|all| all.contains(*device));
        let unknown = grant.devices.iter().find(|device| !is_known(device));
        let said = match way {
            GpuWay::Cdi => {
                let class = match grant.vendor {
                    GpuVendor::Nvidia => "nvidia.com/gpu",
                    GpuVendor::Amd => "amd.com/gpu",
                };
                let mut names = grant.devices.iter().map(|device| format!("{class}={device}"));
                let missing = names.find(|name| !self.gpus.ways.cdi_devices.contains(name));
                missing.map(|name| {
                    format!("CDI device injection failed: unresolvable CDI devices {name}")
                })
            }
            GpuWay::DeviceRequest if !self.gpus.has_hook => Some(
                "could not select device driver \"nvidia\" with capabilities: [[gpu compute utility]]"
                    .to_owned(),
            ),
            GpuWay::Runtime if !self.gpus.ways.has_nvidia_runtime => {
                Some("unknown or invalid runtime name: nvidia".to_owned())
            }
            GpuWay::DeviceRequest | GpuWay::Runtime => unknown.map(|device| {
                format!("OCI runtime create failed: error running hook: exit status 1, stdout: , stderr: nvidia-container-cli: device error: {device}: unknown device: unknown")
            }),
            GpuWay::DeviceNodes => None,
        };
        said.and_then(|said| gpus::error_of(&said)).map_or(Ok(()), Err)
    }

    /// What an engine does of a container that only proves that it can be given its GPUs.
    pub(super) fn prove(&mut self, spec: &ContainerSpec, now: Timestamp) -> Result<Applied, Error> {
        let id = self.leave_proof(spec, now)?;
        self.things.remove(&id);
        self.journal.push(format!("prove {}", spec.name));
        if let Some(grant) = &spec.shape.gpus {
            let way = spec.gpu_way.as_ref().map_or(GpuWay::DeviceRequest, |route| route.way);
            self.check_grant(grant, way)?;
        }
        Ok(Applied::AlreadySo)
    }

    /// The same up to where a Berth may have ended.
    pub(super) fn leave_proof(
        &mut self,
        spec: &ContainerSpec,
        now: Timestamp,
    ) -> Result<ContainerId, Error> {
        let spec = spec.proof();
        if let Some((id, _)) = self.things.iter().find(|(_, thing)| thing.name == spec.name) {
            let message = format!("the name `{}` is in use by container {id}", spec.name);
            return Err(Error::Conflict(message));
        }
        let image = spec.shape.image.clone();
        let image_id = self.image_id(&image).cloned();
        let image_id = image_id.ok_or_else(|| Error::ImageMissing(image.clone()))?;
        let id = ContainerId::new(self.next_id("container"));
        let labels = proof_labels(&spec);
        let thing = Thing { labels, ..Thing::new(spec.name, (image, image_id), now) };
        self.things.insert(id.clone(), thing);
        Ok(id)
    }

    /// What the driver's command says in a container that has GPUs.
    pub(super) fn list_gpus(&self, id: &ContainerId) -> Option<(i64, String)> {
        let Some(GpuHold::Granted(grant)) = gpus_of_labels(&self.things.get(id)?.labels) else {
            return None;
        };
        if self.gpus.lost.contains(id) {
            return Some((LOST.0, LOST.1.to_owned()));
        }
        let line = |(nth, device): (usize, &String)| format!("GPU {nth}: Fake (UUID: {device})\n");
        Some((0, grant.devices.iter().enumerate().map(line).collect()))
    }

    /// What a container holds, by what it was made with.
    pub(super) fn gpus_of(&self, id: &ContainerId) -> Option<GpuHold> {
        let thing = self.things.get(id)?;
        let granted = || match gpus_of_labels(&thing.labels) {
            Some(GpuHold::Granted(grant)) => Some(GpuHold::Devices(grant.devices)),
            other => other,
        };
        thing.gpus.clone().or_else(granted)
    }
}

/// Hands for tests.
impl Fake {
    /// The GPUs that there are from now on. At first any that anybody names is there.
    pub fn set_gpus(&self, devices: &[&str]) {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        self.with(|state, _| state.gpus.devices = Some(devices));
    }

    /// A Berth ended while it proved that this container can be given its GPUs.
    pub fn leaves_proof(&self, spec: &ContainerSpec) {
        let _ = self.with(|state, now| state.leave_proof(spec, now));
    }

    /// In which ways it gives GPUs from now on. At first by device requests only.
    pub fn set_gpu_ways(&self, ways: GpuWays) {
        self.with(|state, _| state.gpus.ways = ways);
    }

    /// The vendor's hook is installed, or removed. At first it is there.
    pub fn set_gpu_hook(&self, is_there: bool) {
        self.with(|state, _| state.gpus.has_hook = is_there);
    }

    /// `systemctl daemon-reload` (fault U01): the app's container runs on without its GPUs,
    /// and the driver's command in it says so.
    pub fn lose_gpus(&self, app: &AppName) -> bool {
        self.act(app, |state, _, id, _| {
            state.gpus.lost.insert(id.clone());
        })
    }

    /// Somebody else's container holds GPUs.
    pub fn foreign_holds(&self, id: &ContainerId, hold: GpuHold) {
        self.with(|state, _| {
            if let Some(thing) = state.things.get_mut(id) {
                thing.gpus = Some(hold);
            }
        });
    }
}
