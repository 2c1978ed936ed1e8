//! Services, the workspace, logs, GPUs and the app's own command.

use super::*;

/// The first process of a service by its supervisord name.
const PIDS: &str = "supervisorctl -c /run/berth/supervisord.conf pid";

#[test]
fn a_killed_service_is_back_at_once_and_its_log_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let key = Keys::make(folder.path(), "own");
    // An image that extends this one adds its services as files.
    let service = folder.path().join("beat.conf");
    let conf = "[program:beat]\ncommand=/bin/sh -c 'echo $$ beats; exec sleep 600'\nredirect_stderr=true\n\
                stdout_logfile=%(ENV_BERTH_LOGS)s/beat.log\nstartsecs=0\n";
    fs::write(&service, conf).unwrap();
    let (pubkey, mount) = (
        format!("SSH_PUBKEY={}", key.public()),
        format!("{}:/etc/berth/services.d/beat.conf:ro", service.display()),
    );
    let place = Box::start(&["-e", &pubkey, "-v", &mount], &[]);
    place.until_logged(&["[sshd] Server listening", "beats", "logtail entered RUNNING"]);
    place.until("/opt/berth/health.sh");
    for service in ["sshd", "beat", "logtail"] {
        let before = place.exec(&format!("{PIDS} {service}"));
        let start = Instant::now();
        // Another pid that lives: it is back.
        place.exec(&format!("kill -KILL {before}"));
        place.until(&format!(
            "now=$({PIDS} {service}); [ $now != {before} ] && [ $now != 0 ] && kill -0 $now"
        ));
        // Two seconds is what it takes; more is for a machine with other things to do.
        let took = start.elapsed();
        println!("{service} was back after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(20), "{service}: {took:?}");
    }
    assert_eq!(key.ssh("root", &place.address(), "echo in"), Ok("in".to_owned()));
    // All of it is in the container's own log, each line with its service, said once.
    let log = place.until_logged(&["[sshd] Accepted publickey", "exited: beat"]);
    assert_eq!(log.matches("beats").count(), 2, "{log}");
    assert_eq!(log.matches("[sshd] Server listening on 0.0.0.0").count(), 2, "{log}");
    // In a shell the same, for whoever is inside.
    let shell = place.exec("timeout 2 logtail.sh; true");
    assert!(shell.contains("[beat] ") && shell.contains("[sshd] "), "{shell}");
    // One that was to run once has done so, and nothing is wrong with that.
    let once = "[program:once]\ncommand=/bin/true\nautorestart=false\nstartsecs=0\n";
    place.exec(&format!(
        "printf '{}' >/run/berth/services/once.conf && \
         supervisorctl -c /run/berth/supervisord.conf update",
        once.replace('\n', "\\n")
    ));
    place.until("supervisorctl -c /run/berth/supervisord.conf status once | grep -q EXITED");
    place.until("/opt/berth/health.sh");
    // A service that somebody has stopped stays so, and the check names it.
    place.exec("supervisorctl -c /run/berth/supervisord.conf stop beat");
    let sick = place.exec("/opt/berth/health.sh && echo well; true");
    assert!(sick.contains("beat") && sick.contains("STOPPED") && !sick.contains("well"), "{sick}");
}

#[test]
fn an_apps_own_command_gets_the_signals_and_gives_the_exit_code() {
    // The shell runs its trap, and what it left behind is reaped.
    let line =
        "(sleep 0.2 &) ; trap 'echo heard; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let place = Box::start(&["--stop-timeout=60"], &["bash", "-c", line]);
    place.until_logged(&["ready", "logtail entered RUNNING"]);
    assert!(place.exec("cat /proc/1/comm").contains("init"));
    place.until("! ps -eo stat= | grep -q Z");
    // Without supervisord the services come back, the app goes on.
    let supervisord = "cat /run/berth/supervisord.pid";
    let before = place.exec(supervisord);
    place.exec(&format!("kill -KILL {before}"));
    place.until(&format!("now=$({supervisord}); [ $now != {before} ] && kill -0 $now"));
    docker(&["stop", &place.0]);
    assert_eq!(place.wait(), 7);
    assert!(place.log().contains("heard"));
    for (command, code) in [
        (["sh", "-c", "exit 3"].as_slice(), 3),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/nonexistent"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let place = Box::start(&[], command);
        assert_eq!(place.wait(), code, "{command:?}: {}", place.log());
    }
}

#[test]
fn without_a_command_the_services_alone_run_and_a_stop_is_clean() {
    let place = Box::start(&["--stop-timeout=60"], &[]);
    place.until_logged(&["logtail entered RUNNING"]);
    docker(&["stop", &place.0]);
    assert_eq!(place.wait(), 0);
    // Who replaces the image's own first program runs without services, and is not sick for it.
    let bare = Box::start(&["--entrypoint", "sleep"], &["600"]);
    assert_eq!(bare.exec("/opt/berth/health.sh; echo $?"), "0");
}

/// What root makes inside stays usable outside, unless somebody asks that it does not.
#[test]
fn files_of_the_workspace_are_usable_by_its_owner() {
    let make =
        "mkdir -p /workspace/deep/er; echo 1 >/workspace/deep/er/file; echo all there; sleep 600";
    for (skip, is_usable) in [("false", true), ("true", false)] {
        let shared = Shared::new();
        let (mount, skip) = (shared.mount(), format!("SKIP_ACL={skip}"));
        let place = Box::start(&["-v", &mount, "-e", &skip], &["bash", "-c", make]);
        place.until_logged(&["all there"]);
        let list = place.exec("getfacl -cpn /workspace");
        let entry = format!("default:user:{}:rwx", shared.uid);
        assert_eq!(list.contains(&entry), is_usable, "{list}");
        let owner = "echo 2 >>deep/er/file && echo 3 >deep/er/new && rm deep/er/file";
        assert_eq!(shared.as_owner(owner), is_usable, "{skip}");
        // What root has made is root's to remove.
        place.exec("rm -rf /workspace/deep");
    }
    // Somebody else than the owner, by number; and another folder.
    let options = ["-e", "WORKSPACE_UID=1234", "-e", "WORKSPACE=/srv/space/"];
    let place = Box::start(&options, &["bash", "-c", "echo at $WORKSPACE.; sleep 600"]);
    place.until_logged(&["at /srv/space."]);
    let list = place.exec("getfacl -cpn /srv/space");
    assert!(list.contains("\nuser:1234:rwx") && list.contains("default:user:1234:rwx"), "{list}");
}

