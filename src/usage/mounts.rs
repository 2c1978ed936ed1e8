//! The local disks. The table of mounts is long where containers are many, so it is read again
//! only when the kernel says that it is another one.

use std::{collections::BTreeSet, fs::File, path::Path};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::StatVfs,
};

use super::{files, text};

const TABLE: &str = "/proc/self/mounts";

/// The disks as they were last listed.
#[derive(Default)]
pub(super) struct Mounts {
    table: Option<File>,
    disks: Vec<Disk>,
}

/// A disk: its labels, ready to be written, and a place where it is mounted.
struct Disk {
    labels: String,
    at: String,
}

impl Mounts {
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
            self.table = files::open(Path::new(TABLE)).ok();
            return true;
        };
        let mut asked = [PollFd::new(table, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_err() || !asked[0].revents().is_empty()
    }

    fn list(&mut self) {
        let (mut buffer, mut seen) = (files::Buffer::default(), BTreeSet::new());
        self.disks.clear();
        if files::read_once(Path::new(TABLE), &mut buffer).is_err() {
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
            if rustix::fs::statvfs(at).is_err() {
                continue;
            }
            let mut labels = String::new();
            text::label(&mut labels, "device", device);
            text::label(&mut labels, "fstype", kind);
            text::label(&mut labels, "mountpoint", at);
            seen.insert(device.to_owned());
            self.disks.push(Disk { labels, at: at.to_owned() });
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
        let mut mounts = Mounts::default();
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
}
