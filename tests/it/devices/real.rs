//! The whole chain: the real program with a driver's library, and a real engine with a hook.

use std::time::Duration;

use berth::model::Timestamp;

use super::bed::Bed;
use crate::{
    engine_failure::second::{Home, TINY},
    gpu::Fake,
};

/// One card, which nobody uses.
const CARD: &str = "
sys driver=550.54.15 cuda=12040
gpu 0 uuid=GPU-aaaa name=NVIDIA_H200 minor=0 pci=00000000:3B:00.0 mode=0 cc=9.0 mig=0 \
total=143771 reserved=600 used=0 util=0 temp=30 power=75000 events=10
";

fn manifest(app: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  image: {TINY}\n  \
         command: [sleep, \"600\"]\n  health: none\n  stopGracePeriod: 1s\n  gpus: 1\n"
    )
}

/// Faults U11, U16: two on one card, a kill of Berth between, and the second has it as soon as the
/// first one has gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_gives_one_card_to_one_after_the_other() {
    let (bed, driver, home) = (Bed::start(), Fake::new(CARD), Home::new());
    let library = driver.path("libnvidia-ml.so.1").display().to_string();
    let start = || home.start_with(&bed.second, "engine.sock", &["--nvml-library", &library]);
    let at = |id: &str, when: &str| {
        let said =
            bed.second.docker(&["inspect", "--format", &format!("{{{{.State.{when}}}}}"), id]);
        Timestamp::parse(&said).unwrap()
    };
    tokio::task::block_in_place(|| {
        let berth = start();
        home.write("a", &manifest("a"));
        let first = berth.until_running(&["a"]).remove(0);
        assert_eq!(bed.second.docker(&["exec", &first.id, "ls", "/run/gpus"]), "GPU-aaaa");
        home.write("b", &manifest("b"));
        berth.until_said("b", "Installed", "needs 1 GPU for itself; GPU-aaaa held by app a");
        // Killed, and back.
        drop(berth);
        let berth = start();
        berth.until_said("b", "Installed", "needs 1 GPU for itself; GPU-aaaa held by app a");
        assert_eq!(berth.until_running(&["a"]), std::slice::from_ref(&first));
        assert!(bed.second.lives("b").is_empty());
        berth.ask(&["stop", "a"]).unwrap();
        let second = berth.until_running(&["b"]).remove(0);
        assert_eq!(bed.second.docker(&["exec", &second.id, "ls", "/run/gpus"]), "GPU-aaaa");
        // By the engine's own clock, on a machine that may be busy.
        let (end, begin) = (at(&first.id, "FinishedAt"), at(&second.id, "StartedAt"));
        assert!(end <= begin && begin.since(end) < Duration::from_secs(20), "{end} {begin}");
    });
}
