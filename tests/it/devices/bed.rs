//! An engine of our own whose GPUs are files, and cards that Berth takes for real ones.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth::{
    engine::{
        Applied, Engine as _, Error, ResolvedCall,
        docker::{Docker, Settings},
    },
    gpu::{Cards, nodes::Roots},
    model::{
        AppName, Command, GpuGrant, GpuRoute, GpuShare, GpuVendor, Resources, RestartPolicy,
        SpecHash, Timestamp,
    },
    plan::{Call, ContainerSpec, GpuHost, Shape, Target, gpu_route},
    state::{ContainerId, Gpu, Inventory, container_name},
};

use crate::engine_failure::second::{Second, TINY};

/// The cards of these tests, with the numbers of their nodes: they have a hole (fault U05).
pub(super) const CARDS: [(&str, u32); 3] = [("GPU-aaaa", 0), ("GPU-bbbb", 2), ("GPU-cccc", 3)];
/// The engine's folder of descriptions.
pub(super) const CDI: &str = "cdi";

/// An engine, and Berth's client of it.
pub(super) struct Bed {
    pub(super) second: Second,
    pub(super) docker: Docker,
    pub(super) cards: Arc<Cards>,
}

impl Bed {
    /// The machine's own engine, which finds the hook when it starts.
    pub(super) fn start() -> Self {
        Self::start_in("", |_| Vec::new())
    }

    /// A newer engine that is unpacked at `root`, with the hook and a folder of descriptions.
    pub(super) fn start_with_cdi(root: &str) -> Self {
        Self::start_in(root, |second| vec![format!("--cdi-spec-dir={}", second.text(CDI))])
    }

    fn start_in(root: &str, flags: impl Fn(&Second) -> Vec<String>) -> Self {
        let second = Second::hold("");
        let folder = second.text("");
        let lines: Vec<_> = CARDS.iter().map(|(id, minor)| format!("{id} {minor}\n")).collect();
        fs::write(second.path("inventory"), lines.concat()).unwrap();
        fs::create_dir(second.path(CDI)).unwrap();
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/devices/hook");
        let path = format!("{}:{}", hook.display(), std::env::var("PATH").unwrap());
        let flags = flags(&second);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        second.up_with(&[("PATH", &path), ("BERTH_TEST_GPUS", &folder), ("ENGINE", root)], &flags);
        second.load();
        let host = format!("unix://{}", second.text("engine.sock"));
        let docker = Docker::connect(Settings::new(host, "gpus")).unwrap();
        let cards = Arc::new(Cards::default());
        cards.put(inventory());
        Self { second, docker, cards }
    }

    /// Where Berth finds the host's files: the machine's own, but for the nodes, which only a
    /// machine with cards has.
    pub(super) fn roots(&self) -> Roots {
        Roots { dev: self.second.path("no-nodes"), ..Roots::default() }
    }

    pub(super) async fn apply(
        &self,
        call: &Call,
        id: Option<&ContainerId>,
    ) -> Result<Applied, Error> {
        self.docker
            .apply(&ResolvedCall { call, id: id.cloned(), given: berth::secret::Given::default() })
            .await
    }

    /// The container of an app with these cards, given in the way that is chosen for this engine.
    pub(super) async fn spec(&self, app: &str, devices: &[&str]) -> ContainerSpec {
        let ways = self.docker.gpu_ways().await.unwrap();
        let grant = grant(devices);
        let host = self.roots().host(&grant, &self.cards.latest());
        let route = gpu_route(&grant, &ways, &host, &BTreeMap::new()).unwrap();
        spec(app, (!devices.is_empty()).then_some((grant, route)))
    }

    pub(super) async fn make(&self, spec: &ContainerSpec) -> ContainerId {
        let network = Call::EnsureNetwork { name: spec.shape.network.clone() };
        self.apply(&network, None).await.unwrap();
        match self.apply(&Call::Create(Box::new(spec.clone())), None).await.unwrap() {
            Applied::Created(id) => id,
            other => panic!("a create answered {other:?}"),
        }
    }

    pub(super) async fn start_it(&self, id: &ContainerId) -> Result<Applied, Error> {
        let target = Target { id: Some(id.clone()), name: String::new() };
        self.apply(&Call::Start(target), Some(id)).await
    }

    /// What a command in a container says, in a line.
    pub(super) async fn said(&self, id: &ContainerId, line: &str) -> String {
        let command = ["sh", "-c", line].map(ToOwned::to_owned);
        let limit = std::time::Duration::from_secs(20);
        let (_, output) = self.docker.exec(id, &command, limit).await.unwrap();
        output.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a reload of the host's services does: the container's list of devices holds no more
    /// than the engine knows of.
    pub(super) fn take_away(id: &ContainerId, minor: u32) {
        let list = Roots::default().device_list(id).unwrap();
        fs::write(list.with_file_name("devices.deny"), format!("c 195:{minor} rw\n")).unwrap();
    }

    pub(super) fn cdi(&self, file: &str) -> PathBuf {
        self.second.path(CDI).join(file)
    }
}

/// What Berth knows of the cards.
pub(super) fn inventory() -> Inventory {
    let gpu = |(nth, (uuid, minor)): (usize, &(&str, u32))| Gpu {
        uuid: (*uuid).to_owned(),
        index: u32::try_from(nth).unwrap(),
        minor: Some(*minor),
        ..Gpu::default()
    };
    let gpus = CARDS.iter().enumerate().map(gpu).collect();
    let at = Some(Timestamp::from_millis(1));
    Inventory { gpus, driver: Some("550.54.15".to_owned()), at, ..Inventory::default() }
}

pub(super) fn grant(devices: &[&str]) -> GpuGrant {
    GpuGrant {
        vendor: GpuVendor::Nvidia,
        devices: devices.iter().map(|id| (*id).to_owned()).collect(),
        share: GpuShare::Exclusive,
        memory_bytes: None,
        capabilities: Vec::new(),
    }
}

fn spec(app: &str, gpus: Option<(GpuGrant, GpuRoute)>) -> ContainerSpec {
    let (grant, route) = gpus.unzip();
    let shape = Shape {
        image: TINY.to_owned(),
        command: Command::Shell("sleep 600".to_owned()),
        env: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        resources: Resources::default(),
        restart: RestartPolicy::Always,
        network: "gpus".to_owned(),
        gpus: grant,
        secrets: BTreeMap::new(),
        restricted: None,
        models: BTreeMap::new(),
        services: None,
    };
    let (app, spec_hash) = (AppName::new(app).unwrap(), SpecHash::of(&shape));
    ContainerSpec {
        name: container_name(&app, &spec_hash),
        instance: "gpus".to_owned(),
        app,
        generation: 1,
        spec_hash,
        build: None,
        commit: None,
        fields: String::new(),
        grace_s: 1,
        gpu_way: route,
        shape,
    }
}

/// What is known of a host without nodes.
pub(super) fn bare() -> GpuHost {
    GpuHost::default()
}
