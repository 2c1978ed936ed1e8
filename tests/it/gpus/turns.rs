//! Placement, case by case.

use std::collections::BTreeSet;

use berth::{
    model::{AppName, GpuAsk, GpuGrant, GpuShare, Timestamp},
    plan::{Answer, Asking, Fleet, Holding, Who, fits_beside, hindered, place_gpus, render},
    state::{ContainerId, GpuHold, GpuProcess, Inventory},
};

use super::{GIB, alone, card, inventory, link, split};
use crate::sim::{Sim, image_app};

fn who(name: &str) -> Who {
    Who::App(AppName::new(name).unwrap())
}

fn shared(gib: u64) -> GpuAsk {
    GpuAsk { share: GpuShare::Memory, memory_bytes: Some(gib * GIB), ..GpuAsk::whole(1) }
}

fn holding(name: &str, hold: GpuHold) -> Holding {
    let container = Some(ContainerId::new(name));
    Holding { who: who(name), hold, container, is_obscure: false }
}

/// What each is answered, in the order in which they are served; those named first ask first.
fn place(
    asks: &[(&str, GpuAsk)],
    inventory: &Inventory,
    holdings: &[Holding],
) -> Vec<(String, Answer)> {
    let up: BTreeSet<_> = holdings.iter().filter_map(|held| held.container.clone()).collect();
    let asking: Vec<_> = asks
        .iter()
        .enumerate()
        .map(|(at, (name, ask))| {
            let since = Timestamp::from_millis(1_800_000_000_000 + i64::try_from(at).unwrap());
            Asking { who: who(name), ask, since }
        })
        .collect();
    let answers = place_gpus(&asking, &Fleet { inventory, holdings, up: &up });
    answers.into_iter().map(|(who, answer)| (who.to_string(), answer)).collect()
}

fn given(answer: &Answer) -> Vec<&str> {
    match answer {
        Answer::Granted(grant) => grant.devices.iter().map(String::as_str).collect(),
        other => panic!("{other:?}"),
    }
}

fn said(answer: &Answer) -> &str {
    match answer {
        Answer::Waits(why) | Answer::Never(why) | Answer::Unknown(why) => why,
        Answer::Granted(grant) => panic!("{grant}"),
    }
}

/// Fault U11: a card that somebody has alone is nobody else's.
#[test]
fn whoever_has_a_card_alone_has_it_alone() {
    let host = inventory(vec![card(0, 24)]);
    let held = [holding("first", GpuHold::Granted(alone(&["GPU-a"])))];
    for ask in [GpuAsk::whole(1), shared(1)] {
        let answers = place(&[("second", ask)], &host, &held);
        assert!(matches!(answers[0].1, Answer::Waits(_)));
        assert!(said(&answers[0].1).contains("GPU-a held by app first"), "{answers:?}");
    }
    let answers = place(&[("second", shared(24))], &host, &held);
    assert_eq!(said(&answers[0].1), "needs 24 GiB on 1 GPU; GPU-a held by app first");
    let part =
        GpuGrant { share: GpuShare::Memory, memory_bytes: Some(4 * GIB), ..alone(&["GPU-a"]) };
    let held = [holding("first", GpuHold::Granted(part))];
    let answers = place(&[("second", shared(24))], &host, &held);
    let expected = "needs 24 GiB on 1 GPU; largest free 20 GiB on GPU-a; GPU-a held by app first (20 GiB left)";
    assert_eq!(said(&answers[0].1), expected);
}

#[test]
fn shares_go_where_they_fit_best_and_leave_whole_cards_whole() {
    let host = inventory(vec![card(0, 24), card(1, 24), card(2, 80)]);
    let asks = [("a", shared(10)), ("b", shared(10)), ("c", shared(10)), ("d", GpuAsk::whole(1))];
    let answers = place(&asks, &host, &[]);
    let all: Vec<_> = answers.iter().map(|(_, answer)| given(answer)).collect();
    assert_eq!(all, [["GPU-a"], ["GPU-a"], ["GPU-b"], ["GPU-c"]]);
}

