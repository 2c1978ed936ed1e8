//! One connection: one request, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};

use super::{
    ANSWERS_KEPT, EventRule, Hook, Moment, Outcome, Proxy, Wire,
    events::Events,
    message::{Head, end_of_head, learn},
};

/// The longest head that is read.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long an event is held back for another one to come before it.
const SWAP_WAIT: Duration = Duration::from_millis(200);

/// A request whose body is still on its way.
pub(super) struct Request<S> {
    pub(super) head: Head,
    /// What has come of the body.
    begun: Vec<u8>,
    pub(super) from: ReadHalf<S>,
    pub(super) to: WriteHalf<S>,
}

impl Proxy {
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
    ) {
        let (mut from, to) = tokio::io::split(stream);
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = end_of_head(&bytes) {
                break end;
            }
            match from.read_buf(&mut bytes).await {
                Ok(1..) if bytes.len() < HEAD_BYTES_MAX => {}
                _ => return,
            }
        };
        let begun = bytes.split_off(end);
        let Some(head) = Head::parse(&bytes) else { return };
        let endpoint = head.endpoint();
        let about = head.about(&self.book().names);
        let outcome = self.decide(endpoint, about.clone());
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        // What goes wrong on the wire is what this is about; there is nobody to tell.
        let _ = self.act(outcome, endpoint, &about, Request { head, begun, from, to }).await;
    }

    async fn act<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        outcome: Outcome,
        endpoint: &'static str,
        about: &str,
        mut request: Request<S>,
    ) -> std::io::Result<()> {
        let is_stream = matches!(endpoint, "events" | "logs" | "build" | "pull" | "exec_start");
        if matches!(endpoint, "session" | "grpc") && request.head.is_upgrade {
            return self.turn(outcome, request).await;
        }
        match outcome {
            Outcome::Pass if endpoint == "events" => self.pass_events(request).await,
            Outcome::Pass if is_stream => self.relay(request).await,
            Outcome::Pass => {
                let answer = self.collect(endpoint, about, &mut request).await?;
                request.finish(&answer).await
            }
            Outcome::Refuse(_) | Outcome::Close => Ok(()),
            Outcome::Stall => {
                request.until_gone().await;
                Ok(())
            }
            Outcome::Lose => self.collect(endpoint, about, &mut request).await.map(drop),
            Outcome::StallDone => {
                self.collect(endpoint, about, &mut request).await?;
                request.until_gone().await;
                Ok(())
            }
            Outcome::Cut(percent) => {
                let answer = self.collect(endpoint, about, &mut request).await?;
                request.finish(&answer[..answer.len() * percent / 100]).await
            }
            Outcome::Drip(bytes, pause) => {
                let answer = self.collect(endpoint, about, &mut request).await?;
                for piece in answer.chunks(bytes) {
                    request.to.write_all(piece).await?;
                    request.to.flush().await?;
                    tokio::time::sleep(pause).await;
                }
                request.to.shutdown().await
            }
            Outcome::Late(time) => {
                tokio::time::sleep(time).await;
                self.relay(request).await
            }
            Outcome::Say(bytes) => {
                request.to.write_all(&bytes).await?;
                request.to.flush().await?;
                // What the client has still to say is heard, so that it reads the answer.
                request.to.shutdown().await?;
                request.until_gone().await;
                Ok(())
            }
            Outcome::Stale(ago) => {
                let answer = self.collect(endpoint, about, &mut request).await?;
                let older = self.older(endpoint, ago).unwrap_or(answer);
                request.finish(&older).await
            }
            Outcome::Do(moment, hook) => self.hook(moment, &hook, endpoint, about, request).await,
        }
    }

    async fn hook<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        moment: Moment,
        hook: &Hook,
        endpoint: &'static str,
        about: &str,
        mut request: Request<S>,
    ) -> std::io::Result<()> {
        match moment {
            Moment::Before => hook(),
            Moment::Sent => {
                let mut engine = self.send(&request).await?;
                engine.flush().await?;
                hook();
            }
            Moment::Done => {
                self.collect(endpoint, about, &mut request).await?;
                hook();
            }
            Moment::Mid => {
                let engine = self.send(&request).await?;
                let (mut answer, mut ask) = tokio::io::split(engine);
                let mut piece = vec![0; 64 << 10];
                let length = tokio::select! {
                    length = answer.read(&mut piece) => length?,
                    _ = tokio::io::copy(&mut request.from, &mut ask) => 0,
                };
                request.to.write_all(&piece[..length / 2]).await?;
                request.to.flush().await?;
                hook();
            }
        }
        Ok(())
    }

    /// Sends the request on, as far as it has come.
    pub(super) async fn send<S>(&self, request: &Request<S>) -> std::io::Result<Box<dyn Wire>> {
        let mut engine = (self.upstream)().await?;
        engine.write_all(&request.head.for_engine()).await?;
        engine.write_all(&request.begun).await?;
        Ok(engine)
    }

    /// Passes everything on as it comes. Whoever leaves ends it for the other.
    async fn relay<S: AsyncRead + AsyncWrite>(
        &self,
        mut request: Request<S>,
    ) -> std::io::Result<()> {
        let (mut answer, mut ask) = tokio::io::split(self.send(&request).await?);
        tokio::select! {
            passed = tokio::io::copy(&mut answer, &mut request.to) => passed?,
            left = tokio::io::copy(&mut request.from, &mut ask) => left?,
        };
        request.to.shutdown().await
    }

    /// Takes the whole answer, and remembers what it tells.
    async fn collect<S: AsyncRead + AsyncWrite>(
        &self,
        endpoint: &'static str,
        about: &str,
        request: &mut Request<S>,
    ) -> std::io::Result<Bytes> {
        let (mut from, mut ask) = tokio::io::split(self.send(request).await?);
        let mut answer = Vec::new();
        tokio::select! {
            done = from.read_to_end(&mut answer) => done.map(drop)?,
            // The client has left; the engine is left, too.
            left = tokio::io::copy(&mut request.from, &mut ask) => left.map(drop)?,
        }
        let answer = Bytes::from(answer);
        let mut book = self.book();
        learn(endpoint, about, &answer, &mut book.names);
        if endpoint.starts_with("list_") {
            let kept = book.answers.entry(endpoint).or_default();
            kept.push_front(answer.clone());
            kept.truncate(ANSWERS_KEPT);
        }
        Ok(answer)
    }

    /// The answer of so many requests ago, or the oldest that is known. The newest is of now.
    fn older(&self, endpoint: &str, ago: usize) -> Option<Bytes> {
        let book = self.book();
        let kept = book.answers.get(endpoint)?;
        kept.get(ago.min(kept.len().checked_sub(1)?)).cloned()
    }

    async fn pass_events<S: AsyncRead + AsyncWrite>(
        &self,
        mut request: Request<S>,
    ) -> std::io::Result<()> {
        let rule = self.book().events.clone();
        if rule == EventRule::AsTheyAre {
            return self.relay(request).await;
        }
        let (mut from, _ask) = tokio::io::split(self.send(&request).await?);
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = end_of_head(&head) {
                break end;
            }
            if from.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        };
        let first = head.split_off(end);
        request.to.write_all(&head).await?;
        let mut events = Events::new(rule);
        request.to.write_all(&events.take(&first)).await?;
        let mut piece = vec![0; 64 << 10];
        loop {
            request.to.flush().await?;
            let mut nothing = [0; 1];
            let read = tokio::select! {
                read = tokio::time::timeout(SWAP_WAIT, from.read(&mut piece)) => read,
                _ = request.from.read(&mut nothing) => return Ok(()),
            };
            let out = match read {
                Err(_) => events.release(),
                Ok(Ok(length @ 1..)) => events.take(&piece[..length]),
                Ok(_) => return request.to.shutdown().await,
            };
            request.to.write_all(&out).await?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Request<S> {
    pub(super) async fn finish(&mut self, answer: &[u8]) -> std::io::Result<()> {
        self.to.write_all(answer).await?;
        self.to.shutdown().await
    }

    /// Reads on until the client leaves.
    pub(super) async fn until_gone(&mut self) {
        let _ = tokio::io::copy(&mut self.from, &mut tokio::io::sink()).await;
    }
}
