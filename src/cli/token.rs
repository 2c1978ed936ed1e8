//! `berth token`: what people and programs sign in with at this machine's Berth. It works on the
//! file of tokens, with and without a Berth that runs, and counts at once.

use std::{os::unix::net::UnixStream, path::PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    document,
    error::{Error, Exit},
    flags::Flags,
    output::Output,
    run,
};
use crate::audit::{Deed, Log, Who};
use crate::auth::{self, Kept, Made, New, Role, Scope, Tokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Timestamp, parse_duration};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where Berth keeps its state [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token, and show it this once.
    Create(Create),
    /// List the tokens; what one signs in with is not kept.
    #[command(visible_alias = "ls")]
    List(List),
    /// Make a token worthless, at once.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is called, in lists and in the audit log.
    name: String,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[arg(long)]
    role: Role,
    /// From when on it is not good any more: after a duration such as `90d`, or at a time.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Only this part of the model store, such as `store:vision/*:read`; may be repeated.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Print the token and nothing else.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As a table.
    Table,
    /// As JSON.
    Json,
}

/// `is_server_named` is whether a controller was named, which is not asked here.
pub(super) fn run(args: Args, is_server_named: bool, output: &mut Output) -> Result<Exit, Error> {
    let config = settings(args.state_dir.as_ref())?;
    let (folder, socket) = (config.state_dir, config.auth.socket);
    let (tokens, log) = (Tokens::new(&folder), Log::new(&folder));
    let is_quiet = matches!(&args.verb, Verb::Create(Create { quiet: true, .. }));
    let done = match args.verb {
        Verb::Create(create) => make(&tokens, &log, create, output),
        Verb::List(list) => show(&tokens, &list, output),
        Verb::Revoke { name } => revoke(&tokens, &log, &name, output),
    }?;
    let is_deaf = socket.is_some_and(|path| UnixStream::connect(path).is_err());
    if is_deaf && (is_server_named || !is_quiet) {
        output.remark(&format!(
            "no Berth runs with its state in `{}` now: one that keeps it elsewhere has other \
             tokens (`--state-dir`)",
            folder.display()
        ));
    }
    Ok(done)
}

/// The state folder of this machine's Berth.
pub(super) fn state_dir(said: Option<&PathBuf>) -> Result<PathBuf, Error> {
    settings(said).map(|config| config.state_dir)
}

fn settings(said: Option<&PathBuf>) -> Result<Config, Error> {
    let flag = said.map(|path| ("state-dir", vec![path.display().to_string()]));
    run::read(Flags(flag.into_iter().collect()))
}

fn make(tokens: &Tokens, log: &Log, create: Create, output: &mut Output) -> Result<Exit, Error> {
    let now = Clock::System.now();
    let expires = create.expires.as_deref().map(|text| end(text, now)).transpose()?;
    let is_first = !tokens.is_used();
    log.check_ready().map_err(not_recorded)?;
    let Create { name, role, scope: scopes, quiet, .. } = create;
    let Made { secret, kept } = tokens.create(New { name, role, expires, scopes }, now)?;
    note(log, "token.created", &kept, now)?;
    if quiet {
        output.line(secret.reveal())?;
        return Ok(Exit::Done);
    }
    output.line(secret.reveal())?;
    let until = kept.expires.map(|at| format!(", until {at}")).unwrap_or_default();
    output.remark(&format!("token `{}` ({}{until}); it is not shown again", kept.name, kept.role));
    if is_first {
        output.remark(
            "it is the first one: from now on, whoever asks this Berth by HTTP must sign in",
        );
    }
    Ok(Exit::Done)
}

