//! From one pass to a status.

use std::collections::BTreeMap;

use super::Status;
use crate::model::{
    App, Condition, ConditionStatus, ConditionType, Phase, PortBinding, Protocol, Reason, SSH_PORT,
    Source, Timestamp,
};
use crate::plan::{Input, Look, Outcome, Plan, Step, Work};
use crate::state::{
    Ahead, Checkout, Container, ContainerState, GpuHold, HealthSeen, ScanSeen, Want, WorkKind,
    models_of,
};

/// All that a status is made from.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// What the plan was made from.
    pub input: Input<'a>,
    /// The plan.
    pub plan: &'a Plan,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// The status before.
    pub previous: Option<&'a Status>,
}

/// Phase, reason and message.
struct Verdict(Phase, Reason, String);

/// Makes the status of one app.
pub fn summarize(summary: Summary<'_>) -> Status {
    let Summary { input, plan, previous, .. } = summary;
    let runs = running(&summary);
    let is_healthy = runs.is_some_and(|container| is_healthy(&summary, container));
    let Verdict(phase, reason, mut message) = verdict(&summary, runs, is_healthy);
    if let Some(held) = plan.held.as_ref().filter(|_| phase != Phase::Paused) {
        message = format!("{message}; {held}");
    }
    for remark in &plan.remarks {
        message = format!("{message}; {remark}");
    }
    let shown = runs.or_else(|| shown_container(&summary));
    let owner = shown.and_then(|container| container.ownership.owner());
    let ports = match shown {
        Some(container) if !container.ports.is_empty() => container.ports.clone(),
        _ => input.state.placement.bindings.clone(),
    };
    let is_ready = is_healthy && phase != Phase::Paused;
    let mut status = Status {
        phase,
        reason,
        message,
        url: if is_ready { url(&ports) } else { None },
        conditions: Vec::new(),
        observed_generation: input.state.generation,
        revision: owner.map(|owner| owner.spec_hash.clone()).or_else(|| plan.wanted.clone()),
        commit: owner.and_then(|owner| owner.commit.clone()),
        commits_behind: owner.and_then(|owner| behind(&summary, owner.commit.as_deref()?)),
        image: shown.map(|container| image_name(&input, container)),
        image_digest: shown.map(|container| image_digest(&input, container)),
        container_id: shown.map(|container| container.id.as_str().to_owned()),
        ports,
        gpus: shown.map_or_else(Vec::new, gpus),
        gpu_way: shown.and_then(|c| input.world.given.get(&c.id)).map(|given| given.way),
        models: shown.map(models_of).unwrap_or_default(),
        restarts: shown
            .and_then(|container| input.state.details.get(&container.id))
            .map_or_else(|| previous.map_or(0, |status| status.restarts), |d| d.restart_count),
        rollout: None,
        since: input.now,
    };
    if let Some(before) = previous.filter(|before| (before.phase, before.reason) == (phase, reason))
    {
        status.since = before.since;
    }
    status.conditions = conditions(&summary, &status, runs, is_ready);
    status
}

/// A status for a time in which the engine can't be seen: nothing is claimed but what was known.
pub fn blind(previous: Option<&Status>, reason: Reason, message: &str, now: Timestamp) -> Status {
    let mut status = previous.cloned().unwrap_or_else(|| Status {
        phase: Phase::Unknown,
        reason,
        message: String::new(),
        url: None,
        conditions: Vec::new(),
        observed_generation: 0,
        revision: None,
        commit: None,
        commits_behind: None,
        image: None,
        image_digest: None,
        container_id: None,
        ports: Vec::new(),
        gpus: Vec::new(),
        gpu_way: None,
        models: BTreeMap::new(),
        restarts: 0,
        rollout: None,
        since: now,
    });
    if (status.phase, status.reason) != (Phase::Unknown, reason) {
        status.since = now;
    }
    status.phase = Phase::Unknown;
    status.reason = reason;
    message.clone_into(&mut status.message);
    status.url = None;
    for kind in [ConditionType::Available, ConditionType::Ready] {
        let verdict = (ConditionStatus::Unknown, reason, message.to_owned());
        let condition = make(kind, verdict, previous, now);
        match status.conditions.iter_mut().find(|old| old.kind == kind) {
            Some(old) => *old = condition,
            None => status.conditions.push(condition),
        }
    }
    status
}

/// The container of the app that runs: the wanted one, else the newest.
fn running<'a>(summary: &Summary<'a>) -> Option<&'a Container> {
    let mine = summary.input.world.containers_of(summary.input.app);
    let runs = |container: &&&Container| container.state == ContainerState::Running;
    let is_current = |container: &&&Container| Some(&container.id) == summary.plan.current.as_ref();
    mine.iter().find(|c| is_current(c) && runs(c)).or_else(|| mine.iter().rev().find(runs)).copied()
}

