//! `berth secrets`: the secrets of this machine's Berth, by name. A value goes in by standard
//! input, and never comes out.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use clap::Subcommand;

use super::{
    error::{Error, Exit},
    flags::Flags,
    output::Output,
    run, table,
};
use crate::secret::{self, Secrets, VALUE_BYTES_MAX, Value};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The folder of secrets [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    secrets_dir: Option<PathBuf>,
    /// Where Berth keeps its state [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the names of secrets and their keys.
    #[command(visible_alias = "list")]
    Ls,
    /// Keep what comes on standard input: `berth secrets set work --key token < file`.
    Set(One),
    /// Remove a secret, or one key of it.
    #[command(visible_alias = "remove")]
    Rm(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The secret.
    name: String,
    /// The key: `token`, `username`, `password`, `ssh-privatekey`, `passphrase`, `known_hosts`, …
    #[arg(long)]
    key: Option<String>,
}

pub(super) fn run(args: Args, output: &mut Output) -> Result<Exit, Error> {
    let secrets = Secrets::new(folder(&args)?);
    match args.verb {
        Verb::Ls => list(&secrets, output)?,
        Verb::Set(one) => {
            let value = read_value(&one)?;
            secrets.set(&one.name, one.key.as_deref(), &value)?;
            output.line(&format!(
                "secret `{}` is kept in {}",
                one.name,
                secrets.folder().display()
            ))?;
        }
        Verb::Rm(one) => {
            secrets.remove(&one.name, one.key.as_deref())?;
            let key = one.key.map(|key| format!(", key `{key}`,")).unwrap_or_default();
            output.line(&format!("secret `{}`{key} is removed", one.name))?;
        }
    }
    Ok(Exit::Done)
}

fn folder(args: &Args) -> Result<PathBuf, Error> {
    let flag = |name: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| (name, vec![path.display().to_string()]))
    };
    let flags = [flag("secrets-dir", &args.secrets_dir), flag("state-dir", &args.state_dir)];
    let config = run::read(Flags(flags.into_iter().flatten().collect()))?;
    Ok(config.git.secrets)
}

fn list(secrets: &Secrets, output: &mut Output) -> Result<(), Error> {
    let rows = secrets.list()?.into_iter().map(|(name, keys)| vec![name, keys.join(", ")]);
    let rows: Vec<_> = rows.collect();
    table::lines(&["NAME", "KEYS"], &rows).iter().try_for_each(|line| output.line(line))
}

fn read_value(one: &One) -> Result<Value, Error> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let key = one.key.as_ref().map(|key| format!(" --key {key}")).unwrap_or_default();
        return Err(Error::new(Exit::Trouble, "the value is read from standard input only")
            .why("on a terminal it would be shown, and kept in the shell's history")
            .fix(format!("berth secrets set {}{key} < FILE", one.name)));
    }
    let mut bytes = Vec::new();
    stdin.lock().take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(Error::new(Exit::Trouble, "standard input is empty")
            .fix("a secret is removed with `berth secrets rm`"));
    }
    if VALUE_BYTES_MAX < bytes.len() {
        return Err(Error::new(Exit::Trouble, "the value is longer than 1 MiB"));
    }
    Ok(Value::new(bytes))
}

impl From<secret::Error> for Error {
    fn from(error: secret::Error) -> Self {
        use secret::Error as E;
        let exit = match &error {
            E::Missing { .. } | E::MissingKey { .. } => Exit::NotFound,
            E::Name(_) | E::Key(_) => Exit::Trouble,
            E::Open { .. } | E::Conflict { .. } => Exit::Refused,
            E::Disk { .. } => Exit::NotSo,
        };
        Self::new(exit, error.to_string())
    }
}
