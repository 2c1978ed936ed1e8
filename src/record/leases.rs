//! Leases: GPUs that programs outside Berth hold for a time.

use super::ledger::Ledger;
use crate::model::{Digest, GpuGrant, Timestamp};
use crate::state::{GpuLease, Leases};

impl Ledger {
    /// Every lease, by id.
    pub fn leases(&self) -> Vec<GpuLease> {
        self.lock().leases.list.values().cloned().collect()
    }

    /// Gives a lease of these GPUs until then. Its token is larger than any before, even than
    /// those that a lost state file knew: it is never less than the time.
    pub fn lease(
        &self,
        holder: &str,
        grant: GpuGrant,
        (now, until): (Timestamp, Timestamp),
    ) -> GpuLease {
        self.change_leases(|leases| {
            let time = u64::try_from(now.as_millis()).unwrap_or(0);
            leases.token = time.max(leases.token + 1);
            let token = leases.token;
            let id = Digest::of_bytes(format!("{token} {holder} {grant}").as_bytes());
            let id = format!("gpu-{}", id.short(16));
            let lease = GpuLease {
                id: id.clone(),
                holder: holder.to_owned(),
                token,
                grant,
                acquired_at: now,
                expires_at: until,
            };
            leases.list.insert(id, lease.clone());
            lease
        })
    }

    /// Changes the leases.
    pub fn change_leases<T>(&self, change: impl FnOnce(&mut Leases) -> T) -> T {
        let mut inner = self.lock();
        let before = inner.leases.clone();
        let answer = change(&mut inner.leases);
        if before != inner.leases {
            self.leases_changed.notify_one();
            self.note_change(inner);
        }
        answer
    }

    /// Waits until leases were given, renewed or ended.
    pub async fn leases_changed(&self) {
        self.leases_changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GpuShare, GpuVendor};
    use crate::record::file::Kept;

    fn grant(id: &str) -> GpuGrant {
        GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: vec![id.to_owned()],
            share: GpuShare::Exclusive,
            memory_bytes: None,
            capabilities: vec!["compute".to_owned()],
        }
    }

    #[test]
    fn tokens_only_grow_even_after_the_state_was_lost() {
        let at = Timestamp::from_millis;
        let ledger = Ledger::default();
        let first = ledger.lease("a", grant("GPU-a"), (at(1_000), at(2_000)));
        let second = ledger.lease("a", grant("GPU-a"), (at(1_000), at(2_000)));
        assert!(first.token < second.token && first.id != second.id);
        let kept = serde_json::to_string(&ledger.kept()).unwrap();
        let kept: Kept = serde_json::from_str(&kept).unwrap();
        let again = Ledger::new(kept);
        assert_eq!(again.leases(), ledger.leases());
        assert!(second.token < again.lease("b", grant("GPU-b"), (at(500), at(900))).token);
        let lost = Ledger::default();
        assert!(second.token < lost.lease("b", grant("GPU-b"), (at(2_000), at(3_000))).token);
    }

    #[test]
    fn a_lease_ends_when_its_time_has_come() {
        let at = Timestamp::from_millis;
        let ledger = Ledger::default();
        for (holder, until) in [("a", 2_000), ("b", 3_000)] {
            ledger.lease(holder, grant("GPU-a"), (at(1_000), at(until)));
        }
        let over = ledger.change_leases(|leases| leases.expire(at(2_000)));
        assert_eq!(over.iter().map(|lease| lease.holder.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(ledger.leases().len(), 1);
    }
}
