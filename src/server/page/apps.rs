//! The first screen: all apps, problems first, and what else runs on the host.

use std::{collections::BTreeSet, sync::Arc};

use askama::Template;
use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{
    Look, Shell, containers,
    containers::ForeignRow,
    grouping::{self, Grouping},
    host, show,
    words::{self, Bar, Moment},
};
use crate::manifest::Diagnostic;
use crate::record::Entry;
use crate::server::{reading::severity, request::wants, routes::routes};

/// How many apps a page of the list has at most.
const ROWS_MAX: usize = 1000;
/// How many the first one has, so that it is seen at once: scripts ask for the others then, and who
/// has none follows the link to them.
const ROWS_FIRST: usize = 100;

/// The filters, each with what it is called.
const GROUPS: [(&str, &str); 5] = [
    ("", "All"),
    ("problems", "Need somebody"),
    ("moving", "On their way"),
    ("running", "Running"),
    ("stopped", "Stopped"),
];

#[derive(Template)]
#[template(path = "apps.html", config = "src/server/templates/askama.toml")]
struct Apps {
    shell: Shell,
    headline: String,
    filters: Vec<Filter>,
    groupings: Vec<Filter>,
    /// What they are grouped by, as the address says it.
    group: String,
    search: String,
    show: String,
    /// Whether only rows that were asked for by name are here.
    is_part: bool,
    /// Whether scripts are to ask for the rows that are left out.
    is_first: bool,
    is_empty: bool,
    manifests: String,
    rows: Vec<Row>,
    left_out: usize,
    next: Option<String>,
    strip: Vec<Bar>,
    diagnostics: Vec<DiagnosticRow>,
    foreign: Vec<ForeignRow>,
    source: String,
    source_age: Option<Moment>,
    engine: String,
    looked: Option<Moment>,
}

struct Filter {
    label: String,
    count: usize,
    href: String,
    is_on: bool,
}

struct Row {
    /// The group that begins with it.
    heading: Option<Heading>,
    name: String,
    /// Where it stands in the list.
    order: String,
    origin: Option<String>,
    tone: &'static str,
    phase: String,
    reason: String,
    message: String,
    url: Option<String>,
    revision: String,
    behind: Option<String>,
    is_behind: bool,
    since: Moment,
    bars: Vec<Bar>,
}

/// A group of apps.
struct Heading {
    title: String,
    order: String,
    count: usize,
}

struct DiagnosticRow {
    severity: &'static str,
    summary: String,
    help: Option<String>,
}

/// `GET /`: the page for a browser, else what there is.
pub(in super::super) async fn root(look: Look) -> Response {
    if wants(&look.headers, "text/html") {
        return apps(&look).await;
    }
    // The page's own screens are no interface.
    let programs = routes().filter(|(_, path, _)| !path.starts_with("/ui/"));
    let endpoints: Vec<_> = programs.map(|(method, path, _)| format!("{method} {path}")).collect();
    Json(json!({
        "message": "Berth is running",
        "service": "berth",
        "version": look.shared.parts.version,
        "endpoints": endpoints,
    }))
    .into_response()
}

/// What is asked for of the list.
struct Asked {
    search: String,
    /// The filter.
    show: &'static str,
    grouping: Grouping,
}

impl Asked {
    fn of(look: &Look) -> Self {
        let wanted = look.asked("show").unwrap_or_default();
        let known = GROUPS.iter().find(|(group, _)| *group == wanted);
        Self {
            search: look.asked("q").unwrap_or_default(),
            show: known.map_or("", |(group, _)| *group),
            grouping: Grouping::parse(&look.asked("group").unwrap_or_default()),
        }
    }

    /// Groups first, in them problems first, then by name. As a text, so that a browser can keep the
    /// order too.
    fn order(&self, entry: &Entry) -> String {
        format!("{}{}{}", self.grouping.prefix(entry), words::urgency(entry), entry.name)
    }

