//! The GPUs, and the way in which containers get them.

use std::{path::Path, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Check, Finding, Group, Place, blocking, cards, check, inside};

pub(super) const CHECKS: &[Check] = &[
    check(Group::Gpu, "driver", "doctor.driver", driver),
    check(Group::Gpu, "library", "doctor.nvml", library),
    check(Group::Gpu, "way into containers", "doctor.toolkit", toolkit),
    check(Group::Gpu, "lasting access", "doctor.device-links", links),
    check(Group::Gpu, "health of the cards", "doctor.gpu-health", health),
    check(Group::Gpu, "CUDA of the driver", "doctor.cuda", cards::cuda),
    check(Group::Gpu, "MIG and compute mode", "doctor.gpu-modes", cards::modes),
    check(Group::Gpu, "others on the cards", "doctor.gpu-strangers", cards::strangers),
    check(Group::Gpu, "cards in containers", "doctor.container-gpus", inside::gpus),
];

/// Where the NVIDIA driver says its version.
const MODULE: &str = "driver/nvidia/version";

fn has_driver(place: &Place) -> bool {
    place.proc.join(MODULE).exists() || Path::new("/dev/kfd").exists()
}

fn driver(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        if let Ok(text) = std::fs::read_to_string(place.proc.join(MODULE)) {
            let first = text.lines().next().unwrap_or_default();
            return Finding::good(first.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if Path::new("/dev/kfd").exists() {
            return Finding::good("amdgpu is loaded");
        }
        let has_card = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten();
        let is_nvidia = |path: std::path::PathBuf| {
            let is = |name: &str, wanted: &str| {
                let text = std::fs::read_to_string(path.join(name)).unwrap_or_default();
                text.trim().starts_with(wanted)
            };
            is("vendor", "0x10de") && is("class", "0x03")
        };
        if has_card.map(|entry| entry.path()).any(is_nvidia) {
            return Finding::error(
                "there is a card of NVIDIA, and no driver is loaded",
                "install the driver, `modprobe nvidia`, and look at `dmesg`",
            );
        }
        Finding::skipped("no GPU was found")
    })
}

fn library(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let gpus = &place.gpus;
        if !has_driver(place) {
            return Finding::skipped("no driver is loaded");
        }
        if gpus.is_mismatched {
            return Finding::error(
                "the driver's library and its kernel module are of different versions",
                "restart the machine: what runs goes on until then",
            );
        }
        if gpus.gpus.is_empty() {
            let why = gpus.note.clone().unwrap_or_else(|| "it was not read yet".to_owned());
            return Finding::error(why, "install the library of the driver, or --nvml-library");
        }
        let by = gpus.by.unwrap_or("the driver");
        let version = gpus.driver.as_deref().unwrap_or("unknown");
        Finding::good(format!("{} cards by {by}, driver {version}", gpus.gpus.len()))
    })
}

fn toolkit(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        if !has_driver(&place) {
            return Finding::skipped("no driver is loaded");
        }
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached");
        };
        let ways = match engine.gpu_ways().await {
            Ok(ways) => ways,
            Err(error) => return Finding::skipped(format!("the engine does not say: {error}")),
        };
        if !ways.cdi_devices.is_empty() {
            let made_for = ways.cdi_driver.as_deref();
            let evidence = format!("{} CDI devices", ways.cdi_devices.len());
            return match (made_for, place.gpus.driver.as_deref()) {
                (Some(made_for), Some(driver)) if made_for != driver => Finding::warning(
                    format!("{evidence}, made for driver {made_for}; {driver} is loaded"),
                    "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
                ),
                _ => Finding::good(evidence),
            };
        }
        if ways.has_nvidia_runtime {
            return Finding::good("the runtime `nvidia`");
        }
        Finding::error(
            "the engine knows no CDI device and no runtime `nvidia`",
            "install nvidia-container-toolkit, then `nvidia-ctk runtime configure --runtime=docker`",
        )
    })
}

fn links(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        if !place.proc.join(MODULE).exists() {
            return Finding::skipped("no driver of NVIDIA is loaded");
        }
        let Some(engine) = &place.engine else {
            return Finding::skipped("the engine can't be reached");
        };
        let said = engine.survey().await.unwrap_or_default();
        let driver = said.pointer("/CgroupDriver").and_then(serde_json::Value::as_str);
        let has_links =
            std::fs::read_dir("/dev/char").into_iter().flatten().flatten().any(|entry| {
                std::fs::read_link(entry.path())
                    .is_ok_and(|to| to.to_string_lossy().contains("nvidia"))
            });
        match driver {
            Some("systemd") if !has_links => Finding::warning(
                "systemd manages control groups, and /dev/char has no links to the cards: `systemctl daemon-reload` takes GPUs from containers",
                "nvidia-ctk system create-dev-char-symlinks --create-all, by a udev rule",
            ),
            Some(driver) => Finding::good(format!("control groups by {driver}")),
            None => Finding::skipped("the engine does not say"),
        }
    })
}

fn health(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        if place.gpus.gpus.is_empty() {
            return Finding::skipped("no card is known");
        }
        if place.gpus.is_stale {
            let why = place.gpus.note.clone().unwrap_or_default();
            return Finding::warning(
                format!("what is known is not fresh: {why}"),
                "`dmesg | grep -i xid`",
            );
        }
        let sick: Vec<_> = place
            .gpus
            .gpus
            .iter()
            .filter(|gpu| !gpu.health.problems.is_empty())
            .map(|gpu| format!("{}: {}", gpu.uuid, gpu.health.problems.join(", ")))
            .collect();
        if sick.is_empty() {
            return Finding::good(format!("{} cards without an error", place.gpus.gpus.len()));
        }
        Finding::error(sick.join("; "), "`berth gpu ls -o wide` says what is wrong with them")
    })
}
