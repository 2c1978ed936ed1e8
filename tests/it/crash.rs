//! Killing Berth at any engine call, and every other fault at every engine call: it comes to what
//! an undisturbed Berth comes to, touches no other app, and does nothing twice.
//!
//! Each workload is played undisturbed first: that says which calls there are, and what must be in
//! the end. Then it is played again for each call. A play that goes wrong tells what to play again:
//! the workload, the number and kind of the call, the fault, what was remembered, and the journal.
//!
//! What may be done more often than undisturbed: nothing, except what nobody can know of any more.
//! A version that was given up, a stop, a restart that were not kept before the kill may happen
//! once more (`Workload::again`).
//!
//! `BERTH_CRASH_ALL=1` plays every kill with every memory; without it a kill at a call that only
//! looks is played with one of them in turn.

mod oracle;
mod stage;
mod workload;

use std::{sync::Arc, time::Duration};

use berth::{
    engine::fault::{Fault, Faulty, Occurrence},
    model::Reason,
};

use crate::rig::{self, Rig, is};
use oracle::{Bound, Picture};
use stage::{Memory, Played, Trial, Wrong, play};
use workload::{Workload, acquiring, changing, creating, failing, leaving};

/// All plays of one workload.
struct Series {
    workload: Workload,
    pictures: Vec<Picture>,
    usual: Played,
    plays: usize,
    hits: usize,
    wrong: Vec<String>,
}

impl Series {
    /// Plays it undisturbed, twice: without and with knowing when it is done.
    fn begin(workload: Workload) -> Self {
        let calm = Trial::calm();
        let first = play(&workload, &calm, None).unwrap_or_else(|wrong| panic!("{wrong}"));
        let pictures = first.pictures;
        let usual = play(&workload, &calm, Some(&pictures));
        let usual = usual.unwrap_or_else(|wrong| panic!("{wrong}"));
        Self { workload, pictures, usual, plays: 0, hits: 0, wrong: Vec::new() }
    }

    /// Plays it disturbed.
    fn disturb(&mut self, trial: &Trial, bound: Bound) {
        self.plays += 1;
        match play(&self.workload, trial, Some(&self.pictures)) {
            Err(wrong) => self.wrong.push(wrong),
            Ok(played) => {
                self.hits += usize::from(!played.hits.is_empty());
                let excess = played.tally.excess(&self.usual.tally, bound);
                if !excess.is_empty() {
                    let name = self.workload.name;
                    let Played { hits, journal, .. } = &played;
                    self.wrong.push(format!(
                        "`{name}` with {trial:?}, hit {hits:?}: {excess:?}\njournal: {journal:#?}"
                    ));
                }
            }
        }
    }

    /// The same when Berth dies: what is forgotten may happen again.
    fn kill(&mut self, trial: &Trial) {
        let is_kept = trial.memory == Memory::AtDeath;
        self.disturb(trial, if is_kept { self.workload.bound_kept } else { self.workload.bound });
    }

    /// The calls, each with whether it may change the engine.
    fn calls(&self) -> Vec<(u64, bool)> {
        let changes = |kind| Occurrence { kind, nth: 0, nth_of_kind: 0 }.is_change();
        (0..).zip(&self.usual.calls[0]).map(|(at, kind)| (at, changes(kind))).collect()
    }

    /// The calls that may change the engine.
    fn changes(&self) -> Vec<u64> {
        self.calls().into_iter().filter(|(_, is_change)| *is_change).map(|(at, _)| at).collect()
    }
}

/// Plays all series and fails with the first few plays that went wrong.
fn run(workloads: Vec<Workload>, disturb: impl Fn(&mut Series)) {
    let (mut wrong, mut plays, mut hits) = (Vec::new(), 0, 0);
    for workload in workloads {
        let mut series = Series::begin(workload);
        disturb(&mut series);
        wrong.append(&mut series.wrong);
        plays += series.plays;
        hits += series.hits;
    }
    let first: Vec<_> = wrong.iter().take(3).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} of {plays} plays went wrong:\n{}",
        wrong.len(),
        first.join("\n\n")
    );
    assert!(plays * 9 / 10 < hits, "only {hits} of {plays} plays met their fault");
}

