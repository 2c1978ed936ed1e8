//! What holds for every plan, whatever has happened before. 10,000 histories in the default run;
//! `PROPTEST_CASES` sets another number.

use std::{sync::Arc, time::Duration};

use berth::{
    model::App,
    plan::{Step, check, plan},
    state::{ContainerState, Hold, Ownership, Request, Want},
};
use proptest::{prelude::*, test_runner::RngSeed};

use crate::sim::{Sim, image_app};

/// Something that happens to an app between two passes.
#[derive(Clone, Debug)]
enum Turn {
    /// The manifest changes: image, a variable, whether it has a port, whether it has a GPU: alone,
    /// or shared with itself or not.
    Edit {
        image: u8,
        env: u8,
        has_port: bool,
        gpus: u8,
    },
    /// A whole pass.
    Pass,
    /// A pass that breaks off before this step: a crash, or a call that failed.
    Broken(usize),
    /// Time, and with it health.
    Time(u16),
    /// A hand stops, or removes, the container of this index.
    Kill(usize),
    Remove(usize),
    /// The engine says `created` of a container that was never started, or `dead`.
    Bury(usize),
    Pause(bool),
    Ask(u8),
    Gone,
    Back,
    Held,
    /// Which images are sick.
    Sick(u8),
    /// Berth starts again without its notes.
    Forget,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => (0..3_u8, 0..3_u8, any::<bool>(), 0..6_u8)
            .prop_map(|(image, env, has_port, gpus)| Turn::Edit { image, env, has_port, gpus }),
        6 => Just(Turn::Pass),
        4 => (0..6_usize).prop_map(Turn::Broken),
        4 => (0..900_u16).prop_map(Turn::Time),
        2 => (0..3_usize).prop_map(Turn::Kill),
        2 => (0..3_usize).prop_map(Turn::Remove),
        1 => (0..3_usize).prop_map(Turn::Bury),
        1 => any::<bool>().prop_map(Turn::Pause),
        1 => (0..3_u8).prop_map(Turn::Ask),
        1 => Just(Turn::Gone),
        1 => Just(Turn::Back),
        1 => Just(Turn::Held),
        1 => (0..8_u8).prop_map(Turn::Sick),
        1 => Just(Turn::Forget),
    ];
    prop::collection::vec(turn, 1..14)
}

fn app(image: u8, env: u8, has_port: bool, gpus: u8) -> Arc<App> {
    let port = if has_port { "port: 5000\n" } else { "" };
    let env = if env == 0 { String::new() } else { format!("env: {{LEVEL: '{env}'}}\n") };
    let gpus = match gpus {
        1 => "gpus: 1\n",
        2 => "gpus: {share: memory, memory: 8Gi}\n",
        3 => "gpus: {share: memory, memory: 20Gi}\n",
        _ => "",
    };
    image_app("chat", &format!("shop/app:{image}"), &format!("{port}{env}{gpus}"))
}

struct History {
    sim: Sim,
    app: Arc<App>,
}

impl History {
    fn begin() -> Self {
        let app = app(0, 0, true, 0);
        let mut sim = Sim::new(&app);
        for image in 0..3 {
            sim.add_image(&format!("shop/app:{image}"));
        }
        Self { sim, app }
    }

    fn happen(&mut self, turn: &Turn) {
        let sim = &mut self.sim;
        match turn {
            Turn::Edit { image, env, has_port, gpus } => {
                self.app = app(*image, *env, *has_port, *gpus);
                sim.edit(&self.app);
            }
            Turn::Pass => drop(sim.pass(None)),
            Turn::Broken(step) => drop(sim.pass(Some(*step))),
            Turn::Time(seconds) => sim.let_time_pass(Duration::from_secs(u64::from(*seconds))),
            Turn::Kill(index) => {
                if let Some(container) = sim.world.containers.get_mut(*index)
                    && container.state == ContainerState::Running
                {
                    container.state = ContainerState::Exited;
                    container.exit_code = Some(137);
                    let id = container.id.clone();
                    sim.state.health.remove(&id);
                }
            }
            Turn::Remove(index) if *index < sim.world.containers.len() => {
                sim.world.containers.remove(*index);
            }
            Turn::Remove(_) => {}
            Turn::Bury(index) => {
                if let Some(container) = sim.world.containers.get_mut(*index) {
                    container.state = ContainerState::Dead;
                    let id = container.id.clone();
                    sim.state.health.remove(&id);
                }
            }
            Turn::Pause(is_paused) => sim.state.is_paused = *is_paused,
            Turn::Ask(which) => sim.ask(match which {
                0 => Request::Restart,
                1 => Request::Fetch,
                _ => Request::Retry,
            }),
            Turn::Gone => sim.want = Want::Absent,
            Turn::Back => sim.want = Want::Present(Arc::clone(&self.app)),
            Turn::Held => {
                let hold = Hold::Unreadable("the folder can't be read".to_owned());
                sim.want = Want::Held(hold);
            }
            Turn::Sick(bits) => {
                let is_sick = |image: &u8| bits & (1 << image) != 0;
                let sick = (0..3).filter(is_sick).map(|image| format!("shop/app:{image}"));
                sim.nature.sick = sick.collect();
            }
            Turn::Forget => {
                sim.state.bad_revision = None;
                sim.state.request = None;
                sim.state.placement = berth::state::Placement::default();
                sim.state.health.clear();
            }
        }
    }
}