    /// The address of the same with another filter, or grouped otherwise.
    fn address(&self, show: &str, grouping: &Grouping) -> String {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let mut address = format!("/?show={show}");
        for (name, value) in [("q", &self.search), ("group", &grouping.word())] {
            if !value.is_empty() {
                address.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        address
    }

    fn filters(&self, found: &[&Arc<Entry>]) -> Vec<Filter> {
        let filter = |(group, label): &(&str, &str)| Filter {
            label: (*label).to_owned(),
            count: found.iter().filter(|entry| is_in(entry, group)).count(),
            href: self.address(group, &self.grouping),
            is_on: *group == self.show,
        };
        GROUPS.iter().map(filter).collect()
    }

    fn groupings(&self, entries: &[Arc<Entry>]) -> Vec<Filter> {
        let offered = grouping::offered(entries.iter().map(AsRef::as_ref)).into_iter();
        let filter = |(grouping, label): (Grouping, String)| Filter {
            label,
            count: 0,
            href: self.address(self.show, &grouping),
            is_on: grouping == self.grouping,
        };
        offered.map(filter).collect()
    }

    /// The rows, each with the group that begins with it.
    fn rows(&self, look: &Look, shown: &[&Arc<Entry>], picked: &[&Arc<Entry>]) -> Vec<Row> {
        let mut last = None;
        let rows = picked.iter().map(|entry| {
            let group = self.grouping.of(entry);
            let heading = group.clone().filter(|_| group != last).map(|title| Heading {
                order: self.grouping.prefix(entry),
                count: shown
                    .iter()
                    .filter(|other| self.grouping.of(other).as_ref() == Some(&title))
                    .count(),
                title,
            });
            last = group;
            Row { heading, ..row(look, entry, self.order(entry)) }
        });
        rows.collect()
    }
}

async fn apps(look: &Look) -> Response {
    let parts = &look.shared.parts;
    let asked = Asked::of(look);
    let mut entries = parts.record.entries();
    entries.sort_by_cached_key(|entry| asked.order(entry));
    let overview = parts.record.overview();
    let running = entries.iter().filter(|entry| words::group(entry) == "running").count();
    let headline = format!("{running} of {} running", entries.len());
    let found: Vec<_> = entries.iter().filter(|entry| matches(entry, &asked.search)).collect();
    let filters = asked.filters(&found);
    let shown: Vec<_> = found.into_iter().filter(|entry| is_in(entry, asked.show)).collect();
    let only = look.asked("only");
    let names: Option<BTreeSet<&str>> = only.as_deref().map(|names| names.split(',').collect());
    let after = look.asked("after").unwrap_or_default();
    let picked = shown.iter().copied().filter(|entry| match &names {
        Some(names) => names.contains(entry.name.as_str()),
        None => after.is_empty() || after < asked.order(entry),
    });
    let is_first = names.is_none() && after.is_empty() && look.asked("all").is_none();
    let picked: Vec<_> = picked.take(if is_first { ROWS_FIRST } else { ROWS_MAX }).collect();
    let last = picked.last().map(|entry| asked.order(entry)).unwrap_or_default();
    let is_left = |entry: &&&Arc<Entry>| names.is_none() && last < asked.order(entry);
    let rest = shown.iter().filter(is_left).count();
    let left_out = if picked.is_empty() { 0 } else { rest };
    let address = asked.address(asked.show, &asked.grouping);
    let encoded = percent_encoding::utf8_percent_encode(&last, percent_encoding::NON_ALPHANUMERIC);
    show(&Apps {
        shell: look.shell("Apps", "apps"),
        headline,
        filters,
        groupings: asked.groupings(&entries),
        next: (0 < left_out).then(|| format!("{address}&after={encoded}")),
        left_out,
        rows: asked.rows(look, &shown, &picked),
        group: asked.grouping.word(),
        search: asked.search,
        show: asked.show.to_owned(),
        is_part: names.is_some(),
        is_first: is_first && 0 < left_out,
        is_empty: entries.is_empty(),
        manifests: parts.manifests.display().to_string(),
        strip: host::strip(&look.shared).await,
        diagnostics: overview.diagnostics.iter().map(diagnostic_row).collect(),
        foreign: containers::foreign(look),
        source_age: overview.source_read_at.map(|at| words::moment(at, look.now)),
        looked: overview.resynced_at.map(|at| words::moment(at, look.now)),
        engine: match &overview.engine {
            Some(about) => format!("{} (API {})", about.version, about.api_version),
            None => "has not answered yet".to_owned(),
        },
        source: overview.source,
    })
}

fn is_in(entry: &Entry, group: &str) -> bool {
    group.is_empty() || words::group(entry) == group
}

/// Whether every word that is searched for is in what is shown of an app.
fn matches(entry: &Entry, search: &str) -> bool {
    let status = &entry.status;
    let labels = entry.app.as_ref().map(|app| {
        let labels = app.labels.iter().map(|(name, value)| format!("{name}={value}"));
        labels.collect::<Vec<_>>().join(" ")
    });
    let text = format!(
        "{} {} {} {} {} {}",
        entry.name,
        status.phase,
        status.reason,
        status.message,
        status.image.as_deref().unwrap_or_default(),
        labels.unwrap_or_default()
    );
    let text = text.to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn row(look: &Look, entry: &Arc<Entry>, order: String) -> Row {
    let status = &entry.status;
    let origin = entry.app.as_ref().map(|app| &app.origin);
    Row {
        heading: None,
        name: entry.name.to_string(),
        order,
        origin: origin.map(|origin| format!("{}:{}", origin.file, origin.line)),
        tone: words::tone(status.phase),
        phase: status.phase.to_string(),
        reason: status.reason.to_string(),
        message: status.message.clone(),
        url: words::link(status.url.as_ref()),
        revision: words::revision(entry),
        behind: words::behind(entry),
        is_behind: words::is_behind(entry),
        since: words::moment(status.since, look.now),
        bars: bars(look, entry),
    }
}

/// What an app uses, as far as there is something to hold it against.
pub(super) fn bars(look: &Look, entry: &Entry) -> Vec<Bar> {
    let Some(used) = look.shared.parts.usage.now(&entry.name) else { return Vec::new() };
    let spec = entry.app.as_ref().map(|app| &app.spec);
    let asked = spec.and_then(|spec| spec.resources.memory_bytes);
    let vram = spec
        .and_then(|spec| spec.gpus.as_ref())
        .and_then(|gpus| Some(gpus.memory_bytes?.saturating_mul(u64::from(gpus.count))));
    let cards = look.shared.parts.usage.gpus();
    let whole = || -> Option<u64> {
        let own = cards.iter().filter(|card| entry.status.gpus.contains(&card.uuid));
        let total: u64 = own.map(|card| card.memory.total).sum();
        (0 < total).then_some(total)
    };
    let bar = |label: &str, used: u64, of: Option<u64>| match of {
        Some(of) => words::bytes_bar(label, used, of),
        None => Bar {
            label: label.to_owned(),
            text: crate::model::format_bytes(used),
            ..Bar::default()
        },
    };
    let memory = used.memory.map(|used| bar("Memory", used, asked));
    let vram = used.gpu_memory.map(|used| bar("VRAM", used, vram.or_else(whole)));
    let busy = used.gpu_utilization.map(|part| {
        // To be busy is what it is there for.
        Bar { tone: "plain", ..words::percent_bar("GPU", whole_percent(part)) }
    });
    [memory, vram, busy].into_iter().flatten().collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a percentage")]
fn whole_percent(part: f64) -> u64 {
    part.clamp(0.0, 100.0).round() as u64
}

fn diagnostic_row(diagnostic: &Diagnostic) -> DiagnosticRow {
    DiagnosticRow {
        severity: severity(diagnostic),
        summary: diagnostic.summary(),
        help: diagnostic.help.clone(),
    }
}
