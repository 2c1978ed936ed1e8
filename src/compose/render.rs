//! A container as a service of a compose file.
//!
//! The form is one that compose 1.29 and 2 read alike: long mounts, short ports, no `include`.

use serde_json::{Map as Object, Value};

use super::{
    emit::{Map, Yaml, document},
    gpus,
    import::exact,
};
use crate::manifest;
use crate::model::{
    App, Digest, GitSource, Health, HealthCheck, Mount, MountSource, PullPolicy, RolloutOrder,
    Source,
};
use crate::plan::{ContainerSpec, Dockerfile, Recipe, Sealed};

/// The name that the shared network has within a file.
const NETWORK: &str = "berth";

/// What a file is made from.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The app.
    pub app: &'a App,
    /// Its container.
    pub spec: &'a ContainerSpec,
    /// What the engine is asked for, as its API wants it.
    pub body: &'a Value,
    /// How its image is built, when Berth builds it.
    pub recipe: Option<&'a Recipe>,
    /// The folder with the checkout: the build context.
    pub code: &'a str,
    /// Where the generated Dockerfile lies.
    pub dockerfile: &'a str,
}

/// A file, and what stands in it that compose can't say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The file's text.
    pub text: String,
    /// What of the container is not in it; empty unless this Berth asks for more than it can show.
    pub left_out: Vec<String>,
    /// Variables that must be set for it, because their values are not written down.
    pub withheld: Vec<String>,
}

