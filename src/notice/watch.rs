//! What is worth telling: read off the record, never decided here.

use std::{collections::BTreeSet, time::Duration};

use super::desk::{Key, Seen, Trouble};
use crate::model::{
    Condition, ConditionStatus, ConditionType, Phase, Reason, Timestamp, format_bytes,
    format_duration,
};
use crate::record::{Entry, Overview};
use crate::state::Gpu;

/// What is on its way, waits its turn, or is told once for the whole host.
const UNCLEAR: &[Reason] = &[
    Reason::RemovalHeld,
    Reason::Removing,
    Reason::SourceUnreadable,
    Reason::Fetching,
    Reason::ModelPulling,
    Reason::Scanning,
    Reason::Building,
    Reason::Pulling,
    Reason::WaitingForDependency,
    Reason::WaitingForGpu,
    Reason::Starting,
    Reason::Probing,
    Reason::Proving,
    Reason::EngineUnreachable,
    Reason::Pending,
];
/// Somebody wanted it so.
const ON_REQUEST: &[Reason] = &[Reason::Paused, Reason::Suspended];
/// The disk is told of when it will be full within this time, and no more when it will not be
/// within twice of it.
const DISK_SOON: Duration = Duration::from_hours(24);
/// A forecast of a disk of which more than this share is free says little.
const DISK_FREE_PERCENT: u64 = 25;
/// With less than this share free, no forecast is needed.
const DISK_LOW_PERCENT: u64 = 3;

/// The room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes in all.
    pub all: u64,
    /// In how many seconds none is left, if it goes on like this.
    pub full_in: Option<u64>,
}

/// How the conditions of an app are.
pub fn of_entry(entry: &Entry) -> Vec<(Key, Seen)> {
    let status = &entry.status;
    let condition = |kind| status.conditions.iter().find(|condition| condition.kind == kind);
    let mut all = Vec::new();
    let mut reasons = BTreeSet::new();
    for kind in [
        ConditionType::Accepted,
        ConditionType::SourceReady,
        ConditionType::ImageReady,
        ConditionType::ScanPassed,
    ] {
        let seen = match condition(kind) {
            Some(condition) => of_condition(condition),
            // Of an app that nobody can see, nothing is known to be gone.
            None if status.phase == Phase::Unknown => Seen::Unclear,
            None => Seen::Fine("it is not wanted any more".to_owned()),
        };
        if let (Seen::Trouble(_), Some(condition)) = (&seen, condition(kind)) {
            reasons.insert(condition.reason);
        }
        all.push((Key::of_app(&entry.name, kind), seen));
    }
    let ready = condition(ConditionType::Ready).map_or(Seen::Unclear, |condition| {
        // What is told of the image or the source is not told again of the app.
        if reasons.contains(&condition.reason) {
            return Seen::Unclear;
        }
        of_ready(status.phase, condition)
    });
    all.push((Key::of_app(&entry.name, ConditionType::Ready), ready));
    all
}

fn of_condition(condition: &Condition) -> Seen {
    match condition.status {
        ConditionStatus::True => Seen::Fine(condition.message.clone()),
        ConditionStatus::Unknown => Seen::Unclear,
        ConditionStatus::False => trouble(condition),
    }
}

/// An app that runs may be in trouble too: as an older version than is wanted.
fn of_ready(phase: Phase, condition: &Condition) -> Seen {
    match (phase, condition.status) {
        (Phase::Degraded | Phase::Failed, ConditionStatus::True | ConditionStatus::False) => {
            trouble(condition)
        }
        (_, ConditionStatus::True) => Seen::Fine(condition.message.clone()),
        (_, ConditionStatus::False) if ON_REQUEST.contains(&condition.reason) => trouble(condition),
        _ => Seen::Unclear,
    }
}

fn trouble(condition: &Condition) -> Seen {
    if UNCLEAR.contains(&condition.reason) {
        return Seen::Unclear;
    }
    if ON_REQUEST.contains(&condition.reason) {
        return Seen::Fine(condition.message.clone());
    }
    Seen::Trouble(Trouble {
        reason: condition.reason.to_string(),
        message: condition.message.clone(),
        since: condition.last_transition,
    })
}

