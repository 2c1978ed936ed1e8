//! A real engine of this machine with a hook: device requests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    engine::{Engine as _, gpus::is_way_refused},
    health::gpu::{Check, GpuWatch},
    model::{GpuWay, Reason, label},
    plan::{Call, ContainerSpec, Target},
    queue::Queue,
    state::{ContainerId, ContainerState, GpuHold, GpuWays, Proof, proof_label, proof_name},
};

use super::bed::{Bed, grant};
use crate::engine_failure::second::TINY;

/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an app says that shows which cards it has.
const SHOW: &str = "ls /run/gpus; ls /dev | grep nvidia; echo $GPU_COUNT";

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never came to pass: {what}");
}

/// Faults U01, U05, U09: one engine for all of it, since it takes seconds to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_gives_apps_exactly_their_gpus() {
    let bed = Bed::start();
    let ways = bed.docker.gpu_ways().await.unwrap();
    assert_eq!(ways, GpuWays::default(), "Docker Engine 20.10 has no CDI");
    let spec = bed.spec("chat", &["GPU-cccc", "GPU-bbbb"]).await;
    assert_eq!(spec.gpu_way.as_ref().unwrap().way, GpuWay::DeviceRequest);
    let id = bed.make(&spec).await;
    bed.start_it(&id).await.unwrap();
    let seen = "GPU-bbbb GPU-cccc nvidia2 nvidia3 2";
    assert_eq!(bed.said(&id, SHOW).await, seen);
    let visible = bed.said(&id, "echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES").await;
    assert_eq!(visible, "GPU-cccc,GPU-bbbb compute,utility");
    // A restart of the container runs the hook again, with the same cards.
    bed.second.docker(&["restart", "--time", "0", id.as_str()]);
    assert_eq!(bed.said(&id, SHOW).await, seen);
    // Who asked for none sees none.
    let other = bed.make(&bed.spec("plain", &[]).await).await;
    bed.start_it(&other).await.unwrap();
    assert_eq!(bed.said(&other, "ls /run | grep gpus; echo $NVIDIA_VISIBLE_DEVICES").await, "void");
    what_would_start_is_proven(&bed, &spec).await;
    whoever_made_it_holds_it(&bed).await;
    what_is_not_there_is_said(&bed).await;
    what_is_taken_away_is_seen(&bed).await;
}

/// Fault U02: the hook is run for a container in which nothing runs, and nothing is left of it.
async fn what_would_start_is_proven(bed: &Bed, spec: &ContainerSpec) {
    let given = || std::fs::read_to_string(bed.second.path("given")).unwrap().lines().count();
    let before = given();
    let prove = |spec: &ContainerSpec| Call::Prove(Box::new(spec.clone()));
    bed.apply(&prove(spec), None).await.unwrap();
    assert_eq!(given(), before + 1, "the hook gave it its cards");
    let mut wrong = spec.clone();
    wrong.shape.gpus = Some(grant(&["GPU-zzzz"]));
    let error = bed.apply(&prove(&wrong), None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GpuFailed);
    assert!(error.to_string().contains("GPU-zzzz: unknown device id of a GPU"), "{error}");
    "no-such-image:1".clone_into(&mut wrong.shape.image);
    assert!(bed.apply(&prove(&wrong), None).await.is_err());
    let all = bed.second.docker(&["ps", "--all", "--format", "{{.Names}}"]);
    assert!(!all.contains("proof"), "{all}");
    // What a Berth leaves behind that is killed meanwhile is known, and nobody's container.
    let name = proof_name(&spec.name);
    let label = format!("{}={}", label::PROOF, proof_label(&spec.instance, &spec.app));
    let made = ["create", "--name", &name, "--label", &label, "--volume", "/v", TINY];
    let id = ContainerId::new(bed.second.docker(&made));
    let world = bed.docker.observe().await.unwrap();
    let left = Proof { id: id.clone(), name: name.clone(), app: spec.app.clone() };
    assert_eq!(world.proofs, [left]);
    assert!(!world.containers.iter().any(|container| container.id == id));
    assert!(bed.apply(&prove(spec), None).await.is_err(), "its name is taken");
    let target = Target { id: Some(id.clone()), name };
    bed.apply(&Call::Remove(target), Some(&id)).await.unwrap();
    bed.apply(&prove(spec), None).await.unwrap();
    assert!(bed.docker.observe().await.unwrap().proofs.is_empty());
    assert_eq!(bed.second.docker(&["volume", "ls", "--quiet"]), "", "nor the volume of its image");
}

