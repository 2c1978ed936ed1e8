//! `berth delete`: an app's manifest, and with it the app.

use std::io::{BufRead as _, IsTerminal as _};

use super::{
    document::text,
    dry::{self, Dry},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The apps.
    #[arg(required = true, value_parser = app_name, add = super::completion::apps())]
    names: Vec<AppName>,
    /// Keep its workspace and its volumes, as is done anyway.
    #[arg(long)]
    keep_data: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let mut worst = Exit::Done;
    for name in &args.names {
        if args.dry.dry_run {
            let path = args.dry.path(&format!("/api/v1/apps/{name}"));
            match server.delete(&path).await {
                Ok(done) => dry::show(&format!("app/{name}"), &done, output)?,
                Err(error) if error.exit() == Exit::Unreachable => return Err(error),
                Err(error) => worst = worst.max(output.fail(&error)),
            }
            continue;
        }
        if !args.yes && !is_confirmed(name, output)? {
            output.remark(&format!("app/{name} stays"));
            worst = worst.max(Exit::NotSo);
            continue;
        }
        match server.delete(&format!("/api/v1/apps/{name}")).await {
            Ok(done) => {
                let file = plain(text(&done, "/file"));
                output.line(&format!("app/{name} removed ({file})"))?;
            }
            Err(error) if error.exit() == Exit::Unreachable => return Err(error),
            Err(error) => worst = worst.max(output.fail(&error)),
        }
    }
    Ok(worst)
}

/// Asks the person at the terminal. Without one, there is nobody to ask.
fn is_confirmed(name: &AppName, output: &mut Output) -> Result<bool, Error> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let error = Error::new(Exit::Trouble, format!("removing `{name}` needs a yes"));
        return Err(error.code("cli.no-terminal").fix("pass --yes"));
    }
    output.remark(&format!(
        "This removes the manifest of `{name}` and its containers; its data stays. Type `yes` to go on:"
    ));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
