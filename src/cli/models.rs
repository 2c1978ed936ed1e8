//! `berth models`: the models that the controller keeps.

mod fetch;
mod names;
pub(super) mod progress;
mod pull;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    inspection,
    output::{Output, plain},
    server::Server,
};
use crate::model::{Digest, format_bytes};
use crate::store::Key;

/// How much is read at once.
pub(super) const BLOCK: usize = 256 * 1024;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the models.
    Ls {
        /// Only those whose names or descriptions hold these words.
        words: Vec<String>,
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
    /// Store a file.
    Push {
        /// The file.
        file: PathBuf,
        /// Where to: project/app/version/model.
        #[arg(value_parser = name, value_name = "NAME", add = super::completion::models())]
        name: Key,
        /// Only if there is none of this name.
        #[arg(long)]
        create_only: bool,
        /// In a way that goes on after a break; large files always are.
        #[arg(long)]
        resumable: bool,
        /// A description.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// What it was made with.
        #[arg(long, value_name = "TEXT")]
        framework: Option<String>,
    },
    /// Fetch a model into a file: its parts at once, gone on with after a break, its digest checked.
    Pull {
        /// Which: project/app/version/model; the version may be `latest`, an alias, or `@^1.2`.
        #[arg(value_parser = name, value_name = "NAME", add = super::completion::models())]
        name: Key,
        /// The file [default: the model's name].
        file: Option<PathBuf>,
    },
    /// Say what is known of a model, and what is inside it.
    Info {
        /// Which.
        #[arg(value_parser = name, value_name = "NAME", add = super::completion::models())]
        name: Key,
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
    /// Check that a file is the same as a stored model; or that a model, or all, are what they were.
    Verify {
        /// Which; without it, how the controller's own reading stands.
        #[arg(value_parser = name, value_name = "NAME", add = super::completion::models())]
        name: Option<Key>,
        /// The file; without it, the controller reads the model again.
        file: Option<PathBuf>,
    },
    /// Delete models; for a while, they can be brought back.
    Rm {
        /// Which.
        #[arg(required = true, value_parser = name, value_name = "NAME", add = super::completion::models())]
        names: Vec<Key>,
        /// Although apps mount them: what runs keeps its files.
        #[arg(long)]
        force: bool,
    },
    /// Have the controller fetch models from an address, another Berth or the Hub.
    Fetch(fetch::Args),
    /// Show the names of an app's versions, let one stand for a version, or remove it.
    Alias {
        /// Whose: project/app.
        #[arg(value_parser = names::app, value_name = "APP")]
        app: (String, String),
        /// The alias.
        alias: Option<String>,
        /// The version that it stands for from now on.
        version: Option<String>,
        /// Remove it.
        #[arg(long, requires = "alias", conflicts_with = "version")]
        remove: bool,
    },
    /// Remove what nothing needs any more.
    Gc {
        /// Only say what.
        #[arg(long)]
        dry_run: bool,
        /// The history of repositories too, but for what versions and tags stand for.
        #[arg(long)]
        history: bool,
    },
}

/// Reads `project/app/version/model`. Whether these are names is for the controller to say.
fn name(text: &str) -> Result<Key, String> {
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
    let [project, app, version, model] = parts.as_slice() else {
        return Err("write project/app/version/model".to_owned());
    };
    let [project, app, version, model] =
        [project, app, version, model].map(|part| (*part).to_owned());
    Ok(Key { project, app, version, model })
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    match &args.verb {
        Verb::Ls { words, output: format } => ls(&words.join(" "), format, server, output).await,
        Verb::Push { file, name, create_only, resumable, description, framework } => {
            let about = [("description", description), ("framework", framework)];
            push(file, name, (*create_only, *resumable), &about, (server, output)).await
        }
        Verb::Info { name, output: format } => inspection::info(name, format, server, output).await,
        Verb::Pull { name, file } => {
            let file = file.clone().unwrap_or_else(|| PathBuf::from(&name.model));
            pull::pull(name, &file, server, output).await
        }
        Verb::Verify { name: Some(name), file: Some(file) } => {
            verify(name, file, server, output).await
        }
        Verb::Verify { name, .. } => inspection::verify(name.as_ref(), server, output).await,
        Verb::Fetch(args) => fetch::run(args, server, output).await,
        Verb::Alias { app, alias, version, remove } => {
            let (alias, version) = (alias.as_deref(), version.as_deref());
            names::alias(app, alias, version, *remove, (server, output)).await
        }
        Verb::Rm { names, force } => {
            let force = if *force { "?force=true" } else { "" };
            for name in names {
                let deleted = server.delete(&format!("{}{force}", name.path())).await;
                // Here it is a flag.
                deleted.map_err(|error| error.reworded("`force=true`", "`--force`"))?;
                output.line(&plain(&format!("model/{name} deleted")))?;
            }
            Ok(Exit::Done)
        }
        Verb::Gc { dry_run, history } => {
            let more = if *history { "&history=true" } else { "" };
            let path = format!("/api/v1/models/gc?dryRun={dry_run}{more}");
            let done = server.post(&path).await?;
            let number = |name: &str| done[name].as_u64().unwrap_or_default();
            let (trashed, blobs) = (number("trashed"), number("blobs"));
            let freed = format_bytes(number("bytes"));
            let verb = if *dry_run { "would be freed" } else { "freed" };
            output.line(&format!("{trashed} from the trash, {blobs} contents: {freed} {verb}"))?;
            let kept = number("historyBytes");
            if 0 < kept {
                let kept = format_bytes(kept);
                output.line(&format!(
                    "{kept} only for the history of repositories: `--history` lets go of it"
                ))?;
            }
            Ok(Exit::Done)
        }
    }
}

pub(super) async fn ls(
    words: &str,
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let words = percent_encoding::utf8_percent_encode(words, percent_encoding::NON_ALPHANUMERIC);
    let all = server.get(&format!("/models/list?search={words}")).await?;
    let names = |model: &Value| {
        let parts = ["/project_id", "/app_name", "/version", "/model_name"];
        parts.map(|part| text(model, part)).join("/")
    };
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &all, format)?;
        }
        Format::Name => {
            for model in list(&all, "/models") {
                output.line(&plain(&names(model)))?;
            }
        }
        Format::Table | Format::Wide if list(&all, "/models").is_empty() => {
            output.remark("no such model is stored; `berth models push` stores one");
        }
        Format::Table | Format::Wide => {
            let row = |model: &Value| {
                let size = format_bytes(model["size"].as_u64().unwrap_or_default());
                let digest = text(model, "/sha256").get(..12).unwrap_or_default().to_owned();
                let came = text(model, "/upload_timestamp");
                let mut row = vec![
                    plain(&names(model)),
                    size,
                    digest,
                    ago(came),
                    plain(text(model, "/framework")),
                ];
                if *format == Format::Wide {
                    row.push(plain(text(model, "/format")));
                    let rotten = (model["quarantined"] == true).then(|| "quarantined".to_owned());
                    row.push(rotten.unwrap_or_else(|| plain(text(model, "/safety"))));
                }
                row
            };
            let rows: Vec<_> = list(&all, "/models").iter().map(row).collect();
            let mut heads = vec!["NAME", "SIZE", "SHA256", "AGE", "FRAMEWORK"];
            if *format == Format::Wide {
                heads.extend(["FORMAT", "SAFETY"]);
            }
            output.table(&heads, &rows)?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn unreadable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| {
        Error::new(Exit::Trouble, format!("{} can't be used", path.display()))
            .why(error.to_string())
    }
}

