//! Berth as a service: what systemd is told, the unit, the package, and Berth in a container.

#![expect(clippy::disallowed_methods, reason = "how long another program is silent is measured")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use super::{
    engine::{self, docker, try_docker},
    program::{Network, Program},
    stage::{Stage, eventually, get, project_file, tiny},
};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What systemd would hear at its socket, in order.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> (Self, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        (Self { socket, _folder: folder }, path)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).unwrap();
        text(&bytes[..length])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_it_is_up_that_it_still_is_and_that_it_ends() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let (manager, path) = Manager::new();
    let start = |period: &'static str| {
        let path = path.clone();
        Program::start_with(&stage, &engine::host(), "auto", move |command| {
            command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", period);
            command.env_remove("WATCHDOG_PID");
        })
    };
    let begin = Instant::now();
    let mut program = start("2000000");
    assert!(manager.next().starts_with("READY=1\n"));
    // It listens by then.
    program.address().await;
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // One at once, then one each second: never more often.
    assert!(Duration::from_secs(1) < begin.elapsed());
    assert!(program.stop().await);
    let last = loop {
        let said = manager.next();
        if said != "WATCHDOG=1" {
            break said;
        }
    };
    assert!(last.starts_with("STOPPING=1\n"), "{last}");

    // A frozen one is silent: that is when systemd starts another.
    let mut program = start("2000000");
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(manager.next(), "WATCHDOG=1");
    program.freeze();
    manager.socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut bytes = [0; 64];
    // What was sent before is heard first.
    while manager.socket.recv(&mut bytes).is_ok() {}
    program.kill().await;
}

/// The unit has no mistake, and is held as tightly as its page says.
#[test]
fn the_unit_is_right_and_tight() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("berth.service");
    let program = env!("CARGO_BIN_EXE_berth");
    let written = project_file("compose/berth/berth.service");
    fs::write(&unit, written.replace("/usr/bin/berth", program)).unwrap();
    let run = |args: &[&str]| -> Output {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(args).arg(&unit).output();
        output.expect("systemd-analyze is missing: apt-get install systemd")
    };
    let verified = run(&["verify", "--man=no", "--recursive-errors=no"]);
    let said = text(&verified.stderr);
    // Of other units it may say what it likes; of this one nothing.
    let own: Vec<_> = said.lines().filter(|line| line.contains("berth.service")).collect();
    assert!(verified.status.success() && own.is_empty(), "{said}");
    // Each of these makes a list of devices, and the cards' nodes would not be on it.
    for lists in ["ProtectClock", "PrivateDevices", "DeviceAllow", "DevicePolicy"] {
        let is_set = written.lines().any(|line| line.starts_with(&format!("{lists}=")));
        assert!(!is_set, "{lists} hides the cards");
    }
    let rated = run(&["security", "--offline=true", "--no-pager", "--threshold=35"]);
    let said = text(&rated.stdout) + &text(&rated.stderr);
    assert!(rated.status.success(), "its exposure is above 3.5 of 10:\n{said}");
    println!("{}", said.lines().last().unwrap_or_default());
}

/// A package of the program here, which another one stands for: what matters is the package.
fn package(folder: &Path, name: &str) -> PathBuf {
    let out = folder.join(name);
    let program = folder.join("berth");
    fs::write(&program, format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_berth")))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(project("compose/release/deb.sh"));
    let made = command.arg(&program).arg(&out).env("SOURCE_DATE_EPOCH", "1700000000").output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    fs::read_dir(&out).unwrap().next().unwrap().unwrap().path()
}

/// The package holds what its page says, the same bytes each time.
#[test]
fn the_package_is_whole_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (file, again) = (package(folder.path(), "one"), package(folder.path(), "two"));
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap(), "two packages differ");
    let show = |args: &[&str]| {
        let output = Command::new("dpkg-deb").args(args).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let list = show(&["--contents"]);
    for path in [
        "./usr/bin/berth",
        "./lib/systemd/system/berth.service",
        "./etc/default/berth",
        "./etc/berth/manifests/",
        "./usr/share/doc/berth/service.md",
        "./usr/share/doc/berth/copyright",
        "./usr/share/man/man1/berth.1.gz",
        "./usr/share/man/man1/berth-run.1.gz",
        "./usr/share/man/man5/berth-manifest.5.gz",
        "./usr/share/bash-completion/completions/berth",
        "./usr/share/zsh/vendor-completions/_berth",
        "./usr/share/fish/vendor_completions.d/berth.fish",
    ] {
        assert!(list.lines().any(|line| line.ends_with(path)), "{path}:\n{list}");
    }
    assert!(list.lines().all(|line| line.contains("root/root")), "{list}");
    let fields = show(&["--field"]);
    assert!(fields.contains(&format!("Version: {}", env!("CARGO_PKG_VERSION"))), "{fields}");
}

