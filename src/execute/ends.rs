//! Which containers Berth itself brings to an end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::plan::Call;
use crate::state::ContainerId;

/// How long after the answer to a call the engine's events may still come.
const ECHO: Duration = Duration::from_secs(1);
/// Longer than any call takes.
const LONGEST: Duration = Duration::from_secs(3600);

/// Containers that were told to stop or to go, and until when events about that are expected.
#[derive(Debug, Default)]
pub(super) struct Ends {
    until: Mutex<BTreeMap<ContainerId, Instant>>,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is about to be made about this container.
    pub(super) fn begin(&self, call: &Call, id: Option<&ContainerId>) {
        let Some(id) = id else { return };
        let now = Instant::now();
        let mut until = self.lock();
        until.retain(|_, until| now < *until);
        match call {
            Call::Stop { .. } | Call::Remove(_) => {
                until.insert(id.clone(), now + LONGEST);
            }
            // From now on its end would be news.
            _ => {
                until.remove(id);
            }
        }
    }

    /// The call has been answered.
    pub(super) fn end(&self, id: Option<&ContainerId>) {
        let mut until = self.lock();
        if let Some(until) = id.and_then(|id| until.get_mut(id)) {
            *until = Instant::now() + ECHO;
        }
    }

    /// Whether events about this container's end are expected.
    pub(super) fn has(&self, id: &ContainerId) -> bool {
        let until = self.lock();
        until.get(id).is_some_and(|until| Instant::now() < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;

    #[tokio::test(start_paused = true)]
    async fn an_end_is_expected_while_it_is_brought_about_and_shortly_after() {
        let ends = Ends::default();
        let id = ContainerId::new("a");
        let target = Target { id: Some(id.clone()), name: "chat-01234567".to_owned() };
        assert!(!ends.has(&id));
        ends.begin(&Call::Stop { target: target.clone(), grace_s: Some(10) }, Some(&id));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(ends.has(&id));
        ends.end(Some(&id));
        tokio::time::advance(ECHO / 2).await;
        assert!(ends.has(&id));
        tokio::time::advance(ECHO).await;
        assert!(!ends.has(&id));
        ends.begin(&Call::Remove(target.clone()), Some(&id));
        assert!(ends.has(&id));
        ends.begin(&Call::Start(target), Some(&id));
        assert!(!ends.has(&id), "started again: its end is news");
    }
}
