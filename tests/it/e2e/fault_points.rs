//! The fault matrix on the real engine: the real program, the fault proxy and Docker. The matrix in
//! memory is larger and asks for more; this one shows that the engine in memory is none too kind.
//!
//! `BERTH_FAULTS=all` plays every cell, `BERTH_FAULTS=<part of a cell's name>` those; without it a
//! sample is played, always the same one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    crash_points::{APP, Act, Scene, Tally, engine_time},
    engine::docker,
    stage::{Stage, httpd},
};
use crate::{
    matrix::table::{Cell, FAILURES, Kind, Pattern, Work, is_of_one_app},
    proxy::Outcome,
};

/// One cell of so many is played by default.
const SAMPLE: usize = 211;
/// How many are played at once when there are many.
const AT_ONCE: usize = 8;
/// How long calls fail that fail until the engine is healed.
const OUTAGE: Duration = Duration::from_secs(4);

const ENDPOINTS: &[(Act, &[&str])] = &[
    (
        Act::Install,
        &["list_containers", "list_images", "create", "start", "inspect", "exec_create"],
    ),
    (
        Act::Update,
        &["list_containers", "create", "start", "stop", "remove", "exec_start", "exec_inspect"],
    ),
    (Act::Remove, &["list_containers", "stop", "remove"]),
];

fn cells() -> Vec<(Act, Cell)> {
    let mut cells = Vec::new();
    for (act, endpoints) in ENDPOINTS {
        for endpoint in *endpoints {
            for failure in FAILURES {
                for pattern in Pattern::ALL {
                    let cell = Cell { work: Work::Update, endpoint, failure: *failure, pattern };
                    cells.push((*act, cell));
                }
            }
        }
    }
    // A list alone has an older answer.
    cells.retain(|(_, cell)| {
        cell.endpoint.starts_with("list_")
            || !(cell.failure.name.starts_with("old") || cell.failure.name == "empty list")
    });
    match std::env::var("BERTH_FAULTS").as_deref() {
        Ok("all") => {}
        Ok(part) => cells.retain(|(act, cell)| name_of(*act, cell).contains(part)),
        Err(_) => {
            // What is noticed at a deadline takes a minute of the machine's time.
            cells.retain(|(_, cell)| cell.failure.kind != Kind::Silent);
            cells = cells.into_iter().step_by(SAMPLE).collect();
        }
    }
    cells
}

/// Cells of the session that `BuildKit` takes. By default those that are noticed soon, once each.
fn session_cells() -> Vec<(Act, Cell)> {
    let asked = std::env::var("BERTH_FAULTS").ok();
    let mut cells = Vec::new();
    for failure in FAILURES.iter().filter(|failure| !failure.name.starts_with("old")) {
        for pattern in [Pattern::Once, Pattern::Twice] {
            let cell = Cell { work: Work::Build, endpoint: "session", failure: *failure, pattern };
            let name = name_of(Act::Buildkit, &cell);
            let is_meant = match asked.as_deref() {
                Some("all") => true,
                Some(part) => name.contains(part),
                None => {
                    const SOME: [&str; 4] =
                        ["closed before", "cut in half", "cut at the end", "500"];
                    pattern == Pattern::Once && SOME.contains(&failure.name)
                }
            };
            if is_meant {
                cells.push((Act::Buildkit, cell));
            }
        }
    }
    cells
}

fn name_of(act: Act, cell: &Cell) -> String {
    format!("{act:?} / {} / {} / {:?}", cell.endpoint, cell.failure.name, cell.pattern)
}

