//! What the library says, as text: one thing on each line.
//!
//! ```text
//! sys driver=550.54.15 cuda=12040 init=0
//! gpu 0 uuid=GPU-a name=NVIDIA_H200 total=143771 reserved=500 used=1024 util=87 power=312500
//! process 0 pid=4711 mib=9000 sm=80 kind=C
//! part 0 uuid=MIG-a name=NVIDIA_H200_MIG_1g.18gb total=18000 used=10 gi=7 ci=0
//! link 0 1 4
//! switch 0 18
//! topo 0 1 10
//! xid 1 0 79
//! gpm 0 2=87.5 20=512
//! hang nvmlDeviceGetPowerUsage
//! ```
//!
//! Memory is in MiB. A figure that is not there is not supported. `error=15` on a card is what
//! every call for it answers. `gpm` has figures by the numbers of NVML's header; a card without such a
//! line has no GPM, and `samples` is how many lie between two. `xid` carries a number that must grow for an error to be a new one.

use std::{collections::BTreeMap, ffi::CStr, fs, path::PathBuf, sync::OnceLock};

type Words = BTreeMap<String, String>;

#[derive(Default)]
pub struct State {
    pub sys: Words,
    pub gpus: BTreeMap<usize, Words>,
    pub processes: Vec<(usize, Words)>,
    pub parts: Vec<(usize, Words)>,
    pub links: Vec<[u64; 3]>,
    pub switches: Vec<[u64; 3]>,
    pub topology: Vec<[u64; 3]>,
    pub xids: Vec<[u64; 3]>,
    pub gpm: BTreeMap<usize, Words>,
    pub hangs: Vec<String>,
}

impl State {
    pub fn read() -> Self {
        let mut state = Self::default();
        let text = fs::read_to_string(folder().join("state")).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(kind) = words.next() else { continue };
            let rest: Vec<_> = words.collect();
            match kind {
                "sys" => state.sys = pairs(&rest),
                "gpu" => drop(state.gpus.insert(first(&rest), pairs(&rest))),
                "process" => state.processes.push((first(&rest), pairs(&rest))),
                "part" => state.parts.push((first(&rest), pairs(&rest))),
                "link" => state.links.push(numbers(&rest)),
                "switch" => state.switches.push(numbers(&rest)),
                "topo" => state.topology.push(numbers(&rest)),
                "gpm" => drop(state.gpm.insert(first(&rest), pairs(&rest))),
                "xid" => state.xids.push(numbers(&rest)),
                "hang" => state.hangs.extend(rest.iter().map(ToString::to_string)),
                _ => {}
            }
        }
        state
    }

    /// The figure of the system.
    pub fn sys(&self, name: &str, otherwise: &str) -> String {
        self.sys.get(name).cloned().unwrap_or_else(|| otherwise.to_owned())
    }

    /// The parts of a card.
    pub fn parts_of(&self, gpu: usize) -> Vec<&Words> {
        self.parts.iter().filter(|(of, _)| *of == gpu).map(|(_, part)| part).collect()
    }
}

/// A figure of a card, a part or a process; none is not supported.
pub fn number(words: &Words, name: &str) -> Option<u64> {
    words.get(name)?.parse().ok()
}

fn pairs(words: &[&str]) -> Words {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn first(words: &[&str]) -> usize {
    words.first().and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn numbers(words: &[&str]) -> [u64; 3] {
    let mut numbers = [0; 3];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.parse().unwrap_or_default();
    }
    numbers
}

/// The folder that this library was loaded from.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut info = Info { file: std::ptr::null(), rest: [std::ptr::null(); 3] };
        let here = folder as *const () as *const _;
        // SAFETY: the address is one of this library, and what comes back is a string of the
        // loader's that lives as long as the library.
        let file = unsafe {
            match dladdr(here, &raw mut info) {
                0 => return PathBuf::new(),
                _ => CStr::from_ptr(info.file),
            }
        };
        let file = PathBuf::from(file.to_string_lossy().into_owned());
        file.parent().map(PathBuf::from).unwrap_or_default()
    })
}

/// `Dl_info`.
#[repr(C)]
struct Info {
    file: *const std::ffi::c_char,
    rest: [*const std::ffi::c_void; 3],
}

unsafe extern "C" {
    fn dladdr(address: *const std::ffi::c_void, info: *mut Info) -> i32;
}
