//! A source that holds what it is told to hold: for tests, and for anything that makes manifests
//! by itself.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::manifest::{FileContent, Part, Snapshot};
use crate::model::Digest;

use super::{Error, Source};

/// Files in memory.
#[derive(Debug)]
pub struct Fixed {
    state: watch::Receiver<State>,
}

/// Changes the files of a [`Fixed`] and wakes whoever waits for a change.
#[derive(Clone, Debug)]
pub struct Handle {
    state: watch::Sender<State>,
}

/// The files, or why there are none.
#[derive(Clone, Debug)]
struct State {
    snapshot: Arc<Snapshot>,
    failure: Option<String>,
}

impl Fixed {
    /// A source of these files, as pairs of path and text.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Handle) {
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect();
        let snapshot =
            Arc::new(Snapshot { files, identity: "fixed".to_owned(), parts: Vec::new() });
        let (sender, mut receiver) = watch::channel(State { snapshot, failure: None });
        receiver.mark_changed();
        (Self { state: receiver }, Handle { state: sender })
    }
}

impl Source for Fixed {
    fn describe(&self) -> String {
        "fixed files".to_owned()
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        let state = self.state.borrow_and_update().clone();
        Box::pin(async move {
            match state.failure {
                None => Ok(state.snapshot),
                Some(message) => Err(Error::Unreadable {
                    path: PathBuf::from("fixed"),
                    source: io::Error::other(message),
                }),
            }
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.state.changed().await.is_err() {
                // Every handle is gone, so nothing will ever change again.
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Handle {
    /// Replaces all files.
    pub fn set<'a>(&self, files: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect();
        self.edit(|snapshot| snapshot.files = files);
    }

    /// Writes one file.
    pub fn put(&self, path: &str, text: &str) {
        self.edit(|snapshot| {
            snapshot.files.insert(path.to_owned(), file(text));
        });
    }

    /// Removes one file.
    pub fn remove(&self, path: &str) {
        self.edit(|snapshot| {
            snapshot.files.remove(path);
        });
    }

    /// Makes one file unreadable.
    pub fn spoil(&self, path: &str, why: &str) {
        self.edit(|snapshot| {
            snapshot.files.insert(path.to_owned(), FileContent::Unreadable(why.to_owned()));
        });
    }

    /// Puts another folder in the place of this one, with the same files.
    pub fn set_identity(&self, identity: &str) {
        self.edit(|snapshot| identity.clone_into(&mut snapshot.identity));
    }

    /// Says which sources the files are put together from.
    pub fn set_parts(&self, parts: Vec<Part>) {
        self.edit(|snapshot| snapshot.parts = parts);
    }

    /// Makes the whole source unreadable, or readable again.
    pub fn fail(&self, why: Option<&str>) {
        self.state.send_modify(|state| state.failure = why.map(str::to_owned));
    }

    fn edit(&self, change: impl FnOnce(&mut Snapshot)) {
        self.state.send_modify(|state| change(Arc::make_mut(&mut state.snapshot)));
    }
}

fn file(text: &str) -> FileContent {
    FileContent::Text { bytes: text.as_bytes().into(), digest: Digest::of_bytes(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_wakes_once_and_a_look_answers_it() {
        let (mut source, handle) = Fixed::new([("a.yaml", "kind: App")]);
        assert!(source.changed().now_or_never().is_some(), "nobody has looked yet");
        let first = source.snapshot().await.unwrap();
        assert!(source.changed().now_or_never().is_none());
        assert!(Arc::ptr_eq(&first, &source.snapshot().await.unwrap()));

        handle.put("b.yaml", "kind: App");
        source.changed().await;
        let second = source.snapshot().await.unwrap();
        assert_eq!((first.files.len(), second.files.len()), (1, 2));
        assert!(source.changed().now_or_never().is_none());

        handle.fail(Some("unplugged"));
        source.changed().await;
        assert!(matches!(source.snapshot().await, Err(Error::Unreadable { .. })));
    }
}
