//! Programs of the operator's that decrypt: `age` and `sops`.
//!
//! # Guarantees
//! - No shell. What is encrypted goes in by standard input, what is not comes out by standard
//!   output; the key is read by the program itself, from a file, and is no argument.
//! - A program that does not end, or says too much, is killed.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

use super::VALUE_BYTES_MAX;

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of what a program complains about is read.
const COMPLAINT_MAX: u64 = 4096;
/// How much of that is told.
const TOLD_MAX: usize = 200;

/// Which programs decrypt, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// `age`.
    pub age: PathBuf,
    /// `sops`.
    pub sops: PathBuf,
    /// The file of age keys.
    pub identity: PathBuf,
    /// How long each may take.
    pub deadline: Duration,
}

impl Tools {
    /// The programs of the machine, with this file of keys.
    pub fn new(identity: impl Into<PathBuf>) -> Self {
        let identity = identity.into();
        Self { age: "age".into(), sops: "sops".into(), identity, deadline: DEADLINE }
    }

    /// What there is to know of the key's file, so that another one is noticed; an error when
    /// it is not there or others may read it.
    pub(super) fn key_state(&self) -> Result<String, String> {
        let shown = self.identity.display();
        let seen = std::fs::metadata(&self.identity).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no key to decrypt it with: put one into {shown} with `age-keygen -o`, or name its file with --age-identity"
            ),
            _ => format!("{shown}: {error}"),
        })?;
        if seen.mode() & 0o077 != 0 {
            return Err(format!("{shown} may be read by others: run `chmod 600 {shown}`"));
        }
        Ok(format!("{} {} {} {}", seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()))
    }

    /// The value of a text that age has encrypted.
    pub(super) async fn of_age(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut command = Self::command(&self.age);
        command.arg("--decrypt").arg("--identity").arg(&self.identity);
        self.run(command, &self.age, text).await
    }

    /// A document that SOPS has encrypted, as JSON.
    pub(super) async fn of_sops(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut command = Self::command(&self.sops);
        let how = ["--decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin"];
        command.args(how).env("SOPS_AGE_KEY_FILE", &self.identity);
        self.run(command, &self.sops, text).await
    }

    /// A program that gets nothing of Berth's environment but where programs are.
    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        let plain = ["PATH", "HOME", "LANG"].map(|name| (name, std::env::var_os(name)));
        let plain = plain.into_iter().filter_map(|(name, value)| Some((name, value?)));
        command
            .env_clear()
            .envs(plain)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    async fn run(
        &self,
        mut command: Command,
        program: &Path,
        text: &str,
    ) -> Result<Vec<u8>, String> {
        let shown = program.display().to_string();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                format!("the program `{shown}` is not there: install it, or name it in the configuration")
            }
            _ => format!("{shown} can't be started: {error}"),
        })?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("{shown} has no pipes"));
        };
        let text = text.as_bytes().to_vec();
        let talk = async {
            let feed = async move {
                let _ = stdin.write_all(&text).await;
                drop(stdin);
            };
            let most = VALUE_BYTES_MAX as u64 + 1;
            let ((), said, complaint) =
                tokio::join!(feed, read(stdout, most), read(stderr, COMPLAINT_MAX));
            (said, complaint, child.wait().await)
        };
        let Ok((said, complaint, status)) = timeout(self.deadline, talk).await else {
            return Err(format!("{shown} took longer than {} s", self.deadline.as_secs()));
        };
        if VALUE_BYTES_MAX < said.len() {
            return Err(format!("what {shown} says is longer than 1 MiB"));
        }
        match status {
            Ok(status) if status.success() => Ok(said),
            Ok(status) => Err(format!("{shown} failed ({status}): {}", told(&complaint))),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    }
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(most).read_to_end(&mut bytes).await;
    bytes
}

/// The first line of a complaint, as far as it is fit to be shown.
fn told(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    line.chars().filter(|c| !c.is_control()).take(TOLD_MAX).collect()
}
