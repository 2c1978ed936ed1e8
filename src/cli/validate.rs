//! `berth validate`: manifests checked without a controller.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{Error, Exit},
    output::{Output, several},
};
use crate::manifest::{self, FileReading};

/// How deep folders are searched.
const DEPTH_MAX: usize = 16;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and folders; `-` is standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let files = read(&args.paths)?;
    let checked = check(&files, output);
    if 0 < checked.mistakes {
        return Ok(Exit::Trouble);
    }
    let (apps, are) = (several(checked.apps, "app"), if checked.apps == 1 { "is" } else { "are" });
    output.line(&format!("{apps} in {} {are} valid", several(files.len(), "file")))?;
    Ok(Exit::Done)
}

/// What came of a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// How many apps are good.
    pub(super) apps: usize,
    /// How many mistakes there are.
    pub(super) mistakes: usize,
}

/// Checks files, and tells what is wrong with them, most useful last.
pub(super) fn check(files: &BTreeMap<String, Vec<u8>>, output: &mut Output) -> Checked {
    let read = |(path, bytes): (&String, &Vec<u8>)| {
        (path.clone(), Arc::new(manifest::read_file(path, bytes)))
    };
    let readings: BTreeMap<String, Arc<FileReading>> = files.iter().map(read).collect();
    let assembled = manifest::assemble(&readings);
    let mut diagnostics: Vec<_> = assembled.diagnostics.iter().collect();
    diagnostics.sort_by_key(|diagnostic| diagnostic.is_error());
    for diagnostic in &diagnostics {
        let text = files.get(&diagnostic.file).map(|bytes| String::from_utf8_lossy(bytes));
        let colour = output.has_colour_in_remarks();
        let shown = manifest::render(diagnostic, text.as_deref().unwrap_or_default(), colour);
        output.remark(&format!("{}\n", shown.trim_end()));
    }
    let mistakes = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    if !diagnostics.is_empty() {
        let warnings = diagnostics.len() - mistakes;
        let (errors, warnings) = (several(mistakes, "error"), several(warnings, "warning"));
        output.remark(&format!("{errors}, {warnings} in {}", several(files.len(), "file")));
    }
    Checked { apps: readings.values().map(|reading| reading.apps.len()).sum(), mistakes }
}

/// Reads files, the manifests of folders, and standard input.
pub(super) fn read(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut files = BTreeMap::new();
    for path in paths {
        let failed = |error: std::io::Error| {
            let what = format!("`{}` can't be read", path.display());
            Error::new(Exit::Trouble, what).why(error.to_string())
        };
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
            files.insert("<stdin>".to_owned(), bytes);
            continue;
        }
        let mut found = Vec::new();
        list(path, 0, &mut found).map_err(failed)?;
        for file in found {
            let bytes = std::fs::read(&file).map_err(failed)?;
            files.insert(file.display().to_string(), bytes);
        }
    }
    if files.is_empty() {
        let error = Error::new(Exit::Trouble, "there is no manifest there");
        return Err(error.why("a manifest ends in `.yaml` or `.yml`"));
    }
    Ok(files)
}

fn list(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path();
        let is_manifest = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_hidden {
            continue;
        }
        if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
            list(&path, depth + 1, found)?;
        } else if is_manifest {
            found.push(path);
        }
    }
    Ok(())
}
