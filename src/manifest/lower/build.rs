//! How an image is built.

use crate::model::{BuildSecret, BuildSpec};

use super::{
    super::{
        diagnostic::Severity,
        problem::{Problem, Trail},
        v1, validate,
    },
    Lower,
};

/// What the name of a build argument has that holds a secret.
const SECRET_WORDS: [&str; 6] = ["TOKEN", "PASSWORD", "PASSWD", "SECRET", "APIKEY", "PRIVATEKEY"];

impl Lower<'_> {
    pub(super) fn build(&mut self, spec: &Trail<'_>) -> BuildSpec {
        let Some(build) = &self.spec.build else { return BuildSpec::default() };
        let trail = spec.key("build");
        if self.spec.source.is_none() {
            let message = "`build` needs a `source` to build from";
            let problem = self.problems.error("manifest.conflict", &trail, message);
            problem.at_key().unless(spec.key("source").path());
        }
        self.check_generated(build, &trail);
        let args = build.args.clone().unwrap_or_default();
        for name in args.keys() {
            if let Err(broken) = validate::name_of_value(name) {
                self.problems.refuse(&trail.key("args").key(name), broken).at_key();
            } else if is_like_a_secret(name) {
                self.warn_of_secret(&trail.key("args").key(name), name);
            }
        }
        let mut packages = Vec::new();
        for (at, text) in build.packages.iter().flatten().enumerate() {
            packages.extend(
                self.problems.keep(&trail.key("packages").index(at), validate::package(text)),
            );
        }
        BuildSpec {
            dockerfile: self.keep(&trail.key("dockerfile"), build.dockerfile.as_ref(), |text| {
                validate::repository_file(text)
            }),
            target: self.keep(&trail.key("target"), build.target.as_ref(), |text| {
                validate::build_target(text)
            }),
            args,
            base: self.keep(&trail.key("base"), build.base.as_ref(), |text| validate::image(text)),
            requirements: self.keep(
                &trail.key("requirements"),
                build.requirements.as_ref(),
                |text| validate::repository_file(text),
            ),
            packages,
            ca_bundle: build.ca_bundle.unwrap_or(false),
            python: self.keep(&trail.key("python"), build.python.as_ref(), |text| {
                validate::python_version(text)
            }),
            secrets: self.build_secrets(build, &trail.key("secrets")),
        }
    }

    /// An argument stays in the history of the image (fault B08).
    fn warn_of_secret(&mut self, trail: &Trail<'_>, name: &str) {
        let message = format!("`{name}` looks like a secret: build arguments stay in the image");
        let mut problem = Problem::error("manifest.secret-argument", trail.path(), message);
        problem.severity = Severity::Warning;
        problem.at_key().help("give it to the build with `build.secrets`");
        self.problems.push(problem);
    }

    fn build_secrets(&mut self, build: &v1::Build, trail: &Trail<'_>) -> Vec<BuildSecret> {
        let mut secrets: Vec<BuildSecret> = Vec::new();
        for (at, wire) in build.secrets.iter().flatten().enumerate() {
            let here = trail.index(at);
            for (field, value) in [("id", &wire.id), ("secret", &wire.secret)] {
                if value.is_none() {
                    self.problems.missing(&here.key(field));
                }
            }
            let id =
                self.keep(&here.key("id"), wire.id.as_ref(), |text| validate::secret_key(text));
            let secret = self.keep(&here.key("secret"), wire.secret.as_ref(), |text| {
                validate::secret_name(text)
            });
            let key =
                self.keep(&here.key("key"), wire.key.as_ref(), |text| validate::secret_key(text));
            let (Some(id), Some(secret)) = (id, secret) else { continue };
            if secrets.iter().any(|other| other.id == id) {
                let message = format!("`{id}` is there twice");
                self.problems.error("manifest.conflict", &here.key("id"), message);
            }
            secrets.push(BuildSecret { id, secret, key });
        }
        secrets
    }

    /// A Dockerfile of the repository takes nothing from the fields that a generated one is made
    /// of, so saying both would be ignored silently.
    fn check_generated(&mut self, build: &v1::Build, trail: &Trail<'_>) {
        if build.dockerfile.is_none() {
            return;
        }
        let fields = [
            ("base", build.base.is_some()),
            ("python", build.python.is_some()),
            ("requirements", build.requirements.is_some()),
            ("packages", build.packages.as_ref().is_some_and(|list| !list.is_empty())),
        ];
        for (field, _) in fields.iter().filter(|(_, is_there)| *is_there) {
            let message =
                format!("`{field}` is for a generated Dockerfile, `dockerfile` names one");
            self.problems
                .error("manifest.conflict", &trail.key(field), message)
                .at_key()
                .help("remove one of the two");
        }
    }
}

fn is_like_a_secret(name: &str) -> bool {
    let plain = name.to_ascii_uppercase().replace(['_', '-', '.'], "");
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}
