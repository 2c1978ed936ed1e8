//! One app: what is above all of its tabs, and the first of them.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;

use super::{
    Look, Shell, apps, log,
    plan::{self, PlanView},
    scan::{self, ScanView},
    show,
    words::{self, Bar, EventRow, Moment},
};
use crate::model::{AppName, Phase, Reason, format_bytes};
use crate::record::Entry;
use crate::server::{problem::Problem, request::Named};

/// How many events and lines of a log are shown at the start.
const EVENTS: usize = 10;
const LINES: u64 = 30;

/// What is above all tabs of an app.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) tab: &'static str,
    pub(super) tone: &'static str,
    pub(super) verdict: (&'static str, &'static str),
    pub(super) phase: String,
    pub(super) since: Moment,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) url: Option<String>,
    pub(super) origin: Option<String>,
    /// Whether it is meant to run.
    pub(super) is_meant_to_run: bool,
    pub(super) is_known: bool,
    pub(super) is_behind: bool,
    pub(super) has_build: bool,
}

#[derive(Template)]
#[template(path = "app.html", config = "src/server/templates/askama.toml")]
struct Overview {
    shell: Shell,
    head: Head,
    facts: Vec<Fact>,
    bars: Vec<Bar>,
    progress: Option<Progress>,
    conditions: Vec<ConditionRow>,
    scan: Option<ScanView>,
    plan: Option<PlanView>,
    events: Vec<EventRow>,
    log: log::Shown,
    log_of: &'static str,
}

/// How far a build or a pull is.
struct Progress {
    text: String,
    /// In percent, where the whole is known.
    part: Option<u64>,
}

/// Something that is so.
struct Fact {
    label: &'static str,
    text: String,
    href: Option<String>,
    is_code: bool,
}

struct ConditionRow {
    kind: String,
    status: String,
    tone: &'static str,
    reason: String,
    message: String,
    since: Moment,
}

/// What is above the tabs of an app.
pub(super) fn head(look: &Look, entry: &Entry, tab: &'static str) -> Head {
    let status = &entry.status;
    let origin = entry.app.as_ref().map(|app| &app.origin);
    let is_stopped = matches!(status.phase, Phase::Paused | Phase::Installed | Phase::Uninstalled);
    Head {
        name: entry.name.to_string(),
        tab,
        tone: words::tone(status.phase),
        verdict: words::verdict(entry),
        phase: status.phase.to_string(),
        since: words::moment(status.since, look.now),
        reason: status.reason.to_string(),
        message: status.message.clone(),
        url: words::link(status.url.as_ref()),
        origin: origin.map(|origin| format!("{}:{}", origin.file, origin.line)),
        is_meant_to_run: !is_stopped,
        is_known: entry.app.is_some(),
        is_behind: words::is_behind(entry),
        has_build: has_build(entry),
    }
}

/// Whether its image is built here.
pub(super) fn has_build(entry: &Entry) -> bool {
    let app = entry.app.as_ref();
    app.is_some_and(|app| matches!(app.spec.source, crate::model::Source::Git(_)))
}

/// The app that the address names.
pub(super) fn entry(look: &Look, name: &AppName) -> Result<Arc<Entry>, Problem> {
    let entry = look.shared.parts.record.entry(name);
    entry.ok_or_else(|| Problem::no_app(name.as_str()))
}

/// Whose last lines tell most of how it stands: those of a build that failed, also while the
/// version before runs.
fn log_of(entry: &Entry) -> &'static str {
    let status = &entry.status;
    let is_building = status.phase == Phase::Installing
        || status.reason == Reason::BuildFailed
        || (status.container_id.is_none() && has_build(entry));
    if is_building { "build" } else { "app" }
}

/// `GET /ui/apps/{name}`
pub(in super::super) async fn overview(look: Look, Named(name): Named) -> Response {
    let entry = match entry(&look, &name) {
        Ok(entry) => entry,
        Err(problem) => return look.problem(&problem),
    };
    let source = log_of(&entry);
    let log = log::tail(&look, &name, source, LINES).await;
    let events = look.shared.parts.record.events(Some(&name));
    let verdict = &entry.status.message;
    let conditions = entry.status.conditions.iter().map(|one| condition(one, verdict, &look));
    let (plan, head) = (plan::view(&entry), head(&look, &entry, "overview"));
    show(&Overview {
        shell: look.shell(format!("{name}: {}", head.phase), "apps"),
        head,
        facts: facts(&look, &entry),
        bars: apps::bars(&look, &entry),
        progress: (entry.status.phase == Phase::Installing).then(|| progress(&entry, &log)),
        conditions: conditions.collect(),
        scan: scan::view(&look, &name),
        plan: plan.has_differences.then_some(plan),
        events: words::folded(&events, look.now, EVENTS),
        log,
        log_of: source,
    })
}

