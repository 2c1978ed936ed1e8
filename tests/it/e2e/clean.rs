//! `berth gc` on the real engine: what was left behind goes, and its neighbours stay.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use berth::{plan::GcRules, record};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    engine::{self, TINY, docker, try_docker},
    program::Program,
    repository::Repository,
    stage::{Berth, Stage, httpd, tiny},
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
        tokio::time::sleep(Duration::from_millis(100)).await;
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

/// Runs the real compose.
fn compose(project: &str, file: &Path, words: &[&str]) {
    let mut command = Command::new("docker-compose");
    command.env("DOCKER_HOST", engine::host()).args(["-p", project, "-f"]).arg(file).args(words);
    let output = command.output().expect("there is no docker-compose: run `make compose-tool`");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
}

/// What compose made in a test, gone when it is dropped.
struct Projects([String; 3]);

fn projects_of(stage: &Stage) -> Projects {
    Projects(["own", "main", "shop"].map(|word| format!("{}{word}", stage.instance)))
}

impl Projects {
    fn names(&self) -> [&str; 3] {
        self.0.each_ref().map(String::as_str)
    }
}

impl Drop for Projects {
    fn drop(&mut self) {
        for project in &self.0 {
            let label = format!("label=com.docker.compose.project={project}");
            for (list, remove) in [
                (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
                (&["network", "ls", "--quiet"], &["network", "rm"]),
                (&["volume", "ls", "--quiet"], &["volume", "rm"]),
            ] {
                let all = try_docker(&[list, &["--filter", &label]].concat()).unwrap_or_default();
                for one in all.lines() {
                    let _ = try_docker(&[remove, &[one]].concat());
                }
            }
        }
    }
}

/// Has Berth run two apps, and the real compose make containers of its files, and of one of somebody
/// else that runs a service of the same name. Answers where that one lies.
async fn composed(stage: &Stage, projects: &Projects, volume: &str) -> (Berth, PathBuf) {
    let [own, main, shop] = projects.names();
    let mounts = format!("mounts: [{{path: /v, volume: {volume}}}]");
    stage.write("page.yaml", &tiny("page", "[sleep, \"1000\"]", &mounts));
    stage.write("stays.yaml", &tiny("stays", "[sleep, \"1000\"]", ""));
    let berth = stage.start();
    berth.until_running("page").await;
    berth.until_running("stays").await;
    let file = stage.path("compose/page/docker-compose.yaml");
    let all = stage.path("compose/docker-compose.yaml");
    let is_whole = || {
        let text = fs::read_to_string(&all).unwrap_or_default();
        file.exists() && ["page/", "stays/"].iter().all(|part| text.contains(part))
    };
    berth.until("the compose files are written", is_whole).await;
    compose(own, &file, &["up", "--no-start"]);
    compose(main, &all, &["up", "--no-start"]);
    let theirs = stage.path("served/docker-compose.yml");
    let text = format!(
        "version: '2.4'\nservices:\n  page:\n    image: {TINY}\n    command: [sleep, '1000']\n    \
         stop_grace_period: 1s\n    volumes: ['data:/v']\nvolumes: {{data: }}\n"
    );
    fs::write(&theirs, text).unwrap();
    compose(shop, &theirs, &["up", "-d"]);
    (berth, theirs)
}

async fn clean(berth: &Berth, is_dry: bool, grace: Duration) -> Value {
    let rules = GcRules { grace, with_data: true };
    let said = berth.command(record::Command::CollectGarbage { is_dry, rules }).await;
    let done: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(done["unread"], serde_json::json!([]), "{said}");
    done
}

/// The row of a thing among those that go or stay.
fn row<'a>(done: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    done[field].as_array().unwrap().iter().find(|row| row["name"] == name)
}

/// Why something stays.
fn why<'a>(done: &'a Value, name: &str) -> &'a str {
    row(done, "staying", name).map_or("", |row| row["stays"].as_str().unwrap())
}

