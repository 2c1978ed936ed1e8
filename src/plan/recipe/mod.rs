//! Decides how an app's image is built, and writes the Dockerfile when the repository has none.
//!
//! Every text of a manifest or a repository is either checked against a small alphabet or quoted,
//! so that none of it becomes an instruction of its own (fault B05).

mod base;
mod cuda;
mod detect;
mod read;
mod version;
mod write;

use serde::Serialize;

pub use cuda::of_driver as cuda_of_driver;
pub use read::{is_telling, read_facts};

use self::{
    base::{Base, Needs},
    detect::{Kind, LOOKED_FOR},
};
use super::{Dockerfile, Recipe, Refusal};
use crate::model::{App, Command, Digest, Reason};
use crate::state::{BaseImage, Checkout, Policy, World};

const DOCKERFILE: &str = "Dockerfile";
/// Goes up when images that were built from generated Dockerfiles must be built anew.
const GENERATOR: u32 = 2;
/// The same for those that had the operator's CA bundle.
const GENERATOR_WITH_CA: u32 = 3;

/// Decides how the image of `app` is built from `checkout`.
///
/// A base image that the engine does not have is refused with [`Reason::BaseImageMissing`] and
/// its name as the message; the caller pulls it.
///
/// An image of the same inputs that was built when the base's name meant something else is as good
/// as a new one: a base that moves rebuilds nothing by itself (fault D40).
pub(super) fn recipe(
    app: &App,
    checkout: &Checkout,
    world: &World,
    rebuilds: u64,
    policy: &Policy,
) -> Result<Recipe, Refusal> {
    let plan = match source(app, checkout, world, policy)? {
        Source::There(dockerfile, why) => {
            return Ok(bare(app, checkout, rebuilds, policy, dockerfile, why));
        }
        Source::Written(plan) => plan,
    };
    let nothing = Dockerfile::Generated(String::new());
    let bare = bare(app, checkout, rebuilds, policy, nothing, String::new());
    let on = |base: &BaseImage| plan.identity(bare.clone(), app, base);
    let write = |recipe: Recipe, base: &BaseImage| {
        let from = named(base, world);
        let text = write::dockerfile((app, checkout), &plan, from, policy, world.has_buildkit)?;
        Ok(Recipe { dockerfile: Dockerfile::Generated(text), ..recipe })
    };
    for base in plan.bases(app, world) {
        let recipe = on(&base);
        if world.image_id(&recipe.tag()).is_some() {
            return write(recipe, &base);
        }
    }
    match plan.base_now(world) {
        Some(base) => write(on(&base), &base),
        None => refuse(Reason::BaseImageMissing, plan.base.image.as_str()),
    }
}

/// The recipes that an image of this checkout may have been built by, without the texts of what is
/// generated: one for each base that its name means or has meant.
pub(super) fn identities(
    app: &App,
    checkout: &Checkout,
    world: &World,
    policy: &Policy,
) -> Result<Vec<Recipe>, Refusal> {
    let plan = match source(app, checkout, world, policy)? {
        Source::There(dockerfile, why) => {
            return Ok(vec![bare(app, checkout, 0, policy, dockerfile, why)]);
        }
        Source::Written(plan) => plan,
    };
    let nothing = Dockerfile::Generated(String::new());
    let bare = bare(app, checkout, 0, policy, nothing, String::new());
    let bases = plan.bases(app, world);
    Ok(bases.iter().map(|base| plan.identity(bare.clone(), app, base)).collect())
}

/// Where the Dockerfile comes from.
enum Source {
    /// From the repository, and why it is this one.
    There(Dockerfile, String),
    Written(Generation),
}

fn source(
    app: &App,
    checkout: &Checkout,
    world: &World,
    policy: &Policy,
) -> Result<Source, Refusal> {
    check_secrets(app, world)?;
    if app.spec.build.ca_bundle && policy.ca_bundle.is_none() {
        return refuse(
            Reason::InvalidManifest,
            "`build.caBundle` is set, and the operator has configured no CA bundle",
        );
    }
    let Some((path, mut why)) = dockerfile_in_source(app, checkout)? else {
        return Generation::of(app, checkout, policy).map(Source::Written);
    };
    if app.spec.build.ca_bundle {
        why.push_str(
            "; build.caBundle only puts the CA bundle into the context, as .berth/ca.crt: \
             what the build trusts is up to the Dockerfile",
        );
    }
    Ok(Source::There(Dockerfile::InSource(path), why))
}

