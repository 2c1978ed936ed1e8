//! Repositories elsewhere, by way of a bare mirror of our own.
//!
//! The mirror is a cache: whatever is wrong with it, it is thrown away and made again.

use std::{cell::Cell, collections::BTreeMap};

use git2::{
    AutotagOption, Direction, FetchOptions, ProxyOptions, Remote, RemoteCallbacks,
    RemoteConnection, Repository,
};

use super::{
    addresses,
    credentials::Talk,
    failure::{Failure, classify},
    local::{self, has},
    mirrors, open,
    report::{self, Report},
};
use crate::host::free_bytes;
use crate::model::is_full_commit;
use crate::workspace::error::{Error, authority};
use crate::workspace::heads::{Found, Heads, Sought, described_commit};
use crate::workspace::protocol::Job;

/// Where what was asked for ends up in a mirror, each commit by its id: what is there tells the
/// server what need not be sent.
const WANTED: &str = "refs/berth/at/";
/// So many commits of a branch that is followed are fetched at least: what came since it was looked
/// at last is mostly among them, so that it is known whether the branch went on or was written anew.
const LOOKED_BACK: u32 = 16;
/// Every fetch adds a pack; a mirror with more than this is made anew.
pub(super) const PACKS_MAX: usize = 64;

/// A mirror of a remote. Of each there may be two: one of single commits, and one of the whole
/// history, for servers that give no parts and for commits that no name leads to.
struct Mirror {
    repository: Repository,
    is_whole: bool,
}

/// What came of an attempt.
enum Attempt {
    Got(Found),
    /// Only the whole history can tell what was asked for.
    NeedsAll,
}

/// Asks what the remote has.
pub(super) fn list(job: &Job, url: &str) -> Result<Heads, Failure> {
    let talk = Talk::new(job, url)?;
    // The mirror's configuration says how to talk.
    let path = mirrors::path(job, url, false);
    let mirror = if let Ok(mirror) = open(&path) {
        mirror
    } else {
        let _lock = mirrors::lock(job, url)?;
        mirrors::open_at(&path)?
    };
    let mut remote = mirror.remote_anonymous(url).map_err(|error| classify(&error, job, url))?;
    connect(&mut remote, job, url, &talk).map(|(_, heads)| heads)
}

/// Brings the wanted commit into a mirror.
pub(super) fn fetch(job: &Job, url: &str, report: &Report) -> Result<(Repository, Found), Failure> {
    let pinned = job.reference.as_deref().filter(|text| is_full_commit(text));
    let pinned = pinned.map(|text| {
        let commit = text.to_ascii_lowercase();
        Found { name: commit.clone(), what: described_commit(&commit), commit }
    });
    let known = job.found.clone().or(pinned);
    let at_hand = || {
        let found = known.as_ref()?;
        let mirrors = [true, false].map(|is_whole| mirrors::path(job, url, is_whole));
        let mirrors = mirrors.iter().filter_map(|path| open(path).ok());
        mirrors.into_iter().find(|mirror| has(mirror, found)).map(|mirror| (mirror, found.clone()))
    };
    if let Some(there) = at_hand() {
        return Ok(there);
    }
    let _lock = mirrors::lock(job, url)?;
    // Another app may have fetched it meanwhile.
    if let Some(there) = at_hand() {
        return Ok(there);
    }
    let is_whole = job.depth == 0 || mirrors::path(job, url, true).exists();
    let open = |is_whole| {
        let repository = mirrors::open_at(&mirrors::path(job, url, is_whole))?;
        Ok::<_, Failure>(Mirror { repository, is_whole })
    };
    if !is_whole {
        let mirror = open(false)?;
        match part_of(&mirror, job, url, report) {
            Ok(Attempt::Got(found)) => return Ok((mirror.repository, found)),
            Ok(Attempt::NeedsAll) => {
                report::note("the whole history is fetched, to find the commit".to_owned());
            }
            Err(Failure::Refused(why)) => {
                report::note(format!(
                    "the whole history is fetched, because the server says: {why}"
                ));
            }
            Err(failure) => return Err(failure),
        }
    }
    let mirror = open(true)?;
    match attempt(&mirror, (job, 0), url, report)? {
        Attempt::Got(found) => Ok((mirror.repository, found)),
        Attempt::NeedsAll => Err(Failure::Refused("the commit is not among what came".to_owned())),
    }
}

/// Fetches a part of the history. Of a branch that is followed it reaches somewhat further back than
/// is asked for, unless that is too much.
fn part_of(mirror: &Mirror, job: &Job, url: &str, report: &Report) -> Result<Attempt, Failure> {
    let is_followed = job.had.as_ref().is_some_and(|had| had.what.starts_with("branch "));
    // Only where there is room for whatever comes: what is only looked at must not be what fills a disk.
    let is_ample = || {
        let most = job.limits.transfer_bytes.saturating_add(job.limits.tree_bytes);
        free_bytes(&job.mirrors).is_some_and(|free| most <= free)
    };
    let before = report.received();
    if is_followed && job.depth < LOOKED_BACK && is_ample() {
        match attempt(mirror, (job, LOOKED_BACK), url, report) {
            Err(Failure::Told(Error::TooLarge(_))) => report.set_received(before),
            done => return done,
        }
    }
    attempt(mirror, (job, job.depth), url, report)
}

