//! What is elsewhere: the hosts of repositories, and registries.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::{BoxFuture, join_all};
use serde_json::Value;

use super::{
    Check, Finding, Group, Host, Place, check, inside,
    reach::{Caller, Trouble, is_proxied},
};

pub(super) const CHECKS: &[Check] = &[
    check(Group::Network, "hosts of repositories", "doctor.git-hosts", git_hosts),
    check(Group::Network, "registries", "doctor.registries", from_registries),
    check(Group::Network, "names in containers", "doctor.container-names", inside::names),
];

/// How many hosts are tried.
const HOSTS_MAX: usize = 16;

/// What came of calling hosts.
#[derive(Default)]
struct Called {
    good: Vec<String>,
    bad: Vec<String>,
    /// Whether certificates are all that is wrong.
    is_only_unbelieved: bool,
}

async fn call(hosts: &[Host], place: &Place) -> Called {
    let caller = match Caller::new(place.authorities.clone()).await {
        Ok(caller) => caller,
        Err(why) => return Called { bad: vec![format!("no TLS: {why}")], ..Called::default() },
    };
    let caller = &caller;
    let hosts = hosts.iter().take(HOSTS_MAX);
    let calling = hosts.map(|host| async move { (host, caller.call(host).await) });
    let mut called = Called { is_only_unbelieved: true, ..Called::default() };
    for (host, answer) in join_all(calling).await {
        let (what, why) = match answer {
            Ok(()) => {
                called.good.push(host.to_string());
                continue;
            }
            Err(Trouble::Unbelieved(why)) => ("its certificate is not believed: ", why),
            Err(Trouble::Handshake(why)) => ("no TLS: ", why),
            Err(Trouble::Unreachable(why)) => ("", why),
        };
        called.is_only_unbelieved &= what.starts_with("its");
        called.bad.push(format!("{host}: {what}{why}"));
    }
    called
}

fn git_hosts(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        if place.git_hosts.is_empty() {
            return Finding::skipped("no repository is named");
        }
        let variable = |name: &str| std::env::var(name).ok();
        let (proxied, hosts): (Vec<_>, Vec<_>) =
            place.git_hosts.iter().cloned().partition(|host| is_proxied(host, variable));
        let called = call(&hosts, &place).await;
        if !called.bad.is_empty() {
            let fix = if called.is_only_unbelieved {
                "--git-ca-bundle with the certificate of who signed it"
            } else {
                "check name, network, proxy and firewall"
            };
            return Finding::error(called.bad.join("; "), fix);
        }
        said(&called.good, &proxied)
    })
}

/// What there is to say where nothing is wrong.
fn said(good: &[String], proxied: &[Host]) -> Finding {
    let proxied: Vec<_> = proxied.iter().map(ToString::to_string).collect();
    let parts = [("reached: ", good), ("by the proxy, and not tried: ", &proxied)];
    let parts = parts.iter().filter(|(_, hosts)| !hosts.is_empty());
    let parts: Vec<_> = parts.map(|(what, hosts)| format!("{what}{}", hosts.join(", "))).collect();
    if good.is_empty() {
        Finding::skipped(parts.join("; "))
    } else {
        Finding::good(parts.join("; "))
    }
}

/// The registries that images of manifests come from.
pub(super) fn registries(place: &Place) -> Vec<Host> {
    let hosts = place.images.iter().filter_map(|image| Host::of_image(image));
    hosts.collect::<BTreeSet<_>>().into_iter().collect()
}

fn from_registries(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let mut hosts = registries(&place);
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached, which pulls images");
        };
        let about = engine.survey().await.unwrap_or_default();
        // The engine goes to its mirrors instead, and alone knows them.
        let mirrors = about.pointer("/RegistryConfig/Mirrors").and_then(Value::as_array);
        if mirrors.is_some_and(|mirrors| !mirrors.is_empty()) {
            hosts.retain(|host| !host.is_hub());
        }
        for host in &mut hosts {
            host.is_tls = is_secure(host, &about);
        }
        if hosts.is_empty() {
            return Finding::skipped("no manifest names an image of a registry");
        }
        let variable = |name: &str| {
            let names = [
                ("HTTPS_PROXY", "/HttpsProxy"),
                ("HTTP_PROXY", "/HttpProxy"),
                ("NO_PROXY", "/NoProxy"),
            ];
            let pointer = names.iter().find(|(known, _)| *known == name)?.1;
            about.pointer(pointer)?.as_str().map(ToOwned::to_owned)
        };
        let (proxied, hosts): (Vec<_>, Vec<_>) =
            hosts.into_iter().partition(|host| is_proxied(host, variable));
        let called = call(&hosts, &place).await;
        if called.bad.is_empty() {
            return said(&called.good, &proxied);
        }
        let fix = if called.is_only_unbelieved {
            "the certificate of who signed it below /etc/docker/certs.d"
        } else {
            "check name, network, proxy and firewall; what is on this machine runs all the same"
        };
        Finding::warning(called.bad.join("; "), fix)
    })
}

/// Whether the engine speaks TLS with a registry.
fn is_secure(host: &Host, about: &Value) -> bool {
    let configs = &about["RegistryConfig"]["IndexConfigs"];
    let with_port = format!("{}:{}", host.name, host.port);
    let said = [with_port.as_str(), host.name.as_str()]
        .iter()
        .find_map(|name| configs[*name]["Secure"].as_bool());
    said.unwrap_or_else(|| !host.is_here())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_says_which_registries_have_no_tls() {
        let about = serde_json::json!({"RegistryConfig": {"IndexConfigs": {
            "docker.io": {"Secure": true}, "old.example:5000": {"Secure": false},
        }}});
        let secure = |image: &str| is_secure(&Host::of_image(image).unwrap(), &about);
        assert!(secure("redis:7") && secure("ghcr.io/a:1"));
        assert!(!secure("old.example:5000/a:1") && !secure("localhost:5000/a:1"));
    }
}
