//! Coming up, changing, healing and going, beside a raw client and beside compose.

use std::{collections::BTreeMap, time::Duration};

use berth::engine::CallCounts;
use tokio::time::Instant;

use crate::{
    bed::{Bed, drop_into},
    compose::Compose,
    jobs::calls,
    raw::{self, Line},
    report::{Row, Samples, Target},
    rounds, say,
    stage::{Stage, quiet},
    watch::Watch,
};

const BERTH: &str = "Berth";
const RAW: &str = "raw";

/// One app after the other: the time from its manifest to its start.
pub(crate) async fn one(bed: &Bed) -> Vec<Row> {
    calls::ensure(bed).await;
    let stage = Stage::start(bed).await;
    let mut watch = Watch::instance(bed, &bed.instance).await;
    let mut raw = Watch::instance(bed, &bed.raw).await;
    let (mut ups, mut raws, mut own) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds(20) {
        let since = drop_into(&stage.manifests, &files(&bed.names('b', 1), 0));
        let up = watch.next("start").await.at - since;
        quiet().await;
        let base = raw_up(bed, &bed.names('r', 1), &mut raw).await;
        quiet().await;
        ups.add(up);
        raws.add(base);
        own.add_ms((up.as_secs_f64() - base.as_secs_f64()) * 1e3);
    }
    stage.end().await;
    vec![
        Row::new("cold up of 1 app", "ms", Target::Ratio(1.05)).with(BERTH, ups).with(RAW, raws),
        Row::new("Berth's own time, from the manifest to the start", "ms", Target::Below(100.0))
            .with(BERTH, own),
    ]
}