/// The container that a status is about when none runs.
fn shown_container<'a>(summary: &Summary<'a>) -> Option<&'a Container> {
    let mine = summary.input.world.containers_of(summary.input.app);
    let current = summary.plan.current.as_ref();
    mine.iter().find(|container| Some(&container.id) == current).or(mine.last()).copied()
}

/// The GPUs that a container was given.
fn gpus(container: &Container) -> Vec<String> {
    match &container.gpus {
        Some(GpuHold::Granted(grant)) => grant.devices.clone(),
        Some(GpuHold::Devices(names)) => names.clone(),
        _ => Vec::new(),
    }
}

fn app<'a>(summary: &Summary<'a>) -> Option<&'a App> {
    match summary.input.want {
        Want::Present(app) | Want::Invalid { last_good: Some(app), .. } => Some(app),
        Want::Invalid { .. } | Want::Absent | Want::Held(_) => None,
    }
}

/// How far a commit is behind what was fetched last of its source.
fn behind(summary: &Summary<'_>, commit: &str) -> Option<Ahead> {
    let git = app(summary)?.spec.git()?;
    let is_its =
        |known: &&Checkout| known.url == git.url.as_str() && known.reference == git.reference;
    let checkout = summary.input.state.checkout.as_ref().filter(is_its)?;
    if checkout.commit == commit {
        return Some(Ahead::default());
    }
    checkout.ahead.get(commit).copied()
}

fn is_healthy(summary: &Summary<'_>, container: &Container) -> bool {
    let is_checked = app(summary).is_some_and(|app| app.spec.health.check.is_some());
    let seen = summary.input.state.health.get(&container.id);
    match seen {
        Some(HealthSeen::Healthy { .. }) => true,
        Some(_) => false,
        None => {
            let is_settling = Some(&container.id) == summary.plan.current.as_ref()
                && (summary.plan.says(Reason::Starting).is_some()
                    || summary.plan.says(Reason::CrashLoop).is_some());
            !is_checked && app(summary).is_some() && !is_settling
        }
    }
}

fn verdict(summary: &Summary<'_>, runs: Option<&Container>, is_healthy: bool) -> Verdict {
    let Summary { input, plan, outcome, .. } = summary;
    let troubled = if runs.is_some() { Phase::Degraded } else { Phase::Failed };
    if matches!(input.want, Want::Absent) {
        let mut message = "the app left the manifests and is being removed".to_owned();
        if let Some(failure) = &outcome.failure {
            message = format!("{message}: {}: {}", failure.step, failure.message);
        }
        return Verdict(Phase::Installed, Reason::Removing, message);
    }
    for reason in [Reason::Suspended, Reason::Paused] {
        if let Some(message) = plan.says(reason) {
            return Verdict(stopped(summary), reason, message.to_owned());
        }
    }
    if let Some(failure) = &outcome.failure {
        let message = format!("{}: {}", failure.step, failure.message);
        return Verdict(troubled, failure.reason, message);
    }
    if let Some(refusal) = plan.refusals.first() {
        // Between two crashes it runs, which does not make it better.
        let is_current = runs.is_some_and(|runs| Some(&runs.id) == plan.current.as_ref());
        let is_looping = refusal.reason == Reason::CrashLoop && is_current;
        let troubled = if is_looping { Phase::Failed } else { troubled };
        return Verdict(troubled, refusal.reason, refusal.message.clone());
    }
    if let Some((reason, message)) = work(plan) {
        let phase = if is_healthy { Phase::Running } else { Phase::Installing };
        return Verdict(phase, reason, message);
    }
    if let Some(wait) = plan.waits.first() {
        let phase = match wait.reason {
            Reason::Exited | Reason::WaitingForDependency => Phase::Installed,
            Reason::WaitingForGpu | Reason::ModelMissing if runs.is_none() => Phase::Installed,
            Reason::RemovalHeld | Reason::SourceUnreadable | Reason::Drift | Reason::GpuLost => {
                troubled
            }
            _ if is_healthy => Phase::Running,
            _ => Phase::Installing,
        };
        return Verdict(phase, wait.reason, wait.message.clone());
    }
    match runs {
        Some(_) if !is_healthy => {
            let message = "the container runs; its health is not known yet".to_owned();
            Verdict(Phase::Installing, Reason::Probing, message)
        }
        Some(container) if input.state.health.contains_key(&container.id) => {
            let message = "running, and its health check passes".to_owned();
            Verdict(Phase::Running, Reason::Healthy, message)
        }
        Some(_) => {
            let message = "running; no health check is wanted".to_owned();
            Verdict(Phase::Running, Reason::RunningUnchecked, message)
        }
        None if plan.steps.is_empty() => {
            Verdict(Phase::Uninstalled, Reason::Pending, "nothing was done yet".to_owned())
        }
        None => {
            let message = "the container is being started".to_owned();
            Verdict(Phase::Installing, Reason::Starting, message)
        }
    }
}

