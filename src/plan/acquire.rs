//! Getting the image: fetch, then build, or pull. Each is long work that runs beside the passes.

use std::{fmt::Write as _, sync::Arc};

use super::{
    Input, Look, Plan, PlannedStep, Recipe, Step, Verb, Work,
    recipe::{identities, recipe},
    resolve::{self, Meaning},
    shape::Image,
    times,
    twin::twin,
};
use crate::model::{
    App, Digest, GitSource, GitUrl, ImageRef, PullPolicy, Reason, Source, Timestamp,
};
use crate::state::{
    Checkout, OwnImage, Pin, Policy, Request, Resolved, RunningWork, WorkKind, World,
};

/// How many builds from scratch may be forgotten and are still found out.
const REBUILDS_LOOKED: u64 = 32;

/// What has become of the image.
pub(super) enum Acquired {
    /// It is there.
    Ready(Image),
    /// It is not; the plan says what is done about it, or why nothing is.
    NotYet,
}

/// What may be done about a piece of work.
enum Turn {
    /// It is under way.
    Running(Option<String>),
    /// It failed, and its time to be tried again has not come.
    Failed(String),
    /// It may begin.
    Go,
}

pub(super) fn image(input: &Input<'_>, app: &App, plan: &mut Plan) -> Acquired {
    let acquired = match (&input.state.pin, &app.spec.source) {
        (Some(pin), _) => pinned(input, app, pin, plan),
        (None, Source::Git(git)) => from_git(input, app, git, plan),
        (None, Source::Image { reference, pull }) => {
            from_registry(input, app, (reference, *pull), plan)
        }
    };
    cancel_superseded(input, app, plan);
    acquired
}

/// Ends a build or pull that nothing in the plan asks for any more: a newer commit or manifest.
fn cancel_superseded(input: &Input<'_>, app: &App, plan: &mut Plan) {
    let Some(running) = &input.state.work else { return };
    let is_awaited = plan
        .waits
        .iter()
        .any(|wait| matches!(wait.reason, Reason::Fetching | Reason::Building | Reason::Pulling));
    // A look at the app's own repository may bring what mends a build that failed.
    let may_mend = || match &app.spec.source {
        Source::Git(git) => {
            running.input == fetch(input, app, git).input()
                && plan.says(Reason::SourceNotAllowed).is_none()
        }
        Source::Image { .. } => false,
    };
    let is_refresh = running.kind == WorkKind::Fetch && (plan.refusals.is_empty() || may_mend());
    if is_awaited || is_refresh {
        return;
    }
    let step = Step::Cancel(running.kind);
    let cause = "its result is not wanted any more".to_owned();
    plan.steps.insert(0, PlannedStep { step, cause });
}

fn turn(input: &Input<'_>, work: &Work) -> Turn {
    let wanted = work.input();
    let mut running = input.state.work.iter().chain(&input.state.look);
    if let Some(it) = running.find(|it| it.kind == work.kind() && it.input == wanted) {
        return Turn::Running(it.progress.clone());
    }
    // An installation stays asked for until it is done: what failed in it waits like all else.
    let is_asked = !matches!(input.state.request, None | Some(Request::Install));
    match input.state.failures.get(&work.kind()) {
        Some(failure) if failure.input == wanted && !is_asked => match failure.retry_at {
            Some(at) if at <= input.now => Turn::Go,
            _ => Turn::Failed(failure.message.clone()),
        },
        _ => Turn::Go,
    }
}

/// Begins a piece of work, or says why not.
fn begin(input: &Input<'_>, work: Work, cause: &str, plan: &mut Plan) {
    let kind = work.kind();
    let (running, failed) = match kind {
        WorkKind::Fetch => (Reason::Fetching, Reason::FetchFailed),
        WorkKind::Build => (Reason::Building, Reason::BuildFailed),
        WorkKind::Pull => (Reason::Pulling, Reason::PullFailed),
    };
    match turn(input, &work) {
        Turn::Running(progress) => {
            let message = progress.unwrap_or_else(|| format!("the {kind} is under way"));
            plan.wait(running, message, None);
        }
        Turn::Failed(message) => {
            let failure = input.state.failures.get(&kind);
            let reason = failure.map_or(failed, |failure| failure.reason);
            plan.refuse(reason, message);
            if let Some(at) = failure.and_then(|failure| failure.retry_at) {
                plan.look_at(at);
            }
        }
        Turn::Go => {
            // What runs goes on until the image is there, and then gives way.
            let is_new = input.world.containers_of(input.app).is_empty();
            plan.verb = if is_new { Verb::Create } else { Verb::Replace };
            plan.work(cause, work);
            plan.then = match kind {
                WorkKind::Fetch => vec!["build", "create", "start"],
                WorkKind::Build | WorkKind::Pull => vec!["create", "start"],
            }
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        }
    }
}

