//! What an engine promises, said once and held against each: the fake and a real one.
//! `BERTH_TEST_ENGINE` names another socket than the usual.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it can't go on")]

mod around;
pub(crate) mod bench;
mod builders;
mod by_hand;
mod hostile;
mod packages;
mod pull;
mod tools;
mod twins;
mod wire;

use std::future::Future;
use std::time::Duration;

use around::{
    a_network_says_whose_it_is_and_goes_once_nothing_runs_in_it,
    what_runs_is_not_dropped_and_what_stands_still_is,
};
use bench::{Bench, tar_of};
use berth::engine::gpus::is_way_refused;
use berth::engine::{Applied, Engine as _, Error, Hint, LogOptions};
use berth::model::{GpuWay, ImageRef, Reason, RestartPolicy};
use berth::plan::Call;
use berth::state::{ContainerId, ContainerState, GpuHold, Ownership};
use by_hand::{
    a_foreign_container_is_stopped_started_and_removed_by_hand,
    a_stopped_foreign_container_says_which_ports_it_wants, an_image_says_what_it_exposes,
    by_hand_what_is_gone_is_stopped_and_removed_and_can_not_be_started,
    what_runs_uses_something_and_what_is_gone_nothing,
};
use bytes::Bytes;
use futures_util::StreamExt as _;

/// Each sentence becomes three tests: one for the fake, one for the fake behind HTTP with the real
/// engine's client, one for the real engine.
macro_rules! contract {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod fake {
            $($(#[$doc])* #[tokio::test] async fn $name() { super::$name(super::Bench::fake()).await; })*
        }
        mod front {
            $($(#[$doc])* #[tokio::test] async fn $name() { super::$name(super::Bench::front()).await; })*
        }
        mod docker {
            $($(#[$doc])* #[tokio::test] async fn $name() {
                super::$name(super::Bench::docker().await).await;
            })*
        }
    };
}

contract! {
    it_says_who_it_is;
    a_created_container_is_ours_and_does_not_run;
    a_container_of_another_instance_is_foreign;
    a_name_is_given_once;
    a_container_without_an_image_is_not_made;
    a_container_of_a_missing_network_does_not_run;
    the_network_is_made_once;
    a_running_container_shows_its_port_and_its_address;
    starting_what_runs_changes_nothing;
    stopping_what_is_stopped_changes_nothing;
    what_is_gone_is_stopped_and_removed_and_can_not_be_started;
    a_running_container_can_be_removed;
    a_stopped_container_keeps_its_ports;
    two_containers_can_not_hold_one_port;
    an_exit_shows_its_code;
    a_crash_is_followed_by_a_restart;
    what_was_stopped_is_not_restarted;
    a_build_gives_an_image_that_is_ours;
    a_failed_build_says_why_and_leaves_no_image;
    a_build_whose_context_breaks_off_fails;
    an_image_in_use_stays_and_an_unused_one_goes;
    a_pull_of_what_is_not_there_is_a_sentence;
    events_begin_with_a_subscription_and_name_the_app;
    a_log_is_told_from_its_tail;
    a_followed_log_ends_with_its_container;
    a_command_answers_its_code_and_output;
    an_engine_without_a_hook_gives_no_gpus_and_says_so_at_the_start;
    a_container_holds_the_gpus_that_it_was_made_with;
    a_foreign_container_is_stopped_started_and_removed_by_hand;
    by_hand_what_is_gone_is_stopped_and_removed_and_can_not_be_started;
    what_runs_uses_something_and_what_is_gone_nothing;
    an_image_says_what_it_exposes;
    a_stopped_foreign_container_says_which_ports_it_wants;
    a_network_says_whose_it_is_and_goes_once_nothing_runs_in_it;
    what_runs_is_not_dropped_and_what_stands_still_is;
}

/// Waits until `check` gives something. Fails after 20 s.
async fn eventually<T, F: Future<Output = Option<T>>>(check: impl Fn() -> F) -> T {
    let patience = Duration::from_secs(20);
    let look = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if let Some(found) = check().await {
                return found;
            }
        }
    };
    tokio::time::timeout(patience, look).await.expect("it should have come true within 20 s")
}

async fn it_says_who_it_is(bench: Bench) {
    let about = bench.engine.describe().await.unwrap();
    assert!(!about.id.is_empty() && !about.version.is_empty());
    assert!(about.api_version.starts_with("1."));
}

async fn a_created_container_is_ours_and_does_not_run(bench: Bench) {
    let id = bench.create(&bench.spec("chat")).await.unwrap();
    let seen = bench.container(&id).await.unwrap();
    assert_eq!(seen.state, ContainerState::Created);
    assert_eq!(seen.ownership.app(), Some(&bench.app("chat")));
    assert_eq!((seen.exit_code, seen.image.as_str()), (None, bench.image()));
    assert_eq!(id.as_str().len(), 64);
    let detail = bench.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!((detail.started_at, detail.restart_count), (None, 0));
}

/// Faults D21, D22.
async fn a_container_of_another_instance_is_foreign(bench: Bench) {
    let mut spec = bench.spec("chat");
    spec.instance.push_str("-other");
    let id = bench.create(&spec).await.unwrap();
    assert_eq!(bench.container(&id).await.unwrap().ownership, Ownership::Foreign);
}

/// Fault D02.
async fn a_name_is_given_once(bench: Bench) {
    bench.create(&bench.spec("chat")).await.unwrap();
    let again = bench.create(&bench.spec("chat")).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
}

/// Fault D26.
async fn a_container_without_an_image_is_not_made(bench: Bench) {
    let mut spec = bench.spec("chat");
    spec.shape.image.push_str("-that-nobody-has");
    let made = bench.create(&spec).await;
    assert!(matches!(made, Err(Error::ImageMissing(_))), "{made:?}");
    assert!(bench.ours().await.is_empty());
}

/// Fault D45. Newer engines refuse it when it is made, older ones when it starts.
async fn a_container_of_a_missing_network_does_not_run(bench: Bench) {
    let mut spec = bench.spec("chat");
    spec.shape.network = format!("{}-missing", bench.instance);
    let outcome = match bench.create(&spec).await {
        Ok(id) => bench.start(&id).await,
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(Error::NotFound(_))), "{outcome:?}");
}

