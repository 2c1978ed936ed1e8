//! Archives at a remote of rclone: a server of its own on loopback.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use berth::backup::{Archive, Opening, Target, disk::Machine};

use super::yard::{NOW, Yard};

/// A `WebDAV` server.
pub(crate) struct Served {
    child: Child,
    address: String,
}

impl Served {
    pub(crate) fn of(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut child = Command::new("rclone")
            .args(["serve", "webdav", "--addr", "127.0.0.1:0", "-v"])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rclone is installed by `make rclone`");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| {
                let line = line.unwrap();
                let at = line.find("http://")?;
                let text =
                    line[at..].trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
                Some(text.trim_end_matches('/').to_owned())
            })
            .expect("it says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// A remote without a configuration file.
    pub(crate) fn remote(&self, path: &str) -> String {
        format!("rclone::webdav,url='{}',vendor=other:{path}", self.address)
    }

    fn target(&self, path: &str) -> Target {
        Target::parse(&self.remote(path)).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(yard: &Yard, target: &Target, spool: &str, begins: bool) -> Archive {
    let opening = Opening {
        disk: Arc::new(Machine),
        key: None,
        spool: yard.path(spool),
        id: begins.then(|| "archive-1".to_owned()),
        now: NOW,
    };
    Archive::open(target, opening).unwrap()
}

#[test]
fn a_backup_at_a_remote_is_sent_once_verified_pruned_and_restored_elsewhere() {
    let yard = Yard::filled();
    let served = Served::of(&yard.path("server"));
    let target = served.target("deep/berth");
    let first = open(&yard, &target, "spool", true).create(&yard.order(), NOW, &mut ()).unwrap();
    assert!(0 < first.new_objects);
    let here = fs::read_dir(yard.path("spool")).unwrap().next().unwrap().unwrap().path();
    let left = fs::read_dir(here.join("objects")).unwrap();
    let left = left.filter(|it| fs::read_dir(it.as_ref().unwrap().path()).unwrap().count() != 0);
    assert_eq!(left.count(), 0, "objects stay here");
    yard.put("workspaces/chat/data/db", "other rows");
    let mut archive = open(&yard, &target, "spool", true);
    // Nobody else fetches into the same folder meanwhile: what is about to be sent would go.
    let opening = Opening {
        disk: Arc::new(Machine),
        key: None,
        spool: yard.path("spool"),
        id: None,
        now: NOW,
    };
    assert_eq!(Archive::open(&target, opening).unwrap_err().code(), "backup.locked");
    let second = archive.create(&yard.order(), NOW.moved(1), &mut ()).unwrap();
    assert_eq!(second.new_objects, 1);
    drop(archive);

    // Another machine, which has nothing but the address.
    let mut archive = open(&yard, &target, "other-spool", false);
    let names = archive.vault().names().unwrap();
    assert_eq!(names, [first.name, second.name.clone()]);
    let verdict = archive.verify(&names).unwrap();
    assert!(verdict.flaws.is_empty() && 5 < verdict.objects, "{verdict:?}");
    let pruned = archive.prune(1).unwrap();
    assert_eq!((pruned.snapshots.len(), pruned.objects.len()), (1, 1));
    let restored = archive.restore(&second.name, &yard.restore_order("new")).unwrap();
    assert!(5 < restored.files);
    drop(archive);
    let db = fs::read_to_string(yard.path("new/workspaces/chat/data/db")).unwrap();
    assert_eq!(db, "other rows");

    // What the server has lost is found, and nothing is restored from it.
    let objects = yard.path("server/deep/berth/objects");
    let part = fs::read_dir(&objects).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(part).unwrap();
    let archive = open(&yard, &target, "third-spool", false);
    let error = archive.restore(&second.name, &yard.restore_order("newer")).unwrap_err();
    assert!(["backup.damaged", "backup.remote"].contains(&error.code()), "{error}");
    assert!(!yard.path("newer").exists());
}

#[test]
fn what_rclone_complains_about_is_told() {
    let yard = Yard::filled();
    let opening = |target: &str| {
        let opening = Opening {
            disk: Arc::new(Machine),
            key: None,
            spool: yard.path("spool"),
            id: None,
            now: NOW,
        };
        Archive::open(&Target::parse(target).unwrap(), opening).unwrap_err()
    };
    let error = opening("rclone:no-such-remote:path");
    assert_eq!(error.code(), "backup.remote");
    assert!(error.to_string().contains("no-such-remote"), "{error}");
    let empty = yard.path("empty");
    fs::create_dir(&empty).unwrap();
    let error = opening(&format!("rclone::local:{}", empty.display()));
    assert_eq!(error.code(), "backup.foreign", "{error}");
    for bad in ["rclone:nothing", "rclone:-x:y", ""] {
        assert!(Target::parse(bad).is_err(), "{bad}");
    }
}
