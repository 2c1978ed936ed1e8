//! Builds: of an app with many packages, of a large context, and builds that are not needed.
//!
//! What builds is Berth's own way from a commit to an image; beside it, where the `docker` command
//! line program speaks `BuildKit` with this engine, the same context with that.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use berth::{
    clock::Clock,
    engine::{
        Engine as _,
        docker::{Docker, Settings as DockerSettings},
    },
    execute::{Finished, JobSettings, Jobs},
    manifest::read_file,
    model::{App, ImageRef, Source},
    plan::{Dockerfile, Input, Recipe, Step, Work, plan},
    state::{AppState, Checkout, Policy, Want},
    workspace::{Settings, Workspace},
};
use tokio::{
    process::Command,
    sync::mpsc::{self, UnboundedReceiver},
    time::Instant,
};

use crate::{
    bed::{Bed, IMAGE},
    report::{Row, Samples, Target},
    rounds, say,
};

const PACKAGES: usize = 50;
/// The Python base that the wheels are put into; `compose/base/offline.sh` makes it.
const PYTHON: &str = "berth/base:offline";
const FILES: usize = 500;
const MIB: usize = 1 << 20;
/// How often the memory of this process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Makes wheels without a build tool: what pip needs, and some modules as packages have them.
const WHEELS: &str = r"
import sys, zipfile
body = ''.join(f'def f{n}(a, b=None, *args, **kwargs):\n    return [a, b, args, kwargs, {n}]\n' for n in range(50))
for n in range(int(sys.argv[1])):
    name = f'bench_pkg_{n:02}'
    info = f'{name}-1.0.dist-info'
    files = {f'{name}/m{m:02}.py': body for m in range(60)}
    files[f'{name}/__init__.py'] = f'VALUE = {n}\n'
    files[f'{info}/METADATA'] = f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n'
    files[f'{info}/WHEEL'] = 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
    files[f'{info}/RECORD'] = ''.join(f'{file},,\n' for file in [*files, f'{info}/RECORD'])
    with zipfile.ZipFile(f'/wheels/{name}-1.0-py3-none-any.whl', 'w') as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
";

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let docker = Cli::find(bed).await;
    if docker.is_none() {
        say("no `docker` here speaks BuildKit with this engine: nothing is compared with it");
    }
    let mut rows = packages(bed).await;
    rows.extend(contexts(bed, docker.as_ref()).await);
    sweep(bed).await;
    rows
}

/// Berth's way from a commit to an image, without the loop around it.
struct Yard {
    engine: Docker,
    workspace: Arc<Workspace>,
    jobs: Arc<Jobs>,
    ended: UnboundedReceiver<Finished>,
    policy: Policy,
    root: PathBuf,
}

impl Yard {
    fn new(bed: &Bed, base: &str) -> Self {
        let host = format!("unix://{}", bed.socket.display());
        let engine = Docker::connect(DockerSettings::new(&host, &bed.instance)).unwrap();
        let root = bed.make_folder("yard");
        let settings = Settings {
            program: env!("CARGO_BIN_EXE_berth").into(),
            is_local_allowed: true,
            ..Settings::default()
        };
        let workspace = Arc::new(Workspace::new(root.clone(), settings));
        let (jobs, ended) = Jobs::new(
            Arc::new(engine.clone()),
            Arc::clone(&workspace),
            JobSettings::new(&bed.instance, &root),
            Clock::System,
        );
        let policy = Policy {
            instance: bed.instance.clone(),
            base_image: ImageRef::parse(base).unwrap(),
            is_local_git_allowed: true,
            ..Policy::default()
        };
        Self { engine, workspace, jobs, ended, policy, root }
    }

    async fn fetch(&self, app: &App) -> Checkout {
        let Source::Git(source) = &app.spec.source else { panic!("not from git") };
        let (log, _lines) = mpsc::channel(1000);
        self.workspace.fetch(&app.name, source, &self.root, &[], log).await.unwrap()
    }

    /// What has to be built for the app as it is on the disk; none when the image is there.
    async fn recipe(&self, app: &Arc<App>, checkout: Checkout) -> Option<Box<Recipe>> {
        let world = self.engine.observe().await.unwrap();
        let now = Clock::System.now();
        let checkout = Some(checkout);
        let state =
            AppState { generation: 1, checkout, checked_at: Some(now), ..AppState::default() };
        let want = Want::Present(Arc::clone(app));
        let (app, world, state, policy) = (&app.name, &world, &state, &self.policy);
        let plan = plan(&Input { app, want: &want, world, state, policy, now });
        assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
        plan.steps.into_iter().find_map(|step| match step.step {
            Step::Work(Work::Build(recipe)) => Some(recipe),
            _ => None,
        })
    }

