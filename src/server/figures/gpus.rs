//! The GPUs in figures: the cards, who holds them, and what each app uses of them.

use std::{collections::BTreeMap, sync::Arc};

use super::Figures;
use crate::model::{GpuGrant, GpuShare};
use crate::record::Entry;
use crate::state::{
    Container, ContainerId, ContainerState, Gpu, GpuHold, Inventory, Ownership, World,
};
use crate::telemetry::{
    Exposed,
    dcgm::{self, Tenant},
    text::{Family, moment, whole},
};

/// What stands for programs of the host, which are in no container.
const HOST: &str = "_host";

/// The GPUs, with what is known of those who use them.
pub(super) struct Gpus<'a> {
    pub(super) figures: &'a Figures,
    pub(super) entries: &'a [Arc<Entry>],
    pub(super) world: Option<&'a World>,
}

/// What one user takes of one card.
#[derive(Default)]
struct Use {
    memory: Option<u64>,
    utilization: Option<u32>,
}

/// A card, an app and a container.
type User = (String, String, String);

impl Exposed for Gpus<'_> {
    fn write(&self, out: &mut String) {
        let inventory = self.figures.cards.latest();
        let Some(at) = inventory.at else { return };
        let help = "When the GPUs were last read.";
        let mut family = Family::gauge(out, "berth_gpu_read_timestamp_seconds", help);
        family.sample(&[], moment(at));
        let help = "Whether reading the GPUs failed since.";
        let mut family = Family::gauge(out, "berth_gpu_stale", help);
        family.sample(&[], f64::from(u8::from(inventory.is_stale)));
        if inventory.gpus.is_empty() {
            return;
        }
        info(out, &inventory);
        self.grants(out, &inventory);
        // What a driver said that does not answer any more is no figure of now.
        if inventory.is_stale {
            return;
        }
        let (names, host) = (self.figures.gpu_names, &self.figures.host);
        dcgm::write(out, &inventory, &self.tenants(&inventory), names, host);
        cards(out, &inventory);
        self.uses(out, &inventory);
    }
}

impl Gpus<'_> {
    /// The containers of ours that hold cards at present, with what they were given.
    fn holders(&self) -> impl Iterator<Item = (&str, &Container, &GpuGrant)> {
        let containers = self.world.map_or(&[][..], |world| &world.containers);
        containers.iter().filter_map(|container| {
            let app = container.ownership.owner()?.app.as_str();
            let is_up = matches!(
                container.state,
                ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
            );
            match &container.gpus {
                Some(GpuHold::Granted(grant)) if is_up => Some((app, container, grant)),
                _ => None,
            }
        })
    }

    /// The cards that one container has for itself.
    fn tenants(&self, inventory: &Inventory) -> Vec<Tenant> {
        let alone = self.holders().filter(|(_, _, grant)| grant.share == GpuShare::Exclusive);
        let tenants = alone.flat_map(|(app, container, grant)| {
            grant.devices.iter().map(|uuid| Tenant {
                uuid: uuid.clone(),
                app: app.to_owned(),
                container: container.name.clone(),
            })
        });
        // Nobody else may be at work on it: the figures would not be the container's own.
        let is_quiet = |tenant: &Tenant| {
            let card = inventory.gpus.iter().find(|gpu| gpu.uuid == tenant.uuid);
            let others = |gpu: &Gpu| {
                gpu.processes.iter().any(|process| {
                    let user = self.user(process.container.as_ref().map(ContainerId::as_str));
                    user.0 != tenant.app
                })
            };
            card.is_some_and(|gpu| !others(gpu))
        };
        tenants.filter(is_quiet).collect()
    }

    /// Whose a process is: the app and the container. A container that is not ours has no app.
    fn user(&self, container: Option<&str>) -> (String, String) {
        let Some(id) = container else { return (HOST.to_owned(), String::new()) };
        let containers = self.world.map_or(&[][..], |world| &world.containers);
        let known = containers.iter().find(|container| container.id.as_str() == id);
        let named = self.entries.iter().find(|e| e.status.container_id.as_deref() == Some(id));
        match (known, named) {
            (Some(container), _) => {
                let app = match &container.ownership {
                    Ownership::Ours(owner) => owner.app.to_string(),
                    Ownership::Foreign => String::new(),
                };
                (app, container.name.clone())
            }
            (None, Some(entry)) => (entry.name.to_string(), id.get(..12).unwrap_or(id).to_owned()),
            (None, None) => (String::new(), id.get(..12).unwrap_or(id).to_owned()),
        }
    }

    fn grants(&self, out: &mut String, inventory: &Inventory) {
        let held: Vec<_> = self
            .holders()
            .flat_map(|(app, container, grant)| {
                grant.devices.iter().map(move |device| (device.as_str(), app, container, grant))
            })
            .filter_map(|(device, app, container, grant)| {
                let card = inventory.gpus.iter().find(|gpu| has(gpu, device))?;
                Some((card, device, app, container, grant))
            })
            .collect();
        let help = "The GPUs, or MIG instances, that apps were given; always 1.";
        let mut family = Family::gauge(out, "berth_gpu_allocated", help);
        for (card, device, app, container, grant) in &held {
            let mode = match grant.share {
                GpuShare::Exclusive => "exclusive",
                GpuShare::Memory => "shared",
            };
            let index = card.index.to_string();
            family.sample(
                &[
                    ("gpu", &index),
                    ("UUID", device),
                    ("app", app),
                    ("container", &container.name),
                    ("mode", mode),
                ],
                1.0,
            );
        }
        let help = "Memory that apps asked for on the GPUs that they were given.";
        let mut family = Family::gauge(out, "berth_gpu_memory_requested_bytes", help);
        for (card, device, app, container, grant) in &held {
            let Some(bytes) = grant.memory_bytes else { continue };
            let index = card.index.to_string();
            let labels =
                [("gpu", &*index), ("UUID", device), ("app", app), ("container", &container.name)];
            family.sample(&labels, whole(bytes));
        }
    }

    fn uses(&self, out: &mut String, inventory: &Inventory) {
        let mut indexes = BTreeMap::new();
        let mut uses: BTreeMap<User, Use> = BTreeMap::new();
        for gpu in &inventory.gpus {
            indexes.insert(gpu.uuid.clone(), gpu.index.to_string());
            for process in &gpu.processes {
                let (app, container) =
                    self.user(process.container.as_ref().map(ContainerId::as_str));
                let used = uses.entry((gpu.uuid.clone(), app, container)).or_default();
                used.memory = sum(used.memory, process.memory);
                if let Some(percent) = process.utilization {
                    used.utilization = Some(used.utilization.unwrap_or(0).saturating_add(percent));
                }
            }
        }
        let mut write = |name, help, value: fn(&Use) -> Option<f64>| {
            let mut family = Family::gauge(out, name, help);
            for ((uuid, app, container), used) in &uses {
                let Some(value) = value(used) else { continue };
                let index = indexes.get(uuid).map_or("", String::as_str);
                let labels =
                    [("app", &**app), ("container", container), ("gpu", index), ("UUID", uuid)];
                family.sample(&labels, value);
            }
        };
        write(
            "berth_app_gpu_memory_used_bytes",
            "Memory of a GPU that an app uses; `_host` is programs outside of containers.",
            |used| used.memory.map(whole),
        );
        write(
            "berth_app_gpu_sm_utilization_ratio",
            "How much of the time an app computed on a GPU; `_host` as above.",
            |used| used.utilization.map(|percent| f64::from(percent.min(100)) / 100.0),
        );
    }
}

