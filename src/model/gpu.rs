//! GPUs, as they are asked for and as they are given.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The GPUs that an app asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuAsk {
    /// How many. With `ids`: as many as there are.
    pub count: u32,
    /// Exactly these, by UUID; empty lets Berth choose.
    pub ids: Vec<String>,
    /// Bytes of memory on each of them; none is whatever is there.
    pub memory_bytes: Option<u64>,
    /// Whether others may use the same ones at the same time.
    pub share: GpuShare,
    /// Which product, as a pattern with `*`, letters in either case; none is any.
    pub model: Option<String>,
    /// Whose; none is any.
    pub vendor: Option<GpuVendor>,
    /// The profile of a MIG instance, such as `1g.10gb`: parts of cards instead of whole ones.
    pub mig: Option<String>,
    /// What of the driver the app sees; empty is `compute` and `utility`.
    pub capabilities: Vec<String>,
    /// Who waits for less: the higher goes first. 0 unless said.
    pub priority: i32,
}

impl GpuAsk {
    /// So many whole cards, for the app alone.
    pub fn whole(count: u32) -> Self {
        Self {
            count,
            ids: Vec::new(),
            memory_bytes: None,
            share: GpuShare::Exclusive,
            model: None,
            vendor: None,
            mig: None,
            capabilities: Vec::new(),
            priority: 0,
        }
    }
}

/// Whether a GPU is held alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuShare {
    /// Nobody else holds it.
    #[default]
    Exclusive,
    /// Others hold it too, each with memory of its own promised.
    Memory,
}

/// Who made a GPU, and so how a container gets it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum GpuVendor {
    /// NVIDIA: CDI, device requests or its runtime.
    #[default]
    Nvidia,
    /// AMD: CDI or device nodes. Experimental.
    Amd,
}

impl fmt::Display for GpuVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
        })
    }
}

/// The GPUs that a container is given. Part of what the container is: others need a new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuGrant {
    /// Whose they are.
    pub vendor: GpuVendor,
    /// The UUIDs of the cards, or of the MIG instances, in the order in which the app sees them.
    pub devices: Vec<String>,
    /// Whether they are held alone.
    pub share: GpuShare,
    /// Bytes of memory promised on each.
    pub memory_bytes: Option<u64>,
    /// What of the driver the app sees, sorted.
    pub capabilities: Vec<String>,
}

impl GpuGrant {
    /// The text of a label, read. None when this Berth does not understand it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let first = words.next()?;
        let (share, memory) = match first.split_once(':') {
            Some((share, bytes)) => (share, Some(bytes.parse().ok()?)),
            None => (first, None),
        };
        let share = match share {
            "exclusive" => GpuShare::Exclusive,
            "memory" => GpuShare::Memory,
            _ => return None,
        };
        let vendor = match words.next()? {
            "nvidia" => GpuVendor::Nvidia,
            "amd" => GpuVendor::Amd,
            _ => return None,
        };
        let list = |text: &str| -> Vec<String> {
            text.split(',').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
        };
        let (capabilities, devices) = (list(words.next()?), list(words.next()?));
        let is_whole = words.next().is_none() && !devices.is_empty();
        is_whole.then_some(Self { vendor, devices, share, memory_bytes: memory, capabilities })
    }
}

/// As a label carries it: share and memory, vendor, capabilities, devices.
impl fmt::Display for GpuGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.share {
            GpuShare::Exclusive => "exclusive",
            GpuShare::Memory => "memory",
        })?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, ":{bytes}")?;
        }
        let (capabilities, devices) = (self.capabilities.join(","), self.devices.join(","));
        write!(f, " {} {capabilities} {devices}", self.vendor)
    }
}

/// The way by which an engine gives a container its GPUs. Not part of what the container is: a
/// newer engine with a better way changes nothing that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuWay {
    /// The Container Device Interface, by the device's full name.
    Cdi,
    /// A device request, which the engine hands to the vendor's hook.
    DeviceRequest,
    /// The vendor's container runtime, told by the environment.
    Runtime,
    /// The device nodes themselves.
    DeviceNodes,
}

impl GpuWay {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Cdi, Self::DeviceRequest, Self::Runtime, Self::DeviceNodes];
}

impl fmt::Display for GpuWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cdi => "CDI",
            Self::DeviceRequest => "device request",
            Self::Runtime => "nvidia runtime",
            Self::DeviceNodes => "device nodes",
        })
    }
}

impl GpuWay {
    /// The way as one word, for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cdi => "cdi",
            Self::DeviceRequest => "device-request",
            Self::Runtime => "runtime",
            Self::DeviceNodes => "device-nodes",
        }
    }
}

/// How a container is given its GPUs, with all that the engine must be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuRoute {
    /// The way.
    pub way: GpuWay,
    /// The full names of the devices, for CDI; empty for the other ways.
    pub names: Vec<String>,
    /// Device nodes of the host that are given beside the vendor's hook, or in place of one. The
    /// engine knows of them, so that a reload of the host's services does not take them away.
    pub nodes: Vec<String>,
    /// The groups that may use those nodes.
    pub groups: Vec<u32>,
    /// The driver's version at this time.
    pub driver: Option<String>,
    /// Why this way, for people.
    pub why: String,
}

/// How a container was given its GPUs, as its label says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuGiven {
    /// The way.
    pub way: GpuWay,
    /// The driver's version at that time.
    pub driver: Option<String>,
}

impl GpuGiven {
    /// The text of a label, read. None when this Berth does not understand it.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, driver) = text.split_once(' ').map_or((text, None), |(a, b)| (a, Some(b)));
        let all = [GpuWay::Cdi, GpuWay::DeviceRequest, GpuWay::Runtime, GpuWay::DeviceNodes];
        let way = all.into_iter().find(|way| way.word() == word)?;
        Some(Self { way, driver: driver.map(ToOwned::to_owned) })
    }
}

/// As a label carries it.
impl fmt::Display for GpuGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.way.word())?;
        self.driver.iter().try_for_each(|driver| write!(f, " {driver}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_reads_back_from_its_label() {
        for way in [GpuWay::Cdi, GpuWay::DeviceRequest, GpuWay::Runtime, GpuWay::DeviceNodes] {
            for driver in [None, Some("550.54.15".to_owned())] {
                let given = GpuGiven { way, driver };
                assert_eq!(GpuGiven::parse(&given.to_string()), Some(given));
            }
        }
        assert_eq!(GpuGiven::parse("by hand 550"), None);
    }

    #[test]
    fn a_grant_reads_back_from_its_label() {
        for (share, memory_bytes) in
            [(GpuShare::Exclusive, None), (GpuShare::Memory, Some(8 << 30))]
        {
            for capabilities in [vec![], vec!["compute".to_owned(), "utility".to_owned()]] {
                let devices = vec!["GPU-a".to_owned(), "MIG-b".to_owned()];
                let vendor = GpuVendor::Amd;
                let grant = GpuGrant { vendor, devices, share, memory_bytes, capabilities };
                assert_eq!(GpuGrant::parse(&grant.to_string()), Some(grant));
            }
        }
        for text in
            ["", "exclusive", "exclusive nvidia  ", "all nvidia  GPU-a", "memory:x nvidia  a"]
        {
            assert_eq!(GpuGrant::parse(text), None, "{text}");
        }
    }
}
