//! What speaks against a card beyond what it says at the moment: errors that were reported, and
//! cards that were there and are not listed any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::plausible;
use crate::model::{Reason, Timestamp};
use crate::state::{Gpu, GpuError, GpuHealth, GpuTelemetry, Inventory};

/// Errors of programs, not of cards (fault U03).
const OF_PROGRAMS: [u64; 6] = [13, 31, 43, 45, 68, 109];
/// Errors after which a card must be reset, or exchanged. Other errors are forgiven after a while.
const LASTING: [u64; 10] = [48, 62, 64, 74, 79, 95, 119, 120, 140, 143];
/// How long a card must be without another error to be trusted again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// What a card that is not listed any more is said to be.
const MISSING: &str = "it is lost: the driver does not list it any more";
/// How all of these begin.
const LOST: &str = "it is lost";

/// Remembers cards and their errors from reading to reading.
#[derive(Default)]
pub(super) struct Keeper {
    known: BTreeMap<String, Gpu>,
    errors: BTreeMap<String, Errors>,
}

#[derive(Default)]
struct Errors {
    last: u64,
    /// The one that speaks against the card.
    grave: Option<(u64, Timestamp)>,
    /// What the card had used when that one was reported.
    energy: Option<u64>,
    /// Whether the card was gone since.
    was_gone: bool,
}

impl Keeper {
    /// One that knows what spoke against cards before Berth was started again.
    pub(super) fn of(known: BTreeMap<String, GpuError>) -> Self {
        let errors = |error: GpuError| Errors {
            last: error.code,
            grave: Some((error.code, error.at)),
            energy: error.energy,
            was_gone: false,
        };
        let errors = known.into_iter().map(|(uuid, error)| (uuid, errors(error))).collect();
        Self { errors, ..Self::default() }
    }

    /// Completes a reading with what is remembered.
    pub(super) fn judge(
        &mut self,
        inventory: &mut Inventory,
        xids: Vec<(String, u64)>,
        now: Timestamp,
    ) {
        plausible::clear(inventory);
        inventory.gpus.sort_by_key(|gpu| !gpu.health.problems.is_empty());
        let mut seen = BTreeSet::new();
        inventory.gpus.retain(|gpu| seen.insert(gpu.uuid.clone()));
        for (uuid, code) in xids {
            self.note(&uuid, code, now);
        }
        let missing = self.known.values().filter(|gpu| !seen.contains(&gpu.uuid));
        inventory.gpus.extend(missing.map(gone));
        for gpu in &mut inventory.gpus {
            self.weigh(gpu, now);
        }
        inventory.gpus.sort_by_key(|gpu| (gpu.vendor, gpu.index));
        let named = inventory.gpus.iter().filter(|gpu| !gpu.uuid.starts_with("unknown-"));
        self.known = named.map(|gpu| (gpu.uuid.clone(), gpu.clone())).collect();
    }

    fn note(&mut self, uuid: &str, code: u64, now: Timestamp) {
        let errors = self.errors.entry(uuid.to_owned()).or_default();
        errors.last = code;
        let is_kept = errors.grave.is_some_and(|(grave, _)| LASTING.contains(&grave))
            && !LASTING.contains(&code);
        if !OF_PROGRAMS.contains(&code) && !is_kept {
            errors.grave = Some((code, now));
            (errors.energy, errors.was_gone) = (None, false);
        }
    }

    fn weigh(&mut self, gpu: &mut Gpu, now: Timestamp) {
        let Some(errors) = self.errors.get_mut(&gpu.uuid) else { return };
        let is_gone = is_lost(gpu);
        gpu.health.last_xid = Some(errors.last);
        let Some((code, at)) = errors.grave else { return };
        let is_lasting = LASTING.contains(&code);
        // The counter begins anew with a reset, which may have been made while nobody looked.
        let energy = gpu.telemetry.energy;
        let is_reset = energy.zip(errors.energy).is_some_and(|(now, then)| now < then);
        let is_over = if is_lasting {
            (errors.was_gone || is_reset) && !is_gone
        } else {
            FORGIVEN_AFTER <= now.since(at)
        };
        errors.was_gone |= is_gone;
        errors.energy = errors.energy.or(energy);
        if is_over {
            errors.grave = None;
        } else {
            let lasting = GpuError { code, at, energy: errors.energy };
            gpu.health.lasting = Some(lasting).filter(|_| is_lasting);
            let remedy = if is_lasting { ": it must be reset" } else { "" };
            gpu.health.problems.push(format!("the driver reported error {code} (XID){remedy}"));
        }
    }
}

fn gone(gpu: &Gpu) -> Gpu {
    let health = GpuHealth { problems: vec![MISSING.to_owned()], ..GpuHealth::default() };
    let telemetry = GpuTelemetry::default();
    Gpu { health, telemetry, processes: Vec::new(), ..gpu.clone() }
}