/// What a flow of many apps measures, by name of the job and of the side.
#[derive(Default)]
struct Figures(BTreeMap<(&'static str, String), Samples>);

impl Figures {
    fn add(&mut self, job: &'static str, side: &str, took: Duration) {
        self.0.entry((job, side.to_owned())).or_default().add(took);
    }

    fn row(&mut self, job: &'static str, title: String, target: Target) -> Row {
        let mut row = Row::new(title, "ms", target);
        for ((_, side), samples) in self.0.iter().filter(|((name, _), _)| *name == job) {
            row = row.with(side, samples.clone());
        }
        row
    }
}

/// Many apps at once; while they run, one of them is changed and one is killed.
pub(crate) async fn many(bed: &Bed, count: usize, usual_rounds: usize) -> Vec<Row> {
    calls::ensure(bed).await;
    let peers = Compose::find();
    let mut figures = Figures::default();
    for round in 0..rounds(usual_rounds) {
        // Two rounds say enough of the others.
        let sides = if round < 2 { 2 + peers.len() } else { 2 };
        for turn in 0..sides {
            match (turn + round) % sides {
                0 => berth_round(bed, count, &mut figures).await,
                1 => raw_round(bed, count, &mut figures).await,
                peer => compose_round(bed, &peers[peer - 2], count, &mut figures).await,
            }
            quiet().await;
        }
    }
    let name = |what: &str| what.replace('N', &count.to_string());
    vec![
        figures.row("up", name("cold up of N apps"), Target::Ratio(1.05)),
        figures.row("new", name("1 of N changed (env): start of the new one"), Target::Ratio(1.1)),
        figures.row("change", name("1 of N changed (env): end of the old one"), Target::Ratio(1.1)),
        figures.row("heal", name("1 of N killed: start of its successor"), Target::Ratio(1.2)),
        figures.row("down", name("removal of N apps"), Target::Ratio(1.1)),
    ]
}

async fn berth_round(bed: &Bed, count: usize, figures: &mut Figures) {
    let stage = Stage::start(bed).await;
    let mut watch = Watch::instance(bed, &bed.instance).await;
    let names = bed.names('b', count);
    let mut all = files(&names, 0);
    all[0].1 = Bed::checked_manifest(&names[0], 0);
    let (_, calls) = stage.calls(&CallCounts::default());
    let since = drop_into(&stage.manifests, &all);
    let started = watch.many("start", count).await;
    figures.add("up", BERTH, started.last().unwrap().at - since);
    let (made, _) = stage.calls(&calls);
    say(&format!("up: {made}"));
    quiet().await;
    let mut neighbour = Neighbour::start(bed).await;
    for nth in 1..=3 {
        quiet().await;
        let app = (format!("{}.yaml", names[0]), Bed::checked_manifest(&names[0], nth));
        let since = drop_into(&stage.manifests, &[app]);
        figures.add("new", BERTH, watch.next("start").await.at - since);
        figures.add("change", BERTH, watch.next("destroy").await.at - since);
        quiet().await;
        let (new, change) = neighbour.change(bed, nth).await;
        figures.add("new", RAW, new);
        figures.add("change", RAW, change);
        quiet().await;
        let app = started.iter().find(|seen| !seen.name.starts_with(&names[0])).unwrap();
        figures.add("heal", BERTH, kill(bed, &app.id, &app.name, &mut watch).await);
        quiet().await;
        figures.add("heal", RAW, neighbour.heal(bed).await);
    }
    quiet().await;
    stage.empty(bed).await;
    let (_, calls) = stage.calls(&calls);
    let since = Instant::now();
    stage.confirm().await;
    let gone = watch.many("destroy", count).await;
    figures.add("down", BERTH, gone.last().unwrap().at - since);
    let (made, _) = stage.calls(&calls);
    say(&format!("down: {made}"));
    stage.end().await;
    bed.sweep().await;
}

async fn kill(bed: &Bed, id: &str, name: &str, watch: &mut Watch) -> Duration {
    let mut line = bed.line().await;
    let since = Instant::now();
    line.must("POST", &format!("/containers/{id}/kill"), None).await;
    watch.until("start", |seen| seen.name == name).await.at - since
}

async fn raw_round(bed: &Bed, count: usize, figures: &mut Figures) {
    let mut watch = Watch::instance(bed, &bed.raw).await;
    figures.add("up", RAW, raw_up(bed, &bed.names('r', count), &mut watch).await);
    quiet().await;
    let ids = bed.ids(&format!("{}={}", berth::model::label::INSTANCE, bed.raw)).await;
    let version = &bed.template().version;
    let since = Instant::now();
    raw::each(&bed.socket, &ids, async |line, id| line.end(version, id).await).await;
    let gone = watch.many("destroy", count).await;
    figures.add("down", RAW, gone.last().unwrap().at - since);
}

async fn compose_round(bed: &Bed, compose: &Compose, count: usize, figures: &mut Figures) {
    let project = compose.project(bed, count);
    let mut watch = Watch::label(bed, &project.label()).await;
    let since = Instant::now();
    let up = project.up();
    let started = watch.many("start", count).await;
    figures.add("up", &compose.name, started.last().unwrap().at - since);
    up.await;
    quiet().await;
    let since = Instant::now();
    let down = project.down();
    let gone = watch.many("destroy", count).await;
    figures.add("down", &compose.name, gone.last().unwrap().at - since);
    down.await;
}

/// The raw client's cold up: from the first request to the last start that is heard of.
async fn raw_up(bed: &Bed, names: &[String], watch: &mut Watch) -> Duration {
    let work: Vec<_> = names.iter().map(|name| (name.clone(), bed.raw_body(name, 0))).collect();
    let version = &bed.template().version;
    let since = Instant::now();
    let run = async |line: &mut Line, (name, body): &(String, String)| {
        let id = line.create(version, &format!("{name}-0"), body).await;
        line.start(version, &id).await;
    };
    raw::each(&bed.socket, &work, run).await;
    watch.many("start", names.len()).await.last().unwrap().at - since
}

fn files(names: &[String], env: usize) -> Vec<(String, String)> {
    names.iter().map(|name| (format!("{name}.yaml"), Bed::manifest(name, env))).collect()
}

/// One container of the raw client beside Berth's: what is done to it is measured under the same
/// conditions.
struct Neighbour {
    name: String,
    id: String,
    line: Line,
    watch: Watch,
}

impl Neighbour {
    async fn start(bed: &Bed) -> Self {
        let name = bed.names('r', 1).remove(0);
        let watch = Watch::instance(bed, &bed.raw).await;
        let mut line = bed.line().await;
        let version = &bed.template().version;
        let id = line.create(version, &format!("{name}-0"), &bed.raw_body(&name, 0)).await;
        line.start(version, &id).await;
        Self { name, id, line, watch }
    }

    /// The calls that Berth makes, in its order: the new one starts before the old one stops.
    ///
    /// Answers when the new one had started and when the old one was gone.
    async fn change(&mut self, bed: &Bed, nth: usize) -> (Duration, Duration) {
        let version = &bed.template().version;
        let body = bed.raw_body(&self.name, nth);
        let since = Instant::now();
        let id = self.line.create(version, &format!("{}-{nth}", self.name), &body).await;
        self.line.start(version, &id).await;
        self.line.end(version, &self.id).await;
        let old = std::mem::replace(&mut self.id, id);
        let started = self.watch.until("start", |seen| seen.id == self.id).await;
        let gone = self.watch.until("destroy", |seen| seen.id == old).await;
        (started.at - since, gone.at - since)
    }

    /// Listens, and starts the same container again when it dies.
    async fn heal(&mut self, bed: &Bed) -> Duration {
        let version = &bed.template().version;
        let mut line = bed.line().await;
        let kill = format!("/containers/{}/kill", self.id);
        let since = Instant::now();
        let (killed, healed) = tokio::join!(line.must("POST", &kill, None), async {
            self.watch.until("die", |seen| seen.id == self.id).await;
            self.line.start(version, &self.id).await;
            self.watch.until("start", |seen| seen.id == self.id).await.at
        });
        drop(killed);
        healed - since
    }
}
