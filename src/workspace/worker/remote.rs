//! Repositories behind smart HTTP, by way of a bare mirror of our own.
//!
//! The mirror is a cache: whatever is wrong with it, it is thrown away and made again.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
};

use git2::{
    AutotagOption, Direction, FetchOptions, Oid, ProxyOptions, RemoteCallbacks, Repository,
    RepositoryInitOptions,
};

use super::{
    failure::{Failure, classify},
    names, open,
    report::{self, Report},
    tree,
};
use crate::workspace::error::{Error, authority};
use crate::workspace::place;
use crate::workspace::protocol::Job;

/// Where what was asked for ends up in the mirror.
const WANTED: &str = "refs/berth/wanted";
/// Every fetch adds a pack; a mirror with more than this is made anew.
const PACKS_MAX: usize = 64;

/// What is fetched.
struct Wanted {
    /// What to ask the server for.
    refspecs: Vec<String>,
    /// The commit that it is, as the server says.
    commit: Oid,
}

/// Brings the wanted commit into the mirror.
pub(super) fn fetch(job: &Job, url: &str, report: &Report) -> Result<(Repository, Oid), Failure> {
    let pinned = job.reference.as_deref().and_then(names::full_commit);
    let mirror = open_mirror(&job.area)?;
    if let Some(commit) = pinned.filter(|commit| mirror.find_commit(*commit).is_ok()) {
        return Ok((mirror, commit));
    }
    check_addresses(job, url)?;
    match attempt(&mirror, job, url, job.depth, report) {
        Err(Failure::Refused(why)) if 0 < job.depth => {
            report::note(format!("the whole history is fetched, because the server says: {why}"));
            let mirror = if mirror.is_shallow() {
                drop(mirror);
                forget(&job.area).map_err(|error| Error::disk(&job.area, &error))?;
                open_mirror(&job.area)?
            } else {
                mirror
            };
            let commit = attempt(&mirror, job, url, 0, report)?;
            Ok((mirror, commit))
        }
        Err(failure) => Err(failure),
        Ok(commit) => Ok((mirror, commit)),
    }
}

/// Throws the mirror away.
pub(super) fn forget(area: &Path) -> io::Result<()> {
    let path = mirror_path(area);
    report::alive_while(|| place::remove(&path)).flatten()
}

fn mirror_path(area: &Path) -> PathBuf {
    area.join("git")
}

fn open_mirror(area: &Path) -> Result<Repository, Failure> {
    let path = mirror_path(area);
    let on_disk = |error: io::Error| Failure::Told(Error::disk(&path, &error));
    if path.exists() {
        let packs = tidy_packs(&path.join("objects/pack"));
        match open(&path) {
            Ok(mirror) if mirror.is_bare() && packs.is_ok_and(|packs| packs <= PACKS_MAX) => {
                return Ok(mirror);
            }
            _ => forget(area).map_err(on_disk)?,
        }
    }
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).no_reinit(true);
    let failed = |error: git2::Error| {
        let message = error.message().to_owned();
        Failure::Told(Error::Disk { path: path.display().to_string(), message })
    };
    let mirror = Repository::init_opts(&path, &options).map_err(failed)?;
    // Nobody is sent to another host (fault G05).
    let mut config = mirror.config().map_err(failed)?;
    config.set_bool("http.followRedirects", false).map_err(failed)?;
    Ok(mirror)
}

/// Removes what broken transfers have left, and counts the packs.
fn tidy_packs(folder: &Path) -> io::Result<usize> {
    let mut packs = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("pack") => packs += 1,
            Some("idx") => {}
            _ => place::remove(&path)?,
        }
    }
    Ok(packs)
}

/// Fetches with this depth. Answers the commit, which the mirror then has.
fn attempt(
    mirror: &Repository,
    job: &Job,
    url: &str,
    depth: u32,
    report: &Report,
) -> Result<Oid, Failure> {
    let wrong = |error: git2::Error| classify(&error, job, url);
    report::step(format!("connecting to {}", authority(url)));
    let mut remote = mirror.remote_anonymous(url).map_err(wrong)?;
    let mut connection =
        remote.connect_auth(Direction::Fetch, None, Some(proxy())).map_err(wrong)?;
    let heads: BTreeMap<String, Oid> = connection
        .list()
        .map_err(wrong)?
        .iter()
        .map(|head| (head.name().to_owned(), head.oid()))
        .collect();
    let wanted = find(&heads, job, depth)?;
    if mirror.find_commit(wanted.commit).is_ok() {
        return Ok(wanted.commit);
    }
    let is_too_large = Cell::new(false);
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(job, report, &is_too_large))
        .proxy_options(proxy())
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .depth(i32::try_from(depth).unwrap_or(i32::MAX));
    let done = connection.remote().fetch(&wanted.refspecs, Some(&mut options), None);
    drop(options);
    if is_too_large.get() {
        let limit = job.limits.transfer_bytes;
        return Err(
            Error::TooLarge(format!("more than {limit} bytes are to be transferred")).into()
        );
    }
    done.map_err(|error| match wrong(error) {
        Failure::Told(Error::Failed { message, .. }) if !message.contains("status") => {
            Failure::Refused(message)
        }
        failure => failure,
    })?;
    match mirror.find_commit(wanted.commit) {
        Ok(commit) => Ok(commit.id()),
        Err(_) => Err(missing(&heads, job).into()),
    }
}

