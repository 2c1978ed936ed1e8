//! Getting the image: fetch, build, pull, and what is said while it is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use berth::{
    model::{App, ConditionStatus, ConditionType, Digest, ImageRef, Reason},
    plan::{Look, Outcome, Plan, Step, Verb, Work, rebuilds, render_step},
    state::{Checkout, DetectedFile, Failure, Request, RunningWork, WorkKind},
    status::{Summary, summarize},
};

use crate::sim::{Sim, app, image_app};

const BASE: &str = "python:3.12-slim";
const URL: &str = "https://git.example.com/acme/chat.git";

fn git_app(rest: &str) -> Arc<App> {
    let mut text =
        "apiVersion: berth/v1\nkind: App\nmetadata: {name: chat}\nspec:\n  run: python app.py\n"
            .to_owned();
    for line in rest.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    app(&text)
}

fn plain() -> Arc<App> {
    git_app(&format!("source: {{git: '{URL}'}}"))
}

fn checkout() -> Checkout {
    Checkout {
        url: URL.to_owned(),
        reference: None,
        path: String::new(),
        resolved: None,
        submodules: false,
        commit: "c0ffee00".repeat(5),
        tree: "0badcafe".repeat(5),
        files: vec![DetectedFile { path: "requirements.txt".to_owned() }],
        facts: BTreeMap::new(),
        ahead: BTreeMap::new(),
        looked_for: None,
    }
}

/// A sim whose checkout is in place and was looked at just now.
fn fetched(app: &Arc<App>) -> Sim {
    let mut sim = Sim::new(app);
    sim.state.checkout = Some(checkout());
    sim.state.checked_at = Some(sim.now);
    sim
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|planned| render_step(&planned.step)).collect()
}

fn work(plan: &Plan) -> &Work {
    let works = plan.steps.iter().filter_map(|planned| match &planned.step {
        Step::Work(work) => Some(work),
        _ => None,
    });
    let works: Vec<_> = works.collect();
    assert_eq!(works.len(), 1, "{:?}", steps(plan));
    works[0]
}

fn running(work: &Work, progress: Option<&str>) -> RunningWork {
    let since = berth::model::Timestamp::from_millis(0);
    let progress = progress.map(ToOwned::to_owned);
    RunningWork { kind: work.kind(), input: work.input(), since, progress }
}

fn fails(sim: &mut Sim, work: &Work, reason: Reason, retry_in: Option<u64>) {
    let failure = Failure {
        input: work.input(),
        reason,
        message: "it broke".to_owned(),
        at: sim.now,
        attempts: 1,
        retry_at: retry_in.map(|seconds| sim.now + Duration::from_secs(seconds)),
    };
    sim.state.failures.insert(work.kind(), failure);
}

#[test]
fn a_repository_is_fetched_then_built_then_run() {
    let mut sim = Sim::new(&plain()).has_image(BASE);
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Create);
    assert_eq!(steps(&plan), [format!("fetch {URL} at HEAD")]);
    assert_eq!(plan.steps[0].cause, "the repository has not been fetched");
    assert_eq!(plan.then, ["build", "create", "start"]);
    sim.state.checkout = Some(checkout());
    sim.state.checked_at = Some(sim.now);
    let plan = sim.pass(None);
    let Work::Build(recipe) = work(&plan) else { panic!("{:?}", steps(&plan)) };
    assert_eq!(recipe.tree, checkout().tree);
    assert!(plan.steps[0].cause.contains("does not exist; Dockerfile generated"));
    assert_eq!(plan.then, ["create", "start"]);
    sim.settle();
    let running = sim.running();
    let owner = running[0].ownership.owner().unwrap();
    assert_eq!(owner.commit, Some(checkout().commit));
    assert_eq!(owner.build, Some(recipe.digest()));
    assert!(sim.plan().is_empty());
}

