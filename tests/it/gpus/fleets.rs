//! What holds for every fleet. 10,000 of them in the default run; `PROPTEST_CASES` sets another
//! number, `PROPTEST_RNG_SEED` chooses others.

use std::collections::{BTreeMap, BTreeSet};

use berth::{
    model::{AppName, GpuAsk, GpuGrant, GpuShare, Timestamp},
    plan::{Answer, Asking, Fleet, Holding, Who, place_gpus},
    state::{ContainerId, Gpu, GpuHold, GpuProcess, Inventory},
};
use proptest::prelude::*;

use super::{GIB, card, inventory, link, split};
use crate::plan_props::cases;

const MINUTE: i64 = 60_000;
/// The programs of holders have numbers above this one.
const PIDS: u32 = 1000;
/// Who of the six is a program outside.
const LEASE: usize = 1;

/// A card of a random fleet: memory, what strangers use, whether it is split, whether it is sick,
/// and with which other one it is linked.
type Slot = (u64, u64, bool, bool, Option<usize>);

#[derive(Clone, Debug)]
enum Event {
    Ask(usize, GpuAsk),
    /// The app of this number gives up what it has, or what it waits for.
    Leave(usize),
    /// Somebody else's container takes the card of this index, or all of them.
    Stranger(Option<u32>),
    StrangerEnds,
    Sick(usize),
    Stale(bool),
    /// A program of the holder of this number uses so much of its cards; some drivers do not say
    /// how much that is.
    Uses(usize, u64, bool),
    /// Nobody shares a card in this mode, or uses it.
    Mode(usize, &'static str),
    Time(i64),
}

fn ask() -> impl Strategy<Value = GpuAsk> {
    let share = prop_oneof![Just(GpuShare::Exclusive), Just(GpuShare::Memory)];
    (1..4_u32, prop::option::of(1..40_u64), share, 0..8_u8, -3..4_i32).prop_map(
        |(count, gib, share, kind, priority)| {
            let is_mig = kind == 0 && share == GpuShare::Exclusive;
            let memory = gib.or((share == GpuShare::Memory).then_some(6));
            GpuAsk {
                share,
                memory_bytes: memory.filter(|_| !is_mig).map(|gib| gib * GIB),
                mig: is_mig.then(|| "1g.10gb".to_owned()),
                ids: if kind == 1 { vec!["GPU-a".to_owned()] } else { Vec::new() },
                priority,
                ..GpuAsk::whole(if kind == 1 { 1 } else { count })
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..6_usize, ask()).prop_map(|(app, ask)| Event::Ask(app, ask)),
        3 => (0..6_usize).prop_map(Event::Leave),
        1 => prop::option::of(0..4_u32).prop_map(Event::Stranger),
        1 => Just(Event::StrangerEnds),
        1 => (0..5_usize).prop_map(Event::Sick),
        1 => any::<bool>().prop_map(Event::Stale),
        3 => (0..6_usize, 1..20_u64, any::<bool>()).prop_map(|(n, gib, told)| Event::Uses(n, gib, told)),
        1 => (0..5_usize, mode()).prop_map(|(card, mode)| Event::Mode(card, mode)),
        2 => (0..30_i64).prop_map(|minutes| Event::Time(minutes * MINUTE)),
    ]
}

fn mode() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("Default"), Just("ExclusiveProcess"), Just("Prohibited")]
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    let memory = prop_oneof![Just(8_u64), Just(16), Just(24), Just(40), Just(80)];
    let strangers = prop_oneof![4 => Just(0_u64), 1 => 0..9_u64];
    let slot = (memory, strangers, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let linked = prop::option::weighted(0.4, 0..5_usize);
    let slot = (slot, linked).prop_map(|((gib, used, mig, sick), to)| (gib, used, mig, sick, to));
    prop::collection::vec(slot, 1..6)
}

fn host(slots: &[Slot]) -> Inventory {
    let mut cards: Vec<Gpu> = Vec::new();
    for (index, (gib, used, is_mig, is_sick, _)) in slots.iter().enumerate() {
        let mut card = card(u32::try_from(index).unwrap(), *gib);
        if *is_mig {
            card = split(card, "1g.10gb", 3);
        } else if 0 < *used {
            card.memory.used = used * GIB;
            let memory = Some(used * GIB);
            card.processes.push(GpuProcess { memory, ..GpuProcess::default() });
        }
        if *is_sick {
            card.health.problems.push("it is sick".to_owned());
        }
        cards.push(card);
    }
    for (from, slot) in slots.iter().enumerate() {
        if let Some(to) = slot.4.filter(|to| *to < cards.len() && *to != from) {
            link(&mut cards, from, to, 4);
        }
    }
    inventory(cards)
}

struct Life {
    host: Inventory,
    now: i64,
    held: BTreeMap<usize, GpuGrant>,
    queue: BTreeMap<usize, (GpuAsk, i64)>,
    stranger: Option<GpuHold>,
    /// What programs use: whose, on which card, how much.
    uses: Vec<(usize, String, u64)>,
}

/// The holder of this number: one is a program outside, by a lease.
fn app(number: usize) -> Who {
    if number == LEASE {
        return Who::Lease { id: "gpu-1".to_owned(), holder: "train.py".to_owned() };
    }
    Who::App(AppName::new(&format!("app-{number}")).unwrap())
}

/// The container of that holder. A program outside is in none.
fn container(number: usize) -> Option<ContainerId> {
    (number != LEASE).then(|| ContainerId::new(format!("c{number}")))
}

fn number(who: &Who) -> usize {
    if matches!(who, Who::Lease { .. }) {
        return LEASE;
    }
    who.to_string().trim_start_matches("app app-").parse().unwrap()
}

impl Life {
    /// The holdings as labels tell them, which is all that a Berth knows that has forgotten.
    fn holdings(&self) -> Vec<Holding> {
        let label = |(number, grant): (&usize, &GpuGrant)| Holding {
            who: app(*number),
            hold: GpuHold::Granted(GpuGrant::parse(&grant.to_string()).unwrap()),
            container: container(*number),
            is_obscure: false,
        };
        let mut all: Vec<_> = self.held.iter().map(label).collect();
        all.extend(self.stranger.iter().map(|hold| Holding {
            who: Who::Container("trainer".to_owned()),
            hold: hold.clone(),
            container: Some(ContainerId::new("trainer")),
            is_obscure: false,
        }));
        all
    }

