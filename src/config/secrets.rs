//! The options that have to do with secrets of apps, and with how tightly apps are held.

use std::path::{Path, PathBuf};

use super::{Reader, absolute_path};
use crate::model::Profile;
use crate::secret::usual_folder;

/// How apps come by secrets, and how tightly they are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apps {
    /// The folder in memory for secrets that are files.
    pub secret_files: PathBuf,
    /// The file of keys that age decrypts with.
    pub age_identity: PathBuf,
    /// The program `age`.
    pub age: PathBuf,
    /// The program `sops`.
    pub sops: PathBuf,
    /// How tightly containers are held at least.
    pub profile: Profile,
}

impl Reader {
    pub(super) fn apps(&mut self, state_dir: Option<&Path>) -> Option<Apps> {
        let secret_files = self.list("secret-files", absolute_path);
        let identity = self.list("age-identity", absolute_path);
        let age = self.path("age-program");
        let sops = self.path("sops-program");
        let profile = self.one("security-profile", |text| match text {
            "baseline" => Ok(Profile::Baseline),
            "restricted" => Ok(Profile::Restricted),
            _ => Err("write `baseline` or `restricted`".to_owned()),
        });
        let instance = self.one("instance", super::instance).unwrap_or_default();
        let usual = || usual_folder(&instance);
        let secret_files = secret_files?.into_iter().next_back().unwrap_or_else(usual);
        let identity = identity?.into_iter().next_back();
        Some(Apps {
            secret_files,
            age_identity: identity.or_else(|| Some(state_dir?.join("age.key")))?,
            age: age?,
            sops: sops?,
            profile: profile?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    fn config(flags: &[(&'static str, &str)]) -> Result<Apps, String> {
        let flags = flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()]));
        let read = Config::read(&Layers { flags: flags.collect(), ..Layers::default() });
        read.map(|config| config.apps).map_err(|error| error.0[0].to_string())
    }

    #[test]
    fn what_nobody_says_lies_where_it_is_safe() {
        let apps = config(&[("state-dir", "/s"), ("instance", "lab")]).unwrap();
        assert_eq!(apps.age_identity, Path::new("/s/age.key"));
        assert_eq!(apps.secret_files, usual_folder("lab"));
        assert!(apps.secret_files.display().to_string().contains("lab"));
        assert_eq!((apps.age.as_path(), apps.profile), (Path::new("age"), Profile::Baseline));
    }

    #[test]
    fn what_is_said_is_read() {
        let apps = config(&[("security-profile", "restricted"), ("secret-files", "/dev/shm/b")]);
        let apps = apps.unwrap();
        assert_eq!(apps.profile, Profile::Restricted);
        assert_eq!(apps.secret_files, Path::new("/dev/shm/b"));
        let error = config(&[("security-profile", "privileged")]).unwrap_err();
        assert!(error.contains("`baseline` or `restricted`"), "{error}");
    }
}
