//! Errors that cards report: sets of events, which remember how many they have told.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    Handle, called, handle, pause,
    told::{Event, OK, TIMEOUT},
};

/// How many errors were told. One for the whole library: tests have one set at a time.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut Handle) -> u32 {
    // What was before is not told.
    let state = called("nvmlEventSetCreate");
    let last = state.xids.iter().map(|[number, ..]| *number).max().unwrap_or_default();
    TOLD.store(last, Ordering::SeqCst);
    // SAFETY: as NVML's documentation says.
    unsafe { set.write(handle(0, None)) };
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(_: Handle) -> u32 {
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(device: Handle, _: u64, _: Handle) -> u32 {
    crate::about("nvmlDeviceRegisterEvents", device, |_, _| Ok(())).err().unwrap_or(OK)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(_: Handle, to: *mut Event, limit: u32) -> u32 {
    let mut left = limit;
    loop {
        let state = called("nvmlEventSetWait_v2");
        let told = TOLD.load(Ordering::SeqCst);
        let mut new: Vec<_> = state.xids.iter().filter(|[number, ..]| told < *number).collect();
        new.sort();
        if let Some([number, gpu, code]) = new.first() {
            TOLD.store(*number, Ordering::SeqCst);
            let (device, none) = (handle(*gpu as usize, None), u32::MAX);
            let event = Event {
                device,
                kind: XID,
                data: *code,
                gpu_instance: none,
                compute_instance: none,
            };
            // SAFETY: as NVML's documentation says.
            unsafe { to.write(event) };
            return OK;
        }
        if left == 0 {
            return TIMEOUT;
        }
        let step = left.min(20);
        pause(step as i32);
        left -= step;
    }
}
