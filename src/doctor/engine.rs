//! The engine: whether it can be reached, and how it is set up.

use std::{collections::BTreeMap, io::ErrorKind, os::unix::net::UnixStream, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Check, Finding, Group, Place, blocking, check};
use crate::engine::escapes::{self, AS_OF};

pub(super) const CHECKS: &[Check] = &[
    check(Group::Docker, "socket", "doctor.reachable", socket),
    check(Group::Docker, "version", "doctor.engine", version),
    check(Group::Docker, "known ways out", "doctor.escapes", escapes),
    check(Group::Docker, "rights of the daemon", "doctor.rootless", rootless),
    check(Group::Docker, "storage", "doctor.storage", storage),
    check(Group::Docker, "restart of the daemon", "doctor.live-restore", live_restore),
    check(Group::Docker, "logs of containers", "doctor.logs", logs),
    check(Group::Docker, "address pools", "doctor.networks", networks),
    check(Group::Docker, "BuildKit", "doctor.buildkit", buildkit),
    check(Group::Docker, "proxy", "doctor.proxy", proxy),
];

/// The oldest API that is spoken.
const API_LEAST: (u32, u32) = (1, 41);
/// How many networks the usual pools have room for.
const USUAL_NETWORKS: usize = 31;

fn socket(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let Some(host) = &place.docker_host else {
            return Finding::skipped("this engine only pretends (--engine fake)");
        };
        let Some(path) = host.strip_prefix("unix://") else {
            return Finding::warning(
                format!("the engine is asked by {host}"),
                "a socket of this machine: whoever reaches the port is root there",
            );
        };
        match UnixStream::connect(path) {
            Ok(_) => Finding::good(format!("{path} answers, and may be used")),
            Err(error) => unreachable_socket(path, &error),
        }
    })
}

fn unreachable_socket(path: &str, error: &std::io::Error) -> Finding {
    let evidence = format!("{path}: {error}");
    Finding::error(
        evidence,
        match error.kind() {
            ErrorKind::PermissionDenied => {
                "add the user to the group of the socket: `usermod -aG docker USER`, then sign in anew"
            }
            ErrorKind::NotFound => "install Docker, or name its socket with --docker-host",
            _ => "start it: `systemctl start docker`",
        },
    )
}

/// What the engine says about itself, and what to make of it.
fn said(place: Arc<Place>, judge: fn(&Value) -> Finding) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached");
        };
        match engine.survey().await {
            Ok(Value::Null) => Finding::skipped("this engine does not say"),
            Ok(said) => judge(&said),
            Err(error) => Finding::skipped(format!("the engine does not say: {error}")),
        }
    })
}

fn text<'a>(said: &'a Value, name: &str) -> &'a str {
    said.pointer(name).and_then(Value::as_str).unwrap_or_default()
}

fn version(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached");
        };
        let about = match engine.describe().await {
            Ok(about) => about,
            Err(error) => {
                return Finding::error(
                    error.to_string(),
                    "`systemctl status docker`, and the log of the daemon",
                );
            }
        };
        let (version, api) = (about.version, about.api_version);
        let evidence = format!("{version}, API {api}");
        let parts = api.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some(parts) if parts < API_LEAST => {
                Finding::error(evidence, "Docker Engine 20.10 or newer")
            }
            _ => Finding::good(evidence),
        }
    })
}

/// What is published of the versions of the engine and its parts.
fn escapes(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached");
        };
        match engine.parts().await {
            Ok(parts) => judge(&parts),
            Err(error) => Finding::skipped(format!("the engine does not say: {error}")),
        }
    })
}

fn judge(parts: &BTreeMap<String, String>) -> Finding {
    let versions: Vec<_> = escapes::PARTS
        .iter()
        .filter_map(|part| Some(format!("{part} {}", parts.get(*part)?)))
        .collect();
    let table = format!("publications up to {AS_OF}");
    if versions.is_empty() {
        return Finding::skipped(format!("this engine does not name its parts ({table})"));
    }
    let (versions, open) = (versions.join(", "), escapes::open(parts));
    let ids: Vec<_> = open.iter().map(|escape| escape.id).collect();
    if ids.is_empty() {
        return Finding::good(format!("{versions}: none is known ({table})"));
    }
    let maybe = if open.iter().any(|escape| escape.may_be_patched) {
        "; a distribution may have closed them under the old number"
    } else {
        ""
    };
    let fix = "newer versions; `knownEscapes` of /api/v1/capacity names those that close each";
    Finding::warning(format!("{versions}: {} ({table}){maybe}", ids.join(", ")), fix)
}

