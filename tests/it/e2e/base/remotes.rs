//! Remotes of rclone, against real servers on the loopback.

use super::*;

/// Servers of two kinds that serve `/srv`, and a file there.
const SERVE: &str = "mkdir -p /srv; echo there >/srv/there; \
    rclone serve webdav /srv --addr 127.0.0.1:8090 >/tmp/dav.log 2>&1 & \
    rclone serve sftp /srv --addr 127.0.0.1:8022 --user me --pass word >/tmp/sftp.log 2>&1 & \
    sleep 600";
/// The same, as the image is told of them. The password is `word` as rclone writes it.
fn told() -> Vec<String> {
    let obscured = docker(&["run", "--rm", "--entrypoint", "rclone", image(), "obscure", "word"]);
    let variables = [
        "DAV_TYPE=webdav",
        "DAV_URL=http://127.0.0.1:8090",
        "DAV_VENDOR=other",
        "BOX_TYPE=sftp",
        "BOX_HOST=127.0.0.1",
        "BOX_PORT=8022",
        "BOX_USER=me",
    ];
    let all = variables.iter().map(|variable| format!("RCLONE_CONFIG_{variable}"));
    let all = all.chain([format!("RCLONE_CONFIG_BOX_PASS={obscured}")]);
    all.flat_map(|variable| ["-e".to_owned(), variable]).collect()
}

/// What this host can't give a container for mounts, in the words of the image.
fn missing_here() -> Option<&'static str> {
    let kernel = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !kernel.split_whitespace().any(|word| word == "fuse") {
        return Some("the kernel module fuse");
    }
    (!Path::new("/dev/fuse").exists()).then_some("the device /dev/fuse")
}

fn has_apparmor() -> bool {
    docker(&["info", "--format", "{{.SecurityOptions}}"]).contains("apparmor")
}

#[test]
fn remotes_are_copied_to_and_from_without_any_mount() {
    must_have_the_image();
    let told = told();
    let options: Vec<_> = told.iter().map(String::as_str).collect();
    let place = Box::start(&options, &["bash", "-c", SERVE]);
    let log = place.until_logged(&["rclone: not mounted (box dav)"]);
    // One line names all that is missing, and what gives it.
    let line = log.lines().find(|line| line.contains("not mounted")).unwrap();
    assert!(line.contains("the device /dev/fuse (`devices: [/dev/fuse]`)"), "{line}");
    assert!(line.contains("the capability SYS_ADMIN (`cap_add: [SYS_ADMIN]`)"), "{line}");
    assert!(line.contains("the command rclone works all the same"), "{line}");
    if has_apparmor() {
        assert!(line.contains("a profile that allows mounts"), "{line}");
    }
    for remote in ["dav", "box"] {
        place.until(&format!("rclone cat {remote}:there"));
        let copy = format!(
            "head -c 3000000 /dev/urandom >/tmp/big && rclone copy /tmp/big {remote}:{remote}/ && \
             cmp /tmp/big /srv/{remote}/big && rclone copy {remote}:there /tmp/{remote} && cat /tmp/{remote}/there"
        );
        assert_eq!(place.exec(&copy), "there");
    }
    assert_eq!(place.exec("ls /workspace"), "");
}

#[test]
fn each_condition_that_is_missing_is_named_alone() {
    must_have_the_image();
    let Some(missing) = missing_here() else {
        let remote = ["-e", "RCLONE_CONFIG_NAS_TYPE=memory", "--security-opt=apparmor=unconfined"];
        for (option, missing) in
            [("--cap-add=SYS_ADMIN", "the device /dev/fuse"), ("--device=/dev/fuse", "SYS_ADMIN")]
        {
            let place = Box::start(&[remote.as_slice(), &[option]].concat(), &["sleep", "600"]);
            let log = place.until_logged(&["rclone: not mounted (nas); what is missing: "]);
            let line = log.lines().find(|line| line.contains("not mounted")).unwrap();
            let said = line.split("; the command").next().unwrap();
            assert!(said.contains(missing) && !said.contains("`), "), "{line}");
        }
        return;
    };
    println!("this host has no {missing}: the image says so, whatever else it is given");
    let options = ["-e", "RCLONE_CONFIG_NAS_TYPE=memory", "--cap-add=SYS_ADMIN"];
    Box::start(&options, &["sleep", "600"]).until_logged(&["rclone: not mounted (nas)", missing]);
}

