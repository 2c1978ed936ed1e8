//! What is compared: how things stand, and what was done to get there.

use std::collections::{BTreeMap, BTreeSet};

use berth::{model::AppName, record::Record, record::ledger::Ledger, state::World};

/// How things stand, without what may differ from run to run (ids, times, addresses).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Name, image, state, ports and networks of every container.
    pub(crate) containers: BTreeSet<String>,
    /// The tags of all images that Berth built. What was pulled is the engine's to keep.
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
            images: world.images.keys().filter(|tag| is_built(tag)).cloned().collect(),
            statuses: statuses.collect(),
            leftover: ledger.apps().into_iter().filter(|app| record.entry(app).is_none()).collect(),
        }
    }

    /// The app's containers: image and state.
    pub(crate) fn sketch(world: &World, app: &AppName) -> String {
        let mine = world.containers_of(app).into_iter().map(|container| {
            let image = if is_built(&container.image) { "built" } else { &container.image };
            format!("{image} {:?}", container.state)
        });
        mine.collect::<Vec<_>>().join(", ")
    }
}

/// How often GPUs may be proved once more, when Berth ends twice at most.
const PROOFS: usize = 2;

fn is_built(tag: &str) -> bool {
    tag.starts_with("berth/")
}

/// How often each thing was done to each container, image and network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<(String, String), usize>);

impl Tally {
    /// Counts the lines of a journal.
    pub(crate) fn of(journal: &[String]) -> Self {
        let mut tally = BTreeMap::new();
        for line in journal {
            let (verb, object) = line.rsplit_once(' ').unwrap();
            *tally.entry((verb.to_owned(), object.to_owned())).or_default() += 1;
        }
        Self(tally)
    }

    fn get(&self, verb: &str, object: &str) -> usize {
        self.0.get(&(verb.to_owned(), object.to_owned())).copied().unwrap_or(0)
    }

    /// How often it was done to the containers of this app.
    pub(crate) fn of_app(&self, verb: &str, app: &str) -> usize {
        let is_of = |object: &str| object.rsplit_once('-').is_some_and(|(begin, _)| begin == app);
        let mine = self.0.iter().filter(|((done, object), _)| done == verb && is_of(object));
        mine.map(|(_, count)| count).sum()
    }

    /// In what it differs from the `usual`, object by object, where that is not within the bound.
    pub(crate) fn excess(&self, usual: &Self, bound: Bound) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(usual.0.keys()).collect();
        let mut told = Vec::new();
        for (verb, object) in keys {
            let (seen, usual) = (self.get(verb, object), usual.get(verb, object));
            let is_fine = match bound {
                // A proof changes nothing and leaves nothing: whoever has not seen its end asks again.
                _ if verb == "prove" => usual <= seen && seen <= usual + PROOFS,
                Bound::Exactly => seen == usual,
                Bound::AtMost(extra) => seen <= usual + extra,
                Bound::Again(extra) => usual <= seen && seen <= usual + extra,
            };
            if !is_fine {
                told.push(format!("{verb} {object}: {seen} times, not {usual}"));
            }
        }
        told
    }
}

/// How often each thing may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// As often as usual.
    Exactly,
    /// So much more often than usual, or less often.
    AtMost(usize),
    /// So much more often than usual, and not less often.
    Again(usize),
}

impl Bound {
    /// The same for so many deaths.
    pub(crate) fn times(self, deaths: usize) -> Self {
        match self {
            Self::Exactly => Self::Exactly,
            Self::AtMost(extra) => Self::AtMost(extra * deaths),
            Self::Again(extra) => Self::Again(extra * deaths),
        }
    }
}

#[test]
fn counts_are_compared_object_by_object() {
    let tally =
        |lines: &[&str]| Tally::of(&lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
    let usual = tally(&["create chat-1", "start chat-1", "remove image berth/chat:1"]);
    let other = tally(&["create chat-2", "start chat-1", "remove image berth/chat:1"]);
    assert_eq!(usual.excess(&usual, Bound::Exactly), Vec::<String>::new());
    assert_eq!(other.of_app("create", "chat"), usual.of_app("create", "chat"));
    assert_eq!(
        other.excess(&usual, Bound::Exactly),
        ["create chat-1: 0 times, not 1", "create chat-2: 1 times, not 0"]
    );
    assert_eq!(other.excess(&usual, Bound::Again(1)), ["create chat-1: 0 times, not 1"]);
    assert_eq!(other.excess(&usual, Bound::AtMost(1)), Vec::<String>::new());
    let proved = |times: usize| tally(&["prove chat-1"].repeat(times));
    assert_eq!(proved(3).excess(&proved(1), Bound::Exactly), Vec::<String>::new());
    assert!(!proved(4).excess(&proved(1), Bound::Exactly).is_empty());
    assert!(!proved(0).excess(&proved(1), Bound::Exactly).is_empty());
    let twice = tally(&["create chat-1", "create chat-1", "create chat-1", "start chat-1"]);
    assert!(!twice.excess(&usual, Bound::AtMost(1)).is_empty());
}
