//! `berth confirm`: go on with another engine, or with removals that are held back.

use super::{
    document::text,
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};

pub(super) async fn run(server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let done = server.post("/api/v1/confirm").await?;
    output.line(&plain(text(&done, "/message")))?;
    Ok(Exit::Done)
}
