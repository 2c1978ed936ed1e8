//! Events that are lost, doubled and told in the wrong order, and lists that are of long ago: Berth
//! ends where it would have ended, and removes nothing that it would not have removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    play::{Picture, Stage, play, tally},
    table::{APP, Work, cells},
};
use crate::{
    proxy::EventRule,
    rig::{RESYNC, name},
};

/// So soon a killed container runs again where events are told.
const MENDED_WITHIN: Duration = Duration::from_secs(2);
/// How long nothing is asked before and after.
const REST: Duration = Duration::from_secs(3);

/// What a play showed: how all stands, what was done, and how long the repair took.
struct Told {
    picture: Picture,
    tally: BTreeMap<String, usize>,
    mended: Duration,
}

/// Updates an app, kills it, and removes it, with events under this rule.
fn play_with(rule: EventRule) -> Told {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut stage = Stage::set(Work::Update, rule).await;
        stage.begin(Work::Update).await;
        tokio::time::sleep(RESYNC + REST).await;
        // Not at the same time as a look that would come anyway.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(stage.rig.fake.kill(&name(APP)));
        let begin = Instant::now();
        while !stage.runs(APP) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(begin.elapsed() < RESYNC * 2, "it stays down\n{}", stage.proxy.trace());
        }
        let mended = begin.elapsed();
        tokio::time::sleep(REST).await;
        stage.begin(Work::Remove).await;
        tokio::time::sleep(RESYNC * 2 + REST).await;
        let tally = tally(&stage.rig.fake.journal()[stage.begin..]);
        Told { picture: stage.picture(), tally, mended }
    })
}

/// Faults D12, D13.
#[test]
fn whatever_becomes_of_events_the_end_is_the_same() {
    let calm = play_with(EventRule::AsTheyAre);
    assert!(calm.mended <= MENDED_WITHIN, "{:?}", calm.mended);
    let mut rules = vec![EventRule::Silence, EventRule::Twice, EventRule::Swapped];
    rules.extend((0..16).map(|lost| EventRule::Without(BTreeSet::from([lost]))));
    for rule in rules {
        let told = play_with(rule.clone());
        assert_eq!(told.picture, calm.picture, "{rule:?}");
        assert_eq!(told.tally, calm.tally, "{rule:?}");
        let limit = match rule {
            EventRule::Twice | EventRule::Swapped => MENDED_WITHIN,
            _ => RESYNC,
        };
        assert!(told.mended <= limit, "{rule:?}: mended after {:?}", told.mended);
    }
}

/// Fault D06: what is shown is old, and nothing is removed that would not have been.
#[test]
fn lists_of_long_ago_remove_nothing() {
    for work in [Work::Install, Work::Update, Work::Kill, Work::Remove] {
        let calm = play(work, None).unwrap();
        for cell in cells(work).iter().filter(|cell| cell.failure.name == "older answer") {
            play(work, Some((cell, &calm)))
                .unwrap_or_else(|what| panic!("{}: {what}", cell.name()));
        }
    }
}
