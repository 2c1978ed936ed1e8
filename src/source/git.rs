//! Manifests in a git repository: one branch, and one folder in it.
//!
//! Whoever makes the source passes in how a commit is brought to the disk. The commit's folder is
//! then read whole, by the rules of a folder of this machine.
//!
//! # Guarantees
//! - A snapshot is one commit, complete. While the repository can't be reached, the branch is gone
//!   or the folder is not in it, the source is an error: never an empty snapshot (fault W01).
//! - What was fetched before a restart is there at once, whether the repository answers or not.
//! - Its identity is its address, branch and folder: another repository is another source.
//!
//! # Caveats
//! A branch that was written anew (`push --force`) is followed as any other push; what vanishes
//! with it is the brake's business.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use super::{
    Error, Source,
    directory::{Limits, read_once},
};
use crate::manifest::{Part, Snapshot};
use crate::model::{Digest, GitUrl, check_git_ref, check_repository_path, check_secret_name};

/// What is put before an address to say that it is a repository of manifests.
const MARK: &str = "git+";
/// What stands before the name of the secret to log in with.
const SECRET: &str = "?secret=";
/// By how much of itself, in per cent, the pause between two looks differs.
const JITTER: u64 = 10;

/// Where manifests are: a repository, a branch of it, a folder in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The repository.
    pub url: GitUrl,
    /// The branch, tag or full commit; none is the remote's HEAD.
    pub reference: Option<String>,
    /// The folder; empty is all of it.
    pub path: String,
    /// The secret to log in with. Not part of which repository it is.
    pub secret: Option<String>,
}

impl Place {
    /// Reads `git+https://host/repository.git?secret=name#branch:folder`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write `git+https://host/repository.git#branch:folder`".to_owned();
        let address = text.strip_prefix(MARK).ok_or_else(wrong)?;
        let (url, rest) = match address.split_once('#') {
            Some((url, rest)) => (url, rest),
            None => (address, ""),
        };
        if !url.contains("://") {
            return Err(wrong());
        }
        let (url, secret) = match url.split_once(SECRET) {
            Some((url, name)) => {
                check_secret_name(name).map_err(|error| error.to_string())?;
                (url, Some(name.to_owned()))
            }
            None => (url, None),
        };
        let url = GitUrl::parse(url).map_err(|error| error.to_string())?;
        let (reference, path) = rest.split_once(':').unwrap_or((rest, ""));
        if !reference.is_empty() {
            check_git_ref(reference).map_err(|error| error.to_string())?;
        }
        let path = check_repository_path(path).map_err(|error| error.to_string())?;
        let reference =
            (!reference.is_empty() && reference != "HEAD").then(|| reference.to_owned());
        if secret.is_some() && matches!(url, GitUrl::Local(_)) {
            return Err("a repository of this machine takes no secret".to_owned());
        }
        Ok(Self { url, reference, path, secret })
    }

    /// The repository as it may be shown: without the user of an http address, which may be a
    /// token (fault G15).
    pub fn repository(&self) -> String {
        match &self.url {
            GitUrl::Http(url) => match url.split_once("://") {
                Some((scheme, rest)) => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
                    format!("{MARK}{scheme}://{}", &rest[start..])
                }
                None => format!("{MARK}{url}"),
            },
            GitUrl::Ssh(url) => format!("{MARK}{url}"),
            GitUrl::Local(path) => format!("{MARK}file://{path}"),
        }
    }

    /// What the names of its files begin with.
    pub fn prefix(&self) -> String {
        let end = if self.path.is_empty() { "" } else { "/" };
        format!("{}:{}{end}", self.branch(), self.path)
    }

    fn branch(&self) -> String {
        format!("{}#{}", self.repository(), self.reference.as_deref().unwrap_or("HEAD"))
    }

    /// A name for the folder in which its commits are kept, 33 characters of a closed set.
    pub fn key(&self) -> String {
        format!("s{}", Digest::of_bytes(self.to_string().as_bytes()).short(32))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.branch())?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

/// A commit on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Which one.
    pub commit: String,
    /// The folder that holds its files. Nobody else changes it.
    pub folder: PathBuf,
}

/// Brings the newest commit to the disk, or says why it can't, as a sentence.
pub type Fetch = Arc<dyn Fn() -> BoxFuture<'static, Result<Fetched, String>> + Send + Sync>;

/// Rung when a repository may have something new.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Has the repository looked at now. Rung while that is under way, it is looked at once more.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// A repository of manifests.
pub struct Git {
    place: Place,
    fetch: Fetch,
    /// What is on the disk from an earlier run, until it was read.
    kept: Option<Fetched>,
    interval: Duration,
    limits: Limits,
    bell: Bell,
    last: Option<(Fetched, Arc<Snapshot>)>,
    /// When to look again; none before the first look.
    next: Option<Instant>,
    looks: u64,
}

impl Git {
    /// A repository that is looked at every `interval`, and whenever the bell rings.
    pub fn new(place: Place, fetch: Fetch, kept: Option<Fetched>, interval: Duration) -> Self {
        let (limits, bell) = (Limits::default(), Bell::default());
        Self { place, fetch, kept, interval, limits, bell, last: None, next: None, looks: 0 }
    }

