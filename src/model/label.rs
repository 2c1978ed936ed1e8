//! The label keys that Berth writes on the engine's objects: the only place they are spelled.

/// Which Berth an object belongs to. Without it, and without our value in it, nothing is touched.
pub const INSTANCE: &str = "dev.berth.instance";
/// The app that a container, network or volume belongs to.
pub const APP: &str = "dev.berth.app";
/// The generation of the manifest that a container was made from.
pub const GENERATION: &str = "dev.berth.generation";
/// The versioned hash of a container's shape.
pub const SPEC_HASH: &str = "dev.berth.spec-hash";
/// The digest of the inputs of the build that a container runs.
pub const BUILD: &str = "dev.berth.build";
/// The commit that a container runs.
pub const COMMIT: &str = "dev.berth.commit";

/// The host ports that a container was given, as `ip:host:container/protocol`, comma separated.
/// The engine lists a stopped container without its ports; the label keeps them its own.
pub const PORTS: &str = "dev.berth.ports";

/// The stored models that are mounted into a container, by path, as JSON.
pub const MODELS: &str = "dev.berth.models";

/// The GPUs that a container was given: their share, the memory promised and the UUIDs.
pub const GPUS: &str = "dev.berth.gpus";
/// The way in which the container was given its GPUs, and the driver at that time.
pub const GPU_WAY: &str = "dev.berth.gpu-way";

/// On a container that only proves that the engine can give GPUs: whose it is, as `instance/app`. It
/// has none of the keys above, so that nobody takes it for an app's.
pub const PROOF: &str = "dev.berth.proof";

/// A short digest of each field of a container's shape, so that a later change can be named.
pub const FIELDS: &str = "dev.berth.fields";

/// Which Berth built an image. Containers inherit their image's labels, so images carry keys of
/// their own: a container started by hand from such an image is not mistaken for ours (fault D21).
pub const IMAGE_INSTANCE: &str = "dev.berth.image.instance";
/// The app that an image was built for.
pub const IMAGE_APP: &str = "dev.berth.image.app";
/// The digest of the inputs that an image was built from.
pub const IMAGE_BUILD: &str = "dev.berth.image.build";
/// The digest of these inputs without the app that they are for: images of the same inputs are the
/// same, whatever apps have them.
pub const IMAGE_INPUTS: &str = "dev.berth.image.inputs";
/// The base image that an image was built on, and the digest that its name meant then.
pub const IMAGE_BASE: &str = "dev.berth.image.base";

/// Images of the base family say by this key that they have services: see `compose/base`.
pub const BASE_SERVICES: &str = "dev.berth.base.services";

/// Compose's own keys, so that `docker compose ls` and `ps` see what Berth runs.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// The service name within the compose project.
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Which of the service's containers this is, counted from 1.
pub const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
/// Whether this is a one-time container; compose lists only those that say `False`.
pub const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
/// The hash of the service's configuration; compose ignores containers without one.
pub const COMPOSE_CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The files that the project was made from, as `docker compose ls` shows them.
pub const COMPOSE_CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The folder that the project was made in.
pub const COMPOSE_WORKING_DIR: &str = "com.docker.compose.project.working_dir";
