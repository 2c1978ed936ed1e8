//! How things are said and shown on every screen: tones, sentences, ages, sizes, bars.

use std::sync::Arc;

use crate::model::{Phase, Reason, Timestamp, format_bytes, format_duration};
use crate::plan::Verb;
use crate::record::{Entry, Event};

/// Among so many events those that say the same are one.
const LOOKED_BACK: usize = 200;

/// What the next screen says after a change.
pub(super) const DONE: &[(&str, &str)] = &[
    ("start", "It is being started."),
    ("stop", "It is being stopped, and stays stopped until somebody starts it."),
    ("restart", "It is being stopped and started again."),
    ("install", "Its image is being fetched or built."),
    ("rebuild", "It is being built from scratch. What runs goes on until the new one is good."),
    ("reconcile", "It is being looked at now, its repository included."),
    ("undo", "It goes back to the earlier version."),
    ("remove", "Its manifest is removed. Its container goes; its data folder and volumes stay."),
    ("save", "The manifest is saved. What follows from it is on its way."),
    ("same", "Nothing differs, so nothing was written."),
    ("create", "It is registered. Fetching and building begin now."),
    ("confirm", "What was held back may pass now."),
    ("container-start", "The container is started."),
    ("container-stop", "The container is stopped."),
    ("container-remove", "The container is removed."),
    ("model-upload", "The file is stored."),
    ("model-remove", "The model is in the trash, from which it can be brought back."),
    ("revoke", "The token is worthless from now on, and so are sessions that it began."),
];

/// The tone of a phase: it decides colour and sign. The word is always there beside it.
pub(super) fn tone(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "good",
        Phase::Failed | Phase::Degraded => "bad",
        Phase::Unknown => "odd",
        Phase::Paused => "quiet",
        Phase::Installed | Phase::Uninstalled => "calm",
        Phase::Installing => "busy",
    }
}

/// Which of the filters of the list an app is in.
pub(super) fn group(entry: &Entry) -> &'static str {
    match entry.status.phase {
        _ if needs_somebody(entry) => "problems",
        Phase::Running => "running",
        _ if is_stopped(entry) => "stopped",
        _ => "moving",
    }
}

/// Whether somebody wants it to stand still.
fn is_stopped(entry: &Entry) -> bool {
    entry.status.phase == Phase::Paused || entry.status.reason == Reason::Suspended
}

/// Whether a person should look at it.
pub(super) fn needs_somebody(entry: &Entry) -> bool {
    matches!(entry.status.phase, Phase::Failed | Phase::Degraded | Phase::Unknown)
        || !entry.plan.refusals.is_empty()
}

/// Problems first, what was stopped on purpose last.
pub(super) fn urgency(entry: &Entry) -> u8 {
    match entry.status.phase {
        Phase::Failed => 0,
        Phase::Degraded => 1,
        Phase::Unknown => 2,
        _ if needs_somebody(entry) => 3,
        _ if is_stopped(entry) => 6,
        Phase::Uninstalled | Phase::Installing | Phase::Installed => 4,
        Phase::Running => 5,
        Phase::Paused => 6,
    }
}

/// A moment, with how long ago it was.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) age: String,
}

/// A moment, as seen from now.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> Moment {
    Moment { at, age: age(at, now) }
}

/// How long ago something was, in whole units: two words at most, and never half seconds.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let past = std::time::Duration::from_secs(now.since(at).as_secs());
    match past.as_secs() {
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        _ => format_duration(past),
    }
}

/// The verdict about an app: what is said before how long it is so, and after it.
pub(super) fn verdict(entry: &Entry) -> (&'static str, &'static str) {
    match entry.status.phase {
        Phase::Running => ("Running for", ""),
        Phase::Degraded => ("Degraded for", ""),
        Phase::Failed => ("Failed", "ago"),
        Phase::Installing => ("Installing for", ""),
        Phase::Installed => ("Installed, not running, for", ""),
        Phase::Uninstalled => ("Not installed for", ""),
        Phase::Paused => ("Stopped for", ""),
        Phase::Unknown => ("Nobody can tell, for", ""),
    }
}