/// Fault U12: what is used counts, whoever uses it.
#[test]
fn what_strangers_use_is_not_given_away() {
    let mut busy = card(0, 24);
    busy.memory.used = 6 * GIB;
    let stranger = GpuProcess { pid: 7, memory: Some(6 * GIB), ..GpuProcess::default() };
    busy.processes.push(stranger);
    let host = inventory(vec![busy]);
    let answers = place(&[("a", GpuAsk::whole(1))], &host, &[]);
    assert!(said(&answers[0].1).contains("programs that Berth does not know (6 GiB)"));
    assert_eq!(given(&place(&[("a", shared(17))], &host, &[])[0].1), ["GPU-a"]);
    let answers = place(&[("a", shared(18))], &host, &[]);
    assert!(said(&answers[0].1).contains("largest free 17.7 GiB on GPU-a"), "{answers:?}");
}

/// What an app's own processes use is its own; of what has just ended nothing is left.
#[test]
fn the_own_and_the_ended_are_not_strangers() {
    let mut host = inventory(vec![card(0, 24)]);
    let process = |id: &str, gib| GpuProcess {
        memory: Some(gib * GIB),
        container: Some(ContainerId::new(id)),
        ..GpuProcess::default()
    };
    host.gpus[0].memory.used = 20 * GIB;
    host.gpus[0].processes = vec![process("mine", 12), process("ended", 8)];
    let grant =
        GpuGrant { share: GpuShare::Memory, memory_bytes: Some(12 * GIB), ..alone(&["GPU-a"]) };
    let held = [holding("mine", GpuHold::Granted(grant.clone()))];
    assert_eq!(given(&place(&[("mine", shared(20))], &host, &held)[0].1), ["GPU-a"]);
    assert_eq!(given(&place(&[("other", shared(12))], &host, &held)[0].1), ["GPU-a"]);
    let up: BTreeSet<_> = [ContainerId::new("mine")].into();
    let fleet = Fleet { inventory: &host, holdings: &held, up: &up };
    assert!(fits_beside(&grant, &fleet));
    // Beyond what it was promised it takes from others.
    host.gpus[0].processes[0].memory = Some(20 * GIB);
    let answers = place(&[("other", shared(12))], &host, &held);
    assert!(matches!(answers[0].1, Answer::Waits(_)), "{answers:?}");
}

/// Some drivers do not say how much of a card a process uses: what its app was promised explains
/// it, and is not counted a second time.
#[test]
fn what_is_promised_explains_what_nobody_measures() {
    let mut host = inventory(vec![card(0, 24)]);
    let process = |id: &str, memory| GpuProcess {
        memory,
        container: Some(ContainerId::new(id)),
        ..GpuProcess::default()
    };
    host.gpus[0].memory.used = 10 * GIB;
    host.gpus[0].processes = vec![process("mine", None)];
    let grant =
        GpuGrant { share: GpuShare::Memory, memory_bytes: Some(12 * GIB), ..alone(&["GPU-a"]) };
    let held = [holding("mine", GpuHold::Granted(grant))];
    assert_eq!(given(&place(&[("other", shared(12))], &host, &held)[0].1), ["GPU-a"]);
    // What it uses beyond is in the way, and so is what is known of it to be beyond.
    host.gpus[0].memory.used = 15 * GIB;
    let answers = place(&[("other", shared(12))], &host, &held);
    assert!(said(&answers[0].1).contains("largest free 8.7 GiB on GPU-a"), "{answers:?}");
    host.gpus[0].processes.push(process("mine", Some(15 * GIB)));
    let answers = place(&[("other", shared(12))], &host, &held);
    assert!(said(&answers[0].1).contains("largest free 8.7 GiB on GPU-a"), "{answers:?}");
    // Whoever has a card alone may have it again.
    let held = [holding("mine", GpuHold::Granted(alone(&["GPU-a"])))];
    host.gpus[0].processes = vec![process("mine", None)];
    assert_eq!(given(&place(&[("mine", GpuAsk::whole(1))], &host, &held)[0].1), ["GPU-a"]);
    // A container that is nobody's app was promised nothing.
    let mut bystander = holding("x", GpuHold::All);
    bystander.who = Who::Container("trainer".to_owned());
    host.gpus[0].processes = vec![process("x", None)];
    let answers = place(&[("other", shared(12))], &host, &[bystander]);
    assert!(said(&answers[0].1).contains("largest free 8.7 GiB on GPU-a"), "{answers:?}");
}

