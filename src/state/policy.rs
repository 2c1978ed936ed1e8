//! What the operator set, for all apps.

use std::time::Duration;

use super::observed::ContainerId;
use crate::model::{AppName, Bind, Digest, ImageRef, PortRange, Profile, Timestamp};

/// What the operator set: data for the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which Berth this is.
    pub instance: String,
    /// Who polls repositories: another text on each host, so that not all ask at one moment.
    pub poller: String,
    /// The network that apps share.
    pub network: String,
    /// How ports are published when the app does not say.
    pub publish: Bind,
    /// The host ports that may be given out.
    pub ports: PortRange,
    /// How long a port that an app does not have any more is given to nobody else.
    pub port_quarantine: Duration,
    /// The base of generated Dockerfiles.
    pub base_image: ImageRef,
    /// Whether git repositories may be folders of this machine.
    pub is_local_git_allowed: bool,
    /// The absolute path of the folder of workspaces.
    pub workspaces: String,
    /// Host paths below which manifests may mount.
    pub host_mounts: Vec<String>,
    /// The apps that may mount by FUSE, `*` for all.
    pub fuse_apps: Vec<String>,
    /// The digest of the CA bundle that builds may ask for.
    pub ca_bundle: Option<Digest>,
    /// How many of an app's newest images are kept, the running one among them.
    pub keep_images: usize,
    /// How old further images may become.
    pub images_max_age: Duration,
    /// How much all images together may take before further ones go, whatever their age.
    pub images_max_size: Option<u64>,
    /// The base images that manifests may choose, as patterns; none allows all.
    pub base_images: Vec<String>,
    /// The version of the GPUs' driver; none is a host without GPUs.
    pub gpu_driver: Option<String>,
    /// When that driver was seen last, where it is not there at present: at a start of the host, say.
    pub gpu_driver_seen: Option<Timestamp>,
    /// Containers of others that only watch GPUs, by patterns of their names or images: what they
    /// were given keeps no card from others.
    pub gpu_bystanders: Vec<String>,
    /// Whether it is proven that the engine can give GPUs before anything stops for that.
    pub is_gpu_proven: bool,
    /// The container that Berth itself runs in: never part of a plan (fault D23).
    pub own_container: Option<ContainerId>,
    /// A new version is not started while fewer bytes than these are free.
    pub min_free_disk: u64,
    /// How tightly containers are held at least.
    pub profile: Profile,
    /// The address at which containers reach this Berth, for those that load from the Hub.
    pub hub: Option<String>,
    /// The folder of the model store, as the engine's host knows it.
    pub models: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            poller: String::new(),
            network: "berth".to_owned(),
            publish: Bind::Loopback,
            ports: PortRange { first: 8001, last: 8999 },
            port_quarantine: Duration::from_mins(1),
            base_image: ImageRef::parse("python:3.12-slim").unwrap_or_else(|_| unreachable!()),
            is_local_git_allowed: false,
            workspaces: "/opt/dockerstore".to_owned(),
            host_mounts: Vec::new(),
            fuse_apps: Vec::new(),
            ca_bundle: None,
            keep_images: 3,
            images_max_age: Duration::ZERO,
            images_max_size: None,
            base_images: Vec::new(),
            gpu_driver: None,
            gpu_driver_seen: None,
            gpu_bystanders: Vec::new(),
            is_gpu_proven: true,
            own_container: None,
            min_free_disk: 64 << 20,
            profile: Profile::Baseline,
            hub: None,
            models: "/var/lib/berth/models".to_owned(),
        }
    }
}

impl Policy {
    /// Whether an app may be given what mounts by FUSE take.
    pub fn allows_fuse(&self, app: &AppName) -> bool {
        self.fuse_apps.iter().any(|allowed| allowed == "*" || allowed == app.as_str())
    }
}
