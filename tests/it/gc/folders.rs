//! What lies in the folder of workspaces, on a real disk.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use berth::{
    clock::Clock,
    model::AppName,
    workspace::{Lies, Lying, Settings, Workspace, look_through},
};

fn make(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "text").unwrap();
    }
}

fn look(root: &Path) -> Vec<Lies> {
    let found = look_through(root, &BTreeSet::new(), Clock::System.now()).unwrap();
    assert_eq!(found.unread, [""; 0]);
    found.all
}

fn names(all: &[Lies], root: &Path) -> Vec<PathBuf> {
    all.iter().map(|lies| lies.path.strip_prefix(root).unwrap().to_owned()).collect()
}

fn of<'a>(all: &'a [Lies], root: &Path, name: &str) -> &'a Lies {
    all.iter().find(|lies| lies.path == root.join(name)).unwrap()
}

#[tokio::test]
async fn leftovers_are_told_from_what_people_keep() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    make(
        root,
        &[
            "bare/.berth/build.log",
            "bare/code/app.py",
            "kept/.berth/build.log",
            "kept/code/app.py",
            "kept/data/model.bin",
            "theirs/notes.txt",
            "half/.berth/new-abc/app.py",
            "half/.berth/lock",
            ".leaving-old/data/x",
            ".lfs/store/aa.part",
            ".lfs/store/bb",
            ".mirrors/young.lock",
            ".mirrors/young.git/HEAD",
            "Not An App/x",
            "file",
        ],
    );
    fs::create_dir(root.join("bare/data")).unwrap();
    symlink("/etc", root.join("linked")).unwrap();
    let all = look(root);
    let expected = [
        ".leaving-old",
        ".lfs/store/aa.part",
        "bare",
        "half/.berth/new-abc",
        "half",
        "kept",
        "theirs",
    ];
    assert_eq!(names(&all, root), expected.map(PathBuf::from));
    let app = |name: &str| match &of(&all, root, name).what {
        Lying::App { is_ours, has_code, holds_data, .. } => (*is_ours, *has_code, *holds_data),
        other => panic!("{other:?}"),
    };
    assert_eq!(app("bare"), (true, true, false));
    assert_eq!(app("kept"), (true, true, true));
    assert_eq!(app("theirs"), (false, false, true));

    let workspace = Workspace::new(root.to_owned(), Settings::default());
    let name = |text: &str| AppName::new(text).unwrap();
    let kept = of(&all, root, "kept").clone();
    assert!(workspace.take_away(Some(&name("kept")), kept, false).await.unwrap());
    assert!(root.join("kept/data/model.bin").exists() && !root.join("kept/code").exists());
    // Somebody puts something there after it was looked at.
    let bare = of(&all, root, "bare").clone();
    make(root, &["bare/data/late"]);
    assert!(!workspace.take_away(Some(&name("bare")), bare.clone(), false).await.unwrap());
    assert!(root.join("bare/code/app.py").exists());
    fs::remove_file(root.join("bare/data/late")).unwrap();
    assert!(workspace.take_away(Some(&name("bare")), bare, false).await.unwrap());
    assert!(!root.join("bare").exists() && root.join("theirs/notes.txt").exists());
    assert!(Path::new("/etc/passwd").exists() && root.join("linked").is_symlink());
}

/// A worker that fetches has the lock of its app's area: nothing is taken from under it.
#[tokio::test]
async fn what_somebody_works_on_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    make(root, &["half/.berth/new-abc/app.py", "half/.berth/lock"]);
    let broken = of(&look(root), root, "half/.berth/new-abc").clone();
    let lock = fs::File::create(root.join("half/.berth/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let workspace = Workspace::new(root.to_owned(), Settings::default());
    let app = AppName::new("half").unwrap();
    assert!(!workspace.take_away(Some(&app), broken.clone(), false).await.unwrap());
    assert!(broken.path.exists());
    drop(lock);
    assert!(workspace.take_away(Some(&app), broken.clone(), false).await.unwrap());
    assert!(!broken.path.exists());
    let outside = Lies { path: PathBuf::from("/etc"), what: Lying::Leaving, ..broken };
    assert!(workspace.take_away(None, outside, false).await.is_err());
}

/// A folder that can't be read is not looked through in part.
#[test]
fn a_root_that_is_no_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let look = |path: &Path| look_through(path, &BTreeSet::new(), Clock::System.now());
    assert!(look(&file).is_err());
    assert_eq!(look(&folder.path().join("none")).unwrap().all, []);
    // A link that leads nowhere and a file in place of a folder cost nothing.
    make(folder.path(), &["root/a/.berth/x", "root/b/.berth/x"]);
    fs::write(folder.path().join("root/b/data"), "x").unwrap();
    let none = "n".repeat(40);
    symlink(&none, folder.path().join("root/b/code")).unwrap();
    let found = look(&folder.path().join("root")).unwrap();
    assert_eq!((found.all.len(), found.unread.len()), (2, 0));
}
