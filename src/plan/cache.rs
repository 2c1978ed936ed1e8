//! Which of what `BuildKit` keeps goes: the one decision about it.
//!
//! # Guarantees
//! Never what was made when none of our builds ran, what a build uses, what an image rests on, or what
//! anything that stays rests on; nothing while it is not more than the operator allows.
//!
//! # Caveats
//! `BuildKit` says of nothing who had it made. What somebody else's build makes in the very time of one
//! of ours counts as ours; losing it costs that one a step.

use std::collections::BTreeSet;

use crate::model::Timestamp;
use crate::state::CacheRecord;

/// The time of a build: from when to when.
pub type BuildTime = (Timestamp, Timestamp);

/// What of our builds goes so that what is left takes at most `max` bytes: what was not used for the
/// longest goes first. Answers how much there is in all, too.
pub fn spare_cache(
    records: &[CacheRecord],
    builds: &[BuildTime],
    max: u64,
) -> (u64, Vec<CacheRecord>) {
    let is_ours = |record: &&CacheRecord| {
        let made = record.created;
        !record.is_shared && builds.iter().any(|(from, to)| *from <= made && made <= *to)
    };
    let ours: Vec<_> = records.iter().filter(is_ours).collect();
    let total = ours.iter().fold(0, |sum: u64, record| sum.saturating_add(record.size));
    let mut ahead: Vec<_> = ours.into_iter().filter(|record| !record.is_used).collect();
    ahead.sort_by(|one, other| (one.used, &one.id).cmp(&(other.used, &other.id)));
    let (mut left, mut going, mut gone) = (total, Vec::new(), BTreeSet::new());
    while max < left {
        let is_ground = |id: &str| {
            let stays = |record: &&CacheRecord| !gone.contains(record.id.as_str());
            records.iter().filter(stays).any(|record| record.parents.iter().any(|one| one == id))
        };
        let Some(at) = ahead.iter().position(|record| !is_ground(&record.id)) else { break };
        let record = ahead.remove(at);
        left = left.saturating_sub(record.size);
        gone.insert(record.id.as_str());
        going.push(record.clone());
    }
    (total, going)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, parents: &[&str], (size, made, used): (u64, i64, i64)) -> CacheRecord {
        CacheRecord {
            id: id.to_owned(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
            description: format!("step {id}"),
            size,
            created: Timestamp::from_millis(made),
            used: Timestamp::from_millis(used),
            is_used: false,
            is_shared: false,
        }
    }

    fn going(records: &[CacheRecord], max: u64) -> (u64, String) {
        let at = Timestamp::from_millis;
        let (total, going) = spare_cache(records, &[(at(10), at(20)), (at(40), at(50))], max);
        (total, going.into_iter().map(|record| record.id).collect())
    }

    #[test]
    fn what_was_not_used_for_the_longest_goes_until_the_rest_fits() {
        let records = [
            record("a", &[], (10, 10, 60)),
            record("b", &["a"], (10, 15, 55)),
            record("c", &["a"], (10, 50, 90)),
            record("d", &[], (10, 45, 70)),
        ];
        assert_eq!(going(&records, 40), (40, String::new()));
        assert_eq!(going(&records, 39), (40, "b".to_owned()));
        // What something rests on goes after it.
        assert_eq!(going(&records, 20), (40, "bd".to_owned()));
        assert_eq!(going(&records, 0), (40, "bdca".to_owned()));
    }

    /// Faults B09, D28.
    #[test]
    fn what_others_made_or_anybody_uses_stays() {
        let mut records = [
            record("f", &[], (10, 9, 1)),
            record("g", &[], (10, 30, 1)),
            record("used", &[], (10, 12, 1)),
            record("ground", &[], (10, 12, 1)),
            record("h", &["ground"], (10, 30, 1)),
            record("image", &[], (10, 12, 1)),
            record("ours", &[], (10, 12, 1)),
        ];
        records[2].is_used = true;
        records[5].is_shared = true;
        assert_eq!(going(&records, 0), (30, "ours".to_owned()));
        assert_eq!(spare_cache(&records, &[], 0), (0, Vec::new()));
    }
}