/// Connects and asks what there is.
fn connect<'remote, 'repo, 'talk>(
    remote: &'remote mut Remote<'repo>,
    job: &Job,
    url: &str,
    talk: &'talk Talk<'_>,
) -> Result<(RemoteConnection<'repo, 'remote, 'talk>, Heads), Failure> {
    let wrong = |error: git2::Error| talk.explain(classify(&error, job, url));
    report::step(format!("connecting to {}", authority(url)));
    let mut asked = RemoteCallbacks::new();
    talk.join(&mut asked);
    let connection =
        remote.connect_auth(Direction::Fetch, Some(asked), Some(proxy())).map_err(wrong)?;
    talk.check_connected().map_err(wrong)?;
    let mut branch = None;
    let mut names = BTreeMap::new();
    for head in connection.list().map_err(wrong)? {
        let name = head.name();
        if name == "HEAD" {
            branch = head.symref_target().map(ToOwned::to_owned);
        }
        names.insert(name.to_owned(), head.oid().to_string());
    }
    Ok((connection, Heads::new(names, branch)))
}

/// Fetches into this mirror, which then has the commit and so many of its history; zero is all.
fn attempt(
    mirror: &Mirror,
    (job, depth): (&Job, u32),
    url: &str,
    report: &Report,
) -> Result<Attempt, Failure> {
    let talk = Talk::new(job, url)?;
    let wrong = |error: git2::Error| talk.explain(classify(&error, job, url));
    let repository = &mirror.repository;
    let mut remote = repository.remote_anonymous(url).map_err(wrong)?;
    let (mut connection, heads) = connect(&mut remote, job, url, &talk)?;
    let reference = job.reference.as_deref();
    let missing = || Failure::Told(heads.missing(&job.shown, reference, ""));
    let found = match heads.seek(reference) {
        Sought::Found(found) => Some(found),
        Sought::Commit if mirror.is_whole => None,
        Sought::Commit => return Ok(Attempt::NeedsAll),
        Sought::Missing => return Err(missing()),
    };
    if let (Some(had), Some(found)) = (job.had.as_ref().filter(|_| !job.takes_moved), &found) {
        heads.check_moved(had, found, &job.shown)?;
    }
    if let Some(found) = found.as_ref().filter(|found| has(repository, found)) {
        return Ok(Attempt::Got(found.clone()));
    }
    let before = report.received();
    let is_too_large = Cell::new(false);
    let mut callbacks = callbacks(job, report, before, &is_too_large);
    talk.join(&mut callbacks);
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .proxy_options(proxy())
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .depth(i32::try_from(depth).unwrap_or(i32::MAX));
    let refspecs = refspecs(found.as_ref(), mirror.is_whole);
    let done = connection.remote().fetch(&refspecs, Some(&mut options), None);
    drop(options);
    if is_too_large.get() {
        let limit = job.limits.transfer_bytes;
        let message = format!("more than {limit} bytes are to be transferred (git-max-transfer)");
        return Err(Error::TooLarge(message).into());
    }
    done.map_err(|error| match wrong(error) {
        Failure::Told(Error::Failed { message, .. }) if !message.contains("status") => {
            Failure::Refused(message)
        }
        failure => failure,
    })?;
    let found = match found {
        None => reference.and_then(|digits| local::by_prefix(repository, digits)),
        found => found.filter(|found| has(repository, found)),
    };
    found.map(Attempt::Got).ok_or_else(missing)
}

/// What to ask the server for. A commit without a name is looked for in the whole history.
fn refspecs(found: Option<&Found>, is_whole: bool) -> Vec<String> {
    match found {
        Some(found) if !is_whole || found.name != found.commit => {
            vec![format!("+{}:{WANTED}{}", found.name, found.commit)]
        }
        _ => vec![
            "+refs/heads/*:refs/berth/heads/*".to_owned(),
            "+refs/tags/*:refs/berth/tags/*".to_owned(),
        ],
    }
}

fn callbacks<'a>(
    job: &'a Job,
    report: &'a Report,
    before: u64,
    is_too_large: &'a Cell<bool>,
) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.sideband_progress(|text| {
        report.progress(|| {
            let text = String::from_utf8_lossy(text);
            format!("the server says: {}", text.trim().rsplit(['\r', '\n']).next().unwrap_or(""))
        });
        true
    });
    callbacks.transfer_progress(move |seen| {
        report.progress(|| {
            format!(
                "receiving objects: {} of {}, {} KiB",
                seen.indexed_objects(),
                seen.total_objects(),
                seen.received_bytes() / 1024
            )
        });
        let received = before + seen.received_bytes() as u64;
        report.set_received(received);
        is_too_large.set(job.limits.transfer_bytes < received);
        !is_too_large.get()
    });
    callbacks
}

fn proxy<'a>() -> ProxyOptions<'a> {
    let mut options = ProxyOptions::new();
    if addresses::has_proxy() {
        options.auto();
    }
    options
}