async fn the_network_is_made_once(bench: Bench) {
    let call = Call::EnsureNetwork { name: bench.network() };
    assert_eq!(bench.apply(&call, None).await.unwrap(), Applied::Changed);
    assert_eq!(bench.apply(&call, None).await.unwrap(), Applied::AlreadySo);
}

async fn a_running_container_shows_its_port_and_its_address(bench: Bench) {
    let mut spec = bench.spec("chat");
    spec.shape.ports = vec![bench.free_port()];
    let id = bench.run(&spec).await.unwrap();
    let seen = bench.container(&id).await.unwrap();
    assert_eq!(seen.state, ContainerState::Running);
    assert_eq!(seen.ports, spec.shape.ports);
    let address = seen.networks[&bench.network()].as_deref().unwrap();
    assert!(address.parse::<std::net::IpAddr>().is_ok(), "{address}");
    assert!(bench.engine.inspect(&id).await.unwrap().unwrap().started_at.is_some());
}

/// Fault D07.
async fn starting_what_runs_changes_nothing(bench: Bench) {
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    assert_eq!(bench.start(&id).await.unwrap(), Applied::AlreadySo);
}

/// Fault D07.
async fn stopping_what_is_stopped_changes_nothing(bench: Bench) {
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    assert_eq!(bench.stop(&id).await.unwrap(), Applied::Changed);
    // What an engine lists may lag behind what it has answered.
    let exited =
        async || bench.container(&id).await.filter(|seen| seen.state == ContainerState::Exited);
    eventually(exited).await;
    assert_eq!(bench.stop(&id).await.unwrap(), Applied::AlreadySo);
    assert_eq!(bench.start(&id).await.unwrap(), Applied::Changed);
}

/// Fault D06.
async fn what_is_gone_is_stopped_and_removed_and_can_not_be_started(bench: Bench) {
    let gone = ContainerId::new("0123456789abcdef".repeat(4));
    assert_eq!(bench.stop(&gone).await.unwrap(), Applied::AlreadySo);
    assert_eq!(bench.remove(&gone).await.unwrap(), Applied::AlreadySo);
    assert!(matches!(bench.start(&gone).await, Err(Error::NotFound(_))));
    assert_eq!(bench.engine.inspect(&gone).await.unwrap(), None);
    let tag = "berth/never-was:0123456789ab".to_owned();
    let call = Call::RemoveImage { id: format!("sha256:{}", gone.as_str()), tag };
    assert_eq!(bench.apply(&call, None).await.unwrap(), Applied::AlreadySo);
}

