//! `berth top NAME`: the last hour of one app, each figure as a line that a terminal can draw.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{of, rounded};
use crate::cli::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
};
use crate::model::{AppName, Timestamp, format_bytes, format_duration};

/// The line of a figure.
const DRAWN: Style = AnsiColor::Cyan.on_default();
/// As many columns as an hour has minutes.
const COLUMNS_MAX: usize = 60;
/// With less room beside its figures a line stands below them.
const COLUMNS_MIN: usize = 12;
/// What stands between two columns.
const GAP: &str = "   ";
/// From the least to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same in letters of ASCII.
const LEVELS_ASCII: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// Where and how it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// How many letters a line may have; none is as many as it has.
    pub(super) width: Option<usize>,
    /// Whether letters beyond ASCII can be read.
    pub(super) has_unicode: bool,
}

/// A figure: what it is called here and in the document, and how it is said.
struct Figure {
    label: &'static str,
    key: &'static str,
    say: fn(f64) -> String,
}

const FIGURES: [Figure; 6] = [
    Figure { label: "CPU", key: "cpu", say: |cores| format!("{cores:.2}") },
    Figure { label: "MEMORY", key: "memory", say: |bytes| format_bytes(rounded(bytes)) },
    Figure { label: "GPU UTIL", key: "gpuUtilization", say: |percent| format!("{percent:.0}%") },
    Figure { label: "VRAM", key: "gpuMemory", say: |bytes| format_bytes(rounded(bytes)) },
    Figure { label: "RECEIVED", key: "networkReceive", say: rate },
    Figure { label: "SENT", key: "networkTransmit", say: rate },
];

/// A figure with its hour.
struct Row {
    label: &'static str,
    now: String,
    peak: String,
    points: Vec<Option<f64>>,
}

/// What is known of an app, oldest first, one point for each step.
struct Hour {
    name: String,
    runs: bool,
    rows: Vec<Row>,
    points: usize,
    step: Duration,
    end: Option<Timestamp>,
}

/// Where what is kept of an app is.
pub(super) fn path(name: &AppName) -> String {
    format!("/api/v1/apps/{name}/usage")
}

