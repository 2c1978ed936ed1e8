//! NVML's calls, as far as Berth and NVIDIA's own Python binding use them.
#![expect(clippy::missing_safety_doc, reason = "they are called as NVML's documentation says")]

mod events;
mod gpm;
mod state;
mod told;

use std::ffi::{CStr, c_char, c_void};

use state::{State, number};
use told::{
    ARGUMENT, Attributes, Field, INSUFFICIENT, Memory, MemoryV2, NOT_FOUND, NOT_SUPPORTED, OK, Pci,
    Process, Sample, UNINITIALIZED, Utilization, VERSION, bytes,
};

/// A card or a part of one, as a number that looks like an address.
pub type Handle = *mut c_void;
type Answer = u32;

/// What a handle means: a card, or one of its parts.
#[derive(Clone, Copy)]
pub struct Meant {
    gpu: usize,
    part: Option<usize>,
}

fn handle(gpu: usize, part: Option<usize>) -> Handle {
    ((gpu + 1) * 1000 + part.map_or(0, |part| part + 1)) as Handle
}

fn meant(handle: Handle) -> Meant {
    let number = handle as usize;
    Meant { gpu: (number / 1000).wrapping_sub(1), part: (number % 1000).checked_sub(1) }
}

/// The state for a call, once nothing says any more that the call hangs.
fn called(name: &str) -> State {
    loop {
        let state = State::read();
        if !state.hangs.iter().any(|hanging| hanging == name) {
            return state;
        }
        pause(20);
    }
}

/// Waits without the standard library, whose threads remember code of this one that may be gone
/// when they end.
fn pause(milliseconds: i32) {
    unsafe extern "C" {
        fn poll(files: *mut c_void, count: u64, milliseconds: i32) -> i32;
    }
    // SAFETY: no file is waited for.
    unsafe { poll(std::ptr::null_mut(), 0, milliseconds) };
}

/// What is said of a card, or the error that every call for it answers.
fn about<T>(
    name: &str,
    device: Handle,
    say: impl FnOnce(&std::collections::BTreeMap<String, String>, &State) -> Result<T, Answer>,
) -> Result<T, Answer> {
    let state = called(name);
    if state.sys("init", "0") != "0" {
        return Err(UNINITIALIZED);
    }
    let Meant { gpu, part } = meant(device);
    let card = state.gpus.get(&gpu).ok_or(ARGUMENT)?;
    if let Some(error) = number(card, "error") {
        return Err(error as Answer);
    }
    match part {
        None => say(card, &state),
        Some(part) => say(state.parts_of(gpu).get(part).ok_or(ARGUMENT)?, &state),
    }
}

/// Writes what is said where the caller wants it.
unsafe fn give<T>(said: Result<T, Answer>, to: *mut T) -> Answer {
    match said {
        Ok(said) => {
            // SAFETY: the caller gives a place for it.
            unsafe { to.write(said) };
            OK
        }
        Err(answer) => answer,
    }
}

unsafe fn give_text(said: Result<String, Answer>, to: *mut c_char, length: u32) -> Answer {
    match said {
        Ok(text) if length as usize <= text.len() => INSUFFICIENT,
        Ok(text) => {
            // SAFETY: the caller gives a place of that length.
            unsafe {
                to.cast::<u8>().copy_from(text.as_ptr(), text.len());
                to.add(text.len()).write(0);
            }
            OK
        }
        Err(answer) => answer,
    }
}

/// Calls that say a number of a card: name, type, key.
macro_rules! figures {
    ($($call:ident: $kind:ty = $key:literal,)*) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $call(device: Handle, to: *mut $kind) -> Answer {
            let say = |card: &std::collections::BTreeMap<String, String>, _: &State| {
                number(card, $key).map(|figure| figure as $kind).ok_or(NOT_SUPPORTED)
            };
            // SAFETY: as NVML's documentation says.
            unsafe { give(about(stringify!($call), device, say), to) }
        })*
    };
}

figures! {
    nvmlDeviceGetMinorNumber: u32 = "minor",
    nvmlDeviceGetComputeMode: u32 = "mode",
    nvmlDeviceGetMaxMigDeviceCount: u32 = "mig_max",
    nvmlDeviceGetPowerUsage: u32 = "power",
    nvmlDeviceGetEnforcedPowerLimit: u32 = "plimit",
    nvmlDeviceGetTotalEnergyConsumption: u64 = "energy",
    nvmlDeviceGetPcieReplayCounter: u32 = "replay",
    nvmlDeviceGetFanSpeed: u32 = "fan",
    nvmlDeviceGetRetiredPagesPendingStatus: u32 = "pages_pending",
    nvmlDeviceGetGpuInstanceId: u32 = "gi",
    nvmlDeviceGetComputeInstanceId: u32 = "ci",
    nvmlDeviceGetSupportedEventTypes: u64 = "events",
}