fn is_lost(gpu: &Gpu) -> bool {
    gpu.health.problems.iter().any(|problem| problem.starts_with(LOST))
}

/// Something about the GPUs that somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether a person may have to act.
    pub is_warning: bool,
    /// Whether it is an event, and not only worth a line of the log.
    pub is_event: bool,
    /// What, in one word.
    pub reason: Reason,
    /// What, as a sentence.
    pub message: String,
}

/// What is new between two readings: each matter is told when it begins and when it ends.
pub fn changes(before: &Inventory, after: &Inventory) -> Vec<Change> {
    let mut told = Vec::new();
    let warning = |reason, message| Change { is_warning: true, is_event: true, reason, message };
    let reason = Reason::AsWanted;
    let good = |message| Change { is_warning: false, is_event: true, reason, message };
    let plain = |message| Change { is_warning: false, is_event: false, reason, message };
    let note = || after.note.clone().unwrap_or_else(|| "nobody knows why".to_owned());
    if after.is_mismatched && !before.is_mismatched {
        told.push(warning(Reason::GpuDriver, note()));
    } else if after.is_stale && !before.is_stale {
        told.push(warning(Reason::GpuDriver, format!("GPUs not read: {}", note())));
    }
    if (before.is_stale || before.is_mismatched) && !(after.is_stale || after.is_mismatched) {
        told.push(good("GPUs read again".to_owned()));
    }
    if before.at.is_none() && after.at.is_some() && after.gpus.is_empty() {
        told.push(plain(format!("no GPUs: {}", note())));
    }
    for gpu in &after.gpus {
        let known = before.gpus.iter().find(|known| known.uuid == gpu.uuid);
        let was = known.map_or(0, kind);
        match kind(gpu) {
            0 if known.is_none() => told.push(plain(format!("{} is there", name(gpu)))),
            0 if was != 0 => told.push(good(format!("{} is well again", name(gpu)))),
            2 if was != 2 => told.push(warning(Reason::GpuLost, complaint(gpu))),
            1 if was != 1 => told.push(warning(Reason::GpuFailed, complaint(gpu))),
            _ => {}
        }
    }
    told
}

/// 0 for a card that is well, 1 for one that is not, 2 for one that is lost.
fn kind(gpu: &Gpu) -> u8 {
    if is_lost(gpu) { 2 } else { u8::from(!gpu.health.problems.is_empty()) }
}

fn name(gpu: &Gpu) -> String {
    format!("GPU {} ({}, {})", gpu.index, gpu.name, gpu.uuid)
}

