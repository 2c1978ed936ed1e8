//! From the record to what targets are sent, over real connections.

use std::{path::Path, sync::Arc, time::Duration};

use berth::{
    clock::Clock,
    forge::{Secrets, signature::Signature},
    model::{ConditionStatus, ConditionType, Phase, Reason, Timestamp},
    notice::{
        Board, Courier, File, Notifier, Outcome, Pace, Target, Writer,
        desk::{Key, Seen},
        watch::{self, Disk},
    },
    record::{Entry, Record},
    telemetry::Exposed as _,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use crate::api::stage::{entry, now};

pub(super) const SECRET: &[u8] = b"hush-hush";

pub(super) fn targets(text: &str) -> Vec<Target> {
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    serde_json::from_value::<File>(file).unwrap().targets().unwrap()
}

pub(super) fn board(targets: Vec<Target>) -> Arc<Board> {
    let secrets = Secrets::new(|name| match name {
        "key" => Ok(SECRET.to_vec()),
        other => Err(format!("there is no secret `{other}`")),
    });
    let writer = Writer {
        instance: "lab".to_owned(),
        base_url: Some("https://berth.example.com".to_owned()),
    };
    Arc::new(Board::new(targets, writer, Courier::new(secrets), Clock::System))
}

struct Play {
    record: Arc<Record>,
    board: Arc<Board>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Play {
    /// What tells these targets, with what was told kept in a folder. All was looked at.
    async fn start(folder: &Path, record: &Arc<Record>, targets: Vec<Target>) -> Self {
        record.update_overview(|overview| overview.resynced_at = Some(now()));
        let (board, stop) = (board(targets), CancellationToken::new());
        let seen = Arc::clone(record);
        let notifier = Notifier {
            record: Arc::clone(record),
            clock: Clock::System,
            board: Arc::clone(&board),
            host: Box::new(move || watch::of_host(&seen.overview(), None, &[], now())),
            file: folder.join("notifications.json"),
            pace: Pace {
                look: Duration::from_millis(20),
                settling: Duration::from_millis(60),
                settling_max: Duration::from_secs(1),
            },
        };
        let task = tokio::spawn(notifier.run(stop.clone()));
        // Until what is wrong is news.
        let settling = async {
            while !board.is_settled() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settling).await.expect("it never settles");
        Self { record: Arc::clone(record), board, stop, task }
    }

    fn put(&self, name: &str, reason: Option<Reason>, message: &str) {
        self.record.write(app(name, reason, message));
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// An app that runs, or one that is in trouble for this reason.
fn app(name: &str, reason: Option<Reason>, message: &str) -> Entry {
    let mut entry = entry(name);
    entry.status.phase = if reason.is_some() { Phase::Failed } else { Phase::Running };
    entry.status.conditions.retain(|condition| condition.kind == ConditionType::Ready);
    for condition in &mut entry.status.conditions {
        condition.status =
            if reason.is_some() { ConditionStatus::False } else { ConditionStatus::True };
        condition.reason = reason.unwrap_or(Reason::Healthy);
        message.clone_into(&mut condition.message);
    }
    entry
}

fn webhook(port: u16) -> String {
    format!(
        "{{\"group\": \"100ms\", \"perHour\": 3600, \"targets\": [\
         {{\"name\": \"ops\", \"webhook\": \"http://127.0.0.1:{port}/hook\", \"secret\": \"key\"}}]}}"
    )
}

#[tokio::test]
async fn what_goes_wrong_is_told_signed_once_and_then_that_it_is_over() {
    let (folder, record) = (tempfile::tempdir().unwrap(), Arc::<Record>::default());
    let mut inbox = Inbox::start().await;
    let play = Play::start(folder.path(), &record, targets(&webhook(inbox.port))).await;
    inbox.answer(&[503]);
    play.put("chat", Some(Reason::CrashLoop), "it exits again and again: 1 time");
    let first = inbox.next().await;
    // What repeats itself in other words is no news, neither while it is told nor after.
    play.put("chat", Some(Reason::CrashLoop), "it exits again and again: 2 times");
    let second = inbox.next().await;
    assert_eq!(first.header("x-berth-delivery"), second.header("x-berth-delivery"));
    let signature = Signature::find(|name| second.header(name)).expect("no signature");
    assert!(signature.is_good(SECRET, second.body.as_bytes()));
    let body = second.json();
    assert_eq!(body["type"], "conditions");
    assert_eq!(body["title"], "chat Ready: trouble (CrashLoop)");
    assert_eq!(body["url"], "https://berth.example.com/ui/apps/chat");
    assert_eq!(body["changes"].as_array().unwrap().len(), 1);
    assert_eq!(body["changes"][0]["state"], "trouble");
    play.put("chat", Some(Reason::CrashLoop), "it exits again and again: 3 times");
    play.put("chat", None, "running, and its health check passes");
    let over = inbox.next().await.json();
    assert_eq!(over["changes"][0]["state"], "resolved");
    assert_eq!(over["changes"][0]["message"], "running, and its health check passes");
    let mut figures = String::new();
    play.board.write(&mut figures);
    assert!(figures.contains("{target=\"ops\",result=\"retried\"} 1\n"), "{figures}");
    assert!(inbox.is_empty());
    play.stop().await;
}

#[tokio::test]
async fn what_was_so_before_is_not_told_and_what_was_told_is_kept() {
    let (folder, record) = (tempfile::tempdir().unwrap(), Arc::<Record>::default());
    let mut inbox = Inbox::start().await;
    record.write(app("old", Some(Reason::Unhealthy), "since always"));
    let play = Play::start(folder.path(), &record, targets(&webhook(inbox.port))).await;
    play.put("new", Some(Reason::BuildFailed), "no such package");
    let told = inbox.next().await;
    assert!(told.body.contains("no such package") && !told.body.contains("since always"));
    // Once it is kept, nothing is told twice.
    let kept = folder.path().join("notifications.json");
    let is_kept = async {
        while !std::fs::read_to_string(&kept).unwrap_or_default().contains("new/Ready") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::inbox::PATIENCE, is_kept).await.unwrap();
    play.stop().await;
    record.write(app("gone", Some(Reason::Exited), "x"));
    let play = Play::start(folder.path(), &record, targets(&webhook(inbox.port))).await;
    assert_eq!(inbox.next().await.json()["changes"][0]["app"], "gone", "new while it was away");
    play.put("new", None, "it runs");
    play.put("old", None, "it runs");
    let over = inbox.next().await.json();
    assert_eq!(over["changes"].as_array().unwrap().len(), 1, "{over}");
    assert_eq!(
        (&over["changes"][0]["app"], &over["changes"][0]["state"]),
        (&"new".into(), &"resolved".into())
    );
    let last = play.board.posts[0].last().unwrap();
    assert_eq!((last.result.as_str(), last.error), ("sent", None));
    play.stop().await;
}

/// A target that takes the connection and never answers, one that nobody listens at, and one that
/// refuses, each cost themselves only.
#[tokio::test]
async fn a_target_that_hangs_or_is_away_holds_up_no_other() {
    let (folder, record) = (tempfile::tempdir().unwrap(), Arc::<Record>::default());
    let mut inbox = Inbox::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (hung, away) = (silent.local_addr().unwrap().port(), {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap().port()
    });
    let mut refusing = Inbox::start().await;
    refusing.answer(&[404; 9]);
    let text = format!(
        "{{\"group\": \"50ms\", \"targets\": [\
         {{\"name\": \"hung\", \"webhook\": \"http://127.0.0.1:{hung}/h\"}},\
         {{\"name\": \"away\", \"webhook\": \"http://127.0.0.1:{away}/h\"}},\
         {{\"name\": \"no\", \"webhook\": \"http://127.0.0.1:{}/h\"}},\
         {{\"name\": \"ok\", \"webhook\": \"http://127.0.0.1:{}/h\", \"apps\": [\"c*\"]}}]}}",
        refusing.port, inbox.port
    );
    let play = Play::start(folder.path(), &record, targets(&text)).await;
    let begun = tokio::time::Instant::now();
    play.put("web", Some(Reason::CrashLoop), "x");
    for name in ["c1", "c2"] {
        play.put(name, Some(Reason::CrashLoop), "x");
        let told = inbox.next().await.json();
        assert_eq!(told["changes"][0]["app"], name);
        assert_eq!(told["changes"].as_array().unwrap().len(), 1, "only of what it wants");
    }
    assert!(begun.elapsed() < Duration::from_secs(14), "nobody waited for the one that hangs");
    refusing.next().await;
    let ends = async {
        loop {
            let last = |nth: usize| play.board.posts[nth].last();
            if let (Some(away), Some(no)) = (last(1), last(2)) {
                assert_eq!((away.result.as_str(), no.result.as_str()), ("retried", "refused"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::inbox::PATIENCE, ends).await.unwrap();
    assert_eq!(play.board.posts[0].waiting(), 3, "what could not be told waits");
    play.stop().await;
}

#[tokio::test]
async fn ntfy_and_slack_are_told_in_their_own_words() {
    let mut inbox = Inbox::start().await;
    let port = inbox.port;
    let address = format!("http://127.0.0.1:{port}/services/x");
    let text = format!(
        "{{\"targets\": [{{\"name\": \"phone\", \"ntfy\": \"http://127.0.0.1:{port}/topic-1\", \"secret\": \"key\"}},\
         {{\"name\": \"chat\", \"slack\": true, \"secret\": \"address\"}},\
         {{\"name\": \"none\", \"slack\": true, \"secret\": \"missing\"}}]}}"
    );
    let secrets = Secrets::new(move |name| match name {
        "key" => Ok(SECRET.to_vec()),
        "address" => Ok(address.clone().into_bytes()),
        other => Err(format!("there is no secret `{other}`")),
    });
    let writer = Writer { instance: "<lab>".to_owned(), base_url: None };
    let board = Board::new(targets(&text), writer, Courier::new(secrets), Clock::System);
    assert_eq!(board.test(&board.posts[0]).await, Outcome::Taken);
    let phone = inbox.next().await;
    assert_eq!(phone.path, "/");
    assert_eq!(phone.header("authorization"), Some("Bearer hush-hush"));
    let body = phone.json();
    assert_eq!(
        (&body["topic"], &body["title"]),
        (&"topic-1".into(), &"A test from Berth (<lab>)".into())
    );
    assert_eq!(board.test(&board.posts[1]).await, Outcome::Taken);
    let chat = inbox.next().await;
    assert_eq!(chat.path, "/services/x");
    assert!(chat.json()["text"].as_str().unwrap().starts_with("*A test from Berth (&lt;lab&gt;)*"));
    let Outcome::Later(why) = board.test(&board.posts[2]).await else {
        panic!("it has no address")
    };
    assert!(why.contains("missing"), "{why}");
}

fn seen_of(all: &[(Key, Seen)], what: &str) -> &'static str {
    let found = all.iter().find(|(key, _)| key.word() == what);
    match found.map(|(_, seen)| seen) {
        Some(Seen::Trouble(_)) => "trouble",
        Some(Seen::Fine(_)) => "fine",
        Some(Seen::Unclear) => "unclear",
        None => "nothing",
    }
}

/// What is on its way, or was asked for, is no trouble.
#[test]
fn only_what_is_wrong_is_trouble() {
    for (reason, told) in [
        (Reason::CrashLoop, "trouble"),
        (Reason::GpuLost, "trouble"),
        (Reason::RolledBack, "trouble"),
        (Reason::Building, "unclear"),
        (Reason::EngineUnreachable, "unclear"),
        (Reason::WaitingForGpu, "unclear"),
        (Reason::Paused, "fine"),
    ] {
        let all = watch::of_entry(&app("chat", Some(reason), "x"));
        assert_eq!(seen_of(&all, "Ready"), told, "{reason}");
    }
    assert_eq!(seen_of(&watch::of_entry(&app("chat", None, "x")), "Ready"), "fine");
    let mut blind = app("chat", Some(Reason::EngineUnreachable), "x");
    blind.status.phase = Phase::Unknown;
    assert_eq!(seen_of(&watch::of_entry(&blind), "ImageReady"), "unclear", "nobody can see it");
    // Runs, as an older version than is wanted.
    let mut older = app("chat", Some(Reason::RolledBack), "x");
    older.status.phase = Phase::Degraded;
    older.status.conditions[0].status = ConditionStatus::True;
    assert_eq!(seen_of(&watch::of_entry(&older), "Ready"), "trouble");
}

#[test]
fn a_disk_that_fills_is_told_of_and_does_not_flap() {
    let overview = berth::record::Overview::default();
    let at = Timestamp::from_millis(1);
    let told = |free: u64, full_in: Option<u64>| {
        let disk = Disk { free, all: 1000, full_in };
        seen_of(&watch::of_host(&overview, Some(disk), &[], at), "Disk")
    };
    assert_eq!(told(900, Some(60)), "fine", "a forecast of an empty disk says little");
    assert_eq!(told(200, Some(3600)), "trouble");
    assert_eq!(told(200, Some(40 * 3600)), "unclear");
    assert_eq!(told(200, Some(60 * 3600)), "fine");
    assert_eq!(told(20, None), "trouble");
    assert_eq!(told(40, None), "unclear");
    assert_eq!(told(60, None), "fine");
}

#[test]
fn backups_and_the_database_are_told_of() {
    let at = Timestamp::from_millis(1000);
    let mut overview = berth::record::Overview::default();
    let told = |overview: &berth::record::Overview| {
        let all = watch::of_host(overview, None, &[], at);
        (seen_of(&all, "Backup"), seen_of(&all, "Database"))
    };
    assert_eq!(told(&overview), ("nothing", "fine"), "none is made by itself");
    overview.backup_overdue = Some(at);
    assert_eq!(told(&overview), ("fine", "fine"));
    overview.backup_overdue = Some(Timestamp::from_millis(999));
    assert_eq!(told(&overview), ("trouble", "fine"), "it is late");
    overview.backup_overdue = Some(at);
    overview.backup_trouble = Some("no backup was made".to_owned());
    overview.database_trouble = Some("it can't be read".to_owned());
    assert_eq!(told(&overview), ("trouble", "trouble"));
}

/// What was told is kept once it can be, though nothing more is told: the next start would tell all
/// of it again.
#[tokio::test]
async fn what_could_not_be_kept_is_kept_later() {
    let (folder, record) = (tempfile::tempdir().unwrap(), Arc::<Record>::default());
    let mut inbox = Inbox::start().await;
    let away = folder.path().join("away");
    let play = Play::start(&away, &record, targets(&webhook(inbox.port))).await;
    play.put("chat", Some(Reason::CrashLoop), "it exits");
    inbox.next().await;
    std::fs::create_dir(&away).unwrap();
    let file = away.join("notifications.json");
    let is_kept = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("CrashLoop"));
    for _ in 0..600 {
        if is_kept() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_kept(), "it was never kept");
    play.stop().await;
    let play = Play::start(&away, &record, targets(&webhook(inbox.port))).await;
    play.put("chat", None, "running");
    assert_eq!(inbox.next().await.json()["changes"][0]["state"], "resolved");
    assert!(inbox.is_empty());
    play.stop().await;
}
