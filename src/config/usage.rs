//! The options that have to do with what containers use.

use std::path::PathBuf;

use super::Reader;

/// Where the kernel's files are, and what is shown of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The host's `/proc`.
    pub proc_root: PathBuf,
    /// The host's `/sys/fs/cgroup`.
    pub cgroup_root: PathBuf,
    /// Further labels of containers that are shown.
    pub labels: Vec<String>,
}

impl Reader {
    pub(super) fn usage(&mut self) -> Option<Usage> {
        let proc_root = self.absolute("proc-root");
        let cgroup_root = self.absolute("cgroup-root");
        let labels = self.list("metrics-label", label);
        Some(Usage { proc_root: proc_root?, cgroup_root: cgroup_root?, labels: labels? })
    }
}

fn label(text: &str) -> Result<String, String> {
    let is_fit = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if is_fit { Ok(text.to_owned()) } else { Err("write the key of a label".to_owned()) }
}