#[test]
fn a_checkout_of_something_else_is_none() {
    let app = git_app(&format!("source: {{git: {{url: '{URL}', ref: main, path: web}}}}"));
    let right =
        Checkout { reference: Some("main".to_owned()), path: "web".to_owned(), ..checkout() };
    let seen = |change: &dyn Fn(&mut Checkout)| {
        let mut sim = fetched(&app).has_image(BASE);
        let mut seen = right.clone();
        change(&mut seen);
        sim.state.checkout = Some(seen);
        work(&sim.plan()).kind()
    };
    assert_eq!(seen(&|_| {}), WorkKind::Build);
    assert_eq!(seen(&|it| it.url.push('x')), WorkKind::Fetch);
    assert_eq!(seen(&|it| it.reference = None), WorkKind::Fetch);
    assert_eq!(seen(&|it| it.path.clear()), WorkKind::Fetch);
    assert_eq!(seen(&|it| it.submodules = true), WorkKind::Fetch);
}

#[test]
fn the_files_that_the_manifest_names_are_looked_for() {
    let source = format!("source: {{git: '{URL}'}}");
    let app = git_app(&format!("{source}\nbuild: {{requirements: deps/all.txt}}"));
    let plan = Sim::new(&app).plan();
    let Work::Fetch { look_for, .. } = work(&plan) else { panic!("{:?}", steps(&plan)) };
    assert_eq!(*look_for, ["deps/all.txt"]);
}

#[test]
fn a_folder_of_this_machine_needs_the_operators_word() {
    let app = git_app("source: {git: /srv/chat}");
    let mut sim = Sim::new(&app);
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::SourceNotAllowed).unwrap().contains("--allow-local-git"));
    sim.policy.is_local_git_allowed = true;
    assert_eq!(work(&sim.plan()).kind(), WorkKind::Fetch);
}

#[test]
fn work_under_way_is_waited_for_and_says_how_far_it_is() {
    let mut sim = Sim::new(&plain());
    let fetch = work(&sim.plan()).clone();
    sim.state.work = Some(running(&fetch, None));
    let plan = sim.plan();
    assert!(plan.is_empty(), "{:?}", steps(&plan));
    assert_eq!(plan.says(Reason::Fetching), Some("the fetch is under way"));
    sim.state.work = Some(running(&fetch, Some("half of it")));
    assert_eq!(sim.plan().says(Reason::Fetching), Some("half of it"));
    // Of another input: it gives way to the new one by itself. Of another kind: it is ended.
    let mut other = running(&fetch, None);
    other.input = "other".to_owned();
    sim.state.work = Some(other);
    assert_eq!(steps(&sim.plan()), [render_step(&Step::Work(fetch.clone()))]);
    sim.state.work = Some(RunningWork { kind: WorkKind::Pull, ..running(&fetch, None) });
    let plan = sim.plan();
    assert_eq!(plan.steps[0].step, Step::Cancel(WorkKind::Pull), "{:?}", steps(&plan));
    assert_eq!(plan.steps[0].cause, "its result is not wanted any more");
    assert_eq!(work(&plan), &fetch);
}

/// Equal work is known again by its input, other work is told apart.
#[test]
fn works_input_tells_it_apart() {
    let pull = |text: &str| Work::Pull { reference: ImageRef::parse(text).unwrap() };
    assert_eq!(pull("shop/app:1").input(), pull("shop/app:1").input());
    assert_ne!(pull("shop/app:1").input(), pull("shop/app:2").input());
    let fetch = |app: &Arc<App>| work(&Sim::new(app).plan()).input();
    assert_eq!(fetch(&plain()), fetch(&plain()));
    let other = git_app(&format!("source: {{git: {{url: '{URL}', ref: main}}}}"));
    assert_ne!(fetch(&plain()), fetch(&other));
    let build = |tree: &str| {
        let mut sim = fetched(&plain()).has_image(BASE);
        tree.clone_into(&mut sim.state.checkout.as_mut().unwrap().tree);
        work(&sim.plan()).input()
    };
    assert_eq!(build("1"), build("1"));
    assert_ne!(build("1"), build("2"));
}

