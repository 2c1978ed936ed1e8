//! The disk behind an engine, and what its images do to builds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

use super::super::{Error, Room};
use super::errors::within;
use super::transport::{SHORT_LIMIT, decode};
use super::{Docker, LIST_LIMIT};

impl Docker {
    /// The free room of the engine's disk, where it is a disk of this machine.
    pub(super) async fn free_room(&self) -> Result<Option<Room>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            docker_root_dir: Option<PathBuf>,
        }
        let asked = self.transport().introduction("info", "/info");
        let (listener, body) = within("info", LIST_LIMIT, asked).await?;
        let info: Info = decode("info", &body)?;
        // Without a listener it is no socket of this machine.
        let (Some(root), Some(listener)) = (info.docker_root_dir, listener) else {
            return Ok(None);
        };
        let seen = listener.process().map(|pid| seen_by(pid, &root));
        let look = move || seen.as_deref().and_then(free).or_else(|| free(&root));
        let free = tokio::task::spawn_blocking(look).await.ok().flatten();
        Ok(free.map(|free| Room { free }))
    }

    /// Whether an image has `ONBUILD` triggers.
    pub(super) async fn triggers_of(&self, image: &str) -> Result<Option<bool>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            config: Option<Config>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Config {
            on_build: Option<Vec<String>>,
        }
        let image: Option<Image> = self.look_at_image(image).await?;
        Ok(image.map(|image| {
            let triggers = image.config.and_then(|config| config.on_build);
            triggers.is_some_and(|triggers| !triggers.is_empty())
        }))
    }

    /// The size of an image.
    pub(super) async fn size_of(&self, image: &str) -> Result<Option<u64>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            size: Option<u64>,
        }
        let image: Option<Image> = self.look_at_image(image).await?;
        Ok(image.and_then(|image| image.size))
    }

    /// What the engine says of an image by its name; none when there is no such image.
    async fn look_at_image<T: DeserializeOwned>(&self, image: &str) -> Result<Option<T>, Error> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
        if !image.chars().all(is_plain) || image.contains("..") {
            return Ok(None);
        }
        match self.get("inspect image", SHORT_LIMIT, &format!("/images/{image}/json")).await {
            Ok(body) => Ok(Some(decode("inspect image", &body)?)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A path as a process sees it: an engine may have mounts of its own.
fn seen_by(pid: i32, path: &Path) -> PathBuf {
    Path::new("/proc")
        .join(pid.to_string())
        .join("root")
        .join(path.strip_prefix("/").unwrap_or(path))
}

fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_looked_at_through_the_process_that_uses_it() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(
            seen_by(7, Path::new("/var/lib/docker")),
            Path::new("/proc/7/root/var/lib/docker")
        );
        assert!(free(&seen_by(own, Path::new("/"))).is_some());
        assert_eq!(free(Path::new("/no/such/place")), None);
    }
}
