//! The way in which an engine gives a container its GPUs.

use std::collections::BTreeMap;

use crate::model::{GpuGrant, GpuRoute, GpuVendor, GpuWay};
use crate::state::GpuWays;

/// The class of NVIDIA's devices in CDI; see NVIDIA Container Toolkit, "Support for CDI".
const NVIDIA_CLASS: &str = "nvidia.com/gpu";
/// The class of AMD's devices in CDI.
const AMD_CLASS: &str = "amd.com/gpu";

/// What is known of a host when its GPUs are to get into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuHost {
    /// The device nodes of the granted cards, and those that all of them share.
    pub nodes: Vec<String>,
    /// The groups that may use the nodes.
    pub groups: Vec<u32>,
    /// The numbers of the granted cards, in the grant's order; empty when they are not known.
    pub indexes: Vec<u32>,
    /// The driver's version.
    pub driver: Option<String>,
}

/// The best way that the engine has not refused. None when it has refused all that there are.
pub fn gpu_route(
    grant: &GpuGrant,
    ways: &GpuWays,
    host: &GpuHost,
    refused: &BTreeMap<GpuWay, String>,
) -> Option<GpuRoute> {
    let all = match grant.vendor {
        GpuVendor::Nvidia => of_nvidia(grant, ways, host),
        GpuVendor::Amd => of_amd(grant, ways, host),
    };
    let said = |way: &GpuWay| refused.contains_key(way);
    let skipped: Vec<_> = all.iter().map(|route| route.way).filter(said).collect();
    let mut best = all.into_iter().find(|route| !refused.contains_key(&route.way))?;
    for way in skipped {
        best.why = format!("{}; the engine refused it by {way}", best.why);
    }
    Some(best)
}

fn route(way: GpuWay, host: &GpuHost, why: &str) -> GpuRoute {
    let (names, nodes, groups) = (Vec::new(), Vec::new(), Vec::new());
    GpuRoute { way, names, nodes, groups, driver: host.driver.clone(), why: why.to_owned() }
}

fn of_nvidia(grant: &GpuGrant, ways: &GpuWays, host: &GpuHost) -> Vec<GpuRoute> {
    let full = |device: &String| format!("{NVIDIA_CLASS}={device}");
    let names: Vec<_> = grant.devices.iter().map(full).collect();
    let is_known = names.iter().all(|name| ways.cdi_devices.contains(name));
    let is_stale = match (&ways.cdi_driver, &host.driver) {
        (Some(described), Some(driver)) => described != driver,
        _ => false,
    };
    let mut all = Vec::new();
    if is_known && !is_stale {
        let why = "the engine knows these devices";
        all.push(GpuRoute { names, ..route(GpuWay::Cdi, host, why) });
    }
    let why = match (is_known, is_stale, ways.cdi_folders.is_empty()) {
        (true, true, _) => {
            "the CDI description is of another driver: `nvidia-ctk cdi generate` makes it anew"
        }
        (_, _, false) => "the engine's CDI folders do not describe these devices",
        (_, _, true) => "the engine has no CDI",
    };
    // A part of a card has nodes that only the vendor's hook knows.
    let is_part = grant.devices.iter().any(|device| device.starts_with("MIG-"));
    let nodes = if is_part { Vec::new() } else { host.nodes.clone() };
    all.push(GpuRoute { nodes: nodes.clone(), ..route(GpuWay::DeviceRequest, host, why) });
    if ways.has_nvidia_runtime {
        let why = "the engine has a runtime called nvidia";
        all.push(GpuRoute { nodes, ..route(GpuWay::Runtime, host, why) });
    }
    all
}

