//! The last hour of apps, and what is made of it.

use std::{sync::Arc, time::Duration};

use berth::{
    gpu::Cards,
    model::AppName,
    state::{ContainerId, Gpu, GpuProcess, Inventory},
    usage::{HISTORY_LENGTH, HISTORY_STEP, History},
};

use super::tree::{Tree, container, id};

fn place(file: &str) -> String {
    format!("cgroup/system.slice/docker-{}.scope/{file}", id("a1"))
}

fn app() -> AppName {
    AppName::new("web").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_apps_figures_are_kept_with_its_gpus() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let cards = Cards::default();
    let process = |memory, container: Option<String>| GpuProcess {
        memory,
        utilization: Some(30),
        container: container.map(ContainerId::new),
        ..GpuProcess::default()
    };
    let processes = vec![
        process(Some(1 << 30), Some(id("a1"))),
        process(None, Some(id("a1"))),
        process(Some(5), None),
    ];
    cards
        .put(Inventory { gpus: vec![Gpu { processes, ..Gpu::default() }], ..Inventory::default() });
    let history = History::new(Arc::clone(&tree.collector), cards.follow());
    assert!(history.series(&app()).is_none() && history.now(&app()).is_none());
    tree.see(vec![
        container(&id("a1"), "web-01234567", Some("web")),
        container(&id("b2"), "x", None),
    ]);
    history.take();
    tokio::time::advance(HISTORY_STEP).await;
    tree.put(&place("cpu.stat"), "usage_usec 2524262\n");
    tree.put(&place("memory.current"), "9388608\n");
    tree.put("proc/42/net/dev", "eth0: 5486 5 0 0 0 0 0 0 1090 6 0 0 0 0 0 0\n");
    history.take();
    let series = history.series(&app()).unwrap();
    assert_eq!(series.points.len(), 2);
    assert_eq!((series.points[0].cpu, series.points[0].memory), (None, Some(999_424)));
    let now = history.now(&app()).unwrap();
    assert_eq!((now.cpu, now.memory), (Some(0.5), Some(8_388_608)));
    assert_eq!((now.network_receive, now.network_transmit), (Some(1000.0), Some(200.0)));
    assert_eq!((now.gpu_memory, now.gpu_utilization), (Some(1 << 30), Some(60.0)));
    assert_eq!(series.points.last(), Some(&now));
    assert!(history.series(&AppName::new("x").unwrap()).is_none(), "not ours");
    // It ends: its hour stays to be seen, but it uses nothing now.
    tree.see(Vec::new());
    tokio::time::advance(HISTORY_STEP).await;
    history.take();
    assert!(history.now(&app()).is_none());
    assert_eq!(history.series(&app()).unwrap().points.len(), 2);
    tokio::time::advance(HISTORY_STEP * u32::try_from(HISTORY_LENGTH).unwrap()).await;
    history.take();
    assert!(history.series(&app()).is_none(), "an hour later it is forgotten");
}

/// Nothing is read while none of our apps runs, and it goes on once one does.
#[tokio::test(start_paused = true)]
async fn it_sleeps_while_no_app_runs() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let history = Arc::new(History::new(Arc::clone(&tree.collector), Cards::default().follow()));
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&history).run(stop.clone()));
    tree.see(vec![container(&id("a1"), "other", None)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(history.series(&app()).is_none());
    tree.see(vec![container(&id("a1"), "web-01234567", Some("web"))]);
    while history.series(&app()).is_none_or(|series| series.points.len() < 3) {
        tokio::time::sleep(HISTORY_STEP).await;
    }
    stop.cancel();
    running.await.unwrap();
}

/// Capacity adds up what the host has.
#[tokio::test(start_paused = true)]
async fn the_host_is_measured_between_two_looks() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let history = History::new(Arc::clone(&tree.collector), Cards::default().follow());
    let host = history.host();
    assert_eq!((host.processors, host.cpu, host.memory_total), (Some(2), None, Some(16 << 20)));
    history.take();
    let stat = "cpu0 110 0 15 60 1 0 1 0\ncpu1 20 0 5 140 0 0 1 0\nbtime 1700000000\n";
    tree.put("proc/stat", stat);
    tokio::time::advance(HISTORY_STEP).await;
    history.take();
    assert_eq!(history.host().cpu, Some(1.0));
    assert!(history.room().unwrap().free > 0 && history.room().unwrap().per_second.is_none());
}
