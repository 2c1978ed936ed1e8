//! Cleaning up: what may never go, over made-up worlds, the same ones in each run, and on real folders.
//! `PROPTEST_CASES` sets another number, `PROPTEST_RNG_SEED` chooses others.

mod folders;
mod strays;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use berth::{
    model::{AppName, Timestamp},
    plan::{GcRules, Left, LeftFacts, LeftKind, gc, render_gc},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};

const KINDS: [LeftKind; 12] = [
    LeftKind::Workspace,
    LeftKind::Code,
    LeftKind::Compose,
    LeftKind::Project,
    LeftKind::Reservation,
    LeftKind::Image,
    LeftKind::Container,
    LeftKind::Network,
    LeftKind::Volume,
    LeftKind::Cache,
    LeftKind::Mirror,
    LeftKind::Temporary,
];
const NOW: i64 = 1_000_000_000;
const GRACE: Duration = Duration::from_hours(24);

fn ago(hours: i64) -> Timestamp {
    Timestamp::from_millis(NOW - hours * 3_600_000)
}

fn app(nth: usize) -> AppName {
    AppName::new(&format!("a{nth}")).unwrap()
}

fn apps() -> impl Strategy<Value = BTreeSet<AppName>> {
    prop::collection::btree_set((0..4_usize).prop_map(app), 0..3)
}

fn left() -> impl Strategy<Value = Left> {
    let flags =
        (prop::bool::weighted(0.8), prop::bool::weighted(0.2), any::<bool>(), any::<bool>());
    let age = prop::option::weighted(0.9, 0..200_i64);
    (prop::sample::select(&KINDS[..]), prop::option::of(0..4_usize), flags, age, 0..99_u64)
        .prop_map(|(kind, nth, (is_ours, is_used, holds_data, of_gone), hours, size)| Left {
            kind,
            name: format!("thing-{nth:?}-{size}"),
            app: nth.map(app),
            is_ours,
            used_by: is_used.then(|| "container x".to_owned()),
            holds_data,
            size,
            since: hours.map(ago),
            of_gone,
            why: "why".to_owned(),
        })
}

fn facts() -> impl Strategy<Value = LeftFacts> {
    let unread = prop::option::weighted(0.3, Just("they can't be read".to_owned()));
    let building = prop::bool::weighted(0.2);
    let gone = prop::collection::btree_map((0..4_usize).prop_map(app), 0..60_i64, 0..5);
    (unread, apps(), gone, apps(), apps(), building).prop_map(
        |(manifests, wanted, gone, running, busy, is_building)| LeftFacts {
            manifests,
            wanted,
            gone: gone.into_iter().map(|(app, hours)| (app, ago(hours))).collect(),
            running,
            busy,
            is_building,
        },
    )
}

type World = (Vec<Left>, LeftFacts, bool);

/// Nothing foreign, used, wanted, running, worked on, young or of unknown age goes, no data without a
/// word, and nothing that depends on manifests while they are not known (rule 5, faults D28, T01).
fn never(world: World) -> Result<(), TestCaseError> {
    let (found, facts, with_data) = world;
    let now = Timestamp::from_millis(NOW);
    let plan = gc(&found, &facts, GcRules { grace: GRACE, with_data }, now);
    prop_assert_eq!(plan.going.len() + plan.staying.len(), found.len());
    for left in &plan.going {
        prop_assert!(left.is_ours && left.used_by.is_none(), "{left:?}");
        let since = left.since.expect("an unknown age");
        prop_assert!(GRACE <= now.since(since), "{left:?}");
        prop_assert!(with_data || !left.holds_data, "{left:?}");
        let is_of =
            |apps: &BTreeSet<AppName>| left.app.as_ref().is_some_and(|app| apps.contains(app));
        prop_assert!(!is_of(&facts.busy), "{left:?}");
        // Whatever anybody says of data.
        prop_assert!(left.kind != LeftKind::Volume, "{left:?}");
        if left.kind == LeftKind::Network {
            prop_assert!(facts.manifests.is_none() && facts.wanted.is_empty(), "{left:?}");
        }
        let kinds = [
            LeftKind::Workspace,
            LeftKind::Code,
            LeftKind::Compose,
            LeftKind::Project,
            LeftKind::Reservation,
        ];
        if left.of_gone || kinds.contains(&left.kind) {
            prop_assert!(facts.manifests.is_none() && left.app.is_some(), "{left:?}");
            prop_assert!(!is_of(&facts.wanted) && !is_of(&facts.running), "{left:?}");
            // However old it is: its app has been gone for as long.
            let gone = left.app.as_ref().and_then(|app| facts.gone.get(app)).copied();
            prop_assert!(gone.is_some_and(|gone| GRACE <= now.since(gone)), "{left:?}");
        }
        match left.kind {
            LeftKind::Image | LeftKind::Container | LeftKind::Cache => {
                prop_assert!(!facts.is_building, "{left:?}");
            }
            _ => {}
        }
    }
    // What stays has a reason, and who asks again is told the same.
    prop_assert!(plan.staying.iter().all(|(_, why)| !why.is_empty()));
    let again = gc(&found, &facts, GcRules { grace: GRACE, with_data }, now);
    prop_assert_eq!(render_gc(&again), render_gc(&plan));
    Ok(())
}

