//! `berth completion`: what a shell needs to complete commands, names of what there is included.

use std::{collections::BTreeMap, env, time::Duration};

use clap::ValueEnum;
use clap_complete::{
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};

use serde_json::Value;

use super::{
    document::{list, text},
    error::{Error, Exit},
    output::Output,
    server::{Server, trust},
};
use crate::config::{Config, Layers};

/// The variable by which a shell asks for candidates.
pub(super) const ASKED: &str = "BERTH_COMPLETE";
/// How long somebody waits who pressed a key.
const PATIENCE: Duration = Duration::from_millis(800);

/// What `berth get` lists.
const KINDS: &[(&str, &str)] = &[
    ("apps", "the apps"),
    ("gpus", "the GPUs, and who holds them"),
    ("images", "the images that Berth built"),
    ("models", "the stored models"),
    ("ports", "the host ports, and who has them"),
];

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// `source <(berth completion bash)`
    Bash,
    /// `source <(berth completion zsh)`
    Zsh,
    /// `berth completion fish | source`
    Fish,
    /// `berth completion powershell | Out-String | Invoke-Expression`
    #[value(alias = "pwsh")]
    Powershell,
    /// `eval (berth completion elvish | slurp)`
    Elvish,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let name = args.shell.to_possible_value();
    let name = name.as_ref().map_or("bash", |name| name.get_name());
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(name) else {
        return Err(Error::new(Exit::Trouble, format!("`{name}` is not a known shell")));
    };
    let mut script = Vec::new();
    shell.write_registration(ASKED, "berth", "berth", "berth", &mut script)?;
    output.raw(&script)?;
    Ok(Exit::Done)
}

/// What may be meant, each with a word about it.
type Known = Vec<(String, String)>;

/// Completes by what `known` answers to the words that are given.
fn completing(known: fn(&str) -> Known) -> ArgValueCompleter {
    ArgValueCompleter::new(move |given: &std::ffi::OsStr| {
        let given = given.to_string_lossy();
        let known = known(&given).into_iter();
        known
            .filter(|(name, _)| name.starts_with(&*given))
            .map(|(name, about)| {
                let about = Some(about).filter(|about| !about.is_empty());
                CompletionCandidate::new(name).help(about.map(Into::into))
            })
            .collect()
    })
}

/// Completes names of apps.
pub(super) fn apps() -> ArgValueCompleter {
    completing(known_apps)
}

/// Completes kinds of things, and names of apps.
pub(super) fn kinds_and_apps() -> ArgValueCompleter {
    completing(|given| {
        let kinds = KINDS.iter().map(|(kind, about)| ((*kind).to_owned(), (*about).to_owned()));
        kinds.chain(known_apps(given)).collect()
    })
}

/// Completes names of stored models.
pub(super) fn models() -> ArgValueCompleter {
    completing(|_| {
        let all = asked("/models/list").unwrap_or_default();
        let parts = ["/project_id", "/app_name", "/version", "/model_name"];
        let name = |model: &Value| parts.map(|part| text(model, part)).join("/");
        let models = list(&all, "/models").iter();
        models.map(|model| (name(model), text(model, "/description").to_owned())).collect()
    })
}

/// Completes names of those that are told.
pub(super) fn targets() -> ArgValueCompleter {
    completing(|_| {
        let all = asked("/api/v1/notifications").unwrap_or_default();
        let targets = list(&all, "/targets").iter();
        targets.map(|one| (text(one, "/name").to_owned(), String::new())).collect()
    })
}

/// Completes names of backups, where they are in a folder that `berth run` has.
pub(super) fn backups() -> ArgValueCompleter {
    completing(|_| {
        let read = Config::read(&Layers::of_process(BTreeMap::new()));
        let to = read.ok().and_then(|config| config.backups.to);
        let names = to.map(|to| to.glance()).unwrap_or_default();
        names.into_iter().map(|name| (name, String::new())).collect()
    })
}

/// The apps, each with its phase, written as the word that is completed is.
fn known_apps(given: &str) -> Known {
    let prefix = if given.starts_with("app/") { "app/" } else { "" };
    let all = asked("/api/v1/apps").unwrap_or_default();
    let one = |app: &Value| {
        let name = format!("{prefix}{}", text(app, "/metadata/name"));
        (name, text(app, "/status/phase").to_owned())
    };
    list(&all, "/items").iter().map(one).collect()
}

/// What the controller answers; none when nobody answers at once.
fn asked(path: &str) -> Option<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let trust = trust(
        variable("BERTH_TLS_CA").map(Into::into),
        variable("BERTH_TLS_FINGERPRINT").as_deref(),
    );
    let server = Server::new(variable("BERTH_SERVER").as_deref(), None, &trust.ok()?).ok()?;
    let asking = async { tokio::time::timeout(PATIENCE, server.get(path)).await };
    runtime.block_on(asking).ok()?.ok()
}
