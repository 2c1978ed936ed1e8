//! Takes an app's folder away, for somebody who asked for that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::metadata;
use crate::model::AppName;

/// How a folder is called that is on its way out. No app has such a name.
pub(super) const LEAVING: &str = ".leaving-";

/// Removes the folder of an app, `data/` and all; answers whether there was one. It is out of the
/// way at once, and what a crash leaves of it goes with the next one that is removed.
pub fn remove(root: &Path, app: &AppName) -> io::Result<bool> {
    let folder = root.join(app.as_str());
    let aside = root.join(format!("{LEAVING}{app}"));
    sweep(root)?;
    match fs::rename(&folder, &aside) {
        Ok(()) => metadata::sync_folder(root)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    sweep(root)?;
    Ok(true)
}

/// Removes what is on its way out.
fn sweep(root: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(LEAVING) {
            take_away(entry.path())?;
        }
    }
    Ok(())
}

/// A link is removed, and not what it leads to.
fn take_away(path: PathBuf) -> io::Result<()> {
    if fs::symlink_metadata(&path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_goes_and_no_other() -> io::Result<()> {
        let top = tempfile::tempdir()?;
        let (root, kept) = (top.path().join("workspaces"), top.path().join("kept"));
        let name = |text| AppName::new(text).map_err(|_| io::ErrorKind::InvalidInput);
        assert!(!remove(&root, &name("chat")?)?, "there is no folder of folders yet");
        for folder in ["chat/data", "chat-two/data", ".mirrors", ".leaving-old/data"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::create_dir(&kept)?;
        fs::write(kept.join("file"), "text")?;
        std::os::unix::fs::symlink(&kept, root.join("chat/data/link"))?;
        std::os::unix::fs::symlink(&kept, root.join("linked"))?;
        assert!(remove(&root, &name("chat")?)?);
        assert!(remove(&root, &name("linked")?)?);
        assert!(!remove(&root, &name("chat")?)?);
        let left = fs::read_dir(&root)?.map(|entry| Ok(entry?.file_name()));
        let mut left = left.collect::<io::Result<Vec<_>>>()?;
        left.sort();
        assert_eq!(left, [".mirrors", "chat-two"]);
        assert!(kept.join("file").exists());
        Ok(())
    }
}
