//! The GPUs that an app asks for.

use std::collections::BTreeSet;

use crate::model::{GpuAsk, GpuShare, GpuVendor, Resources};

use super::{
    super::{
        problem::{Broken, Trail},
        v1::{self, Capability, GpuShareWire, GpuVendorWire, Short},
        validate,
    },
    Lower,
};

const CONFLICT: &str = "manifest.conflict";
/// No host has more.
const COUNT_MAX: u32 = 64;
const PRIORITY_MAX: i64 = 100;
/// The shared memory of an app with GPUs: what loads data in several processes needs far more than
/// an engine gives by itself.
const SHM: u64 = 8 << 30;

impl Lower<'_> {
    pub(super) fn gpus(&mut self, trail: &Trail<'_>) -> Option<GpuAsk> {
        match &self.spec.gpus {
            None => None,
            Some(Short::Short(count)) => {
                let count = self.problems.keep(trail, gpu_count(*count))?;
                (0 < count).then(|| GpuAsk::whole(count))
            }
            Some(Short::Long(wire)) => self.described(wire, trail),
        }
    }

    fn described(&mut self, wire: &v1::Gpus, trail: &Trail<'_>) -> Option<GpuAsk> {
        let ids = self.gpu_ids(wire, &trail.key("ids"));
        let count = self.keep(&trail.key("count"), wire.count.as_ref(), |count| gpu_count(*count));
        if let Some(count) = count
            && wire.ids.is_some()
            && usize::try_from(count) != Ok(ids.len())
        {
            let message = format!("`count` is {count}, and `ids` names {}", ids.len());
            let help = "leave `count` out: it is as many as `ids` names";
            self.problems.error(CONFLICT, &trail.key("count"), message).help(help);
        }
        let named = u32::try_from(ids.len()).unwrap_or(COUNT_MAX);
        let count = if wire.ids.is_some() { named } else { count.unwrap_or(1) };
        let share = match wire.share {
            None | Some(GpuShareWire::Exclusive) => GpuShare::Exclusive,
            Some(GpuShareWire::Memory) => GpuShare::Memory,
        };
        let vendor = wire.vendor.as_ref().map(|vendor| match vendor {
            GpuVendorWire::Nvidia => GpuVendor::Nvidia,
            GpuVendorWire::Amd => GpuVendor::Amd,
        });
        let memory = trail.key("memory");
        let ask = GpuAsk {
            count,
            ids,
            memory_bytes: self.keep(&memory, wire.memory.as_ref(), validate::size),
            share,
            model: self.keep(&trail.key("model"), wire.model.as_ref(), |text| gpu_model(text)),
            vendor,
            mig: self.keep(&trail.key("mig"), wire.mig.as_ref(), |text| mig_profile(text)),
            capabilities: capabilities(wire.capabilities.as_deref()),
            priority: self
                .keep(&trail.key("priority"), wire.priority.as_ref(), |number| priority(*number))
                .unwrap_or(0),
        };
        self.check_gpus(wire, &ask, trail);
        (0 < ask.count).then_some(ask)
    }

    /// What does not go together.
    fn check_gpus(&mut self, wire: &v1::Gpus, ask: &GpuAsk, trail: &Trail<'_>) {
        let is_shared = ask.share == GpuShare::Memory;
        let share = trail.key("share");
        if is_shared && wire.memory.is_none() {
            let memory = trail.key("memory");
            self.problems
                .error(
                    CONFLICT,
                    &share,
                    "`share: memory` needs `memory`: how much is promised to it",
                )
                .help("write it beside, like `memory: 8Gi`")
                .unless(memory.path());
        }
        let is_part = |id: &String| id.starts_with("MIG-");
        if is_shared && (wire.mig.is_some() || ask.ids.iter().any(is_part)) {
            self.problems
                .error(CONFLICT, &share, "a MIG instance is one app's alone: it can't be shared")
                .help("leave `share` out");
        }
        if ask.vendor == Some(GpuVendor::Amd) && wire.mig.is_some() {
            let message = "MIG instances are NVIDIA's";
            self.problems.error(CONFLICT, &trail.key("mig"), message).help("leave `vendor` out");
        }
        if let Some(mig) = &wire.mig
            && ask.ids.iter().any(|id| !is_part(id))
        {
            let message = format!("`ids` names whole cards, and `mig: {mig}` asks for parts");
            self.problems
                .error(CONFLICT, &trail.key("mig"), message)
                .help("leave `mig` out, or name MIG instances (`MIG-…`)");
        }
    }

    fn gpu_ids(&mut self, wire: &v1::Gpus, trail: &Trail<'_>) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for (at, text) in wire.ids.iter().flatten().enumerate() {
            let trail = trail.index(at);
            let Some(id) = self.problems.keep(&trail, gpu_id(text)) else { continue };
            if ids.contains(&id) {
                let message = format!("`{id}` is there twice");
                self.problems.error("manifest.duplicate", &trail, message).help("keep one");
            } else {
                ids.push(id);
            }
        }
        if wire.ids.as_ref().is_some_and(Vec::is_empty) {
            let broken = Broken::new("`ids` is empty").help("leave it out: Berth chooses then");
            self.problems.refuse(trail, broken);
        }
        ids
    }
}

