//! How Berth looks after itself: backups, notifications, cleanups; when each last went well, and what
//! does not.

use super::{Look, words};
use crate::model::{Timestamp, format_bytes, format_duration};
use crate::notice::Last;
use crate::record::Overview;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Care {
    pub(super) name: String,
    pub(super) tone: &'static str,
    pub(super) text: String,
    pub(super) help: &'static str,
}

/// A target of notifications, and how telling it goes.
struct Target {
    name: String,
    last: Option<Last>,
    sent: Option<Timestamp>,
    waiting: u64,
}

/// What the screen shows of it.
pub(super) fn care(look: &Look) -> Vec<Care> {
    let parts = &look.shared.parts;
    let posts = parts.figures.notices.iter().flat_map(|board| &board.posts);
    let targets: Vec<_> = posts
        .map(|post| Target {
            name: post.target.name.clone(),
            last: post.last(),
            sent: post.sent_at(),
            waiting: post.waiting(),
        })
        .collect();
    lines(&parts.record.overview(), &targets, look.now)
}

fn lines(overview: &Overview, targets: &[Target], now: Timestamp) -> Vec<Care> {
    let mut lines = vec![backups(overview, now)];
    if targets.is_empty() {
        lines.push(none("Notifications", "nobody is told of trouble", "Set --notifications FILE."));
    }
    lines.extend(targets.iter().map(|target| told(target, now)));
    lines.push(cleanup(overview, now));
    lines
}

fn none(name: &str, text: &str, help: &'static str) -> Care {
    Care { name: format!("{name}: none"), tone: "quiet", text: text.to_owned(), help }
}

fn backups(overview: &Overview, now: Timestamp) -> Care {
    let Some(seen) = overview.backups.as_deref() else {
        let help = "Set --backup-to and --backup-every, or run berth backup create.";
        return none("Backups", "none is made by itself", help);
    };
    let newest = match (seen.newest, seen.bytes) {
        (Some(at), Some(bytes)) => {
            format!("the newest is {} old ({})", words::age(at, now), format_bytes(bytes))
        }
        (Some(at), None) => format!("the newest is {} old", words::age(at, now)),
        (None, _) => "there is none yet".to_owned(),
    };
    let due = match seen.due.since(now).as_secs() {
        0 => "the next is due".to_owned(),
        left => format!("the next is due in {}", rough(left)),
    };
    let text = format!("{newest}, {due}; at {}", seen.to);
    let is_late = overview.backup_overdue.is_some_and(|overdue| overdue <= now);
    match &overview.backup_trouble {
        Some(trouble) => Care {
            name: "Backups: not as they should be".to_owned(),
            tone: "bad",
            text: format!("{trouble}; {text}"),
            help: "berth backup create tries it now; berth backup verify reads all again.",
        },
        None if is_late => Care {
            name: "Backups: overdue".to_owned(),
            tone: "bad",
            text,
            help: "Berth's log says what keeps them.",
        },
        None => Care { name: "Backups".to_owned(), tone: "good", text, help: "" },
    }
}

/// Seconds in whole units, as ages are said.
fn rough(seconds: u64) -> String {
    let seconds = if 60 <= seconds { seconds / 60 * 60 } else { seconds };
    format_duration(std::time::Duration::from_secs(seconds))
}

fn told(target: &Target, now: Timestamp) -> Care {
    let sent = match target.sent {
        Some(at) => format!("told {} ago", words::age(at, now)),
        None => "told nothing yet".to_owned(),
    };
    let waiting = match target.waiting {
        0 => String::new(),
        1 => ", one change waits".to_owned(),
        many => format!(", {many} changes wait"),
    };
    let text = format!("{sent}{waiting}");
    let wrong = target.last.as_ref().filter(|last| last.error.is_some());
    match wrong.and_then(|last| last.error.as_ref()) {
        Some(error) => Care {
            name: format!("Notifications: {} fails", target.name),
            tone: "bad",
            text: format!("{error}; {text}"),
            help: "berth notify test tries it.",
        },
        None => {
            Care { name: format!("Notifications: {}", target.name), tone: "good", text, help: "" }
        }
    }
}

