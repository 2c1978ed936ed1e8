//! `berth open`: an app's address, shown in a browser where there is one.

use std::{env, process::Stdio};

use super::{
    document::text,
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// What opens an address, where nobody says: of the desktop, then of macOS.
const USUAL: [&str; 2] = ["xdg-open", "open"];

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// Only print the address.
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let name = &args.name;
    let app = server.get(&format!("/api/v1/apps/{name}")).await?;
    let url = text(&app, "/status/url");
    // Only what Berth itself makes is handed to another program.
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let phase = text(&app, "/status/phase");
        return Err(Error::new(Exit::NotSo, format!("`{name}` has no address: it is {phase}"))
            .why(text(&app, "/status/message"))
            .fix(format!("`berth status {name}` says more; `spec.port` gives an app a port")));
    }
    output.line(&plain(url))?;
    if !args.print && output.is_terminal() && !open(url) {
        output.remark("no program was found that opens it: copy the address");
    }
    Ok(Exit::Done)
}

/// Starts a browser, and does not wait for it. Whether one was found.
fn open(url: &str) -> bool {
    let own = env::var("BROWSER").ok().filter(|program| !program.is_empty());
    let programs = own.iter().map(String::as_str).chain(USUAL);
    let start = |program: &str| {
        let mut command = std::process::Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    programs.into_iter().any(|program| start(program).is_ok())
}