fn from_registry(
    input: &Input<'_>,
    app: &App,
    (reference, pull): (&ImageRef, PullPolicy),
    plan: &mut Plan,
) -> Acquired {
    match resolve::meaning(input, app, reference, pull) {
        Meaning::Known(resolved) => {
            let image = resolve::image(input, app, &resolved);
            plan.resolved = Some(resolved);
            return Acquired::Ready(image);
        }
        Meaning::Pull(reference, cause) => begin(input, Work::Pull { reference }, &cause, plan),
        Meaning::Gone(message) => plan.refuse(Reason::ImageGone, message),
    }
    Acquired::NotYet
}

fn from_git(input: &Input<'_>, app: &App, git: &GitSource, plan: &mut Plan) -> Acquired {
    if matches!(git.url, GitUrl::Local(_)) && !input.policy.is_local_git_allowed {
        plan.refuse(
            Reason::SourceNotAllowed,
            format!(
                "{} is a folder of this machine: the operator allows such repositories with `--allow-local-git`",
                git.url
            ),
        );
        return Acquired::NotYet;
    }
    let fetch = fetch(input, app, git);
    let known = input.state.checkout.as_ref();
    let Some(checkout) = known.filter(|seen| is_of(seen, git) && is_known(seen, app)) else {
        begin(input, fetch, "the repository has not been fetched", plan);
        return Acquired::NotYet;
    };
    refresh(input, git, fetch, plan);
    match recipe(app, checkout, input.world, input.state.rebuilds, input.policy) {
        Ok(recipe) => {
            let tag = recipe.tag();
            if input.world.image_id(&tag).is_some() {
                let build = Some(recipe.digest());
                let commit = Some(checkout.commit.clone());
                plan.recipe = Some(Arc::new(recipe));
                return Acquired::Ready(Image { build, commit, ..Image::named(tag) });
            }
            if let Some(image) = of_older_berth(input, &recipe, checkout) {
                return Acquired::Ready(image);
            }
            let is_from_scratch = input.state.rebuilt < recipe.rebuilds;
            let recipe = Recipe { is_from_scratch, ..recipe };
            let twin = twin(&recipe, input.world);
            let mut cause = format!("{tag} does not exist; {}", recipe.why);
            if let Some(twin) = &twin {
                let _ = write!(
                    cause,
                    "; app/{} has an image of the same inputs, which is taken: no step runs",
                    twin.app
                );
            }
            let recipe = Recipe { twin, ..recipe };
            begin(input, Work::Build(Box::new(recipe)), &cause, plan);
        }
        Err(refusal) if refusal.reason == Reason::BaseImageMissing => {
            match ImageRef::parse(&refusal.message) {
                Ok(reference) => {
                    let cause = format!("the base image {reference} is not here");
                    begin(input, Work::Pull { reference }, &cause, plan);
                    base_is_missing(plan, &refusal.message);
                }
                Err(_) => plan.refusals.push(refusal),
            }
        }
        Err(refusal) => plan.refusals.push(refusal),
    }
    Acquired::NotYet
}

fn fetch(input: &Input<'_>, app: &App, git: &GitSource) -> Work {
    let look = match input.state.request {
        Some(Request::Take) => Look::Take,
        _ => Look::Asked,
    };
    Work::Fetch { source: git.clone(), look_for: look_for(app), look, runs: runs(input) }
}

/// The commits of the app's containers, and of the versions that one may go back to.
fn runs(input: &Input<'_>) -> Vec<String> {
    let containers = input.world.containers_of(input.app).into_iter();
    let commits = containers.filter_map(|container| container.ownership.owner()?.commit.clone());
    let mut all = input.state.past_commits.clone();
    all.extend(commits);
    all.into_iter().collect()
}

/// The image of the revision that the app is held at. Newer commits are still looked for: one ends
/// the hold.
fn pinned(input: &Input<'_>, app: &App, pin: &Pin, plan: &mut Plan) -> Acquired {
    if let Source::Git(git) = &app.spec.source {
        let is_allowed = input.policy.is_local_git_allowed || !matches!(git.url, GitUrl::Local(_));
        if is_allowed {
            refresh(input, git, fetch(input, app, git), plan);
        }
    }
    let Some(reference) = input.world.reference_of(&pin.image, &pin.image_id) else {
        let message = format!(
            "the image {} of revision {}, at which the app is held, is gone: go to another one with `berth rollout undo {} --to-revision N`, or change the manifest",
            pin.image, pin.revision, app.name
        );
        plan.refuse(Reason::ImageGone, message);
        return Acquired::NotYet;
    };
    if let Source::Image { .. } = &app.spec.source {
        let (reference, id) = (pin.image.clone(), pin.image_id.clone());
        let resolved = Resolved { reference, generation: 0, id, digest: None };
        return Acquired::Ready(resolve::image(input, app, &resolved));
    }
    let (build, commit) = (pin.build.clone(), pin.commit.clone());
    Acquired::Ready(Image { build, commit, ..Image::named(reference) })
}