#[test]
fn a_build_or_pull_is_said_as_such_while_it_runs() {
    let mut sim = fetched(&plain()).has_image(BASE);
    sim.state.work = Some(running(&work(&sim.plan()).clone(), None));
    assert_eq!(sim.plan().says(Reason::Building), Some("the build is under way"));
    let mut sim = Sim::new(&image_app("chat", "shop/app:1", ""));
    sim.state.work = Some(running(&work(&sim.plan()).clone(), None));
    let plan = sim.plan();
    assert_eq!(plan.says(Reason::Pulling), Some("the pull is under way"));
    assert!(plan.is_empty());
}

/// A newer commit or manifest: the work for the old one ends.
#[test]
fn work_that_nothing_asks_for_any_more_is_ended() {
    let mut sim = Sim::new(&image_app("chat", "shop/app:1", "")).has_image("shop/app:1");
    sim.settle();
    let pull = Work::Pull { reference: ImageRef::parse("shop/app:0").unwrap() };
    sim.state.work = Some(running(&pull, None));
    assert_eq!(sim.plan().steps[0].step, Step::Cancel(WorkKind::Pull));
    // A fetch beside a version that runs is a look for a newer commit.
    let mut fetch = running(&pull, None);
    fetch.kind = WorkKind::Fetch;
    sim.state.work = Some(fetch.clone());
    assert!(sim.plan().is_empty());
    // Beside a refusal it is not.
    let mut sim = Sim::new(&git_app("source: {git: /srv/chat}"));
    sim.state.work = Some(fetch);
    assert_eq!(sim.plan().steps[0].step, Step::Cancel(WorkKind::Fetch));
}

/// However long it takes: passes go on meanwhile, and one that refuses must not end it.
#[test]
fn a_look_for_a_newer_commit_goes_on_beside_a_build_that_failed() {
    let mut sim = Sim::new(&plain());
    let fetch = work(&sim.plan()).clone();
    let mut sim = fetched(&plain()).has_image(BASE);
    let build = work(&sim.plan()).clone();
    fails(&mut sim, &build, Reason::BuildFailed, Some(600));
    sim.state.work = Some(running(&fetch, None));
    let plan = sim.plan();
    assert_eq!(plan.says(Reason::BuildFailed), Some("it broke"));
    assert!(plan.is_empty(), "{:?}", steps(&plan));
    // One at what was the app's repository is of no use.
    sim.state.work.as_mut().unwrap().input = "another repository".to_owned();
    assert_eq!(sim.plan().steps[0].step, Step::Cancel(WorkKind::Fetch));
}

#[test]
fn what_failed_waits_for_its_time_or_a_change_or_a_person() {
    let mut sim = Sim::new(&plain());
    let fetch = work(&sim.plan()).clone();
    fails(&mut sim, &fetch, Reason::RefNotFound, Some(60));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.says(Reason::RefNotFound), Some("it broke"));
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(60)));
    // Somebody asks.
    sim.state.request = Some(Request::Retry);
    assert_eq!(work(&sim.plan()), &fetch);
    sim.state.request = None;
    // Its time has come, to the moment.
    sim.now = sim.now + Duration::from_millis(59_999);
    assert!(sim.plan().is_empty());
    sim.now = sim.now + Duration::from_millis(1);
    assert_eq!(work(&sim.plan()), &fetch);
    // Without a time it waits for a change.
    fails(&mut sim, &fetch, Reason::FetchFailed, None);
    sim.now = sim.now + Duration::from_secs(86_400);
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.next_look(), None);
    sim.state.failures.get_mut(&WorkKind::Fetch).unwrap().input = "what it was".to_owned();
    assert_eq!(work(&sim.plan()), &fetch);
}

