//! The real program, ended at any moment.

use std::{collections::BTreeMap, time::Duration};

use super::{
    crash_points::engine_time,
    engine::{Seen, docker, labelled},
    program::{Network, Program},
    repository::Repository,
    stage::{Stage, eventually, httpd},
};

/// How many times the program is started and killed before it may finish, and how often that is done.
const KILLS: usize = 9;
const ROUNDS: usize = 2;
/// The apps that change.
const APPS: [&str; 4] = ["a", "b", "c", "d"];

/// What should run: each app with the value of its variable.
type Wanted = BTreeMap<&'static str, usize>;

fn put(stage: &Stage, wanted: &mut Wanted, app: &'static str, value: usize) {
    wanted.insert(app, value);
    let text = httpd(app, &format!("env: {{VALUE: \"{value}\"}}\nhealth: {{interval: 1s}}"));
    stage.write(&format!("{app}.yaml"), &text);
}

fn ours(stage: &Stage) -> Vec<Seen> {
    labelled(&[format!("dev.berth.instance={}", stage.instance)])
}

/// What runs, when it is one container for each app; none while it is anything else.
fn what_runs(all: &[Seen]) -> Option<BTreeMap<String, usize>> {
    let mut seen = BTreeMap::new();
    for container in all {
        let env = container.0["Config"]["Env"].as_array()?;
        let value = env.iter().find_map(|pair| pair.as_str()?.strip_prefix("VALUE="))?;
        let is_first = seen.insert(container.label("dev.berth.app"), value.parse().ok()?).is_none();
        if !is_first || !container.is_running() {
            return None;
        }
    }
    Some(seen)
}

/// Faults T01, T05, D24, D42: killed anywhere in the middle of its work, it finishes the work next
/// time, with nothing made twice and nothing else touched.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_converges_when_it_starts_again() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let mut wanted = Wanted::new();
    put(&stage, &mut wanted, "bystander", 0);
    let mut program = Program::start(&stage);
    let has = |wanted: &Wanted| {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|(app, value)| ((*app).to_owned(), *value)).collect();
        what_runs(&ours(&stage)) == Some(wanted)
    };
    assert!(eventually(|| has(&wanted)).await, "never began: {}", program.rest().await);
    let bystander = stage.container("bystander").life();
    program.kill().await;

    for round in 0..ROUNDS {
        for nth in 0..KILLS {
            let sample = round * KILLS + nth;
            let app = APPS[nth % APPS.len()];
            // One removal a round: more at once would wait for a person.
            if nth == KILLS / 2 && wanted.remove(app).is_some() {
                stage.erase(&format!("{app}.yaml"));
            } else {
                put(&stage, &mut wanted, app, sample);
            }
            Program::start(&stage).kill_somewhere(sample).await;
        }
        let mut program = Program::start(&stage);
        if !eventually(|| has(&wanted)).await {
            let names: Vec<_> = ours(&stage).iter().map(Seen::name).collect();
            panic!("round {round}: {wanted:?} is not {names:?}:\n{}", program.rest().await);
        }
        assert_eq!(stage.container("bystander").life(), bystander, "round {round}");
        program.kill().await;
    }
}

/// Faults G08, G09, B10: killed while it fetches and builds, it ends with what was pushed last.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_builds_it_ends_with_the_last_commit() {
    const SOURCE: &str = "FROM berth/tiny:offline\nCOPY . /www\nRUN sleep 0.2\n";
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let repository = Repository::bare(&stage.path("served/app.git"));
    let text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: page}}\nspec:\n  \
         source: {{git: {}, interval: 1s}}\n  run: httpd -f -p 8080 -h /www\n  port: 8080\n",
        repository.url()
    );
    stage.write("page.yaml", &text);
    for nth in 0..12 {
        let page = format!("page {nth}\n");
        repository.commit(&[("Dockerfile", SOURCE), ("index.html", &page)]);
        let mut program = Program::start(&stage);
        tokio::time::sleep(Duration::from_millis(90 * nth)).await;
        program.kill().await;
    }
    let commit = repository.commit(&[("Dockerfile", SOURCE), ("index.html", "last page\n")]);
    let mut program = Program::start(&stage);
    let is_done = || {
        let all = ours(&stage);
        all.len() == 1 && all[0].is_running() && all[0].label("dev.berth.commit") == commit
    };
    assert!(eventually(is_done).await, "{}", program.rest().await);
    let id = stage.container("page").id();
    assert_eq!(docker(&["exec", &id, "cat", "/www/index.html"]), "last page");
    let code = stage.workspace("page", "code/index.html");
    assert_eq!(std::fs::read_to_string(code).unwrap(), "last page\n");
    let has_tidied = || stage.images("page").len() <= 3;
    assert!(eventually(has_tidied).await, "images: {:?}", stage.images("page"));
    assert!(program.stop().await);
}

/// Fault T10: told to end, it ends; the apps do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_berth_leaves_the_apps_running() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let mut wanted = Wanted::new();
    put(&stage, &mut wanted, "web", 1);
    let mut program = Program::start(&stage);
    let runs = || what_runs(&ours(&stage)).is_some_and(|seen| seen.len() == 1);
    assert!(eventually(runs).await, "never ran: {}", program.rest().await);
    let life = stage.container("web").life();
    assert!(program.stop().await, "{}", program.rest().await);
    assert_eq!(stage.container("web").life(), life);
    let mut program = Program::start(&stage);
    program.until_it_says("berth is running").await;
    assert!(program.stop().await);
    assert_eq!(stage.container("web").life(), life);
    docker(&["rm", "--force", &life.0]);
}

/// Faults D01, D24, T01: killed at any time after it has answered, it restarts the app once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_was_answered_is_done_once() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    put(&stage, &mut Wanted::new(), "web", 1);
    let mut program = Program::start(&stage);
    let runs = || what_runs(&ours(&stage)).is_some_and(|seen| seen.len() == 1);
    assert!(eventually(runs).await, "never ran: {}", program.rest().await);
    for wait in [0, 15, 60, 250, 700] {
        let before = stage.container("web").life();
        let since = engine_time();
        let address = program.address().await;
        let said = ask(&["restart", "web", "--server", &format!("http://{address}")]).await;
        assert!(said.contains("restarting"), "{said}");
        tokio::time::sleep(Duration::from_millis(wait)).await;
        program.kill().await;
        program = Program::start(&stage);
        let is_done = || runs() && stage.container("web").life() != before;
        assert!(eventually(is_done).await, "after {wait} ms: {}", program.rest().await);
        // After another resync it has not been done again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let starts = starts_of(&stage, "web", &since);
        assert_eq!(starts, 1, "killed after {wait} ms: {}", program.rest().await);
        assert_eq!(stage.container("web").id(), before.0, "it is the same container");
    }
    program.kill().await;
}

/// How often the engine started the app's container since then.
fn starts_of(stage: &Stage, app: &str, since: &str) -> usize {
    let instance = format!("label=dev.berth.instance={}", stage.instance);
    let app = format!("label=dev.berth.app={app}");
    let until = engine_time();
    let told = docker(&[
        "events",
        "--since",
        since,
        "--until",
        &until,
        "--filter",
        &instance,
        "--filter",
        &app,
        "--filter",
        "event=start",
        "--format",
        "{{.Action}}",
    ]);
    told.lines().count()
}

async fn ask(args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_berth"));
    let output = command.args(args).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
