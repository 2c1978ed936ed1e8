//! `berth apply`: manifests into the watched folder.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    document::{list, text},
    dry::{self, Dry},
    error::{Error, Exit},
    output::{Output, plain},
    plan,
    server::Server,
    validate, wait,
};
use crate::manifest;
use crate::model::{AppName, parse_duration};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders; `-` is standard input.
    #[arg(short, long, value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    /// Only when this is still what would be done: the id that `berth plan -f` said.
    #[arg(long, value_name = "ID")]
    expect_plan: Option<String>,
    /// Then wait until each of them is ready, for so long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1, default_missing_value = "5m")]
    wait: Option<Duration>,
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let files = validate::read(&args.filename)?;
    if 0 < validate::check(&files, output).mistakes {
        return Err(Error::new(Exit::Trouble, "nothing was applied: the manifests have mistakes"));
    }
    let apps = documents(&files);
    let expected = match &args.expect_plan {
        Some(id) => check(id, &apps, server).await?,
        None => vec![String::new(); apps.len()],
    };
    let (mut worst, mut applied) = (Exit::Done, Vec::new());
    for ((name, content), expected) in apps.into_iter().zip(expected) {
        let content = ("application/yaml", content);
        let path = args.dry.path(&format!("/api/v1/apps/{name}{expected}"));
        match server.put(&path, content).await {
            Ok(done) if args.dry.dry_run => dry::show(&format!("app/{name}"), &done, output)?,
            Ok(done) => {
                applied.push(name.clone());
                let (result, file) = (text(&done, "/result"), text(&done, "/file"));
                output.line(&format!("app/{name} {} ({})", plain(result), plain(file)))?;
                for warning in list(&done, "/warnings") {
                    output.warn(text(warning, "/message"));
                }
            }
            Err(error) if error.exit() == Exit::Unreachable => return Err(error),
            Err(error) => worst = worst.max(output.fail(&error)),
        }
    }
    if let Some(patience) = args.wait {
        return Ok(worst.max(wait_for(&applied, patience, server, output).await));
    }
    if let [name] = applied.as_slice() {
        output.hint(&format!("berth wait {name}, berth logs {name} -f"));
    }
    Ok(worst)
}

/// Waits for one after the other, all in the same time.
async fn wait_for(
    names: &[AppName],
    patience: Duration,
    server: &Server,
    output: &mut Output,
) -> Exit {
    let begun = tokio::time::Instant::now();
    let mut worst = Exit::Done;
    for name in names {
        let left = patience.saturating_sub(begun.elapsed());
        let ended = wait::until(name, &wait::Goal::ready(), left, (server, &mut *output)).await;
        worst = worst.max(ended.unwrap_or_else(|error| output.fail(&error)));
    }
    worst
}

/// Holds what would be done now against what was looked at; answers what each request says of it.
async fn check(
    id: &str,
    apps: &[(AppName, Vec<u8>)],
    server: &Server,
) -> Result<Vec<String>, Error> {
    let tried = plan::try_all(apps, server).await?;
    let now = plan::id(&tried);
    if now != id {
        let what = format!("nothing was applied: the plan is not {} any more", plain(id));
        return Err(Error::new(Exit::Refused, what)
            .code("plan.stale")
            .why(format!("by now it is {now}"))
            .fix("look at it again with `berth plan -f`"));
    }
    let one = |(_, tried): &(AppName, Value)| format!("?expectPlan={}", text(tried, "/id"));
    Ok(tried.iter().map(one).collect())
}

/// The apps of files, each with the text that defines it.
pub(super) fn documents(files: &BTreeMap<String, Vec<u8>>) -> Vec<(AppName, Vec<u8>)> {
    files.iter().flat_map(|(path, bytes)| apps(path, bytes)).collect()
}

/// The apps of a file, each with the text that defines it.
fn apps(path: &str, bytes: &[u8]) -> Vec<(AppName, Vec<u8>)> {
    let names = |bytes: &[u8]| -> Vec<AppName> {
        let mentions = manifest::read_file(path, bytes).mentions;
        mentions.into_iter().map(|mention| mention.name).collect()
    };
    if let [name] = names(bytes).as_slice() {
        return vec![(name.clone(), bytes.to_vec())];
    }
    let text = String::from_utf8_lossy(bytes);
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        // `---` in the first column ends a document, inside of block scalars too.
        if line.strip_prefix("---").is_some_and(|rest| rest.trim_start().len() < rest.len()) {
            documents.push(String::new());
        }
        if let Some(document) = documents.last_mut() {
            document.push_str(line);
        }
    }
    let named = documents.into_iter().filter_map(|document| {
        let name = names(document.as_bytes()).into_iter().next()?;
        Some((name, document.into_bytes()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        format!("apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{image: x}}\n")
    }

    #[test]
    fn a_file_with_one_app_is_applied_as_it_is_and_others_document_by_document() {
        let one = format!("# mine\n---\n{}", document("a"));
        assert_eq!(apps("f", one.as_bytes()), [(AppName::new("a").unwrap(), one.into_bytes())]);
        let two = format!("# both\n---\n{}--- # next\n{}", document("a"), document("b"));
        let names: Vec<_> = apps("f", two.as_bytes()).iter().map(|a| a.0.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
