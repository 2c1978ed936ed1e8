//! Builds that take no more than they need, and images that nothing needs any more.

use std::fs;

use berth::{
    model::{Phase, Reason},
    record::Command,
};

use super::{
    engine::{TINY, docker, try_docker},
    repository::Repository,
    stage::{Stage, httpd, name},
};

fn manifest(repository: &Repository) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: page}}\nspec:\n  \
         source: {{git: {}, interval: 1s}}\n  run: httpd -f -p 8080 -h /www\n  port: 8080\n",
        repository.url()
    )
}

/// Faults B02, B05, B10: a build sends what is copied and is made once; one that fails says the
/// lines of the step that failed, and what ran goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_sends_what_it_copies_and_a_failed_one_leaves_the_app_up() {
    let stage = Stage::new();
    let repository = Repository::bare(&stage.path("served/page.git"));
    let source = "FROM berth/tiny:offline\nCOPY index.html /www/\nRUN ls -a /www\n";
    repository.commit(&[("Dockerfile", source), ("index.html", "one"), ("unused", "u")]);
    stage.write("page.yaml", &manifest(&repository));
    let berth = stage.start();
    berth.until_running("page").await;
    let life = stage.container("page").life();
    assert_eq!(berth.count("build"), 1);
    let log = stage.workspace("page", ".berth/build.log");
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("index.html"), "{text}");

    let broken = format!("{source}RUN echo 'ERROR: no such thing' && exit 3\n");
    repository.commit(&[("Dockerfile", &broken), ("index.html", "two")]);
    let status = berth.until_said("page", Phase::Degraded, Reason::BuildFailed).await;
    assert!(status.message.contains("ERROR: no such thing"), "{}", status.message);
    assert!(status.message.contains("returned a non-zero code: 3"), "{}", status.message);
    assert_eq!(stage.container("page").life(), life, "the version before goes on");
    assert_eq!(berth.count("build"), 2);
}

/// Fault D40: a tag that moves on the engine changes nothing, not even once the container was
/// removed by hand; `berth rebuild` takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_is_taken_only_when_somebody_asks() {
    let stage = Stage::new();
    let image = format!("{}:1", stage.instance);
    let id_of = |image: &str| docker(&["image", "inspect", "--format", "{{.Id}}", image]);
    docker(&["tag", TINY, &image]);
    let before = id_of(&image);
    stage.write("page.yaml", &httpd("page", "").replace(TINY, &image));
    let berth = stage.start();
    berth.until_running("page").await;

    let changed = stage.make_by_hand(&["create"], &[TINY, "true"]);
    docker(&["commit", "--change", "LABEL moved=1", &changed, &image]);
    let after = id_of(&image);
    assert_ne!(before, after);
    let first = stage.container("page");
    docker(&["rm", "--force", &first.id()]);
    let runs = |image: &str| {
        let all = stage.containers("page");
        all.len() == 1 && all[0].id() != first.id() && all[0].text("/Image") == image
    };
    berth.until("it runs the image before", || runs(&before)).await;
    let status = berth.until_running("page").await;
    assert_eq!(status.image.as_deref(), Some(image.as_str()));
    assert_eq!(status.image_digest.as_deref(), Some(before.as_str()));

    let kept = berth.stop().await;
    let berth = stage.start_with(kept);
    berth.until_running("page").await;
    assert!(runs(&before));
    berth.command(Command::Rebuild(name("page"))).await;
    berth.until("it runs the image that the tag means now", || runs(&after)).await;
    let kept = berth.stop().await;
    assert_eq!(kept.apps["page"].resolved.as_ref().unwrap().id, after);
    for container in stage.containers("page").iter().map(super::engine::Seen::id) {
        docker(&["rm", "--force", &container]);
    }
    let _ = try_docker(&["rm", "--force", &changed]);
    docker(&["rmi", &image]);
}
