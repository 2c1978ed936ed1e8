//! What the host says: who listens on its ports, what its disks let be done, and whether Berth
//! itself runs in a container.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior,
    setrlimit,
};

use crate::model::Protocol;
use crate::state::{ContainerId, HostPort};

/// The kernel's word for a listening TCP socket, and for an unconnected UDP one.
const TCP_LISTEN: &str = "0A";
const UDP_OPEN: &str = "07";

/// Every host port on which something listens, whatever the address. What can't be read is left
/// out: the start of a container is what finally tells (fault P02).
pub fn listening_ports() -> BTreeSet<HostPort> {
    let tables = [
        ("/proc/net/tcp", Protocol::Tcp, TCP_LISTEN),
        ("/proc/net/tcp6", Protocol::Tcp, TCP_LISTEN),
        ("/proc/net/udp", Protocol::Udp, UDP_OPEN),
        ("/proc/net/udp6", Protocol::Udp, UDP_OPEN),
    ];
    let mut ports = BTreeSet::new();
    for (path, protocol, state) in tables {
        let text = fs::read_to_string(path).unwrap_or_default();
        ports.extend(
            text.lines()
                .skip(1)
                .filter_map(|line| port_of(line, state))
                .map(|port| (protocol, port)),
        );
    }
    ports
}

/// The local port of a line of such a table, when its socket is in `state`.
/// Format: proc(5), `/proc/net/tcp`: number, local address, remote address, state, ….
fn port_of(line: &str, state: &str) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let local = words.next()?;
    if words.nth(1)? != state {
        return None;
    }
    u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
}

/// What this machine calls itself: the id that its system was given, or else its name; empty where
/// it has neither.
pub fn name_for_itself() -> String {
    let named = ["/etc/machine-id", "/proc/sys/kernel/hostname"];
    let read = |path: &&str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    named.iter().filter_map(read).find(|name| !name.is_empty()).unwrap_or_default()
}

/// Keeps what is in this process's memory from being written by the kernel when it crashes, and
/// from being read by other programs of the same user.
///
/// # Errors
/// What the kernel said.
pub fn keep_memory() -> io::Result<()> {
    // Programs that the kernel hands a dump to are given it whatever this limit is; the second call
    // ends that, until this process starts another program, which inherits the limit alone.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Whether that was done.
pub fn is_memory_kept() -> bool {
    let is_kept = |behavior| matches!(behavior, DumpableBehavior::NotDumpable);
    dumpable_behavior().is_ok_and(is_kept) && getrlimit(Resource::Core).current == Some(0)
}

/// How many heaps the C library's allocator may make.
const HEAPS_MAX: libc::c_int = 2;

/// Has all threads share a few heaps. By itself glibc gives a heap to each thread, up to eight a
/// core, and each keeps what it once had: threads that come and go leave a process that grows.
#[expect(unsafe_code, reason = "the call has no safe wrapper")]
pub fn share_heaps() {
    // SAFETY: it sets a number; `M_ARENA_MAX` is one that mallopt(3) knows.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX)
    };
}

/// The mode of a folder that everybody may come into.
const OPEN: u32 = 0o755;

/// Opens a folder that was just made to users who are not its owner: an umask may have closed it.
pub fn open_to_others(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & OPEN == OPEN {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(OPEN))
}

/// What to do about a path that can't be written because all around it is read only, as the unit
/// has it for everything that is not named to it. Empty for other errors.
pub fn advice(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::ReadOnlyFilesystem {
        return String::new();
    }
    let path = path.display();
    format!(
        "; where systemd runs Berth, say that it may write there: `systemctl edit berth`, with \
         `[Service]` and `ReadWritePaths=` of a folder that is there and holds {path}, then \
         `systemctl restart berth`"
    )
}

/// How many bytes may still be written to the disk of `path`; none when nobody can tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let seen = rustix::fs::statvfs(path).ok()?;
    Some(seen.f_bavail.saturating_mul(seen.f_frsize))
}

/// The bytes of the disk of `path` that are used, and all that may be; none when nobody can tell.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let seen = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let used = seen.f_blocks.saturating_sub(seen.f_bfree).saturating_mul(seen.f_frsize);
    Some((used, used.saturating_add(seen.f_bavail.saturating_mul(seen.f_frsize))))
}

/// The full id of the container that this process runs in; none outside of containers.
///
/// Sources: `/proc/self/cgroup` names it with cgroup v1 (cgroups(7)); with v2 the mounts that the
/// engine makes for `/etc/hostname` lie in a folder named after it (`/proc/self/mountinfo`, proc(5)).
pub fn own_container() -> Option<String> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hostname = mounts.lines().filter(|line| line.contains("/hostname "));
    cgroup.lines().chain(hostname).find_map(container_id_in)
}

/// The container that a process of this host runs in; none for a program of the host itself, or
/// one that has ended. `proc_root` is `/proc`, or where the host's is mounted.
///
/// Whoever asks may be in a cgroup namespace of its own and sees paths from there (`/../<id>`),
/// engines differ in what they put around the id, and containers in containers add a tail. So
/// every path is looked through for the first id: the outermost container is the host's own.
pub fn container_of(proc_root: &Path, pid: u32) -> Option<ContainerId> {
    let cgroup = fs::read_to_string(proc_root.join(format!("{pid}/cgroup"))).ok()?;
    container_in_cgroup(&cgroup)
}

