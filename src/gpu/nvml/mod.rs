//! NVIDIA's cards by NVML, the driver's own library.
//!
//! # Guarantees
//! - What a card does not support is absent, never 0.
//! - An error of one card stays that card's (fault U04): it is shown with what was known of it, and
//!   why it is not given away.

mod card;
mod links;
mod profile;
mod raw;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use nvml_wrapper::{
    Device, EventSet, Nvml, bitmasks::event::EventTypes, cuda_driver_version_major,
    cuda_driver_version_minor, enums::event::XidError, error::NvmlError,
};

use super::{Error, kernel};
use crate::state::{Gpu, GpuHealth, GpuLink, Inventory};
use card::Reading;
use profile::Sampler;

/// Where the library is, when its plain name does not find it: Windows' subsystem for Linux.
const OTHER_LIBRARIES: [&str; 1] = ["/usr/lib/wsl/lib/libnvidia-ml.so.1"];
/// How long an event is waited for, in milliseconds: those that are there come at once.
const EVENT_WAIT: u32 = 1;
/// More events than these in one reading are read the next time.
const EVENTS_MAX: usize = 64;
/// What double bit errors are called among the numbered errors.
const XID_DOUBLE_BIT: u64 = 48;
/// A reading of how the cards are linked serves for so many readings.
const LINKS_EVERY: u32 = 60;

/// Why NVML can't be used.
#[derive(Debug)]
pub(super) enum Missing {
    /// There is no library.
    Library(String),
    /// The kernel module is not loaded.
    Module,
    /// It is there and can't be used.
    Broken(Error),
}

/// A library that is loaded and initialized.
pub(super) struct Driver {
    session: Session,
    /// What was last known of each card, by index.
    known: BTreeMap<u32, Gpu>,
    links: BTreeMap<String, Vec<GpuLink>>,
    readings: u32,
    xids: Vec<(String, u64)>,
    library: Option<PathBuf>,
    is_profiled: bool,
}

/// What is kept from one reading to the next and belongs to the library.
struct Kept<'nvml> {
    events: Option<EventSet<'nvml>>,
    sampler: Sampler<'nvml>,
}

self_cell::self_cell!(
    struct Session {
        owner: Nvml,
        #[not_covariant]
        dependent: Kept,
    }
);

impl Driver {
    /// Loads the library, the given one or the machine's.
    pub(super) fn open(library: Option<&Path>, is_profiled: bool) -> Result<Self, Missing> {
        let nvml = load(library)?;
        let session =
            Session::new(nvml, |nvml| Kept { events: register(nvml), sampler: Sampler::default() });
        let library = library.map(Path::to_owned).or_else(kernel::mapped);
        Ok(Self {
            session,
            known: BTreeMap::new(),
            links: BTreeMap::new(),
            readings: 0,
            xids: Vec::new(),
            library,
            is_profiled,
        })
    }

    /// Where the library lies, as far as that is known.
    pub(super) fn library(&self) -> Option<&Path> {
        self.library.as_deref()
    }

    /// Reads everything. An error is one of the whole driver.
    pub(super) fn read(&mut self, now_micros: u64) -> Result<Inventory, Error> {
        let Self { session, known, links, readings, xids, is_profiled, .. } = self;
        session.with_dependent_mut(|nvml, kept| {
            let count = nvml.device_count().map_err(whole)?;
            let mut gpus = Vec::new();
            for index in 0..count {
                let mut gpu = card_at(nvml, index, known.get(&index), now_micros)?;
                if *is_profiled && !gpu.is_mig && gpu.health.problems.is_empty() {
                    gpu.telemetry.profile = kept.sampler.take(nvml, index, now_micros);
                } else {
                    kept.sampler.forget(index);
                }
                gpus.push(gpu);
            }
            known.extend(gpus.iter().map(|gpu| (gpu.index, gpu.clone())));
            let is_known = gpus.iter().all(|gpu| links.contains_key(&gpu.uuid));
            if !is_known || readings.is_multiple_of(LINKS_EVERY) {
                *links = links::read(nvml, &gpus);
            }
            *readings = readings.wrapping_add(1);
            for gpu in &mut gpus {
                gpu.links = links.get(&gpu.uuid).cloned().unwrap_or_default();
            }
            drain(kept.events.as_ref(), xids, known);
            let cuda = nvml.sys_cuda_driver_version().ok().filter(|version| 0 < *version);
            Ok(Inventory {
                gpus,
                driver: nvml.sys_driver_version().ok(),
                cuda: cuda.map(|version| {
                    let major = cuda_driver_version_major(version);
                    format!("{major}.{}", cuda_driver_version_minor(version))
                }),
                by: Some("nvml"),
                ..Inventory::default()
            })
        })
    }

