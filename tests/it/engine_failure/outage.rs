//! The engine ends and comes back.

use super::second::{Home, Life, Second};

/// An engine with three apps that run, and a container that is nobody's of ours.
fn with_three_apps(flags: &[&str]) -> (Second, Home) {
    let second = Second::start("", flags);
    let home = Home::new();
    for app in ["a", "b", "c"] {
        home.put(app, "1");
    }
    second.docker(&["run", "--detach", "--restart=always", "--name=foreign", super::second::TINY]);
    (second, home)
}

fn ids(lives: &[Life]) -> Vec<&str> {
    lives.iter().map(|life| life.id.as_str()).collect()
}

/// dockerd dies with its containerd. While it is away Berth knows nothing and does nothing; then
/// the engine starts its containers again by itself, or never stopped them (faults D14, D15).
fn dies_and_comes_back(flags: &[&str]) {
    let (second, home) = with_three_apps(flags);
    let berth = home.start(&second, "engine.sock");
    let before = berth.until_running(&["a", "b"]);
    berth.until_running(&["c"]);
    let all = second.all();
    second.kill("dockerd");
    berth.until_said("a", "Unknown", "can't be reached");
    // What is asked for meanwhile is done afterwards.
    home.put("c", "2");
    second.up(flags);
    let after = berth.until_running(&["a", "b"]);
    berth.until("the new version of c is there", || !all.contains(&second.lives("c")[0].id));
    berth.until_running(&["c"]);
    if flags.contains(&"--live-restore") {
        assert_eq!(before, after, "{}", second.log());
    } else {
        assert_eq!(ids(&before), ids(&after), "{}", second.log());
    }
    berth.passes_more(9);
    assert_eq!(after, berth.until_running(&["a", "b"]));
    assert_eq!(second.docker(&["inspect", "foreign", "--format={{.State.Running}}"]), "true");
    assert_eq!(second.all().len(), 4);
}

#[test]
fn dockerd_is_killed_and_comes_back() {
    dies_and_comes_back(&[]);
}

#[test]
fn dockerd_is_killed_and_comes_back_with_live_restore() {
    dies_and_comes_back(&["--live-restore"]);
}

/// containerd dies alone; dockerd starts it again. What runs goes on, and what could not be done
/// meanwhile is done afterwards.
#[test]
fn containerd_is_killed() {
    let (second, home) = with_three_apps(&[]);
    let berth = home.start(&second, "engine.sock");
    let before = berth.until_running(&["a", "b", "c"]);
    second.kill("containerd");
    home.put("c", "2");
    berth.until("the new version of c is there", || {
        let lives = second.lives("c");
        lives.len() == 1 && lives[0].id != before[2].id
    });
    berth.until_running(&["c"]);
    berth.passes_more(9);
    assert_eq!(berth.until_running(&["a", "b"]), before[..2], "{}", second.log());
    assert_eq!(second.docker(&["inspect", "foreign", "--format={{.State.Running}}"]), "true");
    assert_eq!(second.all().len(), 4);
}