/// It is installed on a plain Debian with what it names as needed, removed and purged, and what is
/// the operator's stays.
#[test]
fn the_package_is_installed_and_removed() {
    engine::must_be_ready();
    let folder = tempfile::tempdir().unwrap();
    let file = package(folder.path(), "out");
    let unit = project_file("compose/berth/berth.service");
    let paths = unit.lines().find_map(|line| line.strip_prefix("ReadWritePaths=")).unwrap();
    let paths: Vec<_> = paths.split(' ').map(|path| path.trim_start_matches('-')).collect();
    let script = "dpkg -i /berth.deb
        for path in $paths; do test \"$(stat -c %a $path)\" = 755; done
        test -x /usr/bin/berth -a -s /lib/systemd/system/berth.service
        test \"$(stat -c %a /etc/berth/manifests)\" = 755
        mkdir -p /var/lib/berth && echo kept >/var/lib/berth/state.json
        echo kept >/etc/berth/manifests/a.yaml
        echo BERTH_LISTEN=127.0.0.1:9 >>/etc/default/berth
        dpkg -i /berth.deb
        grep -q 127.0.0.1:9 /etc/default/berth
        grep -qx BERTH_API_SOCKET=/run/berth/berth.sock /etc/default/berth
        dpkg -r berth
        test ! -e /usr/bin/berth -a -e /etc/default/berth
        dpkg -P berth
        test ! -e /etc/default/berth
        cat /var/lib/berth/state.json /etc/berth/manifests/a.yaml";
    let script = format!("paths='{}'\n{script}", paths.join(" "));
    let mount = format!("{}:/berth.deb:ro", file.display());
    let said = docker(&["run", "--rm", "-v", &mount, engine::BASE, "sh", "-ec", &script]);
    assert!(said.ends_with("kept\nkept"), "{said}");
}

/// A `systemctl` of which only matters what it was asked, and what is enabled.
const MANAGER: &str = r#"cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
link=/etc/systemd/system/multi-user.target.wants/berth.service
echo "$*" >>/asked
case "$1 $2" in
  enable*) test ! -e /masked && mkdir -p "${link%/*}" && touch "$link" ;;
  is-enabled*) test -e "$link" -a ! -e /masked ;;
  restart*|start*) test ! -e /broken ;;
esac
END
chmod +x /usr/local/bin/systemctl; mkdir -p /run/systemd/system
asked() { cat /asked; : >/asked; }
"#;

/// What the operator decided of the service stays so, and a service that does not start does not
/// break the package.
#[test]
fn the_package_leaves_the_service_as_the_operator_has_it() {
    engine::must_be_ready();
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("{}:/berth.deb:ro", package(folder.path(), "out").display());
    let play = |script: &str| {
        let script = format!("{MANAGER}{script}");
        docker(&["run", "--rm", "-v", &mount, engine::BASE, "bash", "-ec", &script])
    };
    let install = "dpkg -i /berth.deb >/dev/null; dpkg -s berth | grep -q 'install ok installed'";
    // A service that does not start, at first and at an upgrade; then it was disabled.
    let said = play(&format!(
        "touch /broken; {install}; asked; echo upgrade; {install}; asked
         rm /etc/systemd/system/multi-user.target.wants/berth.service; echo disabled
         {install}; asked"
    ));
    let parts: Vec<_> = said.split("upgrade\n").flat_map(|it| it.split("disabled\n")).collect();
    let [first, upgrade, disabled] = parts[..] else { panic!("{said}") };
    assert!(first.contains("enable --quiet berth.service\n"), "{said}");
    assert!(first.contains("\nrestart berth.service"), "{said}");
    assert!(!upgrade.contains("\nenable") && upgrade.contains("\nrestart"), "{said}");
    assert!(!disabled.contains("\nenable") && !disabled.contains("\nrestart"), "{said}");
    // One that is masked from the beginning, and one that is installed again after a removal.
    let said = play(&format!(
        "touch /masked; {install}; rm /masked; dpkg -P berth >/dev/null
         {install}; dpkg -r berth >/dev/null; {install}
         asked >/dev/null; {install}; asked; echo purged; dpkg -P berth >/dev/null
         find /etc/systemd/system -name 'berth*'"
    ));
    assert!(said.contains("\nrestart berth.service") && said.ends_with("purged"), "{said}");
}

