//! Host ports: whose they are, and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use berth::{
    engine::fake::Behaviour,
    model::{AppName, PortBinding, PortRange, Protocol, Timestamp},
    plan::{PortFacts, PortState, port_uses},
    record::Command,
    state::{HostPort, Rest, World},
};
use serde_json::{Value, json};

use super::{RANGE, Stage};
use crate::rig::{Berth, Rig, manifest, name};

const QUARANTINE: Duration = Duration::from_secs(600);

fn tcp(host_port: u16) -> PortBinding {
    let host_ip = "127.0.0.1".to_owned();
    PortBinding { host_ip, host_port, container_port: 5000, protocol: Protocol::Tcp }
}

fn port(berth: &Berth, app: &str) -> u16 {
    berth.status(app).unwrap().ports[0].host_port
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.policy.port_quarantine = QUARANTINE;
    rig
}

#[tokio::test(start_paused = true)]
async fn a_port_stays_with_its_app_over_stops_rebuilds_new_versions_and_restarts_of_berth() {
    let mut rig = rig().has("a", "shop/app:1").has("b", "shop/app:1");
    let berth = rig.start();
    berth.until_running("a").await;
    berth.until_running("b").await;
    let (a, b) = (port(&berth, "a"), port(&berth, "b"));
    assert_ne!(a, b);
    berth.command(Command::Stop(name("a"))).await.unwrap();
    berth
        .until("a is stopped", |record| {
            crate::rig::is(record, "a", |s| s.phase == berth::model::Phase::Paused)
        })
        .await;
    // Meanwhile a newcomer does not get it.
    berth.manifests.put("c.yaml", &manifest("c", "shop/app:1", ""));
    berth.until_running("c").await;
    assert_ne!(port(&berth, "c"), a);
    berth.command(Command::Start(name("a"))).await.unwrap();
    berth.until_running("a").await;
    berth.manifests.put("a.yaml", &manifest("a", "shop/app:2", ""));
    berth
        .until("a runs its second version", |record| {
            crate::rig::is(record, "a", |s| {
                s.phase == berth::model::Phase::Running && s.image.as_deref() == Some("shop/app:2")
            })
        })
        .await;
    berth.command(Command::Rebuild(name("a"))).await.unwrap();
    berth.until_running("a").await;
    assert_eq!((port(&berth, "a"), port(&berth, "b")), (a, b));
    rig.files.insert("a.yaml".to_owned(), manifest("a", "shop/app:2", ""));
    rig.files.insert("c.yaml".to_owned(), manifest("c", "shop/app:1", ""));
    rig.kept = berth.stop().await;
    let berth = rig.start();
    berth.until_running("a").await;
    berth.until_running("b").await;
    assert_eq!((port(&berth, "a"), port(&berth, "b")), (a, b), "over a restart of Berth");
    berth.stop().await;
}

/// Fault P10.
#[tokio::test(start_paused = true)]
async fn a_port_that_was_released_is_nobodys_for_a_time_also_over_a_restart_of_berth() {
    // An empty folder would be doubted.
    let mut rig = rig().has("a", "shop/app:1").has("z", "shop/app:1");
    let berth = rig.start();
    berth.until_running("a").await;
    berth.until_running("z").await;
    let a = port(&berth, "a");
    berth.manifests.remove("a.yaml");
    berth.until_gone("a").await;
    rig.kept = berth.stop().await;
    rig.files.remove("a.yaml");
    rig.files.insert("b.yaml".to_owned(), manifest("b", "shop/app:1", ""));
    let berth = rig.start();
    berth.until_running("b").await;
    assert_ne!(port(&berth, "b"), a, "it rests");
    let (_, resting) = berth.ledger.ports(rig.clock.now());
    let rest = &resting[&(Protocol::Tcp, a)];
    assert_eq!(rest.app, Some(name("a")));
    // The app that had it may have it again at once.
    berth.manifests.put("a.yaml", &manifest("a", "shop/app:1", ""));
    berth.until_running("a").await;
    assert_eq!(port(&berth, "a"), a);
    berth.manifests.remove("a.yaml");
    berth.until_gone("a").await;
    tokio::time::sleep(QUARANTINE + Duration::from_secs(1)).await;
    berth.manifests.put("c.yaml", &manifest("c", "shop/app:1", ""));
    berth.until_running("c").await;
    assert_eq!(port(&berth, "c"), a, "then anybody may have it");
    berth.stop().await;
}

/// A port that an app gives up while it goes on rests, too.
#[tokio::test(start_paused = true)]
async fn a_port_that_an_app_gives_up_rests_like_one_of_an_app_that_is_gone() {
    let rig = rig().has("a", "shop/app:1");
    let berth = rig.start();
    berth.until_running("a").await;
    let a = port(&berth, "a");
    let without = manifest("a", "shop/app:1", "").replace("  port: 5000\n", "");
    berth.manifests.put("a.yaml", &without);
    berth
        .until("a runs without a port", |record| {
            let is_without = |s: &berth::status::Status| {
                s.phase == berth::model::Phase::Running && s.ports.is_empty()
            };
            crate::rig::is(record, "a", is_without)
        })
        .await;
    berth.until("its port rests", |_| !berth.ledger.ports(rig.clock.now()).1.is_empty()).await;
    berth.manifests.put("b.yaml", &manifest("b", "shop/app:1", ""));
    berth.until_running("b").await;
    assert_ne!(port(&berth, "b"), a);
    berth.stop().await;
}

