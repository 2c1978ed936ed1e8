//! Other people's tools on what Berth makes, and Berth on theirs. They are not part of the machine
//! that the other tests need: `make engines` fetches them and runs these.

#![expect(clippy::disallowed_methods, reason = "other programs are waited for, without a runtime")]

use std::process::{Child, Command, Stdio};

use berth::engine::Error;
use berth::model::ImageRef;
use serde_json::Value;

use super::bench::Bench;
use super::pull::pull;

/// The program that an environment variable names.
fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `make engines`"))
}

#[track_caller]
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compose v2 shows the containers of an instance as the services of a project.
#[tokio::test]
async fn compose_lists_the_apps_as_services() {
    let bench = Bench::docker().await;
    for app in ["chat", "draw"] {
        bench.run(&bench.spec(app)).await.unwrap();
    }
    let compose = || {
        let mut command = Command::new(program("BERTH_TEST_COMPOSE"));
        command.env("DOCKER_HOST", bench.host().unwrap());
        command
    };
    let listed = must(compose().args(["ls", "--format", "json"]));
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let project =
        listed.iter().find(|one| one["Name"].as_str().unwrap().ends_with(&bench.instance));
    let project = project.unwrap_or_else(|| panic!("{listed:?}"));
    assert_eq!(project["Status"], "running(2)");
    let name = project["Name"].as_str().unwrap();
    let services = must(compose().args(["-p", name, "ps", "--services"]));
    let mut services: Vec<_> = services.lines().collect();
    services.sort_unstable();
    assert_eq!(services, ["chat", "draw"]);
    let shown = must(compose().args(["-p", name, "ps", "--format", "json", "chat"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["Service"], &shown["State"]), (&"chat".into(), &"running".into()));
}

/// A registry, running until this is dropped.
struct Registry {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start(auth: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let at = folder.path().display();
        // Nobody signs in, so that whose word this is does not matter.
        std::fs::write(folder.path().join("users"), format!("a:$2y$05${}\n", "a".repeat(53)))
            .unwrap();
        let auth = auth.replace("FOLDER", &at.to_string());
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
             http: {{addr: '{address}'}}\n{auth}"
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let mut command = Command::new(program("BERTH_TEST_REGISTRY"));
        command.arg("serve").arg(folder.path().join("config.yml")).stderr(Stdio::null());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let registry = Self { child, address, _folder: folder };
        let start = std::time::Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            assert!(start.elapsed().as_secs() < 30, "the registry does not listen");
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fault D38, with the registry that everybody runs.
#[tokio::test]
async fn a_real_registry_gives_refuses_and_lacks() {
    let bench = Bench::docker().await;
    let open = Registry::start("");
    let closed = Registry::start("auth: {htpasswd: {realm: closed, path: FOLDER/users}}\n");
    let docker = |args: &[&str]| {
        must(Command::new("docker").args(["-H", &bench.host().unwrap()]).args(args))
    };
    let image = format!("{}/{}/app:1", open.address, bench.instance);
    docker(&["tag", bench.image(), &image]);
    docker(&["push", "--quiet", &image]);
    docker(&["rmi", &image]);
    let of = |text: &str| ImageRef::parse(text).unwrap();
    let (pulled, log) = pull(&bench, &of(&image)).await;
    let world = bench.engine.observe().await.unwrap();
    assert_eq!(world.image_id(&image), Some(pulled.unwrap().as_str()), "{log:?}");
    docker(&["rmi", &image]);
    for (image, part) in [
        (image.replace("app:1", "app:2"), "manifest unknown"),
        (image.replace(&open.address, &closed.address), "no basic auth credentials"),
    ] {
        let Err(Error::Work(message)) = pull(&bench, &of(&image)).await.0 else {
            panic!("{image}")
        };
        assert!(message.contains(part), "{message}");
    }
}
