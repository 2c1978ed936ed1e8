//! `--dry-run`: what would come of a change, asked of the controller and shown.

use serde_json::Value;

use super::{
    document::{list, text},
    error::Error,
    output::{Output, plain, plain_lines},
};

/// The flag.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Dry {
    /// Only say what would come of it.
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
}

impl Dry {
    /// The path, so that nothing is changed where that is wanted.
    pub(super) fn path(self, path: &str) -> String {
        let joint = if path.contains('?') { '&' } else { '?' };
        if self.dry_run { format!("{path}{joint}dryRun=true") } else { path.to_owned() }
    }
}

/// Shows what would come of something.
pub(super) fn show(subject: &str, answer: &Value, output: &mut Output) -> Result<(), Error> {
    let message = plain(text(answer, "/message"));
    let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
    output.line(&format!("{subject}{message} (dry run)"))?;
    for plan in list(answer, "/items").iter().filter(|plan| plan["hasDifferences"] == true) {
        output.line(&plain_lines(text(plan, "/text")))?;
    }
    Ok(())
}
