//! The options that have to do with git servers.

use std::time::Duration;

use super::{Mistake, Origin, Reader};
use crate::forge::Account;
use crate::model::{GitUrl, check_secret_name, parse_duration};
use crate::source::git::Place;

/// Manifests from git, webhooks and commit statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitOps {
    /// The repositories of manifests.
    pub sources: Vec<Place>,
    /// Whether a folder of manifests is watched.
    pub has_folder: bool,
    /// How often the repositories are looked at.
    pub interval: Duration,
    /// The names of the secrets that webhooks may be signed with.
    pub hook_secrets: Vec<String>,
    /// Where commit statuses are sent.
    pub commit_status: Vec<Account>,
    /// Where people reach this Berth.
    pub base_url: Option<String>,
}

impl Reader {
    pub(super) fn gitops(&mut self, is_local_allowed: Option<bool>) -> Option<GitOps> {
        let sources = self.list("source", |text| {
            let place = Place::parse(text)?;
            match place.url {
                GitUrl::Local(_) if is_local_allowed == Some(false) => {
                    Err("repositories of this machine need `--allow-local-git`".to_owned())
                }
                _ => Ok(place),
            }
        });
        let interval = self.one("source-interval", interval);
        let hook_secrets = self.list("hook-secret", secret);
        let commit_status = self.list("commit-status", Account::parse);
        let base_url = self.list("base-url", base_url);
        let sources = sources?;
        self.refuse_twice(&sources);
        let is_folder_set =
            self.settings.iter().any(|s| s.name == "manifests" && s.origin != Origin::Default);
        let has_folder = sources.is_empty() || is_folder_set;
        Some(GitOps {
            sources,
            has_folder,
            interval: interval?,
            hook_secrets: hook_secrets?,
            commit_status: commit_status?,
            base_url: base_url?.pop(),
        })
    }

    fn refuse_twice(&mut self, sources: &[Place]) {
        for (at, place) in sources.iter().enumerate() {
            if sources.get(..at).is_some_and(|before| {
                before.iter().any(|other| other.to_string() == place.to_string())
            }) {
                let setting = self.settings.iter().find(|setting| setting.name == "source");
                let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
                let message = format!("`{place}` is there twice");
                self.mistakes.push(Mistake { origin, name: "source".to_owned(), message });
            }
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(5)..=Duration::from_hours(24)).contains(&duration) {
        Ok(duration)
    } else {
        Err("write a duration from `5s` to `24h`".to_owned())
    }
}

pub(super) fn secret(text: &str) -> Result<String, String> {
    check_secret_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn base_url(text: &str) -> Result<String, String> {
    let is_good = ["http://", "https://"].iter().any(|scheme| {
        let rest = text.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    }) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_good {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("write an address such as `https://berth.example.com`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Config, Layers};
    use super::*;

    fn read(flags: &[(&'static str, &[&str])]) -> Result<GitOps, String> {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let flags: BTreeMap<_, _> =
            flags.iter().map(|(name, values)| (*name, list(values))).collect();
        let layers = Layers { flags, ..Layers::default() };
        let config = Config::read(&layers).map_err(|error| error.0[0].to_string())?;
        Ok(config.gitops)
    }

    #[test]
    fn a_folder_is_watched_unless_only_repositories_are_named() {
        let url: &[&str] = &["git+https://h.example/a.git#main:apps"];
        assert!(read(&[]).unwrap().has_folder);
        assert!(!read(&[("source", url)]).unwrap().has_folder);
        let both = read(&[("source", url), ("manifests", &["./manifests"])]).unwrap();
        assert!(both.has_folder);
        assert_eq!(both.sources[0].to_string(), url[0]);
        assert_eq!(both.interval, Duration::from_mins(1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value, word) in [
            ("source", "https://h.example/a.git", "git+https://"),
            ("source", "git+file:///srv/a.git", "--allow-local-git"),
            ("source-interval", "1s", "5s"),
            ("hook-secret", "../x", "secret"),
            ("commit-status", "github.com", "HOST=SECRET"),
            ("base-url", "berth.example.com", "https://"),
        ] {
            let error = read(&[(name, &[value])]).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
        let twice: &[&str] = &["git+https://h.example/a.git", "git+https://h.example/a.git#HEAD"];
        assert!(read(&[("source", twice)]).unwrap_err().contains("twice"));
    }
}