/// Fault U12: containers that no Berth made.
async fn whoever_made_it_holds_it(bed: &Bed) {
    let mut made = Vec::new();
    for (name, flags) in [
        ("request", &["--gpus", "\"device=GPU-aaaa,GPU-bbbb\""][..]),
        ("first", &["--gpus", "2"]),
        ("all", &["--gpus", "all"]),
        ("privileged", &["--privileged"]),
        ("none", &[]),
    ] {
        let args = [&["create", "--name", name], flags, &["berth/tiny:offline"]].concat();
        let id = ContainerId::new(bed.second.docker(&args));
        made.push(bed.docker.gpus_of(&id).await.unwrap());
    }
    let devices = GpuHold::Devices(vec!["GPU-aaaa".to_owned(), "GPU-bbbb".to_owned()]);
    let all =
        [Some(devices), Some(GpuHold::First(2)), Some(GpuHold::All), Some(GpuHold::All), None];
    assert_eq!(made, all);
}

async fn what_is_not_there_is_said(bed: &Bed) {
    let mut spec = bed.spec("wrong", &["GPU-aaaa"]).await;
    spec.shape.gpus = Some(grant(&["GPU-zzzz"]));
    let id = bed.make(&spec).await;
    let error = bed.start_it(&id).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GpuFailed);
    let said = error.to_string();
    assert!(said.contains("GPU-zzzz: unknown device id of a GPU"), "{said}");
    assert!(said.contains("berth gpu ls") && !is_way_refused(&said), "{said}");
    let world = bed.docker.observe().await.unwrap();
    let state = world.containers.iter().find(|c| c.id == id).map(|c| c.state);
    assert_eq!(state, Some(ContainerState::Created));
    // By CDI the same engine gives nothing: another way is tried.
    let mut spec = bed.spec("cdi", &["GPU-aaaa"]).await;
    let mut ways = GpuWays::default();
    ways.cdi_devices.insert("nvidia.com/gpu=GPU-aaaa".to_owned());
    let grant = grant(&["GPU-aaaa"]);
    let known = BTreeMap::new();
    spec.gpu_way = berth::plan::gpu_route(&grant, &ways, &super::bed::bare(), &known);
    assert_eq!(spec.gpu_way.as_ref().map(|route| route.way), Some(GpuWay::Cdi));
    let id = bed.make(&spec).await;
    let said = bed.start_it(&id).await.unwrap_err().to_string();
    assert!(said.contains("could not select device driver \"cdi\""), "{said}");
    assert!(is_way_refused(&said), "{said}");
}

/// Fault U01.
async fn what_is_taken_away_is_seen(bed: &Bed) {
    let spec = bed.spec("lost", &["GPU-aaaa"]).await;
    let id = bed.make(&spec).await;
    bed.start_it(&id).await.unwrap();
    let queue = Arc::new(Queue::default());
    let engine = Arc::new(bed.docker.clone());
    let settings = (bed.roots(), Check::Auto);
    let watch = GpuWatch::new(engine, Arc::clone(&queue), Arc::clone(&bed.cards), settings);
    watch.watch(&spec.app, &id, &grant(&["GPU-aaaa"]));
    // No driver answers, and the list of devices lets the question through.
    let open = "cat /dev/nvidia0 2>&1";
    assert!(bed.said(&id, open).await.ends_with("No such device or address"));
    Bed::take_away(&id, 0);
    assert!(bed.said(&id, open).await.ends_with("Operation not permitted"));
    until("it is seen", async || watch.lost(&spec.app).is_some()).await;
    let (lost, said) = watch.lost(&spec.app).unwrap();
    assert_eq!(lost, id);
    assert!(said.contains("/dev/nvidia0 was taken from it"), "{said}");
    // The app is looked at at once.
    let turn = tokio::time::timeout(PATIENCE, queue.next()).await.unwrap();
    assert_eq!(turn.app, spec.app);
    queue.done(&turn.app);
    // Only a new start gets it back.
    bed.second.docker(&["restart", "--time", "0", id.as_str()]);
    assert!(bed.said(&id, open).await.ends_with("No such device or address"));
    until("it is there again", async || watch.lost(&spec.app).is_none()).await;
}
