//! What people do by hand, and what only an inspection tells about ports.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::super::terminal::{Asked, Terminal};
use super::super::{Applied, Deed, Error, Hands, Load};
use super::transport::{SHORT_LIMIT, decode};
use super::{Docker, full};
use crate::model::{PortBinding, Protocol};
use crate::state::ContainerId;

/// How long an engine may take to say what a container uses: it looks twice, a second apart.
const STATS_LIMIT: Duration = Duration::from_secs(10);

impl Hands for Docker {
    fn act<'a>(&'a self, id: &'a ContainerId, deed: Deed) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.do_by_hand(id, deed))
    }

    fn pause<'a>(
        &'a self,
        id: &'a ContainerId,
        is_paused: bool,
    ) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.pause_by_hand(id, is_paused))
    }

    fn load<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Load>, Error>> {
        Box::pin(async move {
            let path = format!("/containers/{}/stats?stream=false", full(id)?);
            match self.get("stats", STATS_LIMIT, &path).await {
                Ok(body) => load(&body).map(Some),
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn open_terminal<'a>(
        &'a self,
        id: &'a ContainerId,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Terminal, Error>> {
        Box::pin(self.open(id, asked))
    }

    fn exposed<'a>(
        &'a self,
        image: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<(u16, Protocol)>>, Error>> {
        Box::pin(async move {
            let path = format!("/images/{image}/json");
            match self.get("inspect image", SHORT_LIMIT, &path).await {
                Ok(body) => exposed(&body).map(Some),
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

impl Docker {
    /// The host ports that a container was made with, bound or not.
    pub(super) async fn published(&self, id: &ContainerId) -> Result<Vec<PortBinding>, Error> {
        let body = self.inspection(id).await?;
        body.map_or_else(|| Ok(Vec::new()), |body| published(&body))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatsWire {
    cpu_stats: CpuWire,
    precpu_stats: CpuWire,
    memory_stats: MemoryWire,
    networks: Option<BTreeMap<String, NetworkWire>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CpuWire {
    cpu_usage: CpuUsageWire,
    system_cpu_usage: Option<u64>,
    online_cpus: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CpuUsageWire {
    total_usage: Option<u64>,
    percpu_usage: Option<Vec<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemoryWire {
    usage: Option<u64>,
    limit: Option<u64>,
    stats: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkWire {
    rx_bytes: u64,
    tx_bytes: u64,
}

/// Reads what an engine says of a container's use.
fn load(body: &[u8]) -> Result<Load, Error> {
    let wire: StatsWire = decode("stats", body)?;
    let memory = &wire.memory_stats;
    // cgroup v1 and v2 name the cache that was not used lately differently.
    let number = |name: &str| memory.stats.as_ref()?.get(name)?.as_u64();
    let idle = number("total_inactive_file").or_else(|| number("inactive_file")).unwrap_or(0);
    let networks = wire.networks.unwrap_or_default();
    let sum = |of: fn(&NetworkWire) -> u64| networks.values().map(of).fold(0, u64::saturating_add);
    Ok(Load {
        cpu_percent: cpu_percent(&wire.precpu_stats, &wire.cpu_stats),
        memory: memory.usage.unwrap_or(0).saturating_sub(idle),
        memory_limit: memory.limit.unwrap_or(0),
        received: sum(|network| network.rx_bytes),
        sent: sum(|network| network.tx_bytes),
    })
}

/// Percent of one processor between two looks.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a second or two")]
fn cpu_percent(before: &CpuWire, after: &CpuWire) -> f64 {
    let used = |wire: &CpuWire| wire.cpu_usage.total_usage.unwrap_or(0);
    let own = used(after).saturating_sub(used(before)) as f64;
    let (Some(from), Some(to)) = (before.system_cpu_usage, after.system_cpu_usage) else {
        return 0.0;
    };
    let all = to.saturating_sub(from) as f64;
    let listed = after.cpu_usage.percpu_usage.as_ref().map_or(1, Vec::len);
    let listed = u32::try_from(listed).unwrap_or(1);
    let processors = f64::from(after.online_cpus.filter(|count| 0 < *count).unwrap_or(listed));
    if 0.0 < all { own / all * processors * 100.0 } else { 0.0 }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ImageWire {
    config: Option<ImageConfigWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ImageConfigWire {
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

/// Reads the ports that an image exposes, the lowest TCP port first.
fn exposed(body: &[u8]) -> Result<Vec<(u16, Protocol)>, Error> {
    let wire: ImageWire = decode("inspect image", body)?;
    let ports = wire.config.unwrap_or_default().exposed_ports.unwrap_or_default();
    let mut ports: Vec<_> = ports.keys().filter_map(|text| port(text)).collect();
    ports.sort_by_key(|(port, protocol)| (*protocol, *port));
    Ok(ports)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct InspectWire {
    host_config: Option<HostWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostWire {
    port_bindings: Option<BTreeMap<String, Option<Vec<BindingWire>>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct BindingWire {
    host_ip: Option<String>,
    host_port: Option<String>,
}

/// Reads the host ports that a container was made with. One that the engine chooses is none.
fn published(body: &[u8]) -> Result<Vec<PortBinding>, Error> {
    let wire: InspectWire = decode("inspect", body)?;
    let bindings = wire.host_config.unwrap_or_default().port_bindings.unwrap_or_default();
    let mut ports = Vec::new();
    for (inner, outer) in bindings {
        let Some((container_port, protocol)) = port(&inner) else { continue };
        for binding in outer.unwrap_or_default() {
            let host_port = binding.host_port.as_deref().and_then(|text| text.parse().ok());
            let Some(host_port) = host_port.filter(|port| *port != 0) else { continue };
            let host_ip = binding.host_ip.unwrap_or_default();
            ports.push(PortBinding { host_ip, host_port, container_port, protocol });
        }
    }
    Ok(ports)
}

/// Reads `5000/tcp`.
fn port(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an Engine 20.10 on cgroup v1 and one of cgroup v2 say.
    #[test]
    fn use_is_read_as_the_engines_own_tool_shows_it() {
        let v1 = br#"{"cpu_stats":{"cpu_usage":{"total_usage":300,"percpu_usage":[1,2]},
            "system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":5000,"limit":9000,"stats":{"total_inactive_file":1000,
            "inactive_file":7}},"networks":{"eth0":{"rx_bytes":5,"tx_bytes":6},
            "eth1":{"rx_bytes":1,"tx_bytes":1}}}"#;
        let seen = load(v1).unwrap();
        assert!((seen.cpu_percent - 40.0).abs() < 1e-9, "{seen:?}");
        assert_eq!((seen.memory, seen.memory_limit), (4000, 9000));
        assert_eq!((seen.received, seen.sent), (6, 7));
        let v2 = br#"{"cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000},
            "precpu_stats":{"cpu_usage":{"total_usage":0}},
            "memory_stats":{"usage":50,"limit":90,"stats":{"inactive_file":80}}}"#;
        let first = load(v2).unwrap();
        assert_eq!((first.cpu_percent, first.memory, first.received), (0.0, 0, 0));
        assert_eq!(load(b"{}").unwrap(), Load::default());
        assert!(load(b"[").is_err());
    }

    #[test]
    fn ports_are_read_from_inspections() {
        let image = br#"{"Config":{"ExposedPorts":{"9000/udp":{},"8080/tcp":{},"5000/tcp":{},
            "odd":{},"7/sctp":{}}}}"#;
        let tcp = Protocol::Tcp;
        assert_eq!(exposed(image).unwrap(), [(5000, tcp), (8080, tcp), (9000, Protocol::Udp)]);
        assert_eq!(exposed(br#"{"Config":{"ExposedPorts":null}}"#).unwrap(), []);
        let container = br#"{"HostConfig":{"PortBindings":{"80/tcp":[
            {"HostIp":"","HostPort":"8001"},{"HostIp":"::","HostPort":""}],"53/udp":null}}}"#;
        let ports: Vec<_> = published(container).unwrap().iter().map(|p| p.host_port).collect();
        assert_eq!(ports, [8001]);
        assert_eq!(published(b"{}").unwrap(), []);
    }
}
