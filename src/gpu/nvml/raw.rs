//! The calls that the wrapper does not have, or has wrong: the only unsafe code.
#![expect(unsafe_code, reason = "the library is C")]

use nvml_wrapper::Device;

/// `NVML_SUCCESS`.
const SUCCESS: u32 = 0;
/// `NVML_NVLINK_DEVICE_TYPE_SWITCH`.
const SWITCH: u32 = 2;

/// The numbers of a MIG device's GPU instance and compute instance.
pub(super) fn instances(part: &Device<'_>) -> Option<(u32, u32)> {
    let (library, mut gpu, mut compute) = (part.nvml().lib(), 0, 0);
    let of_gpu = library.nvmlDeviceGetGpuInstanceId.as_ref().ok()?;
    let of_compute = library.nvmlDeviceGetComputeInstanceId.as_ref().ok()?;
    // SAFETY: the handle is a live device's, and both calls only write one number each.
    let answers = unsafe {
        (of_gpu(part.handle(), &raw mut gpu), of_compute(part.handle(), &raw mut compute))
    };
    (answers == (SUCCESS, SUCCESS)).then_some((gpu, compute))
}

/// Whether an `NVLink` ends in a switch. The wrapper's own call always answers that it is not known.
pub(super) fn leads_into_switch(device: &Device<'_>, link: u32) -> bool {
    let Ok(kind_of) = device.nvml().lib().nvmlDeviceGetNvLinkRemoteDeviceType.as_ref() else {
        return false;
    };
    let mut kind = 0;
    // SAFETY: the handle is a live device's, and the call only writes one number.
    let answer = unsafe { kind_of(device.handle(), link, &raw mut kind) };
    answer == SUCCESS && kind == SWITCH
}
