//! A bench for one engine: what a test needs, made the same way for the fake and for the real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use berth::clock::Clock;
use berth::engine::docker::{Builder, Docker, Settings};
use berth::engine::fake::{Behaviour, Fake, Outcome, Script};
use berth::engine::{
    Applied, BuildExtras, BuildRequest, Engine, Error, Hands, LogOptions, ResolvedCall,
};
use berth::model::{
    AppName, Command, GpuGrant, GpuRoute, GpuShare, GpuVendor, GpuWay, PortBinding, Protocol,
    Resources, RestartPolicy, SpecHash, label,
};
use berth::plan::{Call, ContainerSpec, Dockerfile, Recipe, Shape, Target};
use berth::state::{Container, ContainerId, container_name};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

/// A shell with busybox; `compose/base/tiny.sh` makes it.
pub(crate) const IMAGE: &str = "berth/tiny:offline";
const SOCKET: &str = "unix:///var/run/docker.sock";

/// Counts the benches of this process, so that each has an instance of its own.
static BENCHES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Bench {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) instance: String,
    kind: Kind,
}

enum Kind {
    Fake(Fake),
    Docker(Docker, String),
}

impl Bench {
    fn instance() -> String {
        let nth = BENCHES.fetch_add(1, Ordering::Relaxed);
        format!("contract-{}-{nth}", std::process::id())
    }

    pub(crate) fn fake() -> Self {
        let instance = Self::instance();
        let fake = Fake::new(&instance, Clock::System);
        fake.add_image(IMAGE, Behaviour::default());
        let hands = Arc::new(fake.clone());
        Self { engine: Arc::new(fake.clone()), hands, instance, kind: Kind::Fake(fake) }
    }

    /// The fake behind HTTP, and the client of the real one before it.
    pub(crate) fn front() -> Self {
        let mut bench = Self::fake();
        let Kind::Fake(fake) = &bench.kind else { return bench };
        let settings = Settings {
            builder: Builder::Classic,
            ..Settings::new("unix:///nowhere", &bench.instance)
        };
        let docker = Docker::through(settings, crate::front::connect(fake)).unwrap();
        bench.engine = Arc::new(docker.clone());
        bench.hands = Arc::new(docker);
        bench
    }

    /// The real engine, which must be there.
    pub(crate) async fn docker() -> Self {
        Self::docker_with(|_| {}).await
    }

    /// A real engine, with other settings than the usual.
    pub(crate) async fn docker_with(change: impl FnOnce(&mut Settings)) -> Self {
        let host = std::env::var("BERTH_TEST_ENGINE").unwrap_or_else(|_| SOCKET.to_owned());
        let instance = Self::instance();
        let mut settings = Settings::new(&host, &instance);
        change(&mut settings);
        let docker = Docker::connect(settings).unwrap();
        match docker.observe().await {
            Ok(world) if world.image_id(IMAGE).is_some() => {}
            Ok(_) => panic!("{host} has no image {IMAGE}: run `make tiny-image`"),
            Err(error) => panic!("run `make engine`, or name one in BERTH_TEST_ENGINE: {error}"),
        }
        let hands = Arc::new(docker.clone());
        Self { engine: Arc::new(docker.clone()), hands, instance, kind: Kind::Docker(docker, host) }
    }

    pub(crate) fn real(&self) -> Option<&Docker> {
        match &self.kind {
            Kind::Docker(docker, _) => Some(docker),
            Kind::Fake(_) => None,
        }
    }

    /// Where the real engine is.
    pub(crate) fn host(&self) -> Option<String> {
        match &self.kind {
            Kind::Docker(_, host) => Some(host.clone()),
            Kind::Fake(_) => None,
        }
    }

    pub(crate) fn as_fake(&self) -> Option<&Fake> {
        match &self.kind {
            Kind::Fake(fake) => Some(fake),
            Kind::Docker(..) => None,
        }
    }