impl Scene {
    /// Does the act while calls fail; answers what the engine told.
    async fn suffer(&mut self, act: Act, cell: Option<&Cell>) -> Tally {
        let before = self.prepare(act).await;
        let since = engine_time();
        if let Some(cell) = cell {
            let Cell { endpoint, failure, pattern, .. } = *cell;
            let mut nth = 0;
            self.proxy.script(move |call| {
                let is_meant =
                    call.endpoint == endpoint && (!is_of_one_app(endpoint) || call.is_about(APP));
                nth += u64::from(is_meant);
                if is_meant && pattern.hits(nth - 1) { (failure.outcome)() } else { Outcome::Pass }
            });
        }
        self.put(act);
        if cell.is_some_and(|cell| !matches!(cell.pattern, Pattern::Once | Pattern::Twice)) {
            tokio::time::sleep(OUTAGE).await;
            self.proxy.heal();
        }
        self.until_done(act, before.as_deref()).await;
        self.proxy.heal();
        self.until_done(act, before.as_deref()).await;
        self.check_bystander();
        self.told(&since)
    }
}

/// Plays cells from the list until there are none left; answers what went wrong.
async fn work_off(cells: Arc<Mutex<Vec<(Act, Cell)>>>) -> Vec<String> {
    let mut scene = Scene::set(Act::Install).await;
    let mut usual = BTreeMap::new();
    for act in [Act::Install, Act::Update, Act::Remove] {
        usual.insert(format!("{act:?}"), scene.suffer(act, None).await);
    }
    let mut wrong = Vec::new();
    loop {
        let Some((act, cell)) = cells.lock().unwrap().pop() else { return wrong };
        let told = scene.suffer(act, Some(&cell)).await;
        let usual = &usual[&format!("{act:?}")];
        let is_lie = cell.failure.kind == Kind::Lie && cell.endpoint == "list_containers";
        let differs = |what: &str| told.get(what) != usual.get(what);
        if !is_lie && ["create", "destroy"].into_iter().any(differs) {
            let name = name_of(act, &cell);
            wrong.push(format!("BERTH_FAULTS='{name}': {told:?}, not {usual:?}"));
        }
    }
}

/// Faults D01, D06, D08, D09, D35.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_call_comes_to_the_end_is_the_same() {
    let cells = Arc::new(Mutex::new(cells()));
    let count = cells.lock().unwrap().len();
    let workers = if count <= 20 { 2 } else { AT_ONCE };
    let work = (0..workers).map(|_| work_off(Arc::clone(&cells)));
    let wrong = futures_util::future::join_all(work).await.concat();
    assert!(wrong.is_empty(), "{} of {count} cells:\n{}", wrong.len(), wrong.join("\n"));
    let is_of_session = !session_cells().is_empty();
    assert!(count != 0 || is_of_session, "there is no such cell");
}

/// Faults B03, B10: a session that is refused, cut or lost costs a build no more than time, and
/// nothing is built or made twice that was not before.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_of_its_session_a_build_ends_the_same() {
    let cells = session_cells();
    if cells.is_empty() {
        // Another part of the cells was asked for.
        return;
    }
    let mut scene = Scene::set(Act::Buildkit).await;
    let _first = scene.suffer(Act::Buildkit, None).await;
    let usual = scene.suffer(Act::Buildkit, None).await;
    let mut wrong = Vec::new();
    for (act, cell) in cells {
        let told = scene.suffer(act, Some(&cell)).await;
        if told != usual {
            wrong.push(format!("BERTH_FAULTS='{}': {told:?}, not {usual:?}", name_of(act, &cell)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), scene.proxy.trace());
}

/// Fault D45: a container knows its network by its id, so that a new network of the same name does
/// not help it.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_network_was_removed_runs_again() {
    let stage = Stage::new();
    stage.write("web.yaml", &httpd("web", ""));
    let berth = stage.start();
    berth.until_running("web").await;
    let kept = berth.stop().await;
    let before = stage.container("web").id();
    docker(&["stop", "--time=1", &before]);
    docker(&["network", "rm", &stage.network]);
    let berth = stage.start_with(kept);
    berth.until_running("web").await;
    assert_ne!(stage.container("web").id(), before);
}
