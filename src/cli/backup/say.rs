//! What is said of backups.

use serde_json::{Value, json};

use super::{Done, Format};
use crate::backup::{Archive, Made, Name, Pruning, Restored, Target, Verdict, What};
use crate::cli::{
    error::{Error, Exit},
    output::{Output, plain},
    table,
};
use crate::config::Config;
use crate::daemon::backups;
use crate::model::{format_bytes, format_duration};

/// What was made.
pub(super) fn made(made: &Made, target: &Target) -> Done {
    let Made { name, files, new_objects, .. } = made;
    let (bytes, new) = (format_bytes(made.bytes), format_bytes(made.new_bytes));
    let line = format!("{name} is at {target}: {files} files ({bytes}), {new_objects} new ({new})");
    let mut remarks: Vec<_> =
        made.left_out.iter().map(|what| format!("left out: {what}")).collect();
    if made.left_out.iter().any(|what| what.contains("only an encrypted")) {
        remarks.push("with --passphrase-file or --identity, secrets are in the backup too".into());
    }
    if made.is_torn {
        remarks.push("with --pause APP an app stands still while its data is read".into());
    }
    let (warnings, is_bad) = (made.remarks.clone(), made.is_incomplete || made.is_torn);
    let about = json!({
        "files": files, "bytes": made.bytes, "newBytes": made.new_bytes,
        "isIncomplete": made.is_incomplete, "isTorn": made.is_torn,
    });
    let snapshot = Some(name.clone());
    Done { lines: vec![line], remarks, warnings, is_bad, about, snapshot }
}

/// The snapshots of an archive.
pub(super) fn list(archive: &Archive, format: Format) -> Result<Done, Error> {
    let vault = archive.vault();
    let (mut rows, mut items, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for name in vault.names()? {
        let snapshot = match vault.snapshot(&name) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                warnings.push(format!("{name}: {error}"));
                continue;
            }
        };
        let files = snapshot.entries.iter().filter_map(|entry| match &entry.what {
            What::File { size, .. } => Some(*size),
            _ => None,
        });
        let (files, bytes) = files.fold((0_u64, 0), |(count, sum): (u64, u64), size| {
            (count + 1, sum.saturating_add(size))
        });
        rows.push(vec![
            name.to_string(),
            snapshot.made.to_string(),
            snapshot.host.clone(),
            snapshot.instance.clone(),
            files.to_string(),
            format_bytes(bytes),
        ]);
        items.push(json!({
            "name": name.as_str(), "made": snapshot.made, "host": snapshot.host,
            "instance": snapshot.instance, "berth": snapshot.berth, "files": files, "bytes": bytes,
            "leftOut": snapshot.left_out, "remarks": snapshot.remarks,
        }));
    }
    let header = ["BACKUP", "MADE", "HOST", "INSTANCE", "FILES", "SIZE"];
    let lines = match format {
        Format::Table => table::lines(&header, &rows),
        Format::Json => {
            let text = serde_json::to_string_pretty(&json!({ "items": items }));
            text.unwrap_or_default().lines().map(ToOwned::to_owned).collect()
        }
    };
    let is_bad = !warnings.is_empty();
    Ok(Done { lines, warnings, is_bad, ..Done::default() })
}

/// How an archive was found.
pub(super) fn verdict(verdict: &Verdict) -> Done {
    let Verdict { snapshots, objects, flaws, .. } = verdict;
    let is_bad = !flaws.is_empty();
    let word = if is_bad { "NOT whole" } else { "whole" };
    let bytes = format_bytes(verdict.bytes);
    let last = format!("{word}: {snapshots} backups, {objects} objects ({bytes})");
    let lines = flaws.iter().cloned().chain([last]).collect();
    Done { lines, is_bad, ..Done::default() }
}

/// What was brought back.
pub(super) fn restored(restored: &Restored, is_new_engine: bool) -> Done {
    let Restored { name, files, .. } = restored;
    if restored.was_done {
        let line = format!(
            "{name} was restored before, and all of it is there: nothing was changed (`--over` restores it once more)"
        );
        let (about, snapshot) = (json!({"isThere": true}), Some(name.clone()));
        return Done { lines: vec![line], about, snapshot, ..Done::default() };
    }
    let line = format!("{name} is restored: {files} contents ({})", format_bytes(restored.bytes));
    let mut remarks: Vec<_> = restored
        .aside
        .iter()
        .map(|path| format!("what was there is in {}", path.display()))
        .collect();
    remarks.push(if is_new_engine {
        "start Berth: it takes the engine that it finds for its own".to_owned()
    } else {
        "start Berth; with another engine than before it changes nothing until `berth confirm`"
            .to_owned()
    });
    let about = json!({"files": files, "bytes": restored.bytes});
    let snapshot = Some(name.clone());
    Done { lines: vec![line], remarks, about, snapshot, ..Done::default() }
}

/// What was let go, for the audit log.
pub(super) fn gone(pruning: &Pruning) -> Value {
    let snapshots: Vec<_> = pruning.snapshots.iter().map(Name::as_str).collect();
    json!({"snapshots": snapshots, "objects": pruning.objects.len(), "bytes": pruning.bytes})
}

/// When backups are made, as it is configured.
pub(super) fn schedule(config: &Config, output: &mut Output) -> Result<Exit, Error> {
    for (name, value) in backups::lines(config) {
        output.line(&plain(&format!("{name}: {value}")))?;
    }
    let backups = &config.backups;
    let (Some(target), Some(every)) = (&backups.to, backups.every) else {
        output.remark(
            "no backup is made by itself: set --backup-to and --backup-every of `berth run`",
        );
        return Ok(Exit::NotSo);
    };
    let key = backups.key.as_ref().map(crate::config::KeyFile::read).transpose();
    let newest = key.and_then(|key| {
        let archive = backups::open(config, target, key, false).map_err(|it| it.to_string())?;
        let found = archive.vault().find("latest").and_then(|name| archive.vault().snapshot(&name));
        found.map_err(|error| error.to_string())
    });
    match newest {
        Ok(snapshot) => {
            output.line(&format!("newest: {}", snapshot.made))?;
            output.line(&format!("next: {}", snapshot.made + every))?;
        }
        Err(why) => {
            output.line("newest: none")?;
            output.remark(&plain(&format!("{target}: {why}")));
        }
    }
    output.remark(&format!("a running Berth makes one every {}", format_duration(every)));
    Ok(Exit::Done)
}
