//! What is elsewhere: the hosts of repositories.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::net::TcpStream;

use super::{Check, Finding, Group, Place, check};

pub(super) const CHECKS: &[Check] =
    &[check(Group::Network, "hosts of repositories", "doctor.git-hosts", git_hosts)];

/// How long a host may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How many hosts are tried.
const HOSTS_MAX: usize = 16;

fn git_hosts(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        if place.git_hosts.is_empty() {
            return Finding::skipped("no repository is named");
        }
        let hosts = place.git_hosts.iter().take(HOSTS_MAX);
        let trying = hosts.map(|(host, port)| async move {
            let connecting = TcpStream::connect((host.as_str(), *port));
            match tokio::time::timeout(CONNECT, connecting).await {
                Ok(Ok(_)) => Ok(host.clone()),
                Ok(Err(error)) => Err(format!("{host}: {error}")),
                Err(_) => Err(format!("{host}: no answer within {} s", CONNECT.as_secs())),
            }
        });
        let tried = join_all(trying).await;
        let (good, bad): (Vec<_>, Vec<_>) = tried.into_iter().partition(Result::is_ok);
        let bad: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
        if bad.is_empty() {
            let good: Vec<_> = good.into_iter().flatten().collect();
            return Finding::good(format!("reached: {}", good.join(", ")));
        }
        Finding::error(bad.join("; "), "check name, network, proxy and firewall")
    })
}