fn complaint(gpu: &Gpu) -> String {
    format!("{} is given to nobody: {}", name(gpu), gpu.health.problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(uuid: &str, index: u32) -> Gpu {
        Gpu { uuid: uuid.to_owned(), index, name: "H200".to_owned(), ..Gpu::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    struct Play {
        keeper: Keeper,
        last: Inventory,
    }

    impl Play {
        /// A reading of these cards at this second; answers what is told, and the problems.
        fn read(
            &mut self,
            gpus: &[Gpu],
            xids: &[(&str, u64)],
            second: i64,
        ) -> (Vec<String>, String) {
            let mut inventory =
                Inventory { gpus: gpus.to_vec(), at: Some(at(second)), ..Inventory::default() };
            let xids = xids.iter().map(|(uuid, code)| ((*uuid).to_owned(), *code)).collect();
            self.keeper.judge(&mut inventory, xids, at(second));
            let told = changes(&self.last, &inventory);
            let told = told.iter().map(|c| format!("{:?} {}", c.reason, c.message)).collect();
            let problems = inventory.gpus.iter().map(|gpu| gpu.health.problems.join("; "));
            let problems = problems.collect::<Vec<_>>().join(" | ");
            self.last = inventory;
            (told, problems)
        }
    }

    /// Fault U03: programs' errors are not the card's; others end with time or with a reset.
    #[test]
    fn an_error_speaks_against_its_card_alone_and_not_for_ever() {
        let mut play = Play { keeper: Keeper::default(), last: Inventory::default() };
        let cards = [card("GPU-a", 0), card("GPU-b", 1)];
        let (told, problems) = play.read(&cards, &[], 0);
        assert_eq!((told.len(), problems.as_str()), (2, " | "));
        for code in OF_PROGRAMS {
            let (told, problems) = play.read(&cards, &[("GPU-a", code)], 1);
            assert_eq!((told, problems.as_str()), (vec![], " | "));
            assert_eq!(play.last.gpus[0].health.last_xid, Some(code));
        }
        let (told, problems) = play.read(&cards, &[("GPU-b", 32)], 2);
        assert_eq!(problems, " | the driver reported error 32 (XID)");
        assert!(
            told[0].starts_with("GpuFailed GPU 1 (H200, GPU-b) is given to nobody"),
            "{told:?}"
        );
        assert_eq!(play.read(&cards, &[], 600).0, Vec::<String>::new());
        let (told, problems) = play.read(&cards, &[], 602);
        assert_eq!(
            (told[0].as_str(), problems.as_str()),
            ("AsWanted GPU 1 (H200, GPU-b) is well again", " | ")
        );
        let (_, problems) = play.read(&cards, &[("GPU-a", 79), ("GPU-a", 45), ("GPU-a", 32)], 700);
        assert_eq!(problems, "the driver reported error 79 (XID): it must be reset | ");
        assert_eq!(play.read(&cards, &[], 99_999).1, problems);
    }

    /// Faults U04, U05, U06.
    #[test]
    fn a_lost_card_stays_in_sight_and_takes_nobody_with_it() {
        let mut play = Play { keeper: Keeper::default(), last: Inventory::default() };
        let cards = [card("GPU-a", 0), card("GPU-b", 1)];
        play.read(&cards, &[], 0);
        let (told, problems) = play.read(&cards[1..], &[("GPU-a", 79)], 1);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("GpuLost GPU 0 (H200, GPU-a)"), "{told:?}");
        assert!(problems.starts_with(MISSING) && problems.ends_with(" | "), "{problems}");
        assert_eq!(play.read(&cards[1..], &[], 2).0, Vec::<String>::new());
        // It comes back under another number, after a reset: what was said against it is over.
        let (told, problems) = play.read(&[card("GPU-b", 0), card("GPU-a", 1)], &[], 3);
        assert_eq!(
            (told, problems.as_str()),
            (vec!["AsWanted GPU 1 (H200, GPU-a) is well again".to_owned()], " | ")
        );
    }

    /// Fault U03, over a restart of Berth: what needs a reset goes on to, until there was one.
    #[test]
    fn an_error_that_lasts_outlives_berth_until_the_card_is_reset() {
        let of = |energy| {
            let telemetry = GpuTelemetry { energy, ..GpuTelemetry::default() };
            Gpu { telemetry, ..card("GPU-a", 0) }
        };
        let play = |keeper| Play { keeper, last: Inventory::default() };
        let mut first = play(Keeper::default());
        first.read(&[of(Some(5000))], &[], 0);
        first.read(&[of(Some(6000))], &[("GPU-a", 79), ("GPU-a", 32)], 1);
        first.read(&[of(Some(7000))], &[], 2);
        let error = first.last.gpus[0].health.lasting.clone().unwrap();
        assert_eq!((error.code, error.at, error.energy), (79, at(1), Some(6000)));
        let known = || BTreeMap::from([("GPU-a".to_owned(), error.clone())]);
        let mut same = play(Keeper::of(known()));
        for second in [1000, 100_000] {
            let (_, problems) = same.read(&[of(Some(9000))], &[], second);
            assert_eq!(problems, "the driver reported error 79 (XID): it must be reset");
        }
        for gpu in [of(Some(10)), of(None)] {
            let is_told = gpu.telemetry.energy.is_some();
            let mut later = play(Keeper::of(known()));
            let (_, problems) = later.read(&[gpu], &[], 1000);
            assert_eq!(problems.is_empty(), is_told, "{problems}");
            assert_eq!(later.last.gpus[0].health.lasting.is_none(), is_told);
        }
        // One that time mends is not worth keeping.
        first.read(&[], &[], 3);
        assert_eq!(first.read(&[of(Some(1))], &[], 4).1, "");
        let (_, problems) = first.read(&[of(Some(2))], &[("GPU-a", 32)], 5);
        assert!(problems.contains("error 32") && first.last.gpus[0].health.lasting.is_none());
    }

    #[test]
    fn what_is_not_read_is_told_once_and_so_is_its_end() {
        let fresh = Inventory { at: Some(at(0)), ..Inventory::default() };
        let stale =
            Inventory { is_stale: true, note: Some("it hangs".to_owned()), ..fresh.clone() };
        let other = Inventory { note: Some("it still hangs".to_owned()), ..stale.clone() };
        let mismatched = Inventory { is_mismatched: true, ..stale.clone() };
        let count = |before: &Inventory, after: &Inventory| changes(before, after).len();
        assert_eq!(count(&Inventory::default(), &fresh), 1);
        assert_eq!(
            (count(&fresh, &stale), count(&stale, &other), count(&other, &fresh)),
            (1, 0, 1)
        );
        assert_eq!(changes(&stale, &mismatched)[0].reason, Reason::GpuDriver);
        assert_eq!((count(&mismatched, &mismatched), count(&mismatched, &fresh)), (0, 1));
    }
}
