//! Leases: GPUs that programs outside Berth hold for a time.

use std::sync::Arc;

use super::ledger::Ledger;
use crate::gpu::Cards;
use crate::model::{Digest, GpuGrant, GpuShare, Timestamp};
use crate::state::{Gpu, GpuLease, Leases};
use crate::telemetry::{
    Exposed,
    text::{Family, whole},
};

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

/// The leases in figures.
pub struct LeaseFigures {
    ledger: Arc<Ledger>,
    cards: Arc<Cards>,
}

impl LeaseFigures {
    /// Those of this ledger.
    pub fn new(ledger: Arc<Ledger>, cards: Arc<Cards>) -> Self {
        Self { ledger, cards }
    }
}

impl Exposed for LeaseFigures {
    fn write(&self, out: &mut String) {
        let inventory = self.cards.latest();
        let leases = self.ledger.leases();
        if inventory.gpus.is_empty() && leases.is_empty() {
            return;
        }
        let help = "Leases of GPUs that programs outside hold.";
        let count = u64::try_from(leases.len()).unwrap_or(u64::MAX);
        Family::gauge(out, "berth_gpu_leases", help).sample(&[], whole(count));
        let help = "The GPUs, or MIG instances, that programs outside hold; always 1.";
        let mut family = Family::gauge(out, "berth_gpu_leased", help);
        for lease in &leases {
            let mode = match lease.grant.share {
                GpuShare::Exclusive => "exclusive",
                GpuShare::Memory => "shared",
            };
            for uuid in &lease.grant.devices {
                let has = |gpu: &&Gpu| {
                    gpu.uuid == *uuid || gpu.parts.iter().any(|part| part.uuid == *uuid)
                };
                let Some(card) = inventory.gpus.iter().find(has) else { continue };
                let index = card.index.to_string();
                let labels = [
                    ("gpu", index.as_str()),
                    ("UUID", uuid),
                    ("lease", &lease.id),
                    ("holder", &lease.holder),
                    ("mode", mode),
                ];
                family.sample(&labels, 1.0);
            }
        }
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
    fn leases_are_shown_with_their_cards_and_end() {
        let at = Timestamp::from_millis;
        let (ledger, cards) = (Arc::new(Ledger::default()), Arc::new(Cards::default()));
        let figures = LeaseFigures::new(Arc::clone(&ledger), Arc::clone(&cards));
        let text = || {
            let mut out = String::new();
            figures.write(&mut out);
            out
        };
        assert_eq!(text(), "", "a host without GPUs has none of it");
        let gpus = vec![Gpu { uuid: "GPU-a".to_owned(), index: 3, ..Gpu::default() }];
        cards.put(crate::state::Inventory { gpus, ..Default::default() });
        assert!(text().contains("berth_gpu_leases 0\n") && !text().contains("leased"));
        let lease = ledger.lease("a\"b", grant("GPU-a"), (at(1_000), at(2_000)));
        ledger.lease("far", grant("GPU-gone"), (at(1_000), at(3_000)));
        let line = format!(
            "berth_gpu_leased{{gpu=\"3\",UUID=\"GPU-a\",lease=\"{}\",holder=\"a\\\"b\",mode=\"exclusive\"}} 1\n",
            lease.id
        );
        let shown = text();
        assert!(shown.contains("berth_gpu_leases 2\n") && shown.ends_with(&line), "{shown}");
        ledger.change_leases(|leases| leases.expire(at(2_500)));
        assert!(text().contains("berth_gpu_leases 1\n") && !text().contains("leased{"));
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
