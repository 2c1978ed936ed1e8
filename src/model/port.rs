//! Ports: what an app asks for, and what it was given.

use std::fmt;

/// The transport of a port.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Who may reach a published port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// This machine only: `127.0.0.1`.
    Loopback,
    /// Every address of this machine: `0.0.0.0`.
    Lan,
}

impl Bind {
    /// The address that the engine binds.
    pub fn address(self) -> &'static str {
        match self {
            Self::Loopback => "127.0.0.1",
            Self::Lan => "0.0.0.0",
        }
    }
}

/// A port that an app listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PortSpec {
    /// A name for people; unique within the app when given.
    pub name: Option<String>,
    /// The port inside the container.
    pub container_port: u16,
    /// The port on the host; none asks for an automatic, sticky one.
    pub host_port: Option<u16>,
    /// The transport.
    pub protocol: Protocol,
    /// Who may reach it; none means the operator's default.
    pub bind: Option<Bind>,
}

/// A port as it is bound, or shall be bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PortBinding {
    /// The host's address.
    pub host_ip: String,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The transport.
    #[serde(with = "protocol_text")]
    pub protocol: Protocol,
}

impl fmt::Display for PortBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host_ip, host_port, container_port, protocol } = self;
        write!(f, "{host_ip}:{host_port} -> {container_port}/{protocol}")
    }
}

mod protocol_text {
    use super::Protocol;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde fixes the signature")]
    pub(super) fn serialize<S: Serializer>(p: &Protocol, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(p)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Protocol, D::Error> {
        match String::deserialize(d)?.as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            other => Err(serde::de::Error::custom(format!("unknown protocol `{other}`"))),
        }
    }
}

/// The host ports that Berth gives out by itself, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Reads `8001-8999`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (0 < first && first <= last).then_some(Self { first, last })
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
