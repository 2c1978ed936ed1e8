//! The programs that are out there, as they are: a client in Python, and lines of curl.

use std::{path::Path, process::Output};

use tokio::process::Command;

use crate::api::stage::Stage;

const CLIENT: &str = include_str!("client.py");
/// The lines, with `{…}` filled in as a reader does.
const LINES: &str = r#"
curl http://localhost:8000/health
curl -X POST "http://localhost:8000/models/upload?project_id=my_project&app_name=my_app&version=1.0.0&model_name=baseline" \
  -F "file=@my_model.pt" \
  -F "description=My trained model" \
  -F "framework=pytorch"
curl http://localhost:8000/models/list
curl http://localhost:8000/models/my_project
curl http://localhost:8000/models/my_project/my_app
curl http://localhost:8000/models/my_project/my_app/1.0.0
curl http://localhost:8000/models/my_project/my_app/1.0.0/baseline/info
curl -O http://localhost:8000/models/my_project/my_app/1.0.0/baseline
curl -X DELETE http://localhost:8000/models/my_project/my_app/1.0.0/baseline
"#;

async fn run(program: &str, args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env("PYTHONPATH", folder.join("lib"));
    let ran = tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await;
    let ran = ran.unwrap_or_else(|_| panic!("{program} {args:?} did not end"));
    ran.unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs a text in which a server at port 8000 is meant; what it printed.
async fn play(stage: &Stage, program: &str, args: &[&str], text: &str, folder: &Path) -> String {
    let text = text.replace("localhost:8000", &stage.address.to_string());
    let ran = run(program, &[args, &[text.as_str()]].concat(), folder).await;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said
}

#[tokio::test]
async fn the_client_in_python_runs_as_written() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(folder.path().join("model.pt"), &bytes).unwrap();
    if !run("python3", &["-c", "import requests"], folder.path()).await.status.success() {
        let install = ["-m", "pip", "install", "-q", "--target", "lib", "requests"];
        let installed = run("python3", &install, folder.path()).await;
        assert!(installed.status.success(), "{installed:?}");
    }
    let said = play(&stage, "python3", &["-c"], CLIENT, folder.path()).await;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 7, "{said}");
    assert!(lines[0].contains("'message': 'Model uploaded successfully'"), "{said}");
    for line in &lines[1..=4] {
        assert!(line.contains("'total_models': 1"), "{line}");
    }
    assert!(lines[5].contains("'description': 'Trained model'"), "{said}");
    assert!(lines[5].contains("'original_filename': 'model.pt', 'content_type': None"), "{said}");
    assert!(lines[6].contains("Model deleted successfully"), "{said}");
    assert!(std::fs::read(folder.path().join("downloaded_model.pt")).unwrap() == bytes);
}

#[tokio::test]
async fn the_lines_of_curl_run_as_written() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("my_model.pt"), "weights").unwrap();
    let script =
        LINES.replace("curl ", "curl -sS --fail-with-body ").replace("\ncurl", "\necho; curl");
    let said = play(&stage, "bash", &["-e", "-c"], &script, folder.path()).await;
    assert!(said.contains("\"message\":\"Model uploaded successfully\""), "{said}");
    assert_eq!(said.matches("\"total_models\":1").count(), 4, "{said}");
    // What was once lost on the way: a description that came as a field.
    assert!(said.contains("\"description\":\"My trained model\""), "{said}");
    assert!(said.contains("\"message\":\"Model deleted successfully\""), "{said}");
    let got = std::fs::read_to_string(folder.path().join("baseline")).unwrap();
    assert_eq!(got, "weights");
}

/// The command line stores, lists, fetches, checks and deletes; what differs is found.
#[tokio::test]
async fn the_command_line_moves_models_there_and_back() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(at("weights"), &bytes).unwrap();
    std::fs::write(at("other"), "other").unwrap();
    let name = "p/a/1.0.0/m";
    let push = ["models", "push", &at("weights"), name, "--create-only", "--framework", "a b&c"];
    let pushed = stage.run(&push).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(stage.run(&push).await.code, 6, "it is there already");
    let listed = stage.run(&["models", "ls", "A B&C"]).await;
    assert!(listed.out.contains("p/a/1.0.0/m") && listed.out.contains("3.8Mi"), "{listed:?}");
    let pulled = stage.run(&["models", "pull", "p/a/@^1/m", &at("back")]).await;
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert!(std::fs::read(at("back")).unwrap() == bytes);
    assert_eq!(stage.run(&["models", "verify", name, &at("back")]).await.code, 0);
    assert_eq!(stage.run(&["models", "verify", name, &at("other")]).await.code, 1);
    assert_eq!(stage.run(&["models", "rm", name]).await.code, 0);
    let gc = stage.run(&["models", "gc", "--dry-run"]).await;
    assert!(gc.out.contains("0 from the trash, 0 contents: 0 would be freed"), "{gc:?}");
    let absent = stage.run(&["models", "pull", name, &at("none")]).await;
    assert!(absent.code != 0 && absent.err.contains("Model not found"), "{absent:?}");
    assert!(!Path::new(&at("none")).exists() && !Path::new(&at(".none.part")).exists());
}
