//! A second engine that a test may kill, starve and replace, and the real program beside it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

/// The image of all containers here.
pub(crate) const TINY: &str = "berth/tiny:offline";
/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// Where Berth listens, in the engine's own network namespace.
const LISTEN: &str = "127.0.0.1:8000";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/setup/second-engine.sh")
}

/// Runs a command; answers what it said, or fails with what it complained about.
#[track_caller]
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Waits until something holds; fails with `report` when it never does.
#[track_caller]
pub(crate) fn until(what: &str, report: impl Fn() -> String, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came to pass: {what}\n{}", report());
        std::thread::park_timeout(LOOK);
    }
}

/// What tells one life of a container from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) id: String,
    pub(crate) started: String,
    pub(crate) restarts: i64,
}

/// An engine of our own. It and all that runs on it end when this is dropped, or with the test.
pub(crate) struct Second {
    folder: TempDir,
    hold: Child,
}

impl Second {
    /// An engine with these flags that has the tiny image; `disk` is the size of its own disk.
    pub(crate) fn start(disk: &str, flags: &[&str]) -> Self {
        let second = Self::hold(disk);
        second.up(flags);
        second.load();
        second
    }

    /// The place for an engine that is not started yet.
    pub(crate) fn hold(disk: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(script());
        command.arg("hold").arg(folder.path()).env("DISK", disk);
        let mut hold = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(hold.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "a second engine needs root: {}", script().display());
        Self { folder, hold }
    }

    /// Gives it the tiny image.
    pub(crate) fn load(&self) {
        self.script("load", &[TINY]);
    }

    fn script(&self, verb: &str, args: &[&str]) -> String {
        must(Command::new(script()).arg(verb).arg(self.folder.path()).args(args))
    }

    /// Starts dockerd, for the first time or again.
    pub(crate) fn up(&self, flags: &[&str]) {
        self.script("up", flags);
    }

    /// Starts dockerd in this environment.
    pub(crate) fn up_with(&self, env: &[(&str, &str)], flags: &[&str]) {
        let mut command = Command::new(script());
        must(command.arg("up").arg(self.folder.path()).args(flags).envs(env.iter().copied()));
    }

    /// Ends a program of the engine as a crash does.
    pub(crate) fn kill(&self, program: &str) {
        self.script("kill", &[program]);
    }

    /// Runs a command among the engine's own mounts and processes.
    pub(crate) fn enter(&self, args: &[&str]) -> String {
        self.script("enter", args)
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    pub(crate) fn text(&self, part: &str) -> String {
        self.path(part).display().to_string()
    }

    /// A command in the engine's network.
    fn near(&self, program: &str) -> Command {
        let mut command = Command::new(script());
        command.arg("net").arg(self.folder.path()).arg(program);
        command
    }

    /// The engine's network, to be moved into.
    pub(super) fn network(&self) -> File {
        let holder = fs::read_to_string(self.path("holder")).unwrap();
        File::open(format!("/proc/{}/ns/net", holder.trim())).unwrap()
    }

    /// The body of an answer to `GET path` in the engine's network, when it is a good one.
    pub(super) fn get(&self, path: &str) -> Option<String> {
        let network = self.network();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let talk = move || -> std::io::Result<String> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let mut stream = TcpStream::connect(LISTEN)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // A thread of its own, for it does not come back from there.
        let answer = std::thread::spawn(talk).join().unwrap().ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200")?;
        Some(body.to_owned())
    }

    /// Runs `docker`, which must succeed.
    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        must(Command::new("docker").args(["-H", &self.host()]).args(args))
    }

    fn host(&self) -> String {
        format!("unix://{}", self.text("engine.sock"))
    }

    /// The containers with these filters, as inspections show them.
    fn inspect(&self, filter: &str) -> Vec<Value> {
        let filter = format!("label={filter}");
        let ids = self.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        if ids.is_empty() {
            return Vec::new();
        }
        // Those that are gone meanwhile are left out, and complained about.
        let mut command = Command::new("docker");
        let output = command.args(["-H", &self.host(), "inspect"]).args(ids.lines()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    }

    /// The lives of an app's containers.
    pub(crate) fn lives(&self, app: &str) -> Vec<Life> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let life = |seen: &Value| Life {
            id: text(&seen["Id"]),
            started: text(&seen["State"]["StartedAt"]),
            restarts: seen["RestartCount"].as_i64().unwrap(),
        };
        self.inspect(&format!("dev.berth.app={app}")).iter().map(life).collect()
    }

    /// The values that an app's containers were given, of those that run.
    pub(crate) fn values(&self, app: &str) -> Vec<String> {
        let all = self.inspect(&format!("dev.berth.app={app}"));
        let runs = all.iter().filter(|seen| seen["State"]["Running"] == true);
        let pairs = runs.flat_map(|seen| seen["Config"]["Env"].as_array().unwrap());
        let value = |pair: &Value| pair.as_str()?.strip_prefix("VALUE=").map(ToOwned::to_owned);
        pairs.filter_map(value).collect()
    }

