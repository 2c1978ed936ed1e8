//! Models fetched by the command line: in parts, gone on with, never other than stored.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};

use berth::store::{Depot, Figures, Order, Settings, Upload};
use serde_json::json;

use super::{key, now};
use crate::{api::stage::Stage, cli::Ended};

/// As long as a part of the command line's.
const PART: usize = 16 << 20;

struct Bed {
    stage: Stage,
    folder: tempfile::TempDir,
    content: Vec<u8>,
    etag: String,
    figures: Arc<Figures>,
}

impl Bed {
    /// A server with a model that comes in three parts.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let depot = Depot::new(Settings::new(folder.path().join("models")));
        let content: Vec<u8> =
            (0..2 * PART + 4321).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let store = Arc::clone(depot.store().unwrap());
        let mut upload = Upload::begin(&store, None).unwrap();
        upload.write(&content).unwrap();
        let stored = upload.finish(&Order::new(key("demo/llm/1.0.0/m")), now()).unwrap();
        let etag = stored.entry.etag();
        let figures = Arc::clone(depot.figures());
        Self { stage: Stage::with_models(depot).await, folder, content, etag, figures }
    }

    async fn pull(&self) -> Ended {
        let file = self.folder.path().join("m.bin").display().to_string();
        self.stage.run(&["models", "pull", "demo/llm/latest/m", &file]).await
    }

    /// What a pull that was cut left behind.
    fn leave(&self, part: &[u8], etag: &str, parts: &[u64]) {
        let mut bytes = part.to_vec();
        bytes.resize(self.content.len(), 0);
        fs::write(self.folder.path().join(".m.bin.part"), bytes).unwrap();
        let notes = json!({ "etag": etag, "size": self.content.len(), "parts": parts });
        fs::write(self.folder.path().join(".m.bin.part.json"), notes.to_string()).unwrap();
    }

    /// How many bytes of models the server has sent.
    fn sent(&self) -> u64 {
        self.figures.sent.load(Ordering::Relaxed)
    }

    fn is_whole(&self) -> bool {
        let left: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        fs::read(self.folder.path().join("m.bin")).unwrap() == self.content
    }
}

#[tokio::test]
async fn a_pull_that_was_cut_fetches_only_what_is_missing() {
    let bed = Bed::new().await;
    let done = bed.pull().await;
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    assert!(done.out.contains("m.bin is model/demo/llm/1.0.0/m: "), "{done:?}");
    assert!(bed.is_whole());
    let before = bed.sent();
    bed.leave(&bed.content[..PART], &bed.etag, &[0]);
    assert_eq!(bed.pull().await.code, 0);
    assert!(bed.is_whole());
    let again = usize::try_from(bed.sent() - before).unwrap();
    assert_eq!(again, bed.content.len() - PART, "the first part was there");
}

#[tokio::test]
async fn what_came_of_another_content_or_is_spoilt_is_not_taken() {
    let bed = Bed::new().await;
    bed.leave(&vec![7; PART], "\"another\"", &[0]);
    assert_eq!(bed.pull().await.code, 0);
    assert!(bed.is_whole());
    // Notes that lie are found out by the digest, and what they are about goes.
    bed.leave(&vec![7; PART], &bed.etag, &[0]);
    fs::remove_file(bed.folder.path().join("m.bin")).unwrap();
    let refused = bed.pull().await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!bed.folder.path().join("m.bin").exists());
    assert_eq!(bed.pull().await.code, 0);
    assert!(bed.is_whole());
}

/// Two pulls into one file would spoil each other's.
#[tokio::test]
async fn only_one_pull_writes_a_file() {
    let bed = Bed::new().await;
    bed.leave(&[], &bed.etag, &[]);
    let part = fs::File::open(bed.folder.path().join(".m.bin.part")).unwrap();
    part.lock().unwrap();
    let refused = bed.pull().await;
    assert!(refused.code != 0 && refused.err.contains("under way"), "{refused:?}");
    drop(part);
    assert_eq!(bed.pull().await.code, 0);
    assert!(bed.is_whole());
}

#[tokio::test]
async fn aliases_are_shown_set_and_removed_and_a_model_is_described() {
    let bed = Bed::new().await;
    for (args, code, out) in [
        (&["alias", "demo/llm", "stable", "1.0.0"][..], 0, "alias/demo/llm/stable is 1.0.0\n"),
        (&["alias", "demo/llm"], 0, "stable is 1.0.0\n"),
        (&["alias", "demo/llm", "stable"], 0, "stable is 1.0.0\n"),
        (&["alias", "demo/llm", "stable", "9"], 3, ""),
        (&["alias", "demo/llm", "--remove", "stable"], 0, "alias/demo/llm/stable removed\n"),
        (&["alias", "demo/llm", "stable"], 3, ""),
        (&["alias", "demo"], 2, ""),
    ] {
        let ended = bed.stage.run(&[&["models"], args].concat()).await;
        assert_eq!((ended.code, ended.out.as_str()), (code, out), "{args:?}: {ended:?}");
    }
    let info = bed.stage.run(&["models", "info", "demo/llm/latest/m", "-o", "json"]).await;
    let info: serde_json::Value = serde_json::from_str(&info.out).unwrap();
    assert_eq!(info["size"], bed.content.len());
}
