//! The host's GPUs, without one: NVML's calls answered by a library of our own, `nvidia-smi` by a
//! script, AMD's driver by a tree of files.

mod amd;
mod nvml;
mod profile;
mod program;
mod smi;
mod watch;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use berth::{
    clock::Clock,
    gpu::{Error, Machine, Probe as _, Settings},
    state::Inventory,
};
use tempfile::TempDir;

/// Three cards: two linked ones of which one is at work, and one with MIG.
pub(crate) const THREE: &str = "
sys driver=550.54.15 cuda=12040
gpu 0 uuid=GPU-a name=NVIDIA_H200 minor=0 pci=00000000:3B:00.0 mode=0 cc=9.0 mig=0 total=143771 \
reserved=600 used=10240 util=87 memutil=40 enc=1 dec=2 temp=61 memtemp=70 power=312500 \
plimit=700000 energy=123456789 sm=1980 mclk=3201 replay=3 ecc_c=5 ecc_u=0 remap_c=1 remap_u=0 \
remap_pending=0 remap_failed=0 pages_pending=0 events=10
process 0 pid=4711 mib=9000 sm=80 kind=C
process 0 pid=4711 mib=10 kind=G
process 0 pid=4712 mib=1000 kind=M
process 0 pid=4713 kind=C
gpu 1 uuid=GPU-b name=NVIDIA_H200 minor=1 pci=00000000:5E:00.0 mode=3 cc=9.0 mig=0 total=143771 \
reserved=600 used=0 util=0 temp=30 power=75000 events=10
gpu 2 uuid=GPU-c name=NVIDIA_H200 minor=2 pci=00000001:00:00.0 mode=2 cc=9.0 mig=1 mig_max=7 \
total=143771 reserved=600 used=50 events=10
part 2 uuid=MIG-a name=NVIDIA_H200_MIG_1g.18gb total=18000 reserved=60 used=10 gi=7 ci=0
part 2 uuid=MIG-b name=other slices=3 total=71680 used=0 gi=2 ci=1
process 2 pid=4714 mib=10 gi=7 ci=0
link 0 1 4
topo 0 1 10
";

/// A folder with the library, what it says, and a `/proc` and a `/sys` of its own.
pub(crate) struct Fake(TempDir);

impl Fake {
    pub(crate) fn new(state: &str) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        std::fs::copy(library(), fake.path("libnvidia-ml.so.1")).unwrap();
        for folder in ["proc", "sys"] {
            std::fs::create_dir(fake.path(folder)).unwrap();
        }
        fake.say(state);
        fake
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }

    /// From now on the library says this; never half of it.
    pub(crate) fn say(&self, state: &str) {
        std::fs::write(self.path("state.new"), state).unwrap();
        std::fs::rename(self.path("state.new"), self.path("state")).unwrap();
    }

    /// Writes a file below `/proc` or `/sys`, or wherever.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            library: Some(self.path("libnvidia-ml.so.1")),
            program: self.path("no-such-program"),
            proc_root: self.path("proc"),
            sys_root: self.path("sys"),
            ..Settings::default()
        }
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::new(self.settings(), Clock::System)
    }

    pub(crate) fn read(&self) -> Result<Inventory, Error> {
        self.machine().read()
    }
}

/// The library, built when it is first needed.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/nvml");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--manifest-path", "tests/nvml/Cargo.toml"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("debug/libnvidia_ml.so")
    })
}
