//! Which folder a path leads to, and what makes it the same folder as before.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags, fstatfs, openat, statx};

/// Names one file or folder while the machine runs: device (major, minor) and inode.
pub(super) type Node = (u32, u32, u64);

/// A folder, opened.
pub(super) struct Place {
    /// All reading goes through this, so that nothing swapped in later is mixed in.
    pub(super) fd: OwnedFd,
    /// The folder that was opened.
    pub(super) node: Node,
    /// The folder as its user knows it; see [`identify`].
    pub(super) identity: String,
    /// The links on the way to it that decide which folder it is.
    pub(super) link: Option<PathBuf>,
    /// Whether the kernel tells of every change: so on a local disk, not on a network or a
    /// virtual machine's share (fault W09).
    pub(super) is_local: bool,
}

/// Opens the folder that a path leads to now.
pub(super) fn open(path: &Path) -> io::Result<Place> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    let found = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let link = last_link(path);
    let identity = identify(path, link.as_deref(), &found)?;
    let is_local = fstatfs(&fd).is_ok_and(|fs| is_local(i128::from(fs.f_type)));
    Ok(Place { fd, node: node(&found), identity, link, is_local })
}

/// The folder that a path leads to, without opening it.
pub(super) fn node_at(path: &Path) -> io::Result<Node> {
    Ok(node(&statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?))
}

pub(super) fn node(found: &Statx) -> Node {
    (found.stx_dev_major, found.stx_dev_minor, found.stx_ino)
}

/// What stays equal for the same folder, and differs for another one mounted or put in its place.
///
/// A plain folder is its device, its inode and the moment it was made (a new folder often gets
/// the inode of one just removed). The `..data` links of Kubernetes stay within a folder, so
/// switching them changes nothing here.
///
/// Where a link is on the way, switching that link is how new content arrives (git-sync), so the
/// folder is the link: the folder that holds it, its name, what follows it, and the device that
/// it leads to. Of several links the last one counts.
fn identify(path: &Path, link: Option<&Path>, target: &Statx) -> io::Result<String> {
    let Some((link, holder)) = link.and_then(|link| Some((link, link.parent()?))) else {
        return Ok(named(target));
    };
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let holder_found = statx(CWD, holder, AtFlags::empty(), flags)?;
    let rest = path.strip_prefix(holder).unwrap_or(link);
    let (major, minor, _) = node(target);
    Ok(format!("{}/{} on {major}:{minor}", named(&holder_found), rest.display()))
}

fn named(found: &Statx) -> String {
    let (major, minor, inode) = node(found);
    if found.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return format!("{major}:{minor}:{inode}");
    }
    let born = &found.stx_btime;
    format!("{major}:{minor}:{inode}@{}.{:09}", born.tv_sec, born.tv_nsec)
}

/// The last component of the path that is a link.
fn last_link(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .find(|part| fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink()))
        .map(Path::to_owned)
}

/// The file systems whose changes all pass this kernel. Any other is looked at often instead.
fn is_local(kind: i128) -> bool {
    const EXT: i128 = 0xEF53;
    const XFS: i128 = 0x5846_5342;
    const BTRFS: i128 = 0x9123_683E;
    const F2FS: i128 = 0xF2F5_2010;
    const TMPFS: i128 = 0x0102_1994;
    const ZFS: i128 = 0x2FC1_2FC1;
    [EXT, XFS, BTRFS, F2FS, TMPFS, ZFS].contains(&kind)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn identity(path: &Path) -> String {
        open(path).unwrap().identity
    }

    #[test]
    fn a_folder_made_anew_under_the_same_name_is_another_one() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("apps");
        fs::create_dir(&root).unwrap();
        let before = identity(&root);
        fs::write(root.join("a.yaml"), "x").unwrap();
        assert_eq!(identity(&root), before);
        // Its inode is mostly given to the next folder, and the file system's clock has steps.
        let is_another = (0..1_000).any(|_| {
            fs::remove_dir_all(&root).unwrap();
            fs::create_dir(&root).unwrap();
            identity(&root) != before
        });
        assert!(is_another);
    }

    #[test]
    fn a_switched_link_is_the_same_folder_wherever_it_is_on_the_way() {
        let top = tempfile::tempdir().unwrap();
        for tree in ["one/apps", "two/apps"] {
            fs::create_dir_all(top.path().join(tree)).unwrap();
        }
        let link = top.path().join("current");
        let below = link.join("apps");
        symlink("one", &link).unwrap();
        let before = (identity(&link), identity(&below), open(&below).unwrap().node);
        fs::remove_file(&link).unwrap();
        symlink("two", &link).unwrap();
        assert_eq!((identity(&link), identity(&below)), (before.0, before.1));
        assert_ne!(open(&below).unwrap().node, before.2);
        assert_eq!(open(&below).unwrap().link, Some(link));
    }
}