/// Shows it once.
pub(super) fn once(all: &Value, format: &Format, output: &mut Output) -> Result<Exit, Error> {
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, all, format)?;
        }
        Format::Name => output.line(&format!("app/{}", plain(text(all, "/metadata/name"))))?,
        Format::Table | Format::Wide => {
            let canvas = Canvas { width: output.columns(), has_unicode: output.has_unicode() };
            let hour = Hour::of(all);
            output.remark(&hour.head(canvas));
            for line in hour.lines(canvas) {
                output.line(&line)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// All of it as lines, for a page that is drawn again and again.
pub(super) fn page(all: &Value, canvas: Canvas, trouble: Option<&str>) -> Vec<String> {
    let hour = Hour::of(all);
    let mut lines = Vec::new();
    lines.extend(trouble.map(|trouble| format!("not of now: {}", plain(trouble))));
    lines.extend([hour.head(canvas), String::new()]);
    lines.extend(hour.lines(canvas));
    lines.extend([String::new(), "q ends".to_owned()]);
    lines
}

impl Hour {
    fn of(all: &Value) -> Self {
        let rows: Vec<_> = FIGURES.iter().filter_map(|figure| row(all, figure)).collect();
        let points = rows.iter().map(|row| row.points.len()).max().unwrap_or_default();
        let step = all.get("step").and_then(Value::as_u64).unwrap_or_default();
        let step = Duration::from_secs(step);
        let from = Timestamp::parse(text(all, "/from"));
        Self {
            name: plain(text(all, "/metadata/name")),
            runs: all.get("now").is_some_and(Value::is_object),
            rows,
            points,
            step,
            end: from.map(|from| from + times(step, points)),
        }
    }

    /// What is shown below, and of which time it is.
    fn head(&self, canvas: Canvas) -> String {
        let name = &self.name;
        if self.rows.is_empty() {
            return format!(
                "nothing is known of what {name} used: it did not run within the last hour, or Berth was started just now"
            );
        }
        let (columns, _) = self.layout(canvas);
        let each = format_duration(times(self.step, self.points.div_ceil(columns)));
        let known = format_duration(times(self.step, self.points));
        let what = format!("each column is {each}, the most of it");
        match self.end.filter(|_| !self.runs) {
            None => format!("{name}, the last {known}: {what}"),
            Some(end) => {
                let end = ago(&end.to_string());
                format!("{name} does not run; its last {known}, until {end} ago: {what}")
            }
        }
    }

    /// A table where there is room for it, else each line below its figures.
    fn lines(&self, canvas: Canvas) -> Vec<String> {
        let (columns, is_below) = self.layout(canvas);
        let (label, now, peak) = self.widths();
        let mut lines = Vec::new();
        if !is_below && !self.rows.is_empty() {
            let (now_word, peak_word) = ("NOW", "PEAK");
            lines.push(format!("{:label$}{GAP}{now_word:now$}{GAP}{peak_word}", ""));
        }
        for Row { label: word, now: said, peak: most, points } in &self.rows {
            let drawn = format!("{DRAWN}{}{DRAWN:#}", draw(points, columns, canvas.has_unicode));
            if is_below {
                lines.extend([format!("{word:label$}{GAP}{said}, at most {most}"), drawn]);
            } else {
                lines.push(format!("{word:label$}{GAP}{said:now$}{GAP}{most:peak$}{GAP}{drawn}"));
            }
        }
        lines
    }

    /// How many columns a line may have at least one of, and whether it stands below its figures.
    fn layout(&self, canvas: Canvas) -> (usize, bool) {
        let (label, now, peak) = self.widths();
        let beside = label + now + peak + 3 * GAP.len();
        let Some(width) = canvas.width else { return (COLUMNS_MAX, false) };
        let left = width.saturating_sub(beside);
        if left < COLUMNS_MIN {
            (width.clamp(1, COLUMNS_MAX), true)
        } else {
            (left.min(COLUMNS_MAX), false)
        }
    }

    fn widths(&self) -> (usize, usize, usize) {
        let widest = |of: fn(&Row) -> &str, least: usize| {
            let cells = self.rows.iter().map(|row| of(row).chars().count());
            cells.fold(least, usize::max)
        };
        (widest(|row| row.label, 0), widest(|row| &row.now, 3), widest(|row| &row.peak, 4))
    }
}

/// A figure of which anything is known.
fn row(all: &Value, figure: &Figure) -> Option<Row> {
    let Figure { label, key, say } = figure;
    let points = list(all, &format!("/series/{key}"));
    let points: Vec<_> = points.iter().map(Value::as_f64).collect();
    let peak = points.iter().flatten().copied().reduce(f64::max)?;
    let at = |part: &str| all.pointer(&format!("/{part}/{key}")).and_then(Value::as_f64);
    let asked = at("asked").map(|asked| match *key {
        "cpu" => asked.to_string(),
        _ => say(asked),
    });
    Some(Row { label, now: of(at("now").map(say), asked), peak: say(peak), points })
}

/// A letter for each column. What nobody knows is a gap.
fn draw(points: &[Option<f64>], columns: usize, has_unicode: bool) -> String {
    let levels = if has_unicode { LEVELS } else { LEVELS_ASCII };
    let columns = columns_of(points, columns);
    let peak = columns.iter().flatten().copied().fold(0.0, f64::max);
    let letter = |most: &Option<f64>| most.map_or(' ', |most| levels[level(most, peak)]);
    columns.iter().map(letter).collect()
}

/// The most of each column's points. The newest column is a whole one.
fn columns_of(points: &[Option<f64>], columns: usize) -> Vec<Option<f64>> {
    let size = points.len().div_ceil(columns.max(1)).max(1);
    let most = |points: &[Option<f64>]| points.iter().flatten().copied().reduce(f64::max);
    let mut columns: Vec<_> = points.rchunks(size).map(most).collect();
    columns.reverse();
    columns
}

/// Which of eight levels a value is on: nothing is the lowest one, and so is next to nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between nothing and seven"
)]
fn level(value: f64, peak: f64) -> usize {
    if peak <= 0.0 {
        return 0;
    }
    (value / peak * 8.0 - 1.0).ceil().clamp(0.0, 7.0) as usize
}

