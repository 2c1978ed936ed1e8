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
    /// How it is found out whether containers still reach theirs.
    pub check: Check,
}

impl Reader {
    pub(super) fn gpus(&mut self) -> Option<Gpus> {
        let nvml_library = self.list("nvml-library", absolute_path);
        let metric_names = self.one("gpu-metric-names", |text| {
            text.parse().map_err(|()| "write `classic`, `new` or `both`".to_owned())
        });
        let check = self.one("gpu-check", |text| {
            Check::parse(text).ok_or_else(|| "write `auto`, `cgroup`, `exec` or `off`".into())
        });
        Some(Gpus {
            nvml_library: nvml_library?.into_iter().next_back(),
            metric_names: metric_names?,
            check: check?,
        })
    }
}
