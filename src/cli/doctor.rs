//! `berth doctor`: whether this machine is fit for Berth; with or without a controller.

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    document::{self, list, text},
    error::{Error, Exit},
    flags::Flags,
    output::{Output, plain, several},
    run,
    server::Server,
};
use crate::daemon;
use crate::doctor::{self, Controller, Group, Outcome, Place, Report};
use crate::model::{Timestamp, parse_duration};

/// How long is waited between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these checks.
    #[arg(long, value_name = "GROUP")]
    only: Option<Only>,
    /// As the API's document.
    #[arg(long)]
    json: bool,
    /// Look again until nothing is wrong, for so long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1, default_missing_value = "60s")]
    wait: Option<Duration>,
    /// Mend what can be mended safely: missing folders, secrets that others can read.
    #[arg(long)]
    fix: bool,
    /// With `--fix`, only say what would be mended.
    #[arg(short = 'n', long, requires = "fix")]
    dry_run: bool,
    /// Look into containers of apps that run too: whether they know names, and see their GPUs.
    #[arg(long)]
    inside: bool,
    #[command(flatten)]
    flags: Flags,
}

/// A group of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Host,
    Docker,
    Gpu,
    Network,
    State,
    Controller,
    Certificates,
}

impl Only {
    fn group(self) -> Group {
        match self {
            Self::Host => Group::Host,
            Self::Docker => Group::Docker,
            Self::Gpu => Group::Gpu,
            Self::Network => Group::Network,
            Self::State => Group::State,
            Self::Controller => Group::Controller,
            Self::Certificates => Group::Certificates,
        }
    }
}

pub(super) async fn run(
    args: Args,
    server: Option<Server>,
    output: &mut Output,
) -> Result<Exit, Error> {
    let config = run::read(args.flags)?;
    let only = args.only.map(Only::group);
    let begun = tokio::time::Instant::now();
    let (at, reports) = loop {
        let mut place = daemon::whole_place(&config).await;
        if let Some(server) = &server {
            place.controller = controller(server).await;
        }
        place.is_inside = args.inside;
        let place: Arc<Place> = Arc::new(place);
        let reports = doctor::examine(&place, only).await;
        let is_over = args.wait.is_none_or(|patience| patience <= begun.elapsed());
        if is_over || doctor::worst(&reports) < Outcome::Error {
            break (place.now, reports);
        }
        tokio::time::sleep(PAUSE).await;
    };
    if args.json {
        let document =
            json!({ "outcome": doctor::worst(&reports), "at": at.to_string(), "checks": reports });
        document::write(output, &document, false)?;
    } else {
        show(&reports, output)?;
    }
    if args.fix {
        mend(&reports, args.dry_run, output)?;
    }
    match (doctor::worst(&reports), args.wait) {
        (Outcome::Error, Some(patience)) if patience <= begun.elapsed() => Ok(Exit::TimedOut),
        (Outcome::Error, _) => Ok(Exit::NotSo),
        _ => Ok(Exit::Done),
    }
}

/// What a controller says of itself; none when nobody answers.
async fn controller(server: &Server) -> Option<Controller> {
    let health = server.get("/health").await.ok()?;
    let mut said =
        Controller { version: text(&health, "/version").to_owned(), ..Controller::default() };
    if let Err(error) = server.get("/readyz").await {
        said.reasons.push(error.what().to_owned());
    }
    if let Ok(plan) = server.get("/api/v1/plan").await {
        let differs = |plan: &&Value| plan["hasDifferences"] == true;
        said.differing = list(&plan, "/items").iter().filter(differs).count();
    }
    if let Ok(all) = server.get("/api/v1/apps").await {
        let is_mistake = |found: &&Value| text(found, "/severity") == "error";
        said.mistakes = list(&all, "/source/diagnostics").iter().filter(is_mistake).count();
        said.certificate = Timestamp::parse(text(&all, "/certificate/expiresAt"));
        said.read_at = Timestamp::parse(text(&all, "/source/readAt"));
        let why = text(&all, "/source/error");
        said.unreadable = (!why.is_empty()).then(|| why.to_owned());
    }
    said.queue = queue(server).await;
    Some(said)
}

/// How the queue stands, as the controller's metrics say; none to who may not read them.
async fn queue(server: &Server) -> Option<(u64, Duration)> {
    let metrics = server.follow("/metrics", "text/plain").await.ok()?.whole().await.ok()?;
    let metrics = String::from_utf8_lossy(&metrics.body);
    let value = |name: &str| {
        let mut samples = metrics.lines().filter_map(|line| line.split_once(' '));
        samples.find(|(sample, _)| *sample == name).map(|(_, value)| value.trim())
    };
    let apps = value("berth_queue_depth")?.parse().ok()?;
    let oldest = value("berth_queue_oldest_age_seconds")?.parse().ok()?;
    Some((apps, Duration::try_from_secs_f64(oldest).ok()?))
}

fn show(reports: &[Report], output: &mut Output) -> Result<(), Error> {
    let mut group = None;
    for report in reports {
        if group != Some(report.group) {
            if group.is_some() {
                output.line("")?;
            }
            output.line(report.group.name())?;
            group = Some(report.group);
        }
        let (name, evidence) = (report.name, plain(&report.evidence));
        output.line(&format!("  {} {name}: {evidence}", output.mark(report.outcome)))?;
        if !report.fix.is_empty() {
            output.line(&format!("      fix   {}", plain(&report.fix)))?;
            output.line(&format!("      why   {} (berth explain {})", report.hint, report.code))?;
        }
    }
    let count = |outcome: Outcome| reports.iter().filter(|r| r.outcome == outcome).count();
    let (good, skipped) = (count(Outcome::Good), count(Outcome::Skipped));
    output.line("")?;
    let warnings = several(count(Outcome::Warning), "warning");
    let errors = several(count(Outcome::Error), "error");
    output.line(&format!("{good} good, {warnings}, {errors}, {skipped} not looked at"))
}

fn mend(reports: &[Report], is_dry: bool, output: &mut Output) -> Result<(), Error> {
    for report in reports.iter().filter(|report| report.is_mendable()) {
        if is_dry {
            output.line(&format!("would mend {} (dry run)", report.name))?;
            continue;
        }
        match report.mend() {
            Ok(done) => {
                for done in done {
                    output.line(&plain(&done))?;
                }
            }
            Err(error) => output.warn(&format!("{}: {error}", report.name)),
        }
    }
    Ok(())
}
