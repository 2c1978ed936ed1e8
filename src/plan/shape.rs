//! From an app to the container that it should be.

use std::collections::BTreeMap;

use super::{ContainerSpec, Input, Refusal, Sealed, Shape, models, services, step::SECRET_FIELD};
use crate::model::{
    App, Digest, Mount, MountSource, MountedModel, Profile, Reason, SecretRef, SpecHash,
};
use crate::state::{Policy, SecretSeen, container_name};

/// Who runs what is held as tightly as can be, when nobody says.
const NOBODY: u32 = 65532;
/// By which variable clients of the Hub know where it is.
const HF_ENDPOINT: &str = "HF_ENDPOINT";

/// The image that a container runs, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The reference.
    pub reference: String,
    /// Its id, where it is known.
    pub id: Option<String>,
    /// What the engine is asked for, where the reference means another image by now.
    pub asked_as: Option<String>,
    /// What it was built from.
    pub build: Option<Digest>,
    /// The commit.
    pub commit: Option<String>,
}

impl Image {
    /// The image that this name means, of which nothing else is known.
    pub(super) fn named(reference: String) -> Self {
        Self { reference, id: None, asked_as: None, build: None, commit: None }
    }
}

/// What the app's container should be like, with the image of this name.
pub(super) fn wanted(input: &Input<'_>, app: &App, image: &str) -> Shape {
    Shape {
        image: image.to_owned(),
        command: app.spec.command.clone(),
        env: env(input.policy, app),
        ports: input.state.placement.bindings.clone(),
        mounts: mounts(input, app),
        resources: app.spec.resources.clone(),
        restart: app.spec.restart,
        network: input.policy.network.clone(),
        gpus: input.state.gpus.grant.clone(),
        secrets: sealed(input, app),
        restricted: restricted(input.policy, app),
        services: app.spec.services(),
        models: models::mounted(input, app),
    }
}

/// The container that the app should be, with its name and hash.
pub fn container_spec(input: &Input<'_>, app: &App, image: &Image) -> ContainerSpec {
    let mut shape = wanted(input, app, &image.reference);
    let (spec_hash, fields) = (SpecHash::of(&shape), fields_label(&fields(&shape)));
    // That is how the image is got hold of, not what it is.
    shape.image = image.asked_as.clone().unwrap_or(shape.image);
    ContainerSpec {
        name: container_name(&app.name, &spec_hash),
        instance: input.policy.instance.clone(),
        app: app.name.clone(),
        generation: input.state.generation,
        spec_hash,
        build: image.build.clone(),
        commit: image.commit.clone(),
        fields,
        grace_s: grace_s(app),
        gpu_way: shape.gpus.as_ref().and(input.state.devices.route.clone()),
        shape,
    }
}

/// The grace period of the app's containers, in whole seconds.
pub fn grace_s(app: &App) -> u32 {
    u32::try_from(app.spec.stop_grace_period.as_secs()).unwrap_or(u32::MAX)
}

fn env(policy: &Policy, app: &App) -> BTreeMap<String, String> {
    let mut env = app.spec.env.clone();
    if let Some(hub) = policy.hub.as_ref().filter(|_| app.spec.models.hub) {
        env.entry(HF_ENDPOINT.to_owned()).or_insert_with(|| hub.clone());
    }
    env.insert("WORKSPACE".to_owned(), app.spec.workspace.path.clone());
    services::tell(app, &mut env);
    env
}

fn mounts(input: &Input<'_>, app: &App) -> Vec<Mount> {
    let mut mounts = app.spec.mounts.clone();
    // What is mounted of the store is said by what it means, not by how it is asked for; remotes the
    // image mounts itself.
    mounts.retain(|mount| !matches!(mount.source, MountSource::Model(_) | MountSource::Remote(_)));
    let path = &app.spec.workspace.path;
    if !mounts.iter().any(|mount| mount.path == *path) {
        let data = format!("{}/{}/data", input.policy.workspaces, app.name);
        let source = MountSource::Host(data);
        mounts.push(Mount { path: path.clone(), source, read_only: false });
    }
    mounts.sort();
    mounts
}

/// Where a stored model is on the engine's host.
pub(super) fn model_path(policy: &Policy, mounted: &MountedModel) -> String {
    let root = policy.models.trim_end_matches('/');
    let below = format!("{root}/.store/mounts/{}", mounted.digest);
    if mounted.file.is_some() { below + "/model" } else { below }
}

/// The user that the app runs as, when it is held as tightly as can be.
fn restricted(policy: &Policy, app: &App) -> Option<u32> {
    let profile = app.spec.profile.unwrap_or_default().max(policy.profile);
    let uid = app.spec.workspace.uid.filter(|uid| *uid != 0).unwrap_or(NOBODY);
    (profile == Profile::Restricted).then_some(uid)
}

/// The user that owns what the app may write; none is whoever Berth runs as.
pub fn user_of(policy: &Policy, app: &App) -> Option<u32> {
    restricted(policy, app).or(app.spec.workspace.uid)
}

/// The secrets that the app gets, by variable and by path.
fn wanted_secrets(app: &App) -> impl Iterator<Item = (String, &SecretRef)> {
    let variables = app.spec.secret_env.iter();
    let variables = variables.map(|(name, wanted)| (Sealed::of_variable(name), wanted));
    let files = app.spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Secret(wanted) => Some((mount.path.clone(), wanted)),
        _ => None,
    });
    variables.chain(files)
}