/// What would go a day after: the engine lists the app's own container for a moment yet.
async fn young(berth: &Berth, made: &str) -> Value {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let done = clean(berth, true, GcRules::GRACE).await;
        if !why(&done, made).contains("has a container") || limit < Instant::now() {
            return done;
        }
    }
}

/// Faults D21, D44: containers that the real compose made of Berth's files, of an app that left and of
/// one that stays; beside them a project of somebody else with the same names, its network and its
/// volume, and a container of nobody.
#[tokio::test(flavor = "multi_thread")]
async fn what_compose_made_of_berths_files_goes_and_other_projects_stay() {
    let stage = Stage::new();
    let (projects, volume) = (projects_of(&stage), format!("{}-data", stage.instance));
    let [own, main, shop] = projects.names();
    let (berth, theirs) = composed(&stage, &projects, &volume).await;
    let nobodys = stage.make_by_hand(&["create"], &[TINY, "true"]);
    let made = [own, main, shop].map(|project| format!("{project}_page_1"));
    let is_here = |name: &String| try_docker(&["container", "inspect", name]).is_ok();

    stage.erase("page.yaml");
    berth.until_gone("page").await;
    let young = young(&berth, &made[0]).await;
    for name in &made[..2] {
        let why = why(&young, name);
        assert!(why.ends_with("and goes after 1d"), "{why}");
    }
    let (network, data) = (format!("{shop}_default"), format!("{shop}_data"));
    for name in [&made[2], &network, &data] {
        assert!(
            row(&young, "staying", name).is_none(),
            "it runs, and is nobody's business: {young}"
        );
    }
    compose(shop, &theirs, &["stop"]);
    let dry = clean(&berth, true, Duration::ZERO).await;
    for name in &made[..2] {
        let going = row(&dry, "going", name).unwrap();
        assert!(going["kind"] == "project" && going["app"] == "page", "{going}");
    }
    let kept = format!("{main}_stays_1");
    let stays = |name: &str| {
        let row = row(&dry, "staying", name).unwrap_or_else(|| panic!("{name}: {dry:#}"));
        row["stays"].as_str().unwrap().to_owned()
    };
    assert!(stays(&kept).contains("a manifest names app/stays"), "{}", stays(&kept));
    let word = theirs.display().to_string();
    assert!(stays(&made[2]).contains(&word) && stays(&made[2]).contains("not Berth's"));
    assert!(stays(&network).contains(&format!("`docker network rm {network}`")));
    assert!(stays(&data).contains(&format!("`docker volume rm {data}`")));
    assert!(made.iter().all(is_here), "a dry run removes nothing");

    // One that is started right before stays.
    docker(&["start", &made[1]]);
    let done = clean(&berth, false, Duration::ZERO).await;
    assert!(is_here(&made[0]) && is_here(&made[1]), "the app has a container again: {done}");
    docker(&["stop", "--time", "1", &made[1]]);
    let done = clean(&berth, false, Duration::ZERO).await;
    assert!(!is_here(&made[0]) && !is_here(&made[1]), "{done:#}");
    for here in [&made[2], &kept, &nobodys] {
        assert!(is_here(here), "{here}: {done:#}");
    }
    let inspect = |kind, name: &str| try_docker(&[kind, "inspect", name]).is_ok();
    assert!(inspect("network", &network) && inspect("volume", &data) && inspect("volume", &volume));
    assert!(inspect("network", &stage.network), "an app runs in it");

    // The network of apps goes with the last of what was in it.
    stage.erase("stays.yaml");
    berth.until_gone("stays").await;
    clean(&berth, false, Duration::ZERO).await;
    assert!(!is_here(&kept));
    let done = clean(&berth, false, Duration::ZERO).await;
    let why = row(&done, "staying", &volume).unwrap()["stays"].as_str().unwrap();
    assert!(why.contains("app/page"), "{why}");
    assert!(row(&done, "going", &stage.network).is_some(), "{done:#}");
    assert!(!inspect("network", &stage.network) && inspect("network", &network));
    assert!(is_here(&made[2]) && is_here(&nobodys) && inspect("volume", &volume));
    berth.stop().await;
}
