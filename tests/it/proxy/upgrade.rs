//! A connection that becomes another one: the engine answers 101, and both sides go on in a protocol
//! of their own, HTTP/2 for the sessions of builds. It has no end of its own, so that what is done to
//! an answer is done to its head, and to the first bytes that come after it.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    Moment, Outcome, Proxy, Wire,
    message::end_of_head,
    serve::{HEAD_BYTES_MAX, Request},
};

/// From this part on, in percent, it is what follows the head that is cut.
const HEAD_PART: usize = 50;

impl Proxy {
    pub(super) async fn turn<S: AsyncRead + AsyncWrite>(
        &self,
        outcome: Outcome,
        mut request: Request<S>,
    ) -> std::io::Result<()> {
        match outcome {
            Outcome::Refuse(_) | Outcome::Close => return Ok(()),
            Outcome::Stall => {
                request.until_gone().await;
                return Ok(());
            }
            Outcome::Say(bytes) => {
                request.finish(&bytes).await?;
                request.until_gone().await;
                return Ok(());
            }
            Outcome::Do(Moment::Before, hook) => {
                hook();
                return Ok(());
            }
            Outcome::Late(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let mut engine = self.send(&request).await?;
        if let Outcome::Do(Moment::Sent, hook) = &outcome {
            engine.flush().await?;
            hook();
            return Ok(());
        }
        let head = head_of(&mut engine).await?;
        answer(outcome, &head, engine, request).await
    }
}

/// What comes of an answer whose head is there.
async fn answer<S: AsyncRead + AsyncWrite>(
    outcome: Outcome,
    head: &[u8],
    engine: Box<dyn Wire>,
    mut request: Request<S>,
) -> std::io::Result<()> {
    match outcome {
        Outcome::Lose => Ok(()),
        Outcome::StallDone => {
            request.until_gone().await;
            Ok(())
        }
        Outcome::Cut(percent @ ..HEAD_PART) => {
            request.finish(&head[..head.len() * percent / 100]).await
        }
        Outcome::Cut(_) => {
            request.to.write_all(head).await?;
            request.to.flush().await?;
            // The client speaks first; in the middle of what the engine answers it ends.
            let (mut answer, mut ask) = tokio::io::split(engine);
            let mut piece = [0; 16];
            tokio::select! {
                read = answer.read(&mut piece) => {
                    let half = read? / 2;
                    request.to.write_all(&piece[..half]).await?;
                }
                _ = tokio::io::copy(&mut request.from, &mut ask) => {}
            }
            request.to.shutdown().await
        }
        Outcome::Do(Moment::Done, hook) => {
            hook();
            Ok(())
        }
        Outcome::Do(_, hook) => {
            request.to.write_all(&head[..head.len() / 2]).await?;
            request.to.flush().await?;
            hook();
            Ok(())
        }
        Outcome::Drip(bytes, pause) => {
            for piece in head.chunks(bytes) {
                request.to.write_all(piece).await?;
                request.to.flush().await?;
                tokio::time::sleep(pause).await;
            }
            pass_on(engine, request).await
        }
        _ => {
            request.to.write_all(head).await?;
            request.to.flush().await?;
            pass_on(engine, request).await
        }
    }
}

/// All that the engine says up to the end of its head, and what came along with that.
async fn head_of(engine: &mut Box<dyn Wire>) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while end_of_head(&head).is_none() && head.len() < HEAD_BYTES_MAX {
        if engine.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Both ways until either side leaves: half a connection is of no use to the other.
async fn pass_on<S: AsyncRead + AsyncWrite>(
    engine: Box<dyn Wire>,
    mut request: Request<S>,
) -> std::io::Result<()> {
    let (mut answer, mut ask) = tokio::io::split(engine);
    tokio::select! {
        passed = tokio::io::copy(&mut answer, &mut request.to) => passed?,
        left = tokio::io::copy(&mut request.from, &mut ask) => left?,
    };
    request.to.shutdown().await
}
