//! The wiring of notifications.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::forge::Secrets;
use crate::gpu::Cards;
use crate::notice::{
    Board, Courier, HostFacts, Notifier, Pace, Writer,
    watch::{self, Disk},
};
use crate::record::Record;
use crate::usage::History;

/// Where it is kept what was told.
const FILE: &str = "notifications.json";

/// Begins to tell the targets; none where there are none.
pub(super) fn tell(
    config: &Config,
    secrets: &Secrets,
    (record, history, cards): (Arc<Record>, Arc<History>, Arc<Cards>),
    clock: &Clock,
    stop: &CancellationToken,
) -> Option<Arc<Board>> {
    if config.notices.is_empty() {
        return None;
    }
    let writer =
        Writer { instance: config.instance.clone(), base_url: config.gitops.base_url.clone() };
    let courier = Courier::new(secrets.clone());
    let board = Arc::new(Board::new(config.notices.clone(), writer, courier, clock.clone()));
    let (seen, time) = (Arc::clone(&record), clock.clone());
    let host: HostFacts = Box::new(move || {
        let disk = history.room().zip(history.disk()).map(|(room, (_, all))| Disk {
            free: room.free,
            all,
            full_in: room.full_in,
        });
        watch::of_host(&seen.overview(), disk, &cards.latest().gpus, time.now())
    });
    let notifier = Notifier {
        record,
        clock: clock.clone(),
        board: Arc::clone(&board),
        host,
        file: config.state_dir.join(FILE),
        pace: Pace::default(),
    };
    tokio::spawn(notifier.run(stop.clone()));
    Some(board)
}