/// Which version runs: the commit, else the shape.
pub(super) fn revision(entry: &Entry) -> String {
    let status = &entry.status;
    let commit = status.commit.as_deref().map(|commit| commit.get(..7).unwrap_or(commit));
    let shape = status.revision.as_ref().map(crate::model::SpecHash::suffix);
    commit.or(shape).unwrap_or("").to_owned()
}

/// How far what runs is behind its source, where it is.
pub(super) fn behind(entry: &Entry) -> Option<String> {
    let behind = entry.status.commits_behind.filter(|behind| 0 < behind.commits)?;
    Some(format!("{behind} behind"))
}

/// Whether something is still to be done about it.
pub(super) fn is_behind(entry: &Entry) -> bool {
    let plan = &entry.plan;
    plan.verb != Verb::Nothing || !plan.is_empty() || !plan.then.is_empty()
}

/// An address that a browser may be sent to.
pub(super) fn link(url: Option<&String>) -> Option<String> {
    let is_web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
    url.filter(is_web).cloned()
}

/// A bar: a part of a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) text: String,
    /// In percent.
    pub(super) part: u64,
    pub(super) tone: &'static str,
}

/// A bar of bytes.
pub(super) fn bytes_bar(label: &str, used: u64, total: u64) -> Bar {
    let part = percent(used, total);
    let text = format!("{} of {}", format_bytes(used), format_bytes(total));
    Bar { label: label.to_owned(), text, part, tone: fullness(part) }
}

/// A bar of percents.
pub(super) fn percent_bar(label: &str, part: u64) -> Bar {
    let part = part.min(100);
    Bar { label: label.to_owned(), text: format!("{part}%"), part, tone: fullness(part) }
}

/// How many percent that is.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let part = u128::from(part) * 100 / u128::from(whole);
    u64::try_from(part).unwrap_or(100).min(100)
}

fn fullness(part: u64) -> &'static str {
    match part {
        95.. => "bad",
        85.. => "busy",
        _ => "plain",
    }
}

/// An event, as a row.
pub(super) struct EventRow {
    pub(super) id: u64,
    pub(super) when: Moment,
    pub(super) is_warning: bool,
    pub(super) app: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// An event, as seen from now.
pub(super) fn event(event: &Event, now: Timestamp) -> EventRow {
    EventRow {
        id: event.id,
        when: moment(event.at, now),
        is_warning: event.is_warning,
        app: event.app.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: event.reason.to_string(),
        message: event.message.clone(),
    }
}

/// The newest events first, at most so many. Those that say the same are one, the last of them.
pub(super) fn folded(events: &[Arc<Event>], now: Timestamp, most: usize) -> Vec<EventRow> {
    let mut kept: Vec<(&Event, usize)> = Vec::new();
    for one in events.iter().rev().take(LOOKED_BACK) {
        let is_same = |other: &Event| (other.reason, &other.message) == (one.reason, &one.message);
        match kept.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, times)) => *times += 1,
            None => kept.push((one, 1)),
        }
    }
    let row = |(one, times): (&Event, usize)| {
        let mut row = event(one, now);
        if 1 < times {
            row.message.push_str(&format!(" ({times} times)"));
        }
        row
    };
    kept.into_iter().take(most).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_whole_never_leave_the_bar() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(7, 3), 100);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(bytes_bar("", 96, 100).tone, "bad");
    }

    #[test]
    fn an_age_has_whole_units() {
        let at = Timestamp::from_millis(1_000_000);
        let after = |ms: i64| age(at, at.moved(ms));
        assert_eq!(after(1_500), "1s");
        assert_eq!(after(61_000), "1m");
        assert_eq!(after(3_720_000), "1h2m");
        assert_eq!(after(-5_000), "0s");
    }

    #[test]
    fn only_the_web_is_linked_to() {
        assert_eq!(link(Some(&"javascript:alert(1)".to_owned())), None);
        assert!(link(Some(&"http://127.0.0.1:8001".to_owned())).is_some());
    }

    /// A script comes back to a screen that knows what was done.
    #[test]
    fn scripts_name_what_was_done_as_screens_know_it() {
        let upload = include_str!("../assets/upload.js");
        let (_, rest) = upload.split_once("?done=").unwrap();
        let word: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
        assert!(DONE.iter().any(|(known, _)| *known == word), "{word}");
    }
}
