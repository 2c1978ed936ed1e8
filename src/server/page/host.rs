//! The host: what there is, what is used, and what watches it.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    Look, Shell, show,
    words::{self, Bar, Moment},
};
use crate::doctor::{Group, Outcome, Report};
use crate::model::{format_bytes, format_duration};
use crate::server::{Shared, usage};

#[derive(Template)]
#[template(path = "host.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    strip: Vec<Bar>,
    facts: Vec<(&'static str, String)>,
    asked: Vec<(&'static str, String)>,
    apps: Vec<AppRow>,
    checks: Vec<Check>,
    fit: Fit,
    escapes: Vec<Escape>,
    care: Vec<super::care::Care>,
    read_at: Option<Moment>,
}

/// Something that Berth itself can tell to be well or not.
struct Check {
    name: &'static str,
    is_well: bool,
    evidence: String,
    fix: &'static str,
}

/// Whether the machine is fit, as `berth doctor` says it.
#[derive(Default)]
struct Fit {
    /// When it was looked at; none when that is still under way.
    looked: Option<Moment>,
    summary: String,
    groups: Vec<FitGroup>,
}

struct FitGroup {
    name: &'static str,
    /// How it stands, in a word.
    word: String,
    tone: &'static str,
    is_open: bool,
    rows: Vec<FitRow>,
}

struct FitRow {
    name: &'static str,
    code: &'static str,
    word: &'static str,
    tone: &'static str,
    evidence: String,
    fix: String,
    hint: &'static str,
}

struct AppRow {
    name: String,
    phase: String,
    tone: &'static str,
    cpu: String,
    memory: String,
    asked: String,
}

struct Escape {
    id: String,
    what: String,
    found: String,
    fixed: String,
}

/// Processor, memory, disk and cards, as bars.
pub(super) async fn strip(shared: &Arc<Shared>) -> Vec<Bar> {
    let usage = Arc::clone(&shared.parts.usage);
    // The kernel's files are read for it.
    let read = tokio::task::spawn_blocking(move || {
        (usage.host(), usage.room(), usage.disk(), usage.gpus())
    });
    let Ok((host, room, disk, cards)) = read.await else { return Vec::new() };
    let mut bars = Vec::new();
    if let (Some(busy), Some(all)) = (host.cpu, host.processors) {
        let part = share(busy, all);
        let text = format!("{busy:.1} of {all} cores");
        let bar = words::percent_bar("Processor", part);
        // To be busy is what it is there for.
        let tone = if bar.tone == "bad" { "busy" } else { bar.tone };
        bars.push(Bar { text, tone, ..bar });
    }
    if let (Some(total), Some(free)) = (host.memory_total, host.memory_available) {
        bars.push(words::bytes_bar("Memory", total.saturating_sub(free), total));
    }
    if let Some(room) = room {
        let full = room.full_in.map(|seconds| {
            let time = Duration::from_secs(seconds);
            format!(", full in {}", format_duration(time))
        });
        let soon = room.full_in.is_some_and(|seconds| seconds < 86_400);
        let text = format!("{} free{}", format_bytes(room.free), full.unwrap_or_default());
        let (used, total) = disk.unwrap_or_default();
        let bar = words::bytes_bar("Disk", used, total);
        let tone = match (soon, total) {
            (true, _) => "bad",
            (false, 0) => "none",
            (false, _) => bar.tone,
        };
        bars.push(Bar { text, tone, ..bar });
    }
    let memory = |of: fn(&crate::state::Gpu) -> u64| cards.iter().map(of).sum::<u64>();
    let total = memory(|card| card.memory.total);
    if 0 < total {
        let label = if cards.len() == 1 {
            "GPU memory".to_owned()
        } else {
            format!("Memory of {} GPUs", cards.len())
        };
        bars.push(words::bytes_bar(&label, memory(|card| card.memory.used), total));
    }
    bars
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "it is a percentage"
)]
fn share(busy: f64, all: u64) -> u64 {
    (busy * 100.0 / all.max(1) as f64).clamp(0.0, 100.0).round() as u64
}

/// `GET /ui/host`
pub(in super::super) async fn host(look: Look) -> Response {
    let capacity = usage::capacity(State(look.shared.clone())).await.0;
    let overview = look.shared.parts.record.overview();
    let asked = &capacity["asked"];
    let bytes = |value: &Value| value.as_u64().map(format_bytes);
    let mut facts = Vec::new();
    let mut put = |label, text: Option<String>| facts.extend(text.map(|text| (label, text)));
    put("Berth", Some(look.shared.parts.version.clone()));
    put(
        "Engine",
        overview
            .engine
            .as_ref()
            .map(|about| format!("{} (API {})", about.version, about.api_version)),
    );
    put("Manifests", Some(overview.source.clone()));
    put("Ports for apps", Some(look.shared.parts.compat.ports.to_string()));
    put("Memory", bytes(&capacity["host"]["memoryTotal"]));
    put("Processors", capacity["host"]["processors"].as_u64().map(|n| n.to_string()));
    put("Workspaces", Some(look.shared.parts.workspaces.display().to_string()));
    let mut sums = Vec::new();
    let mut put = |label, text: Option<String>| sums.extend(text.map(|text| (label, text)));
    put("Processor", asked["cpu"].as_f64().map(|cpu| format!("{cpu:.1} cores")));
    put("Memory", bytes(&asked["memory"]));
    put("GPUs", asked["gpus"].as_u64().map(|n| n.to_string()));
    put("Apps without a limit of memory", asked["withoutMemory"].as_u64().map(|n| n.to_string()));
    let rows = |name: &str| capacity[name].as_array().cloned().unwrap_or_default();
    show(&Page {
        shell: look.shell("Host", "host"),
        strip: strip(&look.shared).await,
        facts,
        asked: sums,
        apps: rows("apps").iter().map(app_row).collect(),
        checks: checks(&look),
        fit: fit(&look).await,
        care: super::care::care(&look),
        escapes: rows("knownEscapes").iter().map(escape).collect(),
        read_at: overview.resynced_at.map(|at| words::moment(at, look.now)),
    })
}

