//! GPUs in compose files: as they are written, as a real compose takes them, and as they are read.

use std::{fs, path::Path, process::Command, sync::Arc};

use berth::{
    compose::{
        Rendered, Shown,
        import::{Files, Imported, Request, import},
        render,
    },
    engine::docker::asked,
    model::{App, GpuAsk, GpuRoute, GpuShare, GpuWay},
    plan::ContainerSpec,
};

use super::bed::grant;
use crate::sim::{Sim, image_app};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    fn repository(&self, _: &str) -> Option<(String, String)> {
        None
    }
}

fn read(text: &str) -> Imported {
    let lookup = |_: &str| None;
    let (folder, project, name) = ("/srv", None, None);
    import(&Request { text, folder, project, name, lookup: &lookup, files: &NoFiles })
}

/// The compose file of an app with two cards.
fn written(way: GpuWay, ask: GpuAsk) -> Rendered {
    let mut app = App::clone(&image_app("chat", "x:1", "run: serve\ngpus: 2"));
    let mut sim = Sim::new(&Arc::new(app.clone())).has_image("x:1");
    app.spec.gpus = Some(ask);
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let is_cdi = way == GpuWay::Cdi;
    let names = ["nvidia.com/gpu=GPU-aaaa", "nvidia.com/gpu=GPU-bbbb"];
    sim.state.devices.route = Some(GpuRoute {
        way,
        names: if is_cdi { texts(&names) } else { Vec::new() },
        nodes: if is_cdi { Vec::new() } else { texts(&["/dev/nvidia0", "/dev/nvidiactl"]) },
        groups: if way == GpuWay::DeviceNodes { vec![44] } else { Vec::new() },
        driver: None,
        why: String::new(),
    });
    let plan = sim.plan();
    let mut spec = ContainerSpec::clone(plan.container.as_ref().unwrap());
    spec.shape.gpus = Some(grant(&["GPU-aaaa", "GPU-bbbb"]));
    let body = asked(&spec);
    let shown =
        Shown { app: &app, spec: &spec, body: &body, recipe: None, code: "", dockerfile: "" };
    render(&shown)
}

const WAYS: [GpuWay; 4] =
    [GpuWay::Cdi, GpuWay::DeviceRequest, GpuWay::Runtime, GpuWay::DeviceNodes];