/// Fault U05: whatever number a card has, those without accounting hold it by number.
#[test]
fn containers_of_others_hold_what_they_name() {
    let host = inventory(vec![card(0, 24), card(1, 24)]);
    let devices =
        |names: &[&str]| GpuHold::Devices(names.iter().map(|name| (*name).to_owned()).collect());
    for (hold, free) in [
        (GpuHold::First(1), "GPU-b"),
        (devices(&["1"]), "GPU-a"),
        (devices(&["nvidia.com/gpu=GPU-a"]), "GPU-b"),
        (devices(&["nvidia.com/gpu=1:0"]), "GPU-a"),
    ] {
        let mut held = holding("x", hold);
        held.who = Who::Container("trainer".to_owned());
        assert_eq!(given(&place(&[("a", GpuAsk::whole(1))], &host, &[held])[0].1), [free]);
    }
    for hold in [GpuHold::All, devices(&["nvidia.com/gpu=all"])] {
        let mut held = holding("x", hold);
        held.who = Who::Container("trainer".to_owned());
        let answers = place(&[("a", GpuAsk::whole(1))], &host, std::slice::from_ref(&held));
        let why = said(&answers[0].1);
        assert!(why.contains("GPU-a held by container trainer (it was given every GPU;"), "{why}");
        assert!(why.contains("`berth run --gpu-bystanders` may name it)"), "{why}");
        assert_eq!(given(&place(&[("a", shared(4))], &host, &[held.clone()])[0].1), ["GPU-a"]);
        // What nobody can read is shared with nobody.
        held.is_obscure = true;
        assert!(matches!(place(&[("a", shared(4))], &host, &[held])[0].1, Answer::Waits(_)));
    }
}

#[test]
fn linked_cards_go_together() {
    let mut cards: Vec<_> = (0..4).map(|index| card(index, 24)).collect();
    link(&mut cards, 1, 3, 4);
    link(&mut cards, 0, 2, 2);
    let host = inventory(cards);
    assert_eq!(given(&place(&[("a", GpuAsk::whole(2))], &host, &[])[0].1), ["GPU-b", "GPU-d"]);
    // One alone breaks no pair that is wanted, and the nearest are taken without links.
    let held = [holding("x", GpuHold::Granted(alone(&["GPU-b"])))];
    assert_eq!(given(&place(&[("a", GpuAsk::whole(2))], &host, &held)[0].1), ["GPU-a", "GPU-c"]);
    // All or nothing.
    let answers = place(&[("a", GpuAsk::whole(4))], &host, &held);
    assert!(said(&answers[0].1).contains("3 of them are free"), "{answers:?}");
}

/// Fault U06: an instance is a device, and what ails its card ails it.
#[test]
fn instances_are_given_away_in_place_of_their_card() {
    let mut host = inventory(vec![split(card(0, 40), "1g.10gb", 4), card(1, 24)]);
    let part = GpuAsk { mig: Some("1g.10gb".to_owned()), ..GpuAsk::whole(1) };
    let asks = [("a", part.clone()), ("b", part.clone()), ("c", GpuAsk::whole(1))];
    let answers = place(&asks, &host, &[]);
    let all: Vec<_> = answers.iter().map(|(_, answer)| given(answer)).collect();
    assert_eq!(all, [["MIG-00"], ["MIG-01"], ["GPU-b"]]);
    let two = place(&[("a", GpuAsk::whole(2))], &host, &[]);
    assert!(matches!(two[0].1, Answer::Never(_)), "{two:?}");
    host.gpus[0].health.problems.push("it fell off the bus (XID 79)".to_owned());
    let answers = place(&[("a", part)], &host, &[]);
    assert!(said(&answers[0].1).contains("is not given away: it fell off the bus"), "{answers:?}");
    // Whoever has it keeps it.
    let (grant, up) = (alone(&["MIG-00"]), BTreeSet::new());
    let fleet = Fleet { inventory: &host, holdings: &[], up: &up };
    assert_eq!(hindered(&grant, &who("a"), &fleet), None);
    host.gpus[0].parts.remove(0);
    let fleet = Fleet { inventory: &host, holdings: &[], up: &up };
    assert_eq!(
        hindered(&grant, &who("a"), &fleet).as_deref(),
        Some("MIG-00 is not there any more")
    );
}

