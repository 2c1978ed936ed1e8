//! `berth top`: what each app uses now, and what the machine has, or the last hour of one app; again
//! and again on a terminal.

mod app;

use std::{cmp::Ordering, io::IsTerminal as _, time::Duration};

use clap::ValueEnum;
use serde_json::Value;

use super::{
    document::{self, Format, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    screen::{self, Event, Screen},
    server::{Server, app_name},
    table,
};
use crate::model::{AppName, format_bytes, format_duration, parse_duration};
use app::Canvas;

/// What it asks for.
const PATH: &str = "/api/v1/capacity";
/// The least pause between two looks: who asks within a second is told the same.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app whose last hour is shown [default: all, as they are now].
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: Option<AppName>,
    /// What comes first; on the terminal the letters c, m, g, v and n change it.
    #[arg(long, value_name = "BY", default_value = "cpu", conflicts_with = "name")]
    sort: Sort,
    /// Show it once, also on a terminal.
    #[arg(long)]
    once: bool,
    /// The time between two looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    every: Duration,
    /// How the answer is written; all but the tables are written once.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// What comes first: the largest, or names from A to Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// Use of GPUs.
    Gpu,
    /// Memory of GPUs.
    Vram,
    /// Names.
    Name,
}

impl Sort {
    fn of_key(key: u8) -> Option<Self> {
        Some(match key {
            b'c' => Self::Cpu,
            b'm' => Self::Memory,
            b'g' => Self::Gpu,
            b'v' => Self::Vram,
            b'n' => Self::Name,
            _ => return None,
        })
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::Cpu => "/used/cpu",
            Self::Memory => "/used/memory",
            Self::Gpu => "/used/gpuUtilization",
            Self::Vram => "/used/gpuMemory",
            Self::Name => "",
        }
    }

    /// What is not known comes last; equals are in the order of their names.
    fn compare(self, a: &Value, b: &Value) -> Ordering {
        let figure = |app: &Value| match self {
            Self::Name => 0.0,
            _ => app.pointer(self.pointer()).and_then(Value::as_f64).unwrap_or(-1.0),
        };
        let names = || text(a, "/name").cmp(text(b, "/name"));
        figure(b).total_cmp(&figure(a)).then_with(names)
    }
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let path = args.name.as_ref().map_or_else(|| PATH.to_owned(), app::path);
    let all = server.get(&path).await?;
    let is_table = matches!(args.output, Format::Table | Format::Wide);
    let has_terminal = output.is_terminal() && std::io::stdin().is_terminal();
    if is_table && has_terminal && !args.once {
        return live(args, (&path, all), server, output).await;
    }
    if args.name.is_some() {
        return app::once(&all, &args.output, output);
    }
    match &args.output {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &all, &args.output)?;
        }
        Format::Name => {
            for app in sorted(&all, args.sort) {
                output.line(&format!("app/{}", text(app, "/name")))?;
            }
        }
        Format::Table | Format::Wide => {
            for line in machine(&all) {
                output.remark(&plain(&line));
            }
            for line in apps(&all, args.sort, args.output == Format::Wide) {
                output.line(&line)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Shows it again and again, until a key or a signal ends it.
async fn live(
    args: &Args,
    (path, mut all): (&str, Value),
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let mut screen = Screen::open(output.has_colour())?;
    let (mut sort, mut trouble) = (args.sort, None);
    let pause = args.every.max(PAUSE_MIN);
    let look = || async {
        tokio::time::sleep(pause).await;
        server.get(path).await
    };
    let mut next = Box::pin(look());
    loop {
        let shown = if args.name.is_some() {
            let canvas = Canvas { width: Some(screen::width()), has_unicode: output.has_unicode() };
            app::page(&all, canvas, trouble.as_deref())
        } else {
            page(&all, sort, args.output == Format::Wide, trouble.as_deref())
        };
        screen.show(&shown)?;
        tokio::select! {
            event = screen.event() => match event {
                Event::End => return Ok(Exit::Done),
                Event::Key(key) => sort = Sort::of_key(key).unwrap_or(sort),
                Event::Resized => {}
            },
            answer = &mut next => {
                match answer {
                    Ok(fresh) => (all, trouble) = (fresh, None),
                    Err(error) => trouble = Some(error.what().to_owned()),
                }
                next = Box::pin(look());
            }
        }
    }
}

/// Everything as lines: what is the matter, the machine, the apps.
fn page(all: &Value, sort: Sort, is_wide: bool, trouble: Option<&str>) -> Vec<String> {
    let mut lines: Vec<_> = machine(all).iter().map(|line| plain(line)).collect();
    if let Some(trouble) = trouble {
        lines.insert(0, format!("not of now: {}", plain(trouble)));
    }
    lines.push(String::new());
    lines.extend(apps(all, sort, is_wide));
    lines.push(String::new());
    lines.push("q ends; sort by c(pu) m(emory) g(pu) v(ram) n(ame)".to_owned());
    lines
}

/// What the machine has, and how much of it is used.
fn machine(all: &Value) -> Vec<String> {
    let float = |pointer: &str| all.pointer(pointer).and_then(Value::as_f64);
    let whole = |pointer: &str| all.pointer(pointer).and_then(Value::as_u64);
    let mut parts = Vec::new();
    if let Some(count) = whole("/host/processors") {
        let busy = float("/host/cpu").map_or_else(unknown, |cpu| format!("{cpu:.2}"));
        parts.push(format!("{busy} of {count} processors"));
    }
    if let Some(total) = whole("/host/memoryTotal") {
        let used = whole("/host/memoryAvailable").map(|free| total.saturating_sub(free));
        let used = used.map_or_else(unknown, format_bytes);
        parts.push(format!("{used} of {} memory", format_bytes(total)));
    }
    if let Some(free) = whole("/disk/free") {
        let full = whole("/disk/fullIn")
            .map(|seconds| format!(", full in {}", format_duration(Duration::from_secs(seconds))));
        parts.push(format!("{} of the disk free{}", format_bytes(free), full.unwrap_or_default()));
    }
    let mut lines = Vec::new();
    if !parts.is_empty() {
        lines.push(parts.join("; "));
    }
    lines.extend(list(all, "/gpus").iter().map(card));
    lines
}

fn card(gpu: &Value) -> String {
    let whole = |pointer: &str| gpu.pointer(pointer).and_then(Value::as_u64);
    let index = whole("/index").map_or_else(unknown, |index| index.to_string());
    let busy = whole("/utilization").map_or_else(unknown, |percent| format!("{percent}%"));
    let total = whole("/memory/total").filter(|total| *total != 0);
    let memory = total.map(|total| {
        let used = whole("/memory/used").map_or_else(unknown, format_bytes);
        format!(", {used} of {}", format_bytes(total))
    });
    let asked = whole("/memory/asked").filter(|asked| *asked != 0);
    let asked = asked.map(|asked| format!(", {} asked for", format_bytes(asked)));
    let held = match (gpu.get("isAlone").and_then(Value::as_bool), whole("/shares")) {
        (Some(true), _) => " by one alone".to_owned(),
        (_, Some(count @ 2..)) => format!(" by {count}"),
        _ => String::new(),
    };
    let asked = asked.map(|asked| asked + &held).unwrap_or_default();
    format!("GPU {index} ({}): {busy}{}{asked}", text(gpu, "/name"), memory.unwrap_or_default())
}

fn sorted(all: &Value, sort: Sort) -> Vec<&Value> {
    let mut apps: Vec<_> = list(all, "/apps").iter().collect();
    apps.sort_by(|a, b| sort.compare(a, b));
    apps
}

/// The table of the apps.
fn apps(all: &Value, sort: Sort, is_wide: bool) -> Vec<String> {
    let mut header = vec!["NAME", "STATUS", "CPU", "MEMORY", "GPUS", "UTIL", "VRAM"];
    if is_wide {
        header.extend(["RECEIVED", "SENT"]);
    }
    let rows: Vec<_> = sorted(all, sort).iter().map(|app| row(app, is_wide)).collect();
    table::lines(&header, &rows)
}

fn row(app: &Value, is_wide: bool) -> Vec<String> {
    let float = |pointer: &str| app.pointer(pointer).and_then(Value::as_f64);
    let bytes = |pointer: &str| app.pointer(pointer).and_then(Value::as_u64).map(format_bytes);
    let rate = |pointer: &str| {
        let rate = float(pointer).map(|rate| format!("{}/s", format_bytes(rounded(rate))));
        rate.unwrap_or_else(unknown)
    };
    let gpus = app.pointer("/asked/gpus").and_then(Value::as_u64);
    let mut row = vec![
        text(app, "/name").to_owned(),
        text(app, "/phase").to_owned(),
        of(
            float("/used/cpu").map(|cpu| format!("{cpu:.2}")),
            float("/asked/cpu").map(|cpu| cpu.to_string()),
        ),
        of(bytes("/used/memory"), bytes("/asked/memory")),
        gpus.map_or_else(unknown, |count| count.to_string()),
        float("/used/gpuUtilization").map_or_else(unknown, |percent| format!("{percent:.0}%")),
        of(bytes("/used/gpuMemory"), bytes("/asked/gpuMemory")),
    ];
    if is_wide {
        row.extend([rate("/used/networkReceive"), rate("/used/networkTransmit")]);
    }
    row
}

/// What is used, and of how much where that was asked for.
fn of(used: Option<String>, asked: Option<String>) -> String {
    let used = used.unwrap_or_else(unknown);
    asked.map_or_else(|| used.clone(), |asked| format!("{used}/{asked}"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes a second, at most what a network does"
)]
fn rounded(rate: f64) -> u64 {
    rate.max(0.0) as u64
}

/// What nobody knows.
fn unknown() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(all: &Value, sort: Sort) -> Vec<&str> {
        sorted(all, sort).iter().map(|app| text(app, "/name")).collect()
    }

    #[test]
    fn the_largest_comes_first_and_what_nobody_knows_last() {
        let all = json!({"apps": [
            {"name": "idle", "used": null},
            {"name": "b", "used": {"cpu": 0.5, "memory": 9, "gpuMemory": 1}},
            {"name": "a", "used": {"cpu": 0.5, "memory": 10}},
            {"name": "busy", "used": {"cpu": 3.0, "memory": 1, "gpuUtilization": 20.0}},
        ]});
        assert_eq!(names(&all, Sort::Cpu), ["busy", "a", "b", "idle"]);
        assert_eq!(names(&all, Sort::Memory), ["a", "b", "busy", "idle"]);
        assert_eq!(names(&all, Sort::Gpu), ["busy", "a", "b", "idle"]);
        assert_eq!(names(&all, Sort::Vram), ["b", "a", "busy", "idle"]);
        assert_eq!(names(&all, Sort::Name), ["a", "b", "busy", "idle"]);
        let keys: Vec<_> = (b'a'..=b'z').filter_map(Sort::of_key).collect();
        assert_eq!(keys.len(), Sort::value_variants().len());
    }

    #[test]
    fn a_card_says_what_is_asked_of_it_and_by_how_many() {
        let card = |memory: Value, shares: u64, is_alone: bool| {
            card(&json!({"index": 0, "name": "X", "utilization": 7, "memory": memory,
                "shares": shares, "isAlone": is_alone}))
        };
        let memory = json!({"total": 80_u64 << 30, "used": 5_u64 << 30, "asked": 12_u64 << 30});
        let shown = "GPU 0 (X): 7%, 5Gi of 80Gi, 12Gi asked for";
        assert_eq!(card(memory.clone(), 2, false), format!("{shown} by 2"));
        assert_eq!(card(memory.clone(), 1, true), format!("{shown} by one alone"));
        assert_eq!(card(memory, 1, false), shown);
        let none = json!({"total": 80_u64 << 30, "used": 0, "asked": 0});
        assert_eq!(card(none, 0, false), "GPU 0 (X): 7%, 0 of 80Gi");
    }

    #[test]
    fn a_page_says_that_it_is_old_and_steers_no_terminal() {
        let gpu = json!({"index": 0, "name": "H\u{1b}[2J", "memory": {"total": 0, "used": 0}});
        let all = json!({"gpus": [gpu], "apps": []});
        let lines = page(&all, Sort::Cpu, false, Some("no Berth answers"));
        assert_eq!(lines[..2], ["not of now: no Berth answers", "GPU 0 (H\\u{1b}[2J): -"]);
    }
}