async fn a_running_container_can_be_removed(bench: Bench) {
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    assert_eq!(bench.remove(&id).await.unwrap(), Applied::Changed);
    assert!(bench.container(&id).await.is_none());
    // Its name is free again at once.
    bench.create(&bench.spec("chat")).await.unwrap();
}

/// Fault P07.
async fn a_stopped_container_keeps_its_ports(bench: Bench) {
    let mut spec = bench.spec("chat");
    spec.shape.ports = vec![bench.free_port()];
    let id = bench.create(&spec).await.unwrap();
    assert_eq!(bench.container(&id).await.unwrap().ports, spec.shape.ports);
}

/// Faults P01, P05.
async fn two_containers_can_not_hold_one_port(bench: Bench) {
    let port = bench.free_port();
    let (mut first, mut second) = (bench.spec("chat"), bench.spec("draw"));
    first.shape.ports = vec![port.clone()];
    second.shape.ports = vec![port];
    let holder = bench.run(&first).await.unwrap();
    let waiting = bench.create(&second).await.unwrap();
    let clash = bench.start(&waiting).await;
    assert!(matches!(clash, Err(Error::PortTaken(_))), "{clash:?}");
    assert_ne!(bench.container(&waiting).await.unwrap().state, ContainerState::Running);
    bench.remove(&holder).await.unwrap();
    assert_eq!(bench.start(&waiting).await.unwrap(), Applied::Changed);
}

/// Fault D32.
async fn an_exit_shows_its_code(bench: Bench) {
    let mut spec = bench.spec_that_exits("chat", 3);
    spec.shape.restart = RestartPolicy::Never;
    let id = bench.run(&spec).await.unwrap();
    let exited =
        async || bench.container(&id).await.filter(|seen| seen.state == ContainerState::Exited);
    assert_eq!(eventually(exited).await.exit_code, Some(3));
    let detail = bench.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!((detail.exit_code, detail.restart_count), (Some(3), 0));
    assert!(detail.finished_at.is_some() && !detail.is_oom_killed);
}

/// Fault D29.
async fn a_crash_is_followed_by_a_restart(bench: Bench) {
    let mut spec = bench.spec_that_exits("chat", 1);
    spec.shape.restart = RestartPolicy::OnFailure;
    let id = bench.run(&spec).await.unwrap();
    let again = async || {
        let detail = bench.engine.inspect(&id).await.unwrap().unwrap();
        (1 <= detail.restart_count).then_some(())
    };
    eventually(again).await;
}

/// Fault D31.
async fn what_was_stopped_is_not_restarted(bench: Bench) {
    let mut spec = bench.spec_that_exits("chat", 1);
    spec.shape.restart = RestartPolicy::Always;
    let id = bench.run(&spec).await.unwrap();
    let restarting =
        async || bench.container(&id).await.filter(|seen| seen.state == ContainerState::Restarting);
    eventually(restarting).await;
    bench.stop(&id).await.unwrap();
    let before = bench.engine.inspect(&id).await.unwrap().unwrap();
    // Its pause would have been over several times.
    let mut tick = tokio::time::interval(Duration::from_millis(400));
    for _ in 0..4 {
        tick.tick().await;
    }
    let after = bench.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!(after.restart_count, before.restart_count);
    assert_eq!(bench.container(&id).await.unwrap().state, ContainerState::Exited);
}

/// Faults B01, B04, D39.
async fn a_build_gives_an_image_that_is_ours(bench: Bench) {
    let recipe = bench.recipe("chat", &format!("RUN : {}; echo made by the build", bench.instance));
    bench.next_build_says(&recipe, "made by the build");
    let (built, log) = bench.build(&recipe).await;
    let id = built.unwrap();
    let world = bench.engine.observe().await.unwrap();
    assert_eq!(world.image_id(&recipe.tag()), Some(id.as_str()));
    let mine: Vec<_> = world.own_images.iter().filter(|image| image.id == id).collect();
    assert_eq!(mine.len(), 1);
    assert_eq!((&mine[0].app, &mine[0].tags), (&recipe.app, &vec![recipe.tag()]));
    assert!(log.iter().any(|line| line == "made by the build"), "{log:?}");
}

/// Fault D39: an error inside of a stream that began well.
async fn a_failed_build_says_why_and_leaves_no_image(bench: Bench) {
    let recipe = bench.recipe("chat", "RUN printf 'ERROR: no such %s\\n' thing && exit 7");
    bench.next_build_fails(&recipe, "ERROR: no such thing; returned a non-zero code: 7");
    let (built, _) = bench.build(&recipe).await;
    let Err(Error::Work(message)) = built else { panic!("{built:?}") };
    assert!(message.starts_with("ERROR: no such thing; "), "{message}");
    assert!(message.ends_with("returned a non-zero code: 7"), "{message}");
    assert_eq!(bench.engine.observe().await.unwrap().image_id(&recipe.tag()), None);
}

