//! The threads that serve. They are the server's own: an answer does not wait behind the passes of
//! hundreds of apps, which may keep every other thread busy for a moment, and the other way round.

use std::{future::Future, io, num::NonZero};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use super::Error;

/// More serve nothing faster: what takes long waits on threads of its own.
const THREADS_MAX: usize = 4;

/// A runtime that lives as long as this.
#[derive(Debug)]
pub(super) struct Rooms(Option<Runtime>);

impl Rooms {
    pub(super) fn new() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(cores.min(THREADS_MAX)).thread_name("berth-server").enable_all();
        let what = "failed to begin the threads of the server".to_owned();
        let runtime = builder.build().map_err(|source| Error::Io { what, source })?;
        Ok(Self(Some(runtime)))
    }

    /// Runs something there.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }

    /// Runs something there to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let what = "failed to begin to serve".to_owned();
        let ended = |error| Error::Io { what, source: io::Error::other(error) };
        self.spawn(task).await.map_err(ended)?
    }
}

impl Drop for Rooms {
    /// A runtime must not be waited for by a task of another.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    /// Whoever asks is answered while every thread of the passes is busy: here there is one, and it
    /// waits for the answer without letting anything else run.
    #[tokio::test]
    async fn what_serves_does_not_wait_for_other_threads() {
        let rooms = Rooms::new().unwrap();
        let (tell, told) = mpsc::channel();
        rooms.spawn(async move { tell.send(()).unwrap() });
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        let failed: Result<(), _> = rooms.run(async { Err(Error::Metrics("no".to_owned())) }).await;
        assert!(matches!(failed, Err(Error::Metrics(_))));
    }
}
