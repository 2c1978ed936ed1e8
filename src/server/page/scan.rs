//! What is known of vulnerabilities in an app's image, on its first screen.

use super::{
    Look,
    words::{self, Moment},
};
use crate::model::AppName;
use crate::scan::{Finding, Scanned, Severity};
use crate::state::ScanSeen;

/// How many of them are listed.
const ROWS: usize = 6;

/// What was found in an image.
pub(super) struct ScanView {
    pub(super) tone: &'static str,
    pub(super) word: &'static str,
    pub(super) message: String,
    /// Of each severity that there is, the worst first.
    pub(super) counts: Vec<Count>,
    pub(super) rows: Vec<FindingRow>,
    /// How many more there are.
    pub(super) more: usize,
    pub(super) at: Option<Moment>,
}

/// How many there are of a severity.
pub(super) struct Count {
    pub(super) tone: &'static str,
    pub(super) word: &'static str,
    pub(super) number: usize,
}

/// A vulnerability.
pub(super) struct FindingRow {
    pub(super) id: String,
    pub(super) tone: &'static str,
    pub(super) severity: &'static str,
    pub(super) package: String,
    pub(super) fixed: Option<String>,
    pub(super) summary: String,
    pub(super) is_blocked: bool,
}

/// What is known of the image of an app; nothing where images are not looked through.
pub(super) fn view(look: &Look, app: &AppName) -> Option<ScanView> {
    let book = look.shared.parts.figures.scans.as_deref()?;
    let (_, found) = book.of_app(app)?;
    let plain = |tone, word, message| ScanView {
        tone,
        word,
        message,
        counts: Vec::new(),
        rows: Vec::new(),
        more: 0,
        at: None,
    };
    Some(match found {
        None => plain("calm", "Not looked through yet", String::new()),
        Some(Err(why)) => plain("odd", "Could not be looked through", why),
        Some(Ok(scanned)) => seen(look, &scanned),
    })
}

fn seen(look: &Look, scanned: &Scanned) -> ScanView {
    let (tone, word, message) = match scanned.seen() {
        ScanSeen::Clean(text) => ("good", "None that counts", text),
        ScanSeen::Warned(text) => ("busy", "Known ones", text),
        ScanSeen::Blocked(text) => ("bad", "Not allowed", text),
        ScanSeen::Failed(text) => ("odd", "Could not be looked through", text),
    };
    let counts = scanned.counts().into_iter().filter(|(_, count)| 0 < *count);
    let accepted = &scanned.verdict.accepted;
    let is_open = |one: &&Finding| !accepted.iter().any(|accepted| accepted.finding == **one);
    let mut open: Vec<_> = scanned.report.findings.iter().filter(is_open).collect();
    let is_blocked = |one: &Finding| scanned.verdict.blocked.iter().any(|other| other.id == one.id);
    open.sort_by_key(|one| !is_blocked(one));
    let row = |one: &&Finding| FindingRow {
        id: one.id.clone(),
        tone: rated(one.severity),
        severity: one.severity.word(),
        package: format!("{} {}", one.package.name, one.package.version),
        fixed: one.fixed.clone(),
        summary: one.summary.clone(),
        is_blocked: is_blocked(one),
    };
    ScanView {
        tone,
        word,
        message,
        counts: counts
            .map(|(severity, number)| Count {
                tone: rated(severity),
                word: severity.word(),
                number,
            })
            .collect(),
        rows: open.iter().take(ROWS).map(row).collect(),
        more: open.len().saturating_sub(ROWS),
        at: Some(words::moment(scanned.at, look.now)),
    }
}

fn rated(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "bad",
        Severity::Medium => "busy",
        Severity::Low | Severity::Unknown => "quiet",
    }
}
