//! Reading beside everything else: deadlines, pauses, and who asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    clock::Clock,
    gpu::{
        Cards, Error,
        scripted::Script,
        watch::{Make, Pauses, watch},
    },
    state::{Gpu, Inventory},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Fake, THREE};

/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(30);

const QUICK: Pauses = Pauses {
    idle: Duration::from_millis(20),
    deadline: Duration::from_millis(500),
    failed: (Duration::from_millis(20), Duration::from_millis(80)),
    absent: (Duration::from_millis(20), Duration::from_millis(80)),
};

struct Watch {
    cards: Arc<Cards>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(make: Make, pauses: Pauses) -> Self {
        let (cards, stop) = (Arc::new(Cards::default()), CancellationToken::new());
        let watching =
            watch(Arc::clone(&cards), make, Clock::System, (pauses, BTreeMap::new()), stop.clone());
        Self { cards, stop, task: tokio::spawn(watching) }
    }

    fn scripted(script: &Script, pauses: Pauses) -> Self {
        let script = script.clone();
        Self::start(Arc::new(move || script.probe()), pauses)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Inventory) -> bool) -> Arc<Inventory> {
        let mut following = self.cards.follow();
        let found = tokio::time::timeout(PATIENCE, following.wait_for(|known| holds(known))).await;
        let found = found.ok().and_then(Result::ok).map(|found| Arc::clone(&found));
        found.unwrap_or_else(|| panic!("never: {what}: {:?}", self.cards.latest()))
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// Cards `a`, `b` and so on, numbered like that.
fn cards(names: &[&str]) -> Inventory {
    let gpus = names.iter().map(|name| Gpu {
        uuid: (*name).to_owned(),
        index: u32::from(name.as_bytes()[0] - b'a'),
        ..Gpu::default()
    });
    Inventory { gpus: gpus.collect(), ..Inventory::default() }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fault U08, with the library itself in the way.
#[tokio::test]
async fn a_driver_that_hangs_leaves_what_was_known_and_is_taken_back_when_it_answers() {
    let fake = Arc::new(Fake::new(THREE));
    let own = Arc::clone(&fake);
    let watch = Watch::start(Arc::new(move || Box::new(own.machine())), QUICK);
    let known = watch.until("it is read", |known| known.gpus.len() == 3).await;
    fake.say(&format!("{THREE}\nhang nvmlDeviceGetPowerUsage\n"));
    let stale = watch.until("it is stale", |known| known.is_stale).await;
    assert_eq!((&stale.gpus, &stale.driver), (&known.gpus, &known.driver));
    assert!(stale.note.as_ref().unwrap().contains("has not answered"), "{:?}", stale.note);
    // Nobody waits for it, however often it is asked.
    let before = Instant::now();
    for _ in 0..100 {
        assert!(watch.cards.ask().await.is_stale);
    }
    assert!(before.elapsed() < PATIENCE / 6);
    fake.say(THREE);
    let again = watch.until("it is read again", |known| !known.is_stale).await;
    assert_eq!((again.gpus.len(), &again.note), (3, &None));
    watch.end().await;
}

#[tokio::test]
async fn at_most_one_hanging_thread_is_given_up_and_it_ends_when_it_can() {
    let script = Script::default();
    script.says(Ok(cards(&["a"])));
    let pauses = Pauses { deadline: Duration::from_millis(50), ..QUICK };
    let watch = Watch::scripted(&script, pauses);
    watch.until("it is read", |known| !known.gpus.is_empty()).await;
    script.hangs(true);
    eventually("another thread tries", || script.counts().2 == 2).await;
    // However many it took on the way here, on a slow machine.
    let made = script.counts().0;
    // Some ten pauses later there are still two.
    let mut following = watch.cards.follow();
    for _ in 0..5 {
        tokio::time::timeout(PATIENCE, following.changed()).await.unwrap().unwrap();
    }
    assert_eq!((script.counts().0, script.counts().2), (made, 2));
    script.hangs(false);
    watch.until("it is read again", |known| !known.is_stale).await;
    eventually("nobody hangs", || script.counts().2 == 0).await;
    watch.end().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_and_keeps_what_was_known() {
    let script = Script::default();
    script.says(Ok(cards(&["a", "b"])));
    let watch = Watch::scripted(&script, QUICK);
    watch.until("it is read", |known| known.gpus.len() == 2).await;
    script.says(Err(Error::Mismatch));
    let kept = watch.until("it fails", |known| known.is_stale && known.is_mismatched).await;
    assert!(kept.gpus.len() == 2 && kept.at.is_some());
    script.says(Ok(cards(&["b"])));
    let lost = watch.until("one is gone", |known| !known.is_stale).await;
    let well: Vec<_> = lost.gpus.iter().map(|gpu| gpu.health.problems.is_empty()).collect();
    assert_eq!((lost.gpus.len(), well, lost.is_mismatched), (2, vec![false, true], false));
    script.reports("b", 79);
    watch.until("an error is reported", |known| known.gpus[1].health.last_xid == Some(79)).await;
    watch.end().await;
}

#[tokio::test]
async fn all_who_ask_at_the_same_time_cost_one_reading() {
    let script = Script::default();
    script.says(Ok(cards(&["a"])));
    let hour = Duration::from_secs(3600);
    let watch = Watch::scripted(&script, Pauses { idle: hour, deadline: hour, ..QUICK });
    watch.until("it is read", |known| !known.gpus.is_empty()).await;
    assert_eq!(script.counts().1, 1);
    // What was read a moment ago is fresh enough.
    assert_eq!(watch.cards.ask().await.gpus.len(), 1);
    assert_eq!(script.counts().1, 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    script.says(Ok(cards(&["a", "b"])));
    let asked = (0..50).map(|_| {
        let cards = Arc::clone(&watch.cards);
        tokio::spawn(async move { cards.ask().await })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    watch.until("it is read again", |known| known.gpus.len() == 2).await;
    assert!(script.counts().1 <= 3, "{:?}", script.counts());
    watch.end().await;
}

/// Fault U07; and without cards there is no thread, and nobody who asks wakes one.
#[tokio::test]
async fn a_host_without_gpus_is_looked_at_again_with_growing_pauses() {
    let script = Script::default();
    script.says(Ok(Inventory { note: Some("no driver".to_owned()), ..Inventory::default() }));
    let hour = Duration::from_secs(3600);
    let watch = Watch::scripted(&script, Pauses { absent: (hour, hour), deadline: hour, ..QUICK });
    let none = watch.until("it is read", |known| known.at.is_some()).await;
    assert_eq!((none.is_stale, none.note.as_deref()), (false, Some("no driver")));
    for _ in 0..100 {
        watch.cards.ask().await;
    }
    assert_eq!(script.counts(), (1, 1, 0));
    watch.end().await;

    let watch = Watch::scripted(&script, QUICK);
    eventually("it is looked at again", || 4 < script.counts().1).await;
    // The two are counted one after the other, by another thread.
    let (made, read, _) = script.counts();
    assert!(read <= made + 1 && made <= read + 1, "a probe for each look: {made}, {read}");
    script.says(Ok(cards(&["a"])));
    watch.until("there is one", |known| known.gpus.len() == 1).await;
    watch.end().await;
}
