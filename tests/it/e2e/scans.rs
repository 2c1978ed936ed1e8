//! Known vulnerabilities with the real program on a real engine: from a folder of records to what
//! an operator sees and decides.

use std::fs;

use serde_json::{Value, json};

use super::{
    engine,
    program::{Network, Program},
    stage::Stage,
    undo::berth,
};

/// A record of a package that Debian's images have.
fn record(name: &str) -> Value {
    json!({
        "id": "TEST-1",
        "aliases": ["CVE-2026-0001"],
        "database_specific": { "severity": "CRITICAL" },
        "affected": [{
            "package": { "ecosystem": "Debian", "name": name },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }] }],
        }],
    })
}

async fn start(stage: &Stage) -> (Program, String) {
    let mut program = Program::start_with(stage, &engine::host(), "auto", |command| {
        let path = |part: &str| stage.path(part).display().to_string();
        command
            .args(["--vulnerability-database", &path("records")])
            .args(["--vulnerability-exceptions", &path("accepted.yaml")])
            .args(["--vulnerability-block", "high"]);
    });
    let address = program.address().await;
    (program, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_does_not_start_until_it_is_accepted() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    fs::create_dir(stage.path("records")).unwrap();
    fs::write(stage.path("records/one.json"), record("dpkg").to_string()).unwrap();
    // The image has packages of Python, too, and something must be known of these.
    let python = json!({
        "id": "TEST-2",
        "affected": [{ "package": { "ecosystem": "PyPI", "name": "not-installed" } }],
    });
    fs::write(stage.path("records/two.json"), python.to_string()).unwrap();
    fs::write(stage.path("accepted.yaml"), "[]\n").unwrap();
    let manifest = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: web}}\nspec:\n  image: {}\n  \
         command: [sleep, infinity]\n  health: none\n",
        engine::BASE
    );
    stage.write("web.yaml", &manifest);
    let (mut program, server) = start(&stage).await;
    let held = ["wait", "web", "--for=condition=ScanPassed=False", "--timeout", "60s"];
    let (code, said) = berth(&server, &held).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(stage.containers("web").len(), 0);
    let (code, said) = berth(&server, &["scan"]).await;
    assert!(code == 1 && said.contains("blocked"), "{code} {said}");
    let (code, said) = berth(&server, &["scan", "web"]).await;
    assert!(code == 1 && said.contains("CVE-2026-0001") && said.contains("dpkg"), "{code} {said}");
    let (code, said) = berth(&server, &["status", "web"]).await;
    assert!(code == 1 && said.contains("does not allow"), "{code} {said}");
    let (code, parts) = berth(&server, &["sbom", "web"]).await;
    let parts: Value = serde_json::from_str(&parts).unwrap();
    assert!(code == 0 && parts["components"].as_array().unwrap().len() > 20, "{parts}");
    assert!(program.stop().await);

    // The list of packages was kept; what is accepted starts.
    assert_eq!(fs::read_dir(stage.path("state/packages")).unwrap().count(), 1);
    let accepted = "- {id: CVE-2026-0001, package: dpkg, until: 9999-12-31, reason: a test}\n";
    fs::write(stage.path("accepted.yaml"), accepted).unwrap();
    let (mut program, server) = start(&stage).await;
    let (code, said) = berth(&server, &["wait", "web", "--timeout", "60s"]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = berth(&server, &["scan", "web"]).await;
    assert!(code == 0 && said.contains("until 9999-12-31: a test"), "{code} {said}");
    assert!(program.stop().await);
}
