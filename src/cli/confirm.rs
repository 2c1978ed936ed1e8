//! `berth confirm`: go on with another engine, or with removals that are held back.

use super::{
    document::text,
    dry::{self, Dry},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let done = server.post(&args.dry.path("/api/v1/confirm")).await?;
    if args.dry.dry_run {
        dry::show("", &done, output)?;
    } else {
        output.line(&plain(text(&done, "/message")))?;
    }
    Ok(Exit::Done)
}