/// How far an app is that is meant to be stopped.
fn stopped(summary: &Summary<'_>) -> Phase {
    let world = summary.input.world;
    if !world.containers_of(summary.input.app).is_empty() {
        return Phase::Paused;
    }
    let is_here = match app(summary).map(|app| &app.spec.source) {
        Some(Source::Image { reference, .. }) => world.image_id(reference.as_str()).is_some(),
        _ => world.own_images.iter().any(|image| image.app == *summary.input.app),
    };
    if is_here { Phase::Installed } else { Phase::Uninstalled }
}

/// Long work that this pass began.
fn work(plan: &Plan) -> Option<(Reason, String)> {
    plan.steps.iter().find_map(|planned| match &planned.step {
        // A look that may find nothing new is no news.
        Step::Work(Work::Fetch { source, look, .. }) => {
            (*look != Look::Polled).then(|| (Reason::Fetching, format!("fetching {}", source.url)))
        }
        Step::Work(Work::Build(recipe)) => {
            Some((Reason::Building, format!("building {}", recipe.tag())))
        }
        Step::Work(Work::Pull { reference }) => {
            Some((Reason::Pulling, format!("pulling {reference}")))
        }
        Step::Call(_) | Step::Cancel(_) => None,
    })
}

fn url(ports: &[PortBinding]) -> Option<String> {
    let is_web =
        |port: &&PortBinding| port.protocol == Protocol::Tcp && port.container_port != SSH_PORT;
    let port = ports.iter().find(is_web)?;
    let host = if port.host_ip == "0.0.0.0" { "127.0.0.1" } else { port.host_ip.as_str() };
    Some(format!("http://{host}:{}/", port.host_port))
}

type Said = (ConditionStatus, Reason, String);

fn conditions(
    summary: &Summary<'_>,
    status: &Status,
    runs: Option<&Container>,
    is_ready: bool,
) -> Vec<Condition> {
    let Summary { input, plan, previous, .. } = summary;
    let truth = |holds: bool| if holds { ConditionStatus::True } else { ConditionStatus::False };
    let mut all = vec![(ConditionType::Accepted, accepted(input.want))];
    if app(summary).is_some_and(|app| app.spec.git().is_some()) {
        all.push((ConditionType::SourceReady, source_ready(summary)));
    }
    if app(summary).is_some() {
        all.push((ConditionType::ImageReady, image_ready(input, plan)));
    }
    if let Some(said) = scan_passed(input, plan, runs) {
        all.push((ConditionType::ScanPassed, said));
    }
    let available = match runs {
        Some(container) => {
            (ConditionStatus::True, Reason::AsWanted, format!("{} runs", container.name))
        }
        None => (ConditionStatus::False, status.reason, status.message.clone()),
    };
    all.push((ConditionType::Available, available));
    all.push((ConditionType::Ready, (truth(is_ready), status.reason, status.message.clone())));
    let is_look = |step: &Step| matches!(step, Step::Work(Work::Fetch { look: Look::Polled, .. }));
    let is_moving = plan.steps.iter().any(|planned| !is_look(&planned.step))
        || status.phase == Phase::Installing;
    let progressing = if is_moving {
        (ConditionStatus::True, status.reason, status.message.clone())
    } else {
        (ConditionStatus::False, Reason::AsWanted, "nothing is on its way".to_owned())
    };
    all.push((ConditionType::Progressing, progressing));
    all.into_iter().map(|(kind, said)| make(kind, said, *previous, input.now)).collect()
}

fn accepted(want: &Want) -> Said {
    match want {
        Want::Present(_) => {
            (ConditionStatus::True, Reason::Valid, "the manifest is valid".to_owned())
        }
        Want::Invalid { problem, .. } => {
            (ConditionStatus::False, Reason::InvalidManifest, problem.clone())
        }
        Want::Absent => {
            (ConditionStatus::False, Reason::Removing, "no manifest names the app".to_owned())
        }
        Want::Held(hold) => (ConditionStatus::Unknown, Reason::RemovalHeld, hold.message()),
    }
}

