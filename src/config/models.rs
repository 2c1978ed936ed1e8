//! The options of the model store.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{Reader, absolute_path};
use crate::model::{parse_bytes, parse_duration};
use crate::store::{Danger, Immutable, Policy};

/// How models are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// The folder as the engine's host knows it, where that is another one.
    pub on_host: Option<PathBuf>,
    /// The address at which containers reach this Berth.
    pub hub_url: Option<String>,
    /// How large one file may be.
    pub file_max: Option<u64>,
    /// How much a project may have.
    pub project_max: Option<u64>,
    /// How many commits of a branch are kept.
    pub history: usize,
    /// How long commits that others have followed are kept; none is for ever.
    pub history_age: Option<Duration>,
    /// How long what was deleted can be brought back.
    pub trash_ttl: Duration,
    /// How long contents are kept that no model has.
    pub grace: Duration,
    /// Which versions may not be changed.
    pub immutable: Immutable,
    /// The same for projects of which it is said otherwise.
    pub immutable_of: BTreeMap<String, Immutable>,
    /// How many models a project may have.
    pub count_max: Option<usize>,
    /// What is let in and out.
    pub policy: Policy,
    /// How long an upload that was broken off can be taken up again.
    pub upload_ttl: Duration,
    /// How many bytes are read again in a second; none is nothing.
    pub scrub: Option<u64>,
    /// Where is told what happens.
    pub hooks: Vec<String>,
    /// The name of the secret that it is signed with.
    pub hook_secret: Option<String>,
}

impl Reader {
    pub(super) fn models(&mut self) -> Option<Models> {
        let on_host = self.list("model-store-host", absolute_path);
        let hub_url = self.list("hub-url", hub_url);
        let file_max = self.list("model-max-file", size);
        let project_max = self.list("model-quota", size);
        let trash_ttl =
            self.one("model-trash", |text| parse_duration(text).map_err(|error| error.to_string()));
        let grace =
            self.one("model-grace", |text| parse_duration(text).map_err(|error| error.to_string()));
        let history = self.one("model-history", history);
        let history_age = self.one("model-history-age", |text| {
            parse_duration(text).map_err(|error| error.to_string())
        });
        let immutables = self.list("model-immutable", immutable);
        let count_max = self.one("model-max-models", |text| {
            text.parse::<usize>().map_err(|_| "write a number".to_owned())
        });
        let dangers = self.list("model-policy", danger);
        let endings = self.list("model-endings", ending);
        let upload_ttl = self.one("model-upload-ttl", upload_ttl);
        let scrub = self.one("model-scrub", size);
        let hooks = self.list("model-hook", super::gitops::base_url);
        let hook_secret = self.list("model-hook-secret", super::gitops::secret);
        let mut policy = Policy { endings: endings?.into_iter().collect(), ..Policy::default() };
        for (project, danger) in dangers? {
            match project {
                Some(project) => drop(policy.projects.insert(project, danger)),
                None => policy.danger = danger,
            }
        }
        let (mut immutable, mut immutable_of) = (Immutable::Off, BTreeMap::new());
        for (project, which) in immutables? {
            match project {
                Some(project) => drop(immutable_of.insert(project, which)),
                None => immutable = which,
            }
        }
        Some(Models {
            on_host: on_host?.into_iter().next_back(),
            hub_url: hub_url?.into_iter().next_back(),
            file_max: file_max?.into_iter().next_back(),
            project_max: project_max?.into_iter().next_back(),
            history: history?,
            history_age: history_age.map(|age| Some(age).filter(|age| !age.is_zero()))?,
            trash_ttl: trash_ttl?,
            grace: grace?,
            immutable,
            immutable_of,
            count_max: count_max.map(|count| Some(count).filter(|count| *count != 0))?,
            policy,
            upload_ttl: upload_ttl?,
            scrub: scrub.map(|rate| Some(rate).filter(|rate| *rate != 0))?,
            hooks: hooks?,
            hook_secret: hook_secret?.pop(),
        })
    }
}

fn hub_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_good = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && !"?#@".contains(c))
    });
    if !is_good {
        return Err("write an address such as `http://172.17.0.1:8000`".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

fn history(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=10_000).contains(count));
    count.ok_or_else(|| "write a number from 1 to 10000".to_owned())
}

/// Reads `versions`, or `project=versions`.
fn immutable(text: &str) -> Result<(Option<String>, Immutable), String> {
    let (project, word) = of_project(text)?;
    let which = match word {
        "off" => Immutable::Off,
        "versions" => Immutable::Versions,
        "semver-releases" => Immutable::Releases,
        _ => {
            let all = "write `off`, `versions` or `semver-releases`, or `PROJECT=versions`";
            return Err(all.to_owned());
        }
    };
    Ok((project, which))
}

/// What is said of one project, or of all.
fn of_project(text: &str) -> Result<(Option<String>, &str), String> {
    let Some((project, word)) = text.split_once('=') else { return Ok((None, text)) };
    let project = crate::store::name("project", project).map_err(|bad| bad.why.to_owned())?;
    Ok((Some(project), word))
}

/// Reads `block`, or `project=block`.
fn danger(text: &str) -> Result<(Option<String>, Danger), String> {
    let (project, word) = of_project(text)?;
    let danger = match word {
        "allow" => Danger::Allow,
        "warn" => Danger::Warn,
        "block" => Danger::Block,
        _ => return Err("write `allow`, `warn` or `block`, or `PROJECT=block`".to_owned()),
    };
    Ok((project, danger))
}

fn ending(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix('.').unwrap_or(text);
    if rest.is_empty() || rest.contains(['.', '/', '\\']) {
        return Err("write an ending such as `.safetensors`".to_owned());
    }
    Ok(format!(".{}", rest.to_lowercase()))
}

fn upload_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(10)..=Duration::from_hours(24 * 30)).contains(&ttl) {
        Ok(ttl)
    } else {
        Err("write a duration from `10s` to `720h`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_endings_are_read_as_people_write_them() {
        assert_eq!(danger("block"), Ok((None, Danger::Block)));
        assert_eq!(danger("vision=allow"), Ok((Some("vision".to_owned()), Danger::Allow)));
        for bad in ["", "deny", "=block", "a/b=block", "vision=", "..=warn"] {
            assert!(danger(bad).is_err(), "{bad}");
        }
        assert_eq!(immutable("off"), Ok((None, Immutable::Off)));
        assert_eq!(immutable("p=versions"), Ok((Some("p".to_owned()), Immutable::Versions)));
        for bad in ["", "on", "=versions", "p="] {
            assert!(immutable(bad).is_err(), "{bad}");
        }
        assert_eq!(ending("GGUF").as_deref(), Ok(".gguf"));
        assert_eq!(ending(".onnx").as_deref(), Ok(".onnx"));
        for bad in ["", ".", "tar.gz", "a/b"] {
            assert!(ending(bad).is_err(), "{bad}");
        }
        assert!(upload_ttl("1s").is_err() && upload_ttl("1h").is_ok());
    }
}
