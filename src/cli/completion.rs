//! `berth completion`: what a shell needs to complete commands, names of apps included.

use std::{env, time::Duration};

use clap::ValueEnum;
use clap_complete::{
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};

use super::{
    document::{list, text},
    error::{Error, Exit},
    output::Output,
    server::{Server, trust},
};

/// The variable by which a shell asks for candidates.
pub(super) const ASKED: &str = "BERTH_COMPLETE";
/// How long somebody waits who pressed a key.
const PATIENCE: Duration = Duration::from_millis(800);

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

/// Completes names of apps.
pub(super) fn apps() -> ArgValueCompleter {
    ArgValueCompleter::new(|given: &std::ffi::OsStr| {
        let given = given.to_string_lossy();
        let (prefix, given) = match given.strip_prefix("app/") {
            Some(rest) => ("app/", rest.to_owned()),
            None => ("", given.into_owned()),
        };
        let names = names().unwrap_or_default().into_iter();
        names
            .filter(|(name, _)| name.starts_with(&given))
            .map(|(name, phase)| {
                CompletionCandidate::new(format!("{prefix}{name}")).help(Some(phase.into()))
            })
            .collect()
    })
}

/// The apps with their phases; none when nobody answers at once.
fn names() -> Option<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let trust = trust(
        variable("BERTH_TLS_CA").map(Into::into),
        variable("BERTH_TLS_FINGERPRINT").as_deref(),
    );
    let server = Server::new(variable("BERTH_SERVER").as_deref(), None, &trust.ok()?).ok()?;
    let asking = async { tokio::time::timeout(PATIENCE, server.get("/api/v1/apps")).await };
    let all = runtime.block_on(asking).ok()?.ok()?;
    let one = |app: &serde_json::Value| {
        let name = text(app, "/metadata/name").to_owned();
        (name, text(app, "/status/phase").to_owned())
    };
    Some(list(&all, "/items").iter().map(one).collect())
}
