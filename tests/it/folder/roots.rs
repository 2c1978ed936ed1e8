//! The folder itself goes, comes back, or is another one.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::yard::{APPS, Mounted, Notice, Yard, bad, fill, manifest, survive};

const REPLACED: Notice = Notice::OtherFolder;

/// Moves the folder away, so that something else can take its place.
fn set_aside(yard: &Yard) {
    fs::rename(&yard.root, yard.beside("aside")).unwrap();
}

/// Puts the folder back that was moved away.
fn put_back(yard: &Yard) {
    if yard.root.is_dir() && !yard.root.is_symlink() {
        fs::remove_dir_all(&yard.root).unwrap();
    } else {
        let _ = fs::remove_file(&yard.root);
    }
    fs::rename(yard.beside("aside"), &yard.root).unwrap();
}

// W01, W08
#[tokio::test]
async fn a_folder_that_goes_or_is_replaced_takes_nothing_down() {
    let missing = Notice::Source("does not exist");
    let swap = |name: &str, notice: Notice, place: fn(&Yard)| {
        let harm = move |yard: &Yard| {
            set_aside(yard);
            place(yard);
        };
        bad(name, notice, harm).mended(put_back)
    };
    let scenarios = [
        swap("W08 moved away", missing, |_| {}),
        bad("W01 deleted", missing, |yard| fs::remove_dir_all(&yard.root).unwrap()),
        swap("W01 replaced by an empty one", REPLACED, |yard| {
            fs::create_dir(&yard.root).unwrap();
        }),
        bad("W08 deleted and made anew, empty", REPLACED, |yard| {
            fs::remove_dir_all(&yard.root).unwrap();
            fs::create_dir(&yard.root).unwrap();
        }),
        swap("W08 replaced by one with one of the apps", REPLACED, |yard| {
            fs::create_dir(&yard.root).unwrap();
            yard.put("api.yaml", manifest("api"));
        }),
        swap("W08 replaced by one that lacks one app", REPLACED, |yard| {
            fs::create_dir(&yard.root).unwrap();
            fill(&yard.root);
            yard.remove("web.yaml");
        }),
        swap("W08 replaced by an equal one", Notice::Nothing, |yard| {
            fs::create_dir(&yard.root).unwrap();
            fill(&yard.root);
        }),
        swap("W01 replaced by a file", Notice::Source("is not a folder"), |yard| {
            fs::write(&yard.root, "apiVersion: berth/v1\n").unwrap();
        }),
        swap("W01 replaced by a link to nothing", missing, |yard| {
            symlink("nowhere", &yard.root).unwrap();
        }),
        swap("W14 replaced by a link to itself", Notice::Source("failed to read"), |yard| {
            symlink("apps", &yard.root).unwrap();
        }),
        swap("W01 replaced by a link to an empty folder", REPLACED, |yard| {
            fs::create_dir_all(yard.beside("empty")).unwrap();
            symlink("empty", &yard.root).unwrap();
        }),
        bad("W01 emptied", Notice::Brake(5), |yard| {
            for app in APPS {
                yard.remove(&format!("{app}.yaml"));
            }
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W01, W08: another folder may bring apps; those of the old one stay all the same.
#[tokio::test]
async fn a_folder_replaced_by_one_of_other_apps_adds_them_and_takes_nothing_down() {
    let others = bad("W08 replaced by a folder of other apps", REPLACED, |yard| {
        set_aside(yard);
        fs::create_dir(&yard.root).unwrap();
        yard.put("other.yaml", manifest("other"));
        yard.put("more.yaml", manifest("more"));
    });
    let scenarios = [others.mended(|yard| {
        // Those two stay wanted: two files that vanish with the folder would be held back too.
        let (other, more) = (yard.path("other.yaml"), yard.path("more.yaml"));
        fs::rename(other, yard.beside("aside/other.yaml")).unwrap();
        fs::rename(more, yard.beside("aside/more.yaml")).unwrap();
        put_back(yard);
    })];
    let yard = Yard::new();
    survive(&yard, &scenarios).await;
    for app in ["other", "more"] {
        assert_eq!((yard.rig.count("create", app), yard.rig.count("stop", app)), (1, 0), "{app}");
    }
}

// W01, W08: what was mounted is gone, and the empty folder below shows.
#[tokio::test]
async fn a_folder_that_is_unmounted_takes_nothing_down() {
    let yard = Yard::bare();
    fs::create_dir(&yard.root).unwrap();
    let Some(mounted) = Mounted::at(&yard.root, "1m") else {
        // Where mounting is not allowed, the folder is moved away from under its name instead.
        fill(&yard.root);
        let moved = bad("W08 moved away", REPLACED, |yard| {
            set_aside(yard);
            fs::create_dir(&yard.root).unwrap();
        });
        return survive(&yard, &[moved.mended(put_back)]).await;
    };
    fill(&yard.root);
    let berth = yard.start_well().await;
    let before = yard.deeds();
    drop(mounted);
    berth.until("W08 unmounted", |o| o.hold.is_some()).await;
    berth.look_twice("W08 unmounted").await;
    assert_eq!(yard.deeds(), before);
    berth.all_stand("W08 unmounted");

    // Mounted again, but nothing is on it; then as it was.
    let again = Mounted::at(&yard.root, "1m").unwrap();
    berth.look_twice("W08 another file system").await;
    assert_eq!(yard.deeds(), before);
    fill(&yard.root);
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
    berth.stop().await;
    drop(again);
}

/// Makes `link` lead to `target`, in one step.
fn point(link: &Path, target: impl AsRef<Path>) {
    let new = link.with_file_name(".new-link");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// A tree with the five files, named by a number.
fn tree(yard: &Yard, number: u32) -> PathBuf {
    let path = yard.beside(&format!("tree-{number}"));
    fs::create_dir_all(&path).unwrap();
    fill(&path);
    path
}

// W06: git-sync and its like.
#[tokio::test]
async fn a_link_to_the_folder_that_is_switched_takes_nothing_down() {
    let yard = Yard::bare();
    point(&yard.root, tree(&yard, 1));
    let back = |yard: &Yard| point(&yard.root, tree(yard, 1));
    let switch = |name: &str, notice: Notice, target: fn(&Yard) -> PathBuf| {
        bad(name, notice, move |yard: &Yard| point(&yard.root, target(yard))).mended(back)
    };
    let empty: fn(&Yard) -> PathBuf = |yard| {
        let path = yard.beside("empty");
        fs::create_dir_all(&path).unwrap();
        path
    };
    let scenarios = [
        switch("W06 to an equal tree", Notice::Nothing, |yard| tree(yard, 2)),
        switch("W06 to an empty folder", Notice::Brake(5), empty),
        switch("W06 to a tree with one app", Notice::Brake(4), |yard| {
            let path = yard.beside("one");
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("api.yaml"), manifest("api")).unwrap();
            path
        }),
        switch("W06 to nothing", Notice::Source("does not exist"), |yard| yard.beside("none")),
        switch("W06 to a file", Notice::Source("is not a folder"), |yard| {
            fs::write(yard.beside("file"), "").unwrap();
            yard.beside("file")
        }),
        switch("W06 to itself", Notice::Source("failed to read"), |yard| yard.root.clone()),
        switch("W06 to another device", Notice::OtherFolder, |_| {
            PathBuf::from("/proc/sys/kernel/random")
        }),
        bad("W06 removed", Notice::Source("does not exist"), |yard| {
            fs::remove_file(&yard.root).unwrap();
        })
        .mended(back),
        bad("W06 its tree removed", Notice::Source("does not exist"), |yard| {
            fs::remove_dir_all(yard.beside("tree-1")).unwrap();
        })
        .mended(back),
        bad("W06 its tree emptied", Notice::Brake(5), |yard| {
            for app in APPS {
                yard.remove(&format!("{app}.yaml"));
            }
        })
        .mended(back),
    ];
    survive(&yard, &scenarios).await;
}

/// Files as Kubernetes mounts them: links through `..data`, which leads to a version.
fn project(yard: &Yard, version: &str, apps: &[&str]) {
    let folder = yard.path(&format!("..{version}"));
    fs::create_dir_all(&folder).unwrap();
    for app in apps {
        fs::write(folder.join(format!("{app}.yaml")), manifest(app)).unwrap();
    }
    point(&yard.path("..data"), format!("..{version}"));
}

// W06: a mounted ConfigMap.
#[tokio::test]
async fn a_data_link_that_is_switched_takes_nothing_down() {
    let yard = Yard::bare();
    fs::create_dir(&yard.root).unwrap();
    project(&yard, "one", &APPS);
    for app in APPS {
        symlink(format!("..data/{app}.yaml"), yard.path(&format!("{app}.yaml"))).unwrap();
    }
    let back = |yard: &Yard| project(yard, "one", &APPS);
    let unreadable = Notice::Mistake("manifest.unreadable");
    let scenarios = [
        bad("W06 to an equal version", Notice::Nothing, |yard| project(yard, "two", &APPS)),
        bad("W06 to an empty version", unreadable, |yard| project(yard, "three", &[])),
        bad("W06 to a version with one", unreadable, |yard| project(yard, "four", &["api"])),
        bad("W06 to nothing", unreadable, |yard| point(&yard.path("..data"), "..none")),
        bad("W06 removed", unreadable, |yard| yard.remove("..data")),
        bad("W06 out of the folder", unreadable, |yard| {
            point(&yard.path("..data"), tree(yard, 1));
        }),
    ];
    let scenarios: Vec<_> = scenarios.into_iter().map(|scenario| scenario.mended(back)).collect();
    survive(&yard, &scenarios).await;
}