    async fn build(&mut self, recipe: Box<Recipe>) -> Duration {
        self.jobs.start(&recipe.app.clone(), &Work::Build(recipe));
        let ended = self.ended.recv().await.unwrap();
        assert!(ended.result.is_ok(), "{:?}", ended.result);
        ended.took
    }

    fn builds(&self) -> u64 {
        self.engine.counts().get("build").copied().unwrap_or_default()
    }
}

/// A change of the source alone beside a change of what is installed, and no change at all.
async fn packages(bed: &Bed) -> Vec<Row> {
    let base = wheels(bed).await;
    let mut yard = Yard::new(bed, &base);
    let folder = bed.make_folder("packages");
    git(&folder, &["init", "--quiet", "--initial-branch=main"]).await;
    let app = app_of(&bed.names('p', 1)[0], &folder);
    let (mut cold, mut warm) = (Samples::default(), Samples::default());
    let (mut calls, mut answered) = (Samples::default(), Samples::default());
    for round in 0..rounds(3) {
        let list: Vec<_> = (0..PACKAGES).map(|n| format!("bench-pkg-{n:02}==1.0\n")).collect();
        let wanted = format!("# {round}\n--no-index\n--find-links /wheels\n{}", list.concat());
        let first =
            [("requirements.txt", wanted.as_str()), ("main.py", &format!("print({round})"))];
        commit(&folder, &first).await;
        let checkout = yard.fetch(&app).await;
        let recipe = yard.recipe(&app, checkout).await.unwrap();
        cold.add(yard.build(recipe).await);

        commit(&folder, &[("main.py", &format!("print({round}, 'again')"))]).await;
        let checkout = yard.fetch(&app).await;
        let recipe = yard.recipe(&app, checkout).await.unwrap();
        warm.add(yard.build(recipe).await);

        // Another commit of the same tree.
        git(&folder, &["commit", "--quiet", "--allow-empty", "--message", "same"]).await;
        let (before, since) = (yard.builds(), Instant::now());
        let checkout = yard.fetch(&app).await;
        assert!(yard.recipe(&app, checkout).await.is_none(), "equal inputs are built again");
        answered.add(since.elapsed());
        calls.add_plain(usize::try_from(yard.builds() - before).unwrap());
    }
    docker(bed, "docker", &["rmi", &base]).await;
    let title = format!(
        "app of {PACKAGES} packages of 60 modules: a change of the source alone, and its cold build"
    );
    vec![
        Row::new(title, "ms", Target::Ratio(0.1)).with("Berth", warm).with("raw", cold),
        Row::new("equal inputs: builds that the engine was asked for", "", Target::AtMost(0.0))
            .with("Berth", calls),
        Row::new("equal inputs: from the commit to the answer", "ms", Target::None)
            .with("Berth", answered),
    ]
}

/// A context of 500 MB of which one file changes in each round.
async fn contexts(bed: &Bed, docker: Option<&Cli>) -> Vec<Row> {
    let mut rows = Vec::new();
    let ways =
        [("one file is needed", "COPY one.txt /one.txt", 2.0), ("all is", "COPY . /all", 0.0)];
    for (what, copy, limit) in ways {
        let mut yard = Yard::new(bed, IMAGE);
        let app = app_of(&bed.names('x', 1)[0], Path::new("/nowhere"));
        let code = yard.workspace.code_dir(&app.name);
        large(&code, &format!("FROM {IMAGE}\n{copy}\n"));
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        let mut memory = Samples::default();
        for round in 0..rounds(3) {
            for side in 0..2 {
                std::fs::write(code.join("one.txt"), format!("{round} {side}")).unwrap();
                if (round + side) % 2 == 0 {
                    let recipe = bare(bed, &app, &format!("{round}"));
                    let (took, grown) = growth(yard.build(Box::new(recipe))).await;
                    ours.add(took);
                    memory.add_ms(grown);
                } else if let Some(docker) = docker {
                    theirs.add(docker.build(bed, &code, &app).await);
                }
            }
        }
        let target =
            if docker.is_some() && 0.0 < limit { Target::Ratio(limit) } else { Target::None };
        let mut row = Row::new(format!("context of {FILES} MiB, {what}"), "ms", target);
        row = row.with("Berth", ours);
        if let Some(docker) = docker {
            say(&format!("raw is {}", docker.name));
            row = row.with("raw", theirs);
        }
        rows.push(row);
        let title = format!("context of {FILES} MiB, {what}: more resident memory meanwhile");
        rows.push(Row::new(title, "MB", Target::Below(64.0)).with("Berth", memory));
        tokio::fs::remove_dir_all(&code).await.unwrap();
        sweep(bed).await;
    }
    rows
}

