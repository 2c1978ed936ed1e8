//! Images of equal inputs: the second one is the first with labels of its own. No step runs and no
//! context is sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, mpsc};

use crate::engine::{BuildExtras, BuildRequest, Engine};
use crate::model::Digest;
use crate::plan::{Recipe, Twin};

const DOCKERFILE: &str = "Dockerfile";

/// The turn of one build of some inputs, and what the one before it gave.
pub(super) type Held = OwnedMutexGuard<Option<Twin>>;

/// Builds of equal inputs come one after the other.
#[derive(Default)]
pub(super) struct Twins {
    turns: Mutex<BTreeMap<Digest, Weak<Turn<Option<Twin>>>>>,
}

impl Twins {
    /// Waits for the turn of these inputs; `waits` is called when it does not come at once.
    pub(super) async fn turn(&self, inputs: Digest, waits: impl FnOnce()) -> Held {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| 0 < turn.strong_count());
            let turn = turns.get(&inputs).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(inputs, Arc::downgrade(&turn));
            turn
        };
        if let Ok(held) = Arc::clone(&turn).try_lock_owned() {
            return held;
        }
        waits();
        turn.lock_owned().await
    }
}

/// Makes the image of `recipe` from that of its twin; else says why not.
///
/// An image that says what builds from it do first (`ONBUILD`) is not taken: its twin would have it
/// done, and lose it. The engine is asked for the image by its id before, since builders ask a
/// registry for what they do not have.
pub(super) async fn from_twin(
    engine: &dyn Engine,
    instance: &str,
    (recipe, twin): (&Recipe, &Twin),
    log: mpsc::Sender<String>,
) -> Result<String, String> {
    match engine.has_triggers(&twin.id).await.map_err(|error| error.to_string())? {
        Some(false) => {}
        Some(true) => return Err("it has ONBUILD instructions".to_owned()),
        None => return Err("it is gone".to_owned()),
    }
    let context = lone_file(&format!("FROM {}\n", twin.id)).map_err(|error| error.to_string())?;
    let request = BuildRequest {
        recipe,
        instance,
        dockerfile: DOCKERFILE.to_owned(),
        context: stream::iter([Ok(context)]).boxed(),
        log,
        extras: BuildExtras::default(),
    };
    engine.build(request).await.map_err(|error| error.to_string())
}

/// A context of a Dockerfile and nothing else.
fn lone_file(text: &str) -> std::io::Result<Bytes> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, DOCKERFILE, text.as_bytes())?;
    Ok(archive.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppName;

    #[tokio::test]
    async fn builds_of_equal_inputs_come_one_after_the_other() {
        let twins = Twins::default();
        let (one, other) = (Digest::of_bytes(b"one"), Digest::of_bytes(b"other"));
        let at_once = || panic!("it waits");
        let mut first = twins.turn(one.clone(), at_once).await;
        drop(twins.turn(other, at_once).await);
        let (told, mut heard) = mpsc::channel(1);
        let tell = || {
            let _ = told.try_send(());
        };
        let second = async { twins.turn(one.clone(), tell).await.clone() };
        let finish = async {
            heard.recv().await;
            let app = AppName::new("first").unwrap();
            *first = Some(Twin { id: "sha256:1".to_owned(), app });
            drop(first);
        };
        let (second, ()) = tokio::join!(second, finish);
        assert_eq!(second.map(|twin| twin.id).as_deref(), Some("sha256:1"));
        // Nobody builds any more: nothing is remembered.
        assert_eq!(*twins.turn(one, at_once).await, None);
    }
}