/// How far it is, by the last line that says so: `Step 3/7`, `[3/7]`, `12.0 MiB of 80.0 MiB`.
fn progress(entry: &Entry, log: &log::Shown) -> Progress {
    let said = entry.status.message.clone();
    let lines = log.lines.iter().rev().map(log::Line::text);
    let part = std::iter::once(said.clone()).chain(lines).find_map(|line| step(&line));
    Progress { text: said, part }
}

/// The part of the whole that a line tells, in percent.
fn step(line: &str) -> Option<u64> {
    let of = |text: &str| {
        let (at, whole) = text.split_once('/')?;
        let at: u64 = at.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        let whole: u64 = whole.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        (0 < whole && at <= whole).then(|| words::percent(at.saturating_sub(1), whole))
    };
    let steps = line.split("Step ").nth(1).and_then(of);
    let bracket = line.find('[').and_then(|at| of(&line[at + 1..]));
    let percent = line.find('%').and_then(|at| {
        let digits = line[..at].rsplit(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok().filter(|part| *part <= 100)
    });
    steps.or(bracket).or(percent)
}

/// A condition. What the verdict above all says is not said again.
fn condition(one: &crate::model::Condition, verdict: &str, look: &Look) -> ConditionRow {
    use crate::model::{ConditionStatus as S, ConditionType as T};
    let tone = match (one.kind, one.status) {
        (T::Progressing, S::True) => "busy",
        (T::Progressing, _) => "quiet",
        (_, S::True) => "good",
        (_, S::False) => "bad",
        (_, S::Unknown) => "odd",
    };
    ConditionRow {
        kind: one.kind.to_string(),
        status: one.status.to_string(),
        tone,
        reason: one.reason.to_string(),
        message: if one.message == verdict { String::new() } else { one.message.clone() },
        since: words::moment(one.last_transition, look.now),
    }
}

fn facts(look: &Look, entry: &Entry) -> Vec<Fact> {
    let status = &entry.status;
    let mut all = Vec::new();
    let mut put = |label, text: Option<String>, href: Option<String>, is_code| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            all.push(Fact { label, text, href, is_code });
        }
    };
    let url = words::link(status.url.as_ref());
    put("Address", url.clone(), url, false);
    let source = entry.app.as_ref().map(|app| match &app.spec.source {
        crate::model::Source::Git(git) => match &git.reference {
            Some(reference) => format!("{} at {reference}", git.url.as_str()),
            None => git.url.as_str().to_owned(),
        },
        crate::model::Source::Image { reference, .. } => reference.to_string(),
    });
    put("Source", source, None, true);
    put("Commit", status.commit.clone(), None, true);
    let behind = status.commits_behind.filter(|behind| 0 < behind.commits);
    put("Behind its source", behind.map(|behind| behind.to_string()), None, false);
    put("Image", status.image.clone(), None, true);
    let short = |id: &String| id.get(..12).unwrap_or(id).to_owned();
    put("Container", status.container_id.as_ref().map(short), None, true);
    let ports: Vec<_> = status
        .ports
        .iter()
        .map(|port| format!("{} → {}/{}", port.host_port, port.container_port, port.protocol))
        .collect();
    put("Ports", Some(ports.join(", ")), None, false);
    put("GPUs", Some(status.gpus.join(", ")), Some("/ui/gpus".to_owned()), false);
    let used = look.shared.parts.usage.now(&entry.name);
    put(
        "Processor",
        used.and_then(|used| used.cpu).map(|cpu| format!("{cpu:.2} cores")),
        None,
        false,
    );
    let network = used.and_then(|used| used.network_receive.zip(used.network_transmit));
    let network = network.map(|(down, up)| format!("{} in, {} out", rate(down), rate(up)));
    put("Network", network, None, false);
    put("Restarts", (0 < status.restarts).then(|| status.restarts.to_string()), None, false);
    let mounts = entry.app.as_ref().map(|app| {
        let paths: Vec<_> =
            app.spec.mounts.iter().map(|mount| mount.path.as_str().to_owned()).collect();
        paths.join(", ")
    });
    put("Mounts", mounts, None, true);
    all
}

/// Bytes a second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nothing is so fast")]
pub(super) fn rate(bytes: f64) -> String {
    format!("{}B/s", format_bytes(bytes.max(0.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is_where_the_whole_is_known() {
        assert_eq!(step("Step 3/4 : RUN pip install"), Some(50));
        assert_eq!(step("#7 [3/5] RUN pip install"), Some(40));
        assert_eq!(step("pulling: 40% of 2.0Gi"), Some(40));
        assert_eq!(step("Collecting torch"), None);
        assert_eq!(step("Step 9/4"), None);
        assert_eq!(step("400%"), None);
    }
}
