//! Drift: in which fields a container differs from what is wanted.
//!
//! An inspection is never compared with the manifest field by field: engines fill in, rename and
//! drop fields (faults D17, D18). What is compared is the hash on the container, and a short list
//! of things that a hand on the engine can change without touching the hash.

use std::collections::BTreeMap;

use super::{Change, ContainerSpec, shape};
use crate::model::MountedModel;
use crate::state::{Container, ContainerState, GpuHold, models_of};

/// What is said of a field whose values are not known: they are not kept on the container.
const ABSENT: &str = "absent";
const PRESENT: &str = "present";
const BEFORE: &str = "as it was";
const NOW: &str = "as the manifest says";

impl Change {
    /// Whether these are words of Berth's own rather than what was written in a manifest.
    pub fn is_word(text: &str) -> bool {
        [ABSENT, PRESENT, BEFORE, NOW].contains(&text)
    }
}

/// The fields in which the wanted container differs from an older one.
pub(super) fn changes(old: &Container, wanted: &ContainerSpec) -> Vec<Change> {
    let empty = BTreeMap::new();
    let before = old.ownership.owner().map_or(&empty, |owner| &owner.fields);
    let after = shape::fields(&wanted.shape);
    let mut changes = Vec::new();
    for (field, digest) in &after {
        match before.get(field) {
            Some(old_digest) if old_digest == digest => {}
            Some(_) if field == "image" => changes.push(Change {
                field: field.clone(),
                from: old.image.clone(),
                to: wanted.shape.image.clone(),
            }),
            _ if field == "gpus" => {
                let after = wanted.shape.gpus.as_ref();
                let after = after.map_or_else(String::new, |grant| grant.devices.join(", "));
                changes.push(change(field, &gpus(old), &after));
            }
            _ if field.starts_with("model.") => changes.push(model(field, old, wanted)),
            Some(_) if field.starts_with("secret.") => {
                changes.push(change(field, BEFORE, "(secret, changed)"));
            }
            Some(_) => changes.push(change(field, BEFORE, NOW)),
            None => changes.push(change(field, ABSENT, PRESENT)),
        }
    }
    for field in before.keys().filter(|field| !after.contains_key(*field)) {
        let was = if field == "gpus" { gpus(old) } else { PRESENT.to_owned() };
        changes.push(change(field, &was, ABSENT));
    }
    changes
}

fn model(field: &str, old: &Container, wanted: &ContainerSpec) -> Change {
    let find = |all: &BTreeMap<String, MountedModel>| {
        let found = all.iter().find(|(path, _)| shape::model_field(path) == field);
        found.map_or_else(|| ABSENT.to_owned(), |(_, mounted)| mounted.to_string())
    };
    change(field, &find(&models_of(old)), &find(&wanted.shape.models))
}

fn gpus(container: &Container) -> String {
    match &container.gpus {
        Some(GpuHold::Granted(grant)) => grant.devices.join(", "),
        Some(_) => "others".to_owned(),
        None => ABSENT.to_owned(),
    }
}

fn change(field: &str, from: &str, to: &str) -> Change {
    Change { field: field.to_owned(), from: from.to_owned(), to: to.to_owned() }
}

/// What a hand on the engine has changed about a running container of the wanted shape.
pub(super) fn touched(container: &Container, wanted: &ContainerSpec) -> Option<String> {
    if container.state != ContainerState::Running {
        return None;
    }
    let network = &wanted.shape.network;
    if !container.networks.contains_key(network) {
        return Some(format!("it is not in the network {network} any more"));
    }
    let missing = wanted.shape.ports.iter().find(|port| !container.ports.contains(port))?;
    Some(format!("the port {missing} is not bound"))
}
