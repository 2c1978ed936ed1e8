//! What a search is about: what is given to one at a time, and what may happen.

use super::state::{PORTS, Probe, Spec};

/// What is given to one app at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goods {
    /// Host ports, which the engine gives to one only.
    Ports,
    /// GPUs, which nobody counts but Berth.
    Cards,
}

/// What there is, and what somebody may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) goods: Goods,
    /// How many of them there are.
    pub(crate) many: u8,
    /// Whether a new version must stay healthy for a while before the old one goes.
    pub(crate) must_last: bool,
    /// Whether somebody may go back to the first version.
    pub(crate) may_undo: bool,
    /// Whether others take the names of containers.
    pub(crate) has_names: bool,
    /// How many apps are edited, and how many run already where it begins with some that do.
    pub(crate) apps: u8,
    pub(crate) begun: u8,
    /// What somebody writes.
    pub(crate) edits: &'static [Option<Spec>],
}

impl Scene {
    /// Two apps and two ports.
    pub(crate) const fn ports(edits: &'static [Option<Spec>]) -> Self {
        Self {
            goods: Goods::Ports,
            many: PORTS,
            must_last: false,
            may_undo: false,
            has_names: true,
            apps: 2,
            begun: 2,
            edits,
        }
    }

    /// Two apps, and so many GPUs of which each asks for one.
    pub(crate) const fn cards(many: u8, edits: &'static [Option<Spec>]) -> Self {
        Self { goods: Goods::Cards, many, has_names: false, begun: 1, ..Self::ports(edits) }
    }

    /// Health must last, and what was rolled out may be undone: by one app alone, or by both.
    pub(crate) const fn undone(apps: u8, edits: &'static [Option<Spec>]) -> Self {
        let ports = Self::ports(edits);
        Self { must_last: true, may_undo: true, has_names: false, apps, begun: apps, ..ports }
    }

    pub(crate) fn is_of_cards(&self) -> bool {
        self.goods == Goods::Cards
    }

    /// What is said of the health of a version that takes the place of another.
    pub(crate) fn good(&self) -> Probe {
        if self.must_last { Probe::Proven } else { Probe::Healthy }
    }

    /// What a health check says next.
    pub(crate) fn next(&self, probe: Probe, is_sick: bool) -> Option<Probe> {
        match probe {
            Probe::Fresh if is_sick && !self.must_last => Some(Probe::Failed),
            Probe::Fresh => Some(Probe::Healthy),
            Probe::Healthy if is_sick => Some(Probe::Failed),
            Probe::Healthy if self.must_last => Some(Probe::Proven),
            Probe::Healthy | Probe::Failed | Probe::Proven => None,
        }
    }
}