/// The container that the text of `/proc/PID/cgroup` names.
pub fn container_in_cgroup(cgroup: &str) -> Option<ContainerId> {
    cgroup.lines().find_map(container_id_in).map(ContainerId::new)
}

/// The short name of a process of this host; none once it has ended.
pub fn process_name(proc_root: &Path, pid: u32) -> Option<String> {
    let name = fs::read_to_string(proc_root.join(format!("{pid}/comm"))).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

fn container_id_in(line: &str) -> Option<String> {
    let is_id = |part: &&str| {
        part.len() == 64 && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let found = line.split(|c: char| !c.is_ascii_alphanumeric()).find(is_id);
    found.map(ToOwned::to_owned)
}

/// Whether this process may see what a file system keeps for itself (`trusted.*`). Who may not is told
/// that nothing is there.
pub fn sees_trusted() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| has_capability(&status, SYS_ADMIN))
}

/// `CAP_SYS_ADMIN`, by its number.
const SYS_ADMIN: u32 = 21;

fn has_capability(status: &str, number: u32) -> bool {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| (bits >> number) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_by_their_bits() {
        let status =
            |bits: &str| format!("Name:\tberth\nCapPrm:\t000001ffffffffff\nCapEff:\t{bits}\n");
        assert!(has_capability(&status("000001ffffffffff"), SYS_ADMIN));
        assert!(has_capability(&status("0000000000200000"), SYS_ADMIN));
        // Those of the packaged unit.
        assert!(!has_capability(&status("000000000008040b"), SYS_ADMIN));
        assert!(!has_capability("Name:\tberth\n", SYS_ADMIN));
    }

    #[test]
    fn listening_sockets_are_found_by_their_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening_ports().contains(&(Protocol::Tcp, port)));
    }

    #[test]
    fn a_path_that_is_read_only_names_the_way_out_and_nothing_else_does() {
        let of = |kind: io::ErrorKind| advice(Path::new("/mnt/backups/berth"), &kind.into());
        let said = of(io::ErrorKind::ReadOnlyFilesystem);
        assert!(said.contains("ReadWritePaths=") && said.contains("/mnt/backups/berth"), "{said}");
        assert_eq!(of(io::ErrorKind::PermissionDenied), "");
    }

    /// Fault D23.
    #[test]
    fn the_own_container_is_found_in_what_the_kernel_says() {
        let id = "0123456789abcdef".repeat(4);
        let v1 = format!("12:pids:/docker/{id}");
        let v2 = format!("661 651 254:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw");
        let systemd = format!("0::/system.slice/docker-{id}.scope");
        for line in [v1, v2, systemd] {
            assert_eq!(container_id_in(&line), Some(id.clone()));
        }
        assert_eq!(container_id_in("12:pids:/user.slice"), None);
    }

    /// Every form in which engines and their hosts write it.
    #[test]
    fn a_process_is_found_in_its_container_whoever_made_it() {
        let (id, inner) = ("0123456789abcdef".repeat(4), "f".repeat(64));
        for path in [
            format!("4:memory:/docker/{id}"),
            format!("1:name=systemd:/system.slice/docker-{id}.scope"),
            format!("0::/docker/{id}"),
            format!("0::/system.slice/docker-{id}.scope"),
            format!("0::/some/parent/{id}"),
            format!("0::/apps.slice/apps-web.slice/docker-{id}.scope"),
            format!(
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope"
            ),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("0::/docker/{id}/docker/{inner}"),
            format!("0::/docker/{id}/init.scope"),
            format!("0::/../{id}"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
        ] {
            let cgroup = format!("12:cpuset:/\n{path}\n");
            assert_eq!(container_in_cgroup(&cgroup), Some(ContainerId::new(&id)), "{path}");
        }
        for path in ["0::/", "0::/user.slice/user-0.slice/session-1.scope", "0::/docker/abc"] {
            assert_eq!(container_in_cgroup(path), None, "{path}");
        }
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("77");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("cgroup"), format!("0::/docker/{id}\n")).unwrap();
        fs::write(own.join("comm"), "python3\n").unwrap();
        assert_eq!(container_of(folder.path(), 77), Some(ContainerId::new(&id)));
        assert_eq!(process_name(folder.path(), 77).as_deref(), Some("python3"));
        assert_eq!(
            (container_of(folder.path(), 78), process_name(folder.path(), 78)),
            (None, None)
        );
    }

    #[test]
    fn no_dump_of_memory_is_left() {
        keep_memory().unwrap();
        assert!(is_memory_kept());
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().filter(|word| *word == "0").count(), 2, "{line}");
    }

    #[test]
    fn a_connected_socket_is_not_listening() {
        let line = "   1: 0100007F:1F41 0100007F:9C40 01 00000000:00000000 00:00000000 00000000";
        assert_eq!(port_of(line, TCP_LISTEN), None);
        assert_eq!(port_of(&line.replace(" 01 ", " 0A "), TCP_LISTEN), Some(8001));
    }
}
