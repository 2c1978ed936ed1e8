//! `berth start`, `stop`, `restart`, `install`, `rebuild`, `reconcile`: one thing asked of one app.

use super::{
    document::{list, text},
    dry::{self, Dry},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    #[command(flatten)]
    dry: Dry,
}

/// What `reconcile` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Reconcile {
    /// The app; all of them when none is named.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: Option<AppName>,
    /// Read the manifests first, from folder and repositories.
    #[arg(long)]
    with_source: bool,
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(
    action: &str,
    args: &Args,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    ask(action, &args.name, args.dry, server, output).await?;
    let name = &args.name;
    if !args.dry.dry_run {
        output.hint(&match action {
            "stop" => format!("berth start {name}"),
            "install" | "rebuild" => format!("berth logs {name} --build -f"),
            _ => format!("berth wait {name}"),
        });
    }
    Ok(Exit::Done)
}

/// Has apps looked at now.
pub(super) async fn reconcile(
    args: &Reconcile,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    if args.with_source {
        let answer = server.post(&args.dry.path("/api/v1/rescan")).await?;
        output.line(&format!("manifests: {}", plain(text(&answer, "/message"))))?;
    }
    if let Some(name) = &args.name {
        ask("reconcile", name, args.dry, server, output).await?;
        return Ok(Exit::Done);
    }
    let mut worst = Exit::Done;
    for app in list(&server.get("/api/v1/apps").await?, "/items") {
        let Ok(name) = AppName::new(text(app, "/metadata/name")) else { continue };
        match ask("reconcile", &name, args.dry, server, output).await {
            Ok(()) => {}
            Err(error) if error.exit() == Exit::Unreachable => return Err(error),
            Err(error) => worst = worst.max(output.fail(&error)),
        }
    }
    Ok(worst)
}

async fn ask(
    action: &str,
    name: &AppName,
    dry: Dry,
    server: &Server,
    output: &mut Output,
) -> Result<(), Error> {
    let path = format!("/api/v1/apps/{name}/{action}");
    let done = server.post(&dry.path(&path)).await?;
    if dry.dry_run {
        return dry::show(&format!("app/{name}"), &done, output);
    }
    output.line(&format!("app/{name}: {}", plain(text(&done, "/message"))))
}
