//! What goes of what was left behind: the one decision about it, made of what was found.
//!
//! # Guarantees
//! Never what is not ours, nothing that anybody uses or wants, nothing of an app on which work is
//! under way, nothing younger than the grace period or of an unknown age, no data of a user unless a
//! person said so, and nothing that rests on manifests or on an engine that could not be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fmt::Write as _,
    time::Duration,
};

use serde::Serialize;

use crate::model::{AppName, Timestamp, format_bytes, format_duration};

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftKind {
    /// The folder of an app that no manifest names.
    Workspace,
    /// The checkout and the build log of such an app, whose data stays.
    Code,
    /// A compose file of such an app.
    Compose,
    /// A container that compose made of a compose file of such an app.
    Project,
    /// Host ports and GPUs that such an app was given.
    Reservation,
    /// An image that nothing needs.
    Image,
    /// A container that a build left behind.
    Container,
    /// A network that no container is in.
    Network,
    /// A volume that no container mounts. None ever goes.
    Volume,
    /// What `BuildKit` keeps of builds beyond what the operator allows.
    Cache,
    /// A mirror of a repository that no app has fetched from for long.
    Mirror,
    /// What interrupted work left behind.
    Temporary,
}

impl LeftKind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Code => "code",
            Self::Compose => "compose",
            Self::Project => "project",
            Self::Reservation => "reservation",
            Self::Image => "image",
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Cache => "cache",
            Self::Mirror => "mirror",
            Self::Temporary => "temporary",
        }
    }

    /// Whether it is always of an app that is gone.
    fn is_of_gone(self) -> bool {
        let of_gone =
            [Self::Workspace, Self::Code, Self::Compose, Self::Project, Self::Reservation];
        of_gone.contains(&self)
    }
}

impl fmt::Display for LeftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that may have been left behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// What it is.
    pub kind: LeftKind,
    /// What it is called: a path, an image, a container, ports.
    pub name: String,
    /// The app that it is of, when that is known.
    pub app: Option<AppName>,
    /// Whether it is known to be of this Berth.
    pub is_ours: bool,
    /// Who uses it.
    pub used_by: Option<String>,
    /// Whether it holds what an app or a person keeps.
    pub holds_data: bool,
    /// How much it takes, in bytes.
    pub size: u64,
    /// Since when nothing was done with it, when that is known.
    pub since: Option<Timestamp>,
    /// Whether it is left behind only because no manifest names its app.
    pub of_gone: bool,
    /// Why it is thought to be left behind.
    pub why: String,
}

impl Left {
    /// Whether it goes only when its app is gone.
    fn needs_no_app(&self) -> bool {
        self.of_gone || self.kind.is_of_gone()
    }
}

/// What is known about everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftFacts {
    /// Why the manifests are not known completely at present, when they are not.
    pub manifests: Option<String>,
    /// The apps that manifests name, or that are on their way out.
    pub wanted: BTreeSet<AppName>,
    /// Since when no manifest names an app.
    pub gone: BTreeMap<AppName, Timestamp>,
    /// The apps that have a container.
    pub running: BTreeSet<AppName>,
    /// The apps on which long work is under way.
    pub busy: BTreeSet<AppName>,
    /// Whether an image is being built: it may rest on any other.
    pub is_building: bool,
}

/// How it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcRules {
    /// How old something has to be.
    pub grace: Duration,
    /// Whether what apps kept goes with them.
    pub with_data: bool,
}

impl GcRules {
    /// What is usual.
    pub const GRACE: Duration = Duration::from_hours(24);
}

/// What goes, what stays and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// What goes, by kind and name.
    pub going: Vec<Left>,
    /// What stays, with the reason.
    pub staying: Vec<(Left, String)>,
}

/// Decides. Nothing is left out: what was found goes or stays.
pub fn gc(found: &[Left], facts: &LeftFacts, rules: GcRules, now: Timestamp) -> GcPlan {
    let mut plan = GcPlan::default();
    for left in found {
        match stays(left, facts, rules, now) {
            None => plan.going.push(left.clone()),
            Some(why) => plan.staying.push((left.clone(), why)),
        }
    }
    plan.going.sort();
    plan.staying.sort();
    plan
}

