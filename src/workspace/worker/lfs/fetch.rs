//! Downloads, a few at a time, each tried again where it broke off.

use std::{
    collections::VecDeque,
    io::Read as _,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    super::{failure::Failure, report::Report},
    Object,
    api::{self, Link, Refusal},
    damaged,
    door::Door,
    http::{Problem, Web},
    store::{Part, Store},
};
use crate::model::is_full_commit;
use crate::workspace::error::Error;
use crate::workspace::protocol::Job;

const THREADS: usize = 4;
/// How many contents are asked for at a time.
const BATCH: usize = 100;
/// How often in a row a download may bring nothing.
const FAILURES_MAX: u32 = 4;
/// How often a content may be other than its pointer says.
const DAMAGES_MAX: u32 = 2;
/// How often a link is asked for; they live for some minutes only.
const LINKS_MAX: u32 = 3;
/// All tries of one download.
const TRIES_MAX: u32 = 200;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const CHUNK: usize = 64 << 10;

/// A download that is to be made.
struct Task {
    object: Object,
    link: Link,
}

/// Why a download did not come to its end.
enum Trouble {
    /// The link leads nowhere: another one may.
    Link(String),
    /// It may help to try again, after a pause.
    Passing(String, Option<Duration>),
    /// More came than there should be.
    Damaged,
    /// It is as it is.
    Final(Error),
}

struct Fetch<'a> {
    job: &'a Job,
    web: Web<'a>,
    door: &'a Door,
    reference: Option<String>,
    store: &'a Store,
    report: &'a Report,
    total: u64,
    received: AtomicU64,
    queue: Mutex<VecDeque<Task>>,
    is_over: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// Rings when there is a failure.
    failed: Condvar,
}