/// The secrets that are there. Of others the plan says that they are missing.
fn sealed(input: &Input<'_>, app: &App) -> BTreeMap<String, Sealed> {
    let found = wanted_secrets(app).filter_map(|(target, wanted)| {
        let Some(SecretSeen::Sealed(seal)) = input.state.secrets.get(&target) else { return None };
        Some((target, Sealed { wanted: wanted.clone(), seal: seal.clone() }))
    });
    found.collect()
}

/// Which secret can't be had, and what to do.
pub(super) fn missing_secret(input: &Input<'_>, app: &App) -> Option<Refusal> {
    wanted_secrets(app).find_map(|(target, wanted)| {
        let message = match input.state.secrets.get(&target) {
            Some(SecretSeen::Sealed(_)) => return None,
            Some(SecretSeen::Missing(why)) => why.clone(),
            None => format!("the secret {wanted} was not looked for"),
        };
        Some(Refusal { reason: Reason::SecretUnavailable, message })
    })
}

/// What of the app's profile the operator's policy does not allow.
fn loose(input: &Input<'_>, app: &App) -> Option<Refusal> {
    let refuse =
        |message: &str| Some(Refusal { reason: Reason::NotAllowed, message: message.to_owned() });
    if input.policy.profile == Profile::Restricted && app.spec.profile == Some(Profile::Baseline) {
        return refuse(
            "`security.profile: baseline` is not allowed: the operator holds every app at least by `--security-profile restricted`",
        );
    }
    if restricted(input.policy, app).is_some() && app.spec.workspace.uid == Some(0) {
        return refuse("`workspace.uid: 0` is root, which the profile `restricted` rules out");
    }
    None
}

/// What of the app's wish for the Hub can't be had.
fn unreachable_hub(input: &Input<'_>, app: &App) -> Option<Refusal> {
    let has_own = app.spec.env.contains_key(HF_ENDPOINT);
    if !app.spec.models.hub || has_own || input.policy.hub.is_some() {
        return None;
    }
    let message = "`models.hub` needs the address at which containers reach this Berth: the operator sets it with `--hub-url http://172.17.0.1:8000`";
    Some(Refusal { reason: Reason::NotAllowed, message: message.to_owned() })
}

/// What of the app the operator's policy does not allow.
pub(super) fn forbidden(input: &Input<'_>, app: &App) -> Option<Refusal> {
    if let Some(refusal) = loose(input, app).or_else(|| unreachable_hub(input, app)) {
        return Some(refusal);
    }
    if let Some(refusal) = services::forbidden(input, app) {
        return Some(refusal);
    }
    let is_allowed = |path: &str| {
        input.policy.host_mounts.iter().any(|root| {
            let below = path.strip_prefix(root.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root == "/")
        })
    };
    app.spec.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Host(path) if !is_allowed(path) => Some(Refusal {
            reason: Reason::NotAllowed,
            message: format!(
                "the host path {path} may not be mounted: the operator allows it with `--allow-host-mount {path}`"
            ),
        }),
        _ => None,
    })
}

/// A short digest of each field of a shape, and of each variable of the environment.
pub(super) fn fields(shape: &Shape) -> BTreeMap<String, String> {
    let Shape { image, command, env, ports, mounts, resources, restart, network, .. } = shape;
    let Shape { gpus, secrets, restricted, models, services, .. } = shape;
    let mut fields = BTreeMap::from([
        ("image".to_owned(), digest(image)),
        ("command".to_owned(), digest(command)),
        ("ports".to_owned(), digest(ports)),
        ("mounts".to_owned(), digest(mounts)),
        ("resources".to_owned(), digest(resources)),
        ("restart".to_owned(), digest(restart)),
        ("network".to_owned(), digest(network)),
    ]);
    if let Some(gpus) = gpus {
        fields.insert("gpus".to_owned(), digest(gpus));
    }
    if restricted.is_some() {
        fields.insert("security".to_owned(), digest(restricted));
    }
    if services.is_some() {
        fields.insert("services".to_owned(), digest(services));
    }
    for (name, value) in env {
        fields.insert(format!("env.{name}"), digest(value));
    }
    for (path, mounted) in models {
        fields.insert(model_field(path), digest(mounted));
    }
    for (target, sealed) in secrets {
        fields.insert(secret_field(target), digest(sealed));
    }
    fields
}

/// The field of a secret: paths may hold what separates the fields of a label.
pub(super) fn secret_field(target: &str) -> String {
    format!("{SECRET_FIELD}{}", legal(target))
}

/// The field of a stored model.
pub(super) fn model_field(path: &str) -> String {
    format!("model.{}", legal(path))
}

fn legal(target: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-/".contains(c) { c } else { '_' };
    target.chars().map(legal).collect()
}

/// Four digits: enough to see a change, too few to tell a value.
fn digest(value: &impl serde::Serialize) -> String {
    Digest::of_value(value).short(4).to_owned()
}

fn fields_label(fields: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = fields.iter().map(|(field, digest)| format!("{field}={digest}")).collect();
    pairs.join(",")
}