fn checks(look: &Look) -> Vec<Check> {
    let overview = look.shared.parts.record.overview();
    let check = |name, problem: Option<String>, well: String, fix| Check {
        name,
        is_well: problem.is_none(),
        evidence: problem.unwrap_or(well),
        fix,
    };
    let looked = overview.resynced_at.map(|at| words::age(at, look.now));
    let mistakes = overview.diagnostics.iter().filter(|one| one.is_error()).count();
    let wrong = match mistakes {
        0 => None,
        1 => Some("a mistake in the manifests".to_owned()),
        _ => Some(format!("{mistakes} mistakes in the manifests")),
    };
    vec![
        check(
            "The engine answers",
            overview.engine_error.clone(),
            format!(
                "everything was looked at {} ago",
                looked.unwrap_or_else(|| "not yet".to_owned())
            ),
            "Look at its service: systemctl status docker",
        ),
        check(
            "The manifests can be read",
            overview.source_error.clone(),
            overview.source.clone(),
            "Look at the folder's owner and mode, or at the repository's login.",
        ),
        check(
            "The manifests are valid",
            wrong,
            "no mistake".to_owned(),
            "They are listed on the first screen.",
        ),
        check(
            "Nothing is held back",
            overview.hold.as_ref().map(crate::state::Hold::message),
            "removals may pass".to_owned(),
            "When it is meant so: berth confirm",
        ),
    ]
}

/// How long the screen waits for the first look at the machine.
const FIRST_LOOK: Duration = Duration::from_millis(700);

async fn fit(look: &Look) -> Fit {
    let Some(looked) = crate::server::host::glance(&look.shared, FIRST_LOOK).await else {
        return Fit::default();
    };
    let groups = Group::ALL.into_iter().map(|group| {
        let reports: Vec<_> =
            looked.reports.iter().filter(|report| report.group == group).collect();
        fit_group(group, &reports)
    });
    Fit {
        looked: Some(words::moment(looked.at, look.now)),
        summary: summary(looked.reports.iter().map(|report| report.outcome)),
        groups: groups.filter(|group| !group.rows.is_empty()).collect(),
    }
}

fn fit_group(group: Group, reports: &[&Report]) -> FitGroup {
    let worst = reports.iter().map(|report| report.outcome).max().unwrap_or(Outcome::Skipped);
    let mut rows: Vec<_> = reports.iter().map(|report| fit_row(report)).collect();
    rows.sort_by_key(|row| match row.tone {
        "bad" => 0,
        "busy" => 1,
        _ => 2,
    });
    FitGroup {
        name: group.name(),
        word: summary(reports.iter().map(|report| report.outcome)),
        tone: fit_words(worst).1,
        is_open: Outcome::Warning <= worst,
        rows,
    }
}

fn fit_row(report: &Report) -> FitRow {
    let (word, tone) = fit_words(report.outcome);
    let Report { name, code, evidence, fix, hint, .. } = report;
    FitRow { name, code, word, tone, evidence: evidence.clone(), fix: fix.clone(), hint }
}

fn fit_words(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Good => ("good", "good"),
        Outcome::Warning => ("warning", "busy"),
        Outcome::Error => ("error", "bad"),
        Outcome::Skipped => ("not looked at", "calm"),
    }
}

/// How many of what, the worst first.
fn summary(outcomes: impl Iterator<Item = Outcome>) -> String {
    let all: Vec<_> = outcomes.collect();
    let count = |wanted: Outcome| all.iter().filter(|outcome| **outcome == wanted).count();
    let several = |outcome, word: &str| match count(outcome) {
        0 => None,
        1 => Some(format!("1 {word}")),
        count => Some(format!("{count} {word}s")),
    };
    let plain = |outcome, word: &str| {
        Some(count(outcome)).filter(|count| 0 < *count).map(|count| format!("{count} {word}"))
    };
    let parts = [
        several(Outcome::Error, "error"),
        several(Outcome::Warning, "warning"),
        plain(Outcome::Good, "good"),
        plain(Outcome::Skipped, "not looked at"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn escape(row: &Value) -> Escape {
    Escape {
        id: text(&row["id"]),
        what: text(&row["what"]),
        found: text(&row["found"]),
        fixed: text(&row["fixed"]),
    }
}

fn app_row(row: &Value) -> AppRow {
    let (used, asked) = (&row["used"], &row["asked"]);
    let bytes = |value: &Value| value.as_u64().map(format_bytes).unwrap_or_default();
    let limits: Vec<_> = [
        asked["cpu"]
            .as_f64()
            .map(|cpu| format!("{cpu} {}", if cpu <= 1.0 { "core" } else { "cores" })),
        asked["memory"].as_u64().map(format_bytes),
        asked["gpus"].as_u64().map(|n| format!("{n} GPU")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let phase = text(&row["phase"]);
    AppRow {
        name: text(&row["name"]),
        tone: match phase.as_str() {
            "Running" => "good",
            "Failed" | "Degraded" => "bad",
            "Installing" => "busy",
            _ => "quiet",
        },
        phase,
        cpu: used["cpu"].as_f64().map(|cpu| format!("{cpu:.2}")).unwrap_or_default(),
        memory: bytes(&used["memory"]),
        asked: limits.join(", "),
    }
}
