//! Processes of real containers, as the driver names them.

use berth::{
    gpu::{Machine, Probe as _, Settings},
    state::ContainerId,
};

use super::engine::{self, TINY, docker};
use crate::gpu::Fake;

/// Removes a container at the end, however the test ends.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = engine::try_docker(&["rm", "-f", &self.0]);
    }
}

/// The driver always says the host's numbers, whatever a container calls its processes.
#[test]
fn a_process_on_a_card_is_known_by_its_container() {
    engine::must_be_ready();
    let name = format!("berth-test-gpu-{}", std::process::id());
    let id = docker(&["run", "-d", "--name", &name, TINY, "sleep", "600"]);
    let made = Made(id);
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &made.0]);
    let own = std::process::id();
    let fake = Fake::new(&format!(
        "gpu 0 uuid=GPU-a name=x total=100\nprocess 0 pid={pid} mib=10 sm=5\n\
         process 0 pid={own} mib=1\nprocess 0 pid=4194303 mib=1\n"
    ));
    let settings = Settings { proc_root: "/proc".into(), ..fake.settings() };
    let gpu = Machine::new(settings, berth::clock::Clock::System).read().unwrap().gpus.remove(0);
    let of = |pid: u32| gpu.processes.iter().find(|process| process.pid == pid).unwrap();
    let inside = of(pid.parse().unwrap());
    assert_eq!(inside.container, Some(ContainerId::new(&made.0)));
    assert_eq!(inside.name.as_deref(), Some("sleep"));
    assert_eq!((inside.memory, inside.utilization), (Some(10 << 20), Some(5)));
    assert_eq!(
        of(own).container.as_ref().map(ContainerId::as_str),
        berth::host::own_container().as_deref()
    );
    assert_eq!((&of(4_194_303).name, &of(4_194_303).container), (&None, &None));
}
