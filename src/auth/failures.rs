//! Failed sign-ins, by address: so many at once, then one for each while.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::Timestamp;

/// How many may fail in a row.
const BURST: u32 = 10;
/// How long one more takes to be allowed.
const REFILL: Duration = Duration::from_secs(10);
/// How many addresses are remembered.
const ADDRESSES_MAX: usize = 4096;

/// What failed lately.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<IpAddr, (u32, Timestamp)>>);

impl Failures {
    /// How long `address` must wait before it may try again; none when it may now.
    pub fn wait(&self, address: IpAddr, now: Timestamp) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, at) = all.get(&key(address))?;
        let left = left(*count, *at, now);
        (BURST <= left).then(|| REFILL.saturating_sub(now.since(*at)).max(Duration::from_secs(1)))
    }

    /// Takes note of one more.
    pub fn note(&self, address: IpAddr, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = key(address);
        if ADDRESSES_MAX <= all.len() && !all.contains_key(&address) {
            let oldest = all.iter().min_by_key(|(_, (_, at))| *at).map(|(oldest, _)| *oldest);
            oldest.map(|oldest| all.remove(&oldest));
        }
        let (count, at) = all.entry(address).or_insert((0, now));
        (*count, *at) = (left(*count, *at, now).saturating_add(1).min(BURST), now);
    }
}

fn left(count: u32, at: Timestamp, now: Timestamp) -> u32 {
    let forgiven = now.since(at).as_secs() / REFILL.as_secs();
    count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
}

/// One network of IPv6 counts as one address: whoever has one has all of it.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

    #[test]
    fn an_address_may_fail_so_often_and_then_once_in_a_while() {
        let failures = Failures::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..BURST {
            assert_eq!(failures.wait(one, NOW), None);
            failures.note(one, NOW);
        }
        assert_eq!(failures.wait(one, NOW), Some(REFILL));
        assert_eq!(failures.wait("::ffff:192.0.2.1".parse().unwrap(), NOW), Some(REFILL));
        assert_eq!(failures.wait("192.0.2.2".parse().unwrap(), NOW), None);
        assert_eq!(failures.wait(one, NOW.moved(-60_000)), Some(REFILL), "a clock set back");
        let later = NOW + REFILL;
        assert_eq!(failures.wait(one, later), None);
        failures.note(one, later);
        assert!(failures.wait(one, later).is_some());
        assert_eq!(failures.wait(one, NOW + Duration::from_hours(1)), None);
    }

    #[test]
    fn a_network_counts_as_one_and_what_is_remembered_is_bounded() {
        let failures = Failures::default();
        for last in 0..u64::from(BURST) {
            failures.note(Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(last)).into(), NOW);
        }
        assert!(failures.wait("2001:db8::ffff".parse().unwrap(), NOW).is_some());
        assert!(failures.wait("2001:db8:0:1::1".parse().unwrap(), NOW).is_none());
        for number in 0..10_000_u32 {
            failures.note(IpAddr::from(number.to_be_bytes()), NOW);
        }
        assert!(failures.0.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
