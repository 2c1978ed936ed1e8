//! NVIDIA's cards by `nvidia-smi`, where the library can't be loaded but the program is there: from
//! a statically linked or a foreign system. It says less, and each question starts a program.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::Error;
use crate::model::GpuVendor;
use crate::state::{Gpu, GpuHealth, GpuMemory, GpuProcess, GpuTelemetry, Inventory};

/// What is asked of each card; older programs do not know all of them.
const ASKED: [&str; 24] = [
    "index",
    "uuid",
    "name",
    "driver_version",
    "pci.bus_id",
    "memory.total",
    "memory.used",
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
    "compute_mode",
    "memory.reserved",
    "compute_cap",
    "mig.mode.current",
    "utilization.memory",
    "temperature.memory",
    "power.limit",
    "clocks.sm",
    "clocks.mem",
    "fan.speed",
    "ecc.errors.corrected.volatile.total",
    "ecc.errors.uncorrected.volatile.total",
    "retired_pages.pending",
    "pcie.link.gen.current",
];
/// How many of them every program knows.
const ASKED_LEAST: usize = 11;
/// No answer is longer.
const ANSWER_MAX: u64 = 1 << 20;

/// The program, found as a shell would find it; none where there is none.
pub(super) fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() != 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Asks the program; it is killed when it takes longer than `limit`.
pub(super) fn read(program: &Path, limit: Duration) -> Result<Inventory, Error> {
    let asked =
        |count: usize| ask(program, &format!("--query-gpu={}", ASKED[..count].join(",")), limit);
    let said = match asked(ASKED.len()) {
        Err(Error::Unreadable(why)) if why.contains("not a valid field") => asked(ASKED_LEAST),
        said => said,
    }?;
    let mut inventory = Inventory { by: Some("nvidia-smi"), ..Inventory::default() };
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        let row = Row::new(line);
        inventory.driver = inventory.driver.take().or_else(|| row.text("driver_version"));
        inventory.gpus.extend(card(&row));
    }
    if !inventory.gpus.is_empty() {
        let asked = ask(program, "--query-compute-apps=gpu_uuid,pid,used_memory", limit);
        for line in asked.unwrap_or_default().lines() {
            note_process(&mut inventory.gpus, line);
        }
    }
    Ok(inventory)
}

fn ask(program: &Path, question: &str, limit: Duration) -> Result<String, Error> {
    let wrong = |why: String| Error::Unreadable(format!("{}: {why}", program.display()));
    let mut child = Command::new(program)
        .args([question, "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    let (sender, answers) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        let read = move || {
            let mut text = Vec::new();
            let _ = output.take(ANSWER_MAX).read_to_end(&mut text);
            let _ = sender.send(text);
        };
        let reader = thread::Builder::new().name("gpu-smi".to_owned()).spawn(read);
        reader.map_err(|error| wrong(error.to_string()))?;
    }
    let said = answers.recv_timeout(limit);
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| wrong(error.to_string()))?;
    let said = said.map_err(|_| wrong(format!("no answer within {} s", limit.as_secs_f32())))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if status.success() {
        return Ok(said);
    }
    // It says what is wrong where it would say the answer.
    if said.contains("version mismatch") {
        return Err(Error::Mismatch);
    }
    let first = said.lines().find(|line| !line.trim().is_empty());
    Err(wrong(first.map_or_else(|| status.to_string(), ToOwned::to_owned)))
}

/// A line of an answer, by the names that were asked for.
struct Row<'a>(BTreeMap<&'static str, &'a str>);

impl<'a> Row<'a> {
    fn new(line: &'a str) -> Self {
        Self(ASKED.into_iter().zip(line.split(',').map(str::trim)).collect())
    }

    /// What is said; none for `[N/A]`, `[Not Supported]` and the like.
    fn text(&self, name: &str) -> Option<String> {
        let said = self.0.get(name)?;
        let is_said = !said.is_empty() && !said.starts_with('[') && *said != "N/A";
        is_said.then(|| (*said).to_owned())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Bytes of so many MiB.
    fn memory(&self, name: &str) -> Option<u64> {
        self.number::<u64>(name)?.checked_mul(1 << 20)
    }

    /// Milliwatts of so many watts, which come with two decimals.
    fn power(&self, name: &str) -> Option<u32> {
        let text = self.text(name)?;
        let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
        let part: String = part.chars().chain("000".chars()).take(3).collect();
        whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
    }

    /// Why the card can't be used, when it says so in place of a value.
    fn lost(&self) -> bool {
        self.0.values().any(|said| said.to_ascii_lowercase().contains("gpu is lost"))
    }
}

fn card(row: &Row<'_>) -> Option<Gpu> {
    let index = row.number("index")?;
    let mut problems = Vec::new();
    if row.lost() {
        problems.push("it is lost: the driver can't reach it any more".to_owned());
    }
    let ecc_uncorrected = row.number("ecc.errors.uncorrected.volatile.total");
    if ecc_uncorrected.is_some_and(|count: u64| count != 0) {
        problems.push("its memory had errors that could not be mended".to_owned());
    }
    if row.text("retired_pages.pending").is_some_and(|text| text == "Yes") {
        problems.push("bad pages of its memory are retired at its next reset".to_owned());
    }
    Some(Gpu {
        uuid: row.text("uuid").unwrap_or_else(|| format!("unknown-{index}")),
        vendor: GpuVendor::Nvidia,
        index,
        name: row.text("name").unwrap_or_default(),
        pci: row.text("pci.bus_id"),
        compute_capability: row.text("compute_cap"),
        compute_mode: row.text("compute_mode").map(|mode| match mode.as_str() {
            "Exclusive_Process" => "ExclusiveProcess".to_owned(),
            _ => mode,
        }),
        memory: GpuMemory {
            total: row.memory("memory.total").unwrap_or_default(),
            reserved: row.memory("memory.reserved").unwrap_or_default(),
            used: row.memory("memory.used").unwrap_or_default(),
        },
        is_mig: row.text("mig.mode.current").is_some_and(|mode| mode == "Enabled"),
        health: GpuHealth { problems, ..GpuHealth::default() },
        telemetry: GpuTelemetry {
            utilization: row.number("utilization.gpu"),
            memory_utilization: row.number("utilization.memory"),
            temperature: row.number("temperature.gpu"),
            memory_temperature: row.number("temperature.memory"),
            power: row.power("power.draw"),
            power_limit: row.power("power.limit"),
            sm_clock: row.number("clocks.sm"),
            memory_clock: row.number("clocks.mem"),
            fan: row.number("fan.speed"),
            ecc_corrected: row.number("ecc.errors.corrected.volatile.total"),
            ecc_uncorrected,
            ..GpuTelemetry::default()
        },
        ..Gpu::default()
    })
}

fn note_process(gpus: &mut [Gpu], line: &str) {
    let mut words = line.split(',').map(str::trim);
    let (Some(uuid), Some(pid), memory) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let Ok(pid) = pid.parse() else { return };
    let memory = memory.and_then(|mib| mib.parse::<u64>().ok()).map(|mib| mib << 20);
    if let Some(gpu) = gpus.iter_mut().find(|gpu| gpu.uuid == uuid) {
        gpu.processes.push(GpuProcess { pid, memory, ..GpuProcess::default() });
    }
}
