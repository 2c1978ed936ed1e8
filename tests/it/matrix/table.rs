//! The rows and columns: what is done while an endpoint fails, how it fails, and for how long.

use std::time::Duration;

use crate::proxy::Outcome;

/// The app that the faults are about.
pub(crate) const APP: &str = "chat";
/// An app of which the same is asked while another one's calls fail.
pub(crate) const NEAR: &str = "near";
/// An app of which nothing is asked.
pub(crate) const IDLE: &str = "idle";
/// An image that is pulled.
pub(crate) const REMOTE: &str = "shop/far:1";
/// What an engine says that fails.
pub(crate) const SAID: &str = "the disk is on fire";

/// What is done while calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Berth begins on an engine on which nothing is.
    First,
    /// Berth begins, and two apps are new.
    Install,
    /// Another image, with the same port.
    Update,
    /// Another image, which is pulled.
    Pull,
    /// The app becomes one that is built.
    Build,
    /// An app that was built twice is built again.
    Rebuild,
    /// Somebody kills the container.
    Kill,
    /// Nothing for more than a minute, and then somebody kills the container.
    Quiet,
    /// The manifest goes.
    Remove,
}

/// Each kind of work with the endpoints that matter to it.
pub(crate) const WORKS: &[(Work, &[&str])] = &[
    (Work::First, &["inspect_network", "create_network", "events"]),
    (
        Work::Install,
        &[
            "version",
            "info",
            "events",
            "list_containers",
            "list_images",
            "create",
            "start",
            "inspect",
            "exec_create",
            "exec_start",
            "exec_inspect",
        ],
    ),
    (Work::Update, &["list_containers", "list_images", "create", "start", "stop", "remove"]),
    (Work::Pull, &["pull", "inspect_image"]),
    (Work::Build, &["build", "inspect_image"]),
    (Work::Rebuild, &["remove_image"]),
    (Work::Kill, &["events", "list_containers", "inspect", "start"]),
    (Work::Quiet, &["ping"]),
    (Work::Remove, &["list_containers", "stop", "remove"]),
];

/// Whether the endpoint's requests name a container or an image, so that one app alone can fail.
pub(crate) fn is_of_one_app(endpoint: &str) -> bool {
    !matches!(
        endpoint,
        "version"
            | "info"
            | "ping"
            | "events"
            | "list_containers"
            | "list_images"
            | "inspect_network"
            | "create_network"
    )
}

/// How a request fails.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) name: &'static str,
    pub(crate) outcome: fn() -> Outcome,
    pub(crate) kind: Kind,
}

/// What a failure is, as far as it matters to what must be said and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The call plainly fails, or its answer is lost.
    Plain,
    /// The engine says that it fails, in words of its own.
    Spoken,
    /// Nothing comes: it is noticed at the call's deadline.
    Silent,
    /// It only takes longer.
    Slow,
    /// The engine says what is not so.
    Lie,
}

const fn failure(name: &'static str, outcome: fn() -> Outcome, kind: Kind) -> Failure {
    Failure { name, outcome, kind }
}

fn json(status: u16, body: &str) -> Outcome {
    Outcome::say(status, "application/json", body)
}

fn html(status: u16) -> Outcome {
    Outcome::say(status, "text/html", "<html><body><h1>the disk is on fire</h1></body></html>")
}

/// All of them.
pub(crate) const FAILURES: &[Failure] = &[
    failure("refused", || Outcome::Refuse(Duration::from_millis(300)), Kind::Plain),
    failure("closed before", || Outcome::Close, Kind::Plain),
    failure("answer lost", || Outcome::Lose, Kind::Plain),
    failure("cut in the head", || Outcome::Cut(8), Kind::Plain),
    failure("cut in half", || Outcome::Cut(60), Kind::Plain),
    failure("cut at the end", || Outcome::Cut(98), Kind::Plain),
    failure("not http", || Outcome::Say("SSH-2.0-OpenSSH_9.2\r\n".into()), Kind::Plain),
    failure("stall", || Outcome::Stall, Kind::Silent),
    failure("done, then stall", || Outcome::StallDone, Kind::Silent),
    failure("byte by second", || Outcome::Drip(1, Duration::from_secs(1)), Kind::Silent),
    failure("in small pieces", || Outcome::Drip(7, Duration::from_millis(1)), Kind::Slow),
    failure("each byte apart", || Outcome::Drip(1, Duration::ZERO), Kind::Slow),
    failure("late", || Outcome::Late(Duration::from_secs(3)), Kind::Slow),
    failure("html 502", || html(502), Kind::Spoken),
    failure("empty 500", || json(500, ""), Kind::Plain),
    failure("400", || Outcome::fail(400, SAID), Kind::Spoken),
    failure("401", || Outcome::fail(401, SAID), Kind::Spoken),
    failure("403", || Outcome::fail(403, SAID), Kind::Spoken),
    failure("404", || Outcome::fail(404, SAID), Kind::Lie),
    failure("409", || Outcome::fail(409, SAID), Kind::Lie),
    failure("429", || Outcome::fail(429, SAID), Kind::Spoken),
    failure("500", || Outcome::fail(500, SAID), Kind::Spoken),
    failure("503", || Outcome::fail(503, SAID), Kind::Spoken),
    failure("507", || Outcome::fail(507, SAID), Kind::Spoken),
    failure("301", || Outcome::fail(301, SAID), Kind::Plain),
    failure("304", || json(304, ""), Kind::Lie),
    failure("204", || json(204, ""), Kind::Lie),
    failure("html 200", || html(200), Kind::Lie),
    failure("null", || json(200, "null"), Kind::Lie),
    failure("empty list", || json(200, "[]"), Kind::Lie),
    failure("empty object", || json(200, "{}"), Kind::Lie),
    failure("older answer", || Outcome::Stale(3), Kind::Lie),
    failure("oldest answer", || Outcome::Stale(64), Kind::Lie),
];

/// Which of the requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Once,
    Twice,
    EachOther,
    UntilHealed,
}

impl Pattern {
    pub(crate) const ALL: [Self; 4] = [Self::Once, Self::Twice, Self::EachOther, Self::UntilHealed];

    /// Whether the request with this number fails.
    pub(crate) fn hits(self, nth: u64) -> bool {
        match self {
            Self::Once => nth == 0,
            Self::Twice => nth < 2,
            Self::EachOther => nth.is_multiple_of(2),
            Self::UntilHealed => true,
        }
    }
}

/// One experiment.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) work: Work,
    pub(crate) endpoint: &'static str,
    pub(crate) failure: Failure,
    pub(crate) pattern: Pattern,
}

impl Cell {
    /// What it is called; `BERTH_MATRIX` takes a part of it.
    pub(crate) fn name(&self) -> String {
        format!("{:?} / {} / {} / {:?}", self.work, self.endpoint, self.failure.name, self.pattern)
    }
}

/// All experiments of one kind of work.
pub(crate) fn cells(work: Work) -> Vec<Cell> {
    let mut cells = Vec::new();
    let (_, endpoints) = WORKS.iter().find(|(other, _)| *other == work).unwrap();
    for endpoint in *endpoints {
        for failure in FAILURES {
            // Only lists have an older answer that differs.
            let is_old = failure.name.contains("older") || failure.name.contains("oldest");
            if is_old && !endpoint.starts_with("list_") {
                continue;
            }
            for pattern in Pattern::ALL {
                cells.push(Cell { work, endpoint, failure: *failure, pattern });
            }
        }
    }
    cells
}
