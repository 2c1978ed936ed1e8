//! Times that hold although clocks are set, and differ (fault D47).
//!
//! What is remembered of times is moved along when the clock jumps against the time that passes.
//! The age of a container is counted by our own clock, from when we saw it start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Reconciler;
use crate::clock::Clock;
use crate::model::{AppName, Timestamp};
use crate::plan::{Call, Plan, Step};
use crate::state::{Container, ContainerId, Detail, World};

/// Clocks that are kept right are moved by less than this at once.
const JUMP: u64 = 2_000;
/// So long after we started an app a new start is taken for that one.
const OURS: Duration = Duration::from_secs(60);
/// So much earlier than we know of it a container may have started.
const LAG_MS: i64 = 1_000;

/// So many containers that are gone are remembered without harm.
const FORGOTTEN: usize = 100;

/// What is remembered of times.
#[derive(Debug, Default)]
pub struct Times {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The clock at a moment of the time that passes.
    last: Option<(Instant, Timestamp)>,
    /// The engine's time of each container's start, and ours.
    begun: BTreeMap<ContainerId, (Timestamp, Timestamp)>,
}

impl Times {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By how many milliseconds the clock was set since this was asked last.
    fn jump(&self, clock: &Clock) -> Option<i64> {
        let mut inner = self.lock();
        let (passed, now) = (Instant::now(), clock.now());
        let last = inner.last.replace((passed, now));
        let (then, before) = last?;
        let expected = before + passed.duration_since(then);
        let by = now.as_millis() - expected.as_millis();
        if by.unsigned_abs() < JUMP {
            return None;
        }
        for (_, begun) in inner.begun.values_mut() {
            *begun = begun.moved(by);
        }
        Some(by)
    }

    /// When a container was started, by our own clock. The engine says `stamp`; we started its app
    /// `ours` ago.
    fn begun(
        &self,
        id: &ContainerId,
        stamp: Timestamp,
        now: Timestamp,
        ours: Option<Duration>,
    ) -> Timestamp {
        let mut inner = self.lock();
        if let Some((said, begun)) = inner.begun.get(id)
            && *said == stamp
        {
            return *begun;
        }
        let ours = ours.filter(|ago| *ago < OURS);
        let ours = ours.map(|ago| now.moved(-i64::try_from(ago.as_millis()).unwrap_or(0)));
        let begun = match ours {
            Some(at) if !(at.moved(-LAG_MS)..=now).contains(&stamp) => at,
            _ => stamp.min(now),
        };
        inner.begun.insert(id.clone(), (stamp, begun));
        begun
    }

    /// Forgets containers that are gone, once there are many.
    fn tidy(&self, world: &World) {
        let mut inner = self.lock();
        if 2 * world.containers.len() + FORGOTTEN < inner.begun.len() {
            let there: BTreeSet<_> = world.containers.iter().map(|one| &one.id).collect();
            inner.begun.retain(|id, _| there.contains(id));
        }
    }
}

impl Reconciler {
    /// Moves along what is remembered of times when the clock was set.
    pub fn mind_the_clock(&self) {
        if let Some(by) = self.times.jump(&self.clock) {
            self.ledger.move_along(by);
            tracing::warn!(milliseconds = by, "the clock was set");
        }
    }

    /// When each container of an app was started, by our own clock.
    pub(super) fn begun(
        &self,
        app: &AppName,
        world: &World,
        details: &BTreeMap<ContainerId, Detail>,
    ) -> BTreeMap<ContainerId, Timestamp> {
        self.times.tidy(world);
        let now = self.clock.now();
        let ours = self.memory.started(app).map(|at| at.elapsed());
        let begun = |container: &Container| {
            let detail = details.get(&container.id).and_then(|detail| detail.started_at);
            let at =
                self.times.begun(&container.id, detail.unwrap_or(container.created), now, ours);
            (container.id.clone(), at)
        };
        world.containers_of(app).into_iter().map(begun).collect()
    }

    /// Takes note that a plan is about to start a container.
    pub(super) fn note_start(&self, plan: &Plan) {
        if plan.steps.iter().any(|step| matches!(step.step, Step::Call(Call::Start(_)))) {
            self.memory.start(&plan.app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR: i64 = 3_600_000;

    fn id() -> ContainerId {
        ContainerId::new("0a".repeat(32))
    }

    #[test]
    fn a_start_of_ours_is_when_we_made_it_whatever_the_engines_clock_says() {
        let ours = Some(Duration::from_secs(3));
        for stamp in [NOW.moved(HOUR), NOW.moved(-HOUR)] {
            let times = Times::default();
            assert_eq!(times.begun(&id(), stamp, NOW, ours), NOW.moved(-3_000));
        }
        let times = Times::default();
        assert_eq!(times.begun(&id(), NOW.moved(-2_900), NOW, ours), NOW.moved(-2_900));
        // What was seen once stays, until the engine says another time.
        assert_eq!(times.begun(&id(), NOW.moved(-2_900), NOW.moved(HOUR), None), NOW.moved(-2_900));
        assert_eq!(times.begun(&id(), NOW.moved(HOUR), NOW, None), NOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_moves_what_is_remembered() {
        for by in [HOUR, -HOUR] {
            let (times, clock) = (Times::default(), Clock::runtime(NOW));
            assert_eq!(times.jump(&clock), None);
            let begun = times.begun(&id(), NOW, clock.now(), None);
            tokio::time::advance(Duration::from_hours(30)).await;
            assert_eq!(times.jump(&clock), None);
            clock.set_forward(by);
            assert_eq!(times.jump(&clock), Some(by));
            assert_eq!(times.jump(&clock), None);
            assert_eq!(times.begun(&id(), NOW, clock.now(), None), begun.moved(by));
        }
    }
}