async fn a_build_whose_context_breaks_off_fails(bench: Bench) {
    let recipe = bench.recipe("chat", "RUN true");
    let whole = tar_of(&bench.dockerfile(&recipe));
    let pieces = [Ok(Bytes::from(whole)), Err(std::io::Error::other("the disk is gone"))];
    let (built, _) = bench.build_from(&recipe, futures_util::stream::iter(pieces).boxed()).await;
    let Err(Error::Work(message)) = built else { panic!("{built:?}") };
    assert!(message.contains("the disk is gone"), "{message}");
    assert_eq!(bench.engine.observe().await.unwrap().image_id(&recipe.tag()), None);
}

/// Fault D28.
async fn an_image_in_use_stays_and_an_unused_one_goes(bench: Bench) {
    let recipe = bench.recipe("chat", "RUN true");
    let id = bench.build(&recipe).await.0.unwrap();
    let mut spec = bench.spec("chat");
    spec.shape.image = recipe.tag();
    let user = bench.create(&spec).await.unwrap();
    let call = Call::RemoveImage { id, tag: recipe.tag() };
    assert_eq!(bench.apply(&call, None).await.unwrap(), Applied::AlreadySo);
    assert!(bench.engine.observe().await.unwrap().image_id(&recipe.tag()).is_some());
    bench.remove(&user).await.unwrap();
    assert_eq!(bench.apply(&call, None).await.unwrap(), Applied::Changed);
    assert_eq!(bench.engine.observe().await.unwrap().image_id(&recipe.tag()), None);
}

/// Fault D38. Nobody listens at this registry.
async fn a_pull_of_what_is_not_there_is_a_sentence(bench: Bench) {
    let image = ImageRef::parse("127.0.0.1:9/nothing:1").unwrap();
    let (log, _lines) = tokio::sync::mpsc::channel(10);
    let pulled = bench.engine.pull(&image, log).await;
    let Err(Error::Work(message)) = pulled else { panic!("{pulled:?}") };
    assert!(message.starts_with("failed to pull image `127.0.0.1:9/nothing:1`: "), "{message}");
}

/// Faults D12, D13.
async fn events_begin_with_a_subscription_and_name_the_app(bench: Bench) {
    let mut events = bench.engine.events();
    let patience = Duration::from_secs(20);
    let first = tokio::time::timeout(patience, events.next()).await.unwrap().unwrap();
    assert_eq!(first.unwrap(), Hint::subscribed());
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    bench.remove(&id).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|hint: &Hint| hint.action != "destroy") {
        let hint = tokio::time::timeout(patience, events.next()).await.unwrap().unwrap().unwrap();
        // Others work on the same engine.
        if hint.app == Some(bench.app("chat")) {
            seen.push(hint);
        }
    }
    let told: Vec<_> = seen.iter().map(|hint| (hint.action.as_str(), hint.is_urgent)).collect();
    assert_eq!(
        told,
        [("create", false), ("start", false), ("kill", false), ("die", true), ("destroy", true)]
    );
    assert!(seen.iter().all(|hint| hint.at.is_some()));
}

async fn a_log_is_told_from_its_tail(bench: Bench) {
    let id = bench.run(&bench.spec_that_says("chat", &["one", "two", "three"])).await.unwrap();
    let whole = async || {
        let text = bench.log(&id, LogOptions::default()).await;
        text.contains("three").then_some(text)
    };
    assert_eq!(eventually(whole).await, "one\ntwo\nthree\n");
    let tail = LogOptions { tail: Some(1), ..LogOptions::default() };
    assert_eq!(bench.log(&id, tail).await, "three\n");
    let stamped = LogOptions { timestamps: true, tail: Some(1), ..LogOptions::default() };
    let line = bench.log(&id, stamped).await;
    assert!(line.starts_with("20") && line.ends_with("Z three\n"), "{line}");
}

async fn a_followed_log_ends_with_its_container(bench: Bench) {
    let id = bench.run(&bench.spec_that_says("chat", &["one"])).await.unwrap();
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut log = bench.engine.logs(&id, follow);
    assert_eq!(log.next().await.unwrap().unwrap(), "one\n");
    bench.remove(&id).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), log.next()).await.unwrap();
    assert!(end.is_none_or(|last| last.is_err()));
}

