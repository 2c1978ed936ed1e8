//! `berth plan`: what the next pass would do, and why; with `-f`, what manifests would change.

use std::{fmt::Write as _, path::PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    apply,
    document::{self, list, text},
    error::{Error, Exit},
    get,
    output::{Output, plain, plain_lines},
    server::{Server, app_name},
    unified, validate,
};
use crate::model::AppName;
use crate::plan::plans_id;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when none is named.
    #[arg(value_parser = app_name, conflicts_with = "filename", add = super::completion::apps())]
    name: Option<AppName>,
    /// Files and folders with manifests that are not applied yet; `-` is standard input.
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// How the plan is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As text: what is done, in which order, and why.
    Text,
    /// As differences of the manifests with all defaults, as `diff -u` or `BERTH_EXTERNAL_DIFF`
    /// writes them.
    Unified,
    /// As the API's document.
    Json,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    if !args.filename.is_empty() {
        return of_files(args, server, output).await;
    }
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
        (Format::Unified, Some(_)) => show_changes(&[document], output)?,
        (Format::Unified, None) => show_changes(list(&document, "/items"), output)?,
        (Format::Text, Some(_)) => output.line(&plain_lines(text(&document, "/text")))?,
        (Format::Text, None) => show(list(&document, "/items"), text(&document, "/id"), output)?,
    }
    match trouble {
        Some(error) => Err(error),
        None if is_different => Ok(Exit::NotSo),
        None => Ok(Exit::Done),
    }
}

/// What manifests would change that are not applied yet.
async fn of_files(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let files = validate::read(&args.filename)?;
    if 0 < validate::check(&files, output).mistakes {
        return Err(Error::new(Exit::Trouble, "there is no plan: the manifests have mistakes"));
    }
    let tried = try_all(&apply::documents(&files), server).await?;
    let plans: Vec<_> = tried.iter().flat_map(|(_, tried)| list(tried, "/items")).collect();
    let plans: Vec<Value> = plans.into_iter().cloned().collect();
    let id = id(&tried);
    let is_different = plans.iter().any(|plan| plan["hasDifferences"] == true)
        || tried.iter().any(|(_, tried)| text(tried, "/result") != "unchanged");
    let is_different = match args.output {
        Format::Json => {
            let all = json!({ "id": id, "hasDifferences": is_different, "items": plans });
            document::write(output, &all, false)?;
            is_different
        }
        Format::Text => {
            show(&plans, &id, output)?;
            is_different
        }
        Format::Unified => show_texts(&tried, output)?,
    };
    Ok(if is_different { Exit::NotSo } else { Exit::Done })
}

/// What would come of each of these manifests.
pub(super) async fn try_all(
    documents: &[(AppName, Vec<u8>)],
    server: &Server,
) -> Result<Vec<(AppName, Value)>, Error> {
    let mut tried = Vec::new();
    for (name, content) in documents {
        let path = format!("/api/v1/apps/{name}?dryRun=true");
        let answer = server.put(&path, ("application/yaml", content.clone())).await?;
        tried.push((name.clone(), answer));
    }
    Ok(tried)
}

/// What these plans together are called.
pub(super) fn id(tried: &[(AppName, Value)]) -> String {
    plans_id(&tried.iter().map(|(_, tried)| text(tried, "/id")).collect::<Vec<_>>())
}

fn show(plans: &[Value], id: &str, output: &mut Output) -> Result<(), Error> {
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
        "Plan: {create} to create, {replace} to replace, {remove} to remove, {others} other. Nothing was changed.   plan {}",
        plain(id)
    ))
}

/// Fields that differ, as lines that go and lines that come.
fn show_changes(plans: &[Value], output: &mut Output) -> Result<(), Error> {
    for plan in plans.iter().filter(|plan| plan["hasDifferences"] == true) {
        let app = text(plan, "/app");
        let mut shown = format!("--- app/{app} (runs)\n+++ app/{app} (wanted)\n");
        let _ = writeln!(shown, "@@ {} @@", text(plan, "/verb"));
        for change in list(plan, "/changes") {
            let field = text(change, "/field");
            for (mark, side) in [('-', text(change, "/from")), ('+', text(change, "/to"))] {
                if !side.is_empty() {
                    let _ = writeln!(shown, "{mark}{field}: {side}");
                }
            }
        }
        output.line(&plain_lines(&shown))?;
    }
    Ok(())
}

/// The differences of manifests with all defaults. Whether there are some.
fn show_texts(tried: &[(AppName, Value)], output: &mut Output) -> Result<bool, Error> {
    let yaml = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        value => document::yaml(value),
    };
    let mut texts = Vec::new();
    for (name, tried) in tried {
        texts.push((name.to_string(), yaml(&tried["before"])?, yaml(&tried["after"])?));
    }
    if let Some(program) = unified::program() {
        return unified::external(&program, &texts);
    }
    let mut is_different = false;
    for (name, before, after) in &texts {
        let (from, to) = (format!("app/{name} (now)"), format!("app/{name} (then)"));
        let shown = unified::unified((&from, before), (&to, after));
        if !shown.is_empty() {
            is_different = true;
            output.line(&plain_lines(shown.trim_end()))?;
        }
    }
    Ok(is_different)
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
