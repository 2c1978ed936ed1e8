//! Two apps of the same repository, or of two that hold the same: built once.

use std::{fs, time::Duration};

use super::{
    engine::docker,
    repository::Repository,
    stage::{Stage, name},
};

fn manifest(app: &str, url: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         source: {{git: {url}}}\n  run: python3 app.py\n  health: none\n"
    )
}

fn put(stage: &Stage, apps: &[&str], files: &[(&str, &str)]) {
    let repository = Repository::bare(&stage.path("served").join(format!("{}.git", apps[0])));
    repository.commit(files);
    for app in apps {
        stage.write(&format!("{app}.yaml"), &manifest(app, &repository.url()));
    }
}

fn layers(image: &str) -> String {
    docker(&["image", "inspect", "--format", "{{.RootFS.Layers}}", image])
}

/// Fault B02: the second app's image is the first one's, with labels of its own. No step runs, nothing is
/// sent, and neither app needs the other one afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_app_of_the_same_source_is_not_built() {
    let stage = Stage::new();
    let berth = stage.start();
    let app = "import time\nimport six\ntime.sleep(3600)\n";
    let files = [("app.py", app), ("requirements.txt", "six==1.16.0\n")];
    let log = |app: &str| fs::read_to_string(stage.workspace(app, ".berth/build.log")).unwrap();
    put(&stage, &["one"], &files);
    berth.until_running("one").await;
    assert!(log("one").contains("pip install"), "{}", log("one"));
    let first = stage.images("one").remove(0);

    // Another repository, the same tree.
    put(&stage, &["two"], &files);
    berth.until_running("two").await;
    let text = log("two");
    assert!(text.contains(&format!("FROM {first}")), "{text}");
    assert!(!text.contains("pip") && !text.contains("COPY"), "{text}");
    let second = stage.images("two").remove(0);
    assert_eq!(layers(&first), layers(&second));
    let owner = "{{index .Config.Labels \"dev.berth.image.app\"}}";
    assert_eq!(docker(&["image", "inspect", "--format", owner, &second]).trim(), "two");
    assert_eq!(berth.status(name("one").as_str()).unwrap().phase, berth::model::Phase::Running);

    // The first one goes with its image; the second one goes on, and can be made anew.
    let life = stage.container("two").life();
    stage.erase("one.yaml");
    berth.until_gone("one").await;
    let id = stage.container("two").id();
    assert_eq!(stage.container("two").life(), life);
    docker(&["rm", "--force", &id]);
    let is_new = || stage.containers("two").iter().any(|seen| seen.is_running() && seen.id() != id);
    berth.until("two is made again", is_new).await;
    assert_eq!(berth.count("build"), 2);
}

/// Two that ask at the same moment: the second waits for what the first one makes. An image that has things done by
/// what is built from it is not taken.
#[tokio::test(flavor = "multi_thread")]
async fn apps_that_come_together_are_built_one_after_the_other() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(5);
    let source = format!(
        "FROM berth/tiny:offline\nRUN : {} && date >/when\nCMD [\"sleep\", \"600\"]\n",
        stage.instance
    );
    let repository = Repository::bare(&stage.path("served/pair.git"));
    repository.commit(&[("Dockerfile", &source)]);
    let triggers = Repository::bare(&stage.path("served/triggers.git"));
    triggers.commit(&[("Dockerfile", &format!("{source}ONBUILD RUN false\n"))]);
    for (app, from) in [("a", &repository), ("b", &repository), ("c", &triggers), ("d", &triggers)]
    {
        let text = manifest(app, &from.url()).replace("  run: python3 app.py\n", "");
        stage.write(&format!("{app}.yaml"), &text);
    }
    let berth = stage.start();
    for app in ["a", "b", "c", "d"] {
        berth.until_running(app).await;
    }
    let taken = |app: &str| {
        let log = stage.workspace(app, ".berth/build.log");
        let text = fs::read_to_string(log).unwrap();
        (text.contains("FROM sha256:"), text)
    };
    let (one, other) = (taken("a"), taken("b"));
    assert!(one.0 != other.0, "one is built, one taken:\n{}\n{}", one.1, other.1);
    let image = |app: &str| stage.images(app).remove(0);
    assert_eq!(layers(&image("a")), layers(&image("b")));
    let (one, other) = (taken("c"), taken("d"));
    let says = |text: &str| text.contains("is not taken: it has ONBUILD instructions");
    assert!(!one.0 && !other.0 && says(&one.1) != says(&other.1), "{}\n{}", one.1, other.1);
}