/// The image that runs, when a Berth built it that named the inputs of builds in another way, and
/// neither commit nor manifest have changed since: an upgrade builds nothing anew.
fn of_older_berth(input: &Input<'_>, recipe: &Recipe, checkout: &Checkout) -> Option<Image> {
    recipe.base.as_ref().filter(|_| input.state.rebuilds == 0)?;
    let containers = input.world.containers_of(input.app);
    let owner = containers.last()?.ownership.owner()?;
    let build = owner.build.clone()?;
    let is_same = owner.commit.as_ref() == Some(&checkout.commit)
        && owner.generation == input.state.generation;
    let reference = recipe.tag_of(&build);
    let is_older = |own: &&OwnImage| own.base.is_none() && own.tags.contains(&reference);
    input.world.own_images.iter().find(is_older).filter(|_| is_same)?;
    let commit = Some(checkout.commit.clone());
    Some(Image { build: Some(build), commit, ..Image::named(reference) })
}

/// Whether all that the app's `build` asks about was looked for in the repository.
fn is_known(checkout: &Checkout, app: &App) -> bool {
    let build = &app.spec.build;
    if checkout.looked_for.is_some() {
        return checkout.was_looked_for(&look_for(app));
    }
    // An older Berth looked, and only at names.
    build.dockerfile.is_some()
        || build.requirements.is_some()
        || ["Dockerfile", "requirements.txt"].iter().any(|name| checkout.has(name))
}

/// The paths that are looked for beside the first level.
fn look_for(app: &App) -> Vec<String> {
    let build = &app.spec.build;
    [&build.dockerfile, &build.requirements].into_iter().flatten().cloned().collect()
}

/// A pull that failed for want of a base image is said as such.
fn base_is_missing(plan: &mut Plan, message: &str) {
    for refusal in &mut plan.refusals {
        if refusal.reason == Reason::PullFailed {
            refusal.reason = Reason::BaseImageMissing;
            refusal.message = format!("{message} ({})", refusal.message);
        }
    }
}

/// How often a build from scratch was asked for: as often as is remembered, or more often when
/// what was made last tells so. Without it an app whose record is lost would go back to an older
/// build (fault T01).
pub fn rebuilds(
    app: &App,
    checkout: &Checkout,
    world: &World,
    remembered: u64,
    policy: &Policy,
) -> u64 {
    let containers = world.containers_of(&app.name);
    let newest = containers.last().and_then(|container| container.ownership.owner());
    let Some(built) = newest.and_then(|owner| owner.build.as_ref()) else { return remembered };
    let Ok(mut recipes) = identities(app, checkout, world, policy) else { return remembered };
    let is_it = |count: &u64| {
        recipes.iter_mut().any(|recipe| {
            recipe.rebuilds = *count;
            recipe.digest() == *built
        })
    };
    (remembered..remembered + REBUILDS_LOOKED).find(is_it).unwrap_or(remembered)
}

fn is_of(checkout: &Checkout, git: &GitSource) -> bool {
    checkout.url == git.url.as_str()
        && checkout.reference == git.reference
        && checkout.path == git.path
        && checkout.submodules == git.submodules
}

/// When a repository is looked at again: at moments that follow from its address, the interval and
/// `who` asks, so that the apps of one repository are due together, others are not, and many hosts
/// with the same manifests do not all ask in the same second (fault G17).
fn due(git: &GitSource, who: &str, checked_at: Timestamp) -> Timestamp {
    let interval = i64::try_from(git.interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let digest = Digest::of_bytes(format!("{who}\0{}", git.url.as_str()).as_bytes());
    let jitter = i64::from_str_radix(digest.short(8), 16).unwrap_or(0);
    let since = (checked_at.as_millis() - jitter).rem_euclid(interval);
    checked_at.moved(interval - since)
}

/// Looks for a newer commit when its time has come. What is there goes on meanwhile, and so does
/// the build of it until a newer one is found.
fn refresh(input: &Input<'_>, git: &GitSource, fetch: Work, plan: &mut Plan) {
    let is_asked = match input.state.request {
        Some(Request::Fetch | Request::Take) => true,
        Some(Request::Retry) => input.state.failures.contains_key(&WorkKind::Fetch),
        _ => false,
    };
    let is_polled = !git.interval.is_zero();
    let who = input.policy.poller.as_str();
    let due =
        input.state.checked_at.filter(|_| is_polled).map_or(input.now, |at| due(git, who, at));
    let is_remote = !matches!(git.url, GitUrl::Local(_));
    let is_beside = |work: &RunningWork| is_remote && work.kind == WorkKind::Build;
    if !input.state.work.as_ref().is_none_or(is_beside) {
        return;
    }
    match turn(input, &fetch) {
        Turn::Failed(message) => {
            if let Some(failure) = input.state.failures.get(&WorkKind::Fetch) {
                let retry_at = failure.retry_at.unwrap_or(input.now + times::SOON * 60);
                plan.wait(failure.reason, message, Some(retry_at));
            }
        }
        Turn::Go if is_asked || (is_polled && due <= input.now) => {
            let cause = if is_asked { "somebody asked for it" } else { "its interval has passed" };
            plan.verb = Verb::Refresh;
            let polled = match fetch {
                Work::Fetch { source, look_for, runs, .. } if !is_asked => {
                    Work::Fetch { source, look_for, look: Look::Polled, runs }
                }
                asked => asked,
            };
            plan.work(cause, polled);
        }
        Turn::Go if is_polled => plan.look_at(due),
        Turn::Go | Turn::Running(_) => {}
    }
}
