//! The local disks. The table of mounts is long where containers are many, so it is read again
//! only when the kernel says that it is another one.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::StatVfs,
};

use super::{files, text};

/// The disks as they were last listed.
pub(super) struct Mounts {
    /// Where the table is, and the root of what it names.
    place: (PathBuf, PathBuf),
    table: Option<File>,
    disks: Vec<Disk>,
}

/// A disk: its labels, ready to be written, and a place where it is mounted.
struct Disk {
    labels: String,
    at: String,
}

impl Mounts {
    /// Those of this machine's first process where its files are mounted elsewhere and it lets
    /// them be seen: a Berth in a container has others itself.
    pub(super) fn of(proc_root: &Path) -> Self {
        let (table, root) = (proc_root.join("1/mounts"), proc_root.join("1/root"));
        let is_shown = proc_root != Path::new("/proc")
            && files::open(&table).is_ok()
            && rustix::fs::statvfs(&root).is_ok();
        let own = ("/proc/self/mounts".into(), PathBuf::new());
        let place = if is_shown { (table, root) } else { own };
        Self { place, table: None, disks: Vec::new() }
    }

    /// The room on local disks, each once. Other filesystems could hang, and are somebody else's.
    pub(super) fn rooms(&mut self, max: usize) -> Vec<(&str, StatVfs)> {
        if self.is_changed() {
            self.list();
        }
        let disks = self.disks.iter().take(max);
        disks.filter_map(|d| Some((d.labels.as_str(), rustix::fs::statvfs(&*d.at).ok()?))).collect()
    }

    /// Whether the table is another one than when this was last asked (proc(5): poll).
    fn is_changed(&mut self) -> bool {
        let Some(table) = &self.table else {
            self.table = files::open(&self.place.0).ok();
            return true;
        };
        let mut asked = [PollFd::new(table, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_err() || !asked[0].revents().is_empty()
    }

    fn list(&mut self) {
        let (mut buffer, mut seen) = (files::Buffer::default(), BTreeSet::new());
        self.disks.clear();
        if files::read_once(&self.place.0, &mut buffer).is_err() {
            return;
        }
        for line in String::from_utf8_lossy(&buffer).lines() {
            let mut words = line.split(' ');
            let (Some(device), Some(at), Some(kind)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let is_local =
                device.starts_with("/dev/") || matches!(kind, "zfs" | "btrfs" | "overlay");
            let is_known = seen.contains(device);
            if !is_local || (kind == "overlay" && at != "/") || is_known {
                continue;
            }
            let path = format!("{}{at}", self.place.1.display());
            if rustix::fs::statvfs(&*path).is_err() {
                continue;
            }
            let mut labels = String::new();
            text::label(&mut labels, "device", device);
            text::label(&mut labels, "fstype", kind);
            text::label(&mut labels, "mountpoint", at);
            seen.insert(device.to_owned());
            self.disks.push(Disk { labels, at: path });
        }
        self.disks.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows_marker(mounts: &mut Mounts) -> bool {
        mounts.rooms(64).iter().any(|(labels, _)| *labels == "marker")
    }

    #[test]
    fn the_table_is_read_only_when_it_is_another_one() {
        let mut mounts = Mounts::of(Path::new("/proc"));
        mounts.rooms(64);
        // Whatever else this machine does may mount something just now, but not each time.
        let is_kept = (0..1000).any(|_| {
            mounts.disks = vec![Disk { labels: "marker".to_owned(), at: "/".to_owned() }];
            shows_marker(&mut mounts)
        });
        assert!(is_kept, "it is read each time");
        assert_eq!(mounts.rooms(0).len(), 0);
        mounts.table = None;
        assert!(!shows_marker(&mut mounts), "it is not read when it may be another one");
    }

    /// A Berth in a container shows the host's disks and not its own.
    #[test]
    fn where_the_hosts_files_are_elsewhere_its_disks_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("1");
        std::fs::create_dir_all(first.join("root/data")).unwrap();
        let table = "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /data xfs rw 0 0\n/dev/sdc1 /gone xfs rw 0 0\nproc /proc proc rw 0 0\n";
        std::fs::write(first.join("mounts"), table).unwrap();
        let mut mounts = Mounts::of(folder.path());
        let labels: Vec<_> = mounts.rooms(64).into_iter().map(|(labels, _)| labels).collect();
        assert_eq!(
            labels,
            [
                "device=\"/dev/sda1\",fstype=\"ext4\",mountpoint=\"/\"",
                "device=\"/dev/sdb1\",fstype=\"xfs\",mountpoint=\"/data\"",
            ]
        );
        // Nothing of the first process can be seen: what Berth has itself.
        let nothing = tempfile::tempdir().unwrap();
        let (mut own, mut usual) = (Mounts::of(nothing.path()), Mounts::of(Path::new("/proc")));
        let names = |mounts: &mut Mounts| {
            mounts.rooms(64).iter().map(|(l, _)| (*l).to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&mut own).is_empty(), names(&mut usual).is_empty());
    }
}
