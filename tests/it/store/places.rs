//! A store whose folder is not there any more, or another one.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::api::stage::Stage;

const MODEL: &str = "/models/p/a/1/m";

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Fault S17: a disk that is unmounted leaves an empty folder, and a link leads elsewhere. Nothing
/// is written there, and nothing is forgotten: once the store is back, all of it is.
#[tokio::test]
async fn what_lies_in_the_place_of_the_store_is_left_alone() {
    let stage = Stage::start().await;
    let root = stage.folder.path().join("models");
    let (aside, other) = (root.with_file_name("aside"), root.with_file_name("other"));
    assert_eq!(stage.ask("PUT", MODEL, &[], "content").await.status, 201);
    fs::create_dir(&other).unwrap();
    for is_link in [false, true] {
        fs::rename(&root, &aside).unwrap();
        if is_link {
            symlink(&other, &root).unwrap();
        } else {
            fs::create_dir(&root).unwrap();
        }
        for path in [MODEL, "/models/p/a/1/new"] {
            let answer = stage.ask("PUT", path, &[], "another").await;
            assert!((500..600).contains(&answer.status), "{path}: {answer:?}");
        }
        assert_ne!(stage.get(MODEL).await.status, 200);
        assert!(is_empty(&root), "it was written to");
        if is_link {
            fs::remove_file(&root).unwrap();
        } else {
            fs::remove_dir(&root).unwrap();
        }
        fs::rename(&aside, &root).unwrap();
        let kept = stage.get(MODEL).await;
        assert_eq!((kept.status, kept.body.as_str()), (200, "content"));
        assert_eq!(stage.ask("PUT", "/models/p/a/1/more", &[], "more").await.status, 201);
    }
}
