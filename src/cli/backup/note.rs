//! What was done with backups by hand, as the audit log has it.

use serde_json::{Value, json};

use super::Done;
use crate::audit::{Deed, FOLDER, Log, Who};
use crate::backup::Target;
use crate::cli::error::Error;
use crate::clock::Clock;
use crate::config::Config;

/// Records it, where this state folder has an audit log: a folder that is still to be restored to has
/// none, and stays as it is. Answers why it could not be.
pub(super) fn note(
    config: &Config,
    target: &Target,
    action: &str,
    done: &Result<Done, Error>,
) -> Option<String> {
    if !config.state_dir.join(FOLDER).is_dir() {
        return None;
    }
    let (object, mut after, outcome) = match done {
        Ok(done) => (done.snapshot.clone(), done.about.clone(), "done"),
        Err(error) => (None, json!({"why": error.what()}), "failed"),
    };
    let object = object.map_or_else(|| "backup".to_owned(), |name| format!("backup/{name}"));
    after["at"] = json!(target.to_string());
    let name = format!("uid {}", rustix::process::getuid().as_raw());
    let deed = Deed {
        who: Who { kind: "cli".to_owned(), name, role: None },
        from: Some("this machine".to_owned()),
        action: action.to_owned(),
        object,
        before: Value::Null,
        after,
        outcome: outcome.to_owned(),
    };
    let written = Log::new(&config.state_dir).append(&deed, Clock::System.now());
    written.err().map(|error| format!("it is not in the audit log: {error}"))
}
