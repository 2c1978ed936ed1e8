//! Whether a build fits on the engine's disk: looked at before it begins.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::engine::Engine;
use crate::model::{AppName, format_bytes};

/// What has to be left when a build is done.
const FREE_MIN: u64 = 64 << 20;

/// Where there is room for an image of this size, nobody asks how large the last one was.
const AMPLE: u64 = 32 << 30;

/// The room that builds under way may still take.
#[derive(Debug, Default)]
pub(super) struct Disk {
    promised: AtomicU64,
}

/// Room for one build, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    disk: Arc<Disk>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.disk.promised.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// What a build takes at most, as far as that can be told: its context twice, where the engine
/// keeps it and in the image, and as much as the app's last image.
fn forecast(context: u64, image: u64) -> u64 {
    context.saturating_mul(2).saturating_add(image)
}

/// How large the image may become, and what that is told from.
#[derive(Debug, PartialEq, Eq)]
struct Guess {
    bytes: u64,
    from: String,
}

/// As large as the app's newest image. For a first build nobody knows how large the dependencies
/// are; they are guessed to take what the bases take, and a base that is not here yet comes on top.
async fn guess(engine: &dyn Engine, app: &AppName, bases: &[String]) -> Guess {
    let world = engine.observe().await.ok();
    let mut own = world.iter().flat_map(|world| &world.own_images);
    let last = own.by_ref().filter(|image| image.app == *app).max();
    if let Some(last) = last {
        return Guess { bytes: last.size, from: "as the last image".to_owned() };
    }
    let (mut bytes, mut known, mut absent) = (0_u64, Vec::new(), Vec::new());
    for base in bases.iter().collect::<BTreeSet<_>>() {
        match engine.image_size(base).await {
            Ok(Some(size)) => {
                bytes = bytes.saturating_add(size);
                known.push(base.as_str());
            }
            Ok(None) => absent.push(base.as_str()),
            Err(_) => {}
        }
    }
    let mut from = if known.is_empty() {
        "as there is no last image".to_owned()
    } else {
        format!("as its base {}, since it is the first build", known.join(" and "))
    };
    if !absent.is_empty() {
        let names = absent.join(" and ");
        from = format!("{from}, without {names}, which still has to come");
    }
    Guess { bytes, from }
}

impl Disk {
    /// Puts room aside for a build of `app`; a sentence when there is not enough. Where the disk
    /// can't be looked at, there is enough.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        engine: &dyn Engine,
        app: &AppName,
        (context, bases): (u64, &[String]),
    ) -> Result<Reserved, String> {
        let reserved = |bytes| {
            self.promised.fetch_add(bytes, Ordering::SeqCst);
            Reserved { disk: Arc::clone(self), bytes }
        };
        let Ok(Some(room)) = engine.room().await else { return Ok(reserved(0)) };
        let promised = self.promised.load(Ordering::SeqCst);
        let image = if forecast(context, AMPLE).saturating_add(promised) <= room.free {
            Guess { bytes: AMPLE, from: String::new() }
        } else {
            guess(engine, app, bases).await
        };
        let bytes = forecast(context, image.bytes);
        if bytes.saturating_add(promised).saturating_add(FREE_MIN) <= room.free {
            return Ok(reserved(bytes));
        }
        let others = match promised {
            0 => String::new(),
            promised => format!(", {} for builds under way", format_bytes(promised)),
        };
        Err(format!(
            "the build may take {} ({} of context twice, {} {}){others}, and {} are \
             free on the engine's disk, of which {} are to stay free: free some, for example with \
             `berth images gc`, or leave files out in .dockerignore",
            format_bytes(bytes),
            format_bytes(context),
            format_bytes(image.bytes),
            image.from,
            format_bytes(room.free),
            format_bytes(FREE_MIN),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::fake::{Behaviour, Fake};
    use crate::model::Timestamp;

    #[test]
    fn a_context_counts_twice_and_the_last_image_once() {
        assert_eq!(forecast(100, 7), 207);
        assert_eq!(forecast(u64::MAX, 7), u64::MAX);
    }

    /// A first build has no last image: its base speaks for it, and what is not here is named.
    #[tokio::test]
    async fn a_first_build_is_guessed_by_its_bases() {
        let clock = Clock::runtime(Timestamp::from_millis(0));
        let fake = Fake::new("default", clock);
        fake.add_image("shop/base:1", Behaviour::default());
        let app = AppName::new("chat").unwrap();
        let of = async |bases: &[&str]| {
            let bases: Vec<_> = bases.iter().map(|base| (*base).to_owned()).collect();
            let guess = guess(&fake, &app, &bases).await;
            (guess.bytes, guess.from)
        };
        let known = "as its base shop/base:1, since it is the first build";
        assert_eq!(of(&["shop/base:1"]).await, (Fake::IMAGE_BYTES, known.to_owned()));
        let both = format!("{known}, without shop/no:1, which still has to come");
        assert_eq!(of(&["shop/base:1", "shop/no:1"]).await, (Fake::IMAGE_BYTES, both));
        assert_eq!(of(&[]).await, (0, "as there is no last image".to_owned()));
    }
}
