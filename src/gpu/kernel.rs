//! What the kernel and the disk say of NVIDIA's driver, without asking it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The library's name, as programs load it.
pub(super) const LIBRARY: &str = "libnvidia-ml.so.1";

/// The version of the kernel module that is loaded; none without one.
/// Format: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar …`.
pub(super) fn loaded(proc_root: &Path) -> Option<String> {
    let text = fs::read_to_string(proc_root.join("driver/nvidia/version")).ok()?;
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    line.split_whitespace().find(|word| is_version(word)).map(ToOwned::to_owned)
}

/// The version of the library that a program which starts now would load; none when its name does
/// not tell.
pub(super) fn on_disk(library: &Path) -> Option<String> {
    let file = fs::canonicalize(library).ok()?;
    let version = file.file_name()?.to_str()?.strip_prefix("libnvidia-ml.so.")?;
    is_version(version).then(|| version.to_owned())
}

/// Where the library lies that this process has loaded.
pub(super) fn mapped() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let at = maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        path.contains("/libnvidia-ml.so").then_some(path)
    })?;
    Some(Path::new(at).parent()?.join(LIBRARY))
}

/// The number of a card's device node, by where it is on the bus: `00000000:3B:00.0` or shorter.
/// Format: a folder for each card, with a line such as `Device Minor: 0`.
pub(super) fn minor(proc_root: &Path, pci: &str) -> Option<u32> {
    let place = |text: &str| text.trim_start_matches('0').to_ascii_lowercase();
    let folders = fs::read_dir(proc_root.join("driver/nvidia/gpus")).ok()?;
    let is_it = |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| place(name) == place(pci))
    };
    let folder = folders.flatten().find(is_it)?;
    let text = fs::read_to_string(folder.path().join("information")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Device Minor:")?.trim().parse().ok())
}

fn is_version(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_module_and_from_the_librarys_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(loaded(folder.path()), None);
        fs::create_dir_all(folder.path().join("driver/nvidia")).unwrap();
        for (line, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
                "550.54.15",
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build",
                "580.95.05",
            ),
        ] {
            let text = format!("{line}\nGCC version:  gcc version 12.2.0\n");
            fs::write(folder.path().join("driver/nvidia/version"), text).unwrap();
            assert_eq!(loaded(folder.path()).as_deref(), Some(version));
        }
        let library = folder.path().join(LIBRARY);
        assert_eq!(on_disk(&library), None);
        fs::write(folder.path().join("libnvidia-ml.so.560.35.03"), "").unwrap();
        std::os::unix::fs::symlink("libnvidia-ml.so.560.35.03", &library).unwrap();
        assert_eq!(on_disk(&library).as_deref(), Some("560.35.03"));
    }
}
