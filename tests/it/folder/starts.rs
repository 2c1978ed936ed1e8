//! The folder was spoilt, and perhaps the state was lost, while no Berth ran. Starting one takes
//! nothing down.

use std::fs;

use berth::record::{Command, file::Kept};

use super::yard::{APPS, Notice, Yard, manifest};

/// A bad folder, by what one sees that it was noticed.
type State = (&'static str, Notice, fn(&Yard));

const MISSING: State = ("W01 no folder", Notice::Source("does not exist"), |yard| {
    fs::remove_dir_all(&yard.root).unwrap();
});
const EMPTY: State = ("W01 an empty folder", Notice::Brake(5), |yard| {
    for app in APPS {
        yard.remove(&format!("{app}.yaml"));
    }
});
const ONE_LEFT: State = ("W01 one file left", Notice::Brake(4), |yard| {
    for app in &APPS[1..] {
        yard.remove(&format!("{app}.yaml"));
    }
});
const ANEW: State = ("W08 another folder, empty", Notice::Brake(5), |yard| {
    fs::remove_dir_all(&yard.root).unwrap();
    fs::create_dir(&yard.root).unwrap();
});
const LACKS_ONE: State = ("W08 another folder, one file less", Notice::Brake(1), |yard| {
    fs::remove_dir_all(&yard.root).unwrap();
    yard.mend();
    yard.remove("web.yaml");
});
const ONE_BAD: State = ("W05 one bad file", Notice::Mistake("manifest.syntax"), |yard| {
    yard.put("api.yaml", "}{");
});
const ALL_BAD: State = ("W05 five bad files", Notice::Mistake("manifest.syntax"), |yard| {
    for app in APPS {
        yard.put(&format!("{app}.yaml"), "}{");
    }
});
const ALL_TYPOS: State = ("Y05 five typos", Notice::Mistake("manifest.unknown-field"), |yard| {
    for app in APPS {
        yard.put(&format!("{app}.yaml"), manifest(app).replace("image:", "imagee:"));
    }
});
const TWICE: State = ("W11 a name twice", Notice::Mistake("manifest.duplicate-app"), |yard| {
    yard.put("copy.yaml", manifest("api"));
});
const FOLDERS: State = ("W15 folders", Notice::Mistake("manifest.unreadable"), |yard| {
    for app in APPS {
        yard.remove(&format!("{app}.yaml"));
        fs::create_dir(yard.path(&format!("{app}.yaml"))).unwrap();
    }
});
const EMPTIED: State = ("D42 five empty files", Notice::Mistake("manifest.empty"), |yard| {
    for app in APPS {
        yard.put(&format!("{app}.yaml"), "");
    }
});

/// Stops a Berth, spoils the folder, and starts one that knows what the last one kept, or nothing.
async fn survives_start(state: State, is_state_lost: bool) {
    let (what, notice, harm) = state;
    let mut yard = Yard::new();
    let berth = yard.start_well().await;
    let before = yard.deeds();
    let kept = berth.stop().await;
    yard.rig.kept = if is_state_lost { Kept::default() } else { kept };
    harm(&yard);
    let berth = yard.start();
    berth.until(what, |overview| notice.is_given(overview)).await;
    berth.look_twice(what).await;
    assert_eq!(yard.deeds(), before, "{what}");
    berth.all_stand(what);
    yard.mend();
    berth.until_well().await;
    berth.look_twice(what).await;
    assert_eq!(yard.deeds(), before, "after {what}");
    berth.stop().await;
}

#[tokio::test]
async fn a_start_on_a_bad_folder_takes_nothing_down() {
    let states = [
        MISSING, EMPTY, ONE_LEFT, ANEW, LACKS_ONE, ONE_BAD, ALL_BAD, ALL_TYPOS, TWICE, FOLDERS,
        EMPTIED,
    ];
    for state in states {
        survives_start(state, false).await;
    }
}

// T01
#[tokio::test]
async fn a_start_on_a_bad_folder_without_any_state_takes_nothing_down() {
    // Five empty files name nothing, and nobody knows any more that they ever did.
    let emptied = (EMPTIED.0, Notice::Brake(5), EMPTIED.2);
    let states = [
        MISSING, EMPTY, ONE_LEFT, ANEW, LACKS_ONE, ONE_BAD, ALL_BAD, ALL_TYPOS, TWICE, FOLDERS,
        emptied,
    ];
    for state in states {
        survives_start(state, true).await;
    }
}

// The other side: what was taken out while no Berth ran goes when one starts.
#[tokio::test]
async fn a_file_deleted_while_no_berth_ran_removes_its_app_at_the_start() {
    let mut yard = Yard::new();
    yard.rig.kept = yard.start_well().await.stop().await;
    yard.remove("web.yaml");
    let berth = yard.start();
    berth.until("web is removed", |_| yard.rig.count("remove", "web") == 1).await;
    berth.until_gone("web").await;
    berth.look_twice("after the removal").await;
    for app in &APPS[..4] {
        assert_eq!((yard.rig.count("stop", app), yard.rig.count("create", app)), (0, 1), "{app}");
    }
}

// T01, W01: with no state it is not known whether this is the folder that the apps came from. An
// empty place where both the state and the manifests should have been mounted looks the same.
#[tokio::test]
async fn without_any_state_even_one_removal_waits_for_a_person() {
    let mut yard = Yard::new();
    yard.start_well().await.stop().await;
    yard.rig.kept = Kept::default();
    yard.remove("web.yaml");
    let berth = yard.start();
    berth.until("it is held", |overview| overview.hold.is_some()).await;
    berth.look_twice("held").await;
    assert_eq!(yard.rig.count("stop", "web"), 0);
    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("web").await;
    assert_eq!(yard.rig.count("stop", "api"), 0);
}

// D14, T01: the engine answers only after the folder was read, so its apps were not known then.
#[tokio::test]
async fn without_any_state_a_late_engine_loses_nothing() {
    let mut yard = Yard::bare();
    fs::create_dir(&yard.root).unwrap();
    yard.put("api.yaml", manifest("api"));
    let berth = yard.start();
    berth.until("it runs", |_| yard.rig.count("start", "api") == 1).await;
    berth.stop().await;
    yard.rig.kept = Kept::default();
    yard.remove("api.yaml");
    yard.rig.fake.set_down(true);
    let berth = yard.start();
    berth.until("both are seen", |o| o.engine_error.is_some() && o.source_read_at.is_some()).await;
    yard.rig.fake.set_down(false);
    berth.until("it is held", |overview| overview.hold.is_some()).await;
    berth.look_twice("held").await;
    assert_eq!(yard.rig.count("stop", "api"), 0);
}
