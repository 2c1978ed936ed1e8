//! The folders of a Berth, with something in each, and archives of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use berth::{
    backup::{
        About, Data, Error, Key, Made, Name, Order, Restore, Restored, Root, Roots, Stop, Vault,
        Verdict, create, disk::Disk, disk::Machine, restore, verify,
    },
    model::{Digest, Timestamp},
};
use tempfile::TempDir;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

/// A machine with a Berth's folders.
pub(super) struct Yard {
    folder: TempDir,
}

/// What is in a folder: each path with what it is.
pub(super) type Tree = BTreeMap<String, String>;

/// Everything below a folder, but for what a restore leaves there.
pub(super) fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if name == Path::new(".restored-from.json") || name == Path::new("lock") {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let what = if meta.is_dir() {
                open.push(path.clone());
                format!("folder {mode:o}")
            } else if meta.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                let digest = Digest::of_bytes(&fs::read(&path).unwrap());
                let modified = meta.modified().unwrap();
                format!("file {mode:o} {digest} {modified:?}")
            };
            found.insert(name.to_string_lossy().into_owned(), what);
        }
    }
    found
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            // An archive never changes a file that has a name.
            fs::hard_link(&path, &target).unwrap();
        }
    }
}

impl Yard {
    pub(super) fn new() -> Self {
        // Where it costs nothing to make things last: thousands of steps are played.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { folder }
    }

    /// One with something in every folder.
    pub(super) fn filled() -> Self {
        let yard = Self::new();
        for root in Root::ALL {
            fs::create_dir_all(yard.root("old", root)).unwrap();
        }
        yard.put("state/state.json", r#"{"format":1,"engineId":"E1","apps":{"chat":{"ports":[[8080,"tcp",8001]],"gpus":"x"}}}"#);
        yard.put("state/tokens.json", r#"{"format":1,"tokens":[]}"#);
        yard.put("state/lock", "");
        yard.put("state/secret.key", &"0123456789abcdef".repeat(2));
        yard.put("state/audit/audit.jsonl", "{\"seq\":1}\n");
        yard.put("state/audit/lock", "");
        yard.put("state/compose/chat.yaml", "made again");
        yard.put("secrets/git/token", "PLANTED-SECRET");
        yard.put("manifests/chat.yaml", "kind: App");
        yard.put("manifests/more/other.yaml", "kind: App");
        yard.put("workspaces/chat/data/db", "rows and rows");
        yard.put("workspaces/chat/data/empty", "");
        yard.put("workspaces/chat/metadata.json", "{}");
        yard.put("workspaces/chat/code/app.py", "fetched again");
        yard.put("workspaces/big/data/file", &"0123456789".repeat(20_000));
        for secret in ["state/secret.key", "state/tokens.json", "secrets/git/token"] {
            fs::set_permissions(yard.old(secret), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let data = yard.old("workspaces/chat/data");
        symlink("../../../etc/passwd", data.join("link")).unwrap();
        fs::write(data.join(OsStr::from_bytes(b"odd\xff 100%")), "odd").unwrap();
        fs::hard_link(data.join("db"), data.join("same")).unwrap();
        fs::set_permissions(data.join("db"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2775)).unwrap();
        yard.model("weights of a model");
        yard.put("models/.store/uploads/half", "half a model");
        yard.put("models/.store/apps/a.json", "{}");
        yard
    }

    /// Stores a model as the store does it: one content, two names.
    pub(super) fn model(&self, content: &str) {
        let digest = Digest::of_bytes(content.as_bytes());
        let blob = format!("models/.store/blobs/sha256/{}/{digest}", digest.short(2));
        self.put(&blob, content);
        let blob = self.old(&blob);
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o444)).unwrap();
        self.put("models/demo/llm/1/w/metadata.json", "{}");
        let model = self.old("models/demo/llm/1/w/model");
        let _ = fs::remove_file(&model);
        fs::hard_link(blob, model).unwrap();
    }

    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    pub(super) fn old(&self, path: &str) -> PathBuf {
        self.path("old").join(path)
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.old(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A root of this machine, or of another one.
    pub(super) fn root(&self, machine: &str, root: Root) -> PathBuf {
        self.path(machine).join(root.word())
    }

    pub(super) fn roots(&self, machine: &str) -> Roots {
        Roots(Root::ALL.map(|root| (root, self.root(machine, root))).into_iter().collect())
    }

    pub(super) fn order(&self) -> Order {
        Order {
            roots: self.roots("old"),
            data: Data::All,
            pause: BTreeSet::new(),
            is_thorough: false,
            about: About::default(),
            stop: Stop::default(),
        }
    }

    /// Opens the archive in this folder, or begins it.
    pub(super) fn vault_on(
        &self,
        disk: Arc<dyn Disk>,
        part: &str,
        key: Option<&Key>,
    ) -> Result<Vault, Error> {
        Vault::open_or_make(disk, &self.path(part), key, ("archive-1", NOW))
    }

    pub(super) fn vault(&self, part: &str) -> Vault {
        self.vault_on(Arc::new(Machine), part, None).unwrap()
    }

    pub(super) fn create(&self, part: &str) -> Made {
        self.create_at(part, NOW)
    }

    pub(super) fn create_at(&self, part: &str, at: Timestamp) -> Made {
        create(&mut self.vault(part), &self.order(), at, &mut ()).unwrap()
    }

    pub(super) fn restore_order(&self, machine: &str) -> Restore {
        Restore {
            targets: self.roots(machine),
            only: BTreeSet::new(),
            is_over: false,
            is_new_engine: false,
            has_owners: false,
            now: NOW,
        }
    }

    pub(super) fn restore(&self, part: &str, machine: &str) -> Restored {
        let vault = self.vault(part);
        let name = vault.find("latest").unwrap();
        restore(&vault, &name, &self.restore_order(machine)).unwrap()
    }

    /// Whether all snapshots of an archive are whole.
    pub(super) fn check(&self, part: &str) -> (Vec<Name>, Verdict) {
        let vault = self.vault(part);
        let names = vault.names().unwrap();
        let verdict = verify(&vault, &names).unwrap();
        (names, verdict)
    }

    pub(super) fn trees(&self, machine: &str) -> BTreeMap<Root, Tree> {
        Root::ALL.into_iter().map(|root| (root, tree(&self.root(machine, root)))).collect()
    }
}
