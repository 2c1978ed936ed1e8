//! Faults of the field that no other harness names.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth::{
    engine::{
        fake::{Behaviour, Script},
        fault::{Fault, Faulty},
    },
    model::{ImageRef, Phase, Protocol},
    plan::{Call, Claims, Step, place_ports},
    state::{ContainerState, Policy},
};
use tokio::time::Instant;

use crate::{
    rig::{Rig, is, manifest, name},
    sim::{Sim, image_app},
};

/// An engine on which one kind of call on one app's containers fails for as long as it is told so.
fn failing(rig: &Rig, kind: &'static str, status: u16) -> (Faulty, Arc<AtomicBool>, Times) {
    let (fails, times) = (Arc::new(AtomicBool::new(false)), Times::default());
    let (is_failing, failed) = (Arc::clone(&fails), Arc::clone(&times));
    let engine = Faulty::new(Arc::new(rig.fake.clone()), move |call| {
        if call.kind == kind && is_failing.load(Ordering::Relaxed) {
            failed.lock().unwrap().push(Instant::now());
            return Fault::Fail(status);
        }
        Fault::Pass
    });
    (engine, fails, times)
}

type Times = Arc<Mutex<Vec<Instant>>>;

/// How many containers of an app run.
fn running(rig: &Rig, app: &str) -> usize {
    let world = rig.fake.world();
    let mine = world.containers_of(&name(app));
    mine.iter().filter(|container| container.state == ContainerState::Running).count()
}

/// Fault D03: the engine says that a name is taken, and nobody has it.
#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_has_and_that_is_taken_is_waited_for() {
    let rig = Rig::new().has("other", "shop/app:1");
    let (engine, fails, times) = failing(&rig, "create", 409);
    let berth = rig.start_on(Arc::new(engine));
    berth.until_running("other").await;
    fails.store(true, Ordering::Relaxed);
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", ""));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = times.lock().unwrap().clone();
    assert!((2..=60).contains(&tries.len()), "{} tries in ten minutes", tries.len());
    assert!(tries.windows(2).all(|two| Duration::from_millis(500) <= two[1] - two[0]));
    assert!(is(&berth.record, "chat", |status| status.phase != Phase::Running));
    assert!(is(&berth.record, "other", |status| status.phase == Phase::Running));
    fails.store(false, Ordering::Relaxed);
    berth.until_running("chat").await;
    assert_eq!((rig.count("create", "chat"), rig.count("create", "other")), (1, 1));
}

/// Fault D11: what can't be killed keeps its port: no second one is started beside it.
#[tokio::test(start_paused = true)]
async fn beside_a_container_that_can_not_be_killed_none_is_started_on_its_port() {
    let rig = Rig::new().has("other", "shop/app:1");
    let (engine, fails, times) = failing(&rig, "stop", 500);
    let berth = rig.start_on(Arc::new(engine));
    let text = |image: &str| manifest("chat", image, "rollout: {order: stop-first}");
    berth.manifests.put("chat.yaml", &text("shop/app:1"));
    berth.until_running("chat").await;
    fails.store(true, Ordering::Relaxed);
    berth.manifests.put("chat.yaml", &text("shop/app:2"));
    berth.until("the stop was tried", |_| 2 <= times.lock().unwrap().len()).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((running(&rig, "chat"), rig.count("start", "chat")), (1, 1));
    }
    berth.manifests.put("late.yaml", &manifest("late", "shop/app:3", ""));
    berth.until_running("late").await;
    fails.store(false, Ordering::Relaxed);
    let is_new = |status: &berth::status::Status| {
        status.phase == Phase::Running && status.image.as_deref() == Some("shop/app:2")
    };
    berth.until("the new one runs", |record| is(record, "chat", is_new)).await;
    berth.until("it is alone", |_| rig.count("remove", "chat") == 1).await;
    assert_eq!(running(&rig, "chat"), 1);
}

/// Fault D27: an image goes between the plan and the call that needs it.
#[tokio::test(start_paused = true)]
async fn an_image_that_goes_before_its_container_is_made_is_got_again() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let reference = ImageRef::parse("shop/app:1").unwrap();
    rig.fake.add_remote(&reference, Script::takes(Duration::from_secs(1)), Behaviour::default());
    let fake = rig.fake.clone();
    let engine = Faulty::new(Arc::new(rig.fake.clone()), move |call| {
        if call.kind == "create" && call.nth_of_kind == 0 {
            fake.drop_image("shop/app:1");
        }
        Fault::Pass
    });
    let berth = rig.start_on(Arc::new(engine));
    berth.until_running("chat").await;
    assert_eq!((rig.count("create", "chat"), running(&rig, "chat")), (1, 1));
}

/// Fault P03: a number is another port for each protocol.
#[test]
fn the_same_number_is_another_port_for_another_protocol() {
    let app =
        image_app("chat", "a:1", "ports: [{containerPort: 53, hostPort: 5353, protocol: udp}]");
    let mut claims = Claims::default();
    claims.taken.insert((Protocol::Tcp, 5353), "another app".to_owned());
    assert_eq!(place_ports(&app, &claims, &Policy::default()).problem, None);
    claims.taken.insert((Protocol::Udp, 5353), "another app".to_owned());
    let problem = place_ports(&app, &claims, &Policy::default()).problem;
    assert!(problem.unwrap().message.contains("5353/udp is taken by another app"));
}

/// Fault P04: what the kernel gives to outgoing connections is not given to apps.
#[test]
fn ports_are_given_from_outside_the_kernels_own_range() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let kernel: Vec<u16> = range.split_whitespace().map(|port| port.parse().unwrap()).collect();
    let ports = Policy::default().ports;
    assert!(1024 <= ports.first && ports.last < kernel[0].min(32_768), "{ports} and {kernel:?}");
}

/// Fault Y07: nothing of Berth's own environment gets into an app's, whatever its manifest says.
#[test]
fn an_apps_environment_is_what_its_manifest_says_letter_by_letter() {
    let odd = ["${HOME}", "$PATH", "$(id)", "`id`", "{{ .Env.HOME }}", "%PATH%", "$${HOME}"];
    let lines = odd.iter().enumerate().map(|(at, value)| format!("\n  V{at}: '{value}'"));
    let lines = lines.collect::<Vec<_>>().concat();
    let app = image_app("chat", "a:1", &format!("env:{lines}\ncommand: [sh, '${{HOME}}']"));
    let plan = Sim::new(&app).has_image("a:1").plan();
    let spec = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Call(Call::Create(spec)) => Some(spec),
        _ => None,
    });
    let shape = &spec.unwrap().shape;
    let made: BTreeMap<_, _> = shape.env.iter().map(|(key, value)| (&**key, &**value)).collect();
    for (at, value) in odd.iter().enumerate() {
        assert_eq!(made.get(&*format!("V{at}")), Some(value));
    }
    assert!(format!("{:?}", shape.command).contains("${HOME}"), "{:?}", shape.command);
}

/// Fault Y02: YAML is read by one library that is kept up, and by none that is given up or unsound.
#[test]
fn no_reader_of_yaml_that_is_given_up_is_built_in() {
    let lock = include_str!("../../Cargo.lock");
    let names: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert!(names.contains(&"\"serde-saphyr\""), "the reader is another one");
    for bad in ["serde_yaml", "serde_yml", "serde_yaml_ng", "yaml-rust", "yaml-rust2", "libyml"] {
        assert!(!names.contains(&&*format!("\"{bad}\"")), "{bad} is built in");
    }
}