#[test]
fn what_no_card_could_ever_do_is_refused_and_what_nobody_knows_is_not() {
    let mut host = inventory(vec![card(0, 24)]);
    let ids = GpuAsk { ids: vec!["GPU-z".to_owned()], ..GpuAsk::whole(1) };
    let model = GpuAsk { model: Some("H100*".to_owned()), ..GpuAsk::whole(1) };
    let never = [
        (shared(25), "only 0 of this host's are of that kind"),
        (GpuAsk::whole(2), "only 1 of this host's is of that kind"),
        (ids, "this host has no GPU-z"),
        (model, "1 GPU for itself of the model H100*"),
    ];
    for (ask, expected) in never {
        let answers = place(&[("a", ask)], &host, &[]);
        assert!(matches!(answers[0].1, Answer::Never(_)), "{answers:?}");
        assert!(said(&answers[0].1).contains(expected), "{answers:?}");
        assert!(said(&answers[0].1).contains("GPU-a (NVIDIA L4, 24 GiB)"), "{answers:?}");
    }
    host.is_stale = true;
    for ask in [GpuAsk::whole(1), GpuAsk::whole(2)] {
        let answers = place(&[("a", ask)], &host, &[]);
        assert!(matches!(answers[0].1, Answer::Unknown(_)), "{answers:?}");
    }
    let answers = place(&[("a", GpuAsk::whole(1))], &Inventory::default(), &[]);
    assert!(said(&answers[0].1).contains("were not read yet"), "{answers:?}");
    let none = Inventory { note: Some("no driver".to_owned()), ..inventory(Vec::new()) };
    let answers = place(&[("a", GpuAsk::whole(1))], &none, &[]);
    assert!(said(&answers[0].1).contains("this host has no GPU (no driver)"), "{answers:?}");
}

/// Nobody behind the one that is served next gets what it could use; what it could not use is
/// given away.
#[test]
fn nobody_overtakes_on_what_the_first_could_use() {
    let host = inventory(vec![card(0, 24), card(1, 24), card(2, 8)]);
    let held = [holding("x", GpuHold::Granted(alone(&["GPU-b"])))];
    let big = GpuAsk { memory_bytes: Some(20 * GIB), ..GpuAsk::whole(2) };
    let later = GpuAsk { memory_bytes: Some(16 * GIB), ..GpuAsk::whole(1) };
    let answers = place(&[("first", big), ("later", later), ("small", shared(4))], &host, &held);
    assert!(matches!(answers[0].1, Answer::Waits(_)));
    let why = said(&answers[1].1);
    assert!(why.contains("GPU-a kept for app first, which is served before"), "{why}");
    assert_eq!(given(&answers[2].1), ["GPU-c"]);
}

#[test]
fn a_point_of_priority_is_worth_five_minutes_of_waiting() {
    let host = inventory(vec![card(0, 24)]);
    let ask = |priority| GpuAsk { priority, ..GpuAsk::whole(1) };
    let (plain, better) = (ask(0), ask(2));
    for (minutes, first) in [(9, "app better"), (11, "app plain")] {
        let at = |minutes: i64| Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000);
        let asking = [
            Asking { who: who("better"), ask: &better, since: at(minutes) },
            Asking { who: who("plain"), ask: &plain, since: at(0) },
        ];
        let up = BTreeSet::new();
        let answers = place_gpus(&asking, &Fleet { inventory: &host, holdings: &[], up: &up });
        assert_eq!(answers[0].0.to_string(), first, "{minutes}");
        assert_eq!(given(&answers[0].1), ["GPU-a"]);
    }
}

/// The plan names the GPUs, and why a version must go before the other comes.
#[test]
fn a_plan_names_the_gpus() {
    let app = |image: &str| image_app("chat", image, "gpus: {share: memory, memory: 20Gi}");
    let mut sim = Sim::new(&app("shop/app:1")).has_image("shop/app:1").has_image("shop/app:2");
    let text = render(&sim.plan());
    assert!(text.contains(" from shop/app:1 (no ports; 20Gi of GPU-a)"), "{text}");
    sim.settle();
    sim.edit(&app("shop/app:2"));
    let text = render(&sim.plan());
    assert!(text.contains("it makes room (both need GPU-a)"), "{text}");
    sim.edit(&image_app("chat", "shop/app:1", ""));
    let text = render(&sim.plan());
    assert!(text.contains("    ~ gpus: GPU-a -> absent\n"), "{text}");
}
