//! The compose files that Berth writes, run by a real compose beside what Berth runs.
//!
//! Every compose that is found takes part: `docker-compose` (`make setup` installs it), the one
//! that `make engines` fetches, and the one that `BERTH_TEST_COMPOSE` names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    engine::{self, Seen, docker, labelled, try_docker},
    repository::Repository,
    stage::{Stage, eventually, httpd, tiny},
};

/// The fields of an inspection that both must agree on.
const SAME: &[&str] = &[
    "/Config/Image",
    "/Config/Cmd",
    "/Config/Entrypoint",
    "/Config/ExposedPorts",
    "/Config/StopTimeout",
    "/HostConfig/PortBindings",
    "/HostConfig/Memory",
    "/HostConfig/MemorySwap",
    "/HostConfig/NanoCpus",
    "/HostConfig/PidsLimit",
    "/HostConfig/ShmSize",
    "/HostConfig/CapDrop",
    "/HostConfig/CapAdd",
    "/HostConfig/SecurityOpt",
    "/HostConfig/Privileged",
    "/HostConfig/ReadonlyRootfs",
    "/HostConfig/DeviceRequests",
    "/HostConfig/RestartPolicy",
    "/HostConfig/Init",
    "/HostConfig/IpcMode",
    "/HostConfig/LogConfig",
    "/HostConfig/NetworkMode",
];

/// A compose project, removed when it is dropped.
struct Project {
    program: PathBuf,
    name: String,
}

