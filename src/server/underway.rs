//! Changes that are under way: each goes on to its end and into the audit log, whether or not
//! whoever asked for it is still there.

use std::{future::Future, time::Duration};

use axum::{http::StatusCode, response::Response};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::problem::Problem;

/// How many changes may be under way.
const CHANGES_MAX: usize = 512;
/// How long they may go on once nobody is served any more.
const LAST: Duration = Duration::from_secs(3);

/// The changes that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    tasks: TaskTracker,
    given_up: CancellationToken,
}

impl UnderWay {
    /// Begins one more.
    pub(super) fn begin(
        &self,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<JoinHandle<Response>, Problem> {
        if CHANGES_MAX <= self.tasks.len() {
            let detail = "as many changes are under way as may be; try again in a moment";
            let (code, title) = ("server.too-many-requests", "Too many requests at once");
            return Err(Problem::unavailable(code, title, detail.to_owned()));
        }
        Ok(self.tasks.spawn(work))
    }

    /// Waits until Berth ends before a change does, and answers what is said of that change.
    pub(super) async fn given_up(&self) -> Problem {
        self.given_up.cancelled().await;
        let detail = "Berth stopped before it was known how this went; look, and ask again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "server.stopping", "Berth stops", detail)
    }

    /// Waits for all; those that take too long are given up, and recorded as such.
    pub(super) async fn end(&self) {
        self.tasks.close();
        if tokio::time::timeout(LAST, self.tasks.wait()).await.is_err() {
            tracing::warn!(changes = self.tasks.len(), "changes under way are given up");
            self.given_up.cancel();
            self.tasks.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stops_waits_for_changes_and_gives_up_the_last() {
        let under_way = Arc::new(UnderWay::default());
        let seen = Arc::clone(&under_way);
        let endless = under_way.begin(async move { seen.given_up().await.into_response() });
        let short = under_way.begin(async { StatusCode::OK.into_response() });
        under_way.end().await;
        assert_eq!(endless.unwrap().await.unwrap().status(), 503);
        assert_eq!(short.unwrap().await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn so_many_changes_are_under_way_and_no_more() {
        let under_way = UnderWay::default();
        let begin = || under_way.begin(std::future::pending());
        let tasks: Vec<_> = (0..CHANGES_MAX).map(|_| begin().unwrap()).collect();
        assert_eq!(begin().unwrap_err().status(), 503);
        tasks.iter().for_each(JoinHandle::abort);
    }
}
