//! Runs the git worker: a process of its own, because nothing else can be killed when a server
//! stalls or a library does not come back (faults G01, G20).

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    Settings,
    address::Host,
    error::Error,
    heads::Heads,
    place::HOME,
    protocol::{Answer, Job, Message, Origin},
};
use crate::host::free_bytes;
use crate::model::format_bytes;

/// The most that a worker may say. More is not an answer of ours.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// How much of what a dying worker wrote is kept.
const LAST_WORDS_MAX: u64 = 4096;
/// A disk with less room than this is full.
const FREE_MIN: u64 = 64 << 20;
/// How long a killed worker may need to be gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a worker answers.
pub(super) enum Said {
    Listed(Heads),
    Done(Answer),
}

/// Has the worker do `job`. Dropping the future kills the worker.
pub(super) async fn run(
    settings: &Settings,
    job: &Job,
    progress: &mpsc::Sender<String>,
) -> Result<Said, Error> {
    let failed = |message: String| Error::Failed { url: job.shown.clone(), message };
    let mut line = serde_json::to_vec(job).map_err(|error| failed(error.to_string()))?;
    line.push(b'\n');
    let mut child = command(settings, job)
        .spawn()
        .map_err(|error| failed(format!("the git worker can't be started: {error}")))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed("the git worker has no pipes".to_owned()));
    };
    // A worker that died at once tells more by its end than by the broken pipe.
    let _ = stdin.write_all(&line).await;
    let last_words = async {
        let mut text = Vec::new();
        let _ = stderr.take(LAST_WORDS_MAX).read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let talk = listen(settings, job, stdout, progress);
    let heard = match timeout(settings.deadline, talk).await {
        Ok(heard) => heard,
        Err(_) => Err(Error::Timeout {
            url: job.shown.clone(),
            seconds: settings.deadline.as_secs(),
            message: "all of it took too long (git-timeout)".to_owned(),
        }),
    };
    match heard {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            let words = timeout(DEATH_TIMEOUT, last_words).await.unwrap_or_default();
            let status = timeout(DEATH_TIMEOUT, child.wait()).await;
            Err(end_of(job, status.ok().and_then(Result::ok), &words))
        }
        Err(error) => {
            end(&mut child).await;
            Err(error)
        }
    }
}

fn command(settings: &Settings, job: &Job) -> Command {
    let mut command = Command::new(&settings.program);
    command
        .arg0("berth")
        .arg(super::worker::COMMAND)
        .env_clear()
        .envs(&settings.env)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // The library chooses among a host's keys by the file that it finds there.
    if matches!(&job.origin, Origin::Remote(url) if Host::of(url).scheme == "ssh") {
        command.env("HOME", job.area.join(HOME));
    }
    command
}

/// Passes progress on until there is an answer. None when the worker ended without one.
async fn listen(
    settings: &Settings,
    job: &Job,
    stdout: ChildStdout,
    progress: &mpsc::Sender<String>,
) -> Result<Option<Said>, Error> {
    let failed = |message: String| Error::Failed { url: job.shown.clone(), message };
    let mut lines = BufReader::new(stdout.take(OUTPUT_BYTES_MAX)).lines();
    let mut last = "there was no sign of life".to_owned();
    loop {
        let line = match timeout(settings.idle, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => {
                let seconds = settings.idle.as_secs();
                let message = format!("{last} (git-idle-timeout)");
                return Err(Error::Timeout { url: job.shown.clone(), seconds, message });
            }
        };
        match serde_json::from_str(&line) {
            Ok(Message::Alive) => {}
            Ok(Message::Progress(text)) => {
                last = format!("nothing happened after “{text}”");
                // Progress that nobody reads is not worth waiting for.
                let _ = progress.try_send(text);
            }
            Ok(Message::Note(text)) => {
                let _ = progress.try_send(text);
            }
            Ok(Message::Listed(heads)) => return Ok(Some(Said::Listed(heads))),
            Ok(Message::Done(answer)) => return Ok(Some(Said::Done(answer))),
            Ok(Message::Failed(error)) => return Err(error),
            Err(error) => {
                return Err(failed(format!("the git worker's words make no sense: {error}")));
            }
        }
    }
}

async fn end(child: &mut Child) {
    let _ = child.start_kill();
    let _ = timeout(DEATH_TIMEOUT, child.wait()).await;
}

/// The error of a worker that ended without an answer.
fn end_of(job: &Job, status: Option<ExitStatus>, words: &str) -> Error {
    use std::os::unix::process::ExitStatusExt as _;
    let file_too_large = rustix::process::Signal::XFSZ.as_raw();
    if status.and_then(|status| status.signal()) == Some(file_too_large) {
        return Error::TooLarge(format!(
            "a file of the transfer exceeds {} bytes (git-max-transfer)",
            job.limits.transfer_bytes
        ));
    }
    // The library writes through memory: where a disk has no room for that, the kernel ends it.
    let died_writing = rustix::process::Signal::BUS.as_raw();
    let free = free_bytes(&job.mirrors).filter(|free| *free < FREE_MIN);
    if let Some(free) = free.filter(|_| status.and_then(|s| s.signal()) == Some(died_writing)) {
        return Error::NoRoom(format!(
            "what came could not be written, and {} are free at {}",
            format_bytes(free),
            job.mirrors.display()
        ));
    }
    let how = status.map_or_else(|| "it is not known how".to_owned(), |status| status.to_string());
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    let message = format!("the git worker ended without an answer ({how}){words}");
    Error::Failed { url: job.shown.clone(), message }
}
