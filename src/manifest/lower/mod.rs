//! Wire types to [`App`]: every check that needs a field's meaning, and every default.

mod access;
mod build;
mod gpus;
mod health;
mod run;
mod secret;
mod source;

use std::{collections::BTreeMap, time::Duration};

use crate::model::{
    App, AppName, AppSpec, HUB_TOKEN, MetricsSpec, ModelsSpec, Origin, Profile, RestartPolicy,
    Rollout, RolloutOrder, SecretRef,
};

use super::{
    problem::{Broken, Problems, Trail},
    v1,
    validate::{self, bounds},
};

pub(super) use secret::{secret, unknown_field as unknown_field_of_secret};

/// By which variable clients of the Hub are given a token.
const HF_TOKEN: &str = "HF_TOKEN";
/// Where figures are when nobody says.
const METRICS_PATH: &str = "/metrics";
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// The app that a manifest means. It is only of use when `problems` holds no error.
pub(super) fn app(manifest: &v1::Manifest, origin: Origin, problems: &mut Problems) -> Option<App> {
    let root = Trail::ROOT;
    if manifest.api_version.is_none() {
        let help = format!("write `apiVersion: {}`", v1::VERSION);
        problems.missing(&root.key("apiVersion")).help(help);
    }
    if manifest.kind.is_none() {
        problems.missing(&root.key("kind")).help(format!("write `kind: {}`", v1::APP));
    }
    let metadata = required(problems, manifest.metadata.as_ref(), &root.key("metadata"));
    let spec = required(problems, manifest.spec.as_ref(), &root.key("spec"));
    let name = metadata.and_then(|metadata| name(metadata, problems));
    let (labels, annotations) = match metadata {
        Some(metadata) => (
            labels(metadata.labels.as_ref(), "labels", problems),
            labels(metadata.annotations.as_ref(), "annotations", problems),
        ),
        None => Default::default(),
    };
    let spec = spec.and_then(|spec| {
        let mut lower = Lower { problems, spec, name: name.as_ref() };
        lower.spec(&root.key("spec"))
    });
    Some(App { name: name?, labels, annotations, spec: spec?, origin })
}

fn required<'a, T>(
    problems: &mut Problems,
    value: Option<&'a T>,
    trail: &Trail<'_>,
) -> Option<&'a T> {
    if value.is_none() {
        problems.missing(trail);
    }
    value
}

fn name(metadata: &v1::Metadata, problems: &mut Problems) -> Option<AppName> {
    let trail = Trail::ROOT.key("metadata");
    let trail = trail.key("name");
    let name = required(problems, metadata.name.as_ref(), &trail)?;
    problems.keep(&trail, validate::app_name(name))
}

fn labels(
    labels: Option<&BTreeMap<String, String>>,
    field: &str,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let metadata = Trail::ROOT.key("metadata");
    let trail = metadata.key(field);
    let labels = labels.cloned().unwrap_or_default();
    for key in labels.keys() {
        if let Err(broken) = validate::label_key(key) {
            let trail = trail.key(key);
            problems.refuse(&trail, broken).at_key();
        }
    }
    labels
}

/// What the parts of a spec are lowered with.
struct Lower<'a> {
    problems: &'a mut Problems,
    spec: &'a v1::Spec,
    name: Option<&'a AppName>,
}