#[test]
fn a_pull_policy_of_always_pulls_once_for_each_generation() {
    let app = image_app("chat", "shop/app:1", "pullPolicy: Always");
    let mut sim = Sim::new(&app).has_image("shop/app:1");
    let plan = sim.pass(None);
    assert_eq!(steps(&plan), ["pull shop/app:1"]);
    assert!(plan.steps[0].cause.starts_with("pullPolicy is Always"));
    assert_eq!(sim.plan().verb, Verb::Create);
    assert!(!steps(&sim.plan()).contains(&"pull shop/app:1".to_owned()));
    // Pulled for this generation, and gone since.
    sim.world.images.clear();
    let plan = sim.plan();
    assert_eq!(steps(&plan), ["pull shop/app:1"]);
    assert_eq!(plan.steps[0].cause, "the engine does not have shop/app:1");
}

#[test]
fn a_missing_base_image_is_pulled_and_its_failure_is_said_as_such() {
    let mut sim = fetched(&plain());
    let plan = sim.plan();
    assert_eq!(steps(&plan), [format!("pull {BASE}")]);
    assert_eq!(plan.steps[0].cause, format!("the base image {BASE} is not here"));
    let pull = work(&plan).clone();
    fails(&mut sim, &pull, Reason::PullFailed, None);
    let plan = sim.plan();
    let message = format!("{BASE} (it broke)");
    assert_eq!(plan.says(Reason::BaseImageMissing), Some(message.as_str()));
    // What stands beside it stays what it is.
    fails(&mut sim, &pull, Reason::EngineError, None);
    assert_eq!(sim.plan().says(Reason::EngineError), Some("it broke"));
    let app = git_app(&format!("source: {{git: '{URL}'}}\nbuild: {{base: 'own/base:2'}}"));
    assert_eq!(steps(&fetched(&app).plan()), ["pull own/base:2"]);
}

#[test]
fn a_repository_with_nothing_to_build_from_is_refused_and_nothing_pulled() {
    let mut sim = fetched(&plain());
    let seen = sim.state.checkout.as_mut().unwrap();
    seen.files.clear();
    seen.looked_for = Some(Vec::new());
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::NothingToBuild).is_some());
}

/// A sim of a built app that runs.
pub(super) fn built() -> Sim {
    let mut sim = fetched(&plain()).has_image(BASE);
    sim.settle();
    assert_eq!(sim.running().len(), 1);
    sim.state.checked_at = Some(sim.now);
    sim
}

#[test]
fn a_newer_commit_is_looked_for_when_the_interval_has_passed() {
    let mut sim = built();
    let plan = sim.plan();
    assert!(plan.is_empty());
    let due = plan.next_look().unwrap();
    assert!(sim.now < due && due <= sim.now + Duration::from_secs(300));
    sim.now = due;
    let plan = sim.plan();
    assert_eq!((plan.verb, work(&plan).kind()), (Verb::Refresh, WorkKind::Fetch));
    assert_eq!(plan.steps[0].cause, "its interval has passed");
    // While one runs, no other begins.
    sim.state.work = Some(running(work(&plan), None));
    assert!(sim.plan().is_empty());
}

#[test]
fn a_newer_commit_is_looked_for_when_somebody_asks() {
    let mut sim = built();
    sim.state.request = Some(Request::Retry);
    assert!(sim.plan().is_empty());
    sim.state.request = Some(Request::Fetch);
    let plan = sim.plan();
    assert_eq!(work(&plan).kind(), WorkKind::Fetch);
    assert_eq!(plan.steps[0].cause, "somebody asked for it");
}