    fn answers(&self, host: &Inventory, is_backwards: bool) -> Vec<(usize, Answer)> {
        let since = |at: &i64| Timestamp::from_millis(*at);
        let mut asking: Vec<_> = self
            .queue
            .iter()
            .map(|(number, (ask, at))| Asking { who: app(*number), ask, since: since(at) })
            .collect();
        let mut holdings = self.holdings();
        if is_backwards {
            asking.reverse();
            holdings.reverse();
        }
        let up: BTreeSet<_> = holdings.iter().filter_map(|held| held.container.clone()).collect();
        let fleet = Fleet { inventory: host, holdings: &holdings, up: &up };
        let answers = place_gpus(&asking, &fleet);
        answers.into_iter().map(|(who, answer)| (number(&who), answer)).collect()
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Ask(number, ask) if !self.held.contains_key(number) => {
                self.queue.entry(*number).or_insert((ask.clone(), self.now));
            }
            Event::Ask(..) => {}
            Event::Leave(number) => {
                self.held.remove(number);
                self.end_use(*number);
                self.queue.remove(number);
            }
            Event::Stranger(None) => self.stranger = Some(GpuHold::All),
            Event::Stranger(Some(index)) => {
                self.stranger = Some(GpuHold::Devices(vec![index.to_string()]));
            }
            Event::StrangerEnds => self.stranger = None,
            Event::Sick(at) => {
                if let Some(card) = self.host.gpus.get_mut(*at) {
                    match card.health.problems.pop() {
                        Some(_) => {}
                        None => card.health.problems.push("it is sick".to_owned()),
                    }
                }
            }
            Event::Uses(number, gib, is_told) => self.use_cards(*number, *gib, *is_told),
            Event::Mode(at, mode) => {
                if let Some(card) = self.host.gpus.get_mut(*at) {
                    card.compute_mode = Some((*mode).to_owned());
                }
            }
            Event::Stale(is_stale) => self.host.is_stale = *is_stale,
            Event::Time(ms) => self.now += ms,
        }
    }

    /// A program of a holder begins on each card that it has.
    fn use_cards(&mut self, number: usize, gib: u64, is_told: bool) {
        let Some(grant) = self.held.get(&number) else { return };
        for card in self.host.gpus.iter_mut().filter(|card| grant.devices.contains(&card.uuid)) {
            let bytes = (gib * GIB).min(card.memory.usable().saturating_sub(card.memory.used));
            card.memory.used += bytes;
            card.processes.push(GpuProcess {
                pid: PIDS + u32::try_from(number).unwrap(),
                memory: is_told.then_some(bytes),
                container: container(number),
                ..GpuProcess::default()
            });
            self.uses.push((number, card.uuid.clone(), bytes));
        }
    }