/// How the host is.
pub fn of_host(
    overview: &Overview,
    disk: Option<Disk>,
    gpus: &[Gpu],
    now: Timestamp,
) -> Vec<(Key, Seen)> {
    let said = |reason: Reason, message: Option<String>, fine: &str| match message {
        Some(message) => Seen::Trouble(Trouble { reason: reason.to_string(), message, since: now }),
        None => Seen::Fine(fine.to_owned()),
    };
    let engine = overview.engine_error.clone();
    let hold = overview.hold.as_ref().map(crate::state::Hold::message);
    let mistakes: Vec<_> = overview.diagnostics.iter().filter(|one| one.is_error()).collect();
    let first = mistakes.first().map(|first| {
        let place = if first.line == 0 { String::new() } else { format!(":{}", first.line) };
        let told = format!("{}{place}: {}", first.file, first.message);
        match mistakes.len() {
            1 => told,
            count => format!("{told}, and {} more", count - 1),
        }
    });
    let warning = overview.certificate.as_ref().and_then(|it| it.warning.clone());
    let mut all = vec![
        ("Engine", said(Reason::EngineUnreachable, engine, "the engine answers")),
        (
            "Source",
            said(
                Reason::SourceUnreadable,
                overview.source_error.clone(),
                "the manifests can be read",
            ),
        ),
        ("Manifests", said(Reason::InvalidManifest, first, "the manifests have no mistakes")),
        ("Removals", said(Reason::RemovalHeld, hold, "no removal is held back")),
        ("Certificate", said(Reason::CertificateExpiring, warning, "the certificate is good")),
    ];
    let late = overview.backup_overdue.filter(|overdue| *overdue < now);
    let backup = overview.backup_trouble.clone().or_else(|| {
        late.map(|_| "no backup was made for twice as long as there should be one".to_owned())
    });
    if backup.is_some() || overview.backup_overdue.is_some() {
        all.push(("Backup", said(Reason::BackupFailed, backup, "backups are made")));
    }
    let database = overview.database_trouble.clone();
    let fine = "what is known of vulnerabilities can be read";
    all.push(("Database", said(Reason::ScanFailed, database, fine)));
    if overview.engine.is_none() && overview.engine_error.is_none() {
        // Nobody has asked it yet.
        all.remove(0);
    }
    let mut all: Vec<_> = all.into_iter().map(|(what, seen)| (Key::of_host(what), seen)).collect();
    all.extend(disk.map(|disk| (Key::of_host("Disk"), of_disk(disk, now))));
    all.extend(
        gpus.iter().map(|gpu| (Key::of_host(format!("Gpu:{}", gpu.uuid)), of_gpu(gpu, now))),
    );
    all
}

fn of_disk(disk: Disk, now: Timestamp) -> Seen {
    let Disk { free, all, full_in } = disk;
    let below = |percent: u64| u128::from(free) * 100 < u128::from(all) * u128::from(percent);
    let full_in = full_in.map(Duration::from_secs);
    let said = |message| {
        Seen::Trouble(Trouble { reason: Reason::DiskFull.to_string(), message, since: now })
    };
    let left = format_bytes(free);
    match full_in {
        _ if below(DISK_LOW_PERCENT) => said(format!("{left} are left on the disk")),
        Some(time) if time < DISK_SOON && below(DISK_FREE_PERCENT) => said(format!(
            "the disk will be full in {}, if it goes on like this: {left} are left",
            format_duration(Duration::from_secs(time.as_secs() / 60 * 60)),
        )),
        // Neither the one nor the other: it would be told again and again.
        Some(time) if time < DISK_SOON * 2 && below(DISK_FREE_PERCENT + 5) => Seen::Unclear,
        _ if below(DISK_LOW_PERCENT + 2) => Seen::Unclear,
        _ => Seen::Fine(format!("{left} are left on the disk")),
    }
}

fn of_gpu(gpu: &Gpu, now: Timestamp) -> Seen {
    match gpu.health.problems.as_slice() {
        [] => Seen::Fine(format!("GPU {} is well", gpu.index)),
        problems => Seen::Trouble(Trouble {
            reason: Reason::GpuLost.to_string(),
            message: format!("GPU {}: {}", gpu.index, problems.join("; ")),
            since: now,
        }),
    }
}
