//! A Berth that has much to show: apps in several states, cards that are held alone and together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    forge::Repositories,
    gpu::Cards,
    model::{
        AppName, Condition, ConditionStatus, ConditionType, Digest, GpuGrant, GpuShare, GpuVendor,
        MetricsSpec, Phase, PortBinding, Protocol, Reason, SpecHash, Timestamp,
    },
    scan::Book,
    server::{Figures, Settings},
    state::{
        Container, ContainerId, ContainerState, Gpu, GpuHealth, GpuHold, GpuMemory, GpuProcess,
        GpuProfile, GpuTelemetry, Inventory, OwnImage, Owner, Ownership, World,
    },
    telemetry::metrics::Load,
};

use crate::api::stage::{Stage, looked_through, now};

/// A scene that is set.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) cards: Arc<Cards>,
    pub(super) scans: Arc<Book>,
}

impl Scene {
    /// One whose app `chat` tells figures of its own at this port of 127.0.0.1.
    pub(super) async fn start(change: impl FnOnce(&mut Figures), app_port: u16) -> Self {
        Self::of(change, |_| (), app_port).await
    }

    /// The same with other settings of the server.
    pub(super) async fn of(
        change: impl FnOnce(&mut Figures),
        settings: impl FnOnce(&mut Settings),
        app_port: u16,
    ) -> Self {
        let cards = Arc::new(Cards::default());
        cards.put(inventory());
        let scans = looked_through();
        let mut figures = Figures {
            cards: Arc::clone(&cards),
            scans: Some(Arc::clone(&scans)),
            host: "box".to_owned(),
            disks: vec![("state", "/".into()), ("gone", "/no/such/folder".into())],
            ..Figures::default()
        };
        change(&mut figures);
        let stage = Stage::of(settings, Repositories::default(), figures).await;
        stage.settle();
        apps(&stage, app_port);
        stage.record.see(&Arc::new(world()));
        count(&stage);
        Self { stage, cards, scans }
    }

    pub(super) async fn plain() -> Self {
        Self::start(|_| (), 9090).await
    }

    pub(super) async fn text(&self) -> String {
        self.stage.get("/metrics").await.body
    }
}

/// Everything that is counted happens, in every way that a dashboard asks for.
pub(super) fn count(stage: &Stage) {
    let metrics = &stage.metrics;
    let ms = Duration::from_millis;
    for outcome in ["changed", "unchanged", "failed"] {
        metrics.reconciled(outcome, ms(30));
    }
    for outcome in ["ok", "failed"] {
        metrics.built(outcome, ms(9000));
        metrics.fetched(outcome, ms(400));
        metrics.pulled(outcome, ms(2000));
        metrics.engine_call("list_containers", outcome, ms(4));
        metrics.engine_call("start", outcome, ms(300));
        metrics.step("start", outcome);
    }
    metrics.rolled_out("succeeded", ms(5000));
    metrics.rolled_out("failed", ms(60_000));
    metrics.drifted(&AppName::new("chat").unwrap());
    metrics.gpus_lost(&AppName::new("chat").unwrap());
    metrics.hook("taken");
    metrics.commit_status("sent");
    metrics.queue(&Load { depth: 1, oldest: ms(20), adds: 9, running: 1, longest: ms(10) });
    let part = |name: &str| berth::manifest::Part { name: name.to_owned(), ..Default::default() };
    metrics.sources(&[part("folder")]);
}

fn apps(stage: &Stage, app_port: u16) {
    stage.put("chat", |entry| {
        entry.status.container_id = Some(id('a'));
        let app = Arc::make_mut(entry.app.as_mut().unwrap());
        app.spec.metrics = Some(MetricsSpec { port: app_port, path: "/figures".to_owned() });
        entry.status.restarts = 2;
    });
    stage.put("sd", |entry| entry.status.container_id = Some(id('b')));
    stage.put("whisper", |entry| entry.status.container_id = Some(id('c')));
    stage.put("queued", |entry| {
        entry.status.phase = Phase::Installed;
        entry.status.reason = Reason::WaitingForGpu;
        entry.status.container_id = None;
        entry.status.since = Timestamp::from_millis(now().as_millis() - 60_000);
        entry.status.conditions = vec![Condition {
            kind: ConditionType::Ready,
            status: ConditionStatus::False,
            reason: Reason::WaitingForGpu,
            message: "needs 1 GPU".to_owned(),
            last_transition: now(),
        }];
    });
}

