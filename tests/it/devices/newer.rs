//! A real engine that has CDI, from Debian's newest suite: `make gpu-engines` fetches it and runs
//! these.

use std::{collections::BTreeMap, fs};

use berth::{
    engine::{Engine as _, gpus::is_way_refused},
    model::{GpuWay, Reason},
};

use super::bed::{Bed, grant};

/// The environment of a container's first process, which a command in it does not get.
const ENV: &str = "tr '\\000' '\\n' </proc/1/environ";

fn engine() -> String {
    std::env::var("BERTH_TEST_NEWER_ENGINE")
        .unwrap_or_else(|_| panic!("no newer engine: run `make gpu-engines`"))
}

/// A description of cards as `nvidia-ctk cdi generate` makes it, with harmless devices.
fn description(cards: &[&str]) -> String {
    let device = |card: &&str| {
        format!(
            "- name: {card}\n  containerEdits:\n    env: [\"SEEN_{}=1\"]\n    \
             deviceNodes:\n    - {{path: /dev/nvidia{}, hostPath: /dev/null}}\n",
            card.replace('-', "_"),
            card.len()
        )
    };
    let devices: Vec<_> = cards.iter().map(device).collect();
    format!(
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n{}\
         containerEdits:\n  env: [NVIDIA_VISIBLE_DEVICES=void]\n",
        devices.concat()
    )
}

/// Faults U01, U13.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_gives_by_cdi_what_it_knows_and_the_rest_by_its_hook() {
    let bed = Bed::start_with_cdi(&engine());
    let before = bed.docker.gpu_ways().await.unwrap();
    assert!(before.cdi_devices.is_empty() && !before.cdi_folders.is_empty(), "{before:?}");
    let hooked = bed.spec("hooked", &["GPU-aaaa"]).await;
    assert_eq!(hooked.gpu_way.as_ref().unwrap().way, GpuWay::DeviceRequest);
    let first = bed.make(&hooked).await;
    bed.start_it(&first).await.unwrap();
    assert_eq!(bed.said(&first, "ls /run/gpus").await, "GPU-aaaa");
    // The folder is read anew each time: no restart of anything.
    fs::write(bed.cdi("nvidia.yaml"), description(&["GPU-aaaa", "GPU-bbbb"])).unwrap();
    let names = ["nvidia.com/gpu=GPU-aaaa", "nvidia.com/gpu=GPU-bbbb"].map(ToOwned::to_owned);
    assert_eq!(bed.docker.gpu_ways().await.unwrap().cdi_devices, names.into());
    let spec = bed.spec("chat", &["GPU-aaaa", "GPU-bbbb"]).await;
    assert_eq!(spec.gpu_way.as_ref().unwrap().way, GpuWay::Cdi);
    let id = bed.make(&spec).await;
    bed.start_it(&id).await.unwrap();
    let env = bed.said(&id, &format!("{ENV} | grep -E '^(SEEN|GPU_|NVIDIA)' | sort")).await;
    let expected = "GPU_COUNT=2 GPU_DEVICES=GPU-aaaa,GPU-bbbb NVIDIA_VISIBLE_DEVICES=void SEEN_GPU_aaaa=1 SEEN_GPU_bbbb=1";
    assert_eq!(env, expected);
    assert_eq!(bed.said(&id, "ls /dev | grep nvidia; ls /run | grep gpus").await, "nvidia8");
    bed.second.docker(&["restart", "--time", "0", id.as_str()]);
    assert_eq!(bed.said(&id, &format!("{ENV} | grep -c SEEN_GPU")).await, "2");
    // What the description lacks.
    let mut ways = bed.docker.gpu_ways().await.unwrap();
    ways.cdi_devices.insert("nvidia.com/gpu=GPU-cccc".to_owned());
    let one = grant(&["GPU-cccc"]);
    let mut wrong = bed.spec("wrong", &["GPU-cccc"]).await;
    wrong.gpu_way = berth::plan::gpu_route(&one, &ways, &super::bed::bare(), &BTreeMap::new());
    let id = bed.make(&wrong).await;
    let error = bed.start_it(&id).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GpuFailed);
    let said = error.to_string();
    assert!(said.contains("unresolvable CDI devices nvidia.com/gpu=GPU-cccc"), "{said}");
    assert!(said.contains("nvidia-ctk cdi generate") && is_way_refused(&said), "{said}");
}
