//! What an operator makes of findings.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    matching::{Finding, Report},
    severity::Severity,
};

/// A vulnerability that an operator lives with, until a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Any of its names.
    pub id: String,
    /// For one package only; for all where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The last day on which it is accepted (UTC).
    pub until: Date,
    /// Why it is.
    pub reason: String,
}

impl Exception {
    fn is_about(&self, finding: &Finding) -> bool {
        let is_named = |name: &String| name.eq_ignore_ascii_case(&self.id);
        let package = &finding.package;
        let is_package = self.package.as_ref().is_none_or(|name| {
            *name == package.name || package.source.as_ref().is_some_and(|one| *name == one.name)
        });
        is_package && (is_named(&finding.id) || finding.aliases.iter().any(is_named))
    }
}

/// From which severity on an image is warned about, and from which it may not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Warned about from here on. What nobody rated is always shown.
    pub warn: Severity,
    /// Refused from here on; never where none is named.
    pub block: Option<Severity>,
    /// What is accepted.
    pub exceptions: Vec<Exception>,
}

/// A finding that an exception covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The finding.
    pub finding: Finding,
    /// Until when it is accepted.
    pub until: Date,
    /// Why.
    pub reason: String,
}

/// What the policy says about a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What keeps the image from starting.
    pub blocked: Vec<Finding>,
    /// What is warned about.
    pub warned: Vec<Finding>,
    /// What is accepted for now.
    pub accepted: Vec<Accepted>,
    /// Exceptions that would have covered a finding, had their day not passed.
    pub expired: Vec<Exception>,
}

impl Policy {
    /// Judges a report on a day (UTC).
    pub fn judge(&self, report: &Report, today: Date) -> Verdict {
        let mut verdict = Verdict::default();
        for finding in &report.findings {
            let about = || self.exceptions.iter().filter(|one| one.is_about(finding));
            if let Some(exception) =
                about().filter(|one| today <= one.until).max_by_key(|one| one.until)
            {
                verdict.accepted.push(Accepted {
                    finding: finding.clone(),
                    until: exception.until,
                    reason: exception.reason.clone(),
                });
                continue;
            }
            for exception in about() {
                if !verdict.expired.contains(exception) {
                    verdict.expired.push(exception.clone());
                }
            }
            let is_rated = finding.severity != Severity::Unknown;
            if is_rated && self.block.is_some_and(|block| block <= finding.severity) {
                verdict.blocked.push(finding.clone());
            } else if !is_rated || self.warn <= finding.severity {
                verdict.warned.push(finding.clone());
            }
        }
        verdict
    }
}
