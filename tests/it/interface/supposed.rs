//! What would come of a change, on a whole Berth on an engine in memory: the plan is the one that
//! the change then has, and until then nothing is different.

use std::sync::Arc;

use berth::{
    manifest::read_file,
    plan::{Plan, Verb, render},
    record::{Command, CommandError, LeaseOrder, Order, Supposed},
    secret::{Book, Secrets, Settings, Value},
};
use tokio::sync::oneshot;

use crate::rig::{Berth, Rig, manifest, name};

async fn suppose(berth: &Berth, supposed: Supposed) -> Result<(String, Vec<Plan>), CommandError> {
    let (answer, plans) = oneshot::channel();
    let told = berth.command(Command::Suppose(supposed, answer)).await?;
    Ok((told, plans.await.unwrap()))
}

fn of(text: &str) -> Supposed {
    Supposed::Manifest(Arc::clone(&read_file("x.yaml", text.as_bytes()).apps[0]))
}

#[tokio::test(start_paused = true)]
async fn nothing_changes_by_supposing_and_the_plan_is_what_comes() {
    let rig = Rig::new().has("chat", "shop/app:1").has("other", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.until_running("other").await;
    let before =
        || (format!("{:?}", berth.ledger.kept()), rig.fake.journal(), berth.record.subscribe().1);
    let known = before();
    let asked = |order| Supposed::Asked(name("chat"), order);
    for (supposed, verb) in [
        (of(&manifest("chat", "shop/app:2", "")), Verb::Replace),
        (of(&manifest("chat", "shop/app:1", "")), Verb::Nothing),
        (of(&manifest("fresh", "shop/app:1", "")), Verb::Create),
        (Supposed::Removed(name("chat")), Verb::Remove),
        (asked(Order::Start), Verb::Nothing),
        (asked(Order::Stop), Verb::Stop),
        (asked(Order::Restart), Verb::Restart),
        (asked(Order::Reconcile), Verb::Nothing),
    ] {
        let what = format!("{supposed:?}");
        let (_, plans) = suppose(&berth, supposed).await.unwrap();
        assert_eq!(plans.len(), 1, "{what}");
        assert_eq!(plans[0].verb, verb, "{what}: {}", render(&plans[0]));
    }
    let (told, _) = suppose(&berth, asked(Order::Rebuild)).await.unwrap();
    assert!(told.contains("looking up"), "{told}");
    let undo = suppose(&berth, asked(Order::Undo(Some(9)))).await;
    assert!(matches!(undo, Err(CommandError::Undo { code: "rollout.no-such-revision", .. })));
    let nobody = suppose(&berth, Supposed::Asked(name("nobody"), Order::Stop)).await;
    assert_eq!(nobody, Err(CommandError::NotFound(name("nobody"))));
    let confirmed = suppose(&berth, Supposed::Confirmed).await;
    assert_eq!(confirmed, Err(CommandError::NothingToConfirm));
    let (told, _) = suppose(&berth, Supposed::Leased(LeaseOrder::List)).await.unwrap();
    assert_eq!(told, "{\"items\":[]}");
    assert_eq!(before(), known);
    berth.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_held_back_removal_is_foreseen() {
    let mut rig = Rig::new();
    for app in ["a", "b", "c", "d"] {
        rig = rig.has(app, "shop/app:1");
    }
    let berth = rig.start();
    for app in ["a", "b", "c", "d"] {
        berth.until_running(app).await;
    }
    for app in ["a", "b", "c"] {
        berth.manifests.remove(&format!("{app}.yaml"));
    }
    berth.until("the brake holds", |record| record.overview().hold.is_some()).await;
    let journal = rig.fake.journal();
    let (told, plans) = suppose(&berth, Supposed::Confirmed).await.unwrap();
    assert_eq!(told, "removing a, b, c");
    assert!(plans.len() == 3 && plans.iter().all(|plan| plan.verb == Verb::Remove), "{plans:?}");
    assert_eq!(rig.fake.journal(), journal);
    berth.stop().await;
}

/// A secret that is a file lies in memory once its app is to be made, and not before.
#[tokio::test(start_paused = true)]
async fn what_is_only_supposed_puts_no_secret_anywhere() {
    let mut rig = Rig::new();
    let (top, memory) = (rig.folder.path().to_owned(), tempfile::tempdir_in("/dev/shm").unwrap());
    let (secrets, files) = (Secrets::new(top.join("secrets")), memory.path().join("files"));
    secrets.set("db", None, &Value::new("s3cret")).unwrap();
    let settings = Settings::new(Secrets::new(top.join("secrets")), &top, &files);
    rig.book = Arc::new(Book::new(settings).unwrap());
    let berth = rig.start();
    let text = manifest("chat", "shop/app:1", "mounts: [{path: /run/db, secret: db}]");
    let (_, plans) = suppose(&berth, of(&text)).await.unwrap();
    assert_eq!(plans[0].verb, Verb::Create, "{}", render(&plans[0]));
    assert!(!files.exists(), "it is there already");
    berth.manifests.put("chat.yaml", &text);
    berth.until_running("chat").await;
    assert_eq!(std::fs::read_dir(files.join("chat")).unwrap().count(), 1);
    let before = std::fs::read_dir(files.join("chat")).unwrap().next().unwrap().unwrap().path();
    secrets.set("db", None, &Value::new("an0ther")).unwrap();
    let (_, plans) = suppose(&berth, of(&text)).await.unwrap();
    assert_eq!(plans[0].verb, Verb::Replace, "{}", render(&plans[0]));
    let left: Vec<_> = std::fs::read_dir(files.join("chat")).unwrap().flatten().collect();
    assert!(left.len() == 1 && left[0].path() == before, "{left:?}");
    berth.stop().await;
}