/// Every crate that is in the program, once, with its digest.
#[test]
fn the_list_of_parts_is_complete() {
    let mut command = Command::new(project("compose/release/sbom.sh"));
    let output = command.env("CARGO_NET_OFFLINE", "true").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let parts = list["components"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    for used in ["tokio", "bollard", "git2", "libgit2-sys", "openssl-sys"] {
        assert!(names.contains(&used), "{used}");
    }
    for of_tests in ["proptest", "insta"] {
        assert!(!names.contains(&of_tests), "{of_tests}");
    }
    for part in parts {
        assert!(
            part["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64),
            "{part}"
        );
        assert!(part["licenses"][0]["expression"].is_string(), "{part}");
    }
}

/// Berth in a container, by the compose file's own mounts: it runs an app, and leaves itself alone
/// though its container has the labels of one of its own (fault D23).
#[tokio::test]
async fn in_a_container_it_runs_apps_and_never_touches_itself() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let image = format!("berth/test-{}:local", stage.instance);
    let mut make = Command::new(project("compose/berth/image.sh"));
    make.env("PROGRAM", env!("CARGO_BIN_EXE_berth")).env("BERTH_TAG", &image);
    let made =
        make.env("PARENT", engine::BASE).env("DOCKER_HOST", engine::host()).output().unwrap();
    assert!(made.status.success(), "{}{}", text(&made.stdout), text(&made.stderr));
    let _image = Image(image.clone());
    let socket = engine::host();
    let socket = socket.strip_prefix("unix://").unwrap();
    let path = |part: &str| stage.path(part).display().to_string();
    let same = |path: &str| format!("{path}:{path}");
    let mounts = [
        format!("{socket}:/var/run/docker.sock"),
        format!("{}:/etc/berth/manifests", path("manifests")),
        format!("{}:/var/lib/berth", path("state")),
        same(&path("workspaces")),
        same(&path("served")),
        "/proc:/host/proc:ro".to_owned(),
        "/sys/fs/cgroup:/host/cgroup:ro".to_owned(),
    ];
    let labels = [
        format!("dev.berth.instance={}", stage.instance),
        "dev.berth.app=berth".to_owned(),
        format!("dev.berth.spec-hash=v1:{}", "0".repeat(64)),
    ];
    let name = "berth-00000000";
    let mut args =
        vec!["run", "--detach", "--name", name, "--network=host", "--read-only", "--init"];
    args.extend([
        "--cap-drop=ALL",
        "--cap-add=CHOWN",
        "--cap-add=DAC_OVERRIDE",
        "--cap-add=FOWNER",
    ]);
    args.extend(["--security-opt=no-new-privileges", "--tmpfs=/tmp"]);
    args.extend(mounts.iter().flat_map(|mount| ["-v", mount]));
    args.extend(labels.iter().flat_map(|label| ["--label", label]));
    let (workspaces, served) = (path("workspaces"), path("served"));
    let ports = format!("{}-{}", stage.ports.first, stage.ports.last);
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    args.extend([&image, "run", "--listen", &listen, "--resync", "1s"]);
    args.extend(["--manifests", "/etc/berth/manifests", "--workspaces", &workspaces]);
    args.extend(["--secret-files", &served, "--instance", &stage.instance, "--ports", &ports]);
    args.extend(["--proc-root", "/host/proc", "--cgroup-root", "/host/cgroup"]);
    stage.write("a.yaml", &tiny("a", "[sleep, \"3600\"]", "health: none"));
    let id = docker(&args);
    let _container = Container(id.clone());
    let runs = || stage.containers("a").iter().any(engine::Seen::is_running);
    let is_up = eventually(runs).await;
    assert!(is_up, "{}", engine::log_of(&id));
    what_its_apps_use_is_told(port, &stage).await;
    // Nobody names the app `berth`, and its container is there all the same, as it was.
    stage.erase("a.yaml");
    let gone = eventually(|| stage.containers("a").is_empty()).await;
    assert!(gone, "{}", engine::log_of(&id));
    let itself = engine::inspect(&[&id]);
    assert!(itself[0].is_running(), "{}", engine::log_of(&id));
    assert_eq!(itself[0].0["RestartCount"], 0);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// By the mounts of the host's `/proc` and control groups: the accounts of the app's own container, and
/// its network.
async fn what_its_apps_use_is_told(port: u16, stage: &Stage) {
    let container = stage.containers("a")[0].id();
    let body = async |path: &str| {
        let answer = get(port, path).await.unwrap_or_default();
        answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
    };
    let (mut page, mut usage) = (String::new(), serde_json::Value::Null);
    for _ in 0..240 {
        page = body("/metrics").await;
        usage = serde_json::from_str(&body("/api/v1/apps/a/usage").await).unwrap_or_default();
        let figure = |family: &str| {
            let is_it = |line: &&str| {
                line.starts_with(&format!("{family}{{"))
                    && line.contains(&format!("/{container}\""))
                    && line.contains("app=\"a\"")
            };
            let value = page.lines().find(is_it)?.rsplit_once(' ')?.1;
            value.parse::<f64>().ok()
        };
        let accounts = [
            "container_cpu_usage_seconds_total",
            "container_memory_usage_bytes",
            "container_threads",
        ];
        let is_used = |family: &&str| figure(family).is_some_and(|figure| 0.0 < figure);
        // Rates need a second look, five seconds later.
        let now = |name: &str| usage["now"][name].as_f64();
        let is_known = ["cpu", "networkReceive"].iter().all(|name| now(name).is_some());
        if accounts.iter().all(is_used)
            && figure("container_network_receive_bytes_total").is_some()
            && is_known
            && now("memory").is_some_and(|bytes| 0.0 < bytes)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let shown: Vec<_> = page.lines().filter(|line| line.contains(&container)).collect();
    panic!("what the app uses is not told: {usage}\n{shown:#?}");
}

struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = try_docker(&["rmi", "--force", &self.0]);
    }
}

struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = try_docker(&["rm", "--force", &self.0]);
    }
}

