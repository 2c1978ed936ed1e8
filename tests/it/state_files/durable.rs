//! What was answered is on the disk: Berth is killed right after each answer, and the next one is
//! started on what the disk has, and on nothing else.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth::{
    engine::{
        fake::Behaviour,
        fault::{Fault, Faulty},
    },
    record::{
        Command, CommandError,
        durable::NotKept,
        file::{Error, Folder, Kept},
        keeper::Keeper,
    },
    state::Hold,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rig::{Berth, Rig, is, manifest, name};

/// Whether what is kept shows that a command was taken.
type Holds = Box<dyn Fn(&Kept) -> bool>;

/// How long each call takes, so that one can be killed between two.
const CALL: Duration = Duration::from_millis(2);

/// A Berth that keeps its state on the disk.
struct Keeping {
    berth: Berth,
    writing: JoinHandle<()>,
    /// Whether the engine hears nothing of it any more.
    is_dead: Arc<AtomicBool>,
}

fn state(rig: &Rig) -> PathBuf {
    rig.folder.path().join("state")
}

/// The folder, once the last write of who was killed has ended: a thread can't be killed.
async fn folder(rig: &Rig) -> Folder {
    loop {
        match Folder::open(&state(rig)) {
            Err(Error::Locked(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            opened => return opened.unwrap(),
        }
    }
}

/// What the disk has.
async fn on_disk(rig: &Rig) -> Kept {
    folder(rig).await.load(super::NOW).unwrap().0
}

/// Starts a Berth with what the disk has.
async fn start(rig: &mut Rig) -> Keeping {
    let folder = folder(rig).await;
    rig.kept = folder.load(super::NOW).unwrap().0;
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let engine = Faulty::new(Arc::new(rig.fake.clone()), move |_| {
        let is_dead = dead.load(Ordering::Relaxed);
        if is_dead { Fault::CrashBefore } else { Fault::Delay(CALL) }
    });
    let berth = rig.start_on(Arc::new(engine));
    let keeper = Keeper::new(folder, Arc::clone(&berth.ledger));
    let writing = tokio::spawn(keeper.run(CancellationToken::new()));
    Keeping { berth, writing, is_dead }
}

impl Keeping {
    async fn kill(self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.writing.abort();
        let _ = self.writing.await;
        self.berth.kill().await;
    }
}

// T01: every command that changes what is kept.
#[tokio::test(start_paused = true)]
async fn what_was_answered_outlives_a_kill_right_after_the_answer() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let chat = || name("chat");
    let berth = start(&mut rig).await;
    berth.berth.until_running("chat").await;
    rig.files.insert("chat.yaml".to_owned(), manifest("chat", "shop/app:2", ""));
    berth.berth.manifests.set(rig.files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    tokio::time::sleep(crate::rig::RESYNC * 3).await;
    berth.kill().await;
    let steps: Vec<(Command, Holds)> = vec![
        (Command::Stop(chat()), Box::new(|kept| kept.apps["chat"].is_paused)),
        (Command::Start(chat()), Box::new(|kept| !kept.apps["chat"].is_paused)),
        (Command::Restart(chat()), Box::new(|kept| kept.apps["chat"].request.is_some())),
        (Command::Reconcile(chat()), Box::new(|kept| kept.apps["chat"].request.is_some())),
        (Command::Undo(chat(), None), Box::new(|kept| kept.apps["chat"].pin.is_some())),
        (Command::Rebuild(chat()), Box::new(|kept| kept.apps["chat"].pin.is_none())),
    ];
    for (command, holds) in steps {
        let told = format!("{command:?}");
        let berth = start(&mut rig).await;
        berth.berth.until("it knows its app", |record| record.entry(&chat()).is_some()).await;
        // No pass comes between the answer and the kill: it would do what was asked for.
        let answer = berth.berth.command(command).await;
        berth.kill().await;
        let kept = on_disk(&rig).await;
        answer.unwrap();
        assert!(holds(&kept), "{told}: {kept:#?}");
    }
}

/// Starts of the app's container so far.
fn starts(rig: &Rig) -> usize {
    rig.count("start", "chat")
}

// D01, D24: a restart is neither forgotten nor done twice.
#[tokio::test(start_paused = true)]
async fn a_restart_that_was_answered_is_done_once_whenever_berth_is_killed() {
    for wait in (0..40).chain([400, 990, 1_000, 1_010, 1_100, 5_000]) {
        let mut rig = Rig::new().has("chat", "shop/app:1");
        let berth = start(&mut rig).await;
        berth.berth.until_running("chat").await;
        let before = starts(&rig);
        berth.berth.command(Command::Restart(name("chat"))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        berth.kill().await;
        let berth = start(&mut rig).await;
        let rig_now = &rig;
        let is_done = || {
            let kept = berth.berth.ledger.facts(&name("chat")).unwrap();
            kept.request.is_none() && before < starts(rig_now)
        };
        berth.berth.until("it was restarted", |_| is_done()).await;
        berth.berth.until_running("chat").await;
        tokio::time::sleep(crate::rig::RESYNC * 3).await;
        assert_eq!(starts(&rig), before + 1, "killed after {wait} ms");
        berth.kill().await;
    }
}

// T01, D01: a Berth that can't read the manifests yet forgets nothing that was asked for.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_is_done_once_the_manifests_can_be_read() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let chat = || name("chat");
    for command in [Command::Restart, Command::Reconcile] {
        let berth = start(&mut rig).await;
        berth.berth.until_running("chat").await;
        let before = starts(&rig);
        let told = format!("{:?}", command(chat()));
        berth.berth.command(command(chat())).await.unwrap();
        berth.kill().await;
        let berth = start(&mut rig).await;
        berth.berth.manifests.fail(Some("it is not mounted yet"));
        tokio::time::sleep(crate::rig::RESYNC * 3).await;
        let asked = || berth.berth.ledger.facts(&chat()).unwrap().request;
        assert!(asked().is_some(), "{told}");
        assert_eq!(starts(&rig), before, "{told}");
        berth.berth.manifests.fail(None);
        berth.berth.until("it was done", |_| asked().is_none()).await;
        berth.berth.until_running("chat").await;
        tokio::time::sleep(crate::rig::RESYNC * 3).await;
        let more = usize::from(told.starts_with("Restart"));
        assert_eq!(starts(&rig), before + more, "{told}");
        berth.kill().await;
    }
}

// W01: what a person let go goes, though nobody was there to see it through.
#[tokio::test(start_paused = true)]
async fn a_confirmed_removal_outlives_a_kill() {
    let mut rig = Rig::new();
    for app in ["a", "b", "c"] {
        rig.files.insert(format!("{app}.yaml"), manifest(app, "shop/app:1", ""));
    }
    let berth = start(&mut rig).await;
    for app in ["a", "b", "c"] {
        berth.berth.until_running(app).await;
    }
    berth.kill().await;
    rig.files.retain(|file, _| file == "c.yaml");
    let berth = start(&mut rig).await;
    let is_held = |hold: &Option<Hold>| matches!(hold, Some(Hold::Brake { .. }));
    berth.berth.until("it is held", |record| is_held(&record.overview().hold)).await;
    berth.berth.command(Command::Confirm).await.unwrap();
    berth.kill().await;
    let kept = on_disk(&rig).await;
    let gone = ["a", "b"].iter().filter(|app| kept.apps.contains_key(**app));
    assert!(gone.clone().all(|app| kept.apps[*app].is_removal_confirmed), "{kept:#?}");
    let berth = start(&mut rig).await;
    berth
        .berth
        .until("both are gone", |record| {
            record.entries().iter().all(|entry| entry.name.as_str() == "c")
                && !record.entries().is_empty()
        })
        .await;
    tokio::time::sleep(crate::rig::RESYNC * 2).await;
    assert_eq!(rig.count("remove", "a") + rig.count("remove", "b"), 2);
    assert!(is(&berth.berth.record, "c", |status| status.phase == berth::model::Phase::Running));
    berth.kill().await;
    // Named again, it is an app like any other: its next removal is one of many again.
    for app in ["a", "b"] {
        rig.files.insert(format!("{app}.yaml"), manifest(app, "shop/app:1", ""));
    }
    let berth = start(&mut rig).await;
    berth.berth.until_running("a").await;
    berth.berth.until_running("b").await;
    rig.files.retain(|file, _| file == "c.yaml");
    berth.berth.manifests.set(rig.files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    berth.berth.until("it is held", |record| is_held(&record.overview().hold)).await;
    berth.kill().await;
}

// D41, D42: what can't be written is not said to be done.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_on_the_disk_is_answered_with_that() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/sick:1", Behaviour::never_healthy());
    let berth = start(&mut rig).await;
    berth.berth.until_running("chat").await;
    let aside = rig.folder.path().join("aside");
    fs::rename(state(&rig), &aside).unwrap();
    // Asked again, it is tried again: that it is so already in memory says nothing of the disk.
    for _ in 0..2 {
        let error = berth.berth.command(Command::Stop(name("chat"))).await.unwrap_err();
        assert!(
            matches!(&error, CommandError::NotKept { why: NotKept::Failed(_), .. }),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(said.contains("not on the disk") && said.contains("stopping"), "{said}");
    }
    // What changes nothing that is kept needs no disk.
    berth.berth.command(Command::Rescan).await.unwrap();
    fs::rename(&aside, state(&rig)).unwrap();
    berth.berth.command(Command::Stop(name("chat"))).await.unwrap();
    berth.kill().await;
    assert!(on_disk(&rig).await.apps["chat"].is_paused);
}

// A burst costs few writes, and nobody who waits is held up by the pause between two.
#[tokio::test(start_paused = true)]
async fn answers_do_not_wait_for_the_pause_between_two_writes() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = start(&mut rig).await;
    berth.berth.until_running("chat").await;
    tokio::time::sleep(crate::rig::RESYNC).await;
    let begin = tokio::time::Instant::now();
    for _ in 0..5 {
        berth.berth.command(Command::Stop(name("chat"))).await.unwrap();
        berth.berth.command(Command::Start(name("chat"))).await.unwrap();
    }
    // By the clock of the test, on which the disk takes no time.
    assert!(begin.elapsed().as_millis() < 1_000, "{:?}", begin.elapsed());
    berth.kill().await;
}
