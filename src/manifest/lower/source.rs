//! Where an app's image comes from.

use std::time::Duration;

use crate::model::{GitSource, PullPolicy, Source};

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
        let auth = self.git_auth(long.auth.as_ref(), &git.key("auth"));
        Some(GitSource {
            url: url?,
            reference,
            path: path.unwrap_or_default(),
            depth,
            submodules: long.submodules.unwrap_or(false),
            lfs: long.lfs.unwrap_or(false),
            auth,
            interval,
        })
    }

    fn git_auth(&mut self, auth: Option<&v1::GitAuth>, trail: &Trail<'_>) -> Option<String> {
        let auth = auth?;
        let secret = trail.key("secret");
        if auth.secret.is_none() {
            self.problems.missing(&secret);
        }
        self.keep(&secret, auth.secret.as_ref(), |name| validate::secret_name(name))
    }
}
