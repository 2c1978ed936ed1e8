//! `berth models fetch`: the controller fetches models from elsewhere, and this tells how far it is.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::progress::Progress;
use crate::cli::{
    document::{list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
    steps::Style,
};

/// How often it is asked how far it is.
const PAUSE: Duration = Duration::from_millis(300);

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From where: `https://…`, `berth+https://host/project/app@version[/file]`, or
    /// `hf://namespace/repository@revision[/file]`.
    from: String,
    /// What it becomes: project/app@version, of a single file with /name.
    #[arg(long = "as", value_name = "NAME")]
    to: String,
    /// The digest that a single file must have; needed where the server says none.
    #[arg(long, value_name = "DIGITS")]
    sha256: Option<String>,
    /// The file with the token to sign in with there.
    #[arg(long, value_name = "FILE")]
    from_token_file: Option<PathBuf>,
    /// The server that hf:// means [default: the Hub].
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Only if there is none of these names.
    #[arg(long)]
    create_only: bool,
    /// Don't wait until it is there.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let token = args.from_token_file.as_ref().map(|path| {
        let unreadable = |error: std::io::Error| {
            Error::new(Exit::Trouble, format!("{} can't be read", path.display()))
                .why(error.to_string())
        };
        std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(unreadable)
    });
    let asked = json!({
        "from": args.from,
        "as": args.to,
        "sha256": args.sha256,
        "token": token.transpose()?,
        "endpoint": args.endpoint,
        "createOnly": args.create_only,
    });
    let content = ("application/json", asked.to_string().into_bytes());
    let begun = server.post_with("/api/v1/models/pull", content).await?;
    let id = begun["id"].as_u64().unwrap_or_default();
    if args.no_wait {
        output.line(&plain(&format!("pull {id} of {} begun", text(&begun, "/from"))))?;
        return Ok(Exit::Done);
    }
    let over = wait(id, output.progress(), server).await?;
    let (from, to) = (text(&over, "/from"), text(&over, "/as"));
    match text(&over, "/phase") {
        "done" => {
            let files = over["filesDone"].as_u64().unwrap_or_default();
            let size = crate::model::format_bytes(over["bytes"].as_u64().unwrap_or_default());
            output.line(&plain(&format!("{to} is {from}: {files} files, {size}")))?;
            Ok(Exit::Done)
        }
        phase => {
            let what = plain(&format!("{to} is not there: {phase}"));
            Err(Error::new(Exit::NotSo, what).why(plain(text(&over, "/error"))))
        }
    }
}

/// Waits until it is over; answers how it stands then.
async fn wait(id: u64, style: Style, server: &Server) -> Result<Value, Error> {
    let mut progress: Option<(Progress, u64)> = None;
    loop {
        let all = server.get("/api/v1/models/pulls").await?;
        let found = list(&all, "/items").iter().find(|pull| pull["id"].as_u64() == Some(id));
        let gone =
            || Error::new(Exit::NotSo, "the controller has forgotten it: look what is there");
        let pull = found.ok_or_else(gone)?;
        let bytes = pull["bytes"].as_u64().unwrap_or_default();
        if let Some(size) = pull["size"].as_u64() {
            let begun = || (Progress::new(style, text(pull, "/as"), size, 0), 0);
            let (progress, shown) = progress.get_or_insert_with(begun);
            progress.add(bytes.saturating_sub(*shown));
            *shown = bytes.max(*shown);
        }
        if !matches!(text(pull, "/phase"), "waiting" | "running") {
            if let Some((progress, _)) = &progress {
                progress.end();
            }
            return Ok(pull.clone());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