async fn a_command_answers_its_code_and_output(bench: Bench) {
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    bench.next_command_answers("chat", 5, "out");
    let command = ["sh", "-c", "echo out; exit 5"].map(str::to_owned);
    let patience = Duration::from_secs(10);
    assert_eq!(bench.engine.exec(&id, &command, patience).await.unwrap(), (5, "out".to_owned()));
    bench.stop(&id).await.unwrap();
    let stopped = bench.engine.exec(&id, &command, patience).await;
    assert!(matches!(stopped, Err(Error::Conflict(_))), "{stopped:?}");
}

/// Fault D35 and the promise of `limits.md`: a pass that changes nothing costs two requests.
#[tokio::test]
async fn an_observation_of_the_real_engine_is_two_requests() {
    let bench = Bench::docker().await;
    let docker = bench.real().unwrap();
    docker.describe().await.unwrap();
    let before: u64 = docker.counts().values().sum();
    docker.observe().await.unwrap();
    assert_eq!(docker.counts().values().sum::<u64>() - before, 2);
}

/// Fault D43: the engine would make the folder for a bind of the lenient kind.
#[tokio::test]
async fn the_real_engine_refuses_a_host_folder_that_is_missing() {
    use berth::{
        engine::docker::Gate,
        model::{Mount, MountSource},
        state::Policy,
    };
    let bench = Bench::docker_with(|settings| {
        let network = format!("{}-net", settings.instance);
        let host_mounts = vec!["/nonexistent".to_owned()];
        settings.gate = Gate::of(&Policy { network, host_mounts, ..Policy::default() });
    })
    .await;
    let mut spec = bench.spec("chat");
    spec.shape.mounts = vec![Mount {
        path: "/data".to_owned(),
        source: MountSource::Host(format!("/nonexistent/{}", bench.instance)),
        read_only: true,
    }];
    let made = bench.create(&spec).await;
    assert!(matches!(made, Err(Error::Refused { status: 400, .. })), "{made:?}");
    // Where the operator does not list it, nobody asks the engine.
    spec.shape.mounts[0].source = MountSource::Host("/etc".to_owned());
    let made = bench.create(&spec).await;
    assert!(matches!(made, Err(Error::Forbidden { .. })), "{made:?}");
}

/// Faults U09, U13. The start is where GPUs are refused; what was made for it can be removed.
async fn an_engine_without_a_hook_gives_no_gpus_and_says_so_at_the_start(bench: Bench) {
    bench.has_no_gpus();
    let ways = bench.engine.gpu_ways().await.unwrap();
    assert!(!ways.has_nvidia_runtime && ways.cdi_devices.is_empty(), "{ways:?}");
    for way in [GpuWay::DeviceRequest, GpuWay::Cdi] {
        let id = bench.create(&bench.spec_with_gpus(&["GPU-a"], way)).await.unwrap();
        let error = bench.start(&id).await.unwrap_err();
        assert_eq!(error.reason(), Reason::GpuFailed, "{error}");
        assert!(is_way_refused(&error.to_string()), "{error}");
        assert_eq!(bench.container(&id).await.unwrap().state, ContainerState::Created);
        bench.remove(&id).await.unwrap();
    }
}

async fn a_container_holds_the_gpus_that_it_was_made_with(bench: Bench) {
    let spec = bench.spec_with_gpus(&["GPU-a", "GPU-b"], GpuWay::DeviceRequest);
    let id = bench.create(&spec).await.unwrap();
    let devices = GpuHold::Devices(vec!["GPU-a".to_owned(), "GPU-b".to_owned()]);
    assert_eq!(bench.engine.gpus_of(&id).await.unwrap(), Some(devices));
    let world = bench.engine.observe().await.unwrap();
    let seen = world.containers.iter().find(|container| container.id == id).unwrap();
    assert_eq!(seen.gpus, spec.shape.gpus.map(GpuHold::Granted));
    let given = world.given[&id].clone();
    assert_eq!((given.way, given.driver.as_deref()), (GpuWay::DeviceRequest, Some("550.54.15")));
    let other = bench.create(&bench.spec("plain")).await.unwrap();
    assert_eq!(bench.engine.gpus_of(&other).await.unwrap(), None);
    bench.remove(&id).await.unwrap();
    assert_eq!(bench.engine.gpus_of(&id).await.unwrap(), None, "what is gone holds nothing");
}
