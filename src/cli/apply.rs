//! `berth apply`: manifests into the watched folder.

use std::path::PathBuf;

use super::{
    document::{list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
    validate,
};
use crate::manifest;
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders; `-` is standard input.
    #[arg(short, long, value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    /// Only check.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let files = validate::read(&args.filename)?;
    if 0 < validate::check(&files, output).mistakes {
        return Err(Error::new(Exit::Trouble, "nothing was applied: the manifests have mistakes"));
    }
    let apps: Vec<_> = files.iter().flat_map(|(path, bytes)| apps(path, bytes)).collect();
    let mut worst = Exit::Done;
    for (name, content) in apps {
        if args.dry_run {
            output.line(&format!("app/{name} would be applied"))?;
            continue;
        }
        let content = ("application/yaml", content);
        match server.put(&format!("/api/v1/apps/{name}"), content).await {
            Ok(done) => {
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
    Ok(worst)
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
