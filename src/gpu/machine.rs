//! All GPUs of the machine, whoever made them, in one inventory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Error, Probe, amd, kernel,
    nvml::{Driver, Missing},
    smi,
};
use crate::clock::Clock;
use crate::host;
use crate::model::GpuVendor;
use crate::state::{Gpu, Inventory};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// NVML's library; none is where the machine keeps it.
    pub library: Option<PathBuf>,
    /// NVIDIA's program, where the library can't be loaded.
    pub program: PathBuf,
    /// How long the program may take.
    pub program_limit: Duration,
    /// `/proc`, or where the host's is mounted.
    pub proc_root: PathBuf,
    /// `/sys`.
    pub sys_root: PathBuf,
    /// Whether cards are asked what their parts do.
    pub is_profiled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            library: None,
            program: PathBuf::from("nvidia-smi"),
            program_limit: Duration::from_secs(4),
            proc_root: PathBuf::from("/proc"),
            sys_root: PathBuf::from("/sys"),
            is_profiled: true,
        }
    }
}

/// Reads NVIDIA's cards by NVML, else by `nvidia-smi`, and AMD's by sysfs.
pub struct Machine {
    settings: Settings,
    clock: Clock,
    driver: Option<Driver>,
}

impl Machine {
    /// Nothing is loaded before the first reading.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self { settings, clock, driver: None }
    }

    /// What is known before anything is asked: the version of the kernel module, which decides the
    /// base of images. It is the same before the first reading and after it.
    pub fn first_sight(settings: &Settings) -> Inventory {
        let note = Some("the GPUs were not read yet".to_owned());
        Inventory { driver: kernel::loaded(&settings.proc_root), note, ..Inventory::default() }
    }

    /// NVIDIA's cards, or why there are none.
    fn nvidia(&mut self) -> Result<Inventory, Error> {
        if self.driver.is_none() {
            match Driver::open(self.settings.library.as_deref(), self.settings.is_profiled) {
                Ok(driver) => self.driver = Some(driver),
                Err(Missing::Broken(error)) => return Err(error),
                Err(Missing::Module) => {
                    return Ok(nothing("the kernel module of NVIDIA's driver is not loaded"));
                }
                Err(Missing::Library(error)) => return self.without_library(&error),
            }
        }
        let Some(driver) = &mut self.driver else { return Ok(Inventory::default()) };
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or_default() * 1000;
        let read = driver.read(now);
        let on_disk = driver.library().and_then(kernel::on_disk);
        let mut inventory = match read {
            Ok(inventory) => inventory,
            Err(error) => {
                // A driver that was replaced is loaded anew.
                self.driver = None;
                return Err(error);
            }
        };
        let loaded = kernel::loaded(&self.settings.proc_root);
        if let Some((loaded, on_disk)) = loaded.zip(on_disk).filter(|(a, b)| a != b) {
            inventory.is_mismatched = true;
            inventory.note = Some(format!(
                "the driver was replaced: its kernel module is {loaded}, its library {on_disk}; nothing new with GPUs starts before the host is restarted"
            ));
        }
        if inventory.gpus.is_empty() {
            inventory.note = Some("NVIDIA's driver knows no card".to_owned());
        }
        Ok(inventory)
    }

    fn without_library(&self, error: &str) -> Result<Inventory, Error> {
        let Settings { library, program, program_limit, .. } = &self.settings;
        match (smi::find(program), library) {
            (Some(program), _) => smi::read(&program, *program_limit),
            (None, None) => Ok(nothing("NVIDIA's library (libnvidia-ml.so.1) is not there")),
            // What an operator names must be there.
            (None, Some(library)) => Err(Error::Unreadable(format!(
                "the library {} can't be loaded: {error}",
                library.display()
            ))),
        }
    }

    fn complete(&self, gpu: &mut Gpu) {
        let Settings { proc_root, sys_root, .. } = &self.settings;
        gpu.numa = gpu.numa.or_else(|| numa(sys_root, gpu.pci.as_deref()?));
        if gpu.vendor == GpuVendor::Nvidia {
            gpu.minor = gpu.minor.or_else(|| kernel::minor(proc_root, gpu.pci.as_deref()?));
        }
        for process in &mut gpu.processes {
            process.name = host::process_name(proc_root, process.pid);
            process.container = host::container_of(proc_root, process.pid);
        }
    }
}

impl Probe for Machine {
    fn read(&mut self) -> Result<Inventory, Error> {
        let mut inventory = self.nvidia()?;
        let amd = amd::read(&self.settings.sys_root);
        if !amd.is_empty() {
            if inventory.gpus.is_empty() {
                inventory.note = None;
            }
            inventory.by = inventory.by.or(Some("sysfs"));
            inventory.gpus.extend(amd);
        }
        if inventory.gpus.is_empty() {
            // A library that stays loaded would hide one that is put in its place.
            self.driver = None;
        }
        for gpu in &mut inventory.gpus {
            self.complete(gpu);
        }
        inventory.driver = inventory.driver.or_else(|| kernel::loaded(&self.settings.proc_root));
        Ok(inventory)
    }

    fn xids(&mut self) -> Vec<(String, u64)> {
        self.driver.as_mut().map(Driver::xids).unwrap_or_default()
    }
}

fn nothing(why: &str) -> Inventory {
    Inventory { note: Some(why.to_owned()), ..Inventory::default() }
}

/// The memory node that a PCI device is next to. NVML writes addresses with eight digits of domain,
/// sysfs with four.
fn numa(sys_root: &Path, pci: &str) -> Option<u32> {
    let address = pci.to_ascii_lowercase();
    let (domain, rest) = address.split_once(':')?;
    let domain = domain.get(domain.len().saturating_sub(4)..)?;
    let file = sys_root.join(format!("bus/pci/devices/{domain}:{rest}/numa_node"));
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
