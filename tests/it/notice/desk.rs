//! What a target is told: properties over made-up hours, the same ones in each run.
//! `PROPTEST_CASES` sets another number, `PROPTEST_RNG_SEED` chooses others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use berth::{
    model::{AppName, Timestamp},
    notice::{
        desk::{Batch, Desk, Key, Rules, Seen, Told, Trouble},
        text::Template,
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};

const WINDOW: Duration = Duration::from_mins(15);

fn rules(per_hour: u32) -> Rules {
    Rules {
        window: WINDOW,
        group: Duration::from_secs(10),
        per_hour,
        tells_end: true,
        pauses: (Duration::from_secs(2), Duration::from_mins(5)),
    }
}

fn app(text: &str) -> AppName {
    AppName::new(text).unwrap()
}

fn key(nth: usize) -> Key {
    match nth {
        0 => Key::of_host("Engine"),
        nth => Key::of_app(&app(&format!("a{nth}")), "Ready"),
    }
}

fn trouble(reason: &str, message: &str) -> Seen {
    Seen::Trouble(Trouble {
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: Timestamp::from_millis(1),
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A desk that was told of nothing, and has looked at everything.
fn settled(rules: Rules) -> Desk {
    let mut desk = Desk::new(rules, None);
    desk.settle(None, Duration::ZERO);
    desk
}

fn words(batch: &Batch) -> Vec<String> {
    let word = |change: &berth::notice::desk::Change| {
        let state = if change.over.is_some() { "over" } else { "is" };
        format!("{} {state} {}", String::from(change.key.clone()), change.trouble.reason)
    };
    batch.changes.iter().map(word).collect()
}

/// Who is told of no ends: one that comes while it is being told changes nothing about that, and
/// what comes back is news again.
#[test]
fn an_end_that_comes_while_it_is_told_is_not_told_to_who_wants_none() {
    let mut desk = settled(Rules { tells_end: false, ..rules(3600) });
    for round in 0..2 {
        let at = WINDOW * round * 2 + seconds(100);
        desk.note(&key(1), trouble("Unhealthy", "x"), at);
        let batch = desk.due(at + seconds(10), "t").unwrap();
        assert_eq!(words(&batch), ["a1/Ready is Unhealthy"], "round {round}");
        desk.note(&key(1), Seen::Fine("well".to_owned()), at + seconds(11));
        desk.done(&batch, Told::Ended, at + seconds(12));
        assert_eq!((desk.next(), desk.waiting()), (None, 0), "round {round}");
    }
}

/// What is due at a time, told at once.
fn told(desk: &mut Desk, at: Duration) -> Vec<String> {
    let Some(batch) = desk.due(at, "t") else { return Vec::new() };
    desk.done(&batch, Told::Ended, at);
    words(&batch)
}

#[test]
fn a_storm_is_one_message_and_a_blip_is_none() {
    let mut desk = settled(rules(30));
    for nth in 1..=200 {
        desk.note(&key(nth), trouble("Unhealthy", "x"), seconds(nth as u64 / 40));
    }
    desk.note(&key(300), trouble("Unhealthy", "x"), seconds(1));
    desk.note(&key(300), Seen::Fine("well".to_owned()), seconds(6));
    assert_eq!(desk.next(), Some(seconds(10)));
    assert!(desk.due(seconds(9), "t").is_none());
    let first = told(&mut desk, seconds(10));
    assert_eq!(first.len(), 200, "{first:?}");
    assert_eq!(desk.next(), None);
}

#[test]
fn a_condition_that_flaps_is_told_once_a_window_and_its_end_once() {
    let mut desk = settled(rules(3600));
    let mut all = Vec::new();
    for second in 0..1800 {
        let seen = if second / 30 % 2 == 0 {
            trouble("Unhealthy", &format!("try {second}"))
        } else {
            Seen::Fine("well".to_owned())
        };
        desk.note(&key(1), seen, seconds(second));
        all.extend(told(&mut desk, seconds(second)).into_iter().map(|word| (second, word)));
    }
    let times: Vec<_> =
        all.iter().filter(|(_, word)| word.contains(" is ")).map(|it| it.0).collect();
    assert_eq!(times, [10, 920], "{all:?}");
    let ends = all.iter().filter(|(_, word)| word.contains(" over "));
    assert_eq!(ends.count(), 2, "{all:?}");
}

#[test]
fn another_reason_is_news_and_the_same_one_is_not() {
    let mut desk = settled(rules(30));
    desk.note(&key(1), trouble("BuildFailed", "x"), seconds(0));
    assert_eq!(told(&mut desk, seconds(10)), ["a1/Ready is BuildFailed"]);
    desk.note(&key(1), trouble("BuildFailed", "line 7 now"), seconds(20));
    desk.note(&key(1), Seen::Unclear, seconds(25));
    assert_eq!(desk.next(), None);
    desk.note(&key(1), trouble("CrashLoop", "x"), seconds(30));
    assert_eq!(told(&mut desk, seconds(300)), [""; 0], "within the window");
    assert_eq!(told(&mut desk, seconds(10) + WINDOW + seconds(10)), ["a1/Ready is CrashLoop"]);
    desk.forget(&app("a1"), seconds(2000));
    assert_eq!(told(&mut desk, seconds(2010)), ["a1/Ready over CrashLoop"]);
}

#[test]
fn what_was_so_before_anybody_was_told_is_not_told() {
    let mut desk = Desk::new(rules(30), None);
    desk.note(&key(1), trouble("CrashLoop", "old"), seconds(1));
    desk.note(&key(0), trouble("EngineUnreachable", "now"), seconds(1));
    let apps = BTreeSet::from([app("a1")]);
    assert_eq!(desk.changed(), None, "killed now, the next start is the first one again");
    desk.settle(Some(&apps), seconds(30));
    desk.note(&key(2), trouble("CrashLoop", "new"), seconds(31));
    assert_eq!(
        told(&mut desk, seconds(60)),
        ["/Engine is EngineUnreachable", "a2/Ready is CrashLoop"]
    );
    desk.note(&key(1), Seen::Fine("well".to_owned()), seconds(70));
    assert_eq!(desk.next(), None, "nobody was told that it began");
    desk.note(&key(1), trouble("CrashLoop", "again"), seconds(80));
    assert_eq!(told(&mut desk, seconds(100)), ["a1/Ready is CrashLoop"]);
}

#[test]
fn who_wants_no_ends_is_told_none() {
    let mut desk = settled(Rules { tells_end: false, ..rules(30) });
    desk.note(&key(1), trouble("CrashLoop", "x"), seconds(0));
    assert_eq!(told(&mut desk, seconds(10)).len(), 1);
    desk.note(&key(1), Seen::Fine("well".to_owned()), seconds(20));
    desk.note(&key(1), trouble("CrashLoop", "x"), seconds(30));
    assert_eq!(told(&mut desk, seconds(40)), [""; 0], "the window still holds");
    assert_eq!(told(&mut desk, seconds(10) + WINDOW + seconds(10)).len(), 1);
}

/// One thing that happens: (seconds that pass, which condition, how it is, whether telling works, whether Berth starts anew).
type Happening = (u64, usize, u8, bool, bool);

fn happenings() -> impl Strategy<Value = (u32, Vec<Happening>)> {
    let one = (
        prop_oneof![0..5_u64, 0..400_u64],
        0..5_usize,
        0..6_u8,
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.02),
    );
    (1..40_u32, prop::collection::vec(one, 1..150))
}

struct Play {
    desk: Desk,
    start: Duration,
    rules: Rules,
    /// How each condition is.
    now: BTreeMap<Key, Option<String>>,
    /// What the target knows.
    knows: BTreeMap<Key, String>,
    /// When each trouble was told, since the last start.
    told: BTreeMap<Key, Vec<Duration>>,
    messages: Vec<Duration>,
}

impl Play {
    fn new(rules: Rules) -> Self {
        Self {
            desk: settled(rules),
            start: Duration::ZERO,
            rules,
            now: BTreeMap::new(),
            knows: BTreeMap::new(),
            told: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    /// Lets time pass until then, and tells what is due.
    fn pass(&mut self, until: Duration, works: bool) -> Result<(), TestCaseError> {
        let mut tries = 0;
        while let Some(next) = self.desk.next().map(|next| self.start + next) {
            if until < next || (!works && 3 < tries) {
                break;
            }
            tries += 1;
            prop_assert!(tries < 10_000, "it never comes to rest");
            let at = next.max(self.start);
            let Some(batch) = self.desk.due(at.saturating_sub(self.start), "t") else {
                return Err(TestCaseError::fail("it said that something would be due"));
            };
            prop_assert!(
                self.desk.due(at.saturating_sub(self.start), "t").is_none(),
                "two at a time"
            );
            if works {
                self.take(&batch, at)?;
            }
            let told = if works { Told::Ended } else { Told::Later };
            self.desk.done(&batch, told, at.saturating_sub(self.start));
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch, at: Duration) -> Result<(), TestCaseError> {
        self.messages.push(at);
        let hour = Duration::from_hours(1);
        let lately = self.messages.iter().filter(|time| at < **time + hour).count();
        let limit = self.rules.per_hour + self.rules.per_hour.min(10);
        prop_assert!(lately <= limit as usize, "{lately} messages in an hour");
        prop_assert!(!batch.changes.is_empty());
        for change in &batch.changes {
            let reason = change.trouble.reason.clone();
            if change.over.is_some() {
                let known = self.knows.remove(&change.key);
                prop_assert_eq!(known, Some(reason), "an end of what was not told");
                continue;
            }
            let before = self.knows.insert(change.key.clone(), reason.clone());
            prop_assert!(before != Some(reason), "the same again");
            let times = self.told.entry(change.key.clone()).or_default();
            let is_early = times.last().is_some_and(|last| at < *last + self.rules.window);
            prop_assert!(!is_early, "twice within a window");
            times.push(at);
        }
        Ok(())
    }

    /// Berth was killed, and starts anew. What was told was kept.
    fn restart(&mut self, at: Duration) {
        let kept = self.desk.kept();
        (self.desk, self.start) = (Desk::new(self.rules, Some(kept)), at);
        (self.told, self.messages) = (BTreeMap::new(), Vec::new());
        let all: Vec<_> = self.now.clone().into_iter().collect();
        for (key, reason) in all {
            self.note(&key, reason, at);
        }
        self.desk.settle(None, Duration::ZERO);
    }

    fn note(&mut self, key: &Key, reason: Option<String>, at: Duration) {
        let seen = match &reason {
            Some(reason) => trouble(reason, "why"),
            None => Seen::Fine("well".to_owned()),
        };
        self.desk.note(key, seen, at.saturating_sub(self.start));
        self.now.insert(key.clone(), reason);
    }
}

/// Once a window, never more than the rate, ended where it began, and never lost.
#[test]
fn whatever_happens_everything_is_told_once_and_in_the_end() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PROPTEST_RNG_SEED").unwrap_or(1);
    let mut runner = TestRunner::new(Config {
        cases: number("PROPTEST_CASES").map_or(600, |n| u32::try_from(n).unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let property = |(per_hour, happenings): (u32, Vec<Happening>)| {
        let mut play = Play::new(rules(per_hour));
        let mut at = Duration::ZERO;
        for (pause, nth, state, works, is_restart) in happenings {
            at += seconds(pause);
            play.pass(at, works)?;
            if is_restart {
                play.restart(at);
            }
            let reason = ["Unhealthy", "CrashLoop", "BuildFailed"].get(usize::from(state));
            play.note(&key(nth), reason.map(|it| (*it).to_owned()), at);
        }
        // All is quiet, and the target answers: in the end it knows how things are.
        play.pass(at + Duration::from_hours(30), true)?;
        let now = play.now.iter().filter_map(|(key, reason)| Some((key.clone(), reason.clone()?)));
        prop_assert_eq!(play.knows, now.collect::<BTreeMap<_, _>>());
        prop_assert_eq!(play.desk.waiting(), 0);
        Ok(())
    };
    if let Err(error) = runner.run(&happenings(), property) {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}

#[test]
fn templates_fill_in_what_is_known_and_refuse_what_is_not() {
    let values = BTreeMap::from([("app", "chat".to_owned()), ("reason", "{app}".to_owned())]);
    let known = ["app", "reason"];
    let fill = |text: &str| Template::parse(text, &known).map(|it| it.fill(&values));
    assert_eq!(fill("{{x}} {app}: {reason}").as_deref(), Ok("{x} chat: {app}"));
    for bad in ["{nope}", "{app", "app}", "{}", "{a{b}"] {
        assert!(fill(bad).is_err(), "{bad}");
    }
}
