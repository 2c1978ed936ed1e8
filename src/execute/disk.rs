//! Whether a build fits on the engine's disk: looked at before it begins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
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
fn forecast(context: u64, last_image: u64) -> u64 {
    context.saturating_mul(2).saturating_add(last_image)
}

/// The size of an app's newest image; none is nothing.
async fn last_image(engine: &dyn Engine, app: &AppName) -> u64 {
    let Ok(world) = engine.observe().await else { return 0 };
    let last = world.own_images.iter().filter(|image| image.app == *app).max();
    last.map_or(0, |image| image.size)
}

impl Disk {
    /// Puts room aside for a build of `app`; a sentence when there is not enough. Where the disk
    /// can't be looked at, there is enough.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        engine: &dyn Engine,
        app: &AppName,
        context: u64,
    ) -> Result<Reserved, String> {
        let reserved = |bytes| {
            self.promised.fetch_add(bytes, Ordering::SeqCst);
            Reserved { disk: Arc::clone(self), bytes }
        };
        let Ok(Some(room)) = engine.room().await else { return Ok(reserved(0)) };
        let promised = self.promised.load(Ordering::SeqCst);
        let last = if forecast(context, AMPLE).saturating_add(promised) <= room.free {
            AMPLE
        } else {
            last_image(engine, app).await
        };
        let bytes = forecast(context, last);
        if bytes.saturating_add(promised).saturating_add(FREE_MIN) <= room.free {
            return Ok(reserved(bytes));
        }
        let others = match promised {
            0 => String::new(),
            promised => format!(", {} for builds under way", format_bytes(promised)),
        };
        Err(format!(
            "the build may take {} ({} of context twice, {} as the last image){others}, and {} are \
             free on the engine's disk, of which {} are to stay free: free some, for example with \
             `berth images gc`, or leave files out in .dockerignore",
            format_bytes(bytes),
            format_bytes(context),
            format_bytes(last),
            format_bytes(room.free),
            format_bytes(FREE_MIN),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_counts_twice_and_the_last_image_once() {
        assert_eq!(forecast(100, 7), 207);
        assert_eq!(forecast(u64::MAX, 7), u64::MAX);
    }
}
