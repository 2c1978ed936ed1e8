//! The configuration of the controller: every option and its default, in one table.
//!
//! A flag wins over an environment variable, that over the user's file, that over the machine's
//! file, that over the default. Each value remembers where it came from.

mod auth;
mod backups;
mod builds;
mod git;
mod gitops;
mod gpus;
mod layers;
mod models;
mod notices;
mod option;
mod options;
mod scans;
mod secrets;
mod terminals;
mod tls;
mod usage;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use auth::Auth;
pub use backups::{Backups, KeyFile};
pub use builds::Builds;
pub use git::Git;
pub use gitops::GitOps;
pub use gpus::Gpus;
pub use layers::{File, Layers, Origin};
pub use models::Models;
pub use option::{Kind, OptionRow};
pub use options::OPTIONS;
pub use scans::Scanning;
pub use secrets::Apps;
pub use terminals::Terminals;
pub use tls::TlsOptions;
pub use usage::Usage;

use crate::model::{AppName, Bind, ImageRef, PortRange, parse_duration};
use crate::notice::Target;
use crate::server;
use crate::telemetry::logging;

/// Which engine runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Docker.
    Docker,
    /// One that only pretends, in memory.
    Fake,
}

/// The configuration, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The watched folder.
    pub manifests: PathBuf,
    /// Where Berth keeps what it knows.
    pub state_dir: PathBuf,
    /// The folder of workspaces, absolute.
    pub workspaces: PathBuf,
    /// The folder of compose files, absolute.
    pub compose_dir: PathBuf,
    /// The folder of the model store.
    pub model_store: PathBuf,
    /// How models are kept.
    pub models: Models,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The base of generated Dockerfiles.
    pub base_image: ImageRef,
    /// The base images that manifests may choose, as patterns; none allows all.
    pub base_images: Vec<String>,
    /// Which engine runs containers.
    pub engine: EngineChoice,
    /// Where the engine is.
    pub docker_host: String,
    /// The host ports that may be given out.
    pub ports: PortRange,
    /// How long a host port that an app does not have any more is given to nobody else.
    pub port_quarantine: Duration,
    /// How often everything is looked at.
    pub resync: Duration,
    /// Whether git repositories may be folders of this machine.
    pub is_local_git_allowed: bool,
    /// What is said about git repositories elsewhere.
    pub git: Git,
    /// How ports are published when an app does not say.
    pub publish: Bind,
    /// Which Berth this is.
    pub instance: String,
    /// Host paths below which manifests may mount.
    pub host_mounts: Vec<String>,
    /// The apps that may mount by FUSE, `*` for all.
    pub fuse_apps: Vec<String>,
    /// The CA bundle that builds may ask for.
    pub ca_bundle: Option<PathBuf>,
    /// How log lines look.
    pub log_format: logging::Format,
    /// What is logged.
    pub log: String,
    /// How many short engine calls are made at once.
    pub workers: usize,
    /// What git servers have to do with it: manifests, webhooks, commit statuses.
    pub gitops: GitOps,
    /// How images are built and kept.
    pub builds: Builds,
    /// How it is found out what containers use.
    pub usage: Usage,
    /// How GPUs are read, shown and watched.
    pub gpus: Gpus,
    /// Where and when backups are made.
    pub backups: Backups,
    /// How apps come by secrets, and how tightly they are held.
    pub apps: Apps,
    /// How many terminals in containers there may be, and for how long.
    pub terminals: Terminals,
    /// Who may ask.
    pub auth: Auth,
    /// How the interface speaks TLS.
    pub tls: TlsOptions,
    /// Who is told when something is wrong.
    pub notices: Vec<Target>,
    /// Every value as text, with where it came from, in the table's order.
    pub settings: Vec<Setting>,
}

/// A value, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option.
    pub name: &'static str,
    /// Its value; several for a list, none when it is not set.
    pub values: Vec<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was said.
    pub origin: Origin,
    /// The option.
    pub name: String,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.name, self.origin, self.message)
    }
}

/// Why there is no configuration: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} mistake(s)", .0.len())]
pub struct Error(pub Vec<Mistake>);

impl Config {
    /// Reads the configuration from its layers.
    pub fn read(layers: &Layers) -> Result<Self, Error> {
        let (settings, mistakes) = layers.settle();
        let mut reader = Reader { settings, mistakes };
        let config = reader.config();
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => Err(Error(reader.mistakes)),
        }
    }

    /// Whether somebody set this option.
    pub fn is_set(&self, name: &str) -> bool {
        self.settings.iter().any(|s| s.name == name && s.origin != Origin::Default)
    }
}