/// The compose file is one, and each of its mounts is told of.
#[test]
fn the_compose_file_is_valid_and_its_mounts_are_documented() {
    let (own, watch) =
        (project("compose/berth/docker-compose.yaml"), project("compose/monitoring"));
    let config = |command: &mut Command| {
        let output =
            command.arg("config").env("GRAFANA_PASSWORD", "x").stdin(Stdio::null()).output();
        let output = output.expect("no compose here: run compose/setup/compose-tool.sh");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let page = project_file("docs/service.md");
    let shown = config(Command::new("docker-compose").arg("-f").arg(&own));
    // Beside Prometheus and Grafana, whose files are where they say.
    let mut both = Command::new("docker-compose");
    both.arg("--project-directory").arg(&watch).arg("-f").arg(&own);
    let both = config(both.arg("-f").arg(watch.join("docker-compose.yaml")));
    for part in [watch.join("prometheus"), project("examples/grafana")] {
        assert!(both.contains(&format!("{}:", part.display())), "{both}");
    }
    for target in
        ["/var/run/docker.sock", "/etc/berth/manifests", "/var/lib/berth", "/opt/dockerstore"]
    {
        assert!(shown.contains(target) && page.contains(target), "{target}");
    }
    assert!(!shown.contains("privileged"), "{shown}");
}

/// The image of a release is loaded and run by an engine, and the same program on the same image below
/// gives the same bytes, whenever it is made.
#[test]
fn the_image_of_a_release_runs_and_is_made_the_same_twice() {
    engine::must_be_ready();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("berth");
    fs::write(&program, "#!/bin/sh\necho \"$0 $* $PATH\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let name = format!("berth/test-release-{}:1", std::process::id());
    let make = |out: &Path| {
        let mut command = Command::new(project("compose/release/oci.sh"));
        command.arg(&program).arg(out).env("PARTS", engine::TINY).env("BERTH_TAG", &name);
        command.env("SOURCE_DATE_EPOCH", "1700000000").env("DOCKER_HOST", engine::host());
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        fs::read(out).unwrap()
    };
    let first = make(&folder.path().join("one.tar"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(first == make(&folder.path().join("two.tar")), "two images differ");
    docker(&["load", "--input", &folder.path().join("one.tar").display().to_string()]);
    let _image = Image(name.clone());
    assert_eq!(docker(&["run", "--rm", &name]).split(' ').next(), Some("/usr/bin/berth"));
    let made = docker(&["image", "inspect", "--format", "{{.Created}}", &name]);
    assert_eq!(made, "2023-11-14T22:13:20Z");
    // Another program is another image.
    fs::write(&program, "#!/bin/sh\necho another\n").unwrap();
    assert!(first != make(&folder.path().join("three.tar")));
}