fn rate(bytes: f64) -> String {
    format!("{}/s", format_bytes(rounded(bytes)))
}

fn times(step: Duration, count: usize) -> Duration {
    step.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canvas(width: impl Into<Option<usize>>, has_unicode: bool) -> Canvas {
        Canvas { width: width.into(), has_unicode }
    }

    fn bare(lines: Vec<String>) -> Vec<String> {
        let strip = |line: String| anstream::adapter::strip_str(&line).to_string();
        lines.into_iter().map(strip).collect()
    }

    fn usage(cpu: &[Option<f64>]) -> Value {
        json!({
            "metadata": {"name": "chat"}, "step": 5, "from": "2026-11-22T05:00:00.000Z",
            "asked": {"cpu": 1.5}, "now": {"cpu": 0.5}, "series": {"cpu": cpu},
        })
    }

    #[test]
    fn the_most_of_each_column_is_drawn_and_gaps_stay() {
        let points: Vec<_> = (1..=8).map(|level| Some(f64::from(level))).collect();
        assert_eq!(draw(&points, 8, true), "▁▂▃▄▅▆▇█");
        assert_eq!(draw(&points, 8, false), ".:-=+*#@");
        assert_eq!(draw(&points, 4, true), "▂▄▆█");
        // The newest column is whole, the oldest is what is left.
        assert_eq!(draw(&points, 3, true), "▂▅█");
        assert_eq!(draw(&[Some(0.0), None, Some(0.0)], 60, true), "▁ ▁");
        assert_eq!(draw(&[Some(0.001), Some(100.0)], 60, true), "▁█");
        assert_eq!(draw(&[], 60, true), "");
        assert_eq!(draw(&points, 0, true), "█", "a terminal of no columns");
    }

    #[test]
    fn every_width_holds_what_it_is_given() {
        let points: Vec<_> = (0..720).map(|at| Some(f64::from(at % 7))).collect();
        let hour = Hour::of(&usage(&points));
        for width in 1..200 {
            let lines = bare(hour.lines(canvas(width, true)));
            let drawn = lines.last().unwrap();
            assert!(drawn.chars().count() <= width.max(1), "{width}: {drawn}");
            assert_eq!(lines.len(), 2);
        }
        let head = hour.head(canvas(None, true));
        assert_eq!(head, "chat, the last 1h: each column is 1m, the most of it");
        assert!(hour.head(canvas(30, true)).contains("each column is 2m"), "half as many");
    }

    #[test]
    fn what_does_not_run_any_more_says_so() {
        let mut ended = usage(&[Some(1.0), None]);
        ended["now"] = Value::Null;
        let hour = Hour::of(&ended);
        let head = hour.head(canvas(None, true));
        assert!(head.starts_with("chat does not run; its last 10s, until "), "{head}");
        assert!(bare(hour.lines(canvas(None, true)))[1].starts_with("CPU   -/1.5   1.00   █"));
        let nothing = json!({"metadata": {"name": "chat"}, "step": 5, "series": {}, "now": null});
        let hour = Hour::of(&nothing);
        assert!(hour.head(canvas(20, true)).starts_with("nothing is known of what chat used"));
        assert!(hour.lines(canvas(20, true)).is_empty());
    }

    #[test]
    fn a_page_says_that_it_is_old_and_steers_no_terminal() {
        let mut named = usage(&[Some(1.0)]);
        named["metadata"]["name"] = json!("x\u{1b}[2J");
        let lines = page(&named, canvas(80, false), Some("no Berth answers"));
        assert_eq!(lines[0], "not of now: no Berth answers");
        assert!(lines[1].starts_with("x\\u{1b}[2J, the last 5s"), "{}", lines[1]);
        assert_eq!(lines.last().unwrap(), "q ends");
    }
}
