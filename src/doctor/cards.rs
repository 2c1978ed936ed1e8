//! The cards themselves: how they are set, who is on them beside apps, and what their driver runs.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Finding, Outcome, Place, blocking};
use crate::model::{GpuVendor, format_bytes};
use crate::plan::cuda_of_driver;
use crate::state::{Gpu, GpuHold, GpuProcess, World};

/// From this major version of CUDA on frameworks still come out.
const CUDA_MAJOR: u16 = 12;
/// What a desktop uses of a card is in nobody's way: up to here a card is still given as a whole.
const LITTLE: u64 = 1 << 30;

/// Whether the driver runs what is made for CUDA at present.
pub(super) fn cuda(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| {
        let is_nvidia = |gpu: &Gpu| gpu.vendor == GpuVendor::Nvidia;
        let Some(driver) =
            place.gpus.driver.as_deref().filter(|_| place.gpus.gpus.iter().any(is_nvidia))
        else {
            return Finding::skipped("no card of NVIDIA is known");
        };
        judge_driver(driver)
    })
}

fn judge_driver(driver: &str) -> Finding {
    let fix = "install a newer driver: 525.60 and later run CUDA 12";
    match cuda_of_driver(driver) {
        Some((major, minor)) if CUDA_MAJOR <= major => Finding::good(format!(
            "driver {driver} runs CUDA up to {major}.{minor}: builds get images up to that"
        )),
        Some((major, minor)) => Finding::warning(
            format!(
                "driver {driver} runs CUDA up to {major}.{minor}: builds get older versions of frameworks"
            ),
            fix,
        ),
        None if driver.starts_with(|c: char| c.is_ascii_digit()) => {
            Finding::error(format!("driver {driver} is older than every CUDA image"), fix)
        }
        None => Finding::skipped(format!("`{driver}` is no version of a driver that is known")),
    }
}

/// Whether the cards are set so that apps can use them.
pub(super) fn modes(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    blocking(place, |place| judge_modes(&place.gpus.gpus))
}

/// How a card is set, and what is wrong with that: how bad it is, and what to do.
fn mode(gpu: &Gpu) -> (String, Option<(Outcome, String)>) {
    let at = gpu.index;
    let setting = gpu.compute_mode.as_deref().unwrap_or("not said");
    let plain: String = setting.chars().filter(char::is_ascii_alphanumeric).collect();
    let wrong = match plain.to_ascii_lowercase().as_str() {
        "prohibited" => Some(Outcome::Error),
        "exclusiveprocess" | "exclusivethread" => Some(Outcome::Warning),
        _ => None,
    };
    if let Some(outcome) = wrong {
        let what = match outcome {
            Outcome::Error => "no program may compute on it",
            _ => "one process at a time: it is not shared, and apps of several processes fail",
        };
        let said = format!("card {at}: compute mode {setting}, {what}");
        return (said, Some((outcome, format!("nvidia-smi -i {at} -c DEFAULT"))));
    }
    if !gpu.is_mig {
        return (format!("card {at}: whole, compute mode {setting}"), None);
    }
    if gpu.parts.is_empty() {
        let said = format!("card {at}: MIG is on and has no instance: nothing of it can be given");
        let fix = format!("nvidia-smi mig -i {at} -cgi PROFILE -C, or nvidia-smi -i {at} -mig 0");
        return (said, Some((Outcome::Warning, fix)));
    }
    let mut profiles: BTreeMap<&str, usize> = BTreeMap::new();
    for part in &gpu.parts {
        *profiles.entry(&part.profile).or_default() += 1;
    }
    let profiles: Vec<_> =
        profiles.iter().map(|(name, count)| format!("{count} of {name}")).collect();
    (format!("card {at}: MIG, {}", profiles.join(", ")), None)
}

fn judge_modes(gpus: &[Gpu]) -> Finding {
    if gpus.is_empty() {
        return Finding::skipped("no card is known");
    }
    let (said, wrong): (Vec<_>, Vec<_>) = gpus.iter().map(mode).unzip();
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    let outcome = wrong.iter().map(|(outcome, _)| *outcome).max().unwrap_or(Outcome::Good);
    let fixes: Vec<_> = wrong.into_iter().map(|(_, fix)| format!("`{fix}`")).collect();
    Finding { fix: fixes.join("; "), ..Finding::new(outcome, said.join("; ")) }
}

/// Who uses the cards without having got them from a Berth.
pub(super) fn strangers(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        if place.gpus.gpus.is_empty() {
            return Finding::skipped("no card is known");
        }
        if place.gpus.is_stale {
            return Finding::skipped("the cards can't be read at present");
        }
        let Some(engine) = &place.engine else {
            return Finding::skipped(
                "the engine can't be reached, which knows whose containers there are",
            );
        };
        match engine.observe().await {
            Ok(world) => judge_strangers(&place.gpus.gpus, &world),
            Err(error) => Finding::skipped(format!("the engine does not say: {error}")),
        }
    })
}

/// Whose process that is; none when a Berth gave the card to it.
fn stranger(process: &GpuProcess, world: &World) -> Option<String> {
    let program = || {
        let name = process.name.as_deref().unwrap_or("a program");
        format!("{name} (process {})", process.pid)
    };
    let Some(id) = &process.container else { return Some(program()) };
    let Some(container) = world.containers.iter().find(|container| container.id == *id) else {
        return Some(format!("{} of a container that the engine does not list", program()));
    };
    let is_given = container.ownership.owner().is_some()
        || matches!(container.gpus, Some(GpuHold::Granted(_)));
    (!is_given).then(|| format!("container {}", container.name))
}