/// Everything that a generated Dockerfile is made from. Equal values give equal texts.
#[derive(Debug)]
struct Generation {
    kind: Kind,
    why: String,
    base: Base,
    python: Option<detect::PythonAsk>,
    /// Whether `PyTorch` is to come without CUDA.
    is_torch_cpu: bool,
    /// What pip is told beside what the project asks for.
    bounds: Vec<String>,
    /// The command that the image gets.
    command: Option<Vec<String>>,
}

impl Generation {
    fn of(app: &App, checkout: &Checkout, policy: &Policy) -> Result<Self, Refusal> {
        let (kind, why) = detect::kind(app, checkout)?;
        if app.spec.build.target.is_some() {
            return nothing(checkout, "`build.target` names a stage, and there is no Dockerfile");
        }
        let python = detect::python(app, checkout)?.filter(|_| kind != Kind::Node);
        let (frameworks, has_index) = detect::frameworks(&kind, checkout);
        let node = [".nvmrc", ".node-version", "package.json"]
            .iter()
            .find_map(|name| detect::facts(checkout, name)?.node.as_ref()?.major);
        let needs = Needs { kind: &kind, python: python.as_ref(), frameworks: &frameworks, node };
        let base = base::choose(app, needs, policy)?;
        let is_torch_cpu = policy.gpu_driver.is_none()
            && app.spec.build.base.is_none()
            && !has_index
            && frameworks.iter().any(|found| found.name == "torch" && found.cuda.is_none());
        let is_free = app.spec.build.base.is_none() && !has_index && !kind.is_by_tool();
        let why = match (&policy.gpu_driver, policy.gpu_driver_seen) {
            (Some(driver), Some(seen)) if frameworks.iter().any(base::cares) => format!(
                "{why}; the GPUs' driver {driver} is not loaded now and counts as it was seen at {seen}"
            ),
            _ => why,
        };
        let driver = policy.gpu_driver.as_deref().filter(|_| is_free);
        let bounds = driver.map_or_else(Vec::new, |driver| cuda::bounds(driver, &frameworks));
        let why = match (driver.filter(|_| !bounds.is_empty()), kind.lock()) {
            (Some(driver), _) => format!("{why}; {} for the driver {driver}", bounds.join(", ")),
            (None, Some(lock)) if is_torch_cpu => {
                format!("{why}; {lock} decides which PyTorch, with CUDA or without")
            }
            _ => why,
        };
        let command = write::command(&kind, checkout);
        if app.spec.command == Command::Image && command.is_none() && base::is_bare(&base.image) {
            return refuse(
                Reason::InvalidManifest,
                "nothing says what to run: add `run` to the manifest, or a `Procfile` with a line \
                 `web: …` to the repository",
            );
        }
        Ok(Self { kind, why, base, python, is_torch_cpu, bounds, command })
    }

    /// What the base's name means now; none when the engine does not have it.
    fn base_now(&self, world: &World) -> Option<BaseImage> {
        let reference = self.base.image.clone();
        let id = world.image_id(reference.as_str())?;
        let digest = world.pinned(reference.as_str()).and_then(|name| name.split_once('@'));
        let identity = digest.map_or(id, |(_, digest)| digest).to_owned();
        Some(BaseImage { reference, identity })
    }

    /// What the base's name means now, and what it meant when images of the app were built, the
    /// newest first.
    fn bases(&self, app: &App, world: &World) -> Vec<BaseImage> {
        let mut built: Vec<_> = world.own_images.iter().filter(|own| own.app == app.name).collect();
        built.sort_by_key(|own| std::cmp::Reverse(own.created));
        let earlier = built.into_iter().filter_map(|own| own.base.as_ref());
        let same_name = earlier.filter(|base| base.reference == self.base.image).cloned();
        self.base_now(world).into_iter().chain(same_name).collect()
    }

    /// `bare` on this base, still without a text.
    fn identity(&self, bare: Recipe, app: &App, base: &BaseImage) -> Recipe {
        let identity = base.identity.split_once(':').map_or("", |(_, digits)| digits);
        let why = format!(
            "Dockerfile generated: {}; base {} ({}), {}",
            self.why,
            base.reference,
            identity.get(..12).unwrap_or(&base.identity),
            self.base.why
        );
        Recipe { from: Some(self.digest(app)), base: Some(base.clone()), why, ..bare }
    }