/// A newer commit can end a build: it is looked for beside it, one look at a time, and never while
/// anything else is under way.
#[test]
fn a_newer_commit_is_looked_for_while_the_older_one_is_built() {
    let mut sim = fetched(&plain()).has_image(BASE);
    let build = work(&sim.plan()).clone();
    sim.state.work = Some(running(&build, Some("step 1")));
    assert!(sim.plan().is_empty());
    sim.now = sim.now + Duration::from_secs(3600);
    let plan = sim.plan();
    assert_eq!(steps(&plan), [format!("fetch {URL} at HEAD")]);
    assert_eq!(plan.says(Reason::Building), Some("step 1"));
    sim.state.look = Some(running(work(&plan), None));
    assert!(sim.plan().is_empty(), "one look at a time");
    sim.state.look = None;
    sim.state.work = Some(RunningWork { kind: WorkKind::Pull, ..running(&build, None) });
    let fetches = |plan: &Plan| steps(plan).iter().any(|step| step.starts_with("fetch"));
    assert!(!fetches(&sim.plan()));
}

#[test]
fn an_interval_of_zero_looks_only_when_asked() {
    let app = git_app(&format!("source: {{git: '{URL}', interval: '0'}}"));
    let mut sim = fetched(&app).has_image(BASE);
    sim.settle();
    sim.now = sim.now + Duration::from_secs(86_400 * 365);
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.next_look(), None);
    sim.state.request = Some(Request::Fetch);
    assert_eq!(work(&sim.plan()).kind(), WorkKind::Fetch);
}

#[test]
fn a_look_that_failed_is_said_beside_what_runs() {
    let mut sim = built();
    sim.now = sim.now + Duration::from_secs(300);
    let fetch = work(&sim.plan()).clone();
    fails(&mut sim, &fetch, Reason::FetchFailed, Some(20));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.says(Reason::FetchFailed), Some("it broke"));
    assert!(plan.refusals.is_empty());
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(20)));
    fails(&mut sim, &fetch, Reason::FetchFailed, None);
    assert_eq!(sim.plan().next_look(), Some(sim.now + Duration::from_secs(60)));
    // Who asks for it to be tried again wants no answer that somebody else got before.
    sim.state.request = Some(Request::Retry);
    let plan = sim.plan();
    assert!(matches!(work(&plan), Work::Fetch { look: Look::Asked, .. }), "{:?}", steps(&plan));
}

/// Whatever a look came to is said of the source, beside what runs.
#[test]
fn the_source_is_not_ready_while_looks_fail() {
    let reasons = [Reason::GitHostKey, Reason::DiskFull, Reason::FetchFailed, Reason::RefMissing];
    for reason in reasons {
        let mut sim = built();
        sim.now = sim.now + Duration::from_secs(300);
        let fetch = work(&sim.plan()).clone();
        fails(&mut sim, &fetch, reason, Some(20));
        let (plan, outcome) = (sim.plan(), Outcome::default());
        let summary =
            Summary { input: sim.input(), plan: &plan, outcome: &outcome, previous: None };
        let status = summarize(summary);
        let said = status.condition(ConditionType::SourceReady).unwrap();
        let seen = (said.status, said.reason, said.message.as_str());
        assert_eq!(seen, (ConditionStatus::False, reason, "it broke"));
    }
}

/// Fault T01: what was made last tells how often a build from scratch was asked for.
#[test]
fn builds_from_scratch_are_counted_from_what_runs() {
    let app = plain();
    let made_by = |count: u64| {
        let mut sim = fetched(&app).has_image(BASE);
        sim.state.rebuilds = count;
        sim.settle();
        sim
    };
    let found = |sim: &Sim, remembered: u64| {
        rebuilds(&app, &checkout(), &sim.world, remembered, &sim.policy)
    };
    let sim = made_by(3);
    assert_eq!(found(&sim, 0), 3);
    assert_eq!(found(&sim, 3), 3);
    assert_eq!(found(&sim, 5), 5);
    // As far as is looked, and no further; from what is remembered on.
    assert_eq!(found(&made_by(31), 0), 31);
    assert_eq!(found(&made_by(32), 0), 0);
    assert_eq!(found(&made_by(40), 20), 40);
    // Nothing runs, or something else does.
    assert_eq!(found(&Sim::new(&app), 7), 7);
    let mut other = made_by(3);
    if let berth::state::Ownership::Ours(owner) = &mut other.world.containers[0].ownership {
        owner.build = Some(Digest::of_bytes(b"other"));
    }
    assert_eq!(found(&other, 1), 1);
}