#[test]
fn whatever_the_way_is_all_of_it_is_written_and_a_real_compose_takes_it() {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/engines/tools/root/usr/libexec/docker/cli-plugins/docker-compose");
    let mut programs = vec![Path::new("docker-compose").to_owned()];
    programs.extend(Some(fetched).filter(|program| program.exists()));
    for way in WAYS {
        let rendered = written(way, GpuAsk::whole(2));
        assert_eq!(rendered.left_out, Vec::<String>::new(), "{way}");
        let sign = match way {
            GpuWay::Cdi => {
                "- driver: cdi\n              device_ids:\n                - \"nvidia.com/gpu=GPU-aaaa\""
            }
            GpuWay::DeviceRequest => {
                "- driver: nvidia\n              device_ids:\n                - GPU-aaaa"
            }
            GpuWay::Runtime => "runtime: nvidia",
            GpuWay::DeviceNodes => "- \"/dev/nvidia0:/dev/nvidia0:rw\"\n      - \"/dev/nvidiactl",
        };
        assert!(rendered.text.contains(sign), "{way}:\n{}", rendered.text);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compose.yaml");
        fs::write(&file, &rendered.text).unwrap();
        for program in &programs {
            let mut command = Command::new(program);
            let output = command.arg("-f").arg(&file).arg("config").output();
            let output = output.unwrap_or_else(|_| panic!("run `make setup` for docker-compose"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{way}, {}: {said}", program.display());
            let text = String::from_utf8_lossy(&output.stdout);
            let id = if way == GpuWay::DeviceNodes { "/dev/nvidia0" } else { "GPU-bbbb" };
            assert!(text.contains(id), "{way}: {text}");
        }
    }
}

/// The line of the manifest that says `gpus`, with what stands below it, and what is remarked.
fn gpus(imported: &Imported) -> (String, Vec<String>) {
    let text = &imported.manifests[0].text;
    let mut lines = text.lines().skip_while(|line| !line.starts_with("  gpus:"));
    let head = lines.next().unwrap_or_default().trim().to_owned();
    let below = lines.take_while(|line| line.starts_with("    ")).map(str::trim);
    let said = [head].into_iter().chain(below.map(ToOwned::to_owned)).collect::<Vec<_>>().join(" ");
    (said, imported.findings.iter().map(|finding| finding.message.clone()).collect())
}

#[test]
fn what_berth_wrote_comes_back_as_the_app_asked() {
    let mut shared = GpuAsk::whole(2);
    shared.share = GpuShare::Memory;
    shared.memory_bytes = Some(8 << 30);
    let mut exact = GpuAsk::whole(2);
    exact.ids = vec!["GPU-aaaa".to_owned(), "GPU-bbbb".to_owned()];
    for (ask, line) in [
        (GpuAsk::whole(2), "gpus: 2"),
        (shared, "gpus: count: 2 memory: \"8Gi\" share: memory"),
        (exact, "gpus: ids: - GPU-aaaa - GPU-bbbb"),
    ] {
        for way in WAYS {
            let imported = read(&written(way, ask.clone()).text);
            let (said, findings) = gpus(&imported);
            assert_eq!((said.as_str(), findings.as_slice()), (line, &[][..]), "{way}");
            let text = &imported.manifests[0].text;
            for own in ["NVIDIA_", "GPU_COUNT", "GPU_DEVICES", "runtime", "/dev/"] {
                assert!(!text.contains(own), "{own} in\n{text}");
            }
        }
    }
}

#[test]
fn every_form_that_compose_has_is_read_or_named() {
    let deploy = |request: &str| {
        format!("deploy: {{resources: {{reservations: {{devices: [{request}]}}}}}}")
    };
    let runtime = |value: &str| {
        format!("runtime: nvidia\n    environment: {{NVIDIA_VISIBLE_DEVICES: \"{value}\"}}")
    };
    let all = "write how many";
    for (said, gpus_said, finding) in [
        (deploy("{driver: nvidia, count: 2, capabilities: [gpu]}"), "gpus: 2", ""),
        (deploy("{count: 1, capabilities: [gpu, utility, compute]}"), "gpus: 1", ""),
        (deploy("{capabilities: [gpu]}"), "", all),
        (deploy("{driver: nvidia, count: all, capabilities: [gpu]}"), "", all),
        (
            deploy("{driver: nvidia, device_ids: [GPU-a, GPU-b], capabilities: [gpu]}"),
            "gpus: ids: - GPU-a - GPU-b",
            "",
        ),
        (
            deploy("{driver: cdi, device_ids: [\"nvidia.com/gpu=GPU-a\"], capabilities: [gpu]}"),
            "gpus: ids: - GPU-a",
            "",
        ),
        (
            deploy("{driver: nvidia, device_ids: ['0', '3'], capabilities: [gpu]}"),
            "gpus: 2",
            "Berth chooses",
        ),
        (
            deploy("{driver: nvidia, count: 1, capabilities: [gpu, graphics]}"),
            "gpus: count: 1 capabilities: - graphics",
            "",
        ),
        (deploy("{driver: cdi, device_ids: [\"x.com/net=0\"], capabilities: [x]}"), "", "no other"),
        (deploy("{driver: coral, count: 1, capabilities: [tpu]}"), "", "no other devices"),
        ("gpus: all".to_owned(), "", all),
        ("gpus: [{count: 1}]".to_owned(), "gpus: 1", ""),
        ("gpus: [{driver: amd, count: 1}]".to_owned(), "gpus: count: 1 vendor: amd", ""),
        (runtime("all"), "", all),
        (runtime("GPU-a"), "gpus: ids: - GPU-a", ""),
        (runtime("void"), "", ""),
        ("runtime: runsc".to_owned(), "", "leaves the runtime"),
        ("environment: {NVIDIA_VISIBLE_DEVICES: all}".to_owned(), "", "set by Berth"),
        ("environment: {GPU_COUNT: \"4\"}".to_owned(), "", ""),
    ] {
        let file = format!("services:\n  chat:\n    image: x:1\n    restart: always\n    {said}\n");
        let imported = read(&file);
        let (line, findings) = gpus(&imported);
        assert_eq!(line, gpus_said, "{said}");
        match finding {
            "" => assert_eq!(findings, Vec::<String>::new(), "{said}"),
            part => {
                assert!(findings.len() == 1 && findings[0].contains(part), "{said}: {findings:?}");
            }
        }
    }
    let own = read(
        "services:\n  a:\n    image: x:1\n    restart: always\n    environment: {GPU_COUNT: \"4\"}\n",
    );
    assert!(own.manifests[0].text.contains("GPU_COUNT"), "the user's own stays");
}
