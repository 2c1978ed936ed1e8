//! Killing Berth at any moment of any engine call, and every other fault at every engine call: it
//! comes to what an undisturbed Berth comes to, touches no other app, and does nothing twice.
//!
//! Each workload is played undisturbed first: that says which calls there are, what must be in the
//! end, and how often each thing is done to each object. Then it is played again for each plan: a
//! call or a hint, the moment in its life at which Berth dies, and what the next Berth remembers.
//!
//! What may be done more often than undisturbed: nothing, except what nobody can know of any more.
//! A version that was given up, a stop, a restart that were not kept before the kill may happen
//! once more (`Workload::again`), and so may what the engine does for the dead (`Moment::Sent`).
//!
//! A play that goes wrong prints its plan. `BERTH_CRASH='<plan>'` plays that one alone, a hundred
//! times, in `crash::a_plan_goes_the_same_way_every_time`. `BERTH_CRASH_SEED` draws other
//! durations for the calls; `BERTH_CRASH_PAIRS=1` plays every pair of deaths (`make crash-pairs`), a
//! larger number one of so many.

mod oracle;
mod outside;
mod plan;
mod stage;
mod workload;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    engine::fault::{Fault, Faulty, Occurrence},
    model::Reason,
};

use crate::rig::{self, Rig, is};
use oracle::{Bound, Picture};
use plan::{Death, Moment, Plan, slug};
use stage::{Memory, Played, Trial, Wrong, play};
use workload::{
    Workload, acquiring, changing, creating, failing, granting, lacking, leaving, meeting, undoing,
};

/// At least so many plans of one death there are.
const SINGLES_MIN: usize = 2500;
/// One of so many plans of two deaths is played in every run.
const PAIRS_SHARE: u64 = 400;
/// One of so many plans of one death is played again to see whether it goes the same way.
const AGAIN_SHARE: u64 = 60;
/// So often a plan is played to see whether it always fails.
const TIMES: usize = 100;

/// All plays of one workload.
struct Series {
    workload: Workload,
    pictures: Vec<Picture>,
    usual: Played,
    seed: u64,
    plays: usize,
    hits: usize,
    wrong: Vec<String>,
}

impl Series {
    /// Plays it undisturbed, twice: without and with knowing when it is done.
    fn begin(mut workload: Workload, seed: u64) -> Self {
        let calm = Trial::calm(seed);
        let calmly = |workload: &Workload, pictures: Option<&[Picture]>| {
            play(workload, &calm, pictures).unwrap_or_else(|wrong| panic!("{wrong}"))
        };
        if workload.is_squatted {
            let alone = Workload { acts: workload.acts[..1].to_vec(), ..workload.clone() };
            let journal = calmly(&alone, None).journal;
            let mut names = journal.iter().filter_map(|line| line.strip_prefix("create "));
            workload.squatted = names.next().map(ToOwned::to_owned);
        }
        let pictures = calmly(&workload, None).pictures;
        let usual = calmly(&workload, Some(&pictures));
        Self { workload, pictures, usual, seed, plays: 0, hits: 0, wrong: Vec::new() }
    }

    /// Plays it disturbed.
    fn disturb(&mut self, trial: &Trial, bound: Bound) -> Option<Played> {
        self.plays += 1;
        let played = match play(&self.workload, trial, Some(&self.pictures)) {
            Ok(played) => played,
            Err(wrong) => {
                self.wrong.push(wrong);
                return None;
            }
        };
        self.hits += usize::from(!played.hits.is_empty());
        let excess = played.tally.excess(&self.usual.tally, bound);
        if !excess.is_empty() {
            let (name, Played { hits, journal, .. }) = (self.workload.name, &played);
            self.wrong.push(format!(
                "`{name}` with {}, hit {hits:?}: {excess:?}\njournal: {journal:#?}\nusual: {:#?}",
                trial.tell(),
                self.usual.journal
            ));
        }
        Some(played)
    }

    /// The same when Berth dies: what is forgotten may happen again.
    fn kill(&mut self, plan: &Plan) -> Option<Played> {
        self.disturb(&Trial::of(plan), self.bound(plan))
    }

    fn bound(&self, plan: &Plan) -> Bound {
        let is_sent = |death: &Death| matches!(death, Death::Call(_, Moment::Sent));
        let bound = match plan.memory {
            _ if plan.deaths.iter().any(is_sent) => match (plan.memory, self.workload.bound) {
                (Memory::Before | Memory::Lost, Bound::Again(extra)) => Bound::AtMost(extra),
                _ => Bound::AtMost(1),
            },
            Memory::AtDeath => self.workload.bound_kept,
            Memory::Before | Memory::Lost => self.workload.bound,
        };
        bound.times(plan.deaths.len())
    }