/// Reads values, and collects what is wrong with them.
struct Reader {
    settings: Vec<Setting>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// Every value is read before the first `?`, so that all mistakes are found in one run.
    fn config(&mut self) -> Option<Config> {
        let manifests = self.path("manifests");
        let state_dir = self.path("state-dir");
        let workspaces = self.absolute("workspaces");
        let compose_dir = self.list("compose-dir", absolute_path);
        let model_store = self.absolute("model-store");
        let models = self.models();
        let auth = self.auth(state_dir.as_deref());
        let is_guarded = auth.as_ref().is_none_or(Auth::is_guarded);
        let tls = self.tls(state_dir.as_deref(), auth.as_ref());
        let listen = self.one("listen", |text| listen(text, is_guarded));
        let base_images = self.list("base-images", image_pattern);
        let (base_image, engine) = (self.one("base-image", base_image), self.one("engine", engine));
        let docker_host = self.one("docker-host", docker_host);
        let ports = self.one("ports", port_range);
        let port_quarantine = self.one("port-quarantine", quarantine);
        let resync = self.one("resync", resync);
        let is_local_git_allowed = self.one("allow-local-git", flag);
        let git = git::read(self, state_dir.as_deref());
        let publish = self.one("publish", publish);
        let instance = self.one("instance", instance);
        let host_mounts = self.list("allow-host-mount", absolute);
        let fuse_apps = self.list("allow-fuse", fuse_app);
        let ca_bundle = self.list("ca-bundle", readable_file);
        let (log_format, log) = (self.one("log-format", log_format), self.one("log", log_filter));
        let workers = self.one("workers", |text| number(text, 256));
        let (gpus, gitops) = (self.gpus(), self.gitops(is_local_git_allowed));
        let (builds, usage, backups) = (self.builds(), self.usage(), self.backups());
        let (apps, terminals) = (self.apps(state_dir.as_deref()), self.terminals());
        let notices = self.notices();
        let state_dir = state_dir?;
        let by_default = || absolute_path(&state_dir.join("compose").display().to_string()).ok();
        Some(Config {
            manifests: manifests?,
            compose_dir: compose_dir?.into_iter().next_back().or_else(by_default)?,
            state_dir,
            workspaces: workspaces?,
            model_store: model_store?,
            models: models?,
            listen: listen?,
            base_image: base_image?,
            base_images: base_images?,
            engine: engine?,
            docker_host: docker_host?,
            ports: ports?,
            port_quarantine: port_quarantine?,
            resync: resync?,
            is_local_git_allowed: is_local_git_allowed?,
            git: git?,
            publish: publish?,
            instance: instance?,
            host_mounts: host_mounts?,
            fuse_apps: fuse_apps?,
            ca_bundle: ca_bundle?.into_iter().next_back(),
            log_format: log_format?,
            log: log?,
            workers: workers?,
            gpus: gpus?,
            gitops: gitops?,
            builds: builds?,
            usage: usage?,
            backups: backups?,
            apps: apps?,
            terminals: terminals?,
            auth: auth?,
            tls: tls?,
            notices: notices?,
            settings: self.settings.clone(),
        })
    }

    fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let setting = self.settings.iter().find(|setting| setting.name == name)?;
        let mut values = Vec::new();
        for text in &setting.values {
            match read(text) {
                Ok(value) => values.push(value),
                Err(message) => self.mistakes.push(Mistake {
                    origin: setting.origin.clone(),
                    name: name.to_owned(),
                    message: format!("`{}` is not right: {message}", text.escape_debug()),
                }),
            }
        }
        (values.len() == setting.values.len()).then_some(values)
    }

    fn one<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.list(name, read)?.into_iter().next_back()
    }

    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.one(name, |text| match text {
            "" => Err("write the path of a folder".to_owned()),
            text => Ok(PathBuf::from(text)),
        })
    }

    fn absolute(&mut self, name: &'static str) -> Option<PathBuf> {
        self.one(name, absolute_path)
    }
}

fn base_image(text: &str) -> Result<ImageRef, String> {
    ImageRef::parse(text).map_err(|error| error.to_string())
}

fn fuse_app(text: &str) -> Result<String, String> {
    let is_name = text == "*" || AppName::new(text).is_ok();
    is_name.then(|| text.to_owned()).ok_or_else(|| "write an app's name, or `*` for all".to_owned())
}

fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(text).map_err(|error| error.to_string())?;
    absolute(&path.display().to_string()).map(PathBuf::from)
}

fn absolute(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let is_plain = !path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && is_plain {
        Ok(text.to_owned())
    } else {
        Err("write an absolute path without `..`".to_owned())
    }
}

fn listen(text: &str, is_guarded: bool) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let wrong = |_| "write an address and a port, such as `127.0.0.1:8000`".to_owned();
    let address: SocketAddr = numeric.parse().map_err(wrong)?;
    server::check_address(address, is_guarded).map_err(|error| error.to_string())?;
    Ok(address)
}

fn engine(text: &str) -> Result<EngineChoice, String> {
    match text {
        "docker" => Ok(EngineChoice::Docker),
        "fake" => Ok(EngineChoice::Fake),
        _ => Err("write `docker` or `fake`".to_owned()),
    }
}