impl Lower<'_> {
    fn spec(&mut self, trail: &Trail<'_>) -> Option<AppSpec> {
        let source = self.source(trail);
        let build = self.build(trail);
        let command = self.command(trail);
        let mut ports = self.ports(trail);
        let (env, mut secret_env) = self.env(&trail.key("env"));
        let models = self.models();
        if let Some(name) = self.name.filter(|_| models.hub && !env.contains_key(HF_TOKEN)) {
            let own = || SecretRef { secret: HUB_TOKEN.to_owned(), key: Some(name.to_string()) };
            secret_env.entry(HF_TOKEN.to_owned()).or_insert_with(own);
        }
        let workspace = self.workspace(&trail.key("workspace"));
        let mut mounts = self.mounts(&trail.key("mounts"), &workspace);
        self.remotes_file(&trail.key("mounts"), &mut mounts);
        let mut resources = self.resources(&trail.key("resources"));
        let health = self.health(trail, &ports);
        let ssh = self.ssh(trail, &mut ports, &mut mounts);
        let rollout = self.rollout(&trail.key("rollout"));
        let depends_on = self.depends_on(&trail.key("dependsOn"));
        let stop_grace_period = self.period(
            &trail.key("stopGracePeriod"),
            self.spec.stop_grace_period.as_ref(),
            bounds::STOP,
            STOP_GRACE_PERIOD,
        );
        let gpus = self.gpus(&trail.key("gpus"));
        gpus::complete(&mut resources, gpus.as_ref());
        let metrics = self.metrics(&trail.key("metrics"));
        Some(AppSpec {
            source: source?,
            build,
            command,
            ports,
            env,
            secret_env,
            mounts,
            resources,
            health,
            restart: match self.spec.restart {
                None | Some(v1::Restart::Always) => RestartPolicy::Always,
                Some(v1::Restart::OnFailure) => RestartPolicy::OnFailure,
                Some(v1::Restart::Never) => RestartPolicy::Never,
            },
            rollout,
            depends_on,
            suspend: self.spec.suspend.unwrap_or(false),
            workspace,
            stop_grace_period,
            gpus,
            metrics,
            profile: self.profile(),
            ssh,
            models,
        })
    }

    /// The value when it keeps its rule; a note when it does not.
    fn keep<W: ?Sized, T>(
        &mut self,
        trail: &Trail<'_>,
        value: Option<&W>,
        rule: impl FnOnce(&W) -> Result<T, Broken>,
    ) -> Option<T> {
        value.and_then(|value| self.problems.keep(trail, rule(value)))
    }

    fn period(
        &mut self,
        trail: &Trail<'_>,
        value: Option<&v1::Period>,
        bounds: (u64, u64),
        default: Duration,
    ) -> Duration {
        self.keep(trail, value, |value| validate::period(value, bounds)).unwrap_or(default)
    }

    fn rollout(&mut self, trail: &Trail<'_>) -> Rollout {
        let Some(rollout) = &self.spec.rollout else { return Rollout::default() };
        let deadline = self.keep(&trail.key("deadline"), rollout.deadline.as_ref(), |value| {
            validate::period(value, bounds::DEADLINE)
        });
        Rollout {
            order: match rollout.order {
                None | Some(v1::Order::Auto) => RolloutOrder::Auto,
                Some(v1::Order::StopFirst) => RolloutOrder::StopFirst,
                Some(v1::Order::StartFirst) => RolloutOrder::StartFirst,
            },
            deadline,
            min_ready: self.period(
                &trail.key("minReady"),
                rollout.min_ready.as_ref(),
                bounds::MIN_READY,
                Duration::ZERO,
            ),
            auto_rollback: rollout.auto_rollback.unwrap_or(true),
        }
    }

    fn depends_on(&mut self, trail: &Trail<'_>) -> Vec<AppName> {
        let mut names = Vec::new();
        for (at, text) in self.spec.depends_on.iter().flatten().enumerate() {
            let trail = trail.index(at);
            let Some(name) = self.problems.keep(&trail, validate::app_name(text)) else { continue };
            if self.name == Some(&name) {
                self.problems.error("manifest.conflict", &trail, "an app can't depend on itself");
            } else if names.contains(&name) {
                let message = format!("`{name}` is there twice");
                self.problems.error("manifest.duplicate", &trail, message).help("keep one");
            } else {
                names.push(name);
            }
        }
        names
    }

    fn profile(&self) -> Option<Profile> {
        self.spec.security.as_ref()?.profile.as_ref().map(|profile| match profile {
            v1::Profile::Baseline => Profile::Baseline,
            v1::Profile::Restricted => Profile::Restricted,
        })
    }

    fn models(&self) -> ModelsSpec {
        let usual = ModelsSpec::default();
        let Some(models) = &self.spec.models else { return usual };
        let follow = models.follow.unwrap_or(usual.follow);
        ModelsSpec { hub: models.hub.unwrap_or(usual.hub), follow, ..usual }
    }

    fn metrics(&mut self, trail: &Trail<'_>) -> Option<MetricsSpec> {
        let metrics = self.spec.metrics.as_ref()?;
        let path = self.keep(&trail.key("path"), metrics.path.as_deref(), validate::metrics_path);
        let at = trail.key("port");
        let port = required(self.problems, metrics.port.as_ref(), &at)?;
        let port = self.problems.keep(&at, validate::port(*port))?;
        Some(MetricsSpec { port, path: path.unwrap_or_else(|| METRICS_PATH.to_owned()) })
    }
}