#[test]
fn nothing_that_anybody_may_need_ever_goes() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PROPTEST_RNG_SEED").unwrap_or(1);
    let mut runner = TestRunner::new(Config {
        cases: number("PROPTEST_CASES").map_or(2000, |n| u32::try_from(n).unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let worlds = (prop::collection::vec(left(), 0..12), facts(), any::<bool>());
    if let Err(error) = runner.run(&worlds, never) {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}

/// What speaks for nothing goes: the property alone would hold of a plan that is always empty.
#[test]
fn what_nobody_needs_goes_and_the_plan_says_why() {
    let left = |kind, hours: i64, holds_data| Left {
        kind,
        name: format!("{kind}-1"),
        app: Some(app(1)),
        is_ours: true,
        used_by: None,
        holds_data,
        size: 2 << 20,
        since: Some(ago(hours)),
        of_gone: false,
        why: "no manifest names the app".to_owned(),
    };
    let mut found: Vec<_> = KINDS.iter().map(|kind| left(*kind, 25, false)).collect();
    found.push(Left { name: "kept".to_owned(), ..left(LeftKind::Workspace, 25, true) });
    found.push(Left { name: "young".to_owned(), ..left(LeftKind::Image, 23, false) });
    let rules = GcRules { grace: GRACE, with_data: false };
    // An app that went an hour ago, though what it left was made last week.
    for (kind, of_gone) in [(LeftKind::Workspace, false), (LeftKind::Image, true)] {
        let old = left(kind, 168, false);
        found.push(Left { name: "lately".to_owned(), app: Some(app(2)), of_gone, ..old });
    }
    let gone = BTreeMap::from([(app(1), ago(30)), (app(2), ago(1))]);
    let facts = LeftFacts { gone, ..LeftFacts::default() };
    let plan = gc(&found, &facts, rules, Timestamp::from_millis(NOW));
    let expected = "\
- workspace workspace-1 (2Mi)    # no manifest names the app
- code code-1 (2Mi)    # no manifest names the app
- compose compose-1 (2Mi)    # no manifest names the app
- project project-1 (2Mi)    # no manifest names the app
- reservation reservation-1 (2Mi)    # no manifest names the app
- image image-1 (2Mi)    # no manifest names the app
- container container-1 (2Mi)    # no manifest names the app
- network network-1 (2Mi)    # no manifest names the app
- cache cache-1 (2Mi)    # no manifest names the app
- mirror mirror-1 (2Mi)    # no manifest names the app
- temporary temporary-1 (2Mi)    # no manifest names the app
= workspace kept (2Mi)    # stays: it holds data: say `--with-data` to have that go too
= workspace lately (2Mi)    # stays: its app is gone for 1h, and it goes after 1d
= image lately (2Mi)    # stays: its app is gone for 1h, and it goes after 1d
= image young (2Mi)    # stays: it is 23h old, and goes after 1d
= volume volume-1 (2Mi)    # stays: no manifest names the app; data is never removed with it: `docker volume rm volume-1` does so
11 to go, 22Mi
";
    assert_eq!(render_gc(&plan), expected);
}

/// An image that is left behind because its app is gone stays when the app is back by the time it
/// would go, as folders do.
#[test]
fn an_image_of_an_app_that_is_back_stays() {
    let image = Left {
        kind: LeftKind::Image,
        name: "berth/a1:0".to_owned(),
        app: Some(app(1)),
        is_ours: true,
        used_by: None,
        holds_data: false,
        size: 1,
        since: Some(ago(100)),
        of_gone: true,
        why: "no manifest names its app any more".to_owned(),
    };
    let rules = GcRules { grace: GRACE, with_data: false };
    let goes = |facts: &LeftFacts| {
        gc(std::slice::from_ref(&image), facts, rules, Timestamp::from_millis(NOW)).going.len()
    };
    let gone = BTreeMap::from([(app(1), ago(30))]);
    let facts = LeftFacts { gone, ..LeftFacts::default() };
    assert_eq!(goes(&facts), 1);
    assert_eq!(goes(&LeftFacts { wanted: BTreeSet::from([app(1)]), ..facts.clone() }), 0);
    assert_eq!(goes(&LeftFacts { running: BTreeSet::from([app(1)]), ..facts.clone() }), 0);
    assert_eq!(goes(&LeftFacts { manifests: Some("unread".to_owned()), ..facts }), 0);
}
