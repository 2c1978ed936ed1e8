//! A connection on which the kernel sends the contents of models by itself.
//!
//! What is written and is a part of such a file is sent by `sendfile(2)`, from the page cache,
//! without being copied or even mapped; all else is written as it is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::store::file_of;

/// Shorter parts are not looked up: to write them costs less.
const SENT_MIN: usize = 16 << 10;

/// Whether the kernel would take more now. To ask costs far less than to try a `sendfile(2)` that
/// can't send; and where it says no, it tells when there is room again.
fn has_room(stream: &TcpStream) -> io::Result<bool> {
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    Ok(0 < rustix::event::poll(&mut asked, Some(&Timespec::default()))?)
}

/// A connection.
pub(super) struct Direct(TcpStream);

impl Direct {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for Direct {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Direct {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let known =
            |part: &io::IoSlice<'_>| (SENT_MIN <= part.len()).then(|| file_of(part)).flatten();
        let found = parts.iter().enumerate().find_map(|(nth, part)| Some((nth, known(part)?)));
        let (file, from) = match found {
            None => return Pin::new(&mut self.0).poll_write_vectored(cx, parts),
            Some((0, found)) => found,
            // What stands before it goes first.
            Some((nth, _)) => return Pin::new(&mut self.0).poll_write_vectored(cx, &parts[..nth]),
        };
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let mut sent = 0;
            let tried = self.0.try_io(Interest::WRITABLE, || {
                let mut at = from;
                sent = rustix::fs::sendfile(&self.0, &*file, Some(&mut at), parts[0].len())?;
                // Less may have been sent for other reasons than that there is no more room.
                if 0 < sent && sent < parts[0].len() && !has_room(&self.0)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match tried {
                _ if 0 < sent => return Poll::Ready(Ok(sent)),
                // The file has become shorter: nobody may do that, and it is not sent as if whole.
                Ok(()) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::store::lend;

    /// What lies in memory is another thing than what the file has, to see which of them is sent.
    #[tokio::test]
    async fn parts_of_files_are_sent_by_the_kernel_and_all_else_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut direct = Direct::new(listener.accept().await.unwrap().0);
        let file = tempfile::NamedTempFile::new().unwrap();
        let size = 3 << 20;
        std::fs::write(file.path(), vec![b'f'; size]).unwrap();
        let whole = lend(vec![b'm'; size], Arc::new(file.reopen().unwrap()));
        let reading = tokio::spawn(async move {
            let mut said = Vec::new();
            reader.read_to_end(&mut said).await.unwrap();
            said
        });
        let (head, tail) = (b"head", b"tail");
        let mut parts = [&head[..], &whole[1000..], &tail[..]].map(io::IoSlice::new);
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            let written =
                std::future::poll_fn(|cx| Pin::new(&mut direct).poll_write_vectored(cx, parts));
            let written = written.await.unwrap();
            io::IoSlice::advance_slices(&mut parts, written);
        }
        // A short part is not looked up.
        direct.write_all(&whole[..10]).await.unwrap();
        drop(direct);
        let said = reading.await.unwrap();
        let sent = said.split(|byte| *byte == b'f').count() - 1;
        assert_eq!(said.len(), 4 + size - 1000 + 4 + 10);
        // The last of it may be too short to be looked up.
        assert!(size - 1000 - SENT_MIN < sent && sent <= size - 1000, "{sent}");
        assert!(said.starts_with(head) && said.ends_with(b"tailmmmmmmmmmm"));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_breaks_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut direct = Direct::new(listener.accept().await.unwrap().0);
        let whole = lend(vec![b'm'; 1 << 20], Arc::new(tempfile::tempfile().unwrap()));
        let parts = [io::IoSlice::new(&whole)];
        let written =
            std::future::poll_fn(|cx| Pin::new(&mut direct).poll_write_vectored(cx, &parts)).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