fn rootless(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        let options = said.pointer("/SecurityOptions").and_then(Value::as_array);
        let names: Vec<_> = options.into_iter().flatten().filter_map(Value::as_str).collect();
        let has = |word: &str| names.iter().any(|name| name.contains(word));
        if has("rootless") {
            return Finding::warning(
                "rootless",
                "GPUs, host ports below 1024 and limits need more set-up there",
            );
        }
        let userns = if has("userns") { ", with a user namespace" } else { "" };
        Finding::good(format!("runs as root{userns}: whoever may use its socket is root"))
    })
}

fn storage(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        let (driver, root) = (text(said, "/Driver"), text(said, "/DockerRootDir"));
        let evidence = format!("{driver} in {root}");
        match driver {
            "vfs" => Finding::warning(evidence, "overlay2: vfs copies each layer whole"),
            "devicemapper" | "aufs" => {
                Finding::warning(evidence, "overlay2: this one is not maintained any more")
            }
            _ => Finding::good(evidence),
        }
    })
}

fn live_restore(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        if said.pointer("/LiveRestoreEnabled") == Some(&Value::Bool(true)) {
            return Finding::good("live-restore is on: apps outlive a restart of the daemon");
        }
        Finding::warning(
            "live-restore is off: a restart of the daemon stops every app",
            "`\"live-restore\": true` in /etc/docker/daemon.json, then `systemctl reload docker`",
        )
    })
}

fn logs(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        let driver = text(said, "/LoggingDriver");
        let evidence = format!("{driver} by default; Berth has its own containers' logs rotated");
        match driver {
            "json-file" | "local" | "journald" => Finding::good(evidence),
            "none" => Finding::warning(evidence, "another driver: others' containers have no logs"),
            _ => Finding::warning(
                evidence,
                "json-file or local: a driver that sends logs away can hang the daemon",
            ),
        }
    })
}

fn networks(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        let used = said.pointer("/Networks").and_then(Value::as_u64).unwrap_or_default();
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let pools = said.pointer("/DefaultAddressPools").and_then(Value::as_array);
        let room = pools.map_or(USUAL_NETWORKS, |pools| pools.iter().map(networks_of).sum());
        let evidence = format!("{used} networks, room for {room}");
        if room <= used.saturating_add(2) {
            return Finding::warning(
                evidence,
                "`docker network prune`, or more `default-address-pools` in /etc/docker/daemon.json",
            );
        }
        Finding::good(evidence)
    })
}

/// How many networks a pool has room for.
fn networks_of(pool: &Value) -> usize {
    let base = text(pool, "/Base").rsplit_once('/').and_then(|(_, bits)| bits.parse::<u32>().ok());
    let size = pool.pointer("/Size").and_then(Value::as_u64).and_then(|s| u32::try_from(s).ok());
    let (Some(base), Some(size)) = (base, size) else { return 0 };
    1_usize.checked_shl(size.saturating_sub(base)).unwrap_or(usize::MAX >> 8)
}

fn buildkit(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        if said.pointer("/HasBuildKit") == Some(&Value::Bool(true)) {
            return Finding::good("the engine builds with BuildKit");
        }
        Finding::warning(
            "the engine has no BuildKit",
            "Docker Engine 20.10 or newer: secrets of builds need it, the rest is built without",
        )
    })
}

fn proxy(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    said(place, |said| {
        let names = ["/HttpProxy", "/HttpsProxy", "/NoProxy"];
        let of_engine = names.iter().any(|name| !text(said, name).is_empty());
        let of_berth = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
        match (of_engine, of_berth) {
            (true, true) => Finding::good("set for the engine, and for Berth"),
            (false, false) => Finding::good("none is set"),
            (true, false) => Finding::warning(
                "set for the engine, not for Berth",
                "the same variables for Berth, where repositories are reached by it",
            ),
            (false, true) => Finding::warning(
                "set for Berth, not for the engine",
                "the same in the engine's unit, else it pulls without",
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn known_ways_out_are_told_with_the_date_of_what_is_known() {
        let judged = |engine: &str, runc: &str| {
            let parts = [("Engine", engine), ("runc", runc), ("docker-init", "0.19.0")];
            let parts = parts.map(|(name, version)| (name.to_owned(), version.to_owned()));
            judge(&parts.into())
        };
        let old = judged("20.10.24+dfsg1", "1.1.5+ds1");
        assert_eq!(old.outcome, Outcome::Warning);
        assert!(old.evidence.contains("CVE-2024-21626"), "{}", old.evidence);
        assert!(old.evidence.contains("may have closed"), "{}", old.evidence);
        let new = judged("99.0.0", "99.0.0");
        assert_eq!(new.outcome, Outcome::Good);
        assert!(new.evidence.starts_with("Engine 99.0.0, runc 99.0.0: "), "{}", new.evidence);
        let silent = judge(&BTreeMap::new());
        assert_eq!(silent.outcome, Outcome::Skipped);
        for told in [old, new, silent] {
            assert!(told.evidence.contains(AS_OF), "{}", told.evidence);
        }
    }
}