pub(super) fn other(name: &Key) -> Error {
    Error::new(Exit::NotSo, format!("the file and model/{name} have different contents"))
}

async fn push(
    file: &Path,
    name: &Key,
    (is_new, is_resumable): (bool, bool),
    about: &[(&str, &Option<String>)],
    (server, output): (&Server, &mut Output),
) -> Result<Exit, Error> {
    let opened = tokio::fs::File::open(file).await.map_err(unreadable(file))?;
    let size = opened.metadata().await.map_err(unreadable(file))?.len();
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let said = about.iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
    let query: Vec<_> = said.map(|(name, text)| format!("{name}={}", encode(text))).collect();
    let said = query.join("&");
    if is_resumable || super::push::LARGE <= size {
        let file = super::push::File { path: file, name, size, is_new, said };
        return super::push::push(&file, server, output).await;
    }
    let path = format!("{}?{said}", name.path());
    let (sender, seen) = tokio::sync::oneshot::channel();
    let hashing = Hashing { hasher: Sha256::new(), done: Some(sender) };
    let blocks = ReaderStream::with_capacity(opened, BLOCK);
    let blocks =
        futures_util::stream::unfold((blocks, hashing), |(mut blocks, mut hashing)| async {
            let block = blocks.next().await?;
            if let Ok(block) = &block {
                hashing.hasher.update(block);
            }
            Some((block, (blocks, hashing)))
        });
    let stored = server.upload(&path, size, is_new, blocks).await?;
    let sent = seen.await.ok();
    if sent.as_ref().map(Digest::as_str) != stored["sha256"].as_str() {
        return Err(other(name));
    }
    output.line(&plain(&format!(
        "model/{name} stored: {}, {}",
        format_bytes(size),
        text(&stored, "/sha256")
    )))?;
    Ok(Exit::Done)
}

/// Hashes what is sent; tells the digest when all is.
struct Hashing {
    hasher: Sha256,
    done: Option<tokio::sync::oneshot::Sender<Digest>>,
}

impl Drop for Hashing {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let hasher = std::mem::take(&mut self.hasher);
            let _ = done.send(Digest::of_hash(hasher.finalize().into()));
        }
    }
}

async fn verify(
    name: &Key,
    file: &Path,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let info = server.get(&format!("{}/info", name.path())).await?;
    let mut opened = tokio::fs::File::open(file).await.map_err(unreadable(file))?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match opened.read(&mut block).await.map_err(unreadable(file))? {
            0 => break,
            length => hasher.update(&block[..length]),
        }
    }
    let digest = Digest::of_hash(hasher.finalize().into());
    if text(&info, "/sha256") != digest.as_str() {
        return Err(other(name));
    }
    output.line(&plain(&format!("{} is model/{name}: {digest}", file.display())))?;
    Ok(Exit::Done)
}

/// Blocks of a file.
pub(super) trait Blocks:
    futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static
{
}

impl<T: futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static> Blocks for T {}
