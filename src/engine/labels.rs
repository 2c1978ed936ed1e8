//! The labels that every engine writes on what it makes for us.

use std::collections::BTreeMap;

use crate::model::{GpuGiven, label};
use crate::plan::{ContainerSpec, Recipe};
use crate::state::{models_label, ports_label, proof_label};

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
    if let Some(gpus) = &spec.shape.gpus {
        put(label::GPUS, gpus.to_string());
    }
    if let Some(route) = spec.gpu_way.as_ref().filter(|_| spec.shape.gpus.is_some()) {
        let given = GpuGiven { way: route.way, driver: route.driver.clone() };
        put(label::GPU_WAY, given.to_string());
    }
    if !spec.shape.models.is_empty() {
        put(label::MODELS, models_label(&spec.shape.models));
    }
    if let Some(build) = &spec.build {
        put(label::BUILD, build.to_string());
    }
    if let Some(commit) = &spec.commit {
        put(label::COMMIT, commit.clone());
    }
    labels
}

/// The labels of a container that only proves that GPUs can be given.
pub(super) fn proof_labels(spec: &ContainerSpec) -> BTreeMap<String, String> {
    BTreeMap::from([(label::PROOF.to_owned(), proof_label(&spec.instance, &spec.app))])
}

/// The labels of an image that is built.
pub(super) fn image_labels(instance: &str, recipe: &Recipe) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (label::IMAGE_INSTANCE.to_owned(), instance.to_owned()),
        (label::IMAGE_APP.to_owned(), recipe.app.to_string()),
        (label::IMAGE_BUILD.to_owned(), recipe.digest().to_string()),
        (label::IMAGE_INPUTS.to_owned(), recipe.inputs().to_string()),
    ]);
    if let Some(base) = &recipe.base {
        labels.insert(label::IMAGE_BASE.to_owned(), base.to_string());
    }
    labels
}

/// Whether an image's labels prove that it was built from this recipe by this instance.
pub(super) fn is_built_from(
    labels: &BTreeMap<String, String>,
    instance: &str,
    recipe: &Recipe,
) -> bool {
    image_labels(instance, recipe).iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, Command, Digest, Resources, RestartPolicy, SpecHash};
    use crate::plan::{Dockerfile, Shape};
    use crate::state::{Owner, container_name, owner_of, ports_of_label};

    fn spec(build: Option<Digest>) -> ContainerSpec {
        let shape = Shape {
            image: "x:1".to_owned(),
            command: Command::Image,
            env: BTreeMap::new(),
            ports: ports_of_label("127.0.0.1:8001:80/tcp"),
            mounts: Vec::new(),
            resources: Resources::default(),
            restart: RestartPolicy::Always,
            network: "berth".to_owned(),
            gpus: None,
            secrets: BTreeMap::new(),
            restricted: None,
            services: None,
            models: BTreeMap::new(),
        };
        let (app, spec_hash) = (AppName::new("chat").unwrap(), SpecHash::of(&shape));
        ContainerSpec {
            name: container_name(&app, &spec_hash),
            instance: "home".to_owned(),
            app,
            generation: 3,
            spec_hash,
            commit: build.is_some().then(|| "c0ffee".to_owned()),
            build,
            fields: "env.A=0f1e,image=12ab".to_owned(),
            grace_s: 7,
            gpu_way: None,
            shape,
        }
    }

    fn recipe(tree: &str) -> Recipe {
        Recipe {
            instance: "home".to_owned(),
            app: AppName::new("chat").unwrap(),
            tree: tree.to_owned(),
            commit: String::new(),
            dockerfile: Dockerfile::InSource("Dockerfile".to_owned()),
            target: None,
            args: BTreeMap::new(),
            base: None,
            ca_bundle: None,
            secrets: Vec::new(),
            rebuilds: 0,
            is_from_scratch: false,
            twin: None,
            from: None,
            why: String::new(),
        }
    }

    /// What is written on a container is what its owner is read from.
    #[test]
    fn a_containers_labels_read_back() {
        let (digest, none) = (Digest::of_bytes(b"build"), None);
        for build in [none, Some(digest)] {
            let spec = spec(build);
            let labels = container_labels(&spec);
            let fields = [("env.A", "0f1e"), ("image", "12ab")];
            let owner = Owner {
                app: spec.app.clone(),
                generation: 3,
                spec_hash: spec.spec_hash.clone(),
                build: spec.build.clone(),
                commit: spec.commit.clone(),
                fields: fields.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            };
            assert_eq!(owner_of("home", &spec.name, &labels).owner(), Some(&owner));
            assert_eq!(owner_of("other", &spec.name, &labels).owner(), None);
            assert_eq!(labels[label::PORTS], "127.0.0.1:8001:80/tcp");
        }
    }

    /// `docker compose ls` lists only what carries these keys.
    #[test]
    fn compose_sees_a_project_of_the_instance() {
        let labels = container_labels(&spec(None));
        assert_eq!(labels[label::COMPOSE_PROJECT], "berth-home");
        assert_eq!(labels[label::COMPOSE_SERVICE], "chat");
        assert_eq!(labels[label::COMPOSE_NUMBER], "1");
        assert_eq!(labels[label::COMPOSE_ONEOFF], "False");
        assert!(!labels[label::COMPOSE_CONFIG_HASH].is_empty());
    }

    /// Faults D21, D39: an image is what a build was asked for only when all of it is said.
    #[test]
    fn an_image_is_proven_by_instance_app_and_inputs() {
        let labels = image_labels("home", &recipe("1"));
        assert!(is_built_from(&labels, "home", &recipe("1")));
        assert!(!is_built_from(&labels, "other", &recipe("1")));
        assert!(!is_built_from(&labels, "home", &recipe("2")));
        for key in [label::IMAGE_INSTANCE, label::IMAGE_APP, label::IMAGE_BUILD] {
            let mut without = labels.clone();
            assert!(without.remove(key).is_some(), "{key}");
            assert!(!is_built_from(&without, "home", &recipe("1")), "{key}");
        }
        // Whatever else the base image brought along.
        let mut more = labels;
        more.insert("maintainer".to_owned(), "somebody".to_owned());
        assert!(is_built_from(&more, "home", &recipe("1")));
    }
}
