//! What an operator makes of findings.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    inventory::{Kind, Package},
    matching::{Finding, Report, Unread},
    severity::Severity,
    version::normal_name,
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
    fn is_about<'a>(
        &self,
        mut names: impl Iterator<Item = &'a String>,
        package: Option<&Package>,
    ) -> bool {
        names.any(|name| name.eq_ignore_ascii_case(&self.id))
            && self.package.as_ref().is_none_or(|wanted| {
                package.is_some_and(|package| match package.kind {
                    Kind::Pypi => normal_name(wanted) == package.name,
                    Kind::Deb => {
                        let source = package.source.as_ref();
                        *wanted == package.name || source.is_some_and(|it| *wanted == it.name)
                    }
                })
            })
    }

    fn covers(&self, finding: &Finding) -> bool {
        let names = [&finding.id].into_iter().chain(&finding.aliases);
        self.is_about(names, Some(&finding.package))
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
    /// What nobody could decide, and would keep the image from starting.
    #[serde(skip)]
    pub undecided: Vec<Unread>,
}

impl Policy {
    /// Judges a report on a day (UTC).
    pub fn judge(&self, report: &Report, today: Date) -> Verdict {
        let mut verdict = Verdict::default();
        for finding in &report.findings {
            let about = || self.exceptions.iter().filter(|one| one.covers(finding));
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
        verdict.undecided =
            report.unread.iter().filter(|one| self.holds_up(one, today)).cloned().collect();
        verdict
    }

    /// Whether something that nobody can decide would, if it were so, keep an image from starting.
    fn holds_up(&self, unread: &Unread, today: Date) -> bool {
        let Some(stake) = &unread.stake else { return false };
        let is_rated = stake.severity != Severity::Unknown;
        let is_accepted = |one: &Exception| {
            today <= one.until && one.is_about(stake.names.iter(), stake.package.as_ref())
        };
        is_rated
            && self.block.is_some_and(|block| block <= stake.severity)
            && !self.exceptions.iter().any(is_accepted)
    }
}
