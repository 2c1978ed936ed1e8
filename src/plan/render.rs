//! The one text form of a plan: the same in tests, on the command line, in the log and on the page.

use std::fmt::Write as _;

use super::{Call, Plan, Step, Verb, Work};
use crate::model::{GpuShare, format_bytes};

/// The plan as text. Every line but the first is indented.
pub fn render(plan: &Plan) -> String {
    let (mark, words) = match plan.verb {
        Verb::Nothing => ("=", "is as wanted"),
        Verb::Create => ("+", "will be created"),
        Verb::Replace => ("-/+", "will be replaced"),
        Verb::Start => ("~", "will be started"),
        Verb::Stop => ("~", "will be stopped"),
        Verb::Restart => ("~", "will be restarted"),
        Verb::Restore => ("<", "goes back to the version before"),
        Verb::Remove => ("-", "will be removed"),
        Verb::Refresh => ("~", "looks for a newer commit"),
        Verb::Tidy => ("~", "will be tidied up"),
    };
    let words = match plan.verb {
        Verb::Nothing if !plan.refusals.is_empty() => "can't be made as wanted",
        Verb::Nothing if !plan.waits.is_empty() => "waits",
        _ => words,
    };
    let mut text = format!("{mark} app/{} {words}\n", plan.app);
    for change in &plan.changes {
        let _ = writeln!(text, "    ~ {}: {} -> {}", change.field, change.from, change.to);
    }
    for (number, planned) in plan.steps.iter().enumerate() {
        let step = render_step(&planned.step);
        let _ = writeln!(text, "    {}. {step}    # {}", number + 1, planned.cause);
    }
    if !plan.then.is_empty() {
        let _ = writeln!(text, "    then: {}", plan.then.join(", "));
    }
    if let Some(held) = &plan.held {
        let _ = writeln!(text, "    {held}");
    }
    for (path, mounted) in plan.container.iter().flat_map(|container| &container.shape.models) {
        let _ = writeln!(text, "    {path}: model {mounted}, read-only");
    }
    for remark in &plan.remarks {
        let _ = writeln!(text, "    {remark}");
    }
    for wait in &plan.waits {
        let _ = writeln!(text, "    waits: {} ({})", wait.message, wait.reason);
    }
    for refusal in &plan.refusals {
        let _ = writeln!(text, "    refused: {} ({})", refusal.message, refusal.reason);
    }
    text
}

/// One step as text.
pub fn render_step(step: &Step) -> String {
    match step {
        Step::Call(call) => render_call(call),
        Step::Cancel(kind) => format!("cancel the {kind}"),
        Step::Work(work) => match work {
            Work::Fetch { source, .. } => {
                let reference = source.reference.as_deref().unwrap_or("HEAD");
                let path = if source.path.is_empty() { "" } else { ", path " };
                format!("fetch {} at {reference}{path}{}", source.url, source.path)
            }
            Work::Build(recipe) => match &recipe.twin {
                Some(twin) => format!("build {} from the image of app/{}", recipe.tag(), twin.app),
                None => format!("build {}", recipe.tag()),
            },
            Work::Pull { reference } => format!("pull {reference}"),
        },
    }
}

fn render_call(call: &Call) -> String {
    match call {
        Call::EnsureNetwork { name } => format!("ensure network {name}"),
        Call::Create(spec) => {
            let ports: Vec<_> = spec.shape.ports.iter().map(ToString::to_string).collect();
            let ports = if ports.is_empty() { "no ports".to_owned() } else { ports.join(", ") };
            let gpus = spec.shape.gpus.as_ref().map_or_else(String::new, |grant| {
                let way = spec.gpu_way.as_ref();
                let way = way.map_or_else(String::new, |route| format!(" by {}", route.way));
                let share = match (grant.share, grant.memory_bytes) {
                    (GpuShare::Memory, Some(bytes)) => format!("{} of ", format_bytes(bytes)),
                    _ => String::new(),
                };
                format!("; {share}{}{way}", grant.devices.join(", "))
            });
            format!("create {} from {} ({ports}{gpus})", spec.name, spec.shape.image)
        }
        Call::Prove(spec) => {
            let grant = spec.shape.gpus.as_ref();
            let devices = grant.map_or_else(String::new, |grant| grant.devices.join(", "));
            format!("prove that {} can be given {devices}", spec.name)
        }
        Call::Start(target) => format!("start {}", target.name),
        Call::Stop { target, grace_s: Some(s) } => format!("stop {} (grace {s} s)", target.name),
        Call::Stop { target, grace_s: None } => {
            format!("stop {} (the grace it was made with)", target.name)
        }
        Call::Remove(target) => format!("remove {}", target.name),
        Call::RemoveImage { tag, .. } => format!("remove image {tag}"),
    }
}
