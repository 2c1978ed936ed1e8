//! Host ports: who gets which, and what becomes of those that are not needed any more.

use std::{collections::BTreeSet, sync::Arc};

use super::{Reconciler, as_app};
use crate::host;
use crate::model::{App, AppName, PortBinding};
use crate::plan::{Claims, place_ports};
use crate::record::ledger::Facts;
use crate::state::{Container, ContainerState, HostPort, Placement, Want, World};

impl Reconciler {
    /// Gives the app its host ports: those that it has, as long as nobody else holds them.
    pub(super) async fn place(
        &self,
        name: &AppName,
        want: &Want,
        world: &World,
        facts: &Facts,
    ) -> Placement {
        let Some(app) = as_app(want) else { return Placement::default() };
        if app.spec.ports.is_empty() {
            self.release(name, world, facts);
            return Placement::default();
        }
        let _guard = self.placing.lock().await;
        let mut claims = Claims::default();
        let held = held(name, world);
        for container in world.containers_of(name) {
            for port in &container.ports {
                claims.own.insert((port.protocol, port.container_port), port.host_port);
            }
        }
        claims.own.extend(&facts.ports);
        claims.taken = self.ledger.ports_of_others(name, self.clock.now());
        self.claim_for_elders(app, &mut claims);
        let (mut bound_by_engine, mut own) = (BTreeSet::new(), BTreeSet::new());
        for container in &world.containers {
            let is_own = container.ownership.app() == Some(name);
            for port in &container.ports {
                bound_by_engine.insert((port.protocol, port.host_port));
                if is_own {
                    own.insert((port.protocol, port.host_port));
                } else if is_bound(container) || !held.contains(&(port.protocol, port.host_port)) {
                    let holder = format!("container {}", container.name);
                    claims.taken.insert((port.protocol, port.host_port), holder);
                }
            }
        }
        let mut placement = place_ports(app, &claims, &self.policy);
        // The host is asked only when a port is to be bound anew: its answer costs milliseconds.
        let holds = |b: &PortBinding| own.contains(&(b.protocol, b.host_port));
        if placement.problem.is_some() || !placement.bindings.iter().all(holds) {
            for port in host::listening_ports() {
                if !bound_by_engine.contains(&port) {
                    let holder = "a program of this host".to_owned();
                    claims.taken.entry(port).or_insert(holder);
                }
            }
            let dormant = self.dormant.ports(self.engine.as_ref(), world).await;
            claims.wanted = dormant.into_keys().collect();
            placement = place_ports(app, &claims, &self.policy);
        }
        self.note_ports(name, facts, &placement, held);
        placement
    }

    /// Keeps what was given. What the app had before and has no more rests for a while.
    fn note_ports(
        &self,
        name: &AppName,
        facts: &Facts,
        placement: &Placement,
        held: BTreeSet<HostPort>,
    ) {
        let bindings = placement.bindings.iter();
        let given: BTreeSet<_> = bindings.clone().map(|b| (b.protocol, b.host_port)).collect();
        let had = facts.ports.iter().map(|((protocol, _), port)| (*protocol, *port));
        let had: BTreeSet<_> = had.chain(facts.held.iter().copied()).collect();
        let ports = bindings.map(|b| ((b.protocol, b.container_port), b.host_port)).collect();
        let gone: BTreeSet<_> = if placement.problem.is_none() {
            had.into_iter().filter(|port| !given.contains(port) && !held.contains(port)).collect()
        } else {
            BTreeSet::new()
        };
        self.ledger.update(name, |facts| {
            facts.held = held;
            if placement.problem.is_none() {
                facts.ports = ports;
            }
        });
        let until = self.clock.now() + self.policy.port_quarantine;
        self.ledger.release(name, &gone, until);
    }

    /// An app that wants no ports any more gives back those that it had, once it runs on none.
    fn release(&self, name: &AppName, world: &World, facts: &Facts) {
        let is_wanted = facts.ports.is_empty() && facts.held.is_empty();
        if is_wanted || world.containers_of(name).iter().any(|c| !c.ports.is_empty()) {
            return;
        }
        self.note_ports(name, facts, &Placement::default(), BTreeSet::new());
    }

    /// Two apps that ask for the same fixed port: the one that has it keeps it, else the first by
    /// name gets it, every time (fault P05).
    fn claim_for_elders(&self, app: &App, claims: &mut Claims) {
        let desired = Arc::clone(&self.desired.borrow());
        let mine: BTreeSet<_> = claims.own.values().copied().collect();
        for (name, _) in desired.apps.range(..app.name.clone()) {
            let Some(elder) = desired.app(name) else { continue };
            for port in &elder.spec.ports {
                if let Some(fixed) = port.host_port.filter(|fixed| !mine.contains(fixed)) {
                    let holder = format!("app {name}");
                    claims.taken.entry((port.protocol, fixed)).or_insert(holder);
                }
            }
        }
    }
}

fn is_bound(container: &Container) -> bool {
    container.state == ContainerState::Running
}

/// What it runs on it has, whatever those that do not run were made for (fault P05).
fn held(name: &AppName, world: &World) -> BTreeSet<HostPort> {
    let mine = world.containers_of(name);
    let running = mine.iter().filter(|container| is_bound(container));
    running.flat_map(|c| c.ports.iter().map(|port| (port.protocol, port.host_port))).collect()
}
