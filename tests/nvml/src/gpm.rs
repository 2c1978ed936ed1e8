//! GPM: samples of a card, and what lies between two of them. What is told is what the state says when
//! it is asked; samples only carry which card they are of, and which came first.

use std::{
    ffi::c_char,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{
    Handle, about, called, give,
    told::{ARGUMENT, MEMORY, NOT_SUPPORTED, OK, VERSION},
};

/// More samples than these at a time are somebody's who frees none.
const SAMPLES_MAX: usize = 16;

/// How many samples there are.
static SAMPLES: AtomicUsize = AtomicUsize::new(0);
/// How many were taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// `nvmlGpmSupport_t`.
#[repr(C)]
pub struct Support {
    version: u32,
    is_supported: u32,
}

/// `struct nvmlGpmSample_st`, of which callers know nothing.
pub struct Sample {
    gpu: usize,
    number: u64,
}

/// `nvmlGpmMetric_t`.
#[repr(C)]
pub struct Metric {
    id: u32,
    answer: u32,
    value: f64,
    texts: [*const c_char; 3],
}

/// `nvmlGpmMetricsGet_t`, without its metrics: how many there are differs from driver to driver.
#[repr(C)]
pub struct Request {
    version: u32,
    count: u32,
    samples: [*const Sample; 2],
}

const _: () = assert!(size_of::<Metric>() == 40 && size_of::<Request>() == 24);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmQueryDeviceSupport(device: Handle, to: *mut Support) -> u32 {
    // SAFETY: as NVML's documentation says.
    if unsafe { (*to).version } != 1 {
        return VERSION;
    }
    let gpu = crate::meant(device).gpu;
    let said = about("nvmlGpmQueryDeviceSupport", device, |_, state| {
        Ok(Support { version: 1, is_supported: u32::from(state.gpm.contains_key(&gpu)) })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleAlloc(to: *mut *mut Sample) -> u32 {
    called("nvmlGpmSampleAlloc");
    if SAMPLES_MAX <= SAMPLES.fetch_add(1, Ordering::SeqCst) {
        SAMPLES.fetch_sub(1, Ordering::SeqCst);
        return MEMORY;
    }
    let sample = Box::new(Sample { gpu: usize::MAX, number: 0 });
    // SAFETY: as NVML's documentation says.
    unsafe { to.write(Box::into_raw(sample)) };
    OK
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleFree(sample: *mut Sample) -> u32 {
    // SAFETY: it is one that was given out above, and is given back once.
    drop(unsafe { Box::from_raw(sample) });
    SAMPLES.fetch_sub(1, Ordering::SeqCst);
    OK
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleGet(device: Handle, sample: *mut Sample) -> u32 {
    let gpu = crate::meant(device).gpu;
    let said = about("nvmlGpmSampleGet", device, |_, state| {
        state.gpm.get(&gpu).ok_or(NOT_SUPPORTED)?;
        Ok(Sample { gpu, number: TAKEN.fetch_add(1, Ordering::SeqCst) + 1 })
    });
    // SAFETY: as NVML's documentation says.
    unsafe { give(said, sample) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmMetricsGet(request: *mut Request) -> u32 {
    let state = called("nvmlGpmMetricsGet");
    // SAFETY: as NVML's documentation says: both samples are alive.
    let (version, count, first, second) = unsafe {
        let Request { version, count, samples: [first, second] } = &*request;
        (*version, *count, &**first, &**second)
    };
    if version != 1 {
        return VERSION;
    }
    if first.gpu != second.gpu || first.number == 0 || second.number <= first.number {
        return ARGUMENT;
    }
    let Some(figures) = state.gpm.get(&first.gpu) else { return NOT_SUPPORTED };
    // SAFETY: the metrics come right behind, as many as the caller says.
    let metrics =
        unsafe { std::slice::from_raw_parts_mut(request.add(1).cast::<Metric>(), count as usize) };
    for metric in metrics {
        let said = figures.get(&metric.id.to_string());
        let value = match said.map(String::as_str) {
            Some("samples") => Some((second.number - first.number) as f64),
            said => said.and_then(|text| text.parse().ok()),
        };
        metric.answer = if value.is_some() { OK } else { NOT_SUPPORTED };
        metric.value = value.unwrap_or_default();
        metric.texts = [c"figure".as_ptr(), c"a figure".as_ptr(), c"".as_ptr()];
    }
    OK
}
