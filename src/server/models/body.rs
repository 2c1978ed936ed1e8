//! A content on its way out: slices that are in memory before they are sent, two ahead.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::store::{Content, SLICE, Store};

/// How many slices are made ready ahead.
const AHEAD: usize = 2;
/// Less than that is not left to the kernel: to say what is meant costs more.
const LENT_MIN: u64 = 256 << 10;
/// How long a slice is that is left to the kernel: nobody holds its bytes.
const LENT_SLICE: usize = 4 << 20;

/// What is sent: text, or bytes of the content, from a first one up to before a last one.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Bytes),
    Slice(u64, u64),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Self::Slice(from, to) => to - from,
        }
    }
}

/// Gets a slice ready. Who sends it must not wait for the disk.
fn take(content: Content, lent: Option<&Bytes>, at: u64, length: usize) -> Ahead {
    let from = usize::try_from(at).unwrap_or(usize::MAX);
    let Some(slice) = lent.map(|whole| whole.slice(from..from + length)) else {
        return Ahead::Coming(tokio::task::spawn_blocking(move || content.slice(at, length)));
    };
    if content.is_cached(at, length) {
        return Ahead::Ready(slice);
    }
    let fetching = move || content.fetch(at, length).map(|()| slice);
    Ahead::Coming(tokio::task::spawn_blocking(fetching))
}

enum Ahead {
    Ready(Bytes),
    Coming(JoinHandle<io::Result<Bytes>>),
}

/// The body of a download.
pub(super) struct Sending {
    store: Arc<Store>,
    content: Content,
    /// All of it, where slices are left to the kernel.
    lent: Option<Bytes>,
    pieces: VecDeque<Piece>,
    ahead: VecDeque<Ahead>,
    left: u64,
}

impl Sending {
    pub(super) fn new(store: Arc<Store>, content: Content, pieces: VecDeque<Piece>) -> Self {
        let left = pieces.iter().map(Piece::length).sum();
        let lent = if LENT_MIN <= left { content.lent() } else { None };
        Self { store, content, lent, pieces, ahead: VecDeque::with_capacity(AHEAD), left }
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.left
    }

    pub(super) fn boxed(self) -> axum::body::Body {
        axum::body::Body::new(UnsyncBoxBody::new(self))
    }

    fn fill(&mut self) {
        while self.ahead.len() < AHEAD {
            let Some(piece) = self.pieces.front_mut() else { return };
            let next = match piece {
                Piece::Text(text) => Ahead::Ready(std::mem::take(text)),
                Piece::Slice(from, to) => {
                    let most = if self.lent.is_some() { LENT_SLICE } else { SLICE };
                    let length = usize::try_from(*to - *from).unwrap_or(most).min(most);
                    let (content, at) = (self.content.clone(), *from);
                    *from += u64::try_from(length).unwrap_or(u64::MAX);
                    if from == to {
                        self.pieces.pop_front();
                    }
                    let next = take(content, self.lent.as_ref(), at, length);
                    self.ahead.push_back(next);
                    continue;
                }
            };
            self.ahead.push_back(next);
            self.pieces.pop_front();
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        this.fill();
        let bytes = match this.ahead.front_mut() {
            None => return Poll::Ready(None),
            Some(Ahead::Ready(bytes)) => Ok(std::mem::take(bytes)),
            Some(Ahead::Coming(task)) => {
                ready!(Pin::new(task).poll(cx)).map_err(io::Error::other).flatten()
            }
        };
        this.ahead.pop_front();
        this.fill();
        let bytes = bytes.inspect_err(|error| {
            tracing::error!(%error, "a model broke off while it was sent");
        })?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        this.left = this.left.saturating_sub(length);
        this.store.count_sent(length);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
