//! What the doctor finds out by asking others: hosts that it calls, and containers that run.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use berth::{
    doctor::{self, Group, Host, Outcome, Place, Report},
    state::{ContainerId, Gpu, GpuProcess, Inventory},
    telemetry::metrics::Load,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::api::stage::Stage;
use crate::authority::{Authority, DAY, USUAL};
use crate::rig::Rig;

/// Speaks TLS at a port of this machine, with this certificate and its key.
async fn served((certificate, key): (Vec<u8>, Vec<u8>)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let chain = CertificateDer::pem_slice_iter(&certificate).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

async fn look(place: Place, code: &str) -> Report {
    let reports = doctor::examine(&Arc::new(place), None).await;
    reports.into_iter().find(|report| report.code == code).unwrap()
}

async fn git_host(port: u16, is_tls: bool, authorities: Option<PathBuf>) -> Report {
    let host = Host { name: "localhost".to_owned(), port, is_tls };
    let place = Place { git_hosts: vec![host], authorities, ..Place::default() };
    look(place, "doctor.git-hosts").await
}

#[tokio::test]
async fn a_git_host_must_show_a_certificate_that_is_believed() {
    let authority = Authority::new("the doctor's");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let good = served(authority.pair(2, USUAL)).await;

    let stranger = git_host(good, true, None).await;
    assert_eq!(stranger.outcome, Outcome::Error, "{stranger:?}");
    assert!(stranger.evidence.contains("nobody who is believed"), "{stranger:?}");
    assert!(stranger.fix.contains("--git-ca-bundle"), "{stranger:?}");
    let known = git_host(good, true, Some(file.clone())).await;
    assert_eq!(known.outcome, Outcome::Good, "{known:?}");

    let old = served(authority.pair(3, (-9 * DAY, -DAY))).await;
    let old = git_host(old, true, Some(file.clone())).await;
    assert!(old.outcome == Outcome::Error && old.evidence.contains("xpired"), "{old:?}");

    // Who hangs up speaks no TLS, and is reached all the same where none is wanted.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move { while plain.accept().await.is_ok() {} });
    let silent = git_host(port, true, Some(file)).await;
    assert!(silent.evidence.contains("no TLS"), "{silent:?}");
    assert!(!silent.fix.contains("--git-ca-bundle"), "{silent:?}");
    assert_eq!(git_host(port, false, None).await.outcome, Outcome::Good);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_a_warning_and_named() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = |images: &[String]| Place {
        engine: Some(Arc::new(rig.fake.clone())),
        images: images.to_vec(),
        ..Place::default()
    };
    let image = [format!("localhost:{port}/shop/app:1")];
    let here = look(place(&image), "doctor.registries").await;
    assert_eq!(here.outcome, Outcome::Good, "{here:?}");
    drop(listener);
    let gone = look(place(&image), "doctor.registries").await;
    assert_eq!(gone.outcome, Outcome::Warning, "{gone:?}");
    assert!(gone.evidence.contains(&format!("localhost:{port}: ")), "{gone:?}");
    assert_eq!(look(place(&[]), "doctor.registries").await.outcome, Outcome::Skipped);
}

#[tokio::test(start_paused = true)]
async fn containers_are_looked_into_only_where_that_is_asked_for() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let place = |is_inside| Place {
        engine: Some(Arc::new(rig.fake.clone())),
        git_hosts: vec![Host { name: "git.example".to_owned(), port: 22, is_tls: false }],
        is_inside,
        ..Place::default()
    };
    let before = rig.fake.journal().len();
    let code = "doctor.container-names";
    let not_asked = look(place(false), code).await;
    assert_eq!(not_asked.outcome, Outcome::Skipped, "{not_asked:?}");
    assert!(not_asked.evidence.contains("--inside"), "{not_asked:?}");
    let asked = look(place(true), code).await;
    assert_eq!(asked.outcome, Outcome::Good, "{asked:?}");
    assert!(asked.evidence.contains("git.example"), "{asked:?}");
    assert_eq!(rig.fake.journal().len(), before, "nothing was changed by it");
    // The app has no card, so none is missed.
    assert_eq!(look(place(true), "doctor.container-gpus").await.outcome, Outcome::Skipped);
    assert!(doctor::examine(&Arc::new(place(true)), Some(Group::Network)).await.len() == 3);
}

/// What others have of a card is named; what apps have there is as it should be.
#[tokio::test(start_paused = true)]
async fn who_is_on_the_cards_beside_apps_is_named() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let ours = berth.status("chat").unwrap().container_id.map(ContainerId::new);
    let theirs = rig.fake.add_foreign("jupyter", Vec::new());
    let process = |container: Option<&ContainerId>, gib: u64| GpuProcess {
        pid: 4242,
        name: Some("python3".to_owned()),
        memory: Some(gib << 30),
        container: container.cloned(),
        ..GpuProcess::default()
    };
    let place = |processes: Vec<GpuProcess>| Place {
        engine: Some(Arc::new(rig.fake.clone())),
        gpus: Arc::new(Inventory {
            gpus: vec![Gpu { uuid: "GPU-a".to_owned(), index: 3, processes, ..Gpu::default() }],
            ..Inventory::default()
        }),
        ..Place::default()
    };
    let apps = look(place(vec![process(ours.as_ref(), 40)]), "doctor.gpu-strangers").await;
    assert_eq!(apps.outcome, Outcome::Good, "{apps:?}");
    let all = vec![process(ours.as_ref(), 40), process(Some(&theirs), 3), process(None, 12)];
    let others = look(place(all), "doctor.gpu-strangers").await;
    assert_eq!(others.outcome, Outcome::Warning, "{others:?}");
    let named = "card 3: container jupyter, 3Gi; card 3: python3 (process 4242), 12Gi";
    assert_eq!(others.evidence, named);
    assert!(!others.fix.is_empty() && !others.hint.is_empty(), "{others:?}");
    let nobody = Place { engine: None, ..place(vec![process(None, 12)]) };
    assert_eq!(look(nobody, "doctor.gpu-strangers").await.outcome, Outcome::Skipped);
    berth.stop().await;
}

/// An app that nobody comes to look at is seen by the doctor, on the page and from elsewhere.
#[tokio::test]
async fn a_queue_that_stands_still_is_told() {
    let stage = Stage::start().await;
    stage.settle();
    let report = async || {
        let said = stage.get("/api/v1/host?group=controller").await.json();
        let mut checks = said["checks"].as_array().unwrap().clone().into_iter();
        checks.find(|check| check["code"] == "doctor.queue").unwrap()
    };
    stage.metrics.queue(&Load { depth: 4, oldest: Duration::from_secs(90), ..Load::default() });
    let queue = report().await;
    assert_eq!(queue["outcome"], "warning", "{queue}");
    assert_eq!(queue["evidence"], "4 apps in the queue, the oldest has been due for 1m30s");
    let page = look_at(&stage, "/ui/host").await;
    assert!(page.contains("the oldest has been due for 1m30s"), "{page}");
}

async fn look_at(stage: &Stage, path: &str) -> String {
    stage.ask("GET", path, &[("accept", "text/html")], "").await.body
}