/// Mounted where the host can, named where it can't; the app waits for mounts that it was promised.
#[test]
fn remotes_are_folders_where_the_host_lets_them() {
    must_have_the_image();
    let told = told();
    let wanted = ["-e", "REMOTE_MOUNTS=dav:deep /data/deep cache=full\nbox: /data/box ro"];
    let mut options: Vec<_> = told.iter().map(String::as_str).chain(wanted).collect();
    let Some(missing) = missing_here() else {
        let fuse = ["--device=/dev/fuse", "--cap-add=SYS_ADMIN"];
        options.extend(
            fuse.iter().chain(&["--security-opt=apparmor=unconfined", "--stop-timeout=60"]),
        );
        mounted(&options);
        return;
    };
    println!("this host has no {missing}: an app that was promised mounts does not start");
    let place = Box::start(&options, &["echo", "started"]);
    assert_eq!(place.wait(), 69);
    let log = place.log();
    assert!(log.contains(missing) && !log.contains("started\n"), "{log}");
}

fn mounted(options: &[&str]) {
    // The servers are in a container of their own, which shares the network with the app's.
    let server = Box::start(&["--entrypoint", "bash"], &["-c", SERVE]);
    server.until("rclone --webdav-url http://127.0.0.1:8090 cat :webdav:there");
    server.exec("mkdir /srv/deep");
    let network = format!("--network=container:{}", server.0);
    let app = "mountpoint /data/deep && mountpoint /data/box && cat /data/box/there; \
               trap 'echo last >/data/deep/last; exit 5' TERM; while :; do sleep 0.1; done";
    let place = Box::start(&[options, &[&network]].concat(), &["bash", "-c", app]);
    let log = place.until_logged(&["is a mountpoint"]);
    assert!(log.contains("/data/deep is a mountpoint"), "{log}");
    place.until("cat /data/box/there /workspace/remote/dav/there /workspace/remote/box/there");
    place.exec(
        "echo hello >/data/deep/hello; head -c 2000000 /dev/urandom >/workspace/remote/dav/big",
    );
    server.until("grep -q hello /srv/deep/hello");
    server.until("[ $(stat -c %s /srv/big) = 2000000 ]");
    assert!(place.exec("cat /workspace/remote/box/there").contains("there"));
    let refused = place.try_exec("echo no >/data/box/no").unwrap_err();
    assert!(refused.contains("Read-only"), "{refused}");
    // One that dies leaves nothing stale behind.
    let name = "rclone--data-deep";
    let pid = format!("supervisorctl -c /run/berth/supervisord.conf pid {name}");
    let before = place.exec(&pid);
    place.exec(&format!("kill -KILL {before}"));
    place.until("cat /data/deep/hello");
    assert_ne!(place.exec(&pid), before);
    // What the app writes last arrives.
    docker(&["stop", &place.0]);
    assert_eq!(place.wait(), 5);
    server.until("grep -q last /srv/deep/last");
}

/// An option whose name ends in `_type` is no remote: its service would never start, and the
/// container would never be well.
#[test]
fn an_option_that_ends_in_type_is_no_remote() {
    let script = "source compose/base/rootfs/opt/berth/remotes.sh; remote_names | sort -u";
    let ended = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RCLONE_CONFIG", "/dev/null")
        .env("RCLONE_CONFIG_OD_TYPE", "onedrive")
        .env("RCLONE_CONFIG_OD_DRIVE_TYPE", "business")
        .env("RCLONE_CONFIG_MY_TYPE", "local")
        .env("RCLONE_CONFIG_MY_BOX_TYPE", "s3")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "my\nmy_box\nod\n");
}
