//! What the host's files say of GPUs: device nodes, the driver's versions, and the devices that a
//! container may use.

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::model::{GpuGrant, GpuVendor};
use crate::plan::GpuHost;
use crate::state::{ContainerId, Inventory};

/// NVIDIA's number for its devices; see Linux, `Documentation/admin-guide/devices.txt`.
const NVIDIA_MAJOR: u32 = 195;
/// The number of graphics devices, AMD's among them.
const DRM_MAJOR: u32 = 226;
/// The nodes that all of NVIDIA's cards share.
const NVIDIA_SHARED: [&str; 4] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
/// Where the driver's library may be, below the root folder.
const LIBRARY_FOLDERS: [&str; 5] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/lib/nvidia/current",
];
/// The driver's library, without its version.
const LIBRARY: &str = "libnvidia-ml.so.";
/// So many folders of control groups are looked through for a container's.
const FOLDERS_MAX: usize = 20_000;

/// Where the host's files are. In a container they may be mounted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/`, for the driver's library.
    pub lib: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            dev: "/dev".into(),
            lib: "/".into(),
        }
    }
}

/// What a container's list of devices says of its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them may be used.
    All,
    /// This one may not be used any more, by the name of its node.
    Denied(String),
    /// Nobody can tell from here.
    Unknown,
}

/// The number that the driver has of a device, and its node's.
fn number_of(inventory: &Inventory, device: &str) -> Option<(u32, u32)> {
    let is_it = |gpu: &&crate::state::Gpu| {
        gpu.uuid == device || gpu.parts.iter().any(|part| part.uuid == device)
    };
    let gpu = inventory.gpus.iter().find(is_it)?;
    Some((gpu.index, gpu.minor?))
}

fn node(vendor: GpuVendor, minor: u32) -> (u32, String) {
    match vendor {
        GpuVendor::Nvidia => (NVIDIA_MAJOR, format!("nvidia{minor}")),
        GpuVendor::Amd => (DRM_MAJOR, format!("dri/renderD{minor}")),
    }
}

impl Roots {
    /// What is known of this host for the GPUs of a grant.
    pub fn host(&self, grant: &GpuGrant, inventory: &Inventory) -> GpuHost {
        let numbers: Vec<_> =
            grant.devices.iter().filter_map(|device| number_of(inventory, device)).collect();
        let driver = inventory.driver.clone();
        // One card too few would be found out by the app alone.
        if numbers.len() != grant.devices.len() {
            return GpuHost { driver, ..GpuHost::default() };
        }
        let own = numbers.iter().map(|(_, minor)| node(grant.vendor, *minor).1);
        let shared: &[&str] = match grant.vendor {
            GpuVendor::Nvidia => &NVIDIA_SHARED,
            GpuVendor::Amd => &["kfd"],
        };
        let names = own.chain(shared.iter().map(|name| (*name).to_owned()));
        let found: Vec<_> = names
            .filter_map(|name| Some((fs::metadata(self.dev.join(&name)).ok()?, name)))
            .collect();
        let mut groups: Vec<_> = match grant.vendor {
            GpuVendor::Nvidia => Vec::new(),
            GpuVendor::Amd => found.iter().map(|(node, _)| node.gid()).collect(),
        };
        groups.sort_unstable();
        groups.dedup();
        GpuHost {
            nodes: found.into_iter().map(|(_, name)| format!("/dev/{name}")).collect(),
            groups,
            indexes: numbers.into_iter().map(|(index, _)| index).collect(),
            driver,
        }
    }

    /// The version of the kernel module that is loaded. None where it can't be seen.
    pub fn module(&self) -> Option<String> {
        let text = fs::read_to_string(self.proc.join("driver/nvidia/version")).ok()?;
        let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
        line.split_whitespace().find(|word| is_version(word)).map(ToOwned::to_owned)
    }

    /// The version of the driver's library that is installed, which a new container would be
    /// given. None where it can't be seen.
    pub fn library(&self) -> Option<String> {
        LIBRARY_FOLDERS.iter().find_map(|folder| {
            let link = self.lib.join(folder).join(format!("{LIBRARY}1"));
            let file = fs::canonicalize(link).ok()?;
            let version = file.file_name()?.to_str()?.strip_prefix(LIBRARY)?.to_owned();
            is_version(&version).then_some(version)
        })
    }

