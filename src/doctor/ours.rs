//! What Berth keeps, the Berth that runs, and what ends one day.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Check, Controller, Finding, Group, Mend, Place, blocking, check};
use crate::auth::Tokens;
use crate::model::{Timestamp, format_duration};

pub(super) const CHECKS: &[Check] = &[
    check(Group::State, "folders", "doctor.folders", folders),
    check(Group::State, "state file", "doctor.state", state),
    check(Group::State, "lock", "doctor.one-berth", lock),
    check(Group::State, "manifests", "doctor.manifests", manifests),
    check(Group::State, "secrets", "doctor.secrets", secrets),
    check(Group::Controller, "controller", "doctor.controller", controller),
    check(Group::Controller, "passes", "doctor.passes", passes),
    check(Group::Controller, "queue", "doctor.queue", queue),
    check(Group::Controller, "reading of the manifests", "doctor.reading", reading),
    check(Group::Controller, "differences", "doctor.drift", drift),
    check(Group::Certificates, "tokens", "doctor.tokens", tokens),
    check(Group::Certificates, "certificate", "doctor.certificate", certificate),
];

/// An app that is due is looked at at once; after so long something is in the way.
const WAITS_LONG: Duration = Duration::from_secs(30);
/// After so long nobody comes any more.
const WAITS_FOR_EVER: Duration = Duration::from_mins(5);
/// When it is time to renew something.
const SOON_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 3600 * 1000;

fn folders(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let all = [&place.state, &place.workspaces, &place.models];
        let all = all.into_iter().chain(&place.manifests);
        let missing: Vec<PathBuf> = all.filter(|path| !path.is_dir()).cloned().collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|path| path.display().to_string()).collect();
            return Finding::warning(
                format!("not there yet: {}", names.join(", ")),
                "`berth doctor --fix` makes them",
            )
            .mended_by(missing.into_iter().map(Mend::Make).collect());
        }
        let writable = |path: &&PathBuf| {
            rustix::fs::access(path.as_path(), rustix::fs::Access::WRITE_OK).is_ok()
        };
        let closed: Vec<_> = [&place.state, &place.workspaces, &place.models]
            .into_iter()
            .filter(|path| !writable(path))
            .map(|path| path.display().to_string())
            .collect();
        if !closed.is_empty() {
            return Finding::error(
                format!("can't be written by this user: {}", closed.join(", ")),
                "run as the user of Berth, or change the owner",
            );
        }
        Finding::good("all are there")
    })
}

fn state(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let path = place.state.join("state.json");
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Finding::skipped("nothing was kept yet")
            }
            Err(error) => Finding::error(
                format!("{}: {error}", path.display()),
                "run as the user of Berth, or as root",
            ),
            Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
                Ok(_) => Finding::good(format!("{} bytes, readable", bytes.len())),
                Err(error) => Finding::error(
                    format!("{}: {error}", path.display()),
                    "Berth sets it aside and takes over what runs; `berth confirm` afterwards",
                ),
            },
        }
    })
}

fn lock(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let path = place.state.join("lock");
        if !path.exists() {
            return Finding::skipped("no Berth has run here yet");
        }
        match (holder(&path), &place.controller) {
            (None, _) => Finding::good("free"),
            (Some(_), Some(_)) => Finding::good("held by the Berth that answers"),
            (Some(holder), None) => Finding::warning(
                format!("held by {holder}, and no Berth answers"),
                "see what it does: `berth run` would refuse to start",
            ),
        }
    })
}

/// Who holds a lock, as the kernel lists it: trying it could keep a Berth from starting.
fn holder(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = fs::metadata(path).ok()?.ino();
    let end = format!(":{inode}");
    let text = fs::read_to_string("/proc/locks").ok()?;
    let line =
        text.lines().find(|line| line.split_whitespace().any(|word| word.ends_with(&end)))?;
    Some(format!("process {}", line.split_whitespace().nth(4)?))
}

fn manifests(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let Some(folder) = &place.manifests else {
            return Finding::skipped("manifests come from repositories alone");
        };
        match fs::read_dir(folder) {
            Err(error) => Finding::error(
                format!("{}: {error}", folder.display()),
                "make it, mount it, or let Berth's user read it; nothing is removed meanwhile",
            ),
            Ok(entries) => {
                let is_manifest =
                    |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
                let count = entries.flatten().filter(|entry| is_manifest(&entry.path())).count();
                let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
                Finding::good(format!("{files} in {}", folder.display()))
            }
        }
    })
}