/// Fault G17: whenever the apps of one repository were looked at last, they are due together, and
/// those of another one are not.
#[test]
fn the_apps_of_one_repository_are_due_together() {
    let due = |url: &str, interval: &str, after: u64| {
        let app = git_app(&format!("source: {{git: '{url}', interval: {interval}}}"));
        let mut sim = fetched(&app).has_image(BASE);
        sim.state.checkout.as_mut().unwrap().url = url.to_owned();
        sim.settle();
        sim.now = sim.now + Duration::from_hours(1);
        sim.state.checked_at = Some(sim.now);
        let first = sim.plan().next_look().unwrap();
        sim.now = sim.now + Duration::from_secs(after);
        sim.state.checked_at = Some(sim.now);
        (first, sim.plan().next_look().unwrap())
    };
    let (first, _) = due(URL, "1h", 0);
    let other = "https://git.example.com/acme/other.git";
    assert_ne!(first, due(other, "1h", 0).0);
    for after in [0, 1, 59] {
        let (before, then) = due(URL, "5m", after);
        let is_next = then == before || then == before + Duration::from_mins(5);
        assert!(is_next, "{after}: {before:?}, {then:?}");
    }
    // Another host with the same manifests asks at other moments.
    let host = |poller: &str| {
        let app = git_app(&format!("source: {{git: '{URL}', interval: 1h}}"));
        let mut sim = fetched(&app).has_image(BASE);
        sim.policy.poller = poller.to_owned();
        sim.settle();
        sim.state.checked_at = Some(sim.now);
        sim.plan().next_look().unwrap()
    };
    let hosts: BTreeSet<_> = (0..10).map(|nth| host(&format!("default\0host-{nth}"))).collect();
    assert_eq!(hosts.len(), 10);
    assert_eq!(host("a"), host("a"));
    // A longer interval's moments are among those of a shorter one.
    let gap = first.since(due(URL, "5m", 0).0);
    assert_eq!(gap.as_millis() % 300_000, 0);
}

/// Fault G17: looking is no work that a status tells of.
#[test]
fn a_poll_is_told_from_what_somebody_asked_for() {
    let mut sim = built();
    let look = |sim: &mut Sim| match work(&sim.plan()) {
        Work::Fetch { look, .. } => *look,
        other => panic!("{other:?}"),
    };
    let due = sim.plan().next_look().unwrap();
    sim.state.request = Some(Request::Fetch);
    assert_eq!(look(&mut sim), Look::Asked);
    sim.state.request = Some(Request::Take);
    assert_eq!(look(&mut sim), Look::Take);
    sim.state.request = None;
    sim.now = due;
    assert_eq!(look(&mut sim), Look::Polled);
}

/// What was asked for from scratch is built so once: what is built after that takes what it left.
#[test]
fn only_the_build_that_was_asked_for_is_from_scratch() {
    let is_from_scratch = |rebuilds: u64, rebuilt: u64| {
        let mut sim = fetched(&plain()).has_image(BASE);
        (sim.state.rebuilds, sim.state.rebuilt) = (rebuilds, rebuilt);
        let plan = sim.plan();
        let Work::Build(recipe) = work(&plan) else { panic!("{:?}", steps(&plan)) };
        recipe.is_from_scratch
    };
    assert!(!is_from_scratch(0, 0));
    assert!(is_from_scratch(1, 0));
    assert!(!is_from_scratch(1, 1));
    assert!(is_from_scratch(2, 1));
}
