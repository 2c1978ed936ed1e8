//! The machine itself.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;

use super::{Check, Finding, Group, Outcome, Place, blocking, check};
use crate::host;
use crate::model::{Protocol, format_bytes};

pub(super) const CHECKS: &[Check] = &[
    check(Group::Host, "kernel and control groups", "doctor.kernel", kernel),
    check(Group::Host, "clock", "doctor.clock", clock),
    check(Group::Host, "room on the disks", "doctor.disk", disk),
    check(Group::Host, "watches of folders", "doctor.watches", watches),
    check(Group::Host, "open files", "doctor.files", files),
    check(Group::Host, "host ports", "doctor.ports", ports),
];

/// Below this much room nothing is built any more.
const ROOM_LEAST: u64 = 1 << 30;
/// Below this much it is time to do something.
const ROOM_LOW: u64 = 5 << 30;
/// A file for each connection, each followed log and each child.
const FILES_LEAST: u64 = 1024;
const FILES_LOW: u64 = 4096;

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let release = read(&place.proc.join("sys/kernel/osrelease")).unwrap_or_default();
        if place.cgroup.join("cgroup.controllers").exists() {
            return Finding::good(format!("Linux {release}, control groups v2"));
        }
        let evidence =
            format!("Linux {release}, no control groups v2 at {}", place.cgroup.display());
        Finding::warning(
            evidence,
            "boot with systemd.unified_cgroup_hierarchy=1: with v1 memory and GPU figures are coarser",
        )
    })
}

fn clock(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |_| {
        let is_synced = Path::new("/run/systemd/timesync/synchronized").exists();
        let others = ["/run/chrony", "/run/chrony.pid", "/run/chronyd.pid", "/run/ntpd.pid"];
        let other = others.iter().find(|path| Path::new(path).exists());
        match (is_synced, other) {
            (true, _) => Finding::good("set by systemd-timesyncd"),
            (false, Some(other)) => Finding::good(format!("set by who keeps {other}")),
            (false, None) => Finding::warning(
                "nobody seems to set it",
                "install chrony or enable systemd-timesyncd: TLS and tokens depend on the time",
            ),
        }
    })
}

fn disk(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let root = engines_root(&place).await;
        blocking(place, move |place| room(place, root.as_deref())).await
    })
}

/// Where the engine keeps images and containers, as it says; none of an engine elsewhere.
async fn engines_root(place: &Place) -> Option<PathBuf> {
    place.docker_host.as_ref().filter(|host| host.starts_with("unix://"))?;
    let said = place.engine.as_ref()?.survey().await.ok()?;
    Some(PathBuf::from(said.pointer("/DockerRootDir")?.as_str()?))
}

fn room(place: &Place, engines: Option<&Path>) -> Finding {
    let folders =
        [("state", &place.state), ("workspaces", &place.workspaces), ("models", &place.models)];
    let own = folders.map(|(name, path)| (name, path.ancestors().find(|path| path.exists())));
    // A folder that can't be seen from here would be taken for the disk around it.
    let engines = ("the engine", engines.filter(|root| root.is_dir()));
    let mut least: Option<u64> = None;
    let mut said = Vec::new();
    for (name, path) in own.into_iter().chain([engines]) {
        let Some(free) = path.and_then(host::free_bytes) else { continue };
        said.push(format!("{name} {}", format_bytes(free)));
        least = Some(least.map_or(free, |least| least.min(free)));
    }
    let evidence = format!("free: {}", said.join(", "));
    let fix = "`berth gc`, `berth images gc`, `berth models gc`, or a larger disk";
    match least {
        Some(free) if free < ROOM_LEAST => Finding::error(evidence, fix),
        Some(free) if free < ROOM_LOW => Finding::warning(evidence, fix),
        Some(_) => Finding::good(evidence),
        None => Finding::skipped("nobody can tell"),
    }
}

fn watches(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let limit = |name: &str| -> Option<u64> {
            read(&place.proc.join("sys/fs/inotify").join(name))?.parse().ok()
        };
        let (Some(watches), Some(instances)) =
            (limit("max_user_watches"), limit("max_user_instances"))
        else {
            return Finding::skipped("the kernel does not say");
        };
        let Some(folder) = &place.manifests else {
            return Finding::good(format!("{watches} allowed, no folder is watched"));
        };
        let needed = folders(folder, 0);
        let evidence = format!("{needed} needed, {watches} allowed, {instances} instances");
        if watches < needed.saturating_mul(2) || instances < 64 {
            return Finding::warning(
                evidence,
                "sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512",
            );
        }
        Finding::good(evidence)
    })
}

/// How many folders are watched.
fn folders(path: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below = entries.filter(|entry| depth < 16 && entry.file_type().is_ok_and(|t| t.is_dir()));
    1 + below.map(|entry| folders(&entry.path(), depth + 1)).sum::<u64>()
}

fn files(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |_| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let Some(current) = limit.current else { return Finding::good("no limit") };
        let evidence = format!("{current} allowed");
        let fix = "`LimitNOFILE=65536` in the unit, or `ulimit -n 65536`";
        if current < FILES_LEAST {
            Finding::error(evidence, fix)
        } else if current < FILES_LOW {
            Finding::warning(evidence, fix)
        } else {
            Finding::good(evidence)
        }
    })
}

fn ports(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let taken = host::listening_ports();
        let of_range = |port: &&u16| place.ports.contains(**port);
        let busy: Vec<_> = taken
            .iter()
            .filter(|(protocol, _)| *protocol == Protocol::Tcp)
            .map(|(_, port)| *port)
            .collect();
        let in_range = busy.iter().filter(of_range).count();
        let all = usize::from(place.ports.last - place.ports.first) + 1;
        let mut outcome = Outcome::Good;
        let mut evidence =
            format!("{} of {all} of {} free", all.saturating_sub(in_range), place.ports);
        let mut fix = String::new();
        if all.saturating_sub(in_range) == 0 {
            outcome = Outcome::Error;
            "a wider range: --ports".clone_into(&mut fix);
        } else if all.saturating_sub(in_range) * 10 < all {
            outcome = Outcome::Warning;
            "a wider range: --ports".clone_into(&mut fix);
        }
        let own = place.listen.port();
        if place.controller.is_none() && own != 0 && busy.contains(&own) {
            outcome = Outcome::Error;
            evidence.push_str(&format!("; {own}, where Berth listens, is taken"));
            fix = format!("`ss -ltnp sport = :{own}` says by whom; else --listen");
        }
        Finding { fix, ..Finding::new(outcome, evidence) }
    })
}
