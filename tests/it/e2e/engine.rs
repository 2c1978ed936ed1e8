//! The engine as a person sees it: through the `docker` command, apart from Berth's own client.

use std::process::Command;

use serde_json::Value;

/// Images that the tests are made of; `make tiny-image offline-image` makes them.
pub(super) const TINY: &str = "berth/tiny:offline";
pub(super) const BASE: &str = "berth/base:offline";

/// Where the engine is.
pub(super) fn host() -> String {
    let host = std::env::var("BERTH_TEST_ENGINE");
    host.unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// Runs `docker`, and answers what it said or complained about.
pub(super) fn try_docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").arg("-H").arg(host()).args(args).output();
    let output = output.map_err(|error| format!("the `docker` command can't be run: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Both of a container's outputs.
pub(super) fn log_of(id: &str) -> String {
    let mut command = Command::new("docker");
    let output = command.arg("-H").arg(host()).args(["logs", "--tail", "20", id]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs `docker`, which must succeed.
#[track_caller]
pub(super) fn docker(args: &[&str]) -> String {
    match try_docker(args) {
        Ok(said) => said,
        Err(complaint) => panic!("docker {}: {complaint}", args.join(" ")),
    }
}

/// Fails with what to do unless the engine answers and has what these tests are made of.
pub(super) fn must_be_ready() {
    if let Err(complaint) = try_docker(&["version", "--format", "{{.Server.Version}}"]) {
        panic!("no Docker Engine at {}: run `make engine` ({complaint})", host());
    }
    for (image, target) in [(TINY, "tiny-image"), (BASE, "offline-image")] {
        let is_here = try_docker(&["image", "inspect", "--format", "{{.Id}}", image]).is_ok();
        assert!(is_here, "the engine has no image {image}: run `make {target}`");
    }
}

/// A container, as an inspection shows it.
#[derive(Clone, Debug)]
pub(super) struct Seen(pub(super) Value);

impl Seen {
    pub(super) fn text(&self, pointer: &str) -> String {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(super) fn id(&self) -> String {
        self.text("/Id")
    }

    pub(super) fn name(&self) -> String {
        self.text("/Name").trim_start_matches('/').to_owned()
    }

    pub(super) fn is_running(&self) -> bool {
        self.text("/State/Status") == "running"
    }

    pub(super) fn label(&self, key: &str) -> String {
        let label = self.0["Config"]["Labels"].get(key).and_then(Value::as_str);
        label.unwrap_or_default().to_owned()
    }

    /// Which process it is: another start of the same container is another one.
    pub(super) fn life(&self) -> (String, String) {
        (self.id(), self.text("/State/StartedAt"))
    }
}

/// What `docker inspect` says about containers; those that are gone meanwhile are left out.
pub(super) fn inspect(ids: &[&str]) -> Vec<Seen> {
    if ids.is_empty() {
        return Vec::new();
    }
    let mut command = Command::new("docker");
    let output = command.arg("-H").arg(host()).args(["container", "inspect"]).args(ids).output();
    let all: Vec<Value> = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    all.into_iter().map(Seen).collect()
}

/// The containers that have a label, running or not.
pub(super) fn labelled(labels: &[String]) -> Vec<Seen> {
    let filters: Vec<_> = labels.iter().map(|label| format!("label={label}")).collect();
    let mut args = vec!["ps", "--all", "--quiet", "--no-trunc"];
    for filter in &filters {
        args.extend(["--filter", filter]);
    }
    inspect(&docker(&args).lines().collect::<Vec<_>>())
}

/// Removes all that an instance has on the engine, and what a test made beside it.
pub(super) fn clean(instance: &str, network: &str) {
    let list = |args: &[&str]| try_docker(args).unwrap_or_default();
    let by = |key: &str| format!("label={key}={instance}");
    for label in [by("dev.berth.instance"), by(BESIDE)] {
        for id in list(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]).lines() {
            let _ = try_docker(&["rm", "--force", id]);
        }
    }
    for label in [by("dev.berth.image.instance"), by(BESIDE)] {
        for id in list(&["images", "--quiet", "--no-trunc", "--filter", &label]).lines() {
            let _ = try_docker(&["rmi", "--force", id]);
        }
    }
    let label = by("dev.berth.instance");
    for name in list(&["volume", "ls", "--quiet", "--filter", &label]).lines() {
        let _ = try_docker(&["volume", "rm", name]);
    }
    let name = format!("name=^{network}$");
    for id in list(&["network", "ls", "--quiet", "--filter", &name, "--filter", &label]).lines() {
        let _ = try_docker(&["network", "rm", id]);
    }
}

/// The label of what a test makes by hand, with the instance as its value.
pub(super) const BESIDE: &str = "berth-test.beside";
