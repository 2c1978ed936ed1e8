//! Whether the controller still moves: each part without which nothing goes on is heard of every
//! now and then, and passes that are under way end.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Record;

/// How long a part of the controller may at least be silent before it counts as stuck.
const SILENCE_MIN: Duration = Duration::from_mins(2);
/// How many full looks may be missed before it does.
const MISSES_MAX: u32 = 3;
/// While passes are under way, one of them has begun or ended within this time: the longest that one
/// rightly waits is ten minutes, for a container that is slow to stop.
const PASS_MAX: Duration = Duration::from_mins(20);

/// A part of the controller without which nothing goes on.
#[derive(Clone, Copy, Debug)]
pub enum Beat {
    /// It looks at everything every now and then.
    Look,
    /// It takes what is due.
    Turn,
}

/// When each part was last heard of.
#[derive(Debug, Default)]
pub(super) struct Beats {
    parts: [Option<Instant>; 2],
    /// How many passes are under way, and when one began or ended last.
    passes: (usize, Option<Instant>),
}

/// A pass that is under way, until this is dropped.
#[derive(Debug)]
pub struct Pass(Arc<Record>);

impl Drop for Pass {
    fn drop(&mut self) {
        let mut beats = self.0.beats();
        beats.passes = (beats.passes.0.saturating_sub(1), Some(Instant::now()));
    }
}

impl Record {
    /// A part of the controller is still at it.
    pub fn beat(&self, part: Beat) {
        self.beats().parts[part as usize] = Some(Instant::now());
    }

    /// A pass begins.
    pub fn begin_pass(self: &Arc<Self>) -> Pass {
        let mut beats = self.beats();
        beats.passes = (beats.passes.0 + 1, Some(Instant::now()));
        Pass(Arc::clone(self))
    }

    /// For how long the controller, which looks at everything so often, has done nothing, when that
    /// is too long. An engine that does not answer is no reason: each question to it has an end, and
    /// starting Berth again would not help.
    pub fn stuck(&self, resync: Duration) -> Option<Duration> {
        let beats = self.beats();
        let most = resync.saturating_mul(MISSES_MAX).max(SILENCE_MIN);
        let silence = beats.parts.iter().flatten().map(Instant::elapsed).max();
        let (under_way, moved) = beats.passes;
        let passes = moved.filter(|_| 0 < under_way).map(|at| at.elapsed());
        let silence = silence.filter(|silence| most <= *silence);
        silence.max(passes.filter(|passes| most.max(PASS_MAX) <= *passes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H15: one part that hangs is enough, whatever the others still do.
    #[tokio::test(start_paused = true)]
    async fn a_controller_that_hangs_is_stuck() {
        let (record, resync) = (Record::default(), Duration::from_secs(30));
        assert_eq!(record.stuck(resync), None, "it has not begun");
        for hanging in [Beat::Look, Beat::Turn] {
            record.beat(Beat::Look);
            record.beat(Beat::Turn);
            tokio::time::advance(Duration::from_secs(119)).await;
            assert_eq!(record.stuck(resync), None);
            match hanging {
                Beat::Look => record.beat(Beat::Turn),
                Beat::Turn => record.beat(Beat::Look),
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(record.stuck(resync), Some(Duration::from_mins(2)), "{hanging:?}");
            assert_eq!(record.stuck(resync * 10), None);
        }
    }

    /// Passes that never end are found, however lively the loop around them is; one that takes long
    /// beside others that end is not one of them.
    #[tokio::test(start_paused = true)]
    async fn passes_that_do_not_end_are_told_from_long_ones() {
        let (record, resync) = (Arc::new(Record::default()), Duration::from_secs(30));
        let beat_for = async |minutes: u32| {
            for _ in 0..minutes {
                tokio::time::advance(Duration::from_mins(1)).await;
                record.beat(Beat::Look);
                record.beat(Beat::Turn);
            }
        };
        let long = record.begin_pass();
        beat_for(15).await;
        drop(record.begin_pass());
        beat_for(19).await;
        assert_eq!(record.stuck(resync), None);
        beat_for(1).await;
        assert_eq!(record.stuck(resync), Some(Duration::from_mins(20)));
        drop(long);
        beat_for(200).await;
        assert_eq!(record.stuck(resync), None, "nothing is under way");
    }
}
