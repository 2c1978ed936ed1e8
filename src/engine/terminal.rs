//! A command that somebody runs in a container by hand, and talks with.

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio::io::AsyncWrite;

use super::Error;

/// The variable of the environment by which a command's processes are found again.
pub(super) const MARK: &str = "BERTH_TERMINAL";

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The command, word by word.
    pub command: Vec<String>,
    /// Whether it gets a terminal; what it writes is one stream then.
    pub has_terminal: bool,
    /// Whether it can be written to.
    pub has_input: bool,
    /// How large its terminal is.
    pub size: Option<Size>,
    /// What tells its processes from others: letters and digits.
    pub mark: String,
}

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many columns it has.
    pub columns: u16,
    /// How many rows it has.
    pub rows: u16,
}

/// Something that a command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// To its output, or to its terminal.
    Out(Bytes),
    /// To its output for errors.
    Err(Bytes),
}

/// A command that runs.
pub struct Terminal {
    /// What is written here, it reads. It reads an end when this is shut down, unless it has a
    /// terminal.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it writes, until it ends.
    pub output: BoxStream<'static, Result<Written, Error>>,
    /// What else can be done with it.
    pub control: Box<dyn Control>,
}

/// What can be done with a command that runs.
pub trait Control: Send + Sync {
    /// Makes its terminal so large.
    fn resize(&self, size: Size) -> BoxFuture<'_, Result<(), Error>>;

    /// Its exit code, once its output has ended. None when nobody knows: its container is gone.
    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, Error>>;

    /// Tells its processes that nobody is there any more, as a telephone line does that is cut.
    fn hang_up(&self) -> BoxFuture<'_, Result<(), Error>>;
}
