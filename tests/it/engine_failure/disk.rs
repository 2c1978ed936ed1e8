//! The engine's disk is full.

use super::second::{Berth, Home, Life, Second};

/// Fills what is left of the engine's disk, to the last byte.
fn fill(second: &Second, filler: &str) {
    second.enter(&["sh", "-c", &format!("! cat /dev/zero 2>&- >{filler}")]);
}

fn until_replaced(second: &Second, berth: &Berth<'_>, app: &str, before: &Life) {
    berth.until(&format!("the new version of {app} is there"), || {
        let lives = second.lives(app);
        lives.len() == 1 && lives[0].id != before.id
    });
    berth.until_running(&[app]);
}

/// Faults D41, T13: what runs goes on, what can not be made is said, and is made once there is
/// room, without a version given up for it. Nothing is removed to make room, and nothing is tried
/// without a pause.
#[test]
fn a_full_disk_stops_what_grows_and_nothing_else() {
    let second = Second::start("48m", &[]);
    let home = Home::new();
    home.put("steady", "1");
    home.put_unchecked("changed", "1");
    // The two versions share a host port, so the old one has stopped when the new one can't start.
    home.put("handing-over", "1");
    let berth = home.start(&second, "engine.sock");
    let before = berth.until_running(&["steady", "changed", "handing-over"]);
    let all = second.all();
    let filler = second.text("data/filler");
    fill(&second, &filler);

    home.put_unchecked("changed", "2");
    home.put("handing-over", "2");
    home.put("new", "1");
    for app in ["changed", "handing-over", "new"] {
        berth.until(&format!("{app}: the disk is said to be full"), || {
            let message = berth.status(app).map(|status| status["message"].to_string());
            message.is_some_and(|message| {
                message.contains("no space left on device") || message.contains("shows no effect")
            })
        });
    }
    let tried = berth.steps();
    berth.passes_more(9);
    assert!(berth.steps() < tried + 60.0, "it is tried without a pause");
    let now = [second.lives("steady"), second.lives("changed")].concat();
    assert!(before[..2].iter().all(|life| now.contains(life)), "what ran goes on");
    let there = second.all();
    assert!(all.iter().all(|id| there.contains(id)), "nothing is removed to make room");

    second.enter(&["rm", &filler]);
    until_replaced(&second, &berth, "changed", &before[1]);
    until_replaced(&second, &berth, "handing-over", &before[2]);
    berth.until_running(&["new"]);
    assert_eq!(berth.until_running(&["steady"]), before[..1]);
    assert_eq!(second.all().len(), 4);
}