/// The sum of what is known; none when nothing is.
fn sum(all: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (all, more) {
        (Some(all), Some(more)) => Some(all.saturating_add(more)),
        (all, more) => all.or(more),
    }
}

/// Whether a UUID is a card's, or one of its parts'.
fn has(gpu: &Gpu, uuid: &str) -> bool {
    gpu.uuid == uuid || gpu.parts.iter().any(|part| part.uuid == uuid)
}

fn info(out: &mut String, inventory: &Inventory) {
    let help = "The GPUs of this host; always 1.";
    let mut family = Family::gauge(out, "berth_gpu_info", help);
    for gpu in &inventory.gpus {
        let (index, vendor) = (gpu.index.to_string(), gpu.vendor.to_string());
        let labels = [
            ("gpu", Some(index.as_str())),
            ("UUID", Some(&gpu.uuid)),
            ("vendor", Some(&vendor)),
            ("model", Some(&gpu.name)),
            ("pci_bus_id", gpu.pci.as_deref()),
            ("driver", inventory.driver.as_deref()),
            ("cuda", inventory.cuda.as_deref()),
            ("compute_capability", gpu.compute_capability.as_deref()),
            ("compute_mode", gpu.compute_mode.as_deref()),
        ];
        let known = labels.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        family.sample(&known.collect::<Vec<_>>(), 1.0);
    }
}

/// Figures of cards of any vendor, in base units.
fn cards(out: &mut String, inventory: &Inventory) {
    let known = |bytes: u64, gpu: &Gpu| (0 < gpu.memory.total).then(|| whole(bytes));
    let mut write = |name, help, value: &dyn Fn(&Gpu) -> Option<f64>| {
        let mut family = Family::gauge(out, name, help);
        for gpu in &inventory.gpus {
            if let Some(value) = value(gpu) {
                family.sample(&[("gpu", &gpu.index.to_string()), ("UUID", &gpu.uuid)], value);
            }
        }
    };
    write("berth_gpu_unhealthy", "Whether a GPU is not given away for its health.", &|gpu| {
        Some(f64::from(u8::from(!gpu.health.problems.is_empty())))
    });
    write("berth_gpu_memory_size_bytes", "Memory of a GPU.", &|gpu| known(gpu.memory.total, gpu));
    write("berth_gpu_memory_used_bytes", "Memory of a GPU that processes use.", &|gpu| {
        known(gpu.memory.used, gpu)
    });
    write("berth_gpu_utilization_ratio", "How much of the time a GPU computed.", &|gpu| {
        gpu.telemetry.utilization.map(|percent| f64::from(percent) / 100.0)
    });
    write("berth_gpu_temperature_celsius", "Temperature of a GPU.", &|gpu| {
        gpu.telemetry.temperature.map(f64::from)
    });
    write("berth_gpu_power_watts", "What a GPU draws.", &|gpu| {
        gpu.telemetry.power.map(|milliwatts| f64::from(milliwatts) / 1000.0)
    });
}