fn find(heads: &BTreeMap<String, Oid>, job: &Job, depth: u32) -> Result<Wanted, Error> {
    let one = |source: &str, commit: Oid| Wanted {
        refspecs: vec![format!("+{source}:{WANTED}")],
        commit,
    };
    // A tag may be an object of its own; the server lists what it stands for with this ending.
    let commit_of = |name: &str| heads.get(&format!("{name}^{{}}")).or_else(|| heads.get(name));
    let Some(reference) = &job.reference else {
        let head = commit_of("HEAD").ok_or_else(|| missing(heads, job))?;
        return Ok(one("HEAD", *head));
    };
    if let Some(commit) = names::full_commit(reference) {
        let tip = heads.iter().find(|(name, oid)| **oid == commit && !name.ends_with("^{}"));
        return Ok(match tip {
            Some((name, _)) => one(name, commit),
            None if 0 < depth => one(reference, commit),
            None => Wanted {
                refspecs: vec![
                    "+refs/heads/*:refs/berth/heads/*".to_owned(),
                    "+refs/tags/*:refs/berth/tags/*".to_owned(),
                ],
                commit,
            },
        });
    }
    let found = names::full_references(reference)
        .iter()
        .find_map(|name| Some(one(name, *commit_of(name)?)));
    found.ok_or_else(|| missing(heads, job))
}

fn missing(heads: &BTreeMap<String, Oid>, job: &Job) -> Error {
    let branches =
        heads.keys().filter_map(|name| name.strip_prefix("refs/heads/")).map(ToOwned::to_owned);
    let reference = job.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
    let there = match tree::list(branches) {
        Some(names) => format!("; branches there: {names}"),
        None => "; the repository is empty".to_owned(),
    };
    let hint = format!("{}{there}", names::shortened(&reference));
    Error::RefNotFound { url: job.shown.clone(), reference, hint }
}

fn callbacks<'a>(
    job: &'a Job,
    report: &'a Report,
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
    callbacks.transfer_progress(|seen| {
        report.progress(|| {
            format!(
                "receiving objects: {} of {}, {} KiB",
                seen.indexed_objects(),
                seen.total_objects(),
                seen.received_bytes() / 1024
            )
        });
        is_too_large.set(job.limits.transfer_bytes < seen.received_bytes() as u64);
        !is_too_large.get()
    });
    callbacks
}

fn has_proxy() -> bool {
    std::env::vars().any(|(name, value)| {
        name.to_ascii_lowercase().ends_with("s_proxy") && !value.is_empty()
            || name.eq_ignore_ascii_case("http_proxy") && !value.is_empty()
    })
}

fn proxy<'a>() -> ProxyOptions<'a> {
    let mut options = ProxyOptions::new();
    if has_proxy() {
        options.auto();
    }
    options
}

/// Refuses hosts whose addresses are never those of a repository, such as the one where a cloud
/// gives its credentials away (fault G05).
fn check_addresses(job: &Job, url: &str) -> Result<(), Error> {
    if has_proxy() {
        return Ok(());
    }
    let host = authority(url);
    let default_port = if url.starts_with("https:") { 443 } else { 80 };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host } else { format!("{host}:{default_port}") };
    // What can't be resolved is told by the library, in the same words as ever.
    let found =
        address.to_socket_addrs().into_iter().flatten().find(|found| is_off_limits(found.ip()));
    match found {
        None => Ok(()),
        Some(found) => Err(Error::NotAllowed {
            url: job.shown.clone(),
            message: format!("{} is not the address of a repository", found.ip()),
        }),
    }
}

fn is_off_limits(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_unspecified() || address.is_multicast()
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault G05.
    #[test]
    fn the_metadata_address_of_a_cloud_is_off_limits() {
        for bad in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::"] {
            assert!(is_off_limits(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "2001:db8::1"] {
            assert!(!is_off_limits(good.parse().unwrap()), "{good}");
        }
    }
}