    /// Why a new container with GPUs would not start with this driver, as a sentence; none when
    /// nothing is known to speak against it (fault U02).
    pub fn driver_trouble(&self, inventory: &Inventory) -> Option<String> {
        const MEND: &str =
            "what runs goes on; restart the host, or reload the module, before anything new starts";
        let module = self.module()?;
        let others = [("its library", self.library()), ("NVML", inventory.driver.clone())];
        others.into_iter().find_map(|(what, version)| {
            let version = version.filter(|version| *version != module)?;
            Some(format!(
                "the GPUs' driver was changed: the kernel module is of {module} and {what} of {version}: {MEND}"
            ))
        })
    }

    /// The list of devices that a container may use: control groups of version 1 have one. None
    /// where there is none for it.
    pub fn device_list(&self, container: &ContainerId) -> Option<PathBuf> {
        let (id, scope) = (container.as_str(), format!("docker-{}.scope", container.as_str()));
        let mut folders = VecDeque::from([self.cgroup.join("devices")]);
        for _ in 0..FOLDERS_MAX {
            let folder = folders.pop_front()?;
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                if name == *id || name == *scope {
                    return Some(entry.path().join("devices.list"));
                }
                folders.push_back(entry.path());
            }
        }
        None
    }

    /// Whether the devices of a grant are in a container's list, and their nodes in its `/dev`.
    pub fn reach(&self, list: &Path, grant: &GpuGrant, inventory: &Inventory) -> Reach {
        let Ok(text) = fs::read_to_string(list) else { return Reach::Unknown };
        let numbers: Vec<_> =
            grant.devices.iter().filter_map(|device| number_of(inventory, device)).collect();
        if numbers.is_empty() {
            return Reach::Unknown;
        }
        let dev = self.dev_of(list);
        for (_, minor) in numbers {
            let (major, name) = node(grant.vendor, minor);
            if !text.lines().any(|line| allows(line, major, minor)) {
                return Reach::Denied(format!("/dev/{name}"));
            }
            let is_missing = |dev: &PathBuf| dev.exists() && !dev.join(&name).exists();
            if dev.as_ref().is_some_and(is_missing) {
                return Reach::Denied(format!("/dev/{name}"));
            }
        }
        Reach::All
    }

    /// A container's `/dev`, seen through its first process.
    fn dev_of(&self, list: &Path) -> Option<PathBuf> {
        let processes = fs::read_to_string(list.with_file_name("cgroup.procs")).ok()?;
        // 0 is a process that has no number here.
        let first = processes.lines().find(|pid| *pid != "0")?;
        Some(self.proc.join(first).join("root/dev"))
    }
}

fn is_version(word: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    word.contains('.') && word.split('.').all(is_number)
}

