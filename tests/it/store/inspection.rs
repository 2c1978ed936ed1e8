//! What is inside models: found out once, told everywhere, and decided by where it counts.

use std::{sync::atomic::Ordering, time::Duration};

use berth::store::{Danger, Depot, Happening, Settings, What};
use serde_json::json;
use tokio::sync::broadcast::Receiver;

use crate::api::stage::Stage;

/// Loading it runs a program.
const DANGEROUS: &str = "cos\nsystem\n(S'true'\ntR.";
/// The same, cut off: a loader runs it all the same before it notices.
const CUT: &str = "cos\nsystem\n(S'true'\ntR";
const PLAIN: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;
const FORM: &str = "multipart/form-data; boundary=X";

/// Waits until so many models were looked into.
pub(super) async fn scanned(happenings: &mut Receiver<Happening>, count: usize) -> Vec<Happening> {
    let mut all = Vec::new();
    while all.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(60), happenings.recv()).await;
        let happening = next.expect("nothing is looked into").unwrap();
        if matches!(happening.what, What::Scanned { .. }) {
            all.push(happening);
        }
    }
    all
}

/// A store that is open; the one before may still be ending.
pub(super) async fn open(settings: &Settings) -> Depot {
    for _ in 0..600 {
        let depot = Depot::new(settings.clone());
        match depot.store() {
            Ok(_) => return depot,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the store does not open");
}

async fn put(stage: &Stage, path: &str, content: &str) -> u16 {
    stage.ask("PUT", &format!("/models/{path}"), &[], content).await.status
}

#[tokio::test]
async fn what_is_inside_is_found_out_once_for_each_content_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let depot = Depot::new(Settings::new(folder.path().join("models")));
    let (mut happenings, figures) = (depot.listen(), depot.figures().clone());
    let stage = Stage::with_models(depot).await;
    assert_eq!(put(&stage, "p/a/1/m.pkl", DANGEROUS).await, 201);
    assert_eq!(put(&stage, "p/a/1/config.json", PLAIN).await, 201);
    scanned(&mut happenings, 2).await;
    let info = stage.get("/models/p/a/1/m.pkl/info").await.json();
    assert_eq!((&info["format"], &info["safety"]), (&json!("pickle"), &json!("dangerous")));
    let inner = &info["inspection"];
    assert_eq!((&inner["status"], &inner["served"]), (&json!("done"), &json!(true)));
    let import = json!({ "module": "os", "name": "system", "safety": "dangerous" });
    assert_eq!(inner["imports"], json!([import]), "{inner:#}");
    let config = stage.get("/models/p/a/1/config.json/info").await.json();
    assert_eq!(config["inspection"]["facts"]["model_type"], "llama", "{config:#}");
    let listed = stage.get("/models/p/a/1").await.json();
    assert_eq!(listed["models"][1]["safety"], "dangerous", "{listed:#}");
    let native = stage.get("/api/v1/models/inspections/p/a/1/m.pkl").await.json();
    assert_eq!(native["inspection"], *inner);
    // It is given with a word of warning.
    let sent = stage.get("/models/p/a/1/m.pkl").await;
    assert_eq!(sent.status, 200);
    assert!(sent.has("x-model-safety: dangerous"), "{sent:?}");
    let scans = || figures.scans_dangerous.load(Ordering::Relaxed);
    assert_eq!(scans(), 1);
    // The same content under another name is known at once.
    assert_eq!(put(&stage, "q/a/1/n.pkl", DANGEROUS).await, 201);
    let info = stage.get("/models/q/a/1/n.pkl/info").await.json();
    assert_eq!((&info["safety"], scans()), (&json!("dangerous"), 1));
    let wide = stage.run(&["models", "ls", "-o", "wide"]).await;
    assert!(wide.out.contains("SAFETY") && wide.out.contains("dangerous"), "{wide:?}");
    let shown = stage.run(&["models", "info", "p/a/1/m.pkl"]).await;
    assert!(shown.out.contains("dangerous: os.system"), "{shown:?}");
}

#[tokio::test]
async fn dangerous_files_do_not_become_visible_where_they_are_blocked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let mut settings = Settings::new(&root);
    settings.policy.projects.insert("p".to_owned(), Danger::Block);
    let depot = Depot::new(settings);
    let mut happenings = depot.listen();
    let stage = Stage::with_models(depot).await;
    for content in [DANGEROUS, CUT] {
        let answer = stage.ask("PUT", "/models/p/a/1/m.pkl", &[], content).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.starts_with("{\"detail\":\"the file is "), "{answer:?}");
        let form = format!(
            "--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"m.pkl\"\r\n\r\n{content}\r\n--X--\r\n"
        );
        let path = "/models/upload?project_id=p&app_name=a&version=1&model_name=m";
        let answer = stage.ask("POST", path, &[("content-type", FORM)], &form).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    assert!(!root.join("p").exists());
    assert_eq!(std::fs::read_dir(root.join(".store/uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(root.join(".store/blobs/sha256")).unwrap().count(), 0);
    assert_eq!(put(&stage, "p/a/1/config.json", PLAIN).await, 201);
    assert_eq!(stage.get("/models/p/a/1/config.json").await.status, 200, "it is known to be good");
    assert_eq!(put(&stage, "q/a/1/m.pkl", DANGEROUS).await, 201, "another project takes it");
    scanned(&mut happenings, 1).await;
}

#[tokio::test]
async fn what_was_stored_before_it_was_blocked_is_not_given_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    let depot = Depot::new(settings.clone());
    let mut happenings = depot.listen();
    let stage = Stage::with_models(depot).await;
    assert_eq!(put(&stage, "p/a/1/m.pkl", DANGEROUS).await, 201);
    scanned(&mut happenings, 1).await;
    stage.stop.cancel();
    stage.served.await.unwrap();
    settings.policy.danger = Danger::Block;
    let stage = Stage::with_models(open(&settings).await).await;
    for method in ["GET", "HEAD"] {
        let answer = stage.ask(method, "/models/p/a/1/m.pkl", &[], "").await;
        assert_eq!(answer.status, 403, "{method}: {answer:?}");
    }
    let info = stage.get("/models/p/a/1/m.pkl/info").await.json();
    assert_eq!(info["inspection"]["served"], false, "{info:#}");
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 1, "it is there still");
    assert_eq!(stage.ask("DELETE", "/models/p/a/1/m.pkl", &[], "").await.status, 200);
}

/// What is inside is found out anew when it was lost, or when another scanner said it.
#[tokio::test]
async fn a_report_that_is_lost_or_old_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("models"));
    let depot = Depot::new(settings.clone());
    let mut happenings = depot.listen();
    let stage = Stage::with_models(depot).await;
    assert_eq!(put(&stage, "p/a/1/m.pkl", DANGEROUS).await, 201);
    scanned(&mut happenings, 1).await;
    stage.stop.cancel();
    stage.served.await.unwrap();
    let reports = folder.path().join("models/.store/reports");
    let report = std::fs::read_dir(&reports).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&report).unwrap();
    let safe = text.replace("\"dangerous\"", "\"safe\"");
    let scanner = format!("\"scanner\":{}", berth::inspect::VERSION);
    assert!(safe.contains(&scanner), "{safe}");
    for lie in [safe.replacen(&scanner, "\"scanner\":0", 1), "{".to_owned()] {
        assert_ne!(lie, safe);
        std::fs::write(&report, lie).unwrap();
        let depot = Depot::new(settings.clone());
        let mut happenings = depot.listen();
        while depot.store().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = scanned(&mut happenings, 1).await;
        assert!(found[0].what.is_warning(), "{found:?}");
        assert!(matches!(found[0].what, What::Scanned { is_new: false, .. }), "{found:?}");
    }
}

#[tokio::test]
async fn only_files_with_these_endings_are_taken_and_only_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.policy.endings = [".json".to_owned()].into();
    settings.project_models_max = Some(2);
    let stage = Stage::with_models(Depot::new(settings)).await;
    for (path, status) in [
        ("p/a/1/m.pkl", 415),
        ("p/a/1/m", 415),
        ("p/a/1/a.json", 201),
        ("p/a/1/B.JSON", 201),
        ("p/a/1/c.json", 413),
        ("p/a/1/a.json", 201),
        ("q/a/1/c.json", 201),
    ] {
        assert_eq!(put(&stage, path, PLAIN).await, status, "{path}");
    }
    let path = "/models/upload?project_id=q&app_name=a&version=1&model_name=m";
    for (name, status) in [("m.pkl", 415), ("m.json", 201)] {
        let form = format!(
            "--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{PLAIN}\r\n--X--\r\n"
        );
        let answer = stage.ask("POST", path, &[("content-type", FORM)], &form).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
}