/// Containers that do not run hold no port, and will want theirs again.
#[tokio::test(start_paused = true)]
async fn ports_of_stopped_foreign_containers_are_the_last_to_be_given_out() {
    let mut rig = rig().has("a", "shop/app:1");
    rig.policy.ports = PortRange { first: 28_001, last: 28_003 };
    rig.fake.add_foreign("db", vec![tcp(28_001)]);
    assert!(rig.fake.stop_foreign("db"));
    rig.fake.add_foreign("cache", vec![tcp(28_002)]);
    let berth = rig.start();
    berth.until_running("a").await;
    assert_eq!(port(&berth, "a"), 28_003, "one wants the first, one has the second");
    berth.manifests.put("b.yaml", &manifest("b", "shop/app:1", ""));
    berth.until_running("b").await;
    assert_eq!(port(&berth, "b"), 28_001, "rather than none");
    let asked = rig.fake.counts()["ports_of"];
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.fake.counts()["ports_of"], asked, "each is asked once");
    // One that asks for a certain port gets it although a stopped container wants it.
    let fixed = manifest("c", "shop/app:1", "")
        .replace("port: 5000", "ports: [{containerPort: 5000, hostPort: 28100}]");
    rig.fake.add_foreign("old", vec![tcp(28_100)]);
    assert!(rig.fake.stop_foreign("old"));
    berth.manifests.put("c.yaml", &fixed);
    berth.until_running("c").await;
    assert_eq!(port(&berth, "c"), 28_100);
    berth.stop().await;
}

#[test]
fn who_has_a_port_comes_before_who_had_it_or_wants_it() {
    use PortState as S;
    let fake = berth::engine::fake::Fake::new(
        "default",
        berth::clock::Clock::runtime(Timestamp::from_millis(1)),
    );
    fake.add_foreign("db", vec![tcp(8001)]);
    let world: World = fake.world();
    let (a, until) = (AppName::new("a").unwrap(), Timestamp::from_millis(9_000));
    let key = |port: u16| -> HostPort { (Protocol::Tcp, port) };
    let rest = Rest { until, why: "b, which was removed just now".to_owned(), app: None };
    let facts = PortFacts {
        world: &world,
        given: &BTreeMap::from([(key(8002), (a.clone(), 80)), (key(8003), (a.clone(), 81))]),
        resting: &BTreeMap::from([(key(8002), rest.clone()), (key(8006), rest)]),
        listening: &BTreeSet::from([key(8001), key(8003), key(8004), key(22)]),
        dormant: &BTreeMap::from([(key(8005), "old".to_owned()), (key(8004), "x".to_owned())]),
        range: PortRange { first: 8001, last: 8999 },
    };
    let uses = port_uses(&facts);
    let seen: Vec<_> = uses
        .iter()
        .map(|port| (port.port, port.state, port.holder.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        seen,
        [
            (8001, S::Foreign, "container db"),
            (8002, S::Reserved, ""),
            (8003, S::Reserved, "a program of this host"),
            (8004, S::Foreign, "a program of this host"),
            (8005, S::Foreign, "container old (stopped)"),
            (8006, S::Quarantined, "b, which was removed just now"),
        ]
    );
    assert_eq!((uses[1].app.as_ref(), uses[1].container_port), (Some(&a), Some(80)));
    assert_eq!(uses[5].until, Some(until));
}

#[tokio::test]
async fn the_ports_are_shown_to_clients_to_programs_and_to_people() {
    let stage = Stage::with(
        |fake| {
            fake.add_foreign("db", vec![PortBinding { host_port: RANGE.last, ..tcp(1) }]);
            fake.add_image("wide:1", Behaviour::default());
        },
        |_| (),
    )
    .await;
    stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
    stage.good("POST", "/containers/create", r#"{"name": "off"}"#).await;
    stage.good("POST", "/containers/create", r#"{"name": "gone"}"#).await;
    stage.good("POST", "/containers/off/stop", "").await;
    stage.good("DELETE", "/containers/gone", "").await;
    let shown = stage.good("GET", "/ports/", "").await;
    assert_eq!(shown["available_range"], "19001-19020");
    assert_eq!(shown["total_ports"], 20);
    assert_eq!(
        shown["allocations"],
        json!([
            { "port": 19_001, "app": "web", "container_port": 5000, "protocol": "udp" },
            { "port": 19_002, "app": "off", "container_port": 5000, "protocol": "udp" },
        ])
    );
    let used: Vec<_> = shown["used_ports"].as_array().unwrap().iter().map(Value::as_u64).collect();
    for port in [19_001, 19_002, 19_020] {
        assert!(used.contains(&Some(port)), "{shown}");
    }
    let all = stage.good("GET", "/api/v1/ports", "").await;
    let states: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (port["port"].as_u64().unwrap(), port["state"].as_str().unwrap()))
        .filter(|(port, _)| [19_001, 19_002, 19_003, 19_020].contains(port))
        .collect();
    assert_eq!(
        states,
        [(19_001, "bound"), (19_002, "reserved"), (19_003, "quarantined"), (19_020, "foreign")]
    );
    let said = crate::cli::ask(&format!("http://{}", stage.address), &["ports"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<_> =
        said.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["PORT", "APP", "CONTAINER", "PROTOCOL", "STATE"]);
    assert_eq!(lines[1], ["19001", "web", "5000", "udp", "bound"]);
    assert_eq!(lines[2], ["19002", "off", "5000", "udp", "reserved"]);
    assert_eq!(&lines[3][..4], ["19003", "udp", "quarantined", "until"], "{said:?}");
    assert!(said.out.contains("foreign: container db"), "{said:?}");
    let json =
        crate::cli::ask(&format!("http://{}", stage.address), &["ports", "-o", "json"]).await;
    let items: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(items["items"][0]["containerPort"], 5000);
    stage.end().await;
}
