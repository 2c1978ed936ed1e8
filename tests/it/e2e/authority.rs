//! An operator's CA bundle in builds: the build trusts it, what runs does not.

use std::sync::Arc;

use berth::engine::docker::Builder;

use super::{engine::docker, repository::Repository, stage::Stage};
use crate::authority::Authority;

/// Proves during the build that both the bundle and the public authorities are trusted: by what
/// Python is told, and by what the system has.
const SETUP: &str = r#"
import os, ssl
mine = open("/usr/local/share/ca-certificates/berth.crt").read().strip()
for place in (os.environ["SSL_CERT_FILE"], os.environ["PIP_CERT"], "/etc/ssl/certs/ca-certificates.crt"):
    text = open(place).read()
    assert mine in text, place
    assert text.count("BEGIN CERTIFICATE") > 50, place
names = [dict(x[0] for x in c["subject"]).get("commonName") for c in ssl.create_default_context().get_ca_certs()]
assert "Berth e2e" in names, names
from setuptools import setup
setup(name="x", version="0", py_modules=["app"])
"#;

fn manifest(url: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: trusting}}\nspec:\n  \
         source: {{git: {url}}}\n  run: sleep 3600\n  build: {{caBundle: true}}\n"
    )
}

/// Faults B05, H04: a bundle that is for builds is not trusted by what they make.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_bundle_is_trusted_by_the_build_and_by_nothing_that_runs() {
    let pem = Authority::new("Berth e2e").pem();
    let line = String::from_utf8(pem.clone()).unwrap().lines().nth(2).unwrap().to_owned();
    for builder in [Builder::Classic, Builder::Buildkit] {
        let mut stage = Stage::new();
        stage.ca_bundle = Some(Arc::from(pem.clone()));
        stage.builder = builder;
        let repository = Repository::bare(&stage.path("served").join("app.git"));
        repository.commit(&[("setup.py", SETUP), ("app.py", "")]);
        stage.write("trusting.yaml", &manifest(&repository.url()));
        let berth = stage.start();
        berth.until_running("trusting").await;
        let id = stage.container("trusting").id();
        let inside = |line: &str| docker(&["exec", &id, "sh", "-c", line]);
        // The public ones are there as before, the bundle is nowhere.
        let places = "/etc/ssl /usr/local/share /usr/share/ca-certificates /app /opt /tmp";
        assert_eq!(
            inside(&format!("grep -rlF '{line}' {places} || echo none")),
            "none",
            "{builder:?}"
        );
        assert_eq!(inside("ls /usr/local/share | grep -c pem || :"), "0");
        let count = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt";
        assert_eq!(inside(count), docker(&["run", "--rm", super::engine::BASE, "sh", "-c", count]));
        let variables = "env | grep -e CERT -e CA_BUNDLE | sort";
        let of_base = docker(&["run", "--rm", super::engine::BASE, "sh", "-c", variables]);
        assert_eq!(inside(variables), of_base);
    }
}