    fn end_use(&mut self, number: usize) {
        for card in &mut self.host.gpus {
            card.processes.retain(|process| process.pid != PIDS + u32::try_from(number).unwrap());
            let ended = self.uses.iter().filter(|(n, id, _)| *n == number && *id == card.uuid);
            card.memory.used -= ended.map(|(_, _, bytes)| bytes).sum::<u64>();
        }
        self.uses.retain(|(user, _, _)| *user != number);
    }

    /// Serves everybody at once, and checks that one by one it would come to the same, as each app
    /// has a pass of its own.
    fn serve(&mut self) -> Result<(), TestCaseError> {
        let answers = self.answers(&self.host, false);
        for (number, answer) in answers {
            let alone = self.answers(&self.host, false);
            let alone = alone.into_iter().find(|(other, _)| *other == number);
            prop_assert_eq!(alone.map(|(_, answer)| answer), Some(answer.clone()));
            if let Answer::Granted(grant) = answer {
                self.check(&grant, number)?;
                self.held.insert(number, grant);
                self.queue.remove(&number);
            }
        }
        self.check_sums()
    }

    /// What was just given is what was asked for, and nobody's.
    fn check(&self, grant: &GpuGrant, number: usize) -> Result<(), TestCaseError> {
        let (ask, _) = &self.queue[&number];
        prop_assert!(!self.host.is_stale);
        prop_assert_eq!(grant.devices.len(), usize::try_from(ask.count).unwrap());
        let distinct: BTreeSet<_> = grant.devices.iter().collect();
        prop_assert_eq!(distinct.len(), grant.devices.len());
        for id in &grant.devices {
            let (card, usable) = self.find(id);
            prop_assert!(card.health.problems.is_empty(), "{} is sick", id);
            prop_assert_eq!(card.is_mig, id.starts_with("MIG-"));
            prop_assert!(ask.memory_bytes.unwrap_or(0) <= usable - card.memory.used);
            let mode = card.compute_mode.as_deref().unwrap_or("Default");
            prop_assert!(mode != "Prohibited", "{} is for nobody", id);
            let is_shared = ask.share == GpuShare::Memory;
            prop_assert!(!(is_shared && mode == "ExclusiveProcess"), "{} is not shared", id);
            if ask.share == GpuShare::Exclusive {
                prop_assert!(card.memory.used <= GIB, "strangers use {}", id);
                let is_strangers = match &self.stranger {
                    Some(GpuHold::Devices(names)) => names.contains(&card.index.to_string()),
                    other => other.is_some(),
                };
                prop_assert!(!is_strangers, "a stranger has {}", id);
            }
        }
        Ok(())
    }

    fn find(&self, id: &str) -> (&Gpu, u64) {
        let parts = |gpu: &Gpu| gpu.parts.iter().any(|part| part.uuid == id);
        let card = self.host.gpus.iter().find(|gpu| gpu.uuid == id || parts(gpu)).unwrap();
        let part = card.parts.iter().find(|part| part.uuid == id);
        (card, part.map_or(card.memory, |part| part.memory).usable())
    }

