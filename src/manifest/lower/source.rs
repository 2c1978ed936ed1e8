//! Where an app's image comes from.

use std::time::Duration;

use crate::model::{BuildSpec, GitSource, PullPolicy, Source};

use super::{
    super::{
        problem::Trail,
        v1::{self, Short},
        validate,
    },
    Lower,
};

const INTERVAL: Duration = Duration::from_mins(5);
const DEPTH_MAX: u32 = 1_000_000;

impl Lower<'_> {
    pub(super) fn source(&mut self, spec: &Trail<'_>) -> Option<Source> {
        let image = spec.key("image");
        match (&self.spec.image, &self.spec.source) {
            (Some(_), Some(_)) => {
                let message = "an app has either an `image` or a `source`, not both";
                self.problems.error("manifest.conflict", &image, message).at_key();
                None
            }
            (Some(text), None) => {
                let reference = self.problems.keep(&image, validate::image(text))?;
                let pull = match self.spec.pull_policy {
                    None | Some(v1::PullPolicy::IfNotPresent) => PullPolicy::IfNotPresent,
                    Some(v1::PullPolicy::Always) => PullPolicy::Always,
                };
                Some(Source::Image { reference, pull })
            }
            (None, Some(source)) => {
                if self.spec.pull_policy.is_some() {
                    let message = "`pullPolicy` is for an `image`, this app has a `source`";
                    self.problems
                        .error("manifest.conflict", &spec.key("pullPolicy"), message)
                        .at_key();
                }
                self.git(source, &spec.key("source")).map(Source::Git)
            }
            (None, None) => {
                let source = spec.key("source");
                self.problems
                    .error(
                        "manifest.missing-field",
                        spec,
                        "there is neither an `image` nor a `source`",
                    )
                    .at_key()
                    .unless(image.path())
                    .unless(source.path())
                    .help("name what runs: `image: name:tag`, or `source: {git: https://…}`");
                None
            }
        }
    }

    fn git(&mut self, source: &v1::Source, trail: &Trail<'_>) -> Option<GitSource> {
        let interval = self
            .keep(&trail.key("interval"), source.interval.as_ref(), validate::poll_interval)
            .unwrap_or(INTERVAL);
        let git = trail.key("git");
        let empty = v1::Git::default();
        let (url, long, at) = match &source.git {
            Some(Short::Short(url)) => (Some(url), &empty, git),
            Some(Short::Long(long)) => (long.url.as_ref(), long, git.key("url")),
            None => {
                let problem = self.problems.missing(&git);
                problem.unless(trail.key("directory").path());
                return None;
            }
        };
        if url.is_none() {
            self.problems.missing(&at);
        }
        let url = self.keep(&at, url, |url| validate::git_url(url));
        let reference =
            self.keep(&git.key("ref"), long.reference.as_ref(), |text| validate::git_ref(text));
        let path = self
            .keep(&git.key("path"), long.path.as_ref(), |text| validate::repository_folder(text));
        let depth = self.keep(&git.key("depth"), long.depth.as_ref(), |depth| {
            validate::count(*depth, DEPTH_MAX)
        });
        Some(GitSource { url: url?, reference, path: path.unwrap_or_default(), depth, interval })
    }

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
        }
    }

    /// A Dockerfile of the repository takes nothing from the fields that a generated one is made
    /// of, so saying both would be ignored silently.
    fn check_generated(&mut self, build: &v1::Build, trail: &Trail<'_>) {
        if build.dockerfile.is_none() {
            return;
        }
        let fields = [
            ("base", build.base.is_some()),
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
