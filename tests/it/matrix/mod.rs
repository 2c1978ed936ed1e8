//! The fault matrix: every endpoint that Berth uses, failing in every way, once, twice, each other
//! time and until it is healed. Whatever happens, Berth ends where it would have ended, with the
//! same things made and removed; it says why it is not there yet; it does not hammer the engine;
//! and what fails for one app delays no other.
//!
//! `BERTH_MATRIX=all` plays every cell, `BERTH_MATRIX=<part of a cell's name>` those cells; without
//! it a sample is played, always the same one.

mod events;
mod play;
pub(crate) mod table;

use std::collections::BTreeMap;

use play::play;
use table::{Cell, Work, cells};

/// One cell of so many is played by default.
const SAMPLE: usize = 23;

/// The cells that are played, by the environment.
fn chosen(work: Work) -> Vec<Cell> {
    let mut all = cells(work);
    match std::env::var("BERTH_MATRIX").as_deref() {
        Ok("all") => {}
        Ok(part) => all.retain(|cell| cell.name().contains(part)),
        Err(_) => {
            // Prime to the number of patterns and failures, so that all of them have their turn.
            let mut nth = 0;
            all.retain(|_| {
                nth += 1;
                nth % SAMPLE == 0
            });
        }
    }
    all
}

fn check(work: Work) {
    let cells = chosen(work);
    if cells.is_empty() {
        return;
    }
    let calm = match play(work, None) {
        Ok(calm) => calm,
        Err(what) => panic!("without faults: {what}"),
    };
    let mut wrong = Vec::new();
    let mut faults = BTreeMap::new();
    for cell in &cells {
        match play(work, Some((cell, &calm))) {
            Ok(played) => *faults.entry(cell.endpoint).or_insert(0) += played.faults,
            Err(what) => wrong.push(format!("== BERTH_MATRIX='{}'\n{what}", cell.name())),
        }
    }
    // Of each its name and its first words, of the first one everything.
    let names = wrong.iter().map(|text| text.chars().take(300).collect::<String>());
    let names: Vec<_> = names.collect();
    let first = wrong.first().cloned().unwrap_or_default();
    assert!(
        wrong.is_empty(),
        "{} of {} cells failed:\n{}\n\nThe first:\n{first}",
        wrong.len(),
        cells.len(),
        names.join("\n\n")
    );
    let idle: Vec<_> = faults.iter().filter(|(_, count)| **count == 0).collect();
    assert!(idle.is_empty(), "no request failed of {idle:?}");
}

#[test]
fn a_first_start_survives_every_fault() {
    check(Work::First);
}

#[test]
fn new_apps_survive_every_fault() {
    check(Work::Install);
}

#[test]
fn an_update_survives_every_fault() {
    check(Work::Update);
}

#[test]
fn a_pull_survives_every_fault() {
    check(Work::Pull);
}

#[test]
fn a_build_survives_every_fault() {
    check(Work::Build);
}

#[test]
fn an_image_that_is_not_needed_goes_whatever_fails() {
    check(Work::Rebuild);
}

#[test]
fn a_repair_survives_every_fault() {
    check(Work::Kill);
}

/// Fault D12: a silent stream of events is asked about, and the question fails.
#[test]
fn silent_events_survive_every_fault() {
    check(Work::Quiet);
}

#[test]
fn a_removal_survives_every_fault() {
    check(Work::Remove);
}
