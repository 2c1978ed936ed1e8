//! The figures as a table, and which targets they miss.

use std::{fmt::Write as _, path::Path, time::Duration};

use crate::bed::Bed;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// What was measured, in the unit of its row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    pub(crate) fn add_ms(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn add_plain(&mut self, count: usize) {
        self.0.push(f64::from(u32::try_from(count).unwrap()));
    }

    fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// Median, least, most and how many.
    fn text(&self, unit: &str) -> String {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!(
            "**{}** {unit} ({}–{}, n={})",
            shown(self.median()),
            shown(least),
            shown(most),
            self.0.len()
        )
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => all[middle],
        _ => f64::midpoint(all[middle - 1], all[middle]),
    }
}

/// Three digits that count, no more.
fn shown(figure: f64) -> String {
    match figure.abs() {
        size if size < 10.0 && figure.fract() != 0.0 => format!("{figure:.2}"),
        size if size < 100.0 && figure.fract() != 0.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At most so many times the raw client's.
    Ratio(f64),
    /// Less than this.
    Below(f64),
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// It is only of interest.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    title: String,
    unit: &'static str,
    target: Target,
    sides: Vec<(String, Samples)>,
}

impl Row {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, target: Target) -> Self {
        Self { title: title.into(), unit, target, sides: Vec::new() }
    }

    pub(crate) fn with(mut self, side: &str, samples: Samples) -> Self {
        self.sides.push((side.to_owned(), samples));
        self
    }

    fn side(&self, name: &str) -> Option<&Samples> {
        self.sides.iter().find(|(side, _)| side == name).map(|(_, samples)| samples)
    }

    /// The median of the rounds' own ratios: each compares what was measured side by side.
    fn ratio(&self) -> Option<f64> {
        let (berth, raw) = (self.side("Berth")?, self.side("raw")?);
        Some(median(berth.0.iter().zip(&raw.0).map(|(ours, theirs)| ours / theirs).collect()))
    }

    fn verdict(&self) -> (String, bool) {
        let ours = self.side("Berth").map_or(f64::NAN, Samples::median);
        match self.target {
            Target::Ratio(limit) => {
                let is_met = self.ratio().is_some_and(|ratio| ratio <= limit);
                (format!("≤ {limit} × raw"), is_met)
            }
            Target::Below(limit) => (format!("< {limit} {}", self.unit), ours < limit),
            Target::AtMost(limit) => (format!("≤ {limit} {}", self.unit), ours <= limit),
            Target::AtLeast(limit) => (format!("≥ {limit} {}", self.unit), limit <= ours),
            Target::None => (String::new(), true),
        }
    }
}

/// All rows.
pub(crate) struct Report {
    engine: String,
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Report {
    pub(crate) fn new(bed: &Bed) -> Self {
        Self { engine: bed.engine.clone(), rows: Vec::new(), failed: Vec::new() }
    }

    pub(crate) fn take(&mut self, rows: Vec<Row>) {
        for row in &rows {
            let ratio = row.ratio().map(|ratio| format!(", ratio {ratio:.3}")).unwrap_or_default();
            let sides = row.sides.iter().map(|(side, s)| format!("{side} {}", s.text(row.unit)));
            crate::say(&format!("{}: {}{ratio}", row.title, sides.collect::<Vec<_>>().join(", ")));
        }
        self.rows.extend(rows);
    }

    pub(crate) fn fail(&mut self, job: &str) {
        self.failed.push(format!("{job}: the job broke off"));
    }

    /// The targets that were missed.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| !row.verdict().1).map(|row| {
            let ours = row.side("Berth").map(|s| s.text(row.unit)).unwrap_or_default();
            let ratio = row.ratio().map(|ratio| format!(" ({ratio:.2} × raw)")).unwrap_or_default();
            format!("{}: {ours}{ratio}, target {}", row.title, row.verdict().0)
        });
        missed.chain(self.failed.iter().cloned()).collect()
    }

    /// The table, with when and where it was measured.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.conditions());
        let mut peers: Vec<&str> = Vec::new();
        for (side, _) in self.rows.iter().flat_map(|row| &row.sides) {
            if !["Berth", "raw"].contains(&side.as_str()) && !peers.contains(&side.as_str()) {
                peers.push(side);
            }
        }
        let columns = ["what", "Berth", "raw", "Berth / raw", "target"];
        let columns: Vec<_> = columns.into_iter().chain(peers.iter().copied()).collect();
        let _ = writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        for row in &self.rows {
            let (target, is_met) = row.verdict();
            let side = |name: &str| row.side(name).map(|s| s.text(row.unit)).unwrap_or_default();
            let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let target = if is_met { target } else { format!("{target}: **missed**") };
            let mut cells = vec![row.title.clone(), side("Berth"), side("raw"), ratio, target];
            cells.extend(peers.iter().map(|peer| side(peer)));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }

    fn conditions(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (cpus, memory, load) =
            (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
        let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
        let gib = kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0 / 1024.0;
        format!(
            "{}, {cores} cores, {gib:.0} GiB, Linux {}, Docker Engine {}, load afterwards {}.",
            jiff::Zoned::now().date(),
            read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or("?").trim(),
            self.engine,
            load.split_whitespace().next().unwrap_or("?"),
        )
    }

    /// Puts the table where the documentation has it.
    pub(crate) fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (Some((head, rest)), true) = (page.split_once(BEGIN), page.contains(END)) else {
            return crate::say("docs/performance.md has no place for the table");
        };
        let tail = rest.split_once(END).map_or("", |(_, tail)| tail);
        std::fs::write(&path, format!("{head}{BEGIN}\n{}{END}{tail}", self.text())).unwrap();
    }
}
