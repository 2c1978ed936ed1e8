//! The options that have to do with GPUs.

use std::path::PathBuf;

use super::{Reader, absolute_path};
use crate::health::gpu::Check;
use crate::telemetry::dcgm::Names;

/// How GPUs are read, shown and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// The library by which NVIDIA's driver tells of them; none is the machine's own.
    pub nvml_library: Option<PathBuf>,
    /// What their series are called.
    pub metric_names: Names,
    /// Whether those that can are asked what their parts do.
    pub is_profiled: bool,
    /// How it is found out whether containers still reach theirs.
    pub check: Check,
    /// Whether it is proven that the engine can give them before anything stops for that.
    pub is_proven: bool,
    /// The containers of others that only watch GPUs, by patterns of their names or images.
    pub bystanders: Vec<String>,
    /// The cards that are well again, though Berth remembers an error that needed a reset.
    pub trusted: Vec<String>,
}

impl Reader {
    pub(super) fn gpus(&mut self) -> Option<Gpus> {
        let nvml_library = self.list("nvml-library", absolute_path);
        let metric_names = self.one("gpu-metric-names", |text| {
            text.parse().map_err(|()| "write `classic`, `new` or `both`".to_owned())
        });
        let is_profiled = self.one("gpu-profiling", |text| match text {
            "auto" => Ok(true),
            "off" => Ok(false),
            _ => Err("write `auto` or `off`".to_owned()),
        });
        let check = self.one("gpu-check", |text| {
            Check::parse(text).ok_or_else(|| "write `auto`, `cgroup`, `exec` or `off`".into())
        });
        let is_proven = self.one("gpu-proof", |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("write `on` or `off`".to_owned()),
        });
        let bystanders = self.list("gpu-bystanders", |text| match text.trim() {
            "" | "*" => Err("write the name of a container or an image, such as `dcgm-*`".into()),
            pattern => Ok(pattern.to_owned()),
        });
        let trusted = self.list("gpu-trust", |text| match text {
            uuid if uuid.starts_with("GPU-") => Ok(uuid.to_owned()),
            _ => Err("write a card's UUID, as `berth gpu ls -o wide` shows it".to_owned()),
        });
        Some(Gpus {
            nvml_library: nvml_library?.into_iter().next_back(),
            metric_names: metric_names?,
            is_profiled: is_profiled?,
            check: check?,
            is_proven: is_proven?,
            bystanders: bystanders?,
            trusted: trusted?,
        })
    }
}