/// Why something of the engine's stays whatever else is known: what is not of this Berth, and what
/// only a person can know to be needed no more.
fn stays_anyway(left: &Left) -> Option<String> {
    let (why, name) = (&left.why, &left.name);
    match left.kind {
        LeftKind::Volume => {
            Some(format!("{why}; data is never removed with it: `docker volume rm {name}` does so"))
        }
        LeftKind::Project if !left.is_ours => {
            Some(format!("{why}, which is not Berth's: `docker rm {name}` removes it"))
        }
        LeftKind::Network if !left.is_ours => {
            Some(format!("{why}, which is not Berth's: `docker network rm {name}` removes it"))
        }
        _ if !left.is_ours => Some("it is not known to be of this Berth".to_owned()),
        _ => None,
    }
}

/// Why the network of all apps stays, as long as there may be one.
fn stays_for_apps(facts: &LeftFacts) -> Option<String> {
    if let Some(why) = &facts.manifests {
        return Some(format!("it is not known which apps there are: {why}"));
    }
    facts.wanted.first().map(|app| format!("app/{app} is to run in it"))
}

/// Why something stays; none is that it goes.
fn stays(left: &Left, facts: &LeftFacts, rules: GcRules, now: Timestamp) -> Option<String> {
    if let Some(why) = stays_anyway(left) {
        return Some(why);
    }
    if let Some(why) = (left.kind == LeftKind::Network).then(|| stays_for_apps(facts)).flatten() {
        return Some(why);
    }
    if let Some(user) = &left.used_by {
        return Some(format!("{user} uses it"));
    }
    let mut missed = None;
    if left.needs_no_app() {
        if let Some(why) = &facts.manifests {
            return Some(format!("it is not known which apps there are: {why}"));
        }
        let Some(app) = &left.app else { return Some("it is not known whose it is".to_owned()) };
        if facts.wanted.contains(app) {
            return Some(format!("a manifest names app/{app}, or it is on its way out"));
        }
        if facts.running.contains(app) {
            return Some(format!("app/{app} has a container"));
        }
        let Some(gone) = facts.gone.get(app) else {
            return Some(format!("it is not known since when no manifest names app/{app}"));
        };
        missed = Some(*gone);
    }
    if let Some(app) = left.app.as_ref().filter(|app| facts.busy.contains(*app)) {
        return Some(format!("work for app/{app} is under way"));
    }
    let rests = matches!(left.kind, LeftKind::Image | LeftKind::Container | LeftKind::Cache);
    if facts.is_building && rests {
        return Some("an image is being built, and may rest on it".to_owned());
    }
    let Some(since) = left.since else { return Some("its age is not known".to_owned()) };
    let grace = format_duration(seconds(rules.grace));
    let age = now.since(since);
    if age < rules.grace {
        let age = format_duration(seconds(age));
        return Some(format!("it is {age} old, and goes after {grace}"));
    }
    if let Some(missed) = missed.map(|missed| now.since(missed)).filter(|it| *it < rules.grace) {
        let missed = format_duration(seconds(missed));
        return Some(format!("its app is gone for {missed}, and it goes after {grace}"));
    }
    if left.holds_data && !rules.with_data {
        return Some("it holds data: say `--with-data` to have that go too".to_owned());
    }
    None
}

fn seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// The plan as text: the same in tests, on the command line and in the log.
pub fn render_gc(plan: &GcPlan) -> String {
    let mut text = String::new();
    for left in &plan.going {
        let _ = writeln!(text, "- {}    # {}", shown(left), left.why);
    }
    for (left, why) in &plan.staying {
        let _ = writeln!(text, "= {}    # stays: {why}", shown(left));
    }
    let bytes = plan.going.iter().map(|left| left.size).sum();
    let _ = writeln!(text, "{} to go, {}", plan.going.len(), format_bytes(bytes));
    text
}

fn shown(left: &Left) -> String {
    format!("{} {} ({})", left.kind, left.name, format_bytes(left.size))
}
