//! Descriptions of devices in the engine's CDI folders, as far as Berth needs them.
//!
//! See the Container Device Interface specification, version 0.8: files called `*.json` and
//! `*.yaml`, each of one kind of devices. The engine reads them anew each time, so Berth does too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// A description larger than this is not read.
const BYTES_MAX: u64 = 4 << 20;
/// Files of the driver that carry its version in their names.
const VERSIONED: [&str; 2] = ["libcuda.so.", "libnvidia-ml.so."];

/// What the folders describe.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// The full names of the devices.
    pub(super) devices: BTreeSet<String>,
    /// The version of NVIDIA's driver that they name files of.
    pub(super) driver: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecWire {
    kind: Option<String>,
    #[serde(default)]
    devices: Vec<DeviceWire>,
}

#[derive(Deserialize)]
struct DeviceWire {
    name: Option<serde_json::Value>,
}

/// Reads the folders, each as `seen` from here. What can't be read describes nothing.
pub(super) fn read(folders: &[String], seen: impl Fn(&Path) -> PathBuf) -> Described {
    let mut described = Described::default();
    for folder in folders {
        let entries = fs::read_dir(seen(Path::new(folder))).into_iter().flatten();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            take(&path, &mut described);
        }
    }
    described
}

fn take(path: &Path, described: &mut Described) {
    let is_json = path.extension().is_some_and(|ext| ext == "json");
    let is_yaml = path.extension().is_some_and(|ext| ext == "yaml");
    let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= BYTES_MAX);
    if !(is_json || is_yaml) || !is_small {
        return;
    }
    let Ok(text) = fs::read_to_string(path) else { return };
    let spec: Option<SpecWire> =
        if is_json { serde_json::from_str(&text).ok() } else { serde_yaml::from_str(&text).ok() };
    let Some(SpecWire { kind: Some(kind), devices }) = spec else { return };
    for device in devices {
        let name = match device.name {
            Some(serde_json::Value::String(name)) => name,
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        described.devices.insert(format!("{kind}={name}"));
    }
    if kind == "nvidia.com/gpu" {
        described.driver = described.driver.take().or_else(|| version(&text));
    }
}

/// The version in the name of a file of the driver.
fn version(text: &str) -> Option<String> {
    VERSIONED.iter().flat_map(|sign| text.split(sign).skip(1)).find_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let version = rest[..end].trim_end_matches('.');
        (version.matches('.').count() >= 1).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_in_both_forms_are_read_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put(
            "nvidia.yaml",
            "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n- name: GPU-a\n  \
             containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia0\n- name: all\n\
             containerEdits:\n  mounts:\n  - hostPath: /usr/lib/libcuda.so.1\n  \
             - hostPath: /usr/lib/libcuda.so.550.54.15\n",
        );
        put("amd.json", r#"{"kind":"amd.com/gpu","devices":[{"name":"0"},{"name":7},{}]}"#);
        put("notes.txt", "kind: nvidia.com/gpu\ndevices: [{name: GPU-txt}]");
        put("broken.yaml", "kind: [nvidia.com/gpu");
        put("empty.json", "");
        let all = ["/etc/cdi".to_owned(), "/no/such/place".to_owned()];
        let seen = |path: &Path| {
            if path == Path::new("/etc/cdi") { folder.path().to_owned() } else { path.to_owned() }
        };
        let described = read(&all, seen);
        let names: Vec<_> = described.devices.iter().map(String::as_str).collect();
        let nvidia = ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-a", "nvidia.com/gpu=all"];
        assert_eq!(names[..2], ["amd.com/gpu=0", "amd.com/gpu=7"]);
        assert_eq!(names[2..], nvidia);
        assert_eq!(described.driver.as_deref(), Some("550.54.15"));
        // The engine reads them anew each time.
        put("more.yaml", "kind: berth.dev/gpu\ndevices: [{name: slice}]\n");
        assert!(read(&all, seen).devices.contains("berth.dev/gpu=slice"));
    }
}