fn docker_host(text: &str) -> Result<String, String> {
    let known = ["unix:///", "tcp://", "http://"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        Ok(text.to_owned())
    } else {
        Err("write `unix:///path/to/docker.sock` or `tcp://host:port`".to_owned())
    }
}

fn resync(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&duration) {
        Ok(duration)
    } else {
        Err("write a duration from `1s` to `24h`".to_owned())
    }
}

fn port_range(text: &str) -> Result<PortRange, String> {
    PortRange::parse(text).ok_or_else(|| "write a range such as `8001-8999`".to_owned())
}

fn log_filter(text: &str) -> Result<String, String> {
    let wrong = |_| "write a filter such as `info` or `berth=debug`".to_owned();
    logging::check_filter(text).map(|()| text.to_owned()).map_err(wrong)
}

fn log_format(text: &str) -> Result<logging::Format, String> {
    text.parse().map_err(|()| "write `text` or `json`".to_owned())
}

fn quarantine(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration <= Duration::from_hours(24) {
        Ok(duration)
    } else {
        Err("write a duration of at most `24h`".to_owned())
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("write `true` or `false`".to_owned()),
    }
}

fn publish(text: &str) -> Result<Bind, String> {
    match text {
        "loopback" => Ok(Bind::Loopback),
        "lan" => Ok(Bind::Lan),
        _ => Err("write `loopback` or `lan`".to_owned()),
    }
}

fn instance(text: &str) -> Result<String, String> {
    AppName::new(text).map(|name| name.to_string()).map_err(|e| e.to_string())
}

fn image_pattern(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@*".contains(c);
    if !text.is_empty() && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("write an image in which `*` stands for anything, such as `nvcr.io/nvidia/*`".into())
    }
}

fn readable_file(text: &str) -> Result<PathBuf, String> {
    std::fs::File::open(text).map_err(|error| error.to_string())?;
    Ok(PathBuf::from(text))
}

fn number(text: &str, max: usize) -> Result<usize, String> {
    let wrong = || format!("write a number from 1 to {max}");
    text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> Layers {
        Layers {
            flags: flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect(),
            env: env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            files: vec![File { path: "/etc/berth/config.yaml".into(), text: Ok(file.to_owned()) }],
        }
    }

    fn origin(config: &Config, name: &str) -> String {
        let setting = config.settings.iter().find(|setting| setting.name == name).unwrap();
        setting.origin.to_string()
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_a_file_over_the_default() {
        let file = "workers: 3\nresync: 1m\nports: 9000-9100\nallow-host-mount: [/srv, /data]\n";
        let env = [("BERTH_RESYNC", "2m"), ("BERTH_PORTS", "9200-9300")];
        let config = Config::read(&layers(&[("ports", "9400-9500")], &env, file)).unwrap();
        assert_eq!((config.ports.first, config.workers), (9400, 3));
        assert_eq!(config.resync, Duration::from_mins(2));
        assert_eq!(config.host_mounts, ["/srv", "/data"]);
        assert!(1 <= config.builds.max);
        let origins = ["ports", "resync", "workers", "max-builds"].map(|n| origin(&config, n));
        assert_eq!(
            origins,
            ["flag", "environment BERTH_RESYNC", "file /etc/berth/config.yaml", "default"]
        );
    }

    #[test]
    fn the_replaced_systems_variables_are_honoured_after_our_own() {
        let env = [("SERVER_PORT", "9001"), ("MODEL_STORAGE_PATH", "/models")];
        let config = Config::read(&layers(&[], &env, "")).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:9001");
        assert_eq!(config.model_store, PathBuf::from("/models"));
        assert!(config.is_set("model-store") && !config.is_set("manifests"));
        let env = [("SERVER_PORT", "9001"), ("BERTH_LISTEN", "localhost:9002")];
        let config = Config::read(&layers(&[], &env, "")).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:9002");
    }

    #[test]
    fn every_mistake_is_found_in_one_run_with_its_place() {
        let file = "worker: 3\nengine: podman\n";
        let env = [("SERVER_HOST", "0.0.0.0"), ("BERTH_RESYNC", "soon")];
        let error = Config::read(&layers(&[("ports", "9-1")], &env, file)).unwrap_err();
        let text: Vec<_> = error.0.iter().map(ToString::to_string).collect();
        let has = |parts: &[&str]| text.iter().any(|m| parts.iter().all(|part| m.contains(part)));
        assert!(has(&["`worker`", "config.yaml", "did you mean `workers`"]), "{text:#?}");
        assert!(has(&["`engine`", "config.yaml", "podman"]), "{text:#?}");
        assert!(has(&["`listen`", "SERVER_HOST", "refusing to listen"]), "{text:#?}");
        assert!(has(&["`resync`", "BERTH_RESYNC", "not a duration"]), "{text:#?}");
        assert!(has(&["`ports`", "flag", "8001-8999"]), "{text:#?}");
        assert_eq!(text.len(), 5);
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::read(&Layers::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
        assert_eq!(config.settings.len(), OPTIONS.len());
    }
}