    /// The ids of all containers, whoever made them.
    pub(crate) fn all(&self) -> Vec<String> {
        let ids = self.docker(&["ps", "--all", "--quiet", "--no-trunc"]);
        let mut ids: Vec<_> = ids.lines().map(ToOwned::to_owned).collect();
        ids.sort();
        ids
    }

    /// The end of the engine's log.
    pub(crate) fn log(&self) -> String {
        end_of(&self.path("dockerd.log"))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        drop(self.hold.stdin.take());
        let _ = self.hold.wait();
    }
}

/// The folders of one Berth.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["manifests", "drafts", "state", "workspaces"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Puts the manifest of an app into the folder that serves its value over HTTP.
    pub(crate) fn put(&self, app: &str, value: &str) {
        let text = format!(
            "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  image: {TINY}\n  \
             command: [httpd, -f, -p, \"8080\", -h, /www]\n  port: 8080\n  env: {{VALUE: \"{value}\"}}\n  \
             health: {{interval: 1s}}\n"
        );
        self.write(app, &text);
    }

    /// Puts the manifest of an app into the folder that has no health check: it need not be
    /// reached from here.
    pub(crate) fn put_unchecked(&self, app: &str, value: &str) {
        self.write(
            app,
            &format!(
                "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  image: {TINY}\n  \
                 env: {{VALUE: \"{value}\"}}\n"
            ),
        );
    }

    pub(crate) fn write(&self, app: &str, text: &str) {
        let draft = self.path("drafts").join(app);
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.path("manifests").join(format!("{app}.yaml"))).unwrap();
    }

    /// Starts the real program beside an engine, speaking through `socket`.
    pub(crate) fn start<'a>(&'a self, second: &'a Second, socket: &str) -> Berth<'a> {
        self.start_with(second, socket, &[])
    }

    /// The same, with further flags.
    pub(crate) fn start_with<'a>(
        &'a self,
        second: &'a Second,
        socket: &str,
        flags: &[&str],
    ) -> Berth<'a> {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = second.near(env!("CARGO_BIN_EXE_berth"));
        command.arg("run");
        for (flag, part) in
            [("--manifests", "manifests"), ("--state-dir", "state"), ("--workspaces", "workspaces")]
        {
            command.arg(flag).arg(self.path(part));
        }
        command
            .args(["--listen", LISTEN, "--docker-host", &format!("unix://{}", second.text(socket))])
            .args(["--instance", "failing", "--resync", "1s", "--ports", "8101-8199"])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(log);
        Berth { child: command.spawn().unwrap(), home: self, second }
    }
}

/// The program, running until this is dropped.
pub(crate) struct Berth<'a> {
    child: Child,
    home: &'a Home,
    second: &'a Second,
}

impl Berth<'_> {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How much of it is in memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// Asks it for something through its command line.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String, String> {
        let mut command = self.second.near(env!("CARGO_BIN_EXE_berth"));
        let output = command.args(args).args(["--server", &format!("http://{LISTEN}")]).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let said = text(&output.stdout);
        if output.status.success() { Ok(said) } else { Err(said + &text(&output.stderr)) }
    }

    /// An app's status, as JSON.
    pub(crate) fn status(&self, app: &str) -> Option<Value> {
        let said = self.second.get(&format!("/api/v1/apps/{app}"))?;
        serde_json::from_str::<Value>(&said).ok().map(|document| document["status"].clone())
    }

    fn says(&self, app: &str, phase: &str, text: &str) -> bool {
        self.status(app).is_some_and(|status| {
            status["phase"] == phase && status["message"].as_str().is_some_and(|m| m.contains(text))
        })
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        until(what, || self.report(), holds);
    }

    /// Waits for an app's phase, with a text in its message.
    #[track_caller]
    pub(crate) fn until_said(&self, app: &str, phase: &str, text: &str) {
        self.until(&format!("{app} is {phase}: {text}"), || self.says(app, phase, text));
    }

    /// Waits until apps run, and answers their lives, each of one container.
    #[track_caller]
    pub(crate) fn until_running(&self, apps: &[&str]) -> Vec<Life> {
        for app in apps {
            self.until_said(app, "Running", "");
            self.until(&format!("{app} has one container"), || self.second.lives(app).len() == 1);
        }
        apps.iter().flat_map(|app| self.second.lives(app)).collect()
    }

    /// How many passes have ended.
    fn passes(&self) -> f64 {
        self.sum("berth_reconcile_total{")
    }

    /// How many steps were tried.
    pub(crate) fn steps(&self) -> f64 {
        self.sum("berth_steps_total{")
    }

    fn sum(&self, metric: &str) -> f64 {
        let text = self.second.get("/metrics").unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with(metric));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits for so many passes more: long enough for whatever it would do of itself.
    #[track_caller]
    pub(crate) fn passes_more(&self, count: u32) {
        let goal = self.passes() + f64::from(count);
        self.until("it looks at everything again", || goal <= self.passes());
    }

    fn report(&self) -> String {
        let said = self.ask(&["get", "--output", "json"]).unwrap_or_else(|complaint| complaint);
        let log = end_of(&self.home.path("log"));
        format!("{said}\n-- berth:\n{log}\n-- dockerd:\n{}", self.second.log())
    }
}

impl Drop for Berth<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn end_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