fn cleanup(overview: &Overview, now: Timestamp) -> Care {
    let Some(seen) = &overview.cleaned else {
        let help = "berth gc --dry-run says what could go.";
        return none("Cleanup", "nobody asked for one since Berth began", help);
    };
    let (age, bytes) = (words::age(seen.at, now), format_bytes(seen.bytes));
    let text = format!("{age} ago, {} things of {bytes} went", seen.gone);
    if seen.failed == 0 {
        return Care { name: "Cleanup".to_owned(), tone: "good", text, help: "" };
    }
    Care {
        name: "Cleanup: not all went".to_owned(),
        tone: "bad",
        text: format!("{text}, {} could not", seen.failed),
        help: "berth gc says why.",
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::record::{BackupSeen, Cleaned};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn said(overview: &Overview, targets: &[Target]) -> Vec<String> {
        let lines = lines(overview, targets, at(10_000));
        assert!(lines.iter().all(|it| it.tone != "bad" || !it.help.is_empty()), "{lines:?}");
        lines.iter().map(|it| format!("{} {} | {}", it.tone, it.name, it.text)).collect()
    }

    #[test]
    fn what_is_not_set_up_is_said_without_alarm() {
        let expected = [
            "quiet Backups: none | none is made by itself",
            "quiet Notifications: none | nobody is told of trouble",
            "quiet Cleanup: none | nobody asked for one since Berth began",
        ];
        assert_eq!(said(&Overview::default(), &[]), expected);
    }

    #[test]
    fn the_last_success_the_next_one_and_what_fails_are_said() {
        let seen = BackupSeen {
            to: "/mnt/backups".to_owned(),
            every: Duration::from_hours(24),
            newest: Some(at(9_880)),
            due: at(11_320),
            bytes: Some(3 << 20),
        };
        let cleaned = Cleaned { at: at(9_990), gone: 4, failed: 0, bytes: 5 << 20 };
        let mut overview = Overview {
            backups: Some(Arc::new(seen)),
            backup_overdue: Some(at(12_000)),
            cleaned: Some(cleaned.clone()),
            ..Overview::default()
        };
        let last = |error: Option<&str>| Last {
            at: at(9_999),
            result: "sent".to_owned(),
            title: "chat Ready".to_owned(),
            error: error.map(ToOwned::to_owned),
        };
        let target =
            |name: &str, last, sent, waiting| Target { name: name.to_owned(), last, sent, waiting };
        let fails = target("mail", Some(last(Some("it answers 500"))), None, 2);
        let targets = [target("ops", Some(last(None)), Some(at(9_999)), 0), fails];
        let expected = [
            "good Backups | the newest is 2h old (3Mi), the next is due in 22h; at /mnt/backups",
            "good Notifications: ops | told 1m ago",
            "bad Notifications: mail fails | it answers 500; told nothing yet, 2 changes wait",
            "good Cleanup | 10m ago, 4 things of 5Mi went",
        ];
        assert_eq!(said(&overview, &targets), expected);
        overview.backup_trouble = Some("no backup was made".to_owned());
        overview.cleaned = Some(Cleaned { failed: 1, ..cleaned });
        let now = said(&overview, &[]);
        assert!(now[0].starts_with("bad Backups: not as they should be | no backup was made; the"));
        assert_eq!(
            now[2],
            "bad Cleanup: not all went | 10m ago, 4 things of 5Mi went, 1 could not"
        );
        (overview.backup_trouble, overview.backup_overdue) = (None, Some(at(9_000)));
        assert!(said(&overview, &[])[0].starts_with("bad Backups: overdue | the newest is 2h old"));
    }
}