    /// Every plan of one death.
    fn singles(&self) -> Vec<Plan> {
        let new = |death, memory| Plan::single(self.workload.name, death, memory, self.seed);
        let in_turn = |at: u64| Memory::ALL[usize::try_from(at).unwrap() % Memory::ALL.len()];
        let mut plans = Vec::new();
        for (at, is_change) in calls(&self.usual.calls[0]) {
            if is_change {
                for moment in [Moment::Before, Moment::Applied] {
                    plans.extend(Memory::ALL.map(|memory| new(Death::Call(at, moment), memory)));
                }
                for moment in [Moment::Sent, Moment::Answering] {
                    plans.push(new(Death::Call(at, moment), in_turn(at)));
                }
            } else {
                // What only looks leaves nothing: for the engine, before is as good as after.
                for moment in [Moment::Before, Moment::Answering] {
                    plans.push(new(Death::Call(at, moment), in_turn(at)));
                }
            }
        }
        plans.extend((0..self.usual.hints[0]).map(|at| new(Death::Hint(at), in_turn(at))));
        plans
    }
}

/// The calls, each with whether it may change the engine.
fn calls(kinds: &[&'static str]) -> Vec<(u64, bool)> {
    let changes = |kind| Occurrence { kind, nth: 0, nth_of_kind: 0 }.is_change();
    (0..).zip(kinds).map(|(at, kind)| (at, changes(kind))).collect()
}

/// Plays all series and fails with the first few plays that went wrong.
#[expect(clippy::print_stdout, reason = "how many there were is worth knowing")]
fn run(workloads: Vec<Workload>, disturb: impl Fn(&mut Series)) {
    let (mut wrong, mut plays, mut hits) = (Vec::new(), 0, 0);
    for workload in workloads {
        let mut series = Series::begin(workload, seed());
        disturb(&mut series);
        wrong.append(&mut series.wrong);
        plays += series.plays;
        hits += series.hits;
    }
    println!("{plays} plays, {} went wrong", wrong.len());
    let first: Vec<_> = wrong.iter().take(3).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} of {plays} plays went wrong:\n{}",
        wrong.len(),
        first.join("\n\n")
    );
    assert!(plays * 9 / 10 < hits, "only {hits} of {plays} plays met their fault");
}

fn seed() -> u64 {
    std::env::var("BERTH_CRASH_SEED").map_or(0, |seed| seed.parse().unwrap())
}

/// Plays every plan of one death.
fn kill_everywhere(workloads: Vec<Workload>) {
    run(workloads, |series| {
        for plan in series.singles() {
            series.kill(&plan);
        }
    });
}

/// Every plan of two deaths, or a sample of them: whoever cleans up dies as well.
fn kill_twice(workloads: Vec<Workload>) {
    let share = std::env::var("BERTH_CRASH_PAIRS");
    let share = share.map_or(PAIRS_SHARE, |share| share.parse().unwrap());
    // As many firsts as seconds of each are left out.
    let is_drawn = |plan: &Plan| plan.lot().is_multiple_of(share.isqrt().max(1));
    run(workloads, |series| {
        for first in series.singles().into_iter().filter(is_drawn) {
            let Some(played) = series.kill(&first) else { continue };
            let Some(recovery) = played.calls.get(1) else { continue };
            for (at, is_change) in calls(recovery) {
                let moments = if is_change { &Moment::ALL[..] } else { &[Moment::Before] };
                let seconds = moments.iter().map(|moment| first.and(Death::Call(at, *moment)));
                for second in seconds.filter(is_drawn) {
                    series.kill(&second);
                }
            }
        }
    });
}

/// Every workload.
fn every() -> Vec<Workload> {
    let all = [
        creating(),
        acquiring(),
        lacking(),
        changing(),
        failing(),
        leaving(),
        meeting(),
        undoing(),
        granting(),
    ];
    all.into_iter().flatten().collect()
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
                series.disturb(&Trial { wrongs, ..Trial::calm(0) }, bound);
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
    let mut all = every();
    all.retain(|workload| names.contains(&workload.name));
    assert_eq!(all.len(), names.len());
    all
}

#[test]
fn a_kill_at_any_moment_while_apps_come_to_be_is_safe() {
    kill_everywhere(creating());
    kill_everywhere(acquiring());
}

/// Faults D04, D39: no image, or no image yet.
#[test]
fn a_kill_at_any_moment_of_work_that_fails_is_safe() {
    kill_everywhere(lacking());
}

/// Fault D24.
#[test]
fn a_kill_at_any_moment_of_a_change_is_safe() {
    kill_everywhere(changing());
}

/// Faults D24, D25: the good version comes back, whoever finds the failed one.
#[test]
fn a_kill_at_any_moment_of_a_failing_change_is_safe() {
    kill_everywhere(failing());
}

#[test]
fn a_kill_at_any_moment_while_apps_go_or_stop_is_safe() {
    kill_everywhere(leaving());
}

/// Faults D02, P02, P05.
#[test]
fn a_kill_at_any_moment_of_an_undo_is_safe() {
    kill_everywhere(undoing());
}