fn source_ready(summary: &Summary<'_>) -> Said {
    const FAILED: [Reason; 8] = [
        Reason::RefMissing,
        Reason::TagMoved,
        Reason::FetchFailed,
        Reason::GitUnreachable,
        Reason::GitAuth,
        Reason::RefNotFound,
        Reason::PathNotFound,
        Reason::SourceNotAllowed,
    ];
    // Whatever the last look came to, as long as it counts.
    let failure = summary.input.state.failures.get(&WorkKind::Fetch);
    let failure = failure.map(|failure| failure.reason);
    for reason in FAILED.into_iter().chain(failure) {
        if let Some(message) = summary.plan.says(reason) {
            return (ConditionStatus::False, reason, message.to_owned());
        }
    }
    match &summary.input.state.checkout {
        Some(checkout) => {
            let commit = checkout.commit.get(..7).unwrap_or(&checkout.commit);
            let what = checkout.resolved.as_ref().filter(|what| !what.starts_with("commit "));
            let told = what.map_or_else(String::new, |what| format!("{what}, "));
            (ConditionStatus::True, Reason::Fetched, format!("{told}commit {commit}"))
        }
        None => (ConditionStatus::False, Reason::Fetching, "not fetched yet".to_owned()),
    }
}

/// The name of the image that a container runs: that of the manifest, as long as it was found to
/// mean this one.
fn image_name(input: &Input<'_>, container: &Container) -> String {
    let known = input.state.resolved.as_ref().filter(|known| known.id == container.image_id);
    known.map_or_else(|| container.image.clone(), |known| known.reference.clone())
}

fn image_digest(input: &Input<'_>, container: &Container) -> String {
    let id = &container.image_id;
    let known = input.state.resolved.as_ref().filter(|known| known.id == *id);
    let digest = known.and_then(|known| known.digest.as_deref());
    digest.or_else(|| input.world.pinned(&container.image)).unwrap_or(id).to_owned()
}

/// Says so when the name of the image means another one by now (fault D40).
fn moved(input: &Input<'_>, plan: &Plan) -> String {
    let moved = plan
        .resolved
        .as_ref()
        .filter(|known| input.world.image_id(&known.reference).is_some_and(|now| now != known.id));
    moved.map_or_else(String::new, |known| {
        format!(
            "; {} means another image on the engine by now, which `berth rebuild {}` takes",
            known.reference, input.app
        )
    })
}

fn image_ready(input: &Input<'_>, plan: &Plan) -> Said {
    const FAILED: [Reason; 9] = [
        Reason::NothingToBuild,
        Reason::BaseImageMissing,
        Reason::PythonMissing,
        Reason::DriverTooOld,
        Reason::BuildKitMissing,
        Reason::SecretMissing,
        Reason::BuildFailed,
        Reason::PullFailed,
        Reason::ImageGone,
    ];
    for reason in FAILED {
        if let Some(message) = plan.says(reason) {
            return (ConditionStatus::False, reason, message.to_owned());
        }
    }
    if plan.wanted.is_some() {
        let how = plan.recipe.as_ref();
        let how = how.map_or_else(String::new, |recipe| format!(": {}", recipe.why));
        return (
            ConditionStatus::True,
            Reason::ImagePresent,
            format!("the image is there{how}{}", moved(input, plan)),
        );
    }
    for reason in [Reason::Building, Reason::Pulling] {
        if let Some(message) = plan.says(reason) {
            return (ConditionStatus::False, reason, message.to_owned());
        }
    }
    (ConditionStatus::Unknown, Reason::Pending, "not known yet".to_owned())
}

/// What is known of vulnerabilities in the image that is wanted, else in the one that runs.
fn scan_passed(input: &Input<'_>, plan: &Plan, runs: Option<&Container>) -> Option<Said> {
    let scans = input.state.scans.as_ref()?;
    let wanted = plan.version.as_ref().map(|version| version.image_id.as_str());
    let image = wanted.or_else(|| runs.map(|container| container.image_id.as_str()))?;
    let (status, reason, message) = match scans.of(image) {
        None => {
            let message = "the image is looked through for known vulnerabilities";
            (ConditionStatus::Unknown, Reason::Scanning, message)
        }
        Some(ScanSeen::Failed(why)) => (ConditionStatus::Unknown, Reason::ScanFailed, why.as_str()),
        Some(ScanSeen::Clean(text)) => (ConditionStatus::True, Reason::NothingKnown, text.as_str()),
        Some(ScanSeen::Warned(text) | ScanSeen::Blocked(text)) => {
            (ConditionStatus::False, Reason::Vulnerable, text.as_str())
        }
    };
    Some((status, reason, message.to_owned()))
}

fn make(kind: ConditionType, said: Said, previous: Option<&Status>, now: Timestamp) -> Condition {
    let (status, reason, message) = said;
    let before = previous.and_then(|before| before.condition(kind));
    let last_transition = before
        .filter(|before| before.status == status)
        .map_or(now, |before| before.last_transition);
    Condition { kind, status, reason, message, last_transition }
}
