//! `berth suspend`, `berth resume`: `spec.suspend` of a manifest, its comments kept.

use serde_json::{Value, json};

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
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(
    is_suspended: bool,
    args: &Args,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let name = &args.name;
    let path = format!("/api/v1/apps/{name}");
    // Null takes the field out. What the manifest says by now the controller knows best.
    let wanted = if is_suspended { json!(true) } else { Value::Null };
    let patch = json!({ "spec": { "suspend": wanted } });
    let content = ("application/merge-patch+json", patch.to_string().into_bytes());
    let done = server.patch(&args.dry.path(&path), content).await?;
    if args.dry.dry_run {
        dry::show(&format!("app/{name}"), &done, output)?;
        return Ok(Exit::Done);
    }
    let file = plain(text(&done, "/file"));
    if text(&done, "/result") == "unchanged" {
        let so = if is_suspended { "suspended already" } else { "not suspended" };
        return output.line(&format!("app/{name} is {so}")).map(|()| Exit::Done);
    }
    let so = if is_suspended { "suspended" } else { "resumed" };
    output.line(&format!("app/{name} is {so} ({file})"))?;
    output.hint(&if is_suspended {
        format!("berth resume {name}")
    } else {
        format!("berth wait {name}")
    });
    Ok(Exit::Done)
}
