//! The git worker: a process that Berth starts for one fetch and may kill at any moment.
//!
//! It reads one [`Job`] from its standard input, writes below the app's hidden folder only, and
//! says what it found on its standard output. It ends itself when its input ends, which is when
//! Berth is gone.

pub(super) mod addresses;
mod ahead;
mod ancestry;
mod credentials;
mod export;
mod failure;
mod lfs;
mod links;
mod local;
mod mirrors;
mod modules;
mod names;
mod remote;
mod report;
mod settings;
mod ssh;
mod tree;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, Read as _},
    path::Path,
    process::ExitCode,
};

use git2::{ConfigLevel, Oid, Repository};
use rustix::process::{Resource, Rlimit};

use self::{ancestry::Way, failure::Failure, modules::Sources, report::Report};
use super::{
    error::{Error, short},
    heads::Found,
    place,
    protocol::{Answer, Job, Limits, Message, Origin, Task},
};
use crate::model::Reason;
use crate::state::Ahead;

/// The hidden subcommand that starts a worker.
pub const COMMAND: &str = "git-worker";

/// How much memory a worker may have mapped.
const ADDRESS_BYTES_MAX: u64 = 16 << 30;
/// Who goes when memory runs out: the one with the highest score. So much is added to Berth's own.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const GOES_FIRST: i32 = 500;
const OOM_SCORE_MAX: i32 = 1000;
/// How much of the packs is mapped at a time.
const WINDOW_BYTES_MAX: usize = 1 << 30;

/// The worker's `main`: the program calls it when its first argument is [`COMMAND`].
pub fn main() -> ExitCode {
    let report = Report::default();
    let message = match read_job().map_err(|error| error.to_string()) {
        Ok(job) => run(&job, &report).unwrap_or_else(Message::Failed),
        Err(message) => Message::Failed(Error::Failed { url: String::new(), message }),
    };
    report::send(&message);
    ExitCode::SUCCESS
}

fn read_job() -> io::Result<Job> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job = serde_json::from_str(&line)?;
    std::thread::Builder::new().spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    })?;
    Ok(job)
}

fn run(job: &Job, report: &Report) -> Result<Message, Error> {
    let failed = |message: String| Error::Failed { url: job.shown.clone(), message };
    limit_process(&job.limits).map_err(|error| Error::disk(&job.area, &error))?;
    set_git_options(job).map_err(|error| failed(error.message().to_owned()))?;
    let done = match (job.task, &job.origin) {
        (Task::List, Origin::Remote(url)) => remote::list(job, url).map(Message::Listed),
        (Task::List, Origin::Local(_)) => {
            Err(Failure::Refused("only remotes are asked what they have".to_owned()))
        }
        (Task::Fetch, _) => fetch(job, report).map(Message::Done),
    };
    done.map_err(|failure| match failure {
        Failure::Told(error) => error,
        Failure::Mirror(why) | Failure::Refused(why) => failed(why),
    })
}

fn fetch(job: &Job, report: &Report) -> Result<Answer, Failure> {
    let on_disk = |error: io::Error| Error::disk(&job.area, &error);
    // One worker at a time for each app: one that was killed may need a moment to be gone.
    let lock = File::create(job.area.join("lock")).map_err(on_disk)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| on_disk(error.into()))?;
    let mut sources = Sources::default();
    let first = once(job, &mut sources, report);
    let done = match first {
        Err(Failure::Mirror(why)) if !matches!(job.origin, Origin::Local(_)) => {
            report::note(format!("the mirror of {} is made anew: {why}", job.shown));
            mirrors::forget_all(job, &sources)?;
            once(job, &mut Sources::default(), report)
        }
        first => first,
    };
    if let Err(failure) = &done {
        // What did not come whole would keep others from a disk that is full (fault G09). What can't
        // go now goes before the next attempt.
        let _ = clear_leftovers(&job.area);
        if matches!(failure, Failure::Told(error) if error.reason() == Reason::DiskFull) {
            let _ = mirrors::tidy(job, &sources);
        }
    }
    done
}

fn once(job: &Job, sources: &mut Sources, report: &Report) -> Result<Answer, Failure> {
    clear_leftovers(&job.area).map_err(|error| Error::disk(&job.area, &error))?;
    let (repository, found) = open_origin(job, sources, report)?;
    let commit = Oid::from_str(&found.commit).map_err(Failure::mirror)?;
    let commit = repository.find_commit(commit).map_err(Failure::mirror)?;
    let tree = tree::at(&repository, &commit, job)?;
    let mut id = tree.id().to_string();
    if job.submodules {
        // The same tree without them is another one.
        id.push_str("+submodules");
    }
    let files = tree::files(&tree, &job.look_for);
    let facts = tree::facts(&repository, &tree, &files, &job.look_for);
    let what = said_of(&repository, &found, job);
    let ahead = ahead_of(&repository, commit.id(), job);
    let staged = if job.have.as_ref() == Some(&id) {
        None
    } else {
        let staged = job.area.join(format!("new-{}", commit.id()));
        let main = sources.add(&repository, &commit, job).map_err(Failure::mirror)?;
        export::export((main, tree.id()), sources, &staged, job, report)?;
        Some(staged)
    };
    Ok(Answer { commit: commit.id().to_string(), what, tree: id, files, facts, ahead, staged })
}