/// The id of a container.
pub(super) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A container of ours that runs.
pub(super) fn container(digit: char, app: &str, grant: Option<GpuGrant>) -> Container {
    Container {
        id: ContainerId::new(id(digit)),
        name: format!("{app}-01234567"),
        ownership: Ownership::Ours(Owner {
            app: AppName::new(app).unwrap(),
            generation: 3,
            spec_hash: SpecHash::from_label("v1:0123456789abcdef"),
            build: Digest::parse(&"0".repeat(64)),
            commit: None,
            fields: BTreeMap::new(),
        }),
        image: "berth/x:1".to_owned(),
        image_id: "sha256:0".to_owned(),
        state: ContainerState::Running,
        exit_code: None,
        ports: vec![PortBinding {
            host_ip: "127.0.0.1".to_owned(),
            host_port: 8010,
            container_port: 9090,
            protocol: Protocol::Tcp,
        }],
        networks: BTreeMap::from([
            ("berth".to_owned(), Some("127.0.0.1".to_owned())),
            ("six".to_owned(), Some("fd00::7".to_owned())),
        ]),
        created: Timestamp::from_millis(1_764_547_200_000),
        labels: BTreeMap::new(),
        gpus: grant.map(GpuHold::Granted),
    }
}

fn grant(uuid: &str, share: GpuShare, gib: Option<u64>) -> GpuGrant {
    GpuGrant {
        vendor: GpuVendor::Nvidia,
        devices: vec![uuid.to_owned()],
        share,
        memory_bytes: gib.map(|gib| gib << 30),
        capabilities: vec!["compute".to_owned()],
    }
}

/// `chat` holds the first card alone, `sd` and `whisper` share the second one.
pub(super) fn world() -> World {
    let mut foreign = container('f', "other", None);
    foreign.ownership = Ownership::Foreign;
    "somebodys".clone_into(&mut foreign.name);
    World {
        containers: vec![
            container('a', "chat", Some(grant("GPU-a", GpuShare::Exclusive, None))),
            container('b', "sd", Some(grant("GPU-b", GpuShare::Memory, Some(20)))),
            container('c', "whisper", Some(grant("GPU-b", GpuShare::Memory, Some(8)))),
            foreign,
        ],
        own_images: vec![OwnImage {
            created: Timestamp::from_millis(1),
            id: "sha256:0".to_owned(),
            tags: vec!["berth/x:1".to_owned()],
            app: AppName::new("chat").unwrap(),
            size: 1_500_000_000,
            base: None,
            inputs: None,
        }],
        ..World::default()
    }
}

fn process(
    pid: u32,
    container: Option<char>,
    gib: Option<u64>,
    percent: Option<u32>,
) -> GpuProcess {
    GpuProcess {
        pid,
        memory: gib.map(|gib| gib << 30),
        utilization: percent,
        container: container.map(|digit| ContainerId::new(id(digit))),
        ..GpuProcess::default()
    }
}

fn card(index: u32, uuid: &str, processes: Vec<GpuProcess>) -> Gpu {
    Gpu {
        uuid: uuid.to_owned(),
        index,
        name: "NVIDIA H200".to_owned(),
        minor: Some(index),
        pci: Some(format!("00000000:{index:02}:00.0")),
        memory: GpuMemory { total: 141 << 30, reserved: 1 << 30, used: 30 << 30 },
        telemetry: GpuTelemetry {
            utilization: Some(70),
            memory_utilization: Some(30),
            encoder_utilization: Some(0),
            decoder_utilization: Some(0),
            temperature: Some(55),
            memory_temperature: Some(60),
            power: Some(300_000),
            energy: Some(9_000_000),
            sm_clock: Some(1980),
            memory_clock: Some(2619),
            profile: Some(GpuProfile { tensor_active: Some(0.31), ..GpuProfile::default() }),
            ..GpuTelemetry::default()
        },
        processes,
        ..Gpu::default()
    }
}

/// Two cards, with programs of apps, of a container that is not ours and of the host.
pub(super) fn inventory() -> Inventory {
    let shared = vec![
        process(20, Some('b'), Some(12), Some(30)),
        process(21, Some('b'), Some(3), Some(20)),
        process(30, Some('c'), None, None),
        process(40, Some('f'), Some(4), None),
        process(41, Some('9'), Some(2), None),
        process(50, None, Some(1), Some(5)),
    ];
    let mut second = card(1, "GPU-b", shared);
    second.health =
        GpuHealth { problems: vec!["it is lost".to_owned()], last_xid: Some(79), lasting: None };
    Inventory {
        gpus: vec![card(0, "GPU-a", vec![process(10, Some('a'), Some(25), Some(70))]), second],
        driver: Some("550.54.15".to_owned()),
        cuda: Some("12.4".to_owned()),
        by: Some("nvml"),
        at: Some(now()),
        ..Inventory::default()
    }
}