fn secrets(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let mut open = Vec::new();
        let mut count = 0;
        let mut folders = vec![place.secrets.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_symlink() {
                    // What it names has rights of its own, and may be somebody else's.
                    continue;
                }
                if meta.is_dir() {
                    folders.push(entry.path());
                } else {
                    count += 1;
                }
                if meta.permissions().mode() & 0o077 != 0 {
                    open.push(entry.path());
                }
            }
        }
        let folder = fs::metadata(&place.secrets);
        if folder.is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            open.push(place.secrets.clone());
        }
        if open.is_empty() {
            return Finding::good(format!("{count} files, for Berth's user alone"));
        }
        let names: Vec<_> = open.iter().map(|path| path.display().to_string()).collect();
        Finding::error(
            format!("others can read {}", names.join(", ")),
            "`berth doctor --fix`, or `chmod go= FILE`",
        )
        .mended_by(open.into_iter().map(Mend::Close).collect())
    })
}

fn controller(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| match &place.controller {
        None => Finding::skipped("none answers: `berth run` starts one"),
        Some(controller) if controller.version == place.version => {
            Finding::good(format!("version {}", controller.version))
        }
        Some(controller) => Finding::warning(
            format!("the controller is {}, this is {}", controller.version, place.version),
            "use the same version of both",
        ),
    })
}

fn passes(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| match &place.controller {
        None => Finding::skipped("no controller answers"),
        Some(controller) if controller.reasons.is_empty() => {
            Finding::good("all was looked at lately")
        }
        Some(controller) => {
            Finding::error(controller.reasons.join("; "), "the log of Berth says more")
        }
    })
}

fn queue(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| match &place.controller {
        None => Finding::skipped("no controller answers"),
        Some(controller) => match controller.queue {
            None => Finding::skipped("the controller's metrics say it, to who may read them"),
            Some((_, oldest)) if oldest < Duration::from_secs(1) => {
                Finding::good("no app has been due for longer than a second")
            }
            Some((apps, oldest)) => judge_queue(apps, oldest),
        },
    })
}

fn judge_queue(apps: u64, oldest: Duration) -> Finding {
    let who = if apps == 1 { "1 app".to_owned() } else { format!("{apps} apps") };
    let evidence =
        format!("{who} in the queue, the oldest has been due for {}", format_duration(oldest));
    let fix = "`berth get` says what each waits for, `berth doctor --only docker` whether the engine is well; else more --workers";
    match oldest {
        _ if WAITS_FOR_EVER <= oldest => Finding::error(evidence, fix),
        _ if WAITS_LONG <= oldest => Finding::warning(evidence, fix),
        _ => Finding::good(evidence),
    }
}

fn reading(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let Some(controller) = &place.controller else {
            return Finding::skipped("no controller answers");
        };
        let last = controller.read_at.map(|at| format_duration(place.now.since(at)));
        match (&controller.unreadable, last) {
            (Some(why), last) => {
                let last = last.map_or_else(|| "never".to_owned(), |age| format!("{age} ago"));
                Finding::error(
                    format!("{why}; read completely {last}"),
                    "mend what is said: what ran goes on, and nothing is removed meanwhile",
                )
            }
            (None, None) => Finding::skipped("they were not read yet"),
            (None, Some(age)) => Finding::good(format!("read completely {age} ago")),
        }
    })
}

fn drift(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| match &place.controller {
        None => Finding::skipped("no controller answers"),
        Some(Controller { differing: 0, mistakes: 0, .. }) => Finding::good("all is as wanted"),
        Some(controller) => Finding::warning(
            format!(
                "{} apps differ from what is wanted, {} mistakes in manifests",
                controller.differing, controller.mistakes
            ),
            "`berth plan` and `berth get` say which",
        ),
    })
}

fn tokens(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let all = match Tokens::new(&place.state).all() {
            Ok(Some(all)) => all,
            Ok(None) => return Finding::skipped("there are none"),
            Err(error) => {
                return Finding::error(
                    error.to_string(),
                    "run as the user of Berth; a broken file lets nobody in",
                );
            }
        };
        let ends = all.iter().filter_map(|token| {
            let left = left(place.now, token.expires?)?;
            Some(format!("{} {left}", token.name))
        });
        let ends: Vec<_> = ends.collect();
        if ends.is_empty() {
            return Finding::good(format!("{} of them, none ends soon", all.len()));
        }
        Finding::warning(ends.join(", "), "`berth token create`, hand it over, revoke the old one")
    })
}

fn certificate(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let Some(end) = place.controller.as_ref().and_then(|controller| controller.certificate)
        else {
            return Finding::skipped("the interface has none");
        };
        match left(place.now, end) {
            None => Finding::good(format!("good until {end}")),
            Some(left) => Finding::warning(left, "renew the files of --tls-cert and --tls-key"),
        }
    })
}

/// How long something lasts that ends soon; none when that is later.
fn left(now: Timestamp, end: Timestamp) -> Option<String> {
    let ms = end.as_millis() - now.as_millis();
    if SOON_DAYS * DAY_MS <= ms {
        return None;
    }
    Some(if ms <= 0 {
        format!("has ended {} ago", format_duration(now.since(end)))
    } else {
        format!("ends in {}", format_duration(end.since(now)))
    })
}
