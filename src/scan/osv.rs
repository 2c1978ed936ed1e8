//! One record of an OSV database, as far as it is needed. Fields that are not known are left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::severity::Severity;

/// A vulnerability, or a report of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    pub(super) id: String,
    pub(super) summary: String,
    /// Set when it turned out to be none.
    pub(super) withdrawn: Option<String>,
    /// The same vulnerability in other databases.
    pub(super) aliases: Vec<String>,
    /// What a distribution's record is about.
    pub(super) upstream: Vec<String>,
    pub(super) severity: Vec<Score>,
    pub(super) affected: Vec<Affected>,
    pub(super) database_specific: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Score {
    pub(super) score: String,
}

/// One package, and which of its versions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Affected {
    pub(super) package: Named,
    pub(super) severity: Vec<Score>,
    pub(super) ranges: Vec<Range>,
    /// Versions by name.
    pub(super) versions: Vec<String>,
    pub(super) ecosystem_specific: Value,
    pub(super) database_specific: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) ecosystem: String,
    pub(super) name: String,
}

/// A stretch of versions, as the events that begin and end it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) introduced: Option<String>,
    pub(super) fixed: Option<String>,
    pub(super) last_affected: Option<String>,
    pub(super) limit: Option<String>,
}

impl Record {
    /// All names of what it is about, its own first. What it is a distribution's record of is one
    /// more name, unless it is of several: then each of these is another matter.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let same = Some(&self.upstream).filter(|_| !self.is_of_several()).into_iter().flatten();
        [&self.id].into_iter().chain(&self.aliases).chain(same).map(String::as_str)
    }

    /// Whether it is one notice of several vulnerabilities.
    pub(super) fn is_of_several(&self) -> bool {
        let mut matters = self.upstream.iter().map(|name| matter(name));
        let first = matters.next();
        matters.any(|other| Some(other) != first)
    }

    /// What a notice of several is about: each with the names that it gives it.
    pub(super) fn matters(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut matters = BTreeMap::<_, BTreeSet<_>>::new();
        for name in &self.upstream {
            matters.entry(matter(name)).or_default().insert(name.as_str());
        }
        matters
    }

    /// How bad it is for one package: a score before a word, what is said of the package before
    /// what is said of all.
    pub(super) fn severity(&self, affected: &Affected) -> Severity {
        let scored = |scores: &[Score]| {
            scores.iter().filter_map(|one| Severity::of_vector(&one.score)).max()
        };
        let word = |object: &Value, key: &str| object[key].as_str().and_then(Severity::of_word);
        // Ubuntu's own scale stands where scores do.
        let worded =
            |scores: &[Score]| scores.iter().filter_map(|one| Severity::of_word(&one.score)).max();
        scored(&affected.severity)
            .or_else(|| scored(&self.severity))
            .or_else(|| worded(&affected.severity))
            .or_else(|| worded(&self.severity))
            .or_else(|| word(&affected.ecosystem_specific, "severity"))
            .or_else(|| word(&affected.ecosystem_specific, "urgency"))
            .or_else(|| word(&affected.database_specific, "severity"))
            .or_else(|| word(&self.database_specific, "severity"))
            .unwrap_or_default()
    }
}

/// The number under a distribution's own name: `UBUNTU-CVE-2024-1` is about `CVE-2024-1`.
fn matter(name: &str) -> &str {
    name.find("CVE-").and_then(|at| name.get(at..)).unwrap_or(name)
}
