//! The GPUs: what the planner knows of their driver, and who holds them.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::Reconciler;
use crate::model::{AppName, GpuGrant, GpuShare};
use crate::state::{
    Container, ContainerId, ContainerState, Gpu, GpuHold, GpuLease, GpuMemory, GpuProcess,
    Inventory, Ownership, Policy, World,
};

impl Reconciler {
    /// What the operator set, with the driver of the GPUs as it is known now. It may become known
    /// at any time (fault U07). While its kernel module is not there, at a start of the host or while
    /// it is replaced, the one that was seen last counts for some time: what was built for GPUs is not
    /// built anew without them.
    pub(super) fn policy_now(&self) -> Cow<'_, Policy> {
        let now = self.cards.latest().driver.clone().map(|driver| (driver, None));
        let seen = || self.ledger.gpu_driver(self.clock.now());
        let known = now.or_else(|| seen().map(|seen| (seen.version, Some(seen.at))));
        let Some((driver, gpu_driver_seen)) = known else { return Cow::Borrowed(&self.policy) };
        let gpu_driver = Some(driver);
        Cow::Owned(Policy { gpu_driver, gpu_driver_seen, ..self.policy.clone() })
    }

    /// What apps were given, running or not.
    fn assigned(&self) -> Vec<(AppName, GpuGrant)> {
        let given = |app: AppName| Some((app.clone(), self.ledger.facts(&app)?.gpus?));
        self.ledger.apps().into_iter().filter_map(given).collect()
    }

    /// The GPUs and who holds them, as a document. It waits neither for the engine nor for a driver:
    /// it is what both said last.
    pub(crate) fn list_gpus(&self) -> String {
        let (inventory, world) = (self.cards.latest(), self.record.world());
        let is_known = self.record.overview().engine.is_some();
        let book = Book {
            queue: self.gpu_queue(&world, &inventory),
            leases: self.ledger.leases(),
            assigned: self.assigned(),
            world: is_known.then_some(&world),
        };
        document(&inventory, &book).to_string()
    }
}

/// Who has GPUs, and who waits for some.
#[derive(Default)]
struct Book<'a> {
    /// The apps that wait, first come first.
    queue: Vec<Value>,
    leases: Vec<GpuLease>,
    /// What apps were given, running or not.
    assigned: Vec<(AppName, GpuGrant)>,
    /// What the engine listed; without it nobody knows which containers hold what.
    world: Option<&'a World>,
}

/// Everything that is known of the GPUs, for people and programs.
fn document(inventory: &Inventory, book: &Book<'_>) -> Value {
    let gpus: Vec<_> = inventory.gpus.iter().map(|gpu| card(gpu, inventory, book)).collect();
    slim(json!({
        "gpus": gpus,
        "queue": book.queue,
        "driver": inventory.driver,
        "cuda": inventory.cuda,
        "by": inventory.by,
        "note": inventory.note,
        "at": inventory.at,
        "isStale": inventory.is_stale,
        "isMismatched": inventory.is_mismatched,
        "isEngineKnown": book.world.is_some(),
    }))
}

