//! The socket for the users of this machine: a file that only some may connect to, and a kernel
//! that says who did.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use super::Error;
use crate::auth::Group;

/// A socket to be listened on.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// The group whose members may connect too.
    pub group: Option<Group>,
    /// Whether Berth does not start without it.
    pub is_required: bool,
}

impl Socket {
    /// Listens. None when it can't and need not.
    pub(super) fn listen(&self) -> Result<Option<UnixListener>, Error> {
        match self.bind() {
            Ok(listener) => Ok(Some(listener)),
            Err(source) if self.is_required => {
                Err(Error::Socket { path: self.path.clone(), source })
            }
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "no socket for this machine's users");
                Ok(None)
            }
        }
    }

    fn bind(&self) -> io::Result<UnixListener> {
        clear(&self.path)?;
        let listener = UnixListener::bind(&self.path)?;
        // Whoever connects before this is done is known by uid, and refused if that is another one.
        let mode = if self.group.is_some() { 0o660 } else { 0o600 };
        if let Some(group) = &self.group {
            std::os::unix::fs::chown(&self.path, None, Some(group.id))?;
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
        Ok(listener)
    }

    /// Takes the file away.
    pub(super) fn remove(&self) {
        // It may be gone, or somebody else's by now; the next start looks again.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes away what a Berth left that was killed. A socket that answers, or a file that is none, stays.
fn clear(path: &Path) -> io::Result<()> {
    let seen = match fs::symlink_metadata(path) {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !seen.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there, and no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => fs::remove_file(path),
    }
}