/// Fault U16: no GPU is lost, and none is given twice.
#[test]
fn a_kill_at_any_moment_while_gpus_are_given_is_safe() {
    kill_everywhere(granting());
}

#[test]
fn a_kill_at_any_moment_while_others_want_the_same_is_safe() {
    kill_everywhere(meeting());
}

/// How many there are is part of what is promised.
#[test]
fn there_are_enough_workloads_and_plans() {
    let mut plans = BTreeMap::new();
    for workload in every() {
        let series = Series::begin(workload, seed());
        let singles = series.singles();
        for plan in &singles {
            assert_eq!(plan.to_string().parse().as_ref(), Ok(plan));
        }
        assert!(plans.insert(slug(series.workload.name), singles.len()).is_none());
    }
    let sum: usize = plans.values().sum();
    println!("{} workloads, {sum} plans of one death: {plans:#?}", plans.len());
    assert!(25 <= plans.len() && SINGLES_MIN <= sum, "{} workloads, {sum} plans", plans.len());
}

#[test]
fn a_second_kill_while_apps_come_to_be_is_safe() {
    kill_twice(creating());
    kill_twice(acquiring());
    kill_twice(lacking());
}

#[test]
fn a_second_kill_after_that_of_a_change_is_safe() {
    kill_twice(changing());
    kill_twice(meeting());
}

#[test]
fn a_second_kill_after_that_of_a_failing_change_is_safe() {
    kill_twice(failing());
}

#[test]
fn a_second_kill_while_apps_go_or_stop_is_safe() {
    kill_twice(leaving());
}

/// What is played once can be played again: that makes a failure worth its while. With
/// `BERTH_CRASH` this plays that plan, and says what became of it.
#[test]
fn a_plan_goes_the_same_way_every_time() {
    if let Ok(text) = std::env::var("BERTH_CRASH") {
        return replay(&text.parse().unwrap_or_else(|error: String| panic!("{error}")));
    }
    let mut plays = 0;
    for workload in every() {
        let mut series = Series::begin(workload, seed());
        for plan in
            series.singles().into_iter().filter(|plan| plan.lot().is_multiple_of(AGAIN_SHARE))
        {
            let [first, second] = [(); 2].map(|()| series.kill(&plan).map(|played| played.trace));
            assert_eq!(first, second, "{plan}");
            plays += 1;
        }
    }
    println!("{plays} plans were played twice");
    assert!(SINGLES_MIN / 100 < usize::try_from(plays).unwrap());
}

/// Plays one plan again and again.
#[expect(clippy::print_stdout, reason = "whoever asks for one plan wants to see it")]
fn replay(plan: &Plan) {
    let workload = every().into_iter().find(|workload| slug(workload.name) == plan.workload);
    let workload = workload.unwrap_or_else(|| panic!("no workload is called {}", plan.workload));
    let mut series = Series::begin(workload, plan.seed);
    let first = series.kill(plan);
    for _ in 1..TIMES {
        assert_eq!(
            series.kill(plan).map(|played| played.trace),
            first.as_ref().map(|p| p.trace.clone())
        );
    }
    if let Some(played) = &first {
        println!("{}\n{:#?}", played.trace.join("\n"), played.journal);
    }
    let failures = series.wrong.len();
    assert_eq!(failures, 0, "failed {failures} of {TIMES} times:\n{}", series.wrong[0]);
}

/// A restart that was forgotten is done again. To an oracle that knows of no such excuse that is a
/// failure, and it is the same one each time.
#[test]
fn a_plan_that_fails_fails_a_hundred_times_of_a_hundred() {
    let mut restart = some(&["restart"]).remove(0);
    (restart.bound, restart.bound_kept) = (Bound::Exactly, Bound::Exactly);
    let mut series = Series::begin(restart, seed());
    let plans = series.singles();
    let failing = plans.iter().find(|plan| {
        series.kill(plan);
        !series.wrong.is_empty()
    });
    let plan = failing.unwrap().clone();
    for _ in 1..TIMES {
        series.kill(&plan);
    }
    assert_eq!(series.wrong.len(), TIMES);
    assert!(series.wrong.iter().all(|wrong| *wrong == series.wrong[0]));
    assert!(series.wrong[0].contains(&format!("BERTH_CRASH='{plan}'")), "{}", series.wrong[0]);
}

/// A container that was started long ago, and that nobody has looked at since, is not a failed one.
#[test]
fn a_long_absence_after_a_kill_is_safe() {
    run(some(&BASICS), |series| {
        for plan in series.singles() {
            if matches!(plan.deaths[0], Death::Call(_, Moment::Applied))
                && plan.memory != Memory::Lost
            {
                let absence = Duration::from_secs(3600);
                let trial = Trial { absence, plan: None, ..Trial::of(&plan) };
                series.disturb(&trial, series.bound(&plan));
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
    // The first start is that of version 1, the fourth is that of going back to it.
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
