//! The reader of `.dockerignore`, with what it takes from its surroundings.

#[path = "../../../../src/workspace/ignore.rs"]
pub(crate) mod ignore;

/// No more of a `.dockerignore` is read; `src/workspace/context.rs` has the same number.
pub(crate) const IGNORE_BYTES: usize = 64 << 10;

mod context {
    /// The one error that the reader gives.
    #[derive(Debug)]
    #[allow(dead_code, reason = "nobody looks inside")]
    pub(crate) enum Error {
        BadPattern { line: usize, text: String },
    }
}