    /// What the text is made from beside the tree and what the recipe itself names.
    fn digest(&self, app: &App) -> Digest {
        #[derive(Serialize)]
        struct Inputs<'a> {
            generator: u32,
            kind: String,
            packages: &'a [String],
            python: Option<(&'a str, &'a str)>,
            is_torch_cpu: bool,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            bounds: &'a [String],
            command: Option<&'a [String]>,
        }
        let has_ca = app.spec.build.ca_bundle;
        let python = self.python.as_ref();
        Digest::of_value(&Inputs {
            generator: if has_ca { GENERATOR_WITH_CA } else { GENERATOR },
            kind: format!("{:?}", self.kind),
            packages: &app.spec.build.packages,
            python: python.map(|ask| (ask.by.as_str(), ask.text.as_str())),
            is_torch_cpu: self.is_torch_cpu,
            bounds: &self.bounds,
            command: self.command.as_deref(),
        })
    }
}

/// How a Dockerfile names this base.
fn named<'a>(base: &'a BaseImage, world: &'a World) -> &'a str {
    let pinned = world.pinned(base.reference.as_str());
    let pinned = pinned.filter(|name| name.ends_with(&format!("@{}", base.identity)));
    pinned.unwrap_or(base.reference.as_str())
}

fn bare(
    app: &App,
    checkout: &Checkout,
    rebuilds: u64,
    policy: &Policy,
    dockerfile: Dockerfile,
    why: String,
) -> Recipe {
    let build = &app.spec.build;
    Recipe {
        instance: policy.instance.clone(),
        app: app.name.clone(),
        tree: checkout.tree.clone(),
        commit: checkout.commit.clone(),
        dockerfile,
        target: build.target.clone(),
        args: build.args.clone(),
        base: None,
        ca_bundle: policy.ca_bundle.clone().filter(|_| build.ca_bundle),
        secrets: build.secrets.clone(),
        rebuilds,
        is_from_scratch: false,
        from: None,
        twin: None,
        why,
    }
}

/// Only `BuildKit` shows a secret to a build without keeping it in a layer (fault B08).
fn check_secrets(app: &App, world: &World) -> Result<(), Refusal> {
    if app.spec.build.secrets.is_empty() || world.has_buildkit {
        return Ok(());
    }
    refuse(
        Reason::BuildKitMissing,
        "`build.secrets` needs BuildKit, which this engine does not build with: the classic \
         builder would keep the secrets in the image's layers; take `build.secrets` away, or use \
         an engine with BuildKit",
    )
}

/// The Dockerfile of the repository, and why it is used.
fn dockerfile_in_source(
    app: &App,
    checkout: &Checkout,
) -> Result<Option<(String, String)>, Refusal> {
    let build = &app.spec.build;
    match &build.dockerfile {
        Some(path) if checkout.has(path) => {
            Ok(Some((path.clone(), format!("{path} used: build.dockerfile names it"))))
        }
        Some(path) => {
            nothing(checkout, &format!("`build.dockerfile` names `{path}`, which does not exist"))
        }
        None if checkout.has(DOCKERFILE) => {
            let is_unused = build.requirements.is_some()
                || build.base.is_some()
                || build.python.is_some()
                || !build.packages.is_empty();
            let unused = if is_unused {
                "; build.base, build.packages, build.python and build.requirements are not used"
            } else {
                ""
            };
            Ok(Some((DOCKERFILE.to_owned(), format!("{DOCKERFILE} found{unused}"))))
        }
        None => Ok(None),
    }
}

/// Nothing can be built: what was looked for, where, and what is there instead.
fn nothing<T>(checkout: &Checkout, what: &str) -> Result<T, Refusal> {
    let commit = checkout.commit.get(..7).unwrap_or(&checkout.commit);
    let place = if checkout.path.is_empty() {
        format!("commit {commit}")
    } else {
        format!("`{}` at commit {commit}", checkout.path)
    };
    let is_like =
        |file: &str| file.contains(DOCKERFILE) || file.contains("requirements") || is_telling(file);
    let files = checkout.files.iter().map(|file| file.path.as_str());
    let alike: Vec<_> = files.filter(|path| is_like(path)).take(8).collect();
    let found =
        if alike.is_empty() { String::new() } else { format!(" ({} found)", alike.join(", ")) };
    let message = format!(
        "{what} in {place}{found}; looked for: {LOOKED_FOR}. Add one, or name one with \
         `build.dockerfile` or `build.requirements`, or correct `source.git.path`"
    );
    refuse(Reason::NothingToBuild, &message)
}

fn refuse<T>(reason: Reason, message: &str) -> Result<T, Refusal> {
    Err(Refusal { reason, message: message.to_owned() })
}
