//! Berth is killed, and killed again, at any moment.
//!
//! `BERTH_TEST_KILLS` says how often (20; `make soak-kills`: 1000). `BERTH_TEST_SEED` repeats a run.

use std::{fs, path::Path, time::Duration};

use super::second::{Home, Life, Second};

/// The apps that nothing happens to.
const STEADY: [&str; 3] = ["a", "b", "c"];
/// The longest that it lives, in milliseconds: it has long come to rest by then.
const LIFE_MAX: u64 = 1_500;

pub(super) fn of_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Numbers that depend on the seed alone (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// What becomes of the state file between two lives.
fn spoil(state: &Path, how: u64) {
    let file = state.join("state.json");
    match how {
        0 => drop(fs::remove_file(&file)),
        1 => {
            let whole = fs::read(&file).unwrap_or_default();
            fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        }
        2 => fs::write(&file, "{}").unwrap(),
        _ => {}
    }
}

fn lives(second: &Second) -> Vec<Life> {
    STEADY.iter().flat_map(|app| second.lives(app)).collect()
}

/// Names of what an engine has, beside containers.
fn belongings(second: &Second) -> Vec<String> {
    let lists: [&[&str]; 3] = [
        &["images", "--all", "--quiet", "--no-trunc"],
        &["network", "ls", "--quiet"],
        &["volume", "ls", "--quiet"],
    ];
    lists.iter().map(|list| second.docker(list)).collect()
}

/// Faults T01, T05, T10, D24, D42: while one app changes with each life, the others are the same
/// containers, never started again; in the end each has one, and nothing else has been left.
#[test]
fn killed_at_random_it_restarts_nothing() {
    let kills = of_environment("BERTH_TEST_KILLS", 20);
    let seed = of_environment("BERTH_TEST_SEED", 7);
    let said = format!("BERTH_TEST_SEED={seed} BERTH_TEST_KILLS={kills}");
    let mut dice = Dice(seed);
    let second = Second::start("", &[]);
    let home = Home::new();
    for app in STEADY {
        home.put(app, "1");
    }
    home.put("changing", "first");
    second.docker(&["run", "--detach", "--name=foreign", super::second::TINY]);
    let berth = home.start(&second, "engine.sock");
    berth.until_running(&["changing"]);
    let before = berth.until_running(&STEADY);
    let had = belongings(&second);
    drop(berth);

    for kill in 0..kills {
        // Two of three times nothing but the kill happens.
        if dice.roll(3) == 0 {
            home.put("changing", &kill.to_string());
        }
        spoil(&home.path("state"), dice.roll(8));
        let berth = home.start(&second, "engine.sock");
        std::thread::park_timeout(Duration::from_millis(dice.roll(LIFE_MAX)));
        drop(berth);
        assert_eq!(lives(&second), before, "kill {kill} of {said}");
    }
    home.put("changing", "last");
    let berth = home.start(&second, "engine.sock");
    berth.until("the last version runs", || {
        let values = second.values("changing");
        values == ["last"]
    });
    berth.until_running(&["changing"]);
    assert_eq!(berth.until_running(&STEADY), before, "{said}");
    assert_eq!((second.all().len(), belongings(&second)), (5, had), "{said}");
}
