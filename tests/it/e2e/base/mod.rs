//! The base image that images of apps extend, as containers of it behave, and apps on it.
//!
//! All tests share the one image `berth/workspace:offline` (`make base-image`), and fail without.
//! `BERTH_TEST_BASE_IMAGE` names another one of the family, on another parent.

#![expect(clippy::disallowed_methods, reason = "containers and other programs are waited for")]

pub(super) mod app;
mod image;
mod remotes;
mod ssh;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::engine::{docker, try_docker};

/// The image.
static IMAGE: LazyLock<String> = LazyLock::new(|| {
    std::env::var("BERTH_TEST_BASE_IMAGE").unwrap_or_else(|_| "berth/workspace:offline".to_owned())
});
/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How Berth holds what it runs.
const HELD: [&str; 5] =
    ["--init", "--security-opt", "no-new-privileges", "--cap-drop=NET_RAW", "--pids-limit=4096"];

static CONTAINERS: AtomicU32 = AtomicU32::new(0);

fn image() -> &'static str {
    &IMAGE
}

#[track_caller]
fn must_have_the_image() {
    super::engine::must_be_ready();
    let image = image();
    let is_here = try_docker(&["image", "inspect", "--format", "{{.Id}}", image]).is_ok();
    assert!(is_here, "the engine has no image {image}: run `make base-image`");
}

/// A container of the image, gone when it is dropped.
struct Box(String);

impl Box {
    /// Starts one, held as Berth holds its own.
    #[track_caller]
    fn start(options: &[&str], command: &[&str]) -> Self {
        must_have_the_image();
        let nth = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("berth-base-{}-{nth}", std::process::id());
        let begin = ["run", "--detach", "--name", &name];
        docker(&[&begin, HELD.as_slice(), options, &[image()], command].concat());
        Self(name)
    }

    #[track_caller]
    fn exec(&self, line: &str) -> String {
        docker(&["exec", &self.0, "bash", "-c", line])
    }

    fn try_exec(&self, line: &str) -> Result<String, String> {
        try_docker(&["exec", &self.0, "bash", "-c", line])
    }

    /// All that it has written.
    fn log(&self) -> String {
        let mut command = Command::new("docker");
        let output = command.args(["-H", &super::engine::host(), "logs", &self.0]).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }

    fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "--format", format, &self.0])
    }

    /// Waits until a line of bash succeeds inside; answers what it said.
    #[track_caller]
    fn until(&self, line: &str) -> String {
        until(&format!("{line}\n{}", self.log()), || self.try_exec(line).ok())
    }

    /// Waits until its log has all these.
    #[track_caller]
    fn until_logged(&self, words: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let log = self.log();
            let missing = words.iter().find(|word| !log.contains(**word));
            let Some(missing) = missing else { return log };
            assert!(start.elapsed() < PATIENCE, "never logged: {missing}\n{log}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Waits until it has ended; answers its exit code.
    fn wait(&self) -> i32 {
        docker(&["wait", &self.0]).parse().unwrap()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "-- log of {}:\n{}", self.0, self.log());
        }
        let _ = try_docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

#[track_caller]
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never came to pass: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Keys of a person: a file with the private one, beside it the public one.
struct Keys(PathBuf);

impl Keys {
    fn make(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let mut command = Command::new("ssh-keygen");
        let made = command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        assert!(made.status().unwrap().success(), "ssh-keygen fails: run compose/setup/sshd.sh");
        Self(path)
    }

    fn public(&self) -> String {
        fs::read_to_string(self.0.with_extension("pub")).unwrap().trim().to_owned()
    }

    /// Runs a line over ssh with this key alone.
    fn ssh(&self, user: &str, host: &str, line: &str) -> Result<String, String> {
        let options = ["-o", "IdentitiesOnly=yes", "-i", &self.0.display().to_string()];
        ssh(&options, user, host, line)
    }
}

fn ssh(options: &[&str], user: &str, host: &str, line: &str) -> Result<String, String> {
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
        .args(["-o", "ConnectTimeout=10"])
        .args(options)
        .arg(format!("{user}@{host}"))
        .arg(line)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A folder of the host, owned by somebody who is not root, where this can be had.
struct Shared {
    folder: tempfile::TempDir,
    uid: u32,
}

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let uid = if is_root { 4321 } else { rustix::process::geteuid().as_raw() };
        if is_root {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(uid)).unwrap();
        }
        Self { folder, uid }
    }

    fn mount(&self) -> String {
        format!("{}:/workspace", self.folder.path().display())
    }

    /// Whether its owner can run this there, outside of the container.
    fn as_owner(&self, line: &str) -> bool {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path());
        if rustix::process::geteuid().is_root() {
            command.uid(self.uid).gid(self.uid);
        }
        command.stderr(Stdio::null()).status().unwrap().success()
    }
}
