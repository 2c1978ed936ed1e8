//! The driver of the GPUs as it was seen last: bases of builds follow it while it is away for a moment.

use std::time::Duration;

use super::ledger::Ledger;
use crate::model::Timestamp;
use crate::state::SeenDriver;

/// How long a driver counts that nobody sees any more. A host that lost its cards for good is built
/// for as what it is after that.
const COUNTS: Duration = Duration::from_hours(7 * 24);
/// How exactly it is remembered when it was seen last: the state file is not written more often.
const EXACT: Duration = Duration::from_hours(1);

impl Ledger {
    /// The driver as it was seen last, while that counts.
    pub fn gpu_driver(&self, now: Timestamp) -> Option<SeenDriver> {
        self.lock().gpu_driver.clone().filter(|seen| now.since(seen.at) < COUNTS)
    }

    /// Takes note of the driver that is there now.
    pub fn note_gpu_driver(&self, version: &str, now: Timestamp) {
        let mut inner = self.lock();
        let is_known = inner.gpu_driver.as_ref().is_some_and(|seen| {
            // Of a clock that was set back the new time counts.
            let is_recent = seen.at <= now && now.since(seen.at) < EXACT;
            seen.version == version && is_recent
        });
        if !is_known {
            inner.gpu_driver = Some(SeenDriver { version: version.to_owned(), at: now });
            self.note_change(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_remembered_for_a_week_and_over_restarts() {
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let again = |ledger: &Ledger| {
            let text = serde_json::to_string(&ledger.kept()).unwrap();
            Ledger::new(serde_json::from_str(&text).unwrap())
        };
        let ledger = Ledger::default();
        assert_eq!(ledger.gpu_driver(at(0)), None);
        assert!(!serde_json::to_string(&ledger.kept()).unwrap().contains("gpuDriver"));
        ledger.note_gpu_driver("570.26", at(10));
        let (number, _) = ledger.numbered();
        ledger.note_gpu_driver("570.26", Timestamp::from_millis(10 * 3_600_000 + 5));
        assert_eq!(ledger.numbered().0, number, "nothing is written for a moment more");
        let ledger = again(&ledger);
        let seen = SeenDriver { version: "570.26".to_owned(), at: at(10) };
        assert_eq!(ledger.gpu_driver(at(10 + 7 * 24 - 1)), Some(seen));
        assert_eq!(ledger.gpu_driver(at(10 + 7 * 24)), None);
        ledger.note_gpu_driver("580.65", at(11));
        assert_eq!(ledger.gpu_driver(at(11)).map(|seen| seen.version).as_deref(), Some("580.65"));
        ledger.note_gpu_driver("580.65", at(2));
        assert_eq!(ledger.gpu_driver(at(2)).map(|seen| seen.at), Some(at(2)), "the clock was set");
        let other = "{\"gpuDriver\": 7}";
        let kept = serde_json::from_str(other).unwrap();
        assert_eq!(
            Ledger::new(kept).gpu_driver(at(0)),
            None,
            "what can't be read costs nothing else"
        );
    }
}
