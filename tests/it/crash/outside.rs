//! The world outside of Berth: images, what is not ours, folders in memory.

use std::{fs, path::Path, time::Duration};

use berth::{
    engine::fake::{Outcome, Script},
    model::{PortBinding, PortRange, Protocol},
    state::{Checkout, DetectedFile},
};

use super::workload::{APP, BYSTANDER, Workload, images, manifest, remote};
use crate::gpus::{card, inventory};
use crate::rig::{Rig, name};

/// Whoever has a port.
pub(crate) const HOLDER: &str = "holder";
/// How many builds go as they usually do.
const BUILDS: usize = 64;
/// How long a build or a pull takes.
const WORK: Duration = Duration::from_secs(1);

/// An engine on which nothing runs, and the manifests that are there at first.
pub(crate) fn rig(workload: &Workload) -> Rig {
    let mut rig = Rig::new();
    if let Ok(folder) = tempfile::tempdir_in(Path::new("/dev/shm")) {
        rig.folder = folder;
    }
    // Part of what is wanted, and so of the containers' names: the same in every play.
    "/srv/workspaces".clone_into(&mut rig.policy.workspaces);
    // Away from what other programs of this host like to use.
    rig.policy.ports = PortRange { first: 21_001, last: 21_099 };
    for (image, behaviour) in images() {
        rig.fake.add_image(image, behaviour);
    }
    rig.fake.add_remote(&remote(), work(), berth::engine::fake::Behaviour::default());
    rig.fake.add_foreign("postgres", Vec::new());
    if let Some(name) = &workload.squatted {
        rig.fake.add_foreign(name, Vec::new());
    }
    rig.cards.put(inventory(vec![card(0, 24)]));
    put_checkout(&rig, 'c');
    rig.files.insert("idle.yaml".to_owned(), manifest(BYSTANDER, "image: shop/app:1", ""));
    rig.files.extend(workload.before.iter().map(|(path, text)| ((*path).to_owned(), text.clone())));
    rig
}

/// Has so many of the next builds fail, and those after them take a while.
pub(crate) fn script_builds(rig: &Rig, failing: usize) {
    let scripts = (0..failing + BUILDS).map(|nth| if nth < failing { failed() } else { work() });
    scripts.for_each(|script| rig.fake.script_build(&name(APP), script));
}

/// Somebody else's container takes this port.
pub(crate) fn take_port(rig: &Rig, host_port: u16) {
    let (host_ip, protocol) = ("127.0.0.1".to_owned(), Protocol::Tcp);
    let binding = PortBinding { host_ip, host_port, container_port: 80, protocol };
    rig.fake.add_foreign(HOLDER, vec![binding]);
}

fn failed() -> Script {
    Script {
        log: vec!["Step 1/1 : RUN make".to_owned()],
        ..Script::fails("the command `make` returned code 2")
    }
}

/// A build or pull that works.
pub(crate) fn work() -> Script {
    let log = (1..4).map(|step| format!("Step {step}/3")).collect();
    Script { log, takes: WORK, outcome: Outcome::Works }
}

/// A checkout of this commit that is in place, so that nothing is fetched.
pub(crate) fn put_checkout(rig: &Rig, digit: char) {
    let checkout = Checkout {
        url: "https://git.example/shop/chat".to_owned(),
        reference: None,
        path: String::new(),
        resolved: None,
        submodules: false,
        commit: digit.to_string().repeat(40),
        tree: digit.to_string().repeat(40),
        files: vec![DetectedFile { path: "requirements.txt".to_owned() }],
        facts: std::collections::BTreeMap::new(),
        ahead: std::collections::BTreeMap::new(),
        looked_for: None,
    };
    let folder = rig.folder.path().join("workspaces").join(APP);
    fs::create_dir_all(folder.join("code")).unwrap();
    fs::write(folder.join("code/requirements.txt"), "flask\n").unwrap();
    // A log that can't be begun is not written. Whoever writes one waits outside of the runtime,
    // and as long as anybody does that, paused time stands still.
    fs::create_dir_all(folder.join(".berth/build.log.1")).unwrap();
    fs::write(folder.join(".berth/build.log"), "").unwrap();
    let metadata = serde_json::json!({"version": 1, "checkout": checkout});
    fs::write(folder.join("metadata.json"), metadata.to_string()).unwrap();
}
