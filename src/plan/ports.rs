//! Who has which host port: everything that is known, put together.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AppName, PortRange, Protocol, Timestamp};
use crate::state::{Container, ContainerState, HostPort, Rest, World};

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts<'a> {
    /// What the engine lists.
    pub world: &'a World,
    /// Who was given each port: the app, and its container's port.
    pub given: &'a BTreeMap<HostPort, (AppName, u16)>,
    /// The ports that rest.
    pub resting: &'a BTreeMap<HostPort, Rest>,
    /// The ports on which something of the host listens.
    pub listening: &'a BTreeSet<HostPort>,
    /// The ports that stopped containers of others want, with their names.
    pub dormant: &'a BTreeMap<HostPort, String>,
    /// The ports that are given out.
    pub range: PortRange,
}

/// How it stands with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// An app's container has it.
    Bound,
    /// An app was given it, and does not run on it now.
    Reserved,
    /// Nobody gets it for a while.
    Quarantined,
    /// Somebody else has it, or will want it again.
    Foreign,
}

/// A host port that somebody has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortUse {
    /// The host's port.
    pub port: u16,
    /// The transport.
    pub protocol: Protocol,
    /// How it stands with it.
    pub state: PortState,
    /// Whose it is.
    pub app: Option<AppName>,
    /// The container's port.
    pub container_port: Option<u16>,
    /// The host's address.
    pub address: Option<String>,
    /// Who else has it, or why nobody gets it.
    pub holder: Option<String>,
    /// Until when nobody gets it.
    pub until: Option<Timestamp>,
}

/// All ports that somebody has to do with, in order: those of the range, and those of containers.
pub fn port_uses(facts: &PortFacts<'_>) -> Vec<PortUse> {
    let mut uses: BTreeMap<(u16, Protocol), PortUse> = BTreeMap::new();
    let mut put = |port: HostPort, state: PortState| {
        let (protocol, port) = port;
        let none = PortUse {
            port,
            protocol,
            state,
            app: None,
            container_port: None,
            address: None,
            holder: None,
            until: None,
        };
        let key = (port, protocol);
        let is_new = !uses.contains_key(&key);
        uses.entry(key).or_insert(none);
        is_new.then_some(key)
    };
    // Who comes first says how it stands.
    let mut rows = Vec::new();
    for container in facts.world.containers.iter().filter(|container| binds(container)) {
        for port in &container.ports {
            let app = container.ownership.app();
            let state = if app.is_some() { PortState::Bound } else { PortState::Foreign };
            let row = put((port.protocol, port.host_port), state);
            rows.extend(row.map(|key| (key, Row::Container(container, port))));
        }
    }
    for (port, (app, inner)) in facts.given {
        rows.extend(put(*port, PortState::Reserved).map(|key| (key, Row::Given(app, *inner))));
    }
    for port in facts.listening.iter().filter(|(_, port)| facts.range.contains(*port)) {
        rows.extend(put(*port, PortState::Foreign).map(|key| (key, Row::Listening)));
    }
    for (port, name) in facts.dormant {
        rows.extend(put(*port, PortState::Foreign).map(|key| (key, Row::Dormant(name))));
    }
    for (port, rest) in facts.resting {
        rows.extend(put(*port, PortState::Quarantined).map(|key| (key, Row::Resting(rest))));
    }
    for (key, row) in rows {
        if let Some(port) = uses.get_mut(&key) {
            row.fill(port, facts.listening);
        }
    }
    uses.into_values().collect()
}

/// What is known of a port.
enum Row<'a> {
    Container(&'a Container, &'a crate::model::PortBinding),
    Given(&'a AppName, u16),
    Listening,
    Dormant(&'a str),
    Resting(&'a Rest),
}

impl Row<'_> {
    fn fill(self, port: &mut PortUse, listening: &BTreeSet<HostPort>) {
        match self {
            Self::Container(container, binding) => {
                port.app = container.ownership.app().cloned();
                port.container_port = Some(binding.container_port);
                port.address = Some(binding.host_ip.clone());
                let is_foreign = port.app.is_none();
                port.holder = is_foreign.then(|| format!("container {}", container.name));
            }
            Self::Given(app, inner) => {
                (port.app, port.container_port) = (Some(app.clone()), Some(inner));
                let is_taken = listening.contains(&(port.protocol, port.port));
                port.holder = is_taken.then(|| "a program of this host".to_owned());
            }
            Self::Listening => port.holder = Some("a program of this host".to_owned()),
            Self::Dormant(name) => port.holder = Some(format!("container {name} (stopped)")),
            Self::Resting(rest) => {
                (port.holder, port.until) = (Some(rest.why.clone()), Some(rest.until));
            }
        }
    }
}

/// Whether a container has its ports.
fn binds(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Paused)
}
