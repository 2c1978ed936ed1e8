//! Preflight: what can be known to stand in a new version's way, before anything stops for it.

use super::{ContainerSpec, Input, Refusal, app::is_up};
use crate::model::{GpuGrant, GpuShare, PortBinding, Reason};
use crate::state::{Container, GpuHold, ScanSeen};

/// Why the wanted container must not be started now; none when nothing is known to speak against
/// it. The image, the policy and the host ports were looked at before the plan came here: what is
/// looked at again is cheap, and holds whatever led here.
pub(super) fn obstacle(input: &Input<'_>, wanted: &ContainerSpec) -> Option<Refusal> {
    if let Some(seen) = input.state.obstacles.first() {
        return Some(Refusal { reason: seen.reason, message: seen.message.clone() });
    }
    let image = &wanted.shape.image;
    if !has_image(input, image) {
        let message = format!("the image {image} is not there (any more)");
        return Some(Refusal { reason: Reason::ImageGone, message });
    }
    if let Some(refusal) = unsafe_image(input, image) {
        return Some(refusal);
    }
    if let Some((port, holder)) = port_holder(input, &wanted.shape.ports) {
        let message = format!(
            "the new version would publish {port}, which {} holds: stop that, or publish another port",
            holder.name
        );
        return Some(Refusal { reason: Reason::PortTaken, message });
    }
    let (gpu, holder) = gpu_holder(input, wanted.shape.gpus.as_ref())?;
    let message = format!("the new version would use {gpu}, which {} holds", holder.name);
    Some(Refusal { reason: Reason::WaitingForGpu, message })
}

/// Why a container that runs would not start again once it is stopped: with GPUs that is the
/// driver's say (fault U02). The rest it had when it was started.
pub(super) fn standstill(input: &Input<'_>, current: &Container) -> Option<Refusal> {
    current.gpus.as_ref()?;
    let seen = input.state.obstacles.iter().find(|seen| seen.reason == Reason::GpuDriver)?;
    Some(Refusal { reason: seen.reason, message: seen.message.clone() })
}

/// Why an image may not start, by what is known of vulnerabilities in it.
fn unsafe_image(input: &Input<'_>, image: &str) -> Option<Refusal> {
    let scans = input.state.scans.as_ref().filter(|scans| scans.is_gate)?;
    let id = input.world.image_id(image).unwrap_or(image);
    let (reason, message) = match scans.of(id) {
        None => {
            let message = "the image is looked through for known vulnerabilities before it starts";
            (Reason::Scanning, message.to_owned())
        }
        Some(ScanSeen::Failed(why)) => {
            let message = format!(
                "the image could not be looked through for known vulnerabilities, so it does not start: {why}"
            );
            (Reason::ScanFailed, message)
        }
        Some(ScanSeen::Blocked(why)) => (Reason::Vulnerable, why.clone()),
        Some(ScanSeen::Clean(_) | ScanSeen::Warned(_)) => return None,
    };
    Some(Refusal { reason, message })
}

/// Whether the engine has an image, by a reference or by its id.
pub(super) fn has_image(input: &Input<'_>, image: &str) -> bool {
    input.world.image_id(image).is_some() || input.world.has_image(image)
}

/// The first of these ports that a running container of another app, or of nobody, holds. What the
/// app's own older version holds is free once that one has stopped.
fn port_holder<'a>(
    input: &Input<'a>,
    ports: &'a [PortBinding],
) -> Option<(&'a PortBinding, &'a Container)> {
    let others = input.world.containers.iter();
    let mut others =
        others.filter(|other| other.ownership.app() != Some(input.app) && is_up(other));
    others.find_map(|other| {
        let holds = |port: &&PortBinding| other.ports.iter().any(|theirs| clash(port, theirs));
        ports.iter().find(holds).map(|port| (port, other))
    })
}

/// Whether two bindings can't be there at the same time.
pub(super) fn clash(a: &PortBinding, b: &PortBinding) -> bool {
    (a.protocol, a.host_port) == (b.protocol, b.host_port)
}

/// The first of these GPUs that a running container of another app, or of nobody, holds, unless
/// both share it: it may have taken it after this app was given it.
pub(super) fn gpu_holder<'a>(
    input: &Input<'a>,
    ours: Option<&'a GpuGrant>,
) -> Option<(&'a str, &'a Container)> {
    let ours = ours?;
    let others = input.world.containers.iter();
    let mut others =
        others.filter(|other| other.ownership.app() != Some(input.app) && is_up(other));
    others.find_map(|other| {
        let Some(GpuHold::Granted(theirs)) = &other.gpus else { return None };
        let is_shared = [ours.share, theirs.share] == [GpuShare::Memory; 2];
        let gpu = ours.devices.iter().find(|id| theirs.devices.contains(*id))?;
        (!is_shared).then_some((gpu.as_str(), other))
    })
}

/// The GPU that two versions can't use at the same time.
pub(super) fn shared_gpu<'a>(
    input: &Input<'_>,
    ours: Option<&'a GpuGrant>,
    theirs: Option<&GpuHold>,
) -> Option<&'a str> {
    let (ours, GpuHold::Granted(theirs)) = (ours?, theirs?) else { return None };
    let fits = [ours.share, theirs.share] == [GpuShare::Memory; 2] && input.state.gpus.fits_beside;
    let is_shared = |id: &&String| theirs.devices.contains(*id);
    ours.devices.iter().find(is_shared).filter(|_| !fits).map(String::as_str)
}

/// The first host port that two versions would both publish.
pub(super) fn shared_port<'a>(
    ours: &'a [PortBinding],
    theirs: &[PortBinding],
) -> Option<&'a PortBinding> {
    ours.iter().find(|ours| theirs.iter().any(|theirs| clash(ours, theirs)))
}
