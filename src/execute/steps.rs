//! What the classic builder makes on its way, written down while it does: whoever finds a build
//! interrupted knows what is left of it. `BuildKit` keeps such things itself.
//!
//! Lost, the files are not missed but by what they would have found. The engine labels what a
//! Dockerfile of Berth's makes, and nothing of what another one makes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;

use super::context::blocking;
use crate::engine::{StepMade, StepSink};
use crate::model::{AppName, Timestamp};
use crate::plan::Trace;

/// How many steps may wait to be written down.
const WAITING: usize = 256;
/// How many builds of an app are remembered.
const BUILDS_MAX: usize = 20;
/// How much of one build is remembered.
const STEPS_MAX: usize = 500;

/// What is written down of one app.
pub(super) struct Steps {
    path: PathBuf,
    traces: Vec<Trace>,
}

impl Steps {
    /// Begins with a build. Nothing is written before it has made something.
    pub(super) fn begin(folder: &Path, app: &AppName, since: Timestamp) -> (StepSink, Writer) {
        let path = folder.join(format!("{app}.json"));
        let mut traces = blocking(|| read(&path));
        traces.push(Trace {
            app: app.clone(),
            since,
            is_done: false,
            images: Vec::new(),
            containers: Vec::new(),
        });
        let spare = traces.len().saturating_sub(BUILDS_MAX);
        traces.drain(..spare);
        let (sink, made) = mpsc::channel(WAITING);
        let writer = tokio::spawn(Self { path, traces }.write(made));
        (sink, Writer(writer))
    }

    async fn write(mut self, mut made: mpsc::Receiver<StepMade>) -> Self {
        while let Some(made) = made.recv().await {
            let Some(trace) = self.traces.last_mut() else { continue };
            let (known, id) = match made {
                StepMade::Image(id) => (&mut trace.images, id),
                StepMade::Container(id) => (&mut trace.containers, id),
            };
            if known.len() < STEPS_MAX && !known.contains(&id) {
                known.push(id);
                self.save();
            }
        }
        self
    }

    fn save(&self) {
        if let Err(error) = blocking(|| replace(&self.path, &self.traces)) {
            let path = self.path.display();
            tracing::debug!(%path, %error, "the steps of a build can't be written down");
        }
    }
}

/// Writes down what one build makes.
pub(super) struct Writer(tokio::task::JoinHandle<Steps>);

impl Writer {
    /// The build has ended: all is written down.
    pub(super) async fn end(self, is_done: bool) {
        let Ok(mut steps) = self.0.await else { return };
        let Some(trace) = steps.traces.last_mut() else { return };
        if is_done && !(trace.images.is_empty() && trace.containers.is_empty()) {
            trace.is_done = true;
            steps.save();
        }
    }
}

/// What is known of all apps.
pub(super) fn all(folder: &Path) -> Vec<Trace> {
    blocking(|| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
        paths.sort();
        paths.iter().flat_map(|path| read(path)).collect()
    })
}

fn read(path: &Path) -> Vec<Trace> {
    let known = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    known.unwrap_or_default()
}

fn replace(path: &Path, traces: &[Trace]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension("new");
    let file = fs::File::create(&unfinished)?;
    serde_json::to_writer(&file, traces)?;
    file.sync_data()?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_build_makes_is_written_down_while_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let (app, place) = (AppName::new("page").unwrap(), folder.path().join("steps"));
        let at = Timestamp::from_millis;
        let (sink, writer) = Steps::begin(&place, &app, at(1));
        assert!(all(&place).is_empty(), "a build that makes nothing leaves nothing");
        sink.send(StepMade::Image("a".to_owned())).await.unwrap();
        sink.send(StepMade::Container("c".to_owned())).await.unwrap();
        drop(sink);
        writer.end(true).await;
        // The next one is interrupted: nobody says that it has ended.
        let (sink, writer) = Steps::begin(&place, &app, at(2));
        sink.send(StepMade::Image("b".to_owned())).await.unwrap();
        drop(sink);
        drop(writer.0.await.unwrap());
        let known = all(&place);
        let seen: Vec<_> = known.iter().map(|t| (t.since, t.is_done, t.images.join(" "))).collect();
        assert_eq!(seen, [(at(1), true, "a".to_owned()), (at(2), false, "b".to_owned())]);
        assert_eq!(known[0].containers, ["c"]);
        fs::write(place.join("page.json"), "{").unwrap();
        assert!(all(&place).is_empty());
    }
}