/// How many histories: 10,000 unless `PROPTEST_CASES` says otherwise. The same ones in each run, so
/// that a run can be repeated; `PROPTEST_RNG_SEED` chooses others.
pub(crate) fn cases() -> ProptestConfig {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    ProptestConfig {
        cases: number("PROPTEST_CASES").and_then(|n| u32::try_from(n).ok()).unwrap_or(10_000),
        rng_seed: RngSeed::Fixed(number("PROPTEST_RNG_SEED").unwrap_or(1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    /// After the last disturbance: rest within 30 passes, one running container of a wanted or
    /// kept version, and an empty plan that stays empty. On the way, every plan passes the linter,
    /// never starts two on one port or one GPU and never removes what runs (the sim asserts these).
    #[test]
    fn whatever_has_happened_it_comes_to_rest_as_wanted(turns in turns()) {
        let mut history = History::begin();
        for turn in &turns {
            history.happen(turn);
        }
        let sim = &mut history.sim;
        sim.want = Want::Present(Arc::clone(&history.app));
        sim.state.is_paused = false;
        sim.settle();
        let wanted = match &history.app.spec.source {
            berth::model::Source::Image { reference, .. } => reference.to_string(),
            berth::model::Source::Git(_) => unreachable!(),
        };
        prop_assert_eq!(sim.running().len(), 1, "{:?}", sim.seen());
        if !sim.nature.sick.contains(&wanted) && sim.state.bad_revision.is_none()
            && sim.world.containers.len() == 1 {
            prop_assert_eq!(&sim.running()[0].image, &wanted);
        }
        sim.journal.clear();
        sim.let_time_pass(Duration::from_secs(3600));
        sim.settle();
        prop_assert!(sim.journal.is_empty(), "{:?}", sim.journal);
    }

    /// The same input gives the same plan, and a plan touches nothing but its own app's things.
    #[test]
    fn plans_are_a_function_of_their_input_and_touch_only_their_own(turns in turns()) {
        let mut history = History::begin();
        let mut foreign = Sim::new(&app(1, 1, true, 0)).has_image("shop/app:1");
        foreign.settle();
        let mut other = foreign.world.containers[0].clone();
        other.id = berth::state::ContainerId::new("f".repeat(64));
        other.name = "postgres".to_owned();
        other.ownership = Ownership::Foreign;
        history.sim.world.containers.push(other.clone());
        for turn in &turns {
            let is_about_it = matches!(turn, Turn::Kill(_) | Turn::Remove(_) | Turn::Bury(_));
            if !is_about_it {
                history.happen(turn);
            }
            let first = plan(&history.sim.input());
            prop_assert_eq!(&first, &plan(&history.sim.input()));
            prop_assert_eq!(check(&history.sim.input(), &first), Vec::<String>::new());
        }
        prop_assert!(history.sim.world.containers.contains(&other));
    }

    /// While removals are held back or the app is stopped, nothing is removed.
    #[test]
    fn nothing_is_removed_while_nobody_knows(turns in turns()) {
        let mut history = History::begin();
        for turn in &turns {
            history.happen(turn);
        }
        let hold = Hold::Unreadable("the folder can't be read".to_owned());
        history.sim.want = Want::Held(hold);
        prop_assert!(plan(&history.sim.input()).is_empty());
        history.sim.want = Want::Present(Arc::clone(&history.app));
        history.sim.state.is_paused = true;
        let plan = plan(&history.sim.input());
        let is_removal = |step: &berth::plan::PlannedStep| {
            matches!(&step.step, Step::Call(berth::plan::Call::Remove(_) | berth::plan::Call::RemoveImage { .. }))
        };
        prop_assert!(!plan.steps.iter().any(is_removal));
    }
}