/// Opens the repository that a job names, with the commit that it names in it.
fn open_origin(
    job: &Job,
    sources: &mut Sources,
    report: &Report,
) -> Result<(Repository, Found), Failure> {
    match &job.origin {
        Origin::Remote(url) => {
            sources.urls.push(url.clone());
            let before = report.received();
            let fetched = remote::fetch(job, url, report)?;
            // What the indexer has checked just now need not be checked once more.
            git2::opts::strict_hash_verification(report.received() == before);
            if before < report.received() {
                let _ = mirrors::sweep(&job.mirrors);
            }
            Ok(fetched)
        }
        Origin::Local(path) => local::open_at(job, path),
    }
}

/// What a commit is, with what happened to its branch since the last time (fault G08). Where a part
/// of a history does not tell, that is said.
fn said_of(repository: &Repository, found: &Found, job: &Job) -> String {
    let way = || {
        let had = job.had.as_ref()?;
        let is_followed = had.what == found.what && found.what.starts_with("branch ");
        let (old, new) = (Oid::from_str(&had.commit).ok()?, Oid::from_str(&found.commit).ok()?);
        let way = if is_followed && old != new {
            ancestry::way(repository, old, new).ok()?
        } else {
            Way::On
        };
        Some((way, short(&had.commit)))
    };
    let what = &found.what;
    match way() {
        Some((Way::Anew, had)) => format!("{what}, force-pushed over {had}"),
        Some((Way::Unknown, had)) => format!(
            "{what}, went on from {had} or was force-pushed over it: the part of its history that is \
             here does not tell (`depth: 0` has all of it fetched)"
        ),
        Some((Way::On, _)) | None => what.clone(),
    }
}

/// How far the commit is ahead of those that run, or may run again. What can't be told is left out.
fn ahead_of(repository: &Repository, new: Oid, job: &Job) -> BTreeMap<String, Ahead> {
    let one = |old: &String| {
        let id = Oid::from_str(old).ok()?;
        Some((old.clone(), ahead::ahead(repository, id, new).ok()??))
    };
    job.behind.iter().filter_map(one).collect()
}

fn limit_process(limits: &Limits) -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // When memory runs out, this goes first, and not the Berth that it works for (fault T12).
    // Where that can't be said, it is as likely as others.
    let known = fs::read_to_string(OOM_SCORE).unwrap_or_default();
    let score = known.trim().parse::<i32>().unwrap_or_default() + GOES_FIRST;
    let _ = fs::write(OOM_SCORE, score.min(OOM_SCORE_MAX).to_string());
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let file_bytes = limits.transfer_bytes.saturating_mul(2).max(1 << 20);
    rustix::process::setrlimit(Resource::Core, both(0))?;
    rustix::process::setrlimit(Resource::Fsize, both(file_bytes))?;
    let known = rustix::process::getrlimit(Resource::As).maximum;
    let bytes = known.map_or(ADDRESS_BYTES_MAX, |known| known.min(ADDRESS_BYTES_MAX));
    Ok(rustix::process::setrlimit(Resource::As, both(bytes))?)
}

/// No configuration of the host applies (fault G19), and no server may be silent for ever (G01).
fn set_git_options(job: &Job) -> Result<(), git2::Error> {
    git2::opts::strict_hash_verification(true);
    let millis = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let levels =
        [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global];
    #[expect(unsafe_code, reason = "the library's options are global to the process")]
    // SAFETY: no other thread of this process has called the library yet.
    unsafe {
        for level in levels {
            git2::opts::set_search_path(level, "")?;
        }
        git2::opts::set_server_connect_timeout_in_milliseconds(millis(
            job.limits.connect_timeout_ms,
        ))?;
        git2::opts::set_server_timeout_in_milliseconds(millis(job.limits.server_timeout_ms))?;
        git2::opts::set_mwindow_mapped_limit(WINDOW_BYTES_MAX)?;
        // A repository of this machine may belong to another user. The operator has allowed it,
        // only its objects are read, and nothing that it says is run (fault G07).
        if matches!(job.origin, Origin::Local(_)) {
            git2::opts::set_verify_owner_validation(false)?;
        }
    }
    Ok(())
}

/// Removes what an attempt that failed or was killed has left (fault G09), and the mirror that
/// each app had for itself once.
fn clear_leftovers(area: &Path) -> io::Result<()> {
    for entry in fs::read_dir(area)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("new-") || name.starts_with("old-") || name == "git" {
            report::alive_while(|| place::remove(&entry.path())).flatten()?;
        }
    }
    Ok(())
}

/// Opens a repository without looking above its folder.
fn open(path: &Path) -> Result<Repository, git2::Error> {
    Repository::open_ext(
        path,
        git2::RepositoryOpenFlags::NO_SEARCH,
        std::iter::empty::<&std::ffi::OsStr>(),
    )
}