    #[expect(clippy::unused_self, reason = "reads better at the call")]
    pub(crate) fn image(&self) -> &'static str {
        IMAGE
    }

    #[expect(clippy::unused_self, reason = "reads better at the call")]
    pub(crate) fn app(&self, name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    pub(crate) fn network(&self) -> String {
        format!("{}-net", self.instance)
    }

    pub(crate) fn spec(&self, app: &str) -> ContainerSpec {
        let shape = Shape {
            image: IMAGE.to_owned(),
            command: Command::Shell("sleep 600".to_owned()),
            env: BTreeMap::from([("INSTANCE".to_owned(), self.instance.clone())]),
            ports: Vec::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            restart: RestartPolicy::Never,
            network: self.network(),
            gpus: None,
            secrets: BTreeMap::new(),
            restricted: None,
            models: BTreeMap::new(),
            services: None,
        };
        let spec_hash = SpecHash::of(&shape);
        let app = self.app(app);
        ContainerSpec {
            name: container_name(&app, &spec_hash),
            instance: self.instance.clone(),
            app,
            generation: 1,
            spec_hash,
            build: None,
            commit: None,
            fields: String::new(),
            grace_s: 2,
            gpu_way: None,
            shape,
        }
    }

    pub(crate) fn spec_with_gpus(&self, devices: &[&str], way: GpuWay) -> ContainerSpec {
        let texts = |prefix: &str| devices.iter().map(|id| format!("{prefix}{id}")).collect();
        let mut spec = self.spec("chat");
        spec.shape.gpus = Some(GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: texts(""),
            share: GpuShare::Exclusive,
            memory_bytes: None,
            capabilities: Vec::new(),
        });
        spec.gpu_way = Some(GpuRoute {
            way,
            names: if way == GpuWay::Cdi { texts("nvidia.com/gpu=") } else { Vec::new() },
            nodes: Vec::new(),
            groups: Vec::new(),
            driver: Some("550.54.15".to_owned()),
            why: String::new(),
        });
        spec
    }

    /// The fake has a hook unless it is told; the real one here has none.
    pub(crate) fn has_no_gpus(&self) {
        if let Some(fake) = self.as_fake() {
            fake.set_gpu_hook(false);
        }
    }

    pub(crate) fn spec_that_exits(&self, app: &str, code: i64) -> ContainerSpec {
        self.spec_doing(app, &format!("exit {code}"), Behaviour::exits(code))
    }

    pub(crate) fn spec_that_says(&self, app: &str, lines: &[&str]) -> ContainerSpec {
        let says: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let echoes: Vec<_> = lines.iter().map(|line| format!("echo {line}; ")).collect();
        let behaviour = Behaviour { says, ..Behaviour::default() };
        self.spec_doing(app, &format!("{}sleep 600", echoes.concat()), behaviour)
    }

    /// The fake's programs are images, the real one's are command lines.
    fn spec_doing(&self, app: &str, line: &str, behaviour: Behaviour) -> ContainerSpec {
        let mut spec = self.spec(app);
        spec.shape.command = Command::Shell(line.to_owned());
        if let Some(fake) = self.as_fake() {
            spec.shape.image = format!("fake/{app}:1");
            fake.add_image(&spec.shape.image, behaviour);
        }
        spec
    }

    pub(crate) async fn apply(
        &self,
        call: &Call,
        id: Option<ContainerId>,
    ) -> Result<Applied, Error> {
        self.engine.apply(&ResolvedCall { call, id, given: berth::secret::Given::default() }).await
    }

    pub(crate) async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        self.apply(&Call::EnsureNetwork { name: self.network() }, None).await?;
        match self.apply(&Call::Create(Box::new(spec.clone())), None).await? {
            Applied::Created(id) => Ok(id),
            other => panic!("a create answered {other:?}"),
        }
    }

    pub(crate) async fn run(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        let id = self.create(spec).await?;
        self.start(&id).await?;
        Ok(id)
    }

    fn target(id: &ContainerId) -> Target {
        Target { id: Some(id.clone()), name: String::new() }
    }

    pub(crate) async fn start(&self, id: &ContainerId) -> Result<Applied, Error> {
        self.apply(&Call::Start(Self::target(id)), Some(id.clone())).await
    }

    pub(crate) async fn stop(&self, id: &ContainerId) -> Result<Applied, Error> {
        let call = Call::Stop { target: Self::target(id), grace_s: Some(2) };
        self.apply(&call, Some(id.clone())).await
    }

    pub(crate) async fn remove(&self, id: &ContainerId) -> Result<Applied, Error> {
        self.apply(&Call::Remove(Self::target(id)), Some(id.clone())).await
    }

    pub(crate) async fn container(&self, id: &ContainerId) -> Option<Container> {
        let world = self.engine.observe().await.unwrap();
        world.containers.into_iter().find(|container| container.id == *id)
    }

    pub(crate) async fn ours(&self) -> Vec<Container> {
        let mut all = self.engine.observe().await.unwrap().containers;
        all.retain(|container| container.ownership.app().is_some());
        all
    }

    /// A port that nobody holds at present.
    #[expect(clippy::unused_self, reason = "reads better at the call")]
    pub(crate) fn free_port(&self) -> PortBinding {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        PortBinding {
            host_ip: "127.0.0.1".to_owned(),
            host_port: listener.local_addr().unwrap().port(),
            container_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    pub(crate) fn recipe(&self, app: &str, line: &str) -> Recipe {
        Recipe {
            instance: self.instance.clone(),
            app: self.app(app),
            tree: self.instance.clone(),
            commit: String::new(),
            dockerfile: Dockerfile::Generated(format!("FROM {IMAGE}\n{line}\n")),
            target: None,
            args: BTreeMap::new(),
            base: None,
            ca_bundle: None,
            secrets: Vec::new(),
            rebuilds: 0,
            is_from_scratch: false,
            twin: None,
            from: None,
            why: String::new(),
        }
    }

    #[expect(clippy::unused_self, reason = "reads better at the call")]
    pub(crate) fn dockerfile(&self, recipe: &Recipe) -> String {
        match &recipe.dockerfile {
            Dockerfile::Generated(text) => text.clone(),
            Dockerfile::InSource(path) => panic!("{path} is not made by this bench"),
        }
    }

    pub(crate) async fn build(&self, recipe: &Recipe) -> (Result<String, Error>, Vec<String>) {
        let tar = tar_of(&self.dockerfile(recipe));
        let pieces: Vec<_> =
            tar.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        self.build_from(recipe, futures_util::stream::iter(pieces).boxed()).await
    }

    pub(crate) async fn build_from(
        &self,
        recipe: &Recipe,
        context: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> (Result<String, Error>, Vec<String>) {
        self.build_with(recipe, context, BuildExtras::default()).await
    }

    pub(crate) async fn build_with(
        &self,
        recipe: &Recipe,
        context: BoxStream<'static, Result<Bytes, std::io::Error>>,
        extras: BuildExtras,
    ) -> (Result<String, Error>, Vec<String>) {
        let (log, mut lines) = tokio::sync::mpsc::channel(1000);
        let request = BuildRequest {
            recipe,
            instance: &self.instance,
            dockerfile: "Dockerfile".to_owned(),
            context,
            log,
            extras,
        };
        let built = self.engine.build(request).await;
        (built, std::iter::from_fn(|| lines.try_recv().ok()).collect())
    }

    /// The fake can't read a Dockerfile: it is told what the build will say.
    pub(crate) fn next_build_says(&self, recipe: &Recipe, line: &str) {
        let script = Script { log: vec![line.to_owned()], ..Script::default() };
        if let Some(fake) = self.as_fake() {
            fake.script_build(&recipe.app, script);
        }
    }

    pub(crate) fn next_build_fails(&self, recipe: &Recipe, message: &str) {
        let outcome = Outcome::Fails(message.to_owned());
        if let Some(fake) = self.as_fake() {
            fake.script_build(&recipe.app, Script { outcome, ..Script::default() });
        }
    }

    /// The fake can't read a Dockerfile: it is told what its image exposes.
    pub(crate) fn exposes(&self, image: &str, ports: &[(u16, Protocol)]) {
        if let Some(fake) = self.as_fake() {
            fake.expose(image, ports);
        }
    }

    /// The fake runs no commands: it is told what they answer.
    pub(crate) fn next_command_answers(&self, app: &str, code: i64, output: &str) {
        let exec = (code, output.to_owned());
        if let Some(fake) = self.as_fake() {
            fake.behaves(&self.app(app), &Behaviour { exec, ..Behaviour::default() });
        }
    }

    /// A whole log as text.
    pub(crate) async fn log(&self, id: &ContainerId, options: LogOptions) -> String {
        let pieces: Vec<_> = self.engine.logs(id, options).collect().await;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

/// A context that holds only a Dockerfile.
pub(crate) fn tar_of(dockerfile: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

/// Removes what the test made, whether it passed or not.
impl Drop for Bench {
    fn drop(&mut self) {
        let Kind::Docker(_, host) = &self.kind else { return };
        let (host, instance) = (host.clone(), self.instance.clone());
        let swept = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(sweep(&host, &instance));
        });
        swept.join().unwrap();
    }
}

async fn sweep(host: &str, instance: &str) {
    use bollard::query_parameters::{
        ListContainersOptions, ListImagesOptions, ListNetworksOptions, RemoveContainerOptions,
        RemoveImageOptions,
    };
    let client = bollard::Docker::connect_with_host(host).unwrap();
    let labelled = |key: &str, value: &str| {
        Some([("label".to_owned(), vec![format!("{key}={value}")])].into_iter().collect())
    };
    for whose in [instance.to_owned(), format!("{instance}-other")] {
        let filters = labelled(label::INSTANCE, &whose);
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        for container in client.list_containers(Some(options)).await.unwrap() {
            let options = RemoveContainerOptions { force: true, ..Default::default() };
            let _ = client.remove_container(&container.id.unwrap(), Some(options)).await;
        }
    }
    let options = ListNetworksOptions { filters: labelled(label::INSTANCE, instance) };
    for network in client.list_networks(Some(options)).await.unwrap() {
        let _ = client.remove_network(&network.id.unwrap()).await;
    }
    let filters = labelled(label::IMAGE_INSTANCE, instance);
    // Also what a failed build left without a tag.
    let options = ListImagesOptions { all: false, filters, ..Default::default() };
    for image in client.list_images(Some(options)).await.unwrap() {
        let options = RemoveImageOptions { force: true, ..Default::default() };
        let _ = client.remove_image(&image.id, Some(options), None).await;
    }
}