    /// The errors that were reported since the last time.
    pub(super) fn xids(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.xids)
    }
}

fn load(library: Option<&Path>) -> Result<Nvml, Missing> {
    let init = |path: Option<&OsStr>| match path {
        Some(path) => Nvml::builder().lib_path(path).init(),
        None => Nvml::init(),
    };
    let mut loaded = init(library.map(Path::as_os_str));
    if library.is_none() {
        for other in OTHER_LIBRARIES {
            if matches!(loaded, Err(NvmlError::LibloadingError(_))) {
                loaded = init(Some(OsStr::new(other)));
            }
        }
    }
    loaded.map_err(|error| match error {
        NvmlError::LibloadingError(error) => Missing::Library(error.to_string()),
        NvmlError::DriverNotLoaded => Missing::Module,
        error => Missing::Broken(whole(error)),
    })
}

/// Has the driver keep the errors of every card that can report them.
fn register(nvml: &Nvml) -> Option<EventSet<'_>> {
    let wanted = EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR;
    let count = nvml.device_count().ok()?;
    let mut able: Vec<(Device<'_>, EventTypes)> = (0..count)
        .filter_map(|index| nvml.device_by_index(index).ok())
        .filter_map(|device| {
            let kinds = device.supported_event_types().ok()? & wanted;
            (!kinds.is_empty()).then_some((device, kinds))
        })
        .collect();
    // A card that refuses takes the whole set with it.
    while !able.is_empty() {
        let mut set = Some(nvml.create_event_set().ok()?);
        let refused = able.iter().position(|(device, kinds)| {
            set = set.take().and_then(|set| device.register_events(*kinds, set).ok());
            set.is_none()
        });
        match refused {
            Some(at) => drop(able.remove(at)),
            None => return set,
        }
    }
    None
}

/// Takes what the driver kept. An error of a card that says nothing about itself any more is found
/// by what was known of it.
fn drain(events: Option<&EventSet<'_>>, xids: &mut Vec<(String, u64)>, known: &BTreeMap<u32, Gpu>) {
    let Some(set) = events else { return };
    for _ in 0..EVENTS_MAX {
        let Ok(event) = set.wait(EVENT_WAIT) else { return };
        let uuid = event.device.uuid().ok().or_else(|| {
            let index = event.device.index().ok()?;
            known.get(&index).map(|gpu| gpu.uuid.clone())
        });
        let code = match event.event_data {
            Some(XidError::Value(code)) => code,
            Some(XidError::Unknown) => 0,
            None => XID_DOUBLE_BIT,
        };
        if let Some(uuid) = uuid {
            xids.push((uuid, code));
        }
    }
}

fn card_at(nvml: &Nvml, index: u32, known: Option<&Gpu>, now_micros: u64) -> Result<Gpu, Error> {
    let mut reading = Reading::default();
    let device = reading.must(nvml.device_by_index(index));
    let read = device.and_then(|device| card::read(&device, index, now_micros, &mut reading));
    if let Some(error) = reading.whole.take() {
        return Err(whole(error));
    }
    Ok(match read {
        Some(gpu) if reading.problems.is_empty() => gpu,
        // What it was stays known; what it did a moment ago is not what it does.
        read => {
            let known = read.or_else(|| {
                let known = known?.clone();
                Some(Gpu { processes: Vec::new(), ..known })
            });
            let known = known.unwrap_or_else(|| nameless(index));
            let health = GpuHealth { problems: reading.problems, ..GpuHealth::default() };
            Gpu { index, health, telemetry: reading.telemetry, ..known }
        }
    })
}

/// A card of which only is known that it is there.
fn nameless(index: u32) -> Gpu {
    Gpu { uuid: format!("unknown-{index}"), index, ..Gpu::default() }
}

/// An error that is not one card's.
fn whole(error: NvmlError) -> Error {
    match error {
        NvmlError::LibRmVersionMismatch => Error::Mismatch,
        error => Error::Unreadable(format!("NVML says: {error}")),
    }
}