/// Calls that say a number of a card and ask for one of several: name, keys by the number asked.
macro_rules! chosen {
    ($($call:ident: $kind:ty = $keys:expr,)*) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $call(device: Handle, which: u32, to: *mut $kind) -> Answer {
            let say = |card: &std::collections::BTreeMap<String, String>, _: &State| {
                let key = $keys.get(which as usize).copied().unwrap_or("");
                number(card, key).map(|figure| figure as $kind).ok_or(NOT_SUPPORTED)
            };
            // SAFETY: as NVML's documentation says.
            unsafe { give(about(stringify!($call), device, say), to) }
        })*
    };
}

chosen! {
    nvmlDeviceGetTemperature: u32 = ["temp"],
    nvmlDeviceGetClockInfo: u32 = ["graphics", "sm", "mclk", "video"],
    nvmlDeviceGetFanSpeed_v2: u32 = ["fan"],
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Answer {
    called("nvmlInit_v2").sys("init", "0").parse().unwrap_or(OK)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_: u32) -> Answer {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Answer {
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(_: Answer) -> *const c_char {
    c"an error".as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: u32) -> Answer {
    let said = called("nvmlSystemGetDriverVersion").sys("driver", "550.54.15");
    // SAFETY: as NVML's documentation says.
    unsafe { give_text(Ok(said), to, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut i32) -> Answer {
    let state = called("nvmlSystemGetCudaDriverVersion_v2");
    // SAFETY: as NVML's documentation says.
    unsafe { give(state.sys("cuda", "12040").parse().map_err(|_| NOT_SUPPORTED), to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut u32) -> Answer {
    let state = called("nvmlDeviceGetCount_v2");
    let count = match state.sys("init", "0").parse().unwrap_or(OK) {
        OK => Ok(state.gpus.keys().next_back().map_or(0, |last| *last as u32 + 1)),
        error => Err(error),
    };
    // SAFETY: as NVML's documentation says.
    unsafe { give(count, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: u32, to: *mut Handle) -> Answer {
    let device = handle(index as usize, None);
    // SAFETY: as NVML's documentation says.
    unsafe { give(about("nvmlDeviceGetHandleByIndex_v2", device, |_, _| Ok(device)), to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, to: *mut Handle) -> Answer {
    // SAFETY: as NVML's documentation says.
    unsafe {
        let wanted = CStr::from_ptr(uuid).to_string_lossy();
        let state = called("nvmlDeviceGetHandleByUUID");
        let found =
            state.gpus.iter().find(|(_, card)| card.get("uuid").is_some_and(|u| *u == wanted));
        give(found.map(|(index, _)| handle(*index, None)).ok_or(NOT_FOUND), to)
    }
}

/// A text of a card or part.
fn text(call: &str, device: Handle, key: &str) -> Result<String, Answer> {
    about(call, device, |card, _| card.get(key).cloned().ok_or(NOT_SUPPORTED))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(device: Handle, to: *mut c_char, length: u32) -> Answer {
    let said = text("nvmlDeviceGetName", device, "name").map(|name| name.replace('_', " "));
    // SAFETY: as NVML's documentation says.
    unsafe { give_text(said, to, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(device: Handle, to: *mut c_char, length: u32) -> Answer {
    // SAFETY: as NVML's documentation says.
    unsafe { give_text(text("nvmlDeviceGetUUID", device, "uuid"), to, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetIndex(device: Handle, to: *mut u32) -> Answer {
    // Also a card that is lost has its number.
    // SAFETY: as NVML's documentation says.
    unsafe { give(Ok(meant(device).gpu as u32), to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(device: Handle, to: *mut Pci) -> Answer {
    let said = text("nvmlDeviceGetPciInfo_v3", device, "pci").map(|address| Pci::new(&address));
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo(device: Handle, to: *mut Memory) -> Answer {
    let said = about("nvmlDeviceGetMemoryInfo", device, |card, _| {
        let total = bytes(card, "total").ok_or(NOT_SUPPORTED)?;
        // The older call counts what is reserved as used.
        let used = bytes(card, "used").unwrap_or(0) + bytes(card, "reserved").unwrap_or(0);
        Ok(Memory { total, free: total - used, used })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Handle, to: *mut MemoryV2) -> Answer {
    // SAFETY: as NVML's documentation says.
    let version = unsafe { (*to).version };
    if version as usize != size_of::<MemoryV2>() | 2 << 24 {
        return VERSION;
    }
    let said = about("nvmlDeviceGetMemoryInfo_v2", device, |card, _| {
        let total = bytes(card, "total").ok_or(NOT_SUPPORTED)?;
        let reserved = bytes(card, "reserved").unwrap_or(0);
        let used = bytes(card, "used").unwrap_or(0);
        let free = total.saturating_sub(reserved + used);
        Ok(MemoryV2 { version, total, reserved, free, used })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: Handle,
    current: *mut u32,
    pending: *mut u32,
) -> Answer {
    let mode = about("nvmlDeviceGetMigMode", device, |card, _| {
        number(card, "mig").map(|mode| mode as u32).ok_or(NOT_SUPPORTED)
    });
    // SAFETY: as NVML's documentation says.
    unsafe {
        give(mode, current);
        give(mode, pending)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: Handle,
    index: u32,
    to: *mut Handle,
) -> Answer {
    let gpu = meant(device).gpu;
    let said = about("nvmlDeviceGetMigDeviceHandleByIndex", device, |_, state| {
        let part = state.parts_of(gpu).get(index as usize).map(|_| index as usize);
        part.map(|part| handle(gpu, Some(part))).ok_or(NOT_FOUND)
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetAttributes_v2(device: Handle, to: *mut Attributes) -> Answer {
    let said = about("nvmlDeviceGetAttributes_v2", device, |part, _| {
        let slices = number(part, "slices").ok_or(NOT_SUPPORTED)? as u32;
        let memory = number(part, "total").unwrap_or(0);
        Ok(Attributes { of_units: [0; 6], slices, compute_slices: slices, memory })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: Handle,
    to: *mut Utilization,
) -> Answer {
    let said = about("nvmlDeviceGetUtilizationRates", device, |card, _| {
        let gpu = number(card, "util").ok_or(NOT_SUPPORTED)? as u32;
        Ok(Utilization { gpu, memory: number(card, "memutil").unwrap_or(0) as u32 })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

unsafe fn coder(call: &str, device: Handle, key: &str, to: *mut u32, period: *mut u32) -> Answer {
    let said =
        about(call, device, |card, _| number(card, key).map(|n| n as u32).ok_or(NOT_SUPPORTED));
    // SAFETY: as NVML's documentation says.
    unsafe {
        give(Ok(167_000), period);
        give(said, to)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEncoderUtilization(
    device: Handle,
    to: *mut u32,
    period: *mut u32,
) -> Answer {
    // SAFETY: as NVML's documentation says.
    unsafe { coder("nvmlDeviceGetEncoderUtilization", device, "enc", to, period) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetDecoderUtilization(
    device: Handle,
    to: *mut u32,
    period: *mut u32,
) -> Answer {
    // SAFETY: as NVML's documentation says.
    unsafe { coder("nvmlDeviceGetDecoderUtilization", device, "dec", to, period) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: Handle,
    kind: u32,
    _: u32,
    to: *mut u64,
) -> Answer {
    let key = if kind == 0 { "ecc_c" } else { "ecc_u" };
    let said = about("nvmlDeviceGetTotalEccErrors", device, |card, _| {
        number(card, key).ok_or(NOT_SUPPORTED)
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: Handle,
    major: *mut i32,
    minor: *mut i32,
) -> Answer {
    let said = text("nvmlDeviceGetCudaComputeCapability", device, "cc");
    let halves = said.map(|text| {
        let (major, minor) = text.split_once('.').unwrap_or((&text, "0"));
        (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
    });
    // SAFETY: as NVML's documentation says.
    unsafe {
        give(halves.map(|(major, _)| major), major);
        give(halves.map(|(_, minor)| minor), minor)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: Handle,
    count: i32,
    to: *mut Field,
) -> Answer {
    let keys = [(82, "memtemp"), (142, "remap_c"), (143, "remap_u"), (144, "remap_pending")];
    let answered = about("nvmlDeviceGetFieldValues", device, |card, _| {
        for at in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: as NVML's documentation says.
            let field = unsafe { &mut *to.add(at) };
            let key = keys.iter().find(|(id, _)| *id == field.id).map(|(_, key)| *key);
            let key = key.or_else(|| (field.id == 145).then_some("remap_failed"));
            field.say(key.and_then(|key| number(card, key)));
        }
        Ok(())
    });
    answered.err().unwrap_or(OK)
}

/// The processes of one kind on a card, by NVML's way of asking twice.
unsafe fn processes(
    call: &str,
    device: Handle,
    kind: &str,
    count: *mut u32,
    to: *mut Process,
) -> Answer {
    let gpu = meant(device).gpu;
    let found = about(call, device, |_, state| {
        let mine = state.processes.iter().filter(|(of, _)| *of == gpu).map(|(_, process)| process);
        let is_kind = |p: &&std::collections::BTreeMap<String, String>| {
            p.get("kind").map_or(kind == "C", |word| word == kind)
        };
        Ok(mine.filter(is_kind).map(Process::new).collect::<Vec<_>>())
    });
    // SAFETY: as NVML's documentation says.
    unsafe { told::list(found, count, to) }
}

macro_rules! lists {
    ($($call:ident = $kind:literal,)*) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $call(device: Handle, count: *mut u32, to: *mut Process) -> Answer {
            // SAFETY: as NVML's documentation says.
            unsafe { processes(stringify!($call), device, $kind, count, to) }
        })*
    };
}

lists! {
    nvmlDeviceGetComputeRunningProcesses_v3 = "C",
    nvmlDeviceGetGraphicsRunningProcesses_v3 = "G",
    nvmlDeviceGetMPSComputeRunningProcesses_v3 = "M",
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: Handle,
    to: *mut Sample,
    count: *mut u32,
    since: u64,
) -> Answer {
    let gpu = meant(device).gpu;
    let found = about("nvmlDeviceGetProcessUtilization", device, |_, state| {
        let mine = state.processes.iter().filter(|(of, _)| *of == gpu);
        let samples: Vec<_> = mine.flat_map(|(_, process)| Sample::of(process, since)).collect();
        if samples.is_empty() { Err(NOT_FOUND) } else { Ok(samples) }
    });
    // SAFETY: as NVML's documentation says.
    unsafe { told::list(found, count, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    device: Handle,
    other: Handle,
    to: *mut u32,
) -> Answer {
    let (a, b) = (meant(device).gpu as u64, meant(other).gpu as u64);
    let said = about("nvmlDeviceGetTopologyCommonAncestor", device, |_, state| {
        let found = state
            .topology
            .iter()
            .find(|[from, to, _]| [a, b] == [*from, *to] || [b, a] == [*from, *to]);
        Ok(found.map_or(50, |[_, _, level]| *level as u32))
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

/// Where a card's link of this number leads: to a card, or into a switch.
fn link_end(state: &State, gpu: u64, link: u32) -> Option<Option<u64>> {
    let straight = state.links.iter().filter_map(|[a, b, count]| {
        let other = if *a == gpu {
            b
        } else if *b == gpu {
            a
        } else {
            return None;
        };
        Some(std::iter::repeat_n(Some(*other), *count as usize))
    });
    let switched = state.switches.iter().filter(|[of, ..]| *of == gpu);
    let switched = switched.map(|[_, count, _]| std::iter::repeat_n(None, *count as usize));
    straight.flatten().chain(switched.flatten()).nth(link as usize)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    device: Handle,
    link: u32,
    to: *mut u32,
) -> Answer {
    let gpu = meant(device).gpu as u64;
    let said = about("nvmlDeviceGetNvLinkState", device, |_, state| {
        if 18 <= link { Err(ARGUMENT) } else { Ok(u32::from(link_end(state, gpu, link).is_some())) }
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemoteDeviceType(
    device: Handle,
    link: u32,
    to: *mut u32,
) -> Answer {
    let gpu = meant(device).gpu as u64;
    let said = about("nvmlDeviceGetNvLinkRemoteDeviceType", device, |_, state| {
        let end = link_end(state, gpu, link).ok_or(NOT_SUPPORTED)?;
        Ok(if end.is_some() { 0 } else { 2 })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: Handle,
    link: u32,
    to: *mut Pci,
) -> Answer {
    let gpu = meant(device).gpu as u64;
    let said = about("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, |_, state| {
        let other = link_end(state, gpu, link).flatten().ok_or(NOT_SUPPORTED)?;
        let card = state.gpus.get(&(other as usize)).ok_or(ARGUMENT)?;
        Ok(Pci::new(card.get("pci").map_or("", String::as_str)))
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}
