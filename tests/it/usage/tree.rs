//! A host made of files: a `/proc` and a `/sys/fs/cgroup` in a folder.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use berth::{
    clock::Clock,
    model::{AppName, SpecHash, Timestamp},
    record::Record,
    state::{Container, ContainerId, ContainerState, Owner, Ownership, World},
    telemetry::Exposed,
    usage::{Collector, Settings},
};
use tempfile::TempDir;

/// A host, and a Berth's view of it.
pub(super) struct Tree {
    pub(super) folder: TempDir,
    pub(super) record: Record,
    pub(super) collector: Arc<Collector>,
}

/// The id of a container: a pair of letters again and again.
pub(super) fn id(pair: &str) -> String {
    pair.repeat(32)
}

/// A container of an app of ours, or of somebody else's.
pub(super) fn container(id: &str, name: &str, app: Option<&str>) -> Container {
    let owner = |app| Owner {
        app: AppName::new(app).unwrap(),
        generation: 1,
        spec_hash: SpecHash::from_label("v1:01234567"),
        build: None,
        commit: None,
        fields: BTreeMap::default(),
    };
    let labels = [
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.service", name),
        ("com.docker.compose.project.working_dir", "/srv/\"shop\""),
        ("com.docker.compose.version", "2"),
        ("secret", "hunter2"),
    ];
    Container {
        id: ContainerId::new(id),
        name: name.to_owned(),
        ownership: app.map_or(Ownership::Foreign, |app| Ownership::Ours(owner(app))),
        image: "nginx:1".to_owned(),
        image_id: "sha256:1".to_owned(),
        state: ContainerState::Running,
        exit_code: None,
        ports: Vec::new(),
        networks: [("bridge".to_owned(), None)].into_iter().collect(),
        created: Timestamp::from_millis(1),
        gpus: None,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

impl Tree {
    /// Unpacks a tree: `== path`, then what is in the file.
    pub(super) fn unpack(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/usage").join(name);
        let text = fs::read_to_string(path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for part in text.split("== ").filter(|part| !part.is_empty()) {
            let (path, content) = part.split_once('\n').unwrap();
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut settings = Settings {
            proc_root: folder.path().join("proc"),
            cgroup_root: folder.path().join("cgroup"),
            disk: folder.path().to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        let (record, clock) =
            (Record::default(), Clock::runtime(Timestamp::from_millis(1_800_000_000_500)));
        let collector = Arc::new(Collector::new(settings, record.worlds(), clock));
        Self { folder, record, collector }
    }

    pub(super) fn see(&self, containers: Vec<Container>) {
        self.record.see(&Arc::new(World { containers, ..World::default() }));
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.collector.write(&mut out);
        out
    }

    pub(super) fn put(&self, path: &str, content: &str) {
        fs::write(self.folder.path().join(path), content).unwrap();
    }
}

impl Exposed for Tree {
    fn write(&self, out: &mut String) {
        self.collector.write(out);
    }
}

/// The lines about this family.
pub(super) fn of<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    let is_it =
        |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(is_it).collect()
}