impl Project {
    fn compose(&self, file: &Path, words: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.env("DOCKER_HOST", engine::host()).env("CHAT_TOKEN", "s3cret");
        command.args(["-p", &self.name, "-f"]).arg(file).args(words);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{} {words:?}: {said}", self.program.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn label(&self) -> String {
        format!("com.docker.compose.project={}", self.name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        for made in labelled(&[self.label()]) {
            let _ = try_docker(&["rm", "--force", &made.id()]);
        }
    }
}

/// Every compose of this machine.
fn programs() -> Vec<PathBuf> {
    let fetched = "target/engines/tools/root/usr/libexec/docker/cli-plugins/docker-compose";
    let mut programs = vec![PathBuf::from("docker-compose")];
    let named = std::env::var("BERTH_TEST_COMPOSE").ok().map(PathBuf::from);
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(fetched);
    programs.extend(named.or(Some(fetched)).filter(|program| program.exists()));
    let runs = Command::new(&programs[0]).arg("version").output();
    assert!(runs.is_ok(), "there is no docker-compose: run `make setup`");
    programs
}

/// What both must agree on, in one form.
fn effect(seen: &Seen) -> Value {
    let mut effect = serde_json::Map::new();
    for field in SAME {
        let value = seen.0.pointer(field).cloned().unwrap_or_default();
        // An empty list or mapping is none.
        let is_empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        effect.insert((*field).to_owned(), if is_empty { Value::Null } else { value });
    }
    let texts = |pointer: &str| {
        let list = seen.0.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        texts.sort();
        json!(texts)
    };
    // An engine or a compose may name a capability in full.
    let dropped = texts("/HostConfig/CapDrop").to_string().replace("CAP_", "");
    effect.insert("/HostConfig/CapDrop".to_owned(), json!(dropped));
    effect.insert("env".to_owned(), texts("/Config/Env"));
    effect.insert("mounts".to_owned(), mounts(seen));
    Value::Object(effect)
}

fn mounts(seen: &Seen) -> Value {
    let all = seen.0["Mounts"].as_array().cloned().unwrap_or_default();
    let asked = seen.0["HostConfig"]["Mounts"].as_array().cloned().unwrap_or_default();
    let mut list: Vec<_> = all
        .iter()
        .map(|mount| {
            let target = &mount["Destination"];
            let asked = asked.iter().find(|asked| asked["Target"] == *target);
            let size = asked.map(|asked| asked["TmpfsOptions"]["SizeBytes"].clone());
            let keys = ["Type", "Name", "Source", "Destination", "RW", "Propagation"];
            let fields: Vec<_> = keys.map(|key| format!("{key}={}", mount[key])).to_vec();
            format!("{} size={:?}", fields.join(" "), size.unwrap_or_default())
        })
        .collect();
    list.sort();
    json!(list)
}

fn manifests(stage: &Stage, repository: &Repository) {
    let volume = format!("{}-data", stage.instance);
    let web = "env: {GREETING: \"a $HOME ${X:-y} \\\"q\\\" 'z' #\", ANSWER: \"no\", CHAT_TOKEN: s3cret}\n\
        resources: {cpus: 0.29, memory: 64Mi, shmSize: 1Mi, pids: 99}\n\
        mounts:\n- {path: /v, volume: VOLUME, readOnly: true}\n- {path: /t, tmpfs: 4Mi}\n- {path: /u, tmpfs: {}}\n\
        health: {exec: [/bin/sh, -c, \"echo $$ | grep .\"], interval: 7s, timeout: 3s, retries: 2}\n\
        stopGracePeriod: 3s";
    stage.write("web.yaml", &httpd("web", &web.replace("VOLUME", &volume)));
    let rest = "restart: OnFailure\ndependsOn: [web]\nworkspace: {path: /data}\n\
        ports:\n- {containerPort: 80, bind: lan}\n- {containerPort: 53, protocol: udp}\nhealth: none";
    stage.write("side.yaml", &tiny("side", "[sleep]\n  args: [\"1000\"]", rest));
    let line =
        tiny("line", "X", "restart: Never").replace("command: X", "run: sleep 1000; echo $?");
    stage.write("line.yaml", &line);
    let built =
        tiny("built", "X", "port: 8080").replace("command: X", "run: httpd -f -p 8080 -h /app");
    let image = format!("image: {}", engine::TINY);
    let source = format!("source: {{git: {}, interval: 0}}", repository.url());
    stage.write("built.yaml", &built.replace(&image, &source));
}

/// The container that compose made of an app's file is as Berth's.
#[track_caller]
fn is_equal(stage: &Stage, project: &Project, app: &str) {
    let service = format!("com.docker.compose.service={app}");
    let made = labelled(&[project.label(), service]);
    assert_eq!(made.len(), 1, "{app}: {made:?}");
    let ours = stage.container(app);
    let (mine, theirs) = (effect(&ours), effect(&made[0]));
    let pretty = |value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(pretty(&theirs), pretty(&mine), "{app}, {}", project.program.display());
    let network = &made[0].0["NetworkSettings"]["Networks"][&stage.network];
    let aliases = network["Aliases"].as_array().cloned().unwrap_or_default();
    assert!(aliases.contains(&json!(app)), "{network}");
    assert!(made[0].label("dev.berth.instance").is_empty());
    let check = &made[0].0["Config"]["Healthcheck"]["Test"];
    let exec = json!(["CMD", "/bin/sh", "-c", "echo $$ | grep ."]);
    assert_eq!(*check, if app == "web" { exec } else { Value::Null }, "{app}");
}

/// Equal in effect: what Berth runs, and what compose makes of the file about it.
#[tokio::test(flavor = "multi_thread")]
async fn compose_makes_of_the_written_files_what_berth_runs() {
    const APPS: [&str; 4] = ["built", "line", "side", "web"];
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(2);
    let dockerfile = format!("# syntax-like remark\nFROM {}\nCOPY . /app\n", engine::TINY);
    let repository = Repository::bare(&stage.path("served/app.git"));
    repository.commit(&[
        ("Dockerfile", &dockerfile),
        ("index.html", "hello"),
        ("of", &stage.instance),
    ]);
    manifests(&stage, &repository);
    let berth = stage.start();
    for app in APPS {
        berth.until_running(app).await;
    }
    let folder = stage.path("compose");
    let main = folder.join("docker-compose.yaml");
    let is_whole = || {
        let text = fs::read_to_string(&main).unwrap_or_default();
        APPS.iter().all(|app| text.contains(&format!("{app}/docker-compose.yaml")))
    };
    assert!(eventually(is_whole).await, "the main file never had them all");
    assert_eq!(fs::read_to_string(folder.join("built/Dockerfile")).unwrap(), dockerfile);
    for app in APPS {
        let text = fs::read_to_string(folder.join(app).join("docker-compose.yaml")).unwrap();
        assert!(!text.contains("s3cret") && !text.contains("dev.berth."), "{text}");
    }
    for (nth, program) in programs().into_iter().enumerate() {
        let project = Project { program, name: format!("{}c{nth}", stage.instance) };
        for app in APPS {
            project.compose(&folder.join(app).join("docker-compose.yaml"), &["config", "-q"]);
        }
        project.compose(&main, &["config", "-q"]);
        project.compose(&main, &["up", "--no-start"]);
        for app in APPS {
            is_equal(&stage, &project, app);
        }
        // What compose made is nobody's of Berth's: a look at everything changes nothing.
        berth.rounds(1).await;
        assert_eq!(labelled(&[project.label()]).len(), APPS.len());
    }
    let ids: Vec<_> = APPS.iter().map(|app| stage.container(app).id()).collect();
    let running = docker(&["ps", "--quiet", "--no-trunc"]);
    assert!(ids.iter().all(|id| running.contains(id)), "{ids:?} of {running}");

    // What goes takes its files with it, and only those that are Berth's.
    fs::write(folder.join("line/notes.txt"), "mine").unwrap();
    for app in ["line", "side"] {
        stage.erase(&format!("{app}.yaml"));
        berth.until_gone(app).await;
    }
    let is_gone =
        || !folder.join("side").exists() && !folder.join("line/docker-compose.yaml").exists();
    assert!(eventually(is_gone).await, "files of what has gone stay");
    assert!(folder.join("line/notes.txt").exists());
    let is_short = || !fs::read_to_string(&main).unwrap_or_default().contains("side/");
    assert!(eventually(is_short).await, "the main file still has what has gone");
    berth.stop().await;
}
