//! `berth man`: the manual, as pages of man(1).

mod files;

use std::{fs, path::PathBuf};

use clap::Command;

use super::{
    error::{Error, Exit},
    output::Output,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The page: `berth`, `get`, `rollout undo`, `manifest`, `config`.
    page: Vec<String>,
    /// Write all pages into this folder instead.
    #[arg(short, long, value_name = "DIR", conflicts_with = "page")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: Command, output: &mut Output) -> Result<Exit, Error> {
    let pages = pages(command)?;
    if let Some(folder) = &args.directory {
        fs::create_dir_all(folder)?;
        for (name, text) in &pages {
            fs::write(folder.join(name), text)?;
        }
        output.line(&format!("{} pages are in {}", pages.len(), folder.display()))?;
        return Ok(Exit::Done);
    }
    let wanted = match args.page.join("-").as_str() {
        "" | "berth" => "berth.1".to_owned(),
        name @ ("manifest" | "config") => format!("berth-{name}.5"),
        name => format!("berth-{}.1", name.trim_start_matches("berth-")),
    };
    match pages.iter().find(|(name, _)| *name == wanted) {
        Some((_, text)) => output.raw(text.as_bytes())?,
        None => {
            return Err(Error::new(Exit::NotFound, format!("there is no page {wanted}"))
                .fix("`berth man -d DIR` writes all of them; `berth man | man -l -` reads one"));
        }
    }
    Ok(Exit::Done)
}

/// Every page: its file's name, and its text.
fn pages(mut command: Command) -> Result<Vec<(String, String)>, Error> {
    command.build();
    let mut pages = Vec::new();
    add(&command, "berth", &mut pages)?;
    pages.push(("berth-manifest.5".to_owned(), files::manifest()));
    pages.push(("berth-config.5".to_owned(), files::config()));
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> Result<(), Error> {
    let mut text = Vec::new();
    let title = name.to_ascii_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    let page = clap_mangen::Man::new(command.clone().display_name(name.to_owned()))
        .title(title)
        .section("1")
        .date("")
        .source(format!("berth {version}"))
        .manual("Berth");
    page.render(&mut text)?;
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn there_is_a_page_for_every_verb_and_both_kinds_of_files() {
        let pages = pages(crate::cli::Cli::command()).unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["berth.1", "berth-get.1", "berth-rollout-undo.1", "berth-manifest.5"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let text = |wanted: &str| &pages.iter().find(|(name, _)| name == wanted).unwrap().1;
        assert!(text("berth-manifest.5").contains("spec.gpus.share"));
        assert!(text("berth-config.5").contains("BERTH_WORKERS"));
        for (name, text) in &pages {
            assert!(text.contains(".TH ") && text.contains(".SH NAME"), "{name}: {text}");
        }
    }
}