fn of_amd(grant: &GpuGrant, ways: &GpuWays, host: &GpuHost) -> Vec<GpuRoute> {
    let by_id: Vec<_> = grant.devices.iter().map(|id| format!("{AMD_CLASS}={id}")).collect();
    let by_index: Vec<_> = host.indexes.iter().map(|n| format!("{AMD_CLASS}={n}")).collect();
    let is_known = |names: &Vec<String>| {
        names.len() == grant.devices.len() && names.iter().all(|n| ways.cdi_devices.contains(n))
    };
    let mut all = Vec::new();
    if let Some(names) = [by_id, by_index].into_iter().find(is_known) {
        let why = "the engine knows these devices";
        all.push(GpuRoute { names, ..route(GpuWay::Cdi, host, why) });
    }
    let why = "the engine has no CDI description of them";
    let (nodes, groups) = (host.nodes.clone(), host.groups.clone());
    all.push(GpuRoute { nodes, groups, ..route(GpuWay::DeviceNodes, host, why) });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuShare;

    fn grant(vendor: GpuVendor, devices: &[&str]) -> GpuGrant {
        let devices = devices.iter().map(|text| (*text).to_owned()).collect();
        let (share, capabilities) = (GpuShare::Exclusive, Vec::new());
        GpuGrant { vendor, devices, share, memory_bytes: None, capabilities }
    }

    fn host() -> GpuHost {
        let nodes = ["/dev/nvidia0", "/dev/nvidiactl"].map(ToOwned::to_owned).to_vec();
        let driver = Some("550.54.15".to_owned());
        GpuHost { nodes, groups: vec![44], indexes: vec![0], driver }
    }

    fn cdi(names: &[&str]) -> GpuWays {
        GpuWays {
            cdi_devices: names.iter().map(|text| (*text).to_owned()).collect(),
            cdi_folders: vec!["/etc/cdi".to_owned()],
            ..GpuWays::default()
        }
    }

    fn best(grant: &GpuGrant, ways: &GpuWays, refused: &[GpuWay]) -> Option<GpuRoute> {
        let refused = refused.iter().map(|way| (*way, "no".to_owned())).collect();
        gpu_route(grant, ways, &host(), &refused)
    }

    #[test]
    fn what_the_engine_knows_by_cdi_is_given_by_cdi() {
        let two = grant(GpuVendor::Nvidia, &["GPU-a", "GPU-b"]);
        let known = cdi(&["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b", "nvidia.com/gpu=all"]);
        let route = best(&two, &known, &[]).unwrap();
        assert_eq!(route.way, GpuWay::Cdi);
        assert_eq!(route.names, ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]);
        assert_eq!((route.nodes, route.groups), (vec![], vec![]));
        let half = cdi(&["nvidia.com/gpu=GPU-a"]);
        let route = best(&two, &half, &[]).unwrap();
        assert_eq!(route.way, GpuWay::DeviceRequest);
        assert_eq!(route.nodes, ["/dev/nvidia0", "/dev/nvidiactl"]);
        assert!(route.why.contains("do not describe"), "{}", route.why);
    }

    /// Fault U13.
    #[test]
    fn a_cdi_description_of_another_driver_is_not_used() {
        let one = grant(GpuVendor::Nvidia, &["GPU-a"]);
        let mut known = cdi(&["nvidia.com/gpu=GPU-a"]);
        known.cdi_driver = Some("535.1.2".to_owned());
        let route = best(&one, &known, &[]).unwrap();
        assert_eq!(route.way, GpuWay::DeviceRequest);
        assert!(route.why.contains("nvidia-ctk cdi generate"), "{}", route.why);
        known.cdi_driver = Some("550.54.15".to_owned());
        assert_eq!(best(&one, &known, &[]).unwrap().way, GpuWay::Cdi);
    }

    #[test]
    fn what_the_engine_refused_is_not_tried_again() {
        let one = grant(GpuVendor::Nvidia, &["GPU-a"]);
        let mut ways = cdi(&["nvidia.com/gpu=GPU-a"]);
        ways.has_nvidia_runtime = true;
        let order = [GpuWay::Cdi, GpuWay::DeviceRequest, GpuWay::Runtime];
        for tried in 0..order.len() {
            let route = best(&one, &ways, &order[..tried]).unwrap();
            assert_eq!(route.way, order[tried]);
            assert_eq!(route.why.matches("refused it by").count(), tried);
        }
        assert_eq!(best(&one, &ways, &order), None);
        assert_eq!(best(&one, &GpuWays::default(), &order[1..2]), None, "no runtime, no CDI");
    }

    #[test]
    fn a_part_of_a_card_is_given_no_nodes() {
        let part = grant(GpuVendor::Nvidia, &["MIG-a"]);
        let route = best(&part, &GpuWays::default(), &[]).unwrap();
        assert_eq!((route.way, route.nodes), (GpuWay::DeviceRequest, vec![]));
    }

    #[test]
    fn amds_cards_come_by_cdi_or_by_their_nodes() {
        let one = grant(GpuVendor::Amd, &["0xabc"]);
        assert_eq!(best(&one, &cdi(&["amd.com/gpu=0xabc"]), &[]).unwrap().way, GpuWay::Cdi);
        let route = best(&one, &cdi(&["amd.com/gpu=0"]), &[]).unwrap();
        assert_eq!((route.way, route.names), (GpuWay::Cdi, vec!["amd.com/gpu=0".to_owned()]));
        let route = best(&one, &GpuWays::default(), &[]).unwrap();
        assert_eq!((route.way, route.groups), (GpuWay::DeviceNodes, vec![44]));
    }
}
