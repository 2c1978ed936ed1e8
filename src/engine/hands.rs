//! What people do by hand to one container, whoever made it.
//!
//! It is apart from [`Engine`](super::Engine), which is all that passes have: no pass can touch
//! what is not ours, because it has no way to. Only a request of an operator comes here.

use futures_util::future::BoxFuture;

use super::terminal::{Asked, Terminal};
use super::{Applied, Error};
use crate::model::Protocol;
use crate::state::ContainerId;

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is started.
    Start,
    /// It is stopped, with the patience that it was made with.
    Stop,
    /// It is removed, running or not; its volumes stay.
    Remove,
}

/// What a container uses at present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Percent of one processor.
    pub cpu_percent: f64,
    /// Bytes of memory, without cache that was not used lately.
    pub memory: u64,
    /// How many bytes it may use; those of the host when nobody said.
    pub memory_limit: u64,
    /// Bytes received since its start.
    pub received: u64,
    /// Bytes sent since its start.
    pub sent: u64,
}

/// The ports that an image says it listens on.
pub type Exposed = Vec<(u16, Protocol)>;

/// An engine, as people use it by hand.
pub trait Hands: Send + Sync + 'static {
    /// Does it, whoever made the container. What is so already, or gone, is stopped and removed
    /// without an effect; what is gone can't be started.
    fn act<'a>(&'a self, id: &'a ContainerId, deed: Deed) -> BoxFuture<'a, Result<Applied, Error>>;

    /// Has everything in a running container stand still, or go on. What stands still, or goes on,
    /// already does so without an effect.
    fn pause<'a>(
        &'a self,
        id: &'a ContainerId,
        is_paused: bool,
    ) -> BoxFuture<'a, Result<Applied, Error>>;

    /// What a running container uses. None when it is gone.
    fn load<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Load>, Error>>;

    /// Runs a command in a running container, to be talked with. It has the rights of the
    /// container and no more.
    fn open_terminal<'a>(
        &'a self,
        id: &'a ContainerId,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Terminal, Error>>;

    /// The ports that an image says it listens on. None when it is not here.
    fn exposed<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<Exposed>, Error>>;
}
