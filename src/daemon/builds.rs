//! What long work is told of the options.

use std::sync::Arc;

use super::{Error, secrets};
use crate::config::Config;
use crate::execute::JobSettings;
use crate::secret::Secrets;
use crate::workspace::context::ContextLimits;

/// The settings of fetching, building and pulling.
pub(super) fn settings(
    config: &Config,
    ca_bundle: Option<Arc<[u8]>>,
) -> Result<JobSettings, Error> {
    let mut jobs = JobSettings::new(&config.instance, &config.manifests);
    jobs.builds = config.builds.max;
    jobs.cache_bytes_max = config.builds.cache_max_size;
    jobs.build_environment.clone_from(&config.builds.environment);
    jobs.calls = config.workers;
    jobs.context = ContextLimits::of_checkout(config.git.checkout_bytes_max, config.git.files_max);
    jobs.ca_bundle = ca_bundle;
    jobs.secrets = Some(Secrets::new(&config.git.secrets));
    jobs.book = secrets::book(config)?;
    jobs.own_folders = vec![config.state_dir.clone(), config.state_dir.join("packages")];
    jobs.compose_dir = Some(config.compose_dir.clone());
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Layers};

    fn of(text: &str) -> JobSettings {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let text = Ok(format!("state-dir: {}\n{text}", folder.path().display()));
        let files = vec![File { path: "/etc/berth/config.yaml".into(), text }];
        let config = Config::read(&Layers { files, ..Layers::default() }).unwrap();
        settings(&config, None).unwrap()
    }

    /// What may be fetched may be built, and what Berth adds comes on top: a limit that is raised for
    /// checkouts holds for what a build is sent too.
    #[test]
    fn a_build_may_be_sent_as_much_as_may_be_checked_out() {
        let limits = |text: &str| {
            let context = of(text).context;
            (context.bytes, context.entries)
        };
        let usual = ContextLimits::of_checkout(8 << 30, 200_000);
        assert_eq!(limits(""), (usual.bytes, usual.entries));
        let small = ContextLimits::of_checkout(1 << 20, 7);
        let text = "git-max-checkout: 1Mi\ngit-max-files: 7\n";
        assert_eq!(limits(text), (small.bytes, small.entries));
        assert!(1 << 20 < small.bytes && 7 < small.entries);
        assert_eq!(limits("git-max-checkout: 20Gi\n").0, (20 << 30) + (small.bytes - (1 << 20)));
        // Neither the most that is transferred nor the largest file has a say in it.
        let text = "git-max-transfer: 1Mi\ngit-max-file: 1Mi\n";
        assert_eq!(limits(text), (usual.bytes, usual.entries));
    }

    #[test]
    fn builds_get_what_the_operator_set_for_them() {
        let jobs = of("max-builds: 3\nbuild-http-proxy: http://proxy:3128\ninstance: lab\n");
        assert_eq!((jobs.builds, jobs.instance.as_str()), (3, "lab"));
        assert_eq!(jobs.build_environment.get("HTTP_PROXY").unwrap(), "http://proxy:3128");
        assert!(!jobs.build_environment.contains_key("HTTPS_PROXY"));
        assert_eq!(jobs.cache_bytes_max, Some(20 << 30));
        assert_eq!(of("build-cache-max-size: 1Gi\n").cache_bytes_max, Some(1 << 30));
        assert_eq!(of("build-cache-max-size: none\n").cache_bytes_max, None);
    }
}
