//! What an app used in the last hour, as charts, each with its figures as a table.

use askama::Template;
use axum::response::Response;

use super::{
    Look, Shell,
    app::{self, Head},
    chart::{self, Chart},
    show,
};
use crate::model::format_bytes;
use crate::server::request::Named;
use crate::usage::{AppUsage, HISTORY_STEP};

#[derive(Template)]
#[template(path = "metrics.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    head: Head,
    charts: Vec<Chart>,
}

type Line = (&'static str, fn(&AppUsage) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

/// `GET /ui/apps/{name}/metrics`
pub(in super::super) async fn metrics(look: Look, Named(name): Named) -> Response {
    let entry = match app::entry(&look, &name) {
        Ok(entry) => entry,
        Err(problem) => return look.problem(&problem),
    };
    let series = look.shared.parts.usage.series(&name);
    let (from, points) =
        series.map_or((look.now, Vec::new()), |series| (series.from, series.points));
    let resources = entry.app.as_ref().map(|app| app.spec.resources.clone()).unwrap_or_default();
    let cores = |value: f64| match value {
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    let cpu: [Line; 1] = [("Processor", |used| used.cpu)];
    let memory: [Line; 1] = [("Memory", |used| float(used.memory))];
    let network: [Line; 2] =
        [("In", |used| used.network_receive), ("Out", |used| used.network_transmit)];
    let vram: [Line; 1] = [("GPU memory", |used| float(used.gpu_memory))];
    let busy: [Line; 1] = [("GPU", |used| used.gpu_utilization)];
    let draw = |title: &str,
                unit: &'static str,
                lines: &[Line],
                limit: Option<f64>,
                say: fn(f64) -> String| {
        let lines =
            lines.iter().map(|(label, of)| (*label, points.iter().map(of).collect::<Vec<_>>()));
        chart::draw(title, unit, lines.collect(), limit, (from, HISTORY_STEP), say)
    };
    let limit = resources.cpu_millis.map(|millis| float(Some(millis)).unwrap_or(0.0) / 1000.0);
    let charts = [
        draw("Processor", "cores", &cpu, limit, cores),
        draw("Memory", "bytes", &memory, float(resources.memory_bytes), size),
        draw("Network", "bytes a second", &network, None, app::rate),
        draw("GPU memory", "bytes", &vram, None, size),
        draw("GPU at work", "percent", &busy, Some(100.0), |part| format!("{part:.0}%")),
    ];
    show(&Page {
        shell: look.shell(format!("{name}: metrics"), "apps"),
        head: app::head(&look, &entry, "metrics"),
        charts: charts.into_iter().flatten().collect(),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nothing is so large")]
fn size(bytes: f64) -> String {
    format_bytes(bytes.max(0.0).round() as u64)
}
