//! Leases: GPUs that programs outside Berth hold for a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{GpuGrant, Timestamp};

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuLease {
    /// Its name, for renewing and releasing it.
    pub id: String,
    /// What the program calls itself.
    pub holder: String,
    /// The number of the grant: a later one of whatever lease is larger, for ever. Who guards
    /// something by it refuses smaller ones than it has seen.
    pub token: u64,
    /// Which GPUs, and how.
    #[serde(with = "as_text")]
    pub grant: GpuGrant,
    /// Since when.
    pub acquired_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A grant in the form that labels have: what another Berth wrote reads back.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::model::GpuGrant;

    pub(super) fn serialize<S: Serializer>(grant: &GpuGrant, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(grant)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GpuGrant, D::Error> {
        let text = String::deserialize(from)?;
        GpuGrant::parse(&text).ok_or_else(|| D::Error::custom("this is not a grant"))
    }
}

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leases {
    /// By id.
    pub list: BTreeMap<String, GpuLease>,
    /// The last token that was given.
    pub token: u64,
}

impl Leases {
    /// Whether there never was one.
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// Ends those whose time has come; answers them.
    pub fn expire(&mut self, now: Timestamp) -> Vec<GpuLease> {
        let (over, rest) =
            std::mem::take(&mut self.list).into_iter().partition(|(_, l)| l.expires_at <= now);
        self.list = rest;
        BTreeMap::into_values(over).collect()
    }
}