    /// Never two holders of what one has alone; never more promised than there is.
    fn check_sums(&self) -> Result<(), TestCaseError> {
        let mut on: BTreeMap<&String, Vec<&GpuGrant>> = BTreeMap::new();
        for grant in self.held.values() {
            for id in &grant.devices {
                on.entry(id).or_default().push(grant);
            }
        }
        for (id, grants) in on {
            let is_alone = grants.iter().any(|grant| grant.share == GpuShare::Exclusive);
            prop_assert!(!is_alone || grants.len() == 1, "{} is held by {:?}", id, grants);
            let promised: u64 = grants.iter().filter_map(|grant| grant.memory_bytes).sum();
            prop_assert!(promised <= self.find(id).1, "{} of {}", promised, id);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Faults U05, U11, U12, U16: whatever has happened, nothing is given twice and nothing is
    /// promised that is not there; and the same is answered in any order, and after everything was
    /// forgotten but what labels say.
    #[test]
    fn nothing_is_ever_given_twice(slots in slots(), events in prop::collection::vec(event(), 1..6)) {
        let host = host(&slots);
        let mut life = Life {
            host,
            now: 1_800_000_000_000,
            held: BTreeMap::new(),
            queue: BTreeMap::new(),
            stranger: None,
            uses: Vec::new(),
        };
        for event in &events {
            life.happen(event);
            life.serve()?;
        }
        let mut backwards = life.host.clone();
        backwards.gpus.reverse();
        for gpu in &mut backwards.gpus {
            gpu.parts.reverse();
            gpu.links.reverse();
        }
        prop_assert_eq!(life.answers(&life.host, false), life.answers(&backwards, true));
        // Whoever waits has a cause: with nobody else there it would be served.
        life.host.is_stale = false;
        for gpu in &mut life.host.gpus {
            gpu.health.problems.clear();
            gpu.memory.used = 0;
            gpu.processes.clear();
        }
        let waiting: Vec<_> = life.answers(&life.host, false);
        for (number, answer) in waiting {
            if let Answer::Waits(why) = &answer {
                prop_assert!(why.contains("held by") || why.contains("kept for"), "{}", why);
                let queue = life.queue.iter().filter(|(other, _)| **other == number);
                let alone = Life {
                    host: life.host.clone(),
                    now: life.now,
                    held: BTreeMap::new(),
                    queue: queue.map(|(number, asked)| (*number, asked.clone())).collect(),
                    stranger: None,
                    uses: Vec::new(),
                };
                let answers = alone.answers(&alone.host, false);
                prop_assert!(matches!(answers[0].1, Answer::Granted(_)), "{:?}", answers);
            }
        }
    }
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// However many come and however important they are, whoever waits is served: here the least
/// important one, with the largest wish, on a host where there are always others. `BERTH_GPU_SEED`
/// chooses other fleets.
#[test]
fn nobody_starves() {
    let seed = std::env::var("BERTH_GPU_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for nth in 0..120 {
        let mut dice = Dice(seed * 1_000 + nth);
        let count = 1 + dice.roll(4);
        let mut gib = || [8, 16, 24, 40, 80][usize::try_from(dice.roll(5)).unwrap()];
        let cards = (0..count).map(|index| card(u32::try_from(index).unwrap(), gib())).collect();
        let mut life = Life {
            host: inventory(cards),
            now: 1_800_000_000_000,
            held: BTreeMap::new(),
            queue: BTreeMap::new(),
            stranger: None,
            uses: Vec::new(),
        };
        let wish = u32::try_from(count).unwrap();
        let victim = GpuAsk { priority: -100, ..GpuAsk::whole(wish) };
        let mut ends: BTreeMap<usize, i64> = BTreeMap::new();
        let mut served = None;
        for step in 0..2_000_i64 {
            if step == 5 {
                life.queue.insert(0, (victim.clone(), life.now));
            }
            // There are always six that wait, all of them more important than that one.
            while life.queue.len() < 6 {
                let is_new = |n: &usize| !life.held.contains_key(n) && !life.queue.contains_key(n);
                let number = (2..10_000).find(is_new).unwrap();
                let priority = i32::try_from(dice.roll(201)).unwrap() - 100;
                let share = if dice.roll(2) == 0 { GpuShare::Exclusive } else { GpuShare::Memory };
                let memory_bytes = (share == GpuShare::Memory).then(|| (1 + dice.roll(7)) * GIB);
                let ask = GpuAsk { share, memory_bytes, priority, ..GpuAsk::whole(1) };
                life.queue.insert(number, (ask, life.now));
            }
            life.serve()
                .unwrap_or_else(|wrong| panic!("BERTH_GPU_SEED={seed}, fleet {nth}: {wrong}"));
            if life.held.contains_key(&0) {
                served = Some(step);
                break;
            }
            for number in life.held.keys() {
                let time = i64::try_from(1 + dice.roll(60)).unwrap();
                ends.entry(*number).or_insert(life.now + time * MINUTE);
            }
            life.now += 15 * MINUTE;
            let over: Vec<_> =
                ends.iter().filter(|(_, at)| **at <= life.now).map(|(n, _)| *n).collect();
            for number in over {
                ends.remove(&number);
                life.held.remove(&number);
            }
        }
        // 200 points are 1000 minutes; then those that were before it end, an hour each at most.
        let steps = served.unwrap_or_else(|| panic!("BERTH_GPU_SEED={seed}, fleet {nth}: starved"));
        assert!(steps < 5 + (1_000 + 12 * 60) / 15, "BERTH_GPU_SEED={seed}, fleet {nth}: {steps}");
    }
}
