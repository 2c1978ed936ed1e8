//! Builds that take no more than they need, and images that nothing needs any more.

use std::fs;

use berth::model::{Phase, Reason};

use super::{repository::Repository, stage::Stage};

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