/// The compose file of one app.
pub fn render(shown: &Shown<'_>) -> Rendered {
    let mut body = Rest::new(shown.body);
    let mut host = Rest::new(&body.take("HostConfig"));
    let mut withheld = Vec::new();
    let mut service = Map::new();
    put_image(shown, &mut body, &mut service);
    put_words(&mut body, &mut service);
    service.put_some("user", body.take("User").as_str());
    service.put_some("read_only", host.take("ReadonlyRootfs").as_bool());
    let mut env = environment(&body.take("Env"), &mut withheld);
    put_secrets(shown.spec, &mut env, &mut withheld);
    service.put_map("environment", env);
    service
        .put_map("labels", texts(shown.app.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
    service.put_map("networks", networks(&mut body, &mut host));
    put_list(&mut service, "ports", ports(&host.take("PortBindings")));
    let (mut mounts, volumes) = mounts(&host.take("Mounts"));
    mounts.extend(secret_files(shown.spec, &mut withheld));
    put_list(&mut service, "volumes", mounts);
    put_policies(&mut body, &mut host, &mut service);
    put_limits(&mut host, &mut service);
    let remarks = put_health(&shown.app.spec.health, &mut service);
    service.put_with("x-berth", beyond(shown.app), remarks.into_iter().collect());
    // Published ports are exposed, and labels are what says whose a container is: not in here.
    body.take("ExposedPorts");
    body.take("Labels");
    let left_out = [body.left(""), host.left("HostConfig.")].concat();
    let mut file = Map::new();
    let mut services = Map::new();
    let mut remarks = Vec::new();
    if !withheld.is_empty() {
        remarks.push(format!("set in the environment or in .env first: {}", withheld.join(", ")));
    }
    remarks.extend(left_out.iter().map(|key| format!("compose can't say this: {key}")));
    services.put_with(shown.app.name.as_str(), service, remarks);
    file.put("services", services);
    put_shared(&mut file, &shown.spec.shape.network, &volumes);
    Rendered { text: document(&file), left_out, withheld }
}

/// What of an object is not yet written.
struct Rest(Object<String, Value>);

impl Rest {
    fn new(value: &Value) -> Self {
        Self(value.as_object().cloned().unwrap_or_default())
    }

    /// A value, which is then written.
    fn take(&mut self, key: &str) -> Value {
        self.0.remove(key).unwrap_or(Value::Null)
    }

    /// A value that could not be written after all.
    fn give_back(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// The names of what was never taken.
    fn left(&self, before: &str) -> Vec<String> {
        let is_said = |value: &Value| !value.is_null() && *value != Value::Bool(false);
        self.0.iter().filter(|(_, v)| is_said(v)).map(|(k, _)| format!("{before}{k}")).collect()
    }
}

/// A text that compose takes as it is: it replaces `$NAME` in every value.
fn fixed(text: &str) -> Yaml {
    Yaml::Text(text.replace('$', "$$"))
}

fn texts<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Map {
    pairs.map(|(key, value)| (key.to_owned(), fixed(value))).collect()
}

fn words(value: &Value) -> Option<Vec<Yaml>> {
    let list = value.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(fixed).collect())
}

fn put_list(service: &mut Map, key: &str, list: Vec<Yaml>) {
    if !list.is_empty() {
        service.put(key, list);
    }
}

fn put_image(shown: &Shown<'_>, body: &mut Rest, service: &mut Map) {
    let image = body.take("Image");
    service.put("image", fixed(image.as_str().unwrap_or_default()));
    let Some(recipe) = shown.recipe else { return };
    let mut build = Map::new();
    build.put("context", fixed(shown.code));
    build.put(
        "dockerfile",
        match &recipe.dockerfile {
            Dockerfile::InSource(path) => fixed(path),
            Dockerfile::Generated(_) => fixed(shown.dockerfile),
        },
    );
    build.put_map("args", texts(recipe.args.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
    build.put_some("target", recipe.target.as_deref().map(fixed));
    let mut remarks = vec![format!("built from {}", recipe.commit)];
    if recipe.ca_bundle.is_some() {
        remarks.push("its Dockerfile needs the CA bundle as .berth/ca.crt in the context".into());
    }
    service.put_with("build", build, remarks);
}

fn put_words(body: &mut Rest, service: &mut Map) {
    service.put_some("entrypoint", words(&body.take("Entrypoint")));
    service.put_some("command", words(&body.take("Cmd")));
}

fn environment(env: &Value, withheld: &mut Vec<String>) -> Map {
    let mut map = Map::new();
    let pairs = env.as_array().into_iter().flatten().filter_map(Value::as_str);
    for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
        if is_secret(name, value) {
            let variable = variable(name);
            map.put(name, format!("${{{variable}:?set {variable}}}"));
            withheld.push(variable);
        } else {
            map.put(name, fixed(value));
        }
    }
    map
}

/// Secrets that are variables: who runs the file sets them.
fn put_secrets(spec: &ContainerSpec, env: &mut Map, withheld: &mut Vec<String>) {
    for target in spec.shape.secrets.keys() {
        let Some(name) = Sealed::variable(target) else { continue };
        let variable = variable(name);
        env.put(name, format!("${{{variable}:?set {variable}}}"));
        withheld.push(variable);
    }
}

/// Secrets that are files: who runs the file says where they lie.
fn secret_files(spec: &ContainerSpec, withheld: &mut Vec<String>) -> Vec<Yaml> {
    let mut files = Vec::new();
    for (target, sealed) in &spec.shape.secrets {
        if Sealed::variable(target).is_some() {
            continue;
        }
        let key = sealed.wanted.key.as_deref().map(|key| format!("_{key}")).unwrap_or_default();
        let name = format!("secret_file_{}{key}", sealed.wanted.secret).to_ascii_uppercase();
        let variable = variable(&name);
        let mut map = Map::new();
        map.put("type", "bind");
        map.put("source", format!("${{{variable}:?set {variable}}}"));
        map.put("target", fixed(target));
        map.put("read_only", true);
        files.push(Yaml::Map(map));
        withheld.push(variable);
    }
    files
}

/// Whether a value is not written down: its name says that it is a secret, and it may be one.
fn is_secret(name: &str, value: &str) -> bool {
    let is_switch = value.is_empty() || ["true", "false"].contains(&value.to_lowercase().as_str());
    let is_count = value.len() <= 5 && value.chars().all(|c| c.is_ascii_digit());
    let counts_tokens = name.to_lowercase().contains("tokens");
    manifest::is_sensitive(name) && !is_switch && !(is_count && counts_tokens)
}

/// The name as compose can look it up.
fn variable(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let variable: String = name.chars().map(legal).collect();
    if variable.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{variable}")
    } else {
        variable
    }
}

fn networks(body: &mut Rest, host: &mut Rest) -> Map {
    let config = body.take("NetworkingConfig");
    host.take("NetworkMode");
    let endpoints = config["EndpointsConfig"].as_object();
    let mut networks = Map::new();
    for endpoint in endpoints.into_iter().flat_map(Object::values) {
        let mut network = Map::new();
        network.put_some("aliases", words(&endpoint["Aliases"]));
        networks.put(NETWORK, network);
    }
    networks
}

fn ports(bindings: &Value) -> Vec<Yaml> {
    let mut ports = Vec::new();
    for (container, hosts) in bindings.as_object().into_iter().flatten() {
        for host in hosts.as_array().into_iter().flatten() {
            let text = |key: &str| host[key].as_str().unwrap_or_default();
            let address = text("HostIp");
            let address =
                if address.contains(':') { format!("[{address}]") } else { address.into() };
            ports.push(fixed(&format!("{address}:{}:{container}", text("HostPort"))));
        }
    }
    ports.sort_by_key(|port| format!("{port:?}"));
    ports
}

/// The mounts, and the names of the volumes among them.
fn mounts(mounts: &Value) -> (Vec<Yaml>, Vec<String>) {
    let (mut list, mut volumes) = (Vec::new(), Vec::new());
    for mount in mounts.as_array().into_iter().flatten() {
        let text = |key: &str| mount[key].as_str().unwrap_or_default();
        let mut map = Map::new();
        map.put("type", text("Type"));
        if text("Type") != "tmpfs" {
            map.put("source", fixed(text("Source")));
        }
        map.put("target", fixed(text("Target")));
        if mount["ReadOnly"] == true {
            map.put("read_only", true);
        }
        if text("Type") == "volume" {
            volumes.push(text("Source").to_owned());
        }
        if let Some(propagation) = mount["BindOptions"]["Propagation"].as_str() {
            let mut bind = Map::new();
            bind.put("propagation", propagation);
            map.put("bind", bind);
        }
        if let Some(size) = mount["TmpfsOptions"]["SizeBytes"].as_i64() {
            let mut tmpfs = Map::new();
            tmpfs.put("size", size);
            map.put("tmpfs", tmpfs);
        }
        list.push(Yaml::Map(map));
    }
    (list, volumes)
}

fn put_policies(body: &mut Rest, host: &mut Rest, service: &mut Map) {
    let restart = host.take("RestartPolicy");
    service.put_some("restart", restart["Name"].as_str());
    if let Some(seconds) = body.take("StopTimeout").as_i64() {
        service.put("stop_grace_period", format!("{seconds}s"));
    }
    service.put_some("init", host.take("Init").as_bool());
    service.put_some("ipc", host.take("IpcMode").as_str());
    service.put_some("cap_drop", words(&host.take("CapDrop")));
    service.put_some("cap_add", words(&host.take("CapAdd")));
    service.put_some("security_opt", words(&host.take("SecurityOpt")));
    let log = host.take("LogConfig");
    if let Some(driver) = log["Type"].as_str() {
        let options = log["Config"].as_object().into_iter().flatten();
        let mut pairs: Vec<_> =
            options.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))).collect();
        pairs.sort_unstable();
        let mut logging = Map::new();
        logging.put("driver", driver);
        logging.put_map("options", texts(pairs.into_iter()));
        service.put("logging", logging);
    }
    let nodes = host.take("Devices");
    match gpus::nodes(&nodes) {
        Some(list) => put_list(service, "devices", list),
        None => host.give_back("Devices", nodes),
    }
    service.put_some("group_add", words(&host.take("GroupAdd")));
    service.put_some("runtime", host.take("Runtime").as_str());
    if let Some(devices) = host.take("DeviceRequests").as_array() {
        let list: Vec<_> = devices.iter().map(|device| gpus::request(device, words)).collect();
        let mut reservations = Map::new();
        reservations.put("devices", list);
        let mut resources = Map::new();
        resources.put("reservations", reservations);
        let mut deploy = Map::new();
        deploy.put("resources", resources);
        service.put("deploy", deploy);
    }
}

