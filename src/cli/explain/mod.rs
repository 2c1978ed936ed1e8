//! `berth explain`: a field of a manifest, from the schema, or a code, from the table of codes.

mod field;

use super::{
    error::{Error, Exit},
    output::{Output, plain},
};
use crate::model::{Code, Reason, code, codes};

pub(super) use crate::manifest::fields::paths;
pub(super) use field::lines_of;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A field, as `app.spec.gpus` or `gpus`; a code, as `port.taken`; a reason, as `PortTaken`.
    what: String,
    /// All fields below it, too.
    #[arg(long)]
    recursive: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let what = args.what.trim();
    if let Some(code) = known(what) {
        for line in lines(&code) {
            output.line(&line)?;
        }
        return Ok(Exit::Done);
    }
    if let Some(shown) = field::explain(what, args.recursive)? {
        for line in shown {
            output.line(&line)?;
        }
        return Ok(Exit::Done);
    }
    let near = paths()
        .into_iter()
        .chain(codes().map(|code| code.slug.to_owned()))
        .map(|known| {
            let short = known.strip_prefix("app.").unwrap_or(&known);
            let far = |known: &str| strsim::damerau_levenshtein(what, known);
            (far(&known).min(far(short)), known)
        })
        .min();
    let error =
        Error::new(Exit::NotFound, format!("neither a field nor a code: `{}`", plain(what)));
    Err(match near {
        Some((distance, near)) if distance <= 2 => error.fix(format!("did you mean `{near}`?")),
        _ => error.fix("`berth explain app.spec` lists fields, docs/errors.md the codes"),
    })
}

/// A code, by itself or by the reason that a status shows.
fn known(what: &str) -> Option<Code> {
    let slug = Reason::ALL.iter().find(|reason| reason.to_string() == what);
    code(slug.map_or(what, |reason| reason.slug()))
}

fn lines(code: &Code) -> Vec<String> {
    let reason = Reason::ALL.iter().find(|reason| reason.slug() == code.slug);
    let mut lines = vec![match reason {
        Some(reason) => format!("{} (reason {reason})", code.slug),
        None => code.slug.to_owned(),
    }];
    lines.push(format!("  about    {}", code.section));
    lines.push(format!("  meaning  {}", code.means));
    lines.push(format!("  fix      {}", code.fix));
    lines
}
