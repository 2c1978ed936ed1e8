//! What an app gets of an image of the base family, and what that takes.

use std::collections::BTreeMap;

use super::{Input, Refusal, shape::Image};
use crate::model::{App, Profile, Reason};

/// What the base image is told by its environment.
pub(super) fn tell(app: &App, env: &mut BTreeMap<String, String>) {
    let spec = &app.spec;
    if spec.workspace.acl == Some(false) {
        env.entry("SKIP_ACL".to_owned()).or_insert_with(|| "true".to_owned());
    }
    if spec.services().is_none() {
        return;
    }
    if let Some(uid) = spec.workspace.uid {
        env.entry("WORKSPACE_UID".to_owned()).or_insert_with(|| uid.to_string());
    }
    if let Some(ssh) = spec.ssh.as_ref().filter(|ssh| !ssh.keys.is_empty()) {
        env.insert("SSH_PUBKEY".to_owned(), ssh.keys.join("\n"));
    }
    let lines: Vec<_> = spec
        .remotes()
        .map(|(mount, remote)| {
            let mut words = vec![remote.remote.clone(), mount.path.clone()];
            words.extend(mount.read_only.then(|| "ro".to_owned()));
            words.extend(remote.cache.as_ref().map(|cache| format!("cache={cache}")));
            words.join(" ")
        })
        .collect();
    if !lines.is_empty() {
        env.insert("REMOTE_MOUNTS".to_owned(), lines.join("\n"));
    }
}

/// What of that the operator's policy does not allow.
pub(super) fn forbidden(input: &Input<'_>, app: &App) -> Option<Refusal> {
    let (mount, remote) = app.spec.remotes().next()?;
    let refuse = |message: String| Some(Refusal { reason: Reason::NotAllowed, message });
    if app.spec.profile.unwrap_or_default().max(input.policy.profile) == Profile::Restricted {
        return refuse(format!(
            "the remote {} can't be mounted at {}: that takes a capability, which the profile `restricted` rules out",
            remote.remote, mount.path
        ));
    }
    if !input.policy.allows_fuse(&app.name) {
        return refuse(format!(
            "the remote {} may not be mounted at {}: that takes /dev/fuse and SYS_ADMIN, which the operator allows with `--allow-fuse {}`",
            remote.remote, mount.path, app.name
        ));
    }
    None
}

/// An image that is known to lack what the app asks for.
pub(super) fn unfit(input: &Input<'_>, app: &App, image: &Image) -> Option<Refusal> {
    app.spec.services()?;
    let id = image.id.as_deref().or_else(|| input.world.image_id(&image.reference))?;
    if input.world.equipped.contains(id) || !input.world.has_image(id) {
        return None;
    }
    let what = if app.spec.ssh.is_some() { "`access.ssh`" } else { "a mount with `rclone`" };
    let message = format!(
        "{what} needs an image of Berth's base family, and {} is none: build on one (`make base-image`, then `build.base` or `FROM`)",
        image.reference
    );
    Some(Refusal { reason: Reason::InvalidManifest, message })
}
