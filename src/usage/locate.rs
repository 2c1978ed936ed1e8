//! Where the kernel keeps the accounts of a container: cgroup v1, v2, or both side by side.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use super::files::{Buffer, read_once};

/// How deep below a root containers are looked for: rootless engines and engines in containers
/// are some levels down.
const DEPTH_MAX: usize = 9;
/// How many folders are looked at for that.
const FOLDERS_MAX: usize = 20_000;

/// Where one controller's accounts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) is_v2: bool,
}

/// Where all of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) cpu: Option<Tree>,
    /// Only of cgroup v1: the time that was used is apart from the shares.
    pub(super) cpuacct: Option<Tree>,
    pub(super) memory: Option<Tree>,
    pub(super) pids: Option<Tree>,
    pub(super) io: Option<Tree>,
    /// Pressure is told by cgroup v2 alone.
    pub(super) pressure: Option<Tree>,
}

impl Layout {
    /// Looks at what is mounted.
    pub(super) fn of(root: &Path) -> Self {
        let v2 = |root: PathBuf| Tree { root, is_v2: true };
        if root.join("cgroup.controllers").exists() {
            let all = || Some(v2(root.to_owned()));
            return Self {
                cpu: all(),
                cpuacct: None,
                memory: all(),
                pids: all(),
                io: all(),
                pressure: all(),
            };
        }
        let unified = root.join("unified");
        let unified = unified.join("cgroup.controllers").exists().then(|| v2(unified));
        let mounted = names(root);
        // `cpu` and `cpuacct` are one folder on most machines, `cpu,cpuacct`, with links to it.
        let controller = |name: &str| {
            let is_it = |folder: &&String| folder.split(',').any(|part| part == name);
            let folder = mounted.iter().find(is_it)?;
            Some(Tree { root: root.join(folder), is_v2: false })
        };
        let or_unified = |name: &str| {
            let has = |tree: &&Tree| {
                let listed = fs::read_to_string(tree.root.join("cgroup.controllers"));
                listed.is_ok_and(|text| text.split_whitespace().any(|word| word == name))
            };
            controller(name).or_else(|| unified.as_ref().filter(has).cloned())
        };
        Self {
            cpu: or_unified("cpu"),
            cpuacct: controller("cpuacct"),
            memory: or_unified("memory"),
            pids: or_unified("pids"),
            io: controller("blkio").or_else(|| or_unified("io").filter(|tree| tree.is_v2)),
            pressure: unified.clone(),
        }
    }

    /// The tree in which containers are looked for.
    fn main(&self) -> Option<&Tree> {
        let trees = [&self.memory, &self.cpuacct, &self.cpu, &self.pids, &self.io];
        trees.into_iter().find_map(Option::as_ref)
    }

    /// The file that names the processes of a container.
    pub(super) fn processes(&self, place: &str) -> Option<PathBuf> {
        Some(self.main()?.root.join(place).join("cgroup.procs"))
    }
}

/// Where containers were found so far: what comes before and after their ids.
#[derive(Debug)]
pub(super) struct Places {
    around: Vec<(String, String)>,
}

impl Default for Places {
    fn default() -> Self {
        let usual = [("docker/", ""), ("system.slice/docker-", ".scope")];
        Self { around: usual.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec() }
    }
}

impl Places {
    /// The place of a container relative to each tree, where containers usually are.
    pub(super) fn find(&self, layout: &Layout, id: &str) -> Option<String> {
        let root = &layout.main()?.root;
        let mut places = self.around.iter().map(|(before, after)| format!("{before}{id}{after}"));
        places.find(|place| root.join(place).is_dir())
    }

    /// Looks everywhere for these containers, and remembers where such are.
    pub(super) fn search(
        &mut self,
        layout: &Layout,
        ids: &BTreeSet<&str>,
    ) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let Some(tree) = layout.main() else { return found };
        let mut folders = VecDeque::from([(String::new(), 0)]);
        let mut looked = 0;
        while let Some((folder, depth)) = folders.pop_front() {
            looked += 1;
            if FOLDERS_MAX < looked || found.len() == ids.len() || DEPTH_MAX <= depth {
                break;
            }
            for name in names(&tree.root.join(&folder)) {
                let place =
                    if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                let id = id_in(&name).filter(|id| ids.contains(id) && !found.contains_key(*id));
                if let Some(id) = id {
                    self.remember(&place, id);
                    found.insert(id.to_owned(), place.clone());
                }
                folders.push_back((place, depth + 1));
            }
        }
        found
    }

    fn remember(&mut self, place: &str, id: &str) {
        let Some((before, after)) = place.rsplit_once(id) else { return };
        let around = (before.to_owned(), after.to_owned());
        if !self.around.contains(&around) && self.around.len() < 32 {
            self.around.push(around);
        }
    }
}

