//! Which apps are meant: by their labels and phases.

use std::collections::BTreeMap;

use super::problem::Problem;
use crate::model::Phase;

/// One thing that a label must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    key: String,
    /// None is any value.
    value: Option<String>,
    is_not: bool,
}

impl Wanted {
    /// Whether these labels are so.
    pub(super) fn admits(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let found = labels.and_then(|labels| labels.get(&self.key));
        let is_so = match &self.value {
            None => found.is_some(),
            Some(value) => found == Some(value),
        };
        is_so != self.is_not
    }
}

/// Reads `team=vision,tier!=1,gpu,!old`.
pub(super) fn labels(text: &str) -> Result<Vec<Wanted>, Problem> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(label).collect()
}

fn label(part: &str) -> Result<Wanted, Problem> {
    let (key, value, is_not) = if let Some((key, value)) = part.split_once("!=") {
        (key, Some(value), true)
    } else if let Some((key, value)) = part.split_once('=') {
        (key, Some(value.strip_prefix('=').unwrap_or(value)), false)
    } else if let Some(key) = part.strip_prefix('!') {
        (key, None, true)
    } else {
        (part, None, false)
    };
    let key = key.trim().to_owned();
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(is_known) {
        let wrong = "`labelSelector` is like `team=vision,tier!=1,gpu,!old`";
        return Err(Problem::bad_request(wrong));
    }
    Ok(Wanted { key, value: value.map(|value| value.trim().to_owned()), is_not })
}

/// Reads `Running,Degraded`.
pub(super) fn phases(text: &str) -> Result<Vec<Phase>, Problem> {
    const ALL: [Phase; 8] = [
        Phase::Uninstalled,
        Phase::Installing,
        Phase::Installed,
        Phase::Running,
        Phase::Degraded,
        Phase::Failed,
        Phase::Paused,
        Phase::Unknown,
    ];
    let read = |part: &str| {
        let found = ALL.into_iter().find(|phase| phase.to_string().eq_ignore_ascii_case(part));
        found.ok_or_else(|| {
            let words: Vec<_> = ALL.iter().map(ToString::to_string).collect();
            Problem::bad_request(format!("a `phase` is one of {}", words.join(", ")))
        })
    };
    text.split(',').map(|part| read(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_asked_for_in_four_ways() {
        let own: BTreeMap<_, _> =
            [("team".to_owned(), "vision".to_owned()), ("gpu".to_owned(), String::new())].into();
        for (text, is_so) in [
            ("", true),
            ("team=vision", true),
            ("team==vision,gpu", true),
            ("team=audio", false),
            ("team!=audio", true),
            ("tier!=1", true),
            ("!team", false),
            ("!old, gpu", true),
            ("old", false),
        ] {
            let all = labels(text).unwrap();
            assert_eq!(all.iter().all(|wanted| wanted.admits(Some(&own))), is_so, "{text}");
        }
        assert!(labels("=x").is_err() && labels("a b=c").is_err());
        assert!(!labels("a").unwrap()[0].admits(None));
        assert_eq!(phases("running,Failed").unwrap(), [Phase::Running, Phase::Failed]);
        assert!(phases("Runing").is_err());
    }
}