fn show(tokens: &Tokens, list: &List, output: &mut Output) -> Result<Exit, Error> {
    let (all, now) = (tokens.all()?.unwrap_or_default(), Clock::System.now());
    if list.output == Format::Json {
        let all: Vec<_> = all.iter().map(|kept| about(kept, now)).collect();
        document::write(output, &Value::Array(all), false)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = all.iter().map(|kept| row(kept, now)).collect();
    let header = ["NAME", "ROLE", "CREATED", "EXPIRES", "SCOPES"];
    output.table(&header, &rows)?;
    Ok(Exit::Done)
}

fn row(kept: &Kept, now: Timestamp) -> Vec<String> {
    let expires = match kept.expires {
        None => "never".to_owned(),
        Some(at) if kept.has_expired(now) => format!("{at} (over)"),
        Some(at) => at.to_string(),
    };
    let scopes: Vec<_> = kept.scopes.iter().map(ToString::to_string).collect();
    vec![
        kept.name.clone(),
        kept.role.to_string(),
        kept.created.to_string(),
        expires,
        scopes.join(" "),
    ]
}

fn about(kept: &Kept, now: Timestamp) -> Value {
    json!({
        "name": kept.name, "role": kept.role, "created": kept.created, "expires": kept.expires,
        "expired": kept.has_expired(now), "scopes": kept.scopes,
    })
}

fn revoke(tokens: &Tokens, log: &Log, name: &str, output: &mut Output) -> Result<Exit, Error> {
    log.check_ready().map_err(not_recorded)?;
    let (kept, left) = tokens.revoke(name)?;
    note(log, "token.revoked", &kept, Clock::System.now())?;
    output.line(&format!("token `{name}` is revoked"))?;
    if left == 0 {
        output.remark("no token is left: nobody signs in by one until another is made");
    }
    Ok(Exit::Done)
}

/// A moment: so long after now, or as it is said.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let wrong = || {
        Error::new(Exit::Trouble, format!("`{text}` is neither a duration nor a time to come"))
            .fix("write `90d`, `12h` or `2027-01-31T00:00:00Z`")
    };
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let at = match (days, parse_duration(text), Timestamp::parse(text)) {
        (Some(days), ..) => now.moved(i64::from(days) * 86_400_000),
        (None, Ok(duration), _) => now + duration,
        (None, Err(_), Some(at)) => at,
        (None, Err(_), None) => return Err(wrong()),
    };
    if at <= now { Err(wrong()) } else { Ok(at) }
}

fn note(log: &Log, action: &str, kept: &Kept, now: Timestamp) -> Result<(), Error> {
    let state = json!({ "role": kept.role, "expires": kept.expires, "scopes": kept.scopes });
    let (before, after) = match action {
        "token.revoked" => (state, Value::Null),
        _ => (Value::Null, state),
    };
    record(log, now, (action, format!("token/{}", kept.name)), (before, after))
}

/// Records what was done by hand at this machine.
pub(super) fn record(
    log: &Log,
    now: Timestamp,
    (action, object): (&str, String),
    (before, after): (Value, Value),
) -> Result<(), Error> {
    let name = format!("uid {}", rustix::process::getuid().as_raw());
    let deed = Deed {
        who: Who { kind: "cli".to_owned(), name, role: None },
        from: Some("this machine".to_owned()),
        action: action.to_owned(),
        object,
        before,
        after,
        outcome: "done".to_owned(),
    };
    log.append(&deed, now).map(drop).map_err(not_recorded)
}

#[expect(clippy::needless_pass_by_value, reason = "it is how errors are mapped")]
pub(super) fn not_recorded(error: crate::audit::Error) -> Error {
    Error::new(Exit::NotSo, "what is changed can't be recorded").why(error.to_string())
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        use auth::Error as E;
        let exit = match &error {
            E::Missing(_) => Exit::NotFound,
            E::Name(_) => Exit::Trouble,
            E::Exists(_) | E::TooMany | E::Open(_) => Exit::Refused,
            E::File { .. } => Exit::NotSo,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_or_a_time_to_come() {
        let now = Timestamp::from_millis(1_764_547_200_000);
        let at = |text: &str| end(text, now).ok().map(|at| at.as_millis() - now.as_millis());
        assert_eq!(at("90d"), Some(90 * 86_400_000));
        assert_eq!(at("12h"), Some(12 * 3_600_000));
        assert_eq!(at("2025-12-01T00:00:01Z"), Some(1000));
        for bad in ["", "soon", "0d", "-1d", "2025-11-30T00:00:00Z", "é"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
