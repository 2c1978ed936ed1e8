//! `berth plan`: what the next pass would do, and why.

use clap::ValueEnum;
use serde_json::Value;

use super::{
    document::{self, list, text},
    error::{Error, Exit},
    get,
    output::{Output, plain_lines},
    server::{Server, app_name},
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when none is named.
    #[arg(value_parser = app_name)]
    name: Option<AppName>,
    /// How the plan is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As text.
    Text,
    /// As the API's document.
    Json,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let (document, trouble) = if let Some(name) = &args.name {
        let app = server.get(&format!("/api/v1/apps/{name}")).await?;
        (server.get(&format!("/api/v1/apps/{name}/plan")).await?, trouble_of_app(&app))
    } else {
        let all = server.get("/api/v1/apps").await?;
        get::warn(&all, output);
        (server.get("/api/v1/plan").await?, trouble_of_all(&all))
    };
    let is_different = document["hasDifferences"] == true;
    match (args.output, &args.name) {
        (Format::Json, _) => document::write(output, &document, false)?,
        (Format::Text, Some(_)) => output.line(&plain_lines(text(&document, "/text")))?,
        (Format::Text, None) => show(list(&document, "/items"), output)?,
    }
    match trouble {
        Some(error) => Err(error),
        None if is_different => Ok(Exit::NotSo),
        None => Ok(Exit::Done),
    }
}

fn show(plans: &[Value], output: &mut Output) -> Result<(), Error> {
    let count = |verb: &str| plans.iter().filter(|plan| text(plan, "/verb") == verb).count();
    let different: Vec<_> = plans.iter().filter(|plan| plan["hasDifferences"] == true).collect();
    for plan in &different {
        output.line(&plain_lines(text(plan, "/text")))?;
    }
    let (create, replace, remove) = (count("create"), count("replace"), count("remove"));
    let others = different.len().saturating_sub(create + replace + remove);
    if different.is_empty() {
        return output.line("Everything is as wanted.");
    }
    output.line(&format!(
        "Plan: {create} to create, {replace} to replace, {remove} to remove, {others} other. Nothing was changed."
    ))
}

/// Why the plan of an app is not what its manifest asks for.
fn trouble_of_app(app: &Value) -> Option<Error> {
    let exit = match text(app, "/status/reason") {
        "InvalidManifest" | "DuplicateName" | "SourceUnreadable" => Exit::Trouble,
        "EngineUnreachable" => Exit::Unreachable,
        _ => return None,
    };
    Some(Error::new(exit, "the plan could not be made").why(text(app, "/status/message")))
}

fn trouble_of_all(all: &Value) -> Option<Error> {
    if all.pointer("/engine/reachable") == Some(&Value::Bool(false)) {
        let error = Error::new(Exit::Unreachable, "the plan could not be made");
        return Some(
            error.why(format!("the engine does not answer: {}", text(all, "/engine/error"))),
        );
    }
    let is_mistake = |diagnostic: &Value| text(diagnostic, "/severity") == "error";
    let mistakes = list(all, "/source/diagnostics").iter().filter(|d| is_mistake(d)).count();
    if mistakes == 0 && text(all, "/source/error").is_empty() {
        return None;
    }
    Some(Error::new(Exit::Trouble, "the plan is not complete: the manifests could not all be used"))
}
