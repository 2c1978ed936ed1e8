//! `berth gc` on the real engine: what was left behind goes, and its neighbours stay.

use std::{fs, process::Command};

use super::{
    engine::{TINY, docker, try_docker},
    program::Program,
    repository::Repository,
    stage::{Stage, httpd},
};

fn ask(address: &str, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let done =
        command.args(args).args(["--server", &format!("http://{address}")]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&done.stdout) + &text(&done.stderr);
    assert!(done.status.success(), "{args:?}: {said}");
    said
}

/// Asks off the threads that the program's log is read on.
async fn asked(address: &str, args: &'static [&'static str]) -> String {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || ask(&address, args)).await.unwrap()
}

/// Faults D28, D44, T01: an app that left with its data, half a fetch, an image without an app; beside
/// them an app that runs, and an image and a folder of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_behind_goes_and_its_neighbours_stay() {
    let stage = Stage::new();
    let repository = Repository::bare(&stage.path("served/page.git"));
    repository.commit(&[
        ("Dockerfile", "FROM berth/tiny:offline\nCOPY index.html /www/\n"),
        ("index.html", "one"),
    ]);
    let page = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: page}}\nspec:\n  \
         source: {{git: {}}}\n  run: httpd -f -p 8080 -h /www\n  port: 8080\n",
        repository.url()
    );
    stage.write("page.yaml", &page);
    stage.write("stays.yaml", &httpd("stays", ""));
    let mut program = Program::start(&stage);
    let address = program.address().await;
    asked(&address, &["wait", "page", "--timeout", "60s"]).await;
    asked(&address, &["wait", "stays", "--timeout", "60s"]).await;
    let image = stage.images("page").pop().expect("an image was built");
    let stranger = format!("{}-theirs:1", stage.instance);
    docker(&["tag", TINY, &stranger]);
    fs::write(stage.workspace("page", "data/model.bin"), "kept").unwrap();
    fs::create_dir_all(stage.path("workspaces/theirs")).unwrap();
    fs::write(stage.path("workspaces/theirs/notes"), "x").unwrap();
    fs::create_dir_all(stage.workspace("stays", ".berth/new-half")).unwrap();

    stage.erase("page.yaml");
    asked(&address, &["wait", "page", "--for", "delete", "--timeout", "60s"]).await;
    let young = asked(&address, &["gc", "--dry-run"]).await;
    assert!(young.contains("goes after 1d") && young.contains("\n0 would be freed"), "{young}");
    // The engine's last word of a container may come after that of its app.
    let parts = ["code", "image", "new-half", "it holds data", "theirs"];
    let is_all = |planned: &String| parts.iter().all(|part| planned.contains(part));
    let mut planned = String::new();
    for _ in 0..100 {
        planned = asked(&address, &["gc", "--dry-run", "--grace", "0s"]).await;
        if is_all(&planned) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(is_all(&planned), "{planned}");
    assert!(stage.workspace("page", "code").exists(), "a dry run removes nothing");
    let done = asked(&address, &["gc", "--grace", "0s"]).await;
    let inspect = |image: &str| try_docker(&["image", "inspect", image]);
    assert!(inspect(&image).is_err(), "{done}");
    assert!(!stage.workspace("page", "code").exists(), "{done}");
    assert!(stage.workspace("page", "data/model.bin").exists(), "{done}");
    assert!(!stage.workspace("stays", ".berth/new-half").exists(), "{done}");
    assert!(stage.container("stays").is_running() && inspect(&stranger).is_ok());
    assert!(stage.path("workspaces/theirs/notes").exists());
    let again = asked(&address, &["gc", "--grace", "0s"]).await;
    assert_eq!(again, "0 freed at most: images share layers\n");

    asked(&address, &["gc", "--grace", "0s", "--with-data"]).await;
    assert!(!stage.workspace("page", "data").exists());
    assert!(stage.path("workspaces/theirs/notes").exists(), "it was never ours");
    docker(&["rmi", &stranger]);
    program.kill().await;
}