fn put_limits(host: &mut Rest, service: &mut Map) {
    service.put_some("mem_limit", host.take("Memory").as_i64());
    service.put_some("memswap_limit", host.take("MemorySwap").as_i64());
    if let Some(nanos) = host.take("NanoCpus").as_i64() {
        let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let text = format!("{whole}.{rest:09}");
        service.put("cpus", text.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    service.put_some("shm_size", host.take("ShmSize").as_i64());
    service.put_some("pids_limit", host.take("PidsLimit").as_i64());
}

/// A check that compose can do, or a remark about one that it can't.
fn put_health(health: &Health, service: &mut Map) -> Option<String> {
    let seen = |what: String| {
        let every = exact(health.interval);
        Some(format!("Berth checks from outside, every {every}: {what}"))
    };
    match &health.check {
        Some(HealthCheck::Exec(command)) => {
            let test = ["CMD"].into_iter().chain(command.iter().map(String::as_str)).map(fixed);
            let mut map = Map::new();
            map.put("test", test.collect::<Vec<_>>());
            map.put("interval", exact(health.interval));
            map.put("timeout", exact(health.timeout));
            map.put("retries", i64::from(health.retries));
            map.put("start_period", exact(health.start_period));
            service.put("healthcheck", map);
            None
        }
        Some(HealthCheck::Http { path, port }) => {
            seen(format!("GET {path} at port {port} is answered with a status below 400"))
        }
        Some(HealthCheck::Tcp { port }) => seen(format!("port {port} accepts connections")),
        None => None,
    }
}

/// What compose has no words for, so that an import gets it back.
fn beyond(app: &App) -> Map {
    let spec = &app.spec;
    let mut map = Map::new();
    match &spec.source {
        Source::Git(git) => {
            map.put("source", source(git));
            map.put_map("build", build(app));
        }
        Source::Image { pull: PullPolicy::Always, .. } => map.put("pullPolicy", "Always"),
        Source::Image { .. } => {}
    }
    map.put_some("gpus", spec.gpus.as_ref().map(gpus::ask));
    map.put_some("health", health(&spec.health));
    let mut rollout = Map::new();
    match spec.rollout.order {
        RolloutOrder::Auto => {}
        RolloutOrder::StopFirst => rollout.put("order", "stop-first"),
        RolloutOrder::StartFirst => rollout.put("order", "start-first"),
    }
    rollout.put_some("deadline", spec.rollout.deadline.map(exact));
    if !spec.rollout.auto_rollback {
        rollout.put("autoRollback", false);
    }
    map.put_map("rollout", rollout);
    let mut workspace = Map::new();
    workspace.put("path", fixed(&spec.workspace.path));
    workspace.put_some("uid", spec.workspace.uid.map(i64::from));
    map.put_map("workspace", workspace);
    if !spec.depends_on.is_empty() {
        let names: Vec<_> = spec.depends_on.iter().map(ToString::to_string).collect();
        map.put("dependsOn", names);
    }
    map.put_map(
        "annotations",
        texts(app.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
    );
    map
}

fn source(git: &GitSource) -> Map {
    let mut map = Map::new();
    map.put("url", fixed(git.url.as_str()));
    map.put_some("ref", git.reference.as_deref().map(fixed));
    map.put_some("path", Some(&git.path).filter(|path| !path.is_empty()).map(|path| fixed(path)));
    map.put_some("depth", git.depth.map(i64::from));
    let mut source = Map::new();
    source.put("git", map);
    source.put("interval", exact(git.interval));
    source
}

fn build(app: &App) -> Map {
    let build = &app.spec.build;
    let mut map = Map::new();
    map.put_some("dockerfile", build.dockerfile.as_deref().map(fixed));
    map.put_some("base", build.base.as_ref().map(|base| fixed(base.as_str())));
    map.put_some("requirements", build.requirements.as_deref().map(fixed));
    if !build.packages.is_empty() {
        map.put("packages", build.packages.clone());
    }
    if build.ca_bundle {
        map.put("caBundle", true);
    }
    map
}

fn health(health: &Health) -> Option<Yaml> {
    let mut map = Map::new();
    match &health.check {
        None => return Some("none".into()),
        // This one compose can say.
        Some(HealthCheck::Exec(_)) => return None,
        Some(HealthCheck::Http { path, port }) => {
            let mut http = Map::new();
            http.put("path", fixed(path));
            http.put("port", i64::from(*port));
            map.put("http", http);
        }
        Some(HealthCheck::Tcp { port }) => map.put("tcp", i64::from(*port)),
    }
    map.put("startPeriod", exact(health.start_period));
    map.put("interval", exact(health.interval));
    map.put("timeout", exact(health.timeout));
    map.put("retries", i64::from(health.retries));
    Some(map.into())
}

/// Networks and volumes: they are there already, and stay when the project goes.
fn put_shared(file: &mut Map, network: &str, volumes: &[String]) {
    let outside = |name: &str| {
        let mut map = Map::new();
        map.put("external", true);
        map.put("name", fixed(name));
        Yaml::Map(map)
    };
    let mut networks = Map::new();
    networks.put(NETWORK, outside(network));
    file.put("networks", networks);
    let mut names = volumes.to_vec();
    names.sort_unstable();
    names.dedup();
    let volumes = names.into_iter().map(|name| {
        let volume = outside(&name);
        (name, volume)
    });
    file.put_map("volumes", volumes.collect());
}

/// What the main file says of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub app: String,
    /// What it shares with others.
    pub network: String,
    /// Its volumes.
    pub volumes: Vec<String>,
    /// The apps that must run before it.
    pub depends_on: Vec<String>,
}

impl Member {
    /// What the main file says of an app.
    pub fn of(app: &App, network: &str) -> Self {
        let volume = |mount: &Mount| match &mount.source {
            MountSource::Volume(name) => Some(name.clone()),
            MountSource::Host(_)
            | MountSource::Tmpfs(_)
            | MountSource::Secret(_)
            | MountSource::Model(_)
            | MountSource::Remote(_) => None,
        };
        Self {
            app: app.name.to_string(),
            network: network.to_owned(),
            volumes: app.spec.mounts.iter().filter_map(volume).collect(),
            depends_on: app.spec.depends_on.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The file that has them all. Each is taken over from its own file, in the one way that compose
/// 1.29 and 2 share: `include` is newer. Dependencies stand here, since 1.29 does not take over a
/// service that has some.
pub fn main_file(members: &[Member]) -> String {
    let mut file = Map::new();
    let mut services = Map::new();
    for member in members {
        let mut from = Map::new();
        from.put("file", format!("{}/{}", member.app, super::folder::COMPOSE_FILE));
        from.put("service", member.app.as_str());
        let mut service = Map::new();
        service.put("extends", from);
        let is_here = |name: &&String| members.iter().any(|other| other.app == **name);
        let needs: Vec<_> = member.depends_on.iter().filter(is_here).cloned().collect();
        if !needs.is_empty() {
            service.put("depends_on", needs);
        }
        services.put(&member.app, service);
    }
    file.put("services", services);
    if let Some(first) = members.first() {
        let volumes: Vec<_> = members.iter().flat_map(|member| member.volumes.clone()).collect();
        put_shared(&mut file, &first.network, &volumes);
    }
    document(&file)
}

/// The digest of a text, as it stands in a file's head.
pub(super) fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}
