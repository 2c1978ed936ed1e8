//! Which of several that fit.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Who,
    fit::{Device, Rooms},
};
use crate::model::{GpuAsk, GpuShare, GpuVendor};

/// Beyond so many sets they are not all compared: the next best is added one by one.
const SETS_MAX: usize = 20_000;
/// How far two cards are from each other of which nobody said it.
const FAR: u32 = 60;

/// How many of these one app could have: all of an app's are of one vendor.
pub(super) fn most_of_a_vendor(devices: &[&Device<'_>]) -> usize {
    by_vendor(devices).values().map(Vec::len).max().unwrap_or(0)
}

fn by_vendor<'a, 'd>(devices: &[&'a Device<'d>]) -> BTreeMap<GpuVendor, Vec<&'a Device<'d>>> {
    let mut vendors: BTreeMap<GpuVendor, Vec<&Device<'_>>> = BTreeMap::new();
    for device in devices {
        vendors.entry(device.card.vendor).or_default().push(device);
    }
    vendors
}

/// The best set of these, in the order of the host; none when there are too few.
pub(super) fn choose<'a, 'd>(
    free: &[&'a Device<'d>],
    ask: &GpuAsk,
    rooms: &Rooms<'_>,
    who: &Who,
) -> Option<Vec<&'a Device<'d>>> {
    let count = usize::try_from(ask.count).ok()?;
    let vendors = by_vendor(free);
    let able = vendors.into_values().find(|devices| count <= devices.len())?;
    let costs: Vec<_> = able.iter().map(|device| cost(device, ask, rooms, who)).collect();
    let chosen = if count == 1 {
        vec![(0..able.len()).min_by_key(|at| &costs[*at])?]
    } else {
        let score = |set: &[usize]| {
            let (nearness, of) = (nearness(set, &able), |at: &usize| costs[*at]);
            (nearness, set.iter().map(of).collect::<Vec<_>>())
        };
        best_set(able.len(), count, score)?
    };
    Some(chosen.into_iter().map(|at| able[at]).collect())
}

/// What speaks against one of them, the weightiest first.
type Cost = (bool, bool, u64, usize, usize, usize);

fn cost(device: &Device<'_>, ask: &GpuAsk, rooms: &Rooms<'_>, who: &Who) -> Cost {
    let room = rooms.room(device, who);
    // What it has already it may keep: others find the rest as it was.
    let is_own = rooms.holdings.iter().any(|h| h.who == *who && device.is_in(&h.hold));
    let same_card = |other: &&Device<'_>| other.card.uuid == device.card.uuid;
    let siblings = rooms.devices.iter().filter(same_card);
    let free_siblings = siblings.filter(|other| rooms.room(other, who).is_empty()).count();
    let links = device.card.links.iter().filter(|link| 0 < link.nvlinks).count();
    let (is_fresh, left) = match ask.share {
        // The smallest that does it.
        GpuShare::Exclusive => (false, device.usable()),
        // One that others share already, and the fullest of these: whole cards stay whole.
        GpuShare::Memory => (room.is_empty(), room.free),
    };
    let at = rooms.devices.iter().position(|other| other.uuid == device.uuid).unwrap_or(0);
    (!is_own, is_fresh, left, links, free_siblings, at)
}

/// The most direct links, then the shortest ways over PCI, then the fewest memory nodes.
type Nearness = (Reverse<u32>, u32, usize);

fn nearness(set: &[usize], devices: &[&Device<'_>]) -> Nearness {
    let (mut links, mut distance) = (0, 0);
    let mut nodes = BTreeSet::new();
    for (nth, at) in set.iter().enumerate() {
        let card = devices[*at].card;
        nodes.insert(card.numa);
        for other in &set[..nth] {
            let other = devices[*other].card;
            if card.uuid == other.uuid {
                continue;
            }
            let there = card.links.iter().find(|link| link.to == other.uuid);
            let link = there.or_else(|| other.links.iter().find(|link| link.to == card.uuid));
            links += link.map_or(0, |link| link.nvlinks);
            distance += link.map_or(FAR, |link| link.distance);
        }
    }
    (Reverse(links), distance, nodes.len())
}

/// The set of `count` of `total` with the lowest score.
fn best_set<S: Ord>(
    total: usize,
    count: usize,
    score: impl Fn(&[usize]) -> S,
) -> Option<Vec<usize>> {
    if total < count {
        return None;
    }
    if sets(total, count) <= SETS_MAX {
        let mut set: Vec<usize> = (0..count).collect();
        let mut best = (score(&set), set.clone());
        while next_set(&mut set, total) {
            let this = score(&set);
            if this < best.0 {
                best = (this, set.clone());
            }
        }
        return Some(best.1);
    }
    let grown = (0..total).map(|first| {
        let mut set = vec![first];
        while set.len() < count {
            let with = |at: usize| -> Vec<usize> {
                let mut more = set.clone();
                more.push(at);
                more.sort_unstable();
                more
            };
            let others = (0..total).filter(|at| !set.contains(at)).map(with);
            let Some(next) = others.min_by_key(|set| score(set)) else { break };
            set = next;
        }
        set
    });
    grown.min_by_key(|set| score(set))
}

/// How many sets there are, as far as it matters.
fn sets(total: usize, count: usize) -> usize {
    let few = count.min(total - count);
    (0..few).fold(1_usize, |sets, nth| sets.saturating_mul(total - nth) / (nth + 1))
}

/// The set that follows in the order of their numbers; false after the last.
fn next_set(set: &mut [usize], total: usize) -> bool {
    let count = set.len();
    let Some(at) = (0..count).rev().find(|at| set[*at] < total - count + at) else { return false };
    set[at] += 1;
    for next in at + 1..count {
        set[next] = set[next - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_seen_once() {
        let mut set = vec![0, 1];
        let mut seen = vec![set.clone()];
        while next_set(&mut set, 4) {
            seen.push(set.clone());
        }
        assert_eq!(seen, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!((sets(4, 2), sets(16, 8), sets(5, 5)), (6, 12_870, 1));
        // The sum of these is least for the last ones.
        let score = |set: &[usize]| Reverse(set.iter().sum::<usize>());
        assert_eq!(best_set(4, 2, score), Some(vec![2, 3]));
        assert_eq!(best_set(60, 6, score), Some(vec![54, 55, 56, 57, 58, 59]));
    }
}
