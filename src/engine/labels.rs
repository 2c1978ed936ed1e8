//! The labels that every engine writes on what it makes for us.

use std::collections::BTreeMap;

use crate::model::label;
use crate::plan::{ContainerSpec, Recipe};
use crate::state::ports_label;

/// The compose project that an instance's containers are shown under. It is never just `berth`:
/// that is what compose calls a project whose folder has this name, and `--remove-orphans` there
/// would take every app with it.
pub(super) fn compose_project(instance: &str) -> String {
    format!("berth-{instance}")
}

/// A container's labels.
pub(super) fn container_labels(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut put = |key: &str, value: String| labels.insert(key.to_owned(), value);
    put(label::INSTANCE, spec.instance.clone());
    put(label::APP, spec.app.to_string());
    put(label::GENERATION, spec.generation.to_string());
    put(label::SPEC_HASH, spec.spec_hash.as_str().to_owned());
    put(label::FIELDS, spec.fields.clone());
    put(label::PORTS, ports_label(&spec.shape.ports));
    put(label::COMPOSE_PROJECT, compose_project(&spec.instance));
    put(label::COMPOSE_SERVICE, spec.app.to_string());
    put(label::COMPOSE_NUMBER, "1".to_owned());
    put(label::COMPOSE_ONEOFF, "False".to_owned());
    put(label::COMPOSE_CONFIG_HASH, spec.spec_hash.as_str().to_owned());
    put(label::COMPOSE_CONFIG_FILES, "berth".to_owned());
    if let Some(build) = &spec.build {
        put(label::BUILD, build.to_string());
    }
    if let Some(commit) = &spec.commit {
        put(label::COMMIT, commit.clone());
    }
    labels
}

/// The labels of an image that is built.
pub(super) fn image_labels(instance: &str, recipe: &Recipe) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::IMAGE_INSTANCE.to_owned(), instance.to_owned()),
        (label::IMAGE_APP.to_owned(), recipe.app.to_string()),
        (label::IMAGE_BUILD.to_owned(), recipe.digest().to_string()),
    ])
}

/// Whether an image's labels prove that it was built from this recipe by this instance.
pub(super) fn is_built_from(
    labels: &BTreeMap<String, String>,
    instance: &str,
    recipe: &Recipe,
) -> bool {
    image_labels(instance, recipe).iter().all(|(key, value)| labels.get(key) == Some(value))
}
