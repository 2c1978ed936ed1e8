//! The disk of the workspaces is full (faults G09, D41).

use std::path::Path;

use super::*;
use crate::folder::Mounted;

/// Everything below a folder. What was in place before may be going away meanwhile.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(all_below(&entry.path()));
        }
        all.push(entry.path());
    }
    all
}

/// What is too much for the mirror, and what is too much for the checkout only: each is said to be
/// the disk's fault, what was there stays, nothing half is left, and what fits comes as ever.
#[tokio::test]
async fn what_has_no_room_leaves_what_was_there_and_nothing_half() {
    for is_remote in [true, false] {
        let bench = Bench::new();
        let place = bench.folder.path().join("workspaces");
        fs::create_dir(&place).unwrap();
        let _disk = Mounted::at(&place, "6m").expect("mounting a file system in memory needs root");
        let server = bench.serve();
        let source = if is_remote { source(&server.url()) } else { local() };
        bench.commit(&[("a", FILE, "first")]);
        bench.fetch(&source).await.unwrap();
        let mut before = "first".to_owned();
        // It takes half of that in a mirror.
        for (length, text) in [(7 << 20, "second"), (16 << 20, "third")] {
            bench.commit(&[("a", FILE, text), ("large", FILE, &noise(length, 1))]);
            let error = bench.fetch(&source).await.unwrap_err();
            let said = (error.reason(), error.is_permanent());
            assert_eq!(said, (Reason::DiskFull, false), "{is_remote} {length}: {error}");
            assert_eq!(bench.code("a"), before);
            assert!(!bench.workspace.code_dir(&bench.app).join("large").exists());
            let half = all_below(&bench.area()).into_iter().find(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("new-") || name.starts_with("old-")
            });
            assert_eq!(half, None, "{is_remote} {length}");
            let small = format!("{text} that fits");
            bench.commit(&[("a", FILE, &small)]);
            bench.fetch(&source).await.unwrap();
            assert_eq!(bench.code("a"), small);
            let part = all_below(&place).into_iter().find(|path| {
                let is_whole = |end: &std::ffi::OsStr| end == "pack" || end == "idx";
                path.parent().unwrap().ends_with("objects/pack")
                    && !path.extension().is_some_and(is_whole)
            });
            assert_eq!(part, None, "{is_remote} {length}");
            before = small;
        }
        let beside = fs::read_dir(bench.folder.path()).unwrap().count();
        assert_eq!(beside, 2, "nothing is anywhere else");
    }
}
