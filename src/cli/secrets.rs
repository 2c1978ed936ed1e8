//! `berth secrets`: the secrets of this machine's Berth, by name. A value goes in by standard
//! input, and never comes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use clap::Subcommand;

use super::{
    error::{Error, Exit},
    flags::Flags,
    output::Output,
    run, token, validate,
};
use crate::audit::Log;
use crate::clock::Clock;
use crate::config::Config;
use crate::manifest;
use crate::model::{HUB_TOKEN, SecretDocs, SecretFrom};
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
    /// The folder of manifests, to say who uses what [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    manifests: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the names of secrets, their keys, and the apps of the folder of manifests that use
    /// them.
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
    let config = config(&args)?;
    let secrets = Secrets::new(config.git.secrets.clone());
    match args.verb {
        Verb::Ls => list(&secrets, &users(&config), output)?,
        Verb::Set(one) => {
            let value = read_value(&one)?;
            let log = log(&config)?;
            secrets.set(&one.name, one.key.as_deref(), &value)?;
            note(&log, "secret.set", &one)?;
            output.line(&format!(
                "secret `{}` is kept in {}",
                one.name,
                secrets.folder().display()
            ))?;
        }
        Verb::Rm(one) => {
            let log = log(&config)?;
            secrets.remove(&one.name, one.key.as_deref())?;
            note(&log, "secret.removed", &one)?;
            let key = one.key.map(|key| format!(", key `{key}`,")).unwrap_or_default();
            output.line(&format!("secret `{}`{key} is removed", one.name))?;
            let users = users(&config).remove(&one.name).unwrap_or_default();
            if !users.is_empty() {
                let users = users.into_iter().collect::<Vec<_>>().join(", ");
                output.remark(&format!(
                    "still used by {users}: what runs goes on, and no new version starts without it"
                ));
            }
        }
    }
    Ok(Exit::Done)
}

/// The audit log: what can't be recorded is not done.
fn log(config: &Config) -> Result<Log, Error> {
    let log = Log::new(&config.state_dir);
    log.check_ready().map_err(token::not_recorded)?;
    Ok(log)
}

/// Records that a value was set or removed, and nothing of the value.
fn note(log: &Log, action: &str, one: &One) -> Result<(), Error> {
    let key = one.key.as_ref().map(|key| format!(":{key}")).unwrap_or_default();
    let about = (action, format!("secret/{}{key}", one.name));
    token::record(log, Clock::System.now(), about, Default::default())
}

fn config(args: &Args) -> Result<Config, Error> {
    let flag = |name: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| (name, vec![path.display().to_string()]))
    };
    let flags = [
        flag("secrets-dir", &args.secrets_dir),
        flag("state-dir", &args.state_dir),
        flag("manifests", &args.manifests),
    ];
    run::read(Flags(flags.into_iter().flatten().collect()))
}

/// Who uses each secret of the folder: apps by name, as their manifests say, and Berth itself.
fn users(config: &Config) -> BTreeMap<String, BTreeSet<String>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for login in &config.git.logins {
        let host = format!("git on {}", login.pattern);
        users.entry(login.secret.clone()).or_default().insert(host);
    }
    for hook in &config.gitops.hook_secrets {
        users.entry(hook.clone()).or_default().insert("webhooks".to_owned());
    }
    // Where there are none, or elsewhere, there is nothing to say.
    let files = validate::read(std::slice::from_ref(&config.manifests)).unwrap_or_default();
    let readings: Vec<_> =
        files.iter().map(|(path, bytes)| manifest::read_file(path, bytes)).collect();
    let mut docs = SecretDocs::new();
    for (name, secret) in readings.iter().flat_map(|reading| &reading.secrets) {
        docs.extend(secret.clone().map(|secret| (name.clone(), Ok(secret))));
    }
    // A document may say that a secret is another one of the folder, or none of it.
    let of_folder = |name: &str| match docs.get(name) {
        None => (name != HUB_TOKEN).then(|| name.to_owned()),
        Some(Ok(secret)) => match &secret.from {
            SecretFrom::Folder(from) => Some(from.clone()),
            _ => None,
        },
        Some(Err(_)) => None,
    };
    for app in readings.iter().flat_map(|reading| &reading.apps) {
        let spec = &app.spec;
        let named = spec.secrets().filter_map(|wanted| of_folder(&wanted.secret));
        let built = spec.build.secrets.iter().map(|secret| secret.secret.clone());
        let logins = spec.git().and_then(|git| git.auth.clone());
        for secret in named.chain(built).chain(logins) {
            users.entry(secret).or_default().insert(app.name.to_string());
        }
    }
    users
}

fn list(
    secrets: &Secrets,
    users: &BTreeMap<String, BTreeSet<String>>,
    output: &mut Output,
) -> Result<(), Error> {
    let used_by = |name: &str| {
        let users = users.get(name).into_iter().flatten().map(String::as_str);
        users.collect::<Vec<_>>().join(", ")
    };
    let rows = secrets.list()?.into_iter().map(|(name, keys)| {
        let users = used_by(&name);
        vec![name, keys.join(", "), users]
    });
    let rows: Vec<_> = rows.collect();
    output.table(&["NAME", "KEYS", "USED BY"], &rows)
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