/// Brings all that is missing into the store.
pub(super) fn all(
    job: &Job,
    door: &Door,
    store: &Store,
    missing: &[Object],
    report: &Report,
) -> Result<(), Failure> {
    let fetch = Fetch {
        job,
        web: Web::new(job, door),
        door,
        reference: job.found.as_ref().and_then(|found| branch(&found.name)),
        store,
        report,
        total: missing.iter().fold(0, |sum: u64, object| sum.saturating_add(object.pointer.size)),
        received: AtomicU64::new(0),
        queue: Mutex::default(),
        is_over: AtomicBool::new(false),
        failure: Mutex::default(),
        failed: Condvar::new(),
    };
    for some in missing.chunks(BATCH) {
        fetch.plan(some)?;
        thread::scope(|scope| {
            for _ in 0..THREADS.min(some.len()) {
                scope.spawn(|| fetch.work());
            }
        });
        if let Some(error) = lock(&fetch.failure).take() {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The full name of a branch or tag; some hosts judge by it who may read.
fn branch(reference: &str) -> Option<String> {
    if reference == "HEAD" || is_full_commit(reference) {
        return None;
    }
    let is_full = reference.starts_with("refs/");
    Some(if is_full { reference.to_owned() } else { format!("refs/heads/{reference}") })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetch<'_> {
    /// Asks where contents are, and refuses when any of them is nowhere.
    fn plan(&self, objects: &[Object]) -> Result<(), Error> {
        let mut links = self.ask(&objects.iter().collect::<Vec<_>>())?;
        let mut absent = Vec::new();
        for object in objects {
            match links.remove(&object.pointer.oid) {
                Some(Ok(link)) => {
                    lock(&self.queue).push_back(Task { object: object.clone(), link });
                }
                Some(Err(why)) => absent.push((&object.path, why)),
                None => absent.push((&object.path, "the host says nothing about it".to_owned())),
            }
        }
        let Some((path, why)) = absent.first() else { return Ok(()) };
        let others = match absent.len() - 1 {
            0 => String::new(),
            count => format!(" ({count} more files are as `{}`)", absent[1].0),
        };
        let message = format!("is kept in Git LFS and can't be had: {why}{others}");
        Err(Error::Content { path: (*path).clone(), message })
    }

    /// Asks where contents are, more than once when the host has no time.
    fn ask(&self, objects: &[&Object]) -> Result<api::Links, Error> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        let mut is_renewed = false;
        loop {
            match api::batch(&self.web, &self.door.endpoint, self.reference.as_deref(), objects) {
                Ok(links) => return Ok(links),
                Err(Refusal::Problem(Problem::Passing(_))) if tries < FAILURES_MAX => {
                    self.pause(pause);
                    pause *= 2;
                    tries += 1;
                }
                // What the host gives by ssh is good for some minutes only.
                Err(Refusal::Login) if !is_renewed && self.door.is_given() => {
                    self.web.renew(self.door.knock(self.job)?);
                    is_renewed = true;
                }
                Err(refusal) => return Err(self.refused(refusal, objects)),
            }
        }
    }

    fn refused(&self, refusal: Refusal, objects: &[&Object]) -> Error {
        let url = self.job.shown.clone();
        match refusal {
            Refusal::Login => {
                let message = self.door.refused();
                Error::Auth { url, message }
            }
            Refusal::Final(why) => {
                let path = objects.first().map(|object| object.path.clone()).unwrap_or_default();
                Error::Content { path, message: format!("is kept in Git LFS, and {why}") }
            }
            Refusal::Problem(Problem::Final(error)) => error,
            Refusal::Problem(Problem::Passing(why)) => {
                Error::Failed { url, message: format!("asking for its files in Git LFS: {why}") }
            }
        }
    }

    /// Waits for so long, or until all is in vain.
    fn pause(&self, time: Duration) {
        let failure = lock(&self.failure);
        drop(self.failed.wait_timeout_while(failure, time, |failure| failure.is_none()));
    }

    /// One thread: takes downloads until there are none.
    fn work(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let Some(mut task) = lock(&self.queue).pop_front() else { return };
            if let Err(error) = self.bring(&mut task) {
                self.is_over.store(true, Ordering::Relaxed);
                lock(&self.failure).get_or_insert(error);
                self.failed.notify_all();
            }
        }
    }

    /// Brings one content, however often it breaks off.
    fn bring(&self, task: &mut Task) -> Result<(), Error> {
        let on_disk = |error: std::io::Error| Error::disk(&self.job.area, &error);
        let (mut failures, mut damages, mut links) = (0, 0, 1);
        for _ in 0..TRIES_MAX {
            let Some(mut part) =
                self.store.part(&task.object.pointer, self.report).map_err(on_disk)?
            else {
                return Ok(());
            };
            let before = part.length;
            match self.download(task, &mut part) {
                Ok(()) => {
                    if self.store.keep(&task.object.pointer, part).map_err(on_disk)? {
                        return Ok(());
                    }
                    damages += 1;
                }
                Err(Trouble::Damaged) => {
                    part.restart().map_err(on_disk)?;
                    damages += 1;
                }
                Err(Trouble::Link(why)) => {
                    if LINKS_MAX <= links {
                        return Err(self.lost(task, &why));
                    }
                    links += 1;
                    drop(part);
                    self.link_anew(task)?;
                }
                Err(Trouble::Passing(why, pause)) => {
                    failures = if before < part.length { 1 } else { failures + 1 };
                    if FAILURES_MAX <= failures {
                        return Err(self.lost(task, &why));
                    }
                    drop(part);
                    self.pause(pause.unwrap_or(FIRST_PAUSE * failures * failures));
                }
                Err(Trouble::Final(error)) => return Err(error),
            }
            if DAMAGES_MAX <= damages {
                return Err(damaged(&task.object.path));
            }
        }
        Err(self.lost(task, "it breaks off again and again"))
    }

    fn lost(&self, task: &Task, why: &str) -> Error {
        let message = format!("`{}` is kept in Git LFS and can't be had: {why}", task.object.path);
        Error::Failed { url: self.job.shown.clone(), message }
    }

    fn link_anew(&self, task: &mut Task) -> Result<(), Error> {
        let mut links = self.ask(&[&task.object])?;
        match links.remove(&task.object.pointer.oid) {
            Some(Ok(link)) => task.link = link,
            Some(Err(why)) => return Err(self.lost(task, &why)),
            None => return Err(self.lost(task, "the host says nothing about it")),
        }
        Ok(())
    }

    /// Reads on from where `part` ends.
    fn download(&self, task: &Task, part: &mut Part) -> Result<(), Trouble> {
        let size = task.object.pointer.size;
        if part.length == size {
            return Ok(());
        }
        let on_disk = |error: std::io::Error| Trouble::Final(Error::disk(&self.job.area, &error));
        let got = self.web.get(&task.link.href, &task.link.headers, part.length);
        let got = got.map_err(|problem| match problem {
            Problem::Final(error) => Trouble::Final(error),
            Problem::Passing(why) => Trouble::Passing(why, None),
        })?;
        match got.status {
            206 if got.start == Some(part.length) => {}
            200 => part.restart().map_err(on_disk)?,
            206 | 416 => {
                part.restart().map_err(on_disk)?;
                let why = "the host gives another part than it was asked for";
                return Err(Trouble::Passing(why.to_owned(), None));
            }
            429 | 500.. => {
                let why = format!("the host answered with status {}", got.status);
                return Err(Trouble::Passing(why, got.retry_after));
            }
            status => {
                return Err(Trouble::Link(format!("the host answered with status {status}")));
            }
        }
        let mut reader = got.reader();
        let mut chunk = vec![0; CHUNK];
        while part.length < size {
            let count = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(Trouble::Passing(error.to_string(), None)),
            };
            if size - part.length < count as u64 {
                return Err(Trouble::Damaged);
            }
            part.write(&chunk[..count]).map_err(on_disk)?;
            self.count(count as u64)?;
        }
        if part.length < size {
            let why = format!("it broke off after {} of {size} bytes", part.length);
            return Err(Trouble::Passing(why, None));
        }
        Ok(())
    }

    /// Counts what has come, and says so.
    fn count(&self, bytes: u64) -> Result<(), Trouble> {
        let received = self.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let limit = self.job.limits.transfer_bytes;
        if limit < received {
            let message = format!("more than {limit} bytes are transferred (git-max-transfer)");
            return Err(Trouble::Final(Error::TooLarge(message)));
        }
        self.report.progress(|| {
            format!("receiving files of Git LFS: {} of {} KiB", received / 1024, self.total / 1024)
        });
        if self.is_over.load(Ordering::Relaxed) {
            let message = "another file could not be had".to_owned();
            return Err(Trouble::Final(Error::Failed { url: self.job.shown.clone(), message }));
        }
        Ok(())
    }
}