fn judge_strangers(gpus: &[Gpu], world: &World) -> Finding {
    let (mut said, mut is_much) = (Vec::new(), false);
    for gpu in gpus {
        let mut all: BTreeMap<String, Option<u64>> = BTreeMap::new();
        for process in &gpu.processes {
            let Some(who) = stranger(process, world) else { continue };
            let used = all.entry(who).or_insert(Some(0));
            *used = used.zip(process.memory).map(|(all, more)| all.saturating_add(more));
        }
        let of_card: Option<u64> = all.values().copied().sum();
        // Of what nobody can measure, nobody knows that it is little.
        is_much |= of_card.is_none_or(|of_card| LITTLE < of_card);
        said.extend(all.into_iter().map(|(who, used)| {
            let used = used.map_or_else(|| "memory not said".to_owned(), format_bytes);
            format!("card {}: {who}, {used}", gpu.index)
        }));
    }
    match (said.is_empty(), is_much) {
        (true, _) => Finding::good("nobody but apps uses the cards"),
        (false, false) => {
            Finding::good(format!("{}: so little is in nobody's way", said.join("; ")))
        }
        (false, true) => Finding::warning(
            said.join("; "),
            "stop it, or leave it: apps get what it does not use, and no such card as a whole; a program that asks first takes a lease (POST /api/v1/gpus/leases)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{ContainerId, GpuPart};

    fn card(index: u32, mode: &str) -> Gpu {
        let compute_mode = Some(mode.to_owned());
        Gpu { index, uuid: format!("GPU-{index}"), compute_mode, ..Gpu::default() }
    }

    fn split(profiles: &[&str]) -> Gpu {
        let part =
            |profile: &&str| GpuPart { profile: (*profile).to_owned(), ..GpuPart::default() };
        Gpu { is_mig: true, parts: profiles.iter().map(part).collect(), ..card(1, "Default") }
    }

    #[test]
    fn cards_are_told_as_they_are_set() {
        for (gpus, outcome, said, fix) in [
            (vec![card(0, "Default")], Outcome::Good, "card 0: whole, compute mode Default", ""),
            (
                vec![card(0, "Default"), split(&["1g.10gb", "3g.40gb", "1g.10gb"])],
                Outcome::Good,
                "card 0: whole, compute mode Default; card 1: MIG, 2 of 1g.10gb, 1 of 3g.40gb",
                "",
            ),
            (
                vec![split(&[])],
                Outcome::Warning,
                "card 1: MIG is on and has no instance: nothing of it can be given",
                "`nvidia-smi mig -i 1 -cgi PROFILE -C, or nvidia-smi -i 1 -mig 0`",
            ),
            (
                vec![card(0, "Prohibited")],
                Outcome::Error,
                "card 0: compute mode Prohibited, no program may compute on it",
                "`nvidia-smi -i 0 -c DEFAULT`",
            ),
        ] {
            let found = judge_modes(&gpus);
            let seen = (found.outcome, found.evidence.as_str(), found.fix.as_str());
            assert_eq!(seen, (outcome, said, fix));
        }
        // Both ways of asking the driver spell it in their own way.
        for spelled in ["ExclusiveProcess", "Exclusive_Process"] {
            assert_eq!(judge_modes(&[card(0, spelled)]).outcome, Outcome::Warning, "{spelled}");
        }
        let both = judge_modes(&[card(0, "Prohibited"), split(&[])]);
        assert_eq!(both.outcome, Outcome::Error);
        assert!(both.fix.contains("-c DEFAULT`; `nvidia-smi mig"), "{both:?}");
        assert_eq!(judge_modes(&[]).outcome, Outcome::Skipped);
    }

    fn process(pid: u32, container: Option<&str>, memory: Option<u64>) -> GpuProcess {
        let container = container.map(ContainerId::new);
        GpuProcess {
            pid,
            name: Some("python3".to_owned()),
            memory,
            container,
            ..GpuProcess::default()
        }
    }

    fn busy(processes: Vec<GpuProcess>) -> Finding {
        judge_strangers(&[Gpu { processes, ..card(0, "Default") }], &World::default())
    }

    #[test]
    fn programs_of_the_host_are_named_and_a_desktop_is_not_in_the_way() {
        assert_eq!(busy(Vec::new()).outcome, Outcome::Good);
        let desktop = busy(vec![process(7, None, Some(30 << 20))]);
        assert_eq!(desktop.outcome, Outcome::Good);
        assert!(desktop.evidence.starts_with("card 0: python3 (process 7), 30Mi"), "{desktop:?}");
        let at_work = busy(vec![process(7, None, Some(12 << 30)), process(8, None, Some(1 << 20))]);
        assert_eq!(at_work.outcome, Outcome::Warning);
        let named = "card 0: python3 (process 7), 12Gi; card 0: python3 (process 8), 1Mi";
        assert_eq!(at_work.evidence, named);
        assert!(at_work.fix.contains("leases"), "{at_work:?}");
        // What the driver does not measure is not taken for little.
        let vague = busy(vec![process(9, None, None)]);
        assert_eq!(vague.outcome, Outcome::Warning);
        assert!(vague.evidence.ends_with("memory not said"), "{vague:?}");
        let unknown = busy(vec![process(5, Some("abc"), Some(2 << 30))]);
        assert!(unknown.evidence.contains("the engine does not list"), "{unknown:?}");
    }

    #[test]
    fn a_driver_is_judged_by_the_cuda_that_it_runs() {
        for (driver, outcome) in [
            ("580.82.07", Outcome::Good),
            ("525.60.13", Outcome::Good),
            ("470.256.02", Outcome::Warning),
            ("390.157", Outcome::Error),
            ("unknown", Outcome::Skipped),
        ] {
            let found = judge_driver(driver);
            assert_eq!(found.outcome, outcome, "{found:?}");
            assert!(found.evidence.contains(driver), "{found:?}");
        }
    }
}