/// What a Dockerfile of the repository is built from, without a repository.
fn bare(bed: &Bed, app: &App, tree: &str) -> Recipe {
    Recipe {
        instance: bed.instance.clone(),
        app: app.name.clone(),
        tree: tree.to_owned(),
        commit: String::new(),
        dockerfile: Dockerfile::InSource("Dockerfile".to_owned()),
        target: None,
        args: std::collections::BTreeMap::new(),
        base: None,
        ca_bundle: None,
        secrets: Vec::new(),
        rebuilds: 0,
        is_from_scratch: false,
        twin: None,
        from: None,
        why: String::new(),
    }
}

/// Does something; answers by how many megabytes this process grew meanwhile, at most.
async fn growth<T>(work: impl Future<Output = T>) -> (T, f64) {
    let before = resident();
    let mut most = before;
    let mut work = std::pin::pin!(work);
    let done = loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => break done,
            Err(_) => most = most.max(resident()),
        }
    };
    (done, (most - before) / 1e6)
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = text.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
    pages.unwrap() * 4096.0
}

/// Files of words that no compression makes small, and a Dockerfile.
fn large(code: &Path, dockerfile: &str) {
    std::fs::create_dir_all(code.join("data")).unwrap();
    std::fs::write(code.join("Dockerfile"), dockerfile).unwrap();
    let mut chance = 7_u64;
    let mut bytes = vec![0; MIB];
    for nth in 0..FILES {
        for piece in bytes.chunks_mut(8) {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            piece.copy_from_slice(&chance.to_le_bytes());
        }
        std::fs::write(code.join(format!("data/f{nth}.bin")), &bytes).unwrap();
    }
}

/// A `docker` that builds with `BuildKit`.
struct Cli {
    program: &'static str,
    name: String,
}

impl Cli {
    /// One with buildx, or one of the time before buildx was needed.
    async fn find(bed: &Bed) -> Option<Self> {
        for program in ["docker", "/usr/bin/docker"] {
            let folder = bed.make_folder("probe");
            std::fs::write(folder.join("Dockerfile"), format!("FROM {IMAGE}\n")).unwrap();
            let mut command = Self::command(bed, program);
            command.args(["build", "--quiet"]).arg(&folder);
            let is_able = command.status().await.is_ok_and(|status| status.success());
            let output = Command::new(program).arg("--version").output().await;
            if let (true, Ok(output)) = (is_able, output) {
                let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                return Some(Self { program, name });
            }
        }
        None
    }

    fn command(bed: &Bed, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-H").arg(format!("unix://{}", bed.socket.display()));
        command.env("DOCKER_BUILDKIT", "1").stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn build(&self, bed: &Bed, code: &Path, app: &App) -> Duration {
        let mut command = Self::command(bed, self.program);
        let label = format!("{}={}", berth::model::label::IMAGE_INSTANCE, bed.instance);
        command.args(["build", "--quiet", "--label", &label, "--tag"]);
        command.arg(format!("bench/{}:raw", app.name)).arg(code);
        let since = Instant::now();
        assert!(command.status().await.unwrap().success());
        since.elapsed()
    }
}

/// A base image with the wheels in it; answers its name.
async fn wheels(bed: &Bed) -> String {
    let folder = bed.make_folder("wheels");
    std::fs::write(folder.join("wheels.py"), WHEELS).unwrap();
    let text = format!(
        "FROM {PYTHON}\nCOPY wheels.py /wheels/\nRUN python3 /wheels/wheels.py {PACKAGES}\n"
    );
    std::fs::write(folder.join("Dockerfile"), text).unwrap();
    let tag = format!("bench/wheels:{}", std::process::id());
    docker(bed, "docker", &["build", "--quiet", "--tag", &tag, &folder.display().to_string()])
        .await;
    tag
}

async fn docker(bed: &Bed, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.arg("-H").arg(format!("unix://{}", bed.socket.display())).env("DOCKER_BUILDKIT", "0");
    let output = command.args(args).output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Removes every image of this run.
async fn sweep(bed: &Bed) {
    let label = format!("label={}={}", berth::model::label::IMAGE_INSTANCE, bed.instance);
    let list = docker(bed, "docker", &["images", "--quiet", "--filter", &label]).await;
    for id in list.lines() {
        docker(bed, "docker", &["rmi", "--force", id]).await;
    }
}

fn app_of(name: &str, repository: &Path) -> Arc<App> {
    let text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  \
         source: {{git: {}}}\n  run: python3 main.py\n",
        repository.display()
    );
    let reading = read_file("bench.yaml", text.as_bytes());
    reading.apps.into_iter().next().unwrap()
}

async fn commit(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        std::fs::write(folder.join(path), text).unwrap();
    }
    git(folder, &["add", "."]).await;
    git(folder, &["commit", "--quiet", "--message", "m"]).await;
}

async fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(args);
    assert!(command.status().await.unwrap().success(), "git {args:?}");
}
