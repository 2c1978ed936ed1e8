//! Docker compose, where it is installed: the same containers from a compose file.

use std::{fmt::Write as _, path::PathBuf, process::Stdio};

use tokio::process::Command;

use crate::bed::{Bed, COMPOSE, IMAGE};

/// A compose program.
pub(crate) struct Compose {
    /// Its name with its version.
    pub(crate) name: String,
    program: Vec<String>,
}

impl Compose {
    /// Every compose of this machine.
    pub(crate) fn find() -> Vec<Self> {
        let own = std::env::var("BENCH_COMPOSE").ok().map(|path| vec![path]);
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        let plugin = own.unwrap_or_else(|| words("docker compose"));
        [plugin, words("docker-compose")].into_iter().filter_map(Self::of).collect()
    }

    fn of(program: Vec<String>) -> Option<Self> {
        let mut command = std::process::Command::new(&program[0]);
        command.args(&program[1..]).args(["version", "--short"]).stderr(Stdio::null());
        let said = command.output().ok().filter(|output| output.status.success())?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Some(Self { name: format!("compose {version}"), program })
    }

    /// A project of so many services, with names that were never used.
    pub(crate) fn project(&self, bed: &Bed, count: usize) -> Project {
        let folder = bed.make_folder("compose");
        let names = bed.names('c', count);
        let mut text = format!("networks: {{apps: {{name: {}, external: true}}}}\n", bed.network);
        text.push_str("services:\n");
        for name in &names {
            let data = bed.path("workspaces").join(name).join("data");
            std::fs::create_dir_all(&data).unwrap();
            let _ = write!(text, "{}", service(bed, name, &data.display().to_string()));
        }
        std::fs::write(folder.join("docker-compose.yml"), text).unwrap();
        let mut program = self.program.clone();
        let name = format!("{}x{}", bed.instance, names[0]);
        program.extend(["-p".to_owned(), name.clone()]);
        Project { folder, name, program, host: format!("unix://{}", bed.socket.display()) }
    }
}

/// A service that is what Berth makes of the benchmark's manifest.
fn service(bed: &Bed, name: &str, data: &str) -> String {
    format!(
        "  {name}:\n    image: {IMAGE}\n    labels: {{{COMPOSE}: {}}}\n    environment: {{ROUND: \"0\", WORKSPACE: /workspace, \
         NVIDIA_VISIBLE_DEVICES: void}}\n    init: true\n    restart: unless-stopped\n    \
         ipc: private\n    cap_drop: [NET_RAW]\n    security_opt: [no-new-privileges]\n    \
         networks: [apps]\n    volumes: [{{type: bind, source: {data}, target: /workspace}}]\n    \
         logging: {{driver: json-file, options: {{max-size: 10m, max-file: \"3\", \
         mode: non-blocking, max-buffer-size: 4m}}}}\n",
        bed.instance
    )
}

/// A compose project.
pub(crate) struct Project {
    folder: PathBuf,
    name: String,
    program: Vec<String>,
    host: String,
}

impl Project {
    pub(crate) fn label(&self) -> String {
        format!("com.docker.compose.project={}", self.name)
    }

    pub(crate) fn up(&self) -> impl Future<Output = ()> {
        self.run(&["up", "-d"])
    }

    pub(crate) fn down(&self) -> impl Future<Output = ()> {
        self.run(&["down", "-t", "0"])
    }

    /// Begins at once; the answer waits for the end.
    fn run(&self, words: &[&str]) -> impl Future<Output = ()> + use<> {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(words).env("DOCKER_HOST", &self.host);
        command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn().unwrap();
        async move {
            let output = child.wait_with_output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "compose: {said}");
        }
    }
}