/// The names of the folders in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| !kind.is_file());
    let folders = entries.filter(is_folder);
    let mut names: Vec<_> =
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The id of a container in the name of its folder: 64 hexadecimal digits, by themselves or
/// between words such as `docker-` and `.scope`.
pub(super) fn id_in(name: &str) -> Option<&str> {
    let is_id = |part: &&str| {
        part.len() == 64 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    name.split(|letter: char| !letter.is_ascii_alphanumeric()).find(is_id)
}

/// Whether a line of `/proc/<pid>/cgroup` puts a process into this container or below it.
fn is_inside(text: &[u8], id: &str) -> bool {
    text.windows(id.len()).any(|window| window == id.as_bytes())
}

/// A process of a container, oldest first among those that its own file names.
pub(super) fn process(proc_root: &Path, processes: &[u8], id: &str) -> Option<(u32, u64)> {
    let mut buffer = Buffer::default();
    let pids = super::parse::lines(processes).filter_map(super::parse::number);
    let pids = pids.filter(|pid| *pid != 0).filter_map(|pid| u32::try_from(pid).ok());
    let begun = |pid: u32| {
        let folder = proc_root.join(pid.to_string());
        read_once(&folder.join("cgroup"), &mut buffer).ok()?;
        if !is_inside(&buffer, id) {
            return None;
        }
        read_once(&folder.join("stat"), &mut buffer).ok()?;
        Some((start_ticks(&buffer)?, pid))
    };
    pids.take(16).filter_map(begun).min().map(|(ticks, pid)| (pid, ticks))
}

/// When a process was started, in ticks since the machine was. Format: proc(5), field 22 of
/// `/proc/<pid>/stat`; the name before it may hold anything, brackets too.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    super::parse::words(stat.get(end + 1..)?).nth(19).and_then(super::parse::number)
}

/// The processes of these containers, as the host's own table names them: for a Berth whose own
/// process numbers are others than the host's.
pub(super) fn processes_by_table(
    proc_root: &Path,
    ids: &BTreeSet<&str>,
) -> BTreeMap<String, Vec<u8>> {
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut buffer = Buffer::default();
    for name in names(proc_root).iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
        if read_once(&proc_root.join(name).join("cgroup"), &mut buffer).is_err() {
            continue;
        }
        let text = String::from_utf8_lossy(&buffer);
        let mut inside = text.split(['/', '\n']).filter_map(id_in).filter(|id| ids.contains(id));
        if let Some(id) = inside.next_back() {
            let list = found.entry(id.to_owned()).or_default();
            list.extend_from_slice(name.as_bytes());
            list.push(b'\n');
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn tree(folders: &[&str], files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder.replace("ID", ID))).unwrap();
        }
        for file in files {
            fs::write(root.path().join(file), "cpu memory io pids\n").unwrap();
        }
        root
    }

    #[test]
    fn an_id_is_found_however_its_folder_is_named() {
        for name in [
            ID.to_owned(),
            format!("docker-{ID}.scope"),
            format!("libpod-{ID}.scope"),
            format!("crio-conmon-{ID}"),
        ] {
            assert_eq!(id_in(&name), Some(ID), "{name}");
        }
        for name in ["docker", &ID[1..], &format!("{ID}0"), &ID.to_uppercase()] {
            assert_eq!(id_in(name), None, "{name}");
        }
    }

    #[test]
    fn each_driver_and_parent_is_found_and_remembered() {
        let user = "user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope";
        for place in [
            "docker/ID",
            "system.slice/docker-ID.scope",
            "own.slice/own-a.slice/docker-ID.scope",
            "own/ID",
            user,
        ] {
            let root = tree(&[place], &["cgroup.controllers"]);
            let (layout, mut places) = (Layout::of(root.path()), Places::default());
            let expected = place.replace("ID", ID);
            let found = places
                .find(&layout, ID)
                .or_else(|| places.search(&layout, &BTreeSet::from([ID])).remove(ID));
            assert_eq!(found.as_deref(), Some(expected.as_str()));
            assert_eq!(places.find(&layout, ID).as_deref(), Some(expected.as_str()));
        }
    }

    #[test]
    fn controllers_are_found_together_apart_and_mixed() {
        let root = tree(&["cpu,cpuacct", "memory", "blkio", "pids", "unified"], &[]);
        fs::write(root.path().join("unified/cgroup.controllers"), "\n").unwrap();
        let layout = Layout::of(root.path());
        let folder = |tree: &Option<Tree>| {
            let tree = tree.as_ref()?;
            Some((tree.root.file_name()?.to_str()?.to_owned(), tree.is_v2))
        };
        assert_eq!(folder(&layout.cpu), Some(("cpu,cpuacct".to_owned(), false)));
        assert_eq!(folder(&layout.cpuacct), Some(("cpu,cpuacct".to_owned(), false)));
        assert_eq!(folder(&layout.pressure), Some(("unified".to_owned(), true)));
        let root = tree(&["cpu", "cpuacct", "unified"], &["unified/cgroup.controllers"]);
        let layout = Layout::of(root.path());
        assert_eq!(folder(&layout.memory), Some(("unified".to_owned(), true)));
        assert_eq!(folder(&layout.cpu), Some(("cpu".to_owned(), false)));
        assert_eq!(Layout::of(Path::new("/nowhere")), Layout::default());
    }

    /// Only a process that is in the container now counts: numbers are used again.
    #[test]
    fn the_oldest_process_that_is_inside_is_taken() {
        let proc_root = tempfile::tempdir().unwrap();
        let put = |pid: u32, inside: &str, ticks: u64| {
            let folder = proc_root.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cgroup"), format!("4:memory:/../{inside}\n")).unwrap();
            let zeros = "0 ".repeat(18);
            fs::write(folder.join("stat"), format!("{pid} (a) b) S {zeros}{ticks} 0\n")).unwrap();
        };
        put(7, "docker/other", 1);
        put(9, ID, 50);
        put(12, ID, 40);
        let seen = process(proc_root.path(), b"0\n7\n9\n12\n99\nx\n", ID);
        assert_eq!(seen, Some((12, 40)));
        let table = processes_by_table(proc_root.path(), &BTreeSet::from([ID]));
        assert_eq!(process(proc_root.path(), &table[ID], ID), Some((12, 40)));
    }
}
