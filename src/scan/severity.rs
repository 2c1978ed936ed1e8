//! How bad it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The qualitative scale of CVSS 3 and 4.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody has rated it.
    #[default]
    Unknown,
    /// 0.0 to 3.9, and what a distribution calls unimportant.
    Low,
    /// 4.0 to 6.9.
    Medium,
    /// 7.0 to 8.9.
    High,
    /// 9.0 to 10.0.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// What a CVSS score says; none for one that can't be read.
    pub(super) fn of_vector(vector: &str) -> Option<Self> {
        // CVSS 2 has no prefix, and no `critical`: its scale ends with high.
        let read: cvss::Cvss = vector.trim().parse().ok()?;
        let rated = match read.severity() {
            cvss::Severity::None | cvss::Severity::Low => Self::Low,
            cvss::Severity::Medium => Self::Medium,
            cvss::Severity::High => Self::High,
            cvss::Severity::Critical => Self::Critical,
        };
        Some(rated)
    }

    /// The words of GitHub (`MODERATE`), Debian (`unimportant`) and Ubuntu (`negligible`).
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.trim().trim_end_matches('*').to_ascii_lowercase().as_str() {
            "unimportant" | "negligible" | "minor" | "low" => Some(Self::Low),
            "moderate" | "medium" => Some(Self::Medium),
            "important" | "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.word().eq_ignore_ascii_case(text.trim()));
        found.ok_or_else(|| {
            let words: Vec<_> = Self::ALL.iter().map(|one| one.word()).collect();
            format!("`{text}` is no severity: use one of {}", words.join(", "))
        })
    }
}
