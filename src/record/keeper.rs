//! Who writes the state file.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{file::Folder, ledger::Ledger};

/// State is written at most so often, unless somebody waits for it.
const PAUSE: Duration = Duration::from_secs(1);
/// What could not be written is tried again after this pause.
const RETRY: Duration = Duration::from_secs(5);

/// Writes what the ledger keeps into a folder.
#[derive(Debug)]
pub struct Keeper {
    folder: Arc<Folder>,
    ledger: Arc<Ledger>,
    problem: Option<String>,
}

impl Keeper {
    /// From now on who changes the ledger can wait for the disk.
    pub fn new(folder: Folder, ledger: Arc<Ledger>) -> Self {
        ledger.durable().attend();
        Self { folder: Arc::new(folder), ledger, problem: None }
    }

    /// Writes the state as soon as it has changed, then not again for a moment, and once more at
    /// the end: a burst of changes costs few writes. Who waits for the disk does not wait for that
    /// moment. What could not be written is tried again: a disk that was full has room again some
    /// time (fault D41).
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut is_last, mut is_urged) = (false, false);
        while !is_last {
            if !is_urged {
                tokio::select! {
                    () = stop.cancelled() => is_last = true,
                    () = self.ledger.changed() => {}
                    () = self.ledger.durable().urged() => {}
                    () = tokio::time::sleep(RETRY), if self.problem.is_some() => {}
                }
            }
            self.save().await;
            is_urged = tokio::select! {
                () = stop.cancelled() => false,
                () = tokio::time::sleep(PAUSE) => false,
                () = self.ledger.durable().urged() => true,
            };
        }
        self.ledger.durable().leave();
    }

    async fn save(&mut self) {
        let (number, kept) = self.ledger.numbered();
        if number == self.ledger.durable().saved() && self.problem.is_none() {
            return;
        }
        self.ledger.durable().begin();
        let folder = Arc::clone(&self.folder);
        let saved = tokio::task::spawn_blocking(move || folder.save(&kept)).await;
        let error = match saved {
            Ok(saved) => saved.err().map(|error| error.to_string()),
            Err(died) => Some(died.to_string()),
        };
        match &error {
            Some(error) if self.problem.as_ref() != Some(error) => {
                tracing::warn!(error, "state not written; it is tried again");
            }
            None if self.problem.is_some() => tracing::info!("state written again"),
            Some(_) | None => {}
        }
        self.ledger.durable().end(number, error.clone());
        self.problem = error;
    }
}
