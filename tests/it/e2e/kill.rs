//! The real program, ended at any moment.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::{Instant, timeout, timeout_at},
};

use super::{
    engine::{self, Seen, docker, labelled},
    repository::Repository,
    stage::{PATIENCE, Stage, eventually, httpd},
};

/// The network of the real program; its name is not to be chosen.
const NETWORK: &str = "berth";
/// How many times the program is started and killed before it may finish, and how often that is done.
const KILLS: usize = 9;
const ROUNDS: usize = 6;
/// The apps that change.
const APPS: [&str; 4] = ["a", "b", "c", "d"];

/// The `berth` program, running.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    started: Instant,
}

impl Program {
    fn start(stage: &Stage) -> Self {
        let folder = |part: &str| stage.path(part).display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(["run", "--manifests", &folder("manifests"), "--state-dir", &folder("state")])
            .args(["--workspaces", &folder("workspaces"), "--model-store", &folder("models")])
            .args(["--listen", "127.0.0.1:0", "--docker-host", &engine::host()])
            .args(["--base-image", engine::BASE, "--instance", &stage.instance])
            .args(["--ports", &format!("{}-{}", stage.ports.first, stage.ports.last)])
            .args(["--allow-local-git", "--resync", "2s", "--log-format", "json", "--log", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, started: Instant::now() }
    }

    /// Lets it work for a time that differs with `nth`, by its log or by the clock, and kills it.
    async fn kill_somewhere(mut self, nth: usize) {
        let step = u64::try_from(nth).unwrap();
        let until = self.started + Duration::from_millis(20 * (step % 30));
        if nth.is_multiple_of(2) {
            let latest = self.started + Duration::from_millis(800);
            for _ in 0..=(nth / 2 % 9) {
                let _ = timeout_at(latest, self.lines.next_line()).await;
            }
        } else {
            tokio::time::sleep_until(until).await;
        }
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it ended by itself: {}",
            self.rest().await
        );
        self.child.kill().await.unwrap();
    }

    /// Waits for a line of its log.
    async fn until_it_says(&mut self, message: &str) {
        let read = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(message) {
                    return;
                }
            }
            panic!("its log has ended without `{message}`");
        };
        timeout(PATIENCE, read).await.unwrap();
    }

    /// Asks it to end; answers whether it did so in good order.
    async fn stop(&mut self) -> bool {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().success()
    }

    /// What is left to read of its log.
    async fn rest(&mut self) -> String {
        let mut text = String::new();
        let read = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                text.push_str(&line);
                text.push('\n');
            }
        };
        let _ = timeout(Duration::from_secs(1), read).await;
        text
    }
}

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

/// Removes the program's network, as far as it is ours.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        engine::clean(&self.0, NETWORK);
    }
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
    program.child.kill().await.unwrap();

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
        program.child.kill().await.unwrap();
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
        program.child.kill().await.unwrap();
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
    let has_tidied = || stage.images("page").len() <= 2;
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
