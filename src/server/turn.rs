//! A connection that speaks something else than HTTP once a request was answered: whoever answers
//! that request takes it over. It stays one of the connections that are counted and limited.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is left of a connection: bytes both ways.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// What is done with it. What was read of it already comes along.
type Taker = Box<dyn FnOnce(Box<dyn Line>, Vec<u8>) -> BoxFuture<'static, ()> + Send>;

/// Goes with each request whose connection can be taken over.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<Mutex<Option<Taker>>>);

impl Turn {
    /// Has the connection taken over once this request was answered with 101.
    pub(super) fn give<F>(&self, taker: impl FnOnce(Box<dyn Line>, Vec<u8>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let taker: Taker = Box::new(move |line, read| Box::pin(taker(line, read)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taker);
    }

    /// Who takes it over, if somebody does.
    pub(super) fn taker(&self) -> Option<Taker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
