//! `berth start`, `stop`, `restart`, `rebuild`, `reconcile`: one thing asked of one app.

use super::{
    document::text,
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name)]
    name: AppName,
}

pub(super) async fn run(
    action: &str,
    args: &Args,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let name = &args.name;
    let done = server.post(&format!("/api/v1/apps/{name}/{action}")).await?;
    output.line(&format!("app/{name}: {}", plain(text(&done, "/message"))))?;
    Ok(Exit::Done)
}
