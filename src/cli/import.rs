//! `berth import`: what ran otherwise, as manifests.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    error::{Error, Exit},
    output::Output,
    table,
};
use crate::compose::import::{Files, Finding, Imported, Level, Request, dotenv, import};

/// A larger file is not read.
const BYTES_MAX: u64 = 1 << 20;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Make manifests from a compose file, and name every key that is not carried over.
    Compose(Compose),
}

/// What `import compose` takes.
#[derive(Debug, clap::Args)]
struct Compose {
    /// The compose file.
    file: PathBuf,
    /// The folder that the manifests are written to, one file for each service; without it they
    /// are printed.
    #[arg(short = 'd', long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The app's name, for a file with one service.
    #[arg(long)]
    name: Option<String>,
    /// The compose project, for the names of volumes.
    #[arg(long, env = "COMPOSE_PROJECT_NAME")]
    project: Option<String>,
    /// Replace manifests that are there.
    #[arg(long)]
    force: bool,
    /// Write nothing when a key can't be carried over.
    #[arg(long)]
    strict: bool,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Text,
    Json,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let From::Compose(args) = &args.from;
    let imported = read(args)?;
    let is_lossy = imported.findings.iter().any(|finding| finding.level == Level::Lost);
    let is_refused = imported.has_mistakes() || (args.strict && is_lossy);
    let written = match &args.dir {
        Some(folder) if !is_refused => write(folder, &imported, args.force)?,
        _ => Vec::new(),
    };
    match args.output {
        Form::Json => output.line(&as_json(&imported, &written).to_string())?,
        Form::Text => {
            tell(&args.file, &imported.findings, output);
            for file in &written {
                output.line(&format!("{} written", file.display()))?;
            }
            if args.dir.is_none() && !is_refused {
                let texts: Vec<_> = imported.manifests.iter().map(|m| m.text.as_str()).collect();
                output.raw(texts.join("---\n").as_bytes())?;
            }
        }
    }
    if imported.has_mistakes() {
        return Err(Error::new(
            Exit::Trouble,
            "nothing was written: the compose file has mistakes",
        ));
    }
    if is_refused {
        let error = Error::new(Exit::Refused, "nothing was written: not all can be carried over");
        return Err(error.fix("without --strict the rest is written"));
    }
    Ok(Exit::Done)
}

fn read(args: &Compose) -> Result<Imported, Error> {
    let file = std::path::absolute(&args.file)?;
    let text = Disk.read(&file.display().to_string()).map_err(|why| {
        Error::new(Exit::Trouble, format!("`{}` can't be read", args.file.display())).why(why)
    })?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let beside = Disk.read(&folder.join(".env").display().to_string()).unwrap_or_default();
    let known: BTreeMap<_, _> = dotenv(&beside).into_iter().collect();
    let lookup = |name: &str| std::env::var(name).ok().or_else(|| known.get(name).cloned());
    Ok(import(&Request {
        text: &text,
        folder: &folder.display().to_string(),
        project: args.project.as_deref(),
        name: args.name.as_deref(),
        lookup: &lookup,
        files: &Disk,
    }))
}

/// Looks at every file before it writes the first.
fn write(folder: &Path, imported: &Imported, is_forced: bool) -> Result<Vec<PathBuf>, Error> {
    let file = |app: &str| folder.join(format!("{app}.yaml"));
    let there: Vec<_> = imported.manifests.iter().map(|m| file(m.app.as_str())).collect();
    if let Some(taken) = there.iter().find(|file| !is_forced && file.symlink_metadata().is_ok()) {
        let error = Error::new(Exit::Refused, format!("{} is there already", taken.display()));
        return Err(error.why("nothing was written").fix("--force replaces what is there"));
    }
    fs::create_dir_all(folder)?;
    for (manifest, path) in imported.manifests.iter().zip(&there) {
        // Whole or not at all: the folder may be watched.
        let new = folder.join(format!(".{}.new", manifest.app));
        let mut file = fs::File::create(&new)?;
        file.write_all(manifest.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
    }
    Ok(there)
}

fn tell(file: &Path, findings: &[Finding], output: &mut Output) {
    if findings.is_empty() {
        return;
    }
    let row = |finding: &Finding| {
        vec![
            format!("{}:{}", file.display(), finding.line),
            finding.level.word().to_owned(),
            finding.path.clone(),
            finding.message.clone(),
        ]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    for line in table::lines(&["WHERE", "WHAT", "KEY", "WHY"], &rows) {
        output.remark(&line);
    }
}

fn as_json(imported: &Imported, written: &[PathBuf]) -> serde_json::Value {
    let manifests: Vec<_> = imported
        .manifests
        .iter()
        .map(|m| json!({ "app": m.app.as_str(), "service": m.service, "manifest": m.text }))
        .collect();
    let findings: Vec<_> = imported
        .findings
        .iter()
        .map(|f| {
            json!({ "line": f.line, "path": f.path, "level": level(f.level), "message": f.message })
        })
        .collect();
    json!({ "manifests": manifests, "findings": findings, "written": written })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Mistake => "mistake",
        Level::Lost => "lost",
        Level::Note => "note",
    }
}

/// The machine's files.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        let seen = fs::metadata(path).map_err(|error| error.to_string())?;
        if !seen.is_file() || BYTES_MAX < seen.len() {
            return Err("it is not a file of at most 1 MiB".to_owned());
        }
        fs::read_to_string(path).map_err(|error| error.to_string())
    }

    fn repository(&self, path: &str) -> Option<(String, String)> {
        let folder = Path::new(path);
        let root = folder.ancestors().find(|folder| folder.join(".git").exists())?;
        let inside = folder.strip_prefix(root).ok()?;
        Some((root.display().to_string(), inside.display().to_string()))
    }
}
