//! Work that may always wait.

use std::fs::File;

/// Lets everything else on the machine go before this thread.
pub fn lower_priority() {
    /// The least there is.
    const LEAST: i32 = 19;
    // Without it, the work is done all the same. On Linux this is about the thread alone.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LEAST);
}

/// Has the pages of a file read from the disk again: what is in memory says nothing about it. Pages
/// that somebody uses stay.
pub(super) fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}
