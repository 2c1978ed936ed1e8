//! Charts: lines over time as SVG, made here, with their figures as a table.

use std::time::Duration;

use crate::model::Timestamp;

/// The drawing's own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// How many rows the table has at most: the same time is summed up in each.
const ROWS: usize = 12;
/// An app that does nothing must not look busy: the scale of cores reaches at least that high.
const CORES_LEAST: f64 = 0.1;

/// A chart.
pub(super) struct Chart {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) unit: &'static str,
    /// What it comes to, in a sentence.
    pub(super) sentence: String,
    pub(super) lines: Vec<Drawn>,
    /// The height of the limit, with what it is.
    pub(super) limit: Option<(f64, String)>,
    pub(super) top: String,
    pub(super) half: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) table: Vec<(String, Vec<String>)>,
}

/// A line of a chart.
pub(super) struct Drawn {
    pub(super) label: &'static str,
    pub(super) path: String,
    pub(super) area: String,
    pub(super) now: String,
    /// All values as texts, for whoever points at one.
    pub(super) values: String,
}

type Values = Vec<Option<f64>>;

/// Draws lines; none when nothing was ever known.
pub(super) fn draw(
    title: &str,
    unit: &'static str,
    lines: Vec<(&'static str, Values)>,
    limit: Option<f64>,
    (from, step): (Timestamp, Duration),
    say: fn(f64) -> String,
) -> Option<Chart> {
    let lines: Vec<_> =
        lines.into_iter().filter(|(_, all)| all.iter().any(Option::is_some)).collect();
    let count = lines.iter().map(|(_, all)| all.len()).max().filter(|count| 1 < *count)?;
    let most = lines.iter().flat_map(|(_, all)| all.iter().flatten()).copied().fold(0.0, f64::max);
    // A limit that is far away would press the line flat.
    let near = limit.filter(|limit| *limit <= most * 4.0);
    let least = if unit == "cores" { CORES_LEAST } else { 0.0 };
    let top = nice(most.max(near.unwrap_or(0.0)).max(least));
    let at = |number: usize| from + step * u32::try_from(number).unwrap_or(0);
    let drawn = lines.iter().map(|(label, all)| line(label, all, top, say));
    let last = |all: &Values| all.iter().rev().flatten().next().copied();
    let sentence = lines.iter().map(|(label, all)| {
        let known: Vec<_> = all.iter().flatten().copied().collect();
        let peak = known.iter().copied().fold(0.0, f64::max);
        let now = last(all).map(say).unwrap_or_default();
        format!("{label}: {now} now, {} at most", say(peak))
    });
    Some(Chart {
        id: title.to_lowercase().replace(' ', "-"),
        title: title.to_owned(),
        unit,
        sentence: sentence.collect::<Vec<_>>().join("; "),
        lines: drawn.collect(),
        limit: near.map(|limit| (height(limit, top), format!("limit {}", say(limit)))),
        top: say(top),
        half: say(top / 2.0),
        from: clock(at(0)),
        to: clock(at(count - 1)),
        table: table(&lines, count, &|number| clock(at(number)), say),
    })
}

/// Hour, minute and second of the day.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// A round number at or above.
fn nice(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let size = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0];
    steps.into_iter().map(|step| step * size).find(|top| most <= *top).unwrap_or(most)
}

fn height(value: f64, top: f64) -> f64 {
    (HEIGHT - value / top * HEIGHT).clamp(0.0, HEIGHT)
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn line(label: &'static str, all: &Values, top: f64, say: fn(f64) -> String) -> Drawn {
    let wide = WIDTH / (all.len().max(2) - 1) as f64;
    let (mut path, mut area, mut begun) = (String::new(), String::new(), None);
    let mut x = 0.0;
    for (number, value) in all.iter().enumerate() {
        x = number as f64 * wide;
        let Some(value) = value else {
            close(&mut area, &mut begun, x - wide);
            continue;
        };
        let y = height(*value, top);
        if begun.is_none() {
            begun = Some(x);
            path += &format!("M{x:.1} {y:.1}");
            area += &format!("M{x:.1} {HEIGHT}L{x:.1} {y:.1}");
        } else {
            path += &format!("L{x:.1} {y:.1}");
            area += &format!("L{x:.1} {y:.1}");
        }
    }
    close(&mut area, &mut begun, x);
    let values: Vec<_> = all.iter().map(|value| value.map(say).unwrap_or_default()).collect();
    let now = all.iter().rev().flatten().next().map(|value| say(*value)).unwrap_or_default();
    Drawn { label, path, area, now, values: values.join("|") }
}

/// Ends an area that was begun.
fn close(area: &mut String, begun: &mut Option<f64>, x: f64) {
    if begun.take().is_some() {
        *area += &format!("L{x:.1} {HEIGHT}Z");
    }
}

/// The means of as many times as fit, newest first.
#[expect(clippy::cast_precision_loss, reason = "there are some hundred points")]
fn table(
    lines: &[(&'static str, Values)],
    count: usize,
    clock: &dyn Fn(usize) -> String,
    say: fn(f64) -> String,
) -> Vec<(String, Vec<String>)> {
    let size = count.div_ceil(ROWS).max(1);
    let starts: Vec<_> = (0..count).step_by(size).collect();
    let row = |from: &usize| {
        let to = (from + size).min(count);
        let means = lines.iter().map(|(_, all)| {
            let known: Vec<_> =
                all.get(*from..to).unwrap_or_default().iter().flatten().copied().collect();
            if known.is_empty() {
                return "–".to_owned();
            }
            say(known.iter().sum::<f64>() / known.len() as f64)
        });
        (clock(to - 1), means.collect())
    };
    starts.iter().rev().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[Option<f64>], limit: Option<f64>) -> Option<Chart> {
        let lines = vec![("Processor", values.to_vec())];
        let when = (Timestamp::from_millis(0), Duration::from_secs(5));
        draw("Processor", "cores", lines, limit, when, |value| format!("{value:.1}"))
    }

    #[test]
    fn what_nobody_knows_is_a_gap_and_nothing_is_no_chart() {
        assert!(of(&[], None).is_none() && of(&[None, None], None).is_none());
        let chart = of(&[Some(1.0), None, Some(2.0), Some(4.0)], Some(100.0)).unwrap();
        assert_eq!(chart.lines[0].path.matches('M').count(), 2);
        assert_eq!(chart.lines[0].area.matches('Z').count(), 2);
        assert_eq!(chart.limit, None, "a limit far away is not drawn");
        assert_eq!((chart.top.as_str(), chart.table.len()), ("4.0", 4));
        assert_eq!(chart.table[0], ("00:00:15".to_owned(), vec!["4.0".to_owned()]));
        assert!(chart.sentence.contains("4.0 now, 4.0 at most"), "{}", chart.sentence);
    }

    #[test]
    fn the_scale_is_round_and_holds_all() {
        for most in [0.0, 0.013, 1.0, 1.2, 9.9, 1_234_567.0] {
            assert!(most <= nice(most) && nice(most) <= (most * 2.1).max(1.0), "{most}");
        }
    }
}