/// What an app with GPUs gets where it does not say: more shared memory, within its own limit.
pub(super) fn complete(resources: &mut Resources, gpus: Option<&GpuAsk>) {
    if gpus.is_some() && resources.shm_bytes.is_none() {
        resources.shm_bytes = Some(resources.memory_bytes.map_or(SHM, |memory| memory.min(SHM)));
    }
}

fn capabilities(wire: Option<&[Capability]>) -> Vec<String> {
    let named: BTreeSet<_> = wire.unwrap_or_default().iter().copied().collect();
    let name = |capability| match capability {
        Capability::Compat32 => "compat32",
        Capability::Compute => "compute",
        Capability::Display => "display",
        Capability::Graphics => "graphics",
        Capability::Utility => "utility",
        Capability::Video => "video",
    };
    named.into_iter().map(|capability| name(capability).to_owned()).collect()
}

fn gpu_count(count: i64) -> Result<u32, Broken> {
    if count < 0 {
        let broken = Broken::new("a number of GPUs can't be negative");
        return Err(broken.help("write 1 or more; leave `gpus` out for none"));
    }
    let count = u32::try_from(count).ok().filter(|count| *count <= COUNT_MAX);
    count.ok_or_else(|| Broken::new(format!("no host has more than {COUNT_MAX} GPUs")))
}

fn gpu_id(text: &str) -> Result<String, Broken> {
    let is_word = |rest: &str| {
        !rest.is_empty()
            && rest.len() <= 80
            && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c))
    };
    let rest = text.strip_prefix("GPU-").or_else(|| text.strip_prefix("MIG-"));
    if rest.is_some_and(is_word) {
        return Ok(text.to_owned());
    }
    let is_index = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == ':');
    let broken = if is_index {
        Broken::new("an index may name another card after the next boot: UUIDs only")
    } else {
        Broken::new("this is not the UUID of a GPU")
    };
    Err(broken.help("write it as `berth gpu ls` or `nvidia-smi -L` shows it, like `GPU-5f3c…`"))
}

fn gpu_model(text: &str) -> Result<String, Broken> {
    if text.trim().is_empty() || 100 < text.len() || text.contains(char::is_control) {
        return Err(Broken::new("this is not the name of a GPU").help("write it like `A100*`"));
    }
    Ok(text.to_owned())
}

fn mig_profile(text: &str) -> Result<String, Broken> {
    let parts = || {
        let (slices, memory) = text.split_once("g.")?;
        let (memory, rest) = memory.split_once("gb")?;
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let is_rest = rest.is_empty() || rest.starts_with(['+', '-', '.']);
        Some(is_number(slices) && is_number(memory) && is_rest && rest.len() < 20)
    };
    if parts() == Some(true) {
        return Ok(text.to_owned());
    }
    Err(Broken::new("this is not the profile of a MIG instance").help("write it like `1g.10gb`"))
}

fn priority(number: i64) -> Result<i32, Broken> {
    let within = (-PRIORITY_MAX..=PRIORITY_MAX).contains(&number);
    i32::try_from(number).ok().filter(|_| within).ok_or_else(|| {
        Broken::new(format!("a priority is a number from -{PRIORITY_MAX} to {PRIORITY_MAX}"))
    })
}
