//! What is compared: how things stand, and what was done to get there.

use std::collections::{BTreeMap, BTreeSet};

use berth::{model::AppName, record::Record, record::ledger::Ledger, state::World};

/// How things stand, without what may differ from run to run (ids, times, addresses).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Name, image, state, ports and networks of every container.
    pub(crate) containers: BTreeSet<String>,
    /// The tags of all images.
    images: BTreeSet<String>,
    /// Phase and reason of every app.
    statuses: BTreeMap<AppName, String>,
    /// The apps of which Berth knows something although they are gone.
    leftover: BTreeSet<AppName>,
}

impl Picture {
    pub(crate) fn of(world: &World, record: &Record, ledger: &Ledger) -> Self {
        let containers = world.containers.iter().map(|container| {
            let ports: Vec<_> = container.ports.iter().map(ToString::to_string).collect();
            let networks: Vec<_> = container.networks.keys().cloned().collect();
            let (name, image, state) = (&container.name, &container.image, container.state);
            format!("{name} {image} {state:?} {} {}", ports.join("+"), networks.join("+"))
        });
        let statuses = record.entries().into_iter().map(|entry| {
            (entry.name.clone(), format!("{} {:?}", entry.status.phase, entry.status.reason))
        });
        Self {
            containers: containers.collect(),
            images: world.images.keys().cloned().collect(),
            statuses: statuses.collect(),
            leftover: ledger.apps().into_iter().filter(|app| record.entry(app).is_none()).collect(),
        }
    }

    /// The app's containers: image and state.
    pub(crate) fn sketch(world: &World, app: &AppName) -> String {
        let mine = world.containers_of(app).into_iter().map(|container| {
            let is_built = container.image.starts_with("berth/");
            let image = if is_built { "built" } else { &container.image };
            format!("{image} {:?}", container.state)
        });
        mine.collect::<Vec<_>>().join(", ")
    }
}

/// How often each thing was done to each app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub(crate) BTreeMap<(String, String), usize>);

impl Tally {
    /// Counts the lines of a journal.
    pub(crate) fn of(journal: &[String]) -> Self {
        let mut tally = BTreeMap::new();
        for line in journal {
            let (verb, rest) = line.rsplit_once(' ').unwrap();
            let app = match rest.strip_prefix("berth/") {
                Some(tag) => tag.split(':').next(),
                None => rest.rsplit_once('-').map(|(app, _)| app),
            };
            let key = (verb.to_owned(), app.unwrap_or(rest).to_owned());
            *tally.entry(key).or_default() += 1;
        }
        Self(tally)
    }

    pub(crate) fn get(&self, verb: &str, app: &str) -> usize {
        self.0.get(&(verb.to_owned(), app.to_owned())).copied().unwrap_or(0)
    }

    /// In what it differs from the `usual`, where that is not within the bound.
    pub(crate) fn excess(&self, usual: &Self, bound: Bound) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(usual.0.keys()).collect();
        let mut told = Vec::new();
        for (verb, app) in keys {
            let (seen, usual) = (self.get(verb, app), usual.get(verb, app));
            let is_fine = match bound {
                Bound::Exactly => seen == usual,
                Bound::AtMost(extra) => seen <= usual + extra,
            };
            if !is_fine {
                told.push(format!("{verb} {app}: {seen} times, not {usual}"));
            }
        }
        told
    }
}

/// How often each thing may be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// As often as usual.
    Exactly,
    /// So much more often than usual, or less often.
    AtMost(usize),
}
