//! Images that somebody removed by hand, while their app runs and while nobody watches.

use std::time::Duration;

use berth::{model::Reason, record::Command};

use super::{
    engine::{TINY, docker, try_docker},
    repository::Repository,
    stage::{Stage, httpd, name},
};

/// Fault B01: what Berth builds it builds again, whatever has become of the image.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_removed_by_hand_is_built_again() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let repository = Repository::bare(&stage.path("served/page.git"));
    let source = format!("FROM {TINY}\nRUN : {} && date >/when\n", stage.instance);
    repository.commit(&[("Dockerfile", &source)]);
    stage.write(
        "page.yaml",
        &format!(
            "apiVersion: berth/v1\nkind: App\nmetadata: {{name: page}}\nspec:\n  \
             source: {{git: {}}}\n  run: sleep 3600\n  health: none\n",
            repository.url()
        ),
    );
    let berth = stage.start();
    berth.until_running("page").await;
    let tag = stage.container("page").text("/Config/Image");
    let has_tag = || try_docker(&["image", "inspect", "--format", "{{.Id}}", &tag]).is_ok();

    // While it runs its layers stay, but the name goes.
    docker(&["rmi", "--force", &tag]);
    berth.until("the image has its name again", has_tag).await;
    berth.until_running("page").await;

    // While nobody watches, image and container.
    let kept = berth.stop().await;
    let before = stage.container("page").id();
    docker(&["rm", "--force", &before]);
    docker(&["rmi", "--force", &tag]);
    let berth = stage.start_with(kept);
    berth.until_running("page").await;
    assert!(has_tag());
    assert_ne!(stage.container("page").id(), before);
    assert_eq!(berth.count("build"), 1);
}

/// Fault D40: an image that came from nowhere can't be had again. The status names it and what to
/// do, and nothing else is run in its place until somebody says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nothing_brings_back_is_named() {
    let stage = Stage::new();
    let image = format!("{}:1", stage.instance);
    let base = stage.make_by_hand(&["create"], &[TINY, "true"]);
    let make = |version: &str| {
        let change = format!("LABEL version={version} of={}", stage.instance);
        docker(&["commit", "--change", &change, &base, &image]).trim().to_owned()
    };
    let first = make("1");
    stage.write("page.yaml", &httpd("page", "").replace(TINY, &image));
    let berth = stage.start();
    berth.until_running("page").await;
    let kept = berth.stop().await;
    docker(&["rm", "--force", &stage.container("page").id()]);
    docker(&["rmi", "--force", &image]);
    let second = make("2");

    let berth = stage.start_with(kept);
    let status = berth.until_status("page", "says so", |s| s.reason == Reason::ImageGone).await;
    let short = first.trim_start_matches("sha256:").get(..12).unwrap();
    for words in [short, image.as_str(), "is gone", "`berth rebuild page`"] {
        assert!(status.message.contains(words), "{words}: {}", status.message);
    }
    assert!(stage.containers("page").is_empty(), "nothing else is run in its place");
    berth.command(Command::Rebuild(name("page"))).await;
    berth.until_running("page").await;
    assert_eq!(stage.container("page").text("/Image"), second);
    drop(berth);
    docker(&["rm", "--force", &stage.container("page").id()]);
    docker(&["rmi", "--force", &image]);
}
