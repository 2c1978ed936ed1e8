//! The README beside the compose file of an app whose image is of the base family.

use std::fmt::Write as _;

use crate::model::{App, SSH_PORT};
use crate::plan::ContainerSpec;

/// What `compose/base` has for all images that extend it.
const TEMPLATE: &str = include_str!("../../compose/base/README.template.md");

/// The README of an app; none when it asks for nothing of the base family.
pub(super) fn readme(app: &App, spec: &ContainerSpec) -> Option<String> {
    let services = app.spec.services()?;
    let name = app.name.as_str();
    let mut introduction = format!("The app `{name}`, on the image `{}`.", spec.shape.image);
    if app.spec.ssh.is_some() {
        let _ = write!(introduction, " `berth ssh {name}` gets you in.");
    }
    if services.fuse {
        introduction.push_str(" Its remotes take `/dev/fuse` and `SYS_ADMIN`.");
    }
    let mut environment = String::new();
    for name in app.spec.env.keys() {
        let _ = writeln!(environment, "| `{name}` | the app's own | as set |");
    }
    let mut volumes = String::new();
    for mount in &app.spec.mounts {
        let _ = write!(volumes, "\n- `{}`", mount.path);
        if mount.read_only {
            volumes.push_str(", which can't be written");
        }
    }
    let volumes = if volumes.is_empty() {
        volumes
    } else {
        format!("\nBesides, these are mounted:\n{volumes}\n")
    };
    let mut ports = String::new();
    for port in spec.shape.ports.iter().filter(|port| port.container_port != SSH_PORT) {
        let (inside, address, outside) = (port.container_port, &port.host_ip, port.host_port);
        let _ = writeln!(ports, "| {inside} | the app's own, at {address}:{outside} |");
    }
    let workspace = &app.spec.workspace.path;
    let text = TEMPLATE
        .replace("{{introduction}}", &introduction)
        .replace("{{environment}}\n", &environment)
        .replace("{{volumes}}\n", &volumes)
        .replace("{{ports}}\n", &ports)
        .replace("{{workspace}}", workspace)
        .replace("{{name}}", name);
    Some(text)
}
