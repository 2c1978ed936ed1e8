//! What is installed in an image, read in both ways from a real engine.

use std::process::{Command, Stdio};

use berth::scan::{Kind, layers};

use super::bench::Bench;

/// The image with Python that the tests build apps on.
const BASE: &str = "berth/base:offline";

#[tokio::test]
async fn packages_are_the_same_from_the_engines_folders_and_from_its_archive() {
    let bench = Bench::docker().await;
    let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
    let id = client.inspect_image(BASE).await.unwrap().id.unwrap();
    let found = bench.engine.packages(&id).await.unwrap().unwrap();
    let version = |kind, name: &str| {
        let mut all = found.packages.iter();
        all.find(|one| one.kind == kind && one.name == name).map(|one| one.version.clone())
    };
    assert!(version(Kind::Deb, "python3").is_some(), "{found:?}");
    assert!(version(Kind::Pypi, "pip").is_some(), "{found:?}");
    assert_eq!(found.distribution.as_ref().map(|one| one.id.as_str()), Some("debian"));
    // As dpkg itself says.
    let listed = Command::new("docker")
        .args(["run", "--rm", "--network=none", BASE, "dpkg-query", "-W", "-f=${Version}", "libc6"])
        .env("DOCKER_HOST", bench.host().unwrap())
        .output()
        .unwrap();
    assert_eq!(version(Kind::Deb, "libc6"), Some(String::from_utf8(listed.stdout).unwrap()));
    let mut save = Command::new("docker")
        .args(["save", BASE])
        .env("DOCKER_HOST", bench.host().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let from_archive = layers::of_archive(save.stdout.take().unwrap()).unwrap();
    assert!(save.wait().unwrap().success());
    assert_eq!(from_archive, found);
}