fn card(gpu: &Gpu, inventory: &Inventory, book: &Book<'_>) -> Value {
    let seen = &gpu.telemetry;
    let (holders, given) = holders(gpu, inventory, book);
    let parts: Vec<_> = gpu
        .parts
        .iter()
        .map(|part| {
            json!({
                "uuid": part.uuid,
                "profile": part.profile,
                "gpuInstance": part.gpu_instance,
                "computeInstance": part.compute_instance,
                "memory": memory(part.memory, None),
            })
        })
        .collect();
    let links: Vec<_> = gpu
        .links
        .iter()
        .map(|link| json!({"to": link.to, "nvlinks": link.nvlinks, "distance": link.distance}))
        .collect();
    slim(json!({
        "uuid": gpu.uuid,
        "index": gpu.index,
        "vendor": gpu.vendor,
        "model": gpu.name,
        "minor": gpu.minor,
        "pci": gpu.pci,
        "numa": gpu.numa,
        "computeCapability": gpu.compute_capability,
        "computeMode": gpu.compute_mode,
        "memory": memory(gpu.memory, Some(given.bytes)),
        "shares": given.shares,
        "isAlone": given.is_alone,
        "isMig": gpu.is_mig,
        "parts": parts,
        "links": links,
        "health": {
            "isWell": gpu.health.problems.is_empty(),
            "problems": gpu.health.problems,
            "lastXid": gpu.health.last_xid,
        },
        "utilizationPercent": seen.utilization,
        "memoryUtilizationPercent": seen.memory_utilization,
        "encoderUtilizationPercent": seen.encoder_utilization,
        "decoderUtilizationPercent": seen.decoder_utilization,
        "temperatureCelsius": seen.temperature,
        "memoryTemperatureCelsius": seen.memory_temperature,
        "powerWatts": seen.power.map(watts),
        "powerLimitWatts": seen.power_limit.map(watts),
        "energyJoules": seen.energy.map(|millijoules| millijoules / 1000),
        "smClockMhz": seen.sm_clock,
        "memoryClockMhz": seen.memory_clock,
        "fanPercent": seen.fan,
        "eccCorrected": seen.ecc_corrected,
        "eccUncorrected": seen.ecc_uncorrected,
        "pcieReplays": seen.pcie_replays,
        "profile": seen.profile,
        "holders": holders,
    }))
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

/// Bytes; nothing where the card does not say how much it has.
fn memory(memory: GpuMemory, asked: Option<u64>) -> Value {
    let is_known = memory.total != 0;
    slim(json!({
        "total": is_known.then_some(memory.total),
        "reserved": is_known.then_some(memory.reserved),
        "used": is_known.then_some(memory.used),
        "free": is_known.then(|| memory.free()),
        "asked": asked,
    }))
}

/// Without what is not known: absent is absent.
fn slim(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let fields: Map<_, _> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    Value::Object(fields)
}

/// What of a card was given away.
#[derive(Default)]
struct Given {
    /// Bytes of its memory that are promised.
    bytes: u64,
    /// How many asked for it and have it, or a part of it.
    shares: usize,
    /// Whether one has all of it.
    is_alone: bool,
}

impl Given {
    fn add(&mut self, hold: &GpuHold, gpu: &Gpu, promised: Option<u64>) {
        self.bytes = self.bytes.saturating_add(promised.unwrap_or_default());
        self.shares += 1;
        let GpuHold::Granted(grant) = hold else { return };
        let is_whole = grant.devices.contains(&gpu.uuid);
        self.is_alone |= is_whole && grant.share == GpuShare::Exclusive;
    }
}

/// Who holds a card, and what of it was given away.
fn holders(gpu: &Gpu, inventory: &Inventory, book: &Book<'_>) -> (Vec<Value>, Given) {
    let mut by_container: BTreeMap<Option<&ContainerId>, Vec<&GpuProcess>> = BTreeMap::new();
    for process in &gpu.processes {
        by_container.entry(process.container.as_ref()).or_default().push(process);
    }
    let (mut rows, mut given) = (Vec::new(), Given::default());
    let containers = book.world.map_or(&[][..], |world| &world.containers);
    for container in containers {
        let processes = by_container.remove(&Some(&container.id));
        let hold = container.gpus.as_ref().filter(|_| is_alive(container));
        let hold = hold.filter(|hold| holds(hold, gpu, inventory));
        if hold.is_none() && processes.is_none() {
            continue;
        }
        let promised = hold.and_then(|hold| promised(hold, gpu));
        if let Some(hold) = hold {
            given.add(hold, gpu, promised);
        }
        rows.push(holder(container, hold, promised, &processes.unwrap_or_default()));
    }
    let runs = |app: &AppName| rows.iter().any(|row| row["name"] == app.as_str());
    let assigned = book.assigned.iter().filter(|(app, _)| !runs(app)).map(|(app, grant)| {
        // Its container is not there yet, or does not start.
        (grant, json!({"kind": "app", "name": app, "isWaited": true}))
    });
    let leases = book.leases.iter().map(|lease| {
        let row = json!({
            "kind": "lease",
            "name": lease.holder,
            "lease": lease.id,
            "expiresAt": lease.expires_at,
        });
        (&lease.grant, row)
    });
    for (grant, mut row) in assigned.chain(leases).collect::<Vec<_>>() {
        let hold = GpuHold::Granted(grant.clone());
        if !holds(&hold, gpu, inventory) {
            continue;
        }
        let promised = promised(&hold, gpu);
        given.add(&hold, gpu, promised);
        row["share"] = json!(grant.share);
        row["promisedBytes"] = json!(promised);
        rows.push(slim(row));
    }
    for process in by_container.into_values().flatten() {
        rows.push(slim(json!({
            "kind": "process",
            "name": process.name,
            "pid": process.pid,
            "container": process.container.as_ref().map(ContainerId::short),
            "usedBytes": process.memory,
            "utilizationPercent": process.utilization,
        })));
    }
    (rows, given)
}

fn holder(
    container: &Container,
    hold: Option<&GpuHold>,
    promised: Option<u64>,
    processes: &[&GpuProcess],
) -> Value {
    // An app of this Berth; whatever another one runs is a container like others'.
    let app = container.ownership.app();
    let share = match hold {
        Some(GpuHold::Granted(grant)) => Some(grant.share),
        _ => None,
    };
    let is_foreign = !matches!(container.ownership, Ownership::Ours(_));
    slim(json!({
        "kind": if is_foreign { "container" } else { "app" },
        "name": app.map_or(container.name.as_str(), |app| app.as_str()),
        "container": container.name,
        "share": share,
        "promisedBytes": promised,
        "usedBytes": sum(processes.iter().map(|process| process.memory)),
        "utilizationPercent": sum(processes.iter().map(|p| p.utilization.map(u64::from))),
        "pids": processes.iter().map(|process| process.pid).collect::<Vec<_>>(),
        // Without a request for it: a privileged container, or one that was given device nodes.
        "isUnasked": hold.is_none().then_some(true),
    }))
}

/// The sum of what is known; none when nothing is.
fn sum(figures: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    figures.flatten().reduce(u64::saturating_add)
}

fn is_alive(container: &Container) -> bool {
    matches!(
        container.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    )
}

/// Bytes that are promised to a holder: all there is, unless it shares the card.
fn promised(hold: &GpuHold, gpu: &Gpu) -> Option<u64> {
    match hold {
        GpuHold::Granted(grant) => match grant.share {
            GpuShare::Memory => grant.memory_bytes,
            GpuShare::Exclusive => {
                let parts = gpu.parts.iter().filter(|part| grant.devices.contains(&part.uuid));
                let parts: u64 = parts.map(|part| part.memory.usable()).sum();
                let is_whole = grant.devices.contains(&gpu.uuid);
                Some(if is_whole { gpu.memory.usable() } else { parts })
            }
        },
        GpuHold::Devices(_) | GpuHold::First(_) | GpuHold::All => None,
    }
}

/// Whether a hold means this card, or a part of it.
fn holds(hold: &GpuHold, gpu: &Gpu, inventory: &Inventory) -> bool {
    let means = |device: &str| {
        // A CDI device by its full name: `nvidia.com/gpu=<name>`.
        let device = device.rsplit_once('=').map_or(device, |(_, name)| name);
        let is_number = || device.parse() == Ok(gpu.index);
        device == "all"
            || device == gpu.uuid
            || is_number()
            || gpu.parts.iter().any(|part| part.uuid == device)
    };
    match hold {
        GpuHold::Granted(grant) => grant.devices.iter().any(|device| means(device)),
        GpuHold::Devices(devices) => devices.iter().any(|device| means(device)),
        GpuHold::First(count) => {
            let same = inventory.gpus.iter().filter(|other| other.vendor == gpu.vendor);
            same.filter(|other| other.index < gpu.index).count() < *count as usize
        }
        GpuHold::All => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{GpuVendor, Timestamp};
    use crate::state::GpuPart;

    const GIB: u64 = 1 << 30;

    fn card(uuid: &str, index: u32) -> Gpu {
        let memory = GpuMemory { total: 80 * GIB, reserved: GIB, used: 10 * GIB };
        Gpu { uuid: uuid.to_owned(), index, memory, ..Gpu::default() }
    }

    fn container(name: &str, gpus: impl Into<Option<GpuHold>>, state: ContainerState) -> Container {
        Container {
            id: ContainerId::new(name.repeat(64 / name.len())),
            name: name.to_owned(),
            ownership: Ownership::Foreign,
            image: String::new(),
            image_id: String::new(),
            state,
            exit_code: None,
            ports: Vec::new(),
            networks: BTreeMap::new(),
            created: Timestamp::from_millis(0),
            gpus: gpus.into(),
            labels: BTreeMap::new(),
        }
    }

    fn grant(device: &str, share: GpuShare, memory_bytes: Option<u64>) -> GpuHold {
        GpuHold::Granted(GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: vec![device.to_owned()],
            share,
            memory_bytes,
            capabilities: Vec::new(),
        })
    }

    /// For each card: what is promised, and who holds it.
    fn held(gpus: Vec<Gpu>, containers: Vec<Container>) -> Vec<(u64, Vec<String>)> {
        let inventory = Inventory { gpus, ..Inventory::default() };
        let world = World { containers, ..World::default() };
        let book = Book { world: Some(&world), ..Book::default() };
        let document = document(&inventory, &book);
        let rows = document["gpus"].as_array().unwrap().iter().map(|gpu| {
            let holders = gpu["holders"].as_array().unwrap().iter();
            let names = holders.map(|holder| {
                format!("{} {}", holder["kind"].as_str().unwrap(), holder["name"].as_str().unwrap())
            });
            (gpu["memory"]["asked"].as_u64().unwrap(), names.collect())
        });
        rows.collect()
    }

    /// Fault U12: whoever holds a card is seen, whichever way it got it.
    #[test]
    fn every_holder_of_a_card_is_named() {
        let running = ContainerState::Running;
        let mut cards = vec![card("GPU-a", 0), card("GPU-b", 1), card("GPU-c", 2)];
        cards[2].parts = vec![GpuPart { uuid: "MIG-x".to_owned(), ..GpuPart::default() }];
        cards[2].parts[0].memory.total = 9 * GIB;
        let process = |pid, container: Option<&str>| GpuProcess {
            pid,
            name: Some("python3".to_owned()),
            container: container.map(|name| ContainerId::new(name.repeat(64 / name.len()))),
            ..GpuProcess::default()
        };
        cards[1].processes = vec![process(1, None), process(2, Some("priv"))];
        let devices = |names: &[&str]| {
            GpuHold::Devices(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let containers = vec![
            container("a", grant("GPU-a", GpuShare::Memory, Some(8 * GIB)), running),
            container("b", grant("GPU-a", GpuShare::Memory, Some(4 * GIB)), running),
            container("c", grant("GPU-b", GpuShare::Exclusive, None), running),
            container("d", grant("MIG-x", GpuShare::Exclusive, None), running),
            container("e", devices(&["nvidia.com/gpu=GPU-b", "2"]), running),
            container("f", Some(GpuHold::First(1)), running),
            container("g", Some(GpuHold::All), ContainerState::Exited),
            container("priv", None, running),
        ];
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected = [
            (12 * GIB, of(&["container a", "container b", "container f"])),
            (79 * GIB, of(&["container c", "container e", "container priv", "process python3"])),
            (9 * GIB, of(&["container d", "container e"])),
        ];
        assert_eq!(held(cards, containers), expected);
    }

    #[test]
    fn a_card_says_how_many_share_it_and_whether_one_has_it_alone() {
        let running = ContainerState::Running;
        let mut cards = vec![card("GPU-a", 0), card("GPU-b", 1), card("GPU-c", 2)];
        cards[2].parts = vec![GpuPart { uuid: "MIG-x".to_owned(), ..GpuPart::default() }];
        let world = World {
            containers: vec![
                container("a", grant("GPU-a", GpuShare::Memory, Some(8 * GIB)), running),
                container("b", grant("GPU-a", GpuShare::Memory, Some(4 * GIB)), running),
                container("c", grant("GPU-b", GpuShare::Exclusive, None), running),
                container("d", grant("MIG-x", GpuShare::Exclusive, None), running),
                container("e", grant("GPU-b", GpuShare::Exclusive, None), ContainerState::Exited),
            ],
            ..World::default()
        };
        let inventory = Inventory { gpus: cards, ..Inventory::default() };
        let document = document(&inventory, &Book { world: Some(&world), ..Book::default() });
        let said = |at: usize| (&document["gpus"][at]["shares"], &document["gpus"][at]["isAlone"]);
        assert_eq!(said(0), (&json!(2), &json!(false)));
        assert_eq!(said(1), (&json!(1), &json!(true)));
        assert_eq!(said(2), (&json!(1), &json!(false)), "others may have its other parts");
    }

    /// Who waits is told that the card is held: it is shown by whom, also before that one runs.
    #[test]
    fn what_was_given_and_does_not_run_is_shown() {
        let GpuHold::Granted(grant) = grant("GPU-a", GpuShare::Exclusive, None) else { panic!() };
        let inventory = Inventory { gpus: vec![card("GPU-a", 0)], ..Inventory::default() };
        let lease = |id: &str| GpuLease {
            id: id.to_owned(),
            holder: "train.py".to_owned(),
            token: 1,
            grant: grant.clone(),
            acquired_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(1),
        };
        let book = Book {
            assigned: vec![(AppName::new("chat").unwrap(), grant.clone())],
            leases: vec![lease("gpu-1")],
            ..Book::default()
        };
        let document = document(&inventory, &book);
        let holders = &document["gpus"][0]["holders"];
        assert_eq!((&holders[0]["name"], &holders[0]["isWaited"]), (&json!("chat"), &json!(true)));
        assert_eq!(
            (&holders[1]["kind"], &holders[1]["name"]),
            (&json!("lease"), &json!("train.py"))
        );
        assert_eq!(document["gpus"][0]["memory"]["asked"], json!(2 * 79 * GIB));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let gpu = Gpu { uuid: "GPU-a".to_owned(), ..Gpu::default() };
        let inventory = Inventory { gpus: vec![gpu], ..Inventory::default() };
        let document = document(&inventory, &Book::default());
        let gpu = &document["gpus"][0];
        for absent in ["powerWatts", "utilizationPercent", "numa", "fanPercent"] {
            assert_eq!(gpu.get(absent), None, "{absent}");
        }
        assert_eq!(gpu["memory"], json!({"asked": 0}));
        assert_eq!((&document["isEngineKnown"], document.get("driver")), (&json!(false), None));
    }
}