/// Whether a line such as `c 195:0 rw` lets a container read from and write to a device; see
/// Linux, `Documentation/admin-guide/cgroup-v1/devices.rst`.
fn allows(line: &str, major: u32, minor: u32) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let [kind, numbers, access] = words.as_slice() else { return false };
    let Some((a, b)) = numbers.split_once(':') else { return false };
    let fits = |text: &str, number: u32| text == "*" || text == number.to_string();
    let is_usable = access.contains('r') && access.contains('w');
    ["a", "c"].contains(kind) && fits(a, major) && fits(b, minor) && is_usable
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::GpuShare;
    use crate::state::{Gpu, GpuPart};

    struct Place {
        roots: Roots,
        folder: tempfile::TempDir,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let at = |part: &str| folder.path().join(part);
        let roots =
            Roots { proc: at("proc"), cgroup: at("cgroup"), dev: at("dev"), lib: at("root") };
        Place { roots, folder }
    }

    impl Place {
        fn put(&self, path: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    fn inventory() -> Inventory {
        let part = GpuPart { uuid: "MIG-a".to_owned(), ..GpuPart::default() };
        let gpu = |uuid: &str, index, minor| Gpu {
            uuid: uuid.to_owned(),
            index,
            minor: Some(minor),
            parts: if index == 1 { vec![part.clone()] } else { Vec::new() },
            ..Gpu::default()
        };
        let gpus = vec![gpu("GPU-a", 0, 0), gpu("GPU-b", 1, 3)];
        Inventory { gpus, driver: Some("550.54.15".to_owned()), ..Inventory::default() }
    }

    fn grant(devices: &[&str]) -> GpuGrant {
        GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: devices.iter().map(|text| (*text).to_owned()).collect(),
            share: GpuShare::Exclusive,
            memory_bytes: None,
            capabilities: Vec::new(),
        }
    }

    /// Fault U05: nodes go by the driver's own numbers, which have holes.
    #[test]
    fn only_nodes_that_are_there_are_given() {
        let place = place();
        for name in ["nvidia0", "nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm"] {
            place.put(&format!("dev/{name}"), "");
        }
        let host = place.roots.host(&grant(&["GPU-b"]), &inventory());
        assert_eq!(host.nodes, ["/dev/nvidia3", "/dev/nvidiactl", "/dev/nvidia-uvm"]);
        assert_eq!((host.groups, host.indexes), (vec![], vec![1]));
        let unknown = place.roots.host(&grant(&["GPU-b", "GPU-x"]), &inventory());
        assert_eq!(unknown.nodes, Vec::<String>::new());
        assert_eq!(unknown.driver.as_deref(), Some("550.54.15"));
    }

    /// Fault U02: as NVIDIA's two kinds of modules say it.
    #[test]
    fn a_module_of_another_version_than_the_library_is_trouble() {
        let place = place();
        let seen = inventory();
        assert_eq!(place.roots.driver_trouble(&seen), None, "nothing is known");
        let module = |version: &str| {
            place.put(
                "proc/driver/nvidia/version",
                &format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar 5 22:23:56 UTC 2024\nGCC version: 12.2.0\n"),
            )
        };
        module("550.54.15");
        assert_eq!(place.roots.driver_trouble(&seen), None);
        module("535.161.7");
        let said = place.roots.driver_trouble(&seen).unwrap();
        assert!(said.contains("module is of 535.161.7 and NVML of 550.54.15"), "{said}");
        place.put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n",
        );
        assert_eq!(place.roots.driver_trouble(&seen), None);
        // A long-lived process goes on with the library that it loaded: the disk says more.
        let file = place.put("root/usr/lib64/libnvidia-ml.so.560.35.03", "");
        symlink(file.file_name().unwrap(), file.with_file_name("libnvidia-ml.so.1")).unwrap();
        let said = place.roots.driver_trouble(&seen).unwrap();
        assert!(said.contains("its library of 560.35.03"), "{said}");
    }

    /// Fault U01: after a reload the list has the engine's own devices and no others.
    #[test]
    fn a_device_that_left_the_list_is_missed() {
        const OWN: &str = "c 1:3 rwm\nc *:* m\nb *:* m\n";
        let place = place();
        let id = ContainerId::new("ab".repeat(32));
        assert_eq!(place.roots.device_list(&id), None);
        for at in [
            format!("cgroup/devices/docker/{}/devices.list", id.as_str()),
            format!("cgroup/devices/a.slice/b/docker-{}.scope/devices.list", id.as_str()),
        ] {
            let file = place.put(&at, &format!("{OWN}c 195:0 rw\nc 195:255 rw\n"));
            let list = place.roots.device_list(&id).unwrap();
            assert_eq!(list, file);
            let reach = |devices: &[&str]| place.roots.reach(&list, &grant(devices), &inventory());
            assert_eq!(reach(&["GPU-a"]), Reach::All);
            assert_eq!(reach(&["GPU-a", "GPU-b"]), Reach::Denied("/dev/nvidia3".to_owned()));
            assert_eq!(reach(&["MIG-a"]), Reach::Denied("/dev/nvidia3".to_owned()));
            assert_eq!(reach(&["GPU-gone"]), Reach::Unknown);
            for all in ["a *:* rwm\n", "c 195:* rw\n"] {
                place.put(&at, all);
                assert_eq!(reach(&["GPU-a", "GPU-b"]), Reach::All, "{all}");
            }
            place.put(&at, OWN);
            assert_eq!(reach(&["GPU-a"]), Reach::Denied("/dev/nvidia0".to_owned()));
            fs::remove_dir_all(place.folder.path().join("cgroup")).unwrap();
            assert_eq!(reach(&["GPU-a"]), Reach::Unknown);
        }
    }

    #[test]
    fn a_node_that_is_gone_is_missed() {
        let place = place();
        let list = place.put("cgroup/devices/docker/x/devices.list", "a *:* rwm\n");
        place.put("cgroup/devices/docker/x/cgroup.procs", "0\n77\n");
        place.put("proc/77/root/dev/null", "");
        let reach = || place.roots.reach(&list, &grant(&["GPU-a"]), &inventory());
        assert_eq!(reach(), Reach::Denied("/dev/nvidia0".to_owned()));
        place.put("proc/77/root/dev/nvidia0", "");
        assert_eq!(reach(), Reach::All);
    }
}
