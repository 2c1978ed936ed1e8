//! Placement of host ports: sticky, deterministic, never given twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{App, PortBinding, PortSpec, Protocol, Reason};
use crate::state::{HostPort, Placement, PlacementProblem, Policy};

/// What is known about host ports when an app's are placed.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Ports that are not to be had, and who has them, in words for people.
    pub taken: BTreeMap<HostPort, String>,
    /// Ports that others do not hold now and will want again: the last to be given out.
    pub wanted: BTreeSet<HostPort>,
    /// What the app had, by container port: an automatic port stays with its app.
    pub own: BTreeMap<(Protocol, u16), u16>,
}

/// Gives an app its host ports. All or nothing: with a problem there are no bindings to rely on.
pub fn place_ports(app: &App, claims: &Claims, policy: &Policy) -> Placement {
    let mut placement = Placement::default();
    let mut given: Vec<HostPort> = Vec::new();
    for port in &app.spec.ports {
        let host_port = match port.host_port {
            Some(fixed) => fixed_port(port, fixed, claims),
            None => automatic_port(port, claims, policy, &given),
        };
        match host_port {
            Ok(host_port) => {
                given.push((port.protocol, host_port));
                placement.bindings.push(PortBinding {
                    host_ip: port.bind.unwrap_or(policy.publish).address().to_owned(),
                    host_port,
                    container_port: port.container_port,
                    protocol: port.protocol,
                });
            }
            Err(problem) => {
                placement.problem = Some(problem);
                return placement;
            }
        }
    }
    placement
}

fn fixed_port(port: &PortSpec, fixed: u16, claims: &Claims) -> Result<u16, PlacementProblem> {
    match claims.taken.get(&(port.protocol, fixed)) {
        None => Ok(fixed),
        Some(holder) => Err(PlacementProblem {
            reason: Reason::PortTaken,
            message: format!(
                "host port {fixed}/{} is taken by {holder}: free it, choose another, or leave `hostPort` out for an automatic one",
                port.protocol
            ),
        }),
    }
}

fn automatic_port(
    port: &PortSpec,
    claims: &Claims,
    policy: &Policy,
    given: &[HostPort],
) -> Result<u16, PlacementProblem> {
    let is_free = |candidate: u16| {
        let key = (port.protocol, candidate);
        !claims.taken.contains_key(&key) && !given.contains(&key)
    };
    let kept = claims.own.get(&(port.protocol, port.container_port)).copied();
    let others: Vec<_> = claims.own.values().collect();
    let lowest = |may_be_wanted: bool| {
        let is_wanted = |candidate| claims.wanted.contains(&(port.protocol, candidate));
        let mut range = policy.ports.first..=policy.ports.last;
        range.find(|candidate| {
            is_free(*candidate)
                && !others.contains(&candidate)
                && (may_be_wanted || !is_wanted(*candidate))
        })
    };
    let kept = kept.filter(|kept| policy.ports.contains(*kept) && is_free(*kept));
    kept.or_else(|| lowest(false)).or_else(|| lowest(true)).ok_or_else(|| PlacementProblem {
        reason: Reason::NoPortFree,
        message: format!(
            "no host port of {} is free: widen `--ports` or remove apps",
            policy.ports
        ),
    })
}