/// Kills Berth at every call: before the engine does it, and after.
fn kill_everywhere(workloads: Vec<Workload>) {
    let is_thorough = std::env::var_os("BERTH_CRASH_ALL").is_some();
    let all = [Memory::Before, Memory::AtDeath, Memory::Lost];
    run(workloads, |series| {
        for (at, is_change) in series.calls() {
            // A call that only looks leaves nothing: before and after are the same.
            let faults = [Fault::CrashBefore, Fault::CrashAfter];
            for fault in faults.into_iter().take(if is_change { 2 } else { 1 }) {
                let turn = usize::try_from(at).unwrap() % all.len();
                let (first, end) = if is_change || is_thorough { (0, 3) } else { (turn, turn + 1) };
                for memory in &all[first..end] {
                    series.kill(&Trial::one(at, Wrong::Fault(fault.clone()), *memory));
                }
            }
        }
    });
}

/// Has these faults happen at every call, and at as many as `length` in a row.
fn fail_everywhere(names: &[&str], faults: &[Fault], length: u64, bound: Bound) {
    run(some(names), |series| {
        for (at, kind) in (0..).zip(series.usual.calls[0].clone()) {
            // Only what is seen can be old.
            let is_met = |fault: &&Fault| !matches!(fault, Fault::Stale(_)) || kind == "observe";
            for fault in faults.iter().filter(is_met) {
                let wrongs = (at..at + length).map(|at| (at, Wrong::Fault(fault.clone())));
                let wrongs = vec![wrongs.collect()];
                series.disturb(&Trial { wrongs, ..Trial::calm() }, bound);
            }
        }
    });
}

/// Create, update and delete, in the ways that differ for the engine.
const BASICS: [&str; 13] = [
    "create",
    "two apps, one waiting for the other",
    "create with a pull",
    "create with a build",
    "another image",
    "another image on one port",
    "another image while Berth is down",
    "start first",
    "another build argument",
    "restart",
    "delete",
    "delete what was built",
    "delete and add again",
];

/// The workloads with these names.
fn some(names: &[&str]) -> Vec<Workload> {
    let all = [creating(), acquiring(), changing(), failing(), leaving()];
    let all = all.into_iter().flatten().filter(|workload| names.contains(&workload.name));
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), names.len());
    all
}

#[test]
fn a_kill_at_any_call_while_apps_come_to_be_is_safe() {
    kill_everywhere(creating());
    kill_everywhere(acquiring());
}

/// Fault D24.
#[test]
fn a_kill_at_any_call_of_a_change_is_safe() {
    kill_everywhere(changing());
}

/// Faults D24, D25: the good version comes back, whoever finds the failed one.
#[test]
fn a_kill_at_any_call_of_a_failing_change_is_safe() {
    kill_everywhere(failing());
}

#[test]
fn a_kill_at_any_call_while_apps_go_or_stop_is_safe() {
    kill_everywhere(leaving());
}

/// The one that cleans up is killed too.
#[test]
fn a_kill_at_any_change_of_the_recovery_is_safe() {
    let names = ["create", "another image on one port", "start first", "delete and add again"];
    run(some(&names), |series| {
        let first_of = |at| Trial::one(at, Wrong::Fault(Fault::CrashAfter), Memory::AtDeath);
        for first in series.changes() {
            let trial = first_of(first);
            let played = play(&series.workload, &trial, Some(&series.pictures)).unwrap();
            for second in 0..played.calls[1].len() as u64 {
                let mut trial = first_of(first);
                trial.wrongs.push([(second, Wrong::Fault(Fault::CrashAfter))].into());
                series.kill(&trial);
            }
        }
    });
}