    /// What rings when there may be something new.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    async fn look(&mut self) -> Result<Arc<Snapshot>, Error> {
        // Until this look ends nobody has looked: whoever gives it up is woken at once.
        self.next = None;
        if let Some(kept) = self.kept.take() {
            // What can't be read any more is fetched again.
            if let Ok(snapshot) = self.read(kept).await {
                self.next = Some(Instant::now());
                return Ok(snapshot);
            }
        }
        let fetched = (self.fetch)().await;
        self.next = Some(Instant::now() + self.pause());
        let wrong = |message| Error::Repository { place: self.place.to_string(), message };
        self.read(fetched.map_err(wrong)?).await
    }

    /// Reads the files of a commit, unless they were read before.
    async fn read(&mut self, fetched: Fetched) -> Result<Arc<Snapshot>, Error> {
        if let Some((last, snapshot)) = &self.last
            && *last == fetched
        {
            return Ok(Arc::clone(snapshot));
        }
        let (folder, limits) = (fetched.folder.clone(), self.limits);
        let read = spawn_blocking(move || read_once(&folder, limits)).await;
        let wrong = |message| Error::Repository { place: self.place.to_string(), message };
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(Error::TooManyFiles { limit, .. })) => {
                let message = format!(
                    "it holds more than {limit} manifests or folders: name the folder of the manifests after the branch, as in `#main:apps`"
                );
                return Err(wrong(message));
            }
            Ok(Err(error)) => return Err(wrong(error.to_string())),
            Err(died) => return Err(wrong(died.to_string())),
        };
        let prefix = self.place.prefix();
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(path, content)| (format!("{prefix}{path}"), content)).collect();
        let identity = self.place.to_string();
        let part = Part {
            prefix,
            name: identity.clone(),
            identity: identity.clone(),
            commit: Some(fetched.commit.clone()),
            error: None,
            is_read: true,
        };
        let snapshot = Arc::new(Snapshot { files, identity, parts: vec![part] });
        self.last = Some((fetched, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// The pause until the next look: not the same for all sources, nor each time.
    fn pause(&mut self) -> Duration {
        self.looks += 1;
        let seed = format!("{} {}", self.place, self.looks);
        let digits = Digest::of_bytes(seed.as_bytes()).short(8).to_owned();
        let chance = u64::from_str_radix(&digits, 16).unwrap_or(0) % (2 * JITTER * 10 + 1);
        let per_mille = 1_000 - JITTER * 10 + chance;
        let ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(ms.saturating_mul(per_mille) / 1_000)
    }
}

impl Source for Git {
    fn describe(&self) -> String {
        self.place.to_string()
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        Box::pin(self.look())
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(next) = self.next else { return };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.bell.0.notified() => {}
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown() {
        let read = |text: &str| Place::parse(text).unwrap();
        let place = read("git+ssh://git@h.example:8443/acme/apps.git#main:prod//eu/");
        assert_eq!(place.reference.as_deref(), Some("main"));
        assert_eq!(place.path, "prod/eu");
        assert_eq!(place.to_string(), "git+ssh://git@h.example:8443/acme/apps.git#main:prod/eu");
        assert_eq!(place.prefix(), "git+ssh://git@h.example:8443/acme/apps.git#main:prod/eu/");
        assert_eq!(place.url.as_str(), "ssh://git@h.example:8443/acme/apps.git");
        for (text, shown, prefix) in [
            ("git+https://h.example/a.git", "#HEAD", "#HEAD:"),
            ("git+https://h.example/a.git#HEAD", "#HEAD", "#HEAD:"),
            ("git+https://h.example/a.git#:b", "#HEAD:b", "#HEAD:b/"),
            ("git+ssh://git@h.example/a.git#v1", "#v1", "#v1:"),
            ("git+file:///srv/a.git#rel/x:b/c", "#rel/x:b/c", "#rel/x:b/c/"),
        ] {
            let place = read(text);
            assert!(place.to_string().ends_with(shown), "{text}: {place}");
            assert!(place.prefix().ends_with(prefix), "{text}: {}", place.prefix());
            assert!(place.prefix().contains("://"));
        }
    }

    #[test]
    fn a_place_that_makes_no_sense_is_refused() {
        for bad in [
            "https://h.example/a.git",
            "git+h.example/a.git",
            "git+git@h.example:a/b",
            "git+ftp://h.example/a",
            "git+https://u:p@h.example/a",
            "git+https://tok3n@h.example/a",
            "git+https://h.example/a#-x",
            "git+https://h.example/a#main:../x",
            "git+https://h.example/a#main:/x",
            "",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_key_of_a_place_is_the_name_of_an_app() {
        let place = Place::parse("git+https://h.example/a.git#main").unwrap();
        assert!(crate::model::AppName::new(&place.key()).is_ok(), "{}", place.key());
        let other = Place::parse("git+https://h.example/a.git#main:x").unwrap();
        assert_ne!(place.key(), other.key());
    }

    #[tokio::test]
    async fn pauses_differ_and_stay_near_the_interval() {
        let fetch: Fetch = Arc::new(|| Box::pin(async { Err("no".to_owned()) }));
        let place = Place::parse("git+https://h.example/a.git").unwrap();
        let mut git = Git::new(place, fetch, None, Duration::from_mins(1));
        let pauses: std::collections::BTreeSet<_> = (0..50).map(|_| git.pause()).collect();
        assert!(20 < pauses.len());
        assert!(Duration::from_secs(54) <= *pauses.first().unwrap());
        assert!(*pauses.last().unwrap() <= Duration::from_secs(66));
    }
}
