//! What only images of Berth's base family can give: a way in by ssh, and remotes as folders.

use serde::{Deserialize, Serialize};

use super::{
    app::{AppSpec, Mount, MountSource},
    port::Bind,
};

/// The port that sshd listens on inside the container.
pub const SSH_PORT: u16 = 22;
/// Where the base image looks for public keys that are secrets.
pub const KEY_FILES: &str = "/etc/berth/ssh/";
/// Where the base image looks for rclone's configuration.
pub const REMOTES_FILE: &str = "/config/rclone.conf";

/// A way in by ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshAccess {
    /// The host port; none is an automatic one that stays the same.
    pub port: Option<u16>,
    /// Who may reach it; none is as the operator says.
    pub bind: Option<Bind>,
    /// The public keys that are written down. Those that are secrets are mounts.
    pub keys: Vec<String>,
}

/// A remote of rclone as a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remote {
    /// The remote and the path there: `nas:projects/lab`.
    pub remote: String,
    /// What is kept here for a while, in rclone's word; none is the base image's choice.
    pub cache: Option<String>,
}

/// What a container needs of an image of the base family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Services {
    /// Whether it mounts by FUSE: the device, the capability and the profile are for it alone.
    pub fuse: bool,
}

impl AppSpec {
    /// The services that it asks for; none is an app that any image will do for.
    pub fn services(&self) -> Option<Services> {
        let fuse = self.remotes().next().is_some();
        (fuse || self.ssh.is_some()).then_some(Services { fuse })
    }

    /// The remotes that are mounted.
    pub fn remotes(&self) -> impl Iterator<Item = (&Mount, &Remote)> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Remote(remote) => Some((mount, remote)),
            _ => None,
        })
    }
}