/// A container that was started long ago, and that nobody has looked at since, is not a failed one.
#[test]
fn a_long_absence_after_a_kill_is_safe() {
    run(some(&BASICS), |series| {
        for at in series.changes() {
            for memory in [Memory::AtDeath, Memory::Before] {
                let trial = Trial::one(at, Wrong::Fault(Fault::CrashAfter), memory);
                series.kill(&Trial { absence: Duration::from_secs(3600), ..trial });
            }
        }
    });
}

/// Fault D09: the engine goes on with a call whose caller is dead.
#[test]
fn a_call_that_lands_after_the_kill_does_no_harm() {
    let names = [
        "create",
        "another image",
        "another image on one port",
        "start first",
        "a sick version is given up",
        "pause and resume",
        "restart",
        "delete",
        "delete and add again",
    ];
    run(some(&names), |series| {
        for at in series.changes() {
            for late in [20, 200, 2000] {
                let wrong = Wrong::Late(Duration::from_millis(late));
                series.disturb(&Trial::one(at, wrong, Memory::AtDeath), Bound::AtMost(1));
            }
        }
    });
}

/// Fault D01.
#[test]
fn an_answer_lost_at_any_call_has_nothing_done_twice() {
    fail_everywhere(&BASICS, &[Fault::Lose], 1, Bound::Exactly);
}

/// Fault D14.
#[test]
fn an_engine_that_is_away_at_any_call_delays_and_no_more() {
    fail_everywhere(&BASICS, &[Fault::Refuse], 1, Bound::Exactly);
    fail_everywhere(&BASICS, &[Fault::Refuse], 4, Bound::Exactly);
}

/// Faults D02, D08.
#[test]
fn an_error_at_any_call_is_passing() {
    fail_everywhere(&BASICS, &[Fault::Fail(500), Fault::Fail(409)], 1, Bound::Exactly);
}

/// Faults D09, D35.
#[test]
fn a_call_that_hangs_delays_and_no_more() {
    let time = Duration::from_secs(40);
    fail_everywhere(&BASICS, &[Fault::Stall(time), Fault::StallDone(time)], 1, Bound::Exactly);
}

/// What is seen may be older than it should be: nothing wanted is removed, nothing is made twice.
#[test]
fn an_old_observation_at_any_time_does_no_harm() {
    let names = [
        "create",
        "another image",
        "another image while Berth is down",
        "start first",
        "a sick version is mended",
        "restart",
        "delete",
        "delete and add again",
    ];
    fail_everywhere(
        &names,
        &[Fault::Stale(1), Fault::Stale(2), Fault::Stale(3)],
        1,
        Bound::AtMost(0),
    );
    fail_everywhere(&names, &[Fault::Stale(1)], 6, Bound::AtMost(0));
}

/// Faults D08, D25: a start that fails for good is given up, and the old version comes back.
#[tokio::test(start_paused = true)]
async fn a_version_that_never_starts_is_given_up() {
    let rig = Rig::new().has("chat", "shop/app:1");
    // The first start is that of version 1, the fifth is that of going back to it.
    let is_new = |call: &Occurrence| call.kind == "start" && (1..4).contains(&call.nth_of_kind);
    let script = move |call: &Occurrence| if is_new(call) { Fault::Fail(500) } else { Fault::Pass };
    let faulty = Arc::new(Faulty::new(Arc::new(rig.fake.clone()), script));
    let berth = rig.start_on(faulty);
    berth.until_running("chat").await;
    berth.manifests.put("chat.yaml", &rig::manifest("chat", "shop/app:2", ""));
    berth.until("it is rolled back", |r| is(r, "chat", |s| s.reason == Reason::RolledBack)).await;
    berth.until("version 1 runs", |r| is(r, "chat", |s| s.url.is_some())).await;
    assert_eq!(berth.status("chat").unwrap().image.as_deref(), Some("shop/app:1"));
    assert_eq!((rig.count("create", "chat"), rig.count("start", "chat")), (2, 2));
}
