//! The structures in which NVML tells, with the sizes of its header.

use std::collections::BTreeMap;

use crate::state::number;

pub const OK: u32 = 0;
pub const UNINITIALIZED: u32 = 1;
pub const ARGUMENT: u32 = 2;
pub const NOT_SUPPORTED: u32 = 3;
pub const NOT_FOUND: u32 = 6;
pub const INSUFFICIENT: u32 = 7;
pub const TIMEOUT: u32 = 10;
pub const MEMORY: u32 = 20;
pub const VERSION: u32 = 25;

/// What a figure or a number is when there is none.
const NONE: u32 = u32::MAX;

#[repr(C)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub used: u64,
}

#[repr(C)]
pub struct MemoryV2 {
    pub version: u32,
    pub total: u64,
    pub reserved: u64,
    pub free: u64,
    pub used: u64,
}

#[repr(C)]
pub struct Utilization {
    pub gpu: u32,
    pub memory: u32,
}

#[repr(C)]
pub struct Pci {
    legacy: [u8; 16],
    domain: u32,
    bus: u32,
    device: u32,
    id: u32,
    subsystem: u32,
    address: [u8; 32],
}

impl Pci {
    /// From an address such as `00000000:3B:00.0`.
    pub fn new(text: &str) -> Self {
        let mut numbers = text.split([':', '.']).map(|part| u32::from_str_radix(part, 16));
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
        let (domain, bus, device) = (next(), next(), next());
        let mut pci = Self {
            legacy: [0; 16],
            domain,
            bus,
            device,
            id: 0x2335_10de,
            subsystem: 0,
            address: [0; 32],
        };
        copy(text, &mut pci.address);
        copy(text.get(4..).unwrap_or_default(), &mut pci.legacy);
        pci
    }
}

/// Writes a text with a zero after it.
fn copy(text: &str, to: &mut [u8]) {
    let last = to.len() - 1;
    for (to, byte) in to[..last].iter_mut().zip(text.bytes()) {
        *to = byte;
    }
}

#[repr(C)]
pub struct Process {
    pid: u32,
    memory: u64,
    gpu_instance: u32,
    compute_instance: u32,
}

impl Process {
    pub fn new(words: &BTreeMap<String, String>) -> Self {
        Self {
            pid: number(words, "pid").unwrap_or_default() as u32,
            memory: bytes(words, "mib").unwrap_or(u64::MAX),
            gpu_instance: number(words, "gi").map_or(NONE, |id| id as u32),
            compute_instance: number(words, "ci").map_or(NONE, |id| id as u32),
        }
    }
}

#[repr(C)]
pub struct Sample {
    pid: u32,
    at: u64,
    sm: u32,
    memory: u32,
    encoder: u32,
    decoder: u32,
}

impl Sample {
    /// Two samples of a process, the newer one with its figure; none of one that has none.
    pub fn of(words: &BTreeMap<String, String>, since: u64) -> Vec<Self> {
        let Some(sm) = number(words, "sm") else { return Vec::new() };
        let pid = number(words, "pid").unwrap_or_default() as u32;
        let at = |at, sm| Self { pid, at, sm, memory: 0, encoder: 0, decoder: 0 };
        vec![at(since + 2, sm as u32), at(since + 1, 1)]
    }
}

#[repr(C)]
pub struct Field {
    pub id: u32,
    scope: u32,
    at: i64,
    latency: i64,
    kind: u32,
    answer: u32,
    value: u64,
}

impl Field {
    pub fn say(&mut self, value: Option<u64>) {
        self.answer = if value.is_some() { OK } else { NOT_SUPPORTED };
        // An unsigned number of four bytes.
        self.kind = 1;
        self.value = value.unwrap_or_default();
    }
}

#[repr(C)]
pub struct Attributes {
    pub of_units: [u32; 6],
    pub slices: u32,
    pub compute_slices: u32,
    pub memory: u64,
}

#[repr(C)]
pub struct Event {
    pub device: crate::Handle,
    pub kind: u64,
    pub data: u64,
    pub gpu_instance: u32,
    pub compute_instance: u32,
}

const _: () = assert!(
    size_of::<Memory>() == 24
        && size_of::<MemoryV2>() == 40
        && size_of::<Pci>() == 68
        && size_of::<Process>() == 24
        && size_of::<Sample>() == 32
        && size_of::<Field>() == 40
        && size_of::<Attributes>() == 40
        && size_of::<Event>() == 32
);

/// Bytes of so many MiB.
pub fn bytes(words: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    number(words, name).map(|mib| mib << 20)
}

/// Gives a list to who has asked for its length before.
///
/// # Safety
/// `count` can be read and written, and `to` has room for so many.
pub unsafe fn list<T>(found: Result<Vec<T>, u32>, count: *mut u32, to: *mut T) -> u32 {
    let found = match found {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    // SAFETY: the caller's promise.
    unsafe {
        let room = *count as usize;
        *count = found.len() as u32;
        if room < found.len() || (to.is_null() && !found.is_empty()) {
            return INSUFFICIENT;
        }
        for (at, one) in found.into_iter().enumerate() {
            to.add(at).write(one);
        }
    }
    OK
}