/// Runs the image's first program many times in one container; the answers, line by line.
fn each(cases: &[&str], command: &str) -> Vec<String> {
    let lines: Vec<_> = cases
        .iter()
        .map(|case| format!("env {case} /opt/berth/init sh -c '{command}' 2>&1; echo = $?"))
        .collect();
    let place = Box::start(&["--entrypoint", "sleep"], &["600"]);
    let said = place.exec(&lines.join("\n"));
    said.split_inclusive("= ").collect::<String>().split('\n').map(ToOwned::to_owned).collect()
}

#[test]
fn gpu_count_limits_what_services_see() {
    let cases = [
        ("GPU_COUNT=all", "-/-"),
        ("GPU_COUNT=2", "0,1/0,1"),
        ("GPU_COUNT=08", "0,1,2,3,4,5,6,7/0,1,2,3,4,5,6,7"),
        ("GPU_COUNT=0", "-1/none"),
        ("GPU_COUNT=1 NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b", "GPU-a/GPU-a"),
        ("GPU_COUNT=5 NVIDIA_VISIBLE_DEVICES=GPU-a,MIG-b", "GPU-a,MIG-b/GPU-a,MIG-b"),
        // The host's third and fourth are the first and second in here.
        ("GPU_COUNT=5 NVIDIA_VISIBLE_DEVICES=2,3", "0,1/0,1"),
        ("GPU_COUNT=1 CUDA_VISIBLE_DEVICES=0,1 NVIDIA_VISIBLE_DEVICES=all", "0/0"),
        ("GPU_COUNT=3 NVIDIA_VISIBLE_DEVICES=void", "-/void"),
    ];
    let asked: Vec<_> = cases.iter().map(|(case, _)| *case).collect();
    let command = "echo see ${CUDA_VISIBLE_DEVICES:--}/${NVIDIA_VISIBLE_DEVICES:--}";
    let said = each(&asked, command);
    // The log says how many there are, not how many were asked for.
    for line in ["gpus: services see 2 (GPU-a,MIG-b)", "gpus: services see 2 (0,1)"] {
        assert!(said.iter().any(|said| said.ends_with(line)), "{line}: {said:#?}");
    }
    let seen: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("see ")).collect();
    let wanted: Vec<_> = cases.iter().map(|(_, wanted)| *wanted).collect();
    assert_eq!(seen, wanted, "{said:#?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_word() {
    let cases = [
        ("GPU_COUNT=two", "GPU_COUNT is `two`"),
        ("GPU_COUNT=-1", "GPU_COUNT is `-1`"),
        ("WORKSPACE=work", "WORKSPACE is `work`"),
        ("WORKSPACE=/", "WORKSPACE is `/`"),
        ("WORKSPACE_UID=me", "WORKSPACE_UID is `me`"),
        ("REMOTE_MOUNTS=nas", "rclone: not mounted"),
    ];
    let asked: Vec<_> = cases.iter().map(|(case, _)| *case).collect();
    let said = each(&asked, "echo started");
    let errors: Vec<_> = said.iter().filter(|line| line.starts_with("init: error: ")).collect();
    assert_eq!(errors.len(), cases.len(), "{said:#?}");
    for ((_, wanted), error) in cases.iter().zip(errors) {
        assert!(error.contains(wanted), "{error}");
    }
    assert!(!said.iter().any(|line| line == "started"), "{said:#?}");
    let codes: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("= ")).collect();
    assert_eq!(codes, ["64", "64", "64", "64", "64", "69"]);
}

/// The compose file is one, as it is and with every option that it shows.
#[test]
fn the_compose_file_is_valid_with_every_option() {
    let text = super::super::stage::project_file("compose/base/docker-compose.yaml");
    let is_option = |line: &&str| {
        line.trim_start().strip_prefix("# ").is_some_and(|rest| {
            let key = rest.trim_start().split_once(':').map(|(key, _)| key);
            let is_key = |key: &str| {
                !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            rest.starts_with("- ") || rest.starts_with("  ") || key.is_some_and(is_key)
        })
    };
    let shown = text.lines().filter(is_option).count();
    assert!(30 < shown, "{shown} options are shown");
    // Whatever the image's page names is in it.
    let page = super::super::stage::project_file("compose/base/README.template.md");
    let variables = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let variables =
        variables.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    assert!(8 <= variables.clone().count());
    for name in variables {
        assert!(text.contains(&format!("{name}: ")), "{name}");
    }
    let whole: Vec<_> = text
        .lines()
        .map(|line| if is_option(&line) { line.replacen("# ", "", 1) } else { line.to_owned() })
        .collect();
    for text in [text.clone(), whole.join("\n")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker-compose.yaml");
        fs::write(&file, &text).unwrap();
        let mut command = Command::new("docker-compose");
        let output = command.arg("-f").arg(&file).args(["config"]).output();
        let output = output.expect("no compose here: run compose/setup/compose-tool.sh");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{complaint}\n{text}");
    }
}
