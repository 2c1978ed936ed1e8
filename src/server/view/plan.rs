//! Plans as documents.

use serde_json::{Value, json};

use super::HIDDEN;
use crate::plan::{Change, Plan, PlannedStep, Refusal, Verb, Wait, plan_id, render, render_step};

/// A plan, complete.
pub(crate) fn plan(plan: &Plan) -> Value {
    json!({
        "app": plan.app,
        "id": plan_id(plan),
        "verb": verb(plan.verb),
        "hasDifferences": has_differences(plan),
        "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "then": plan.then,
        "waits": plan.waits.iter().map(wait).collect::<Vec<_>>(),
        "refusals": plan.refusals.iter().map(refusal).collect::<Vec<_>>(),
        "wanted": plan.wanted,
        "held": plan.held,
        "text": plan_text(plan),
    })
}

/// A plan within a status.
pub(super) fn summary(plan: &Plan) -> Value {
    json!({
        "verb": verb(plan.verb),
        "hasDifferences": has_differences(plan),
        "steps": plan.steps.len(),
        "waits": plan.waits.iter().map(wait).collect::<Vec<_>>(),
        "refusals": plan.refusals.iter().map(refusal).collect::<Vec<_>>(),
    })
}

/// Whether the host differs from what is wanted, as far as the plan knows.
pub(crate) fn has_differences(plan: &Plan) -> bool {
    plan.verb != Verb::Nothing
        || !plan.is_empty()
        || !plan.then.is_empty()
        || !plan.refusals.is_empty()
}

/// A plan as text.
pub(crate) fn plan_text(plan: &Plan) -> String {
    let changes = plan.changes.iter().map(shown).collect();
    render(&Plan { changes, ..plan.clone() })
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Nothing => "nothing",
        Verb::Create => "create",
        Verb::Replace => "replace",
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Restart => "restart",
        Verb::Restore => "restore",
        Verb::Remove => "remove",
        Verb::Refresh => "refresh",
        Verb::Tidy => "tidy",
    }
}

fn change(change: &Change) -> Value {
    let Change { field, from, to } = shown(change);
    json!({ "field": field, "from": from, "to": to })
}

/// A change without values that are not shown.
fn shown(change: &Change) -> Change {
    let hide = |text: &str| {
        let is_value = !text.is_empty() && !Change::is_word(text);
        let is_secret = is_hidden(&change.field) && is_value;
        if is_secret { HIDDEN.to_owned() } else { text.to_owned() }
    };
    Change { field: change.field.clone(), from: hide(&change.from), to: hide(&change.to) }
}

/// Whether the values of a field are not shown.
fn is_hidden(field: &str) -> bool {
    let field = field.strip_prefix("spec.").unwrap_or(field);
    ["env", "build.args"].iter().any(|hidden| {
        field
            .strip_prefix(hidden)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

fn step(planned: &PlannedStep) -> Value {
    json!({ "action": render_step(&planned.step), "cause": planned.cause })
}

fn wait(wait: &Wait) -> Value {
    json!({ "reason": wait.reason, "message": wait.message, "until": wait.until })
}

fn refusal(refusal: &Refusal) -> Value {
    json!({ "reason": refusal.reason, "message": refusal.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H10: a changed secret must not be shown by the plan that changes it.
    #[test]
    fn a_plan_does_not_show_environment_values() {
        let shown = |field: &str| {
            let changed = Change { field: field.to_owned(), from: "old".into(), to: "new".into() };
            change(&changed)["to"].clone()
        };
        for field in ["env", "env.TOKEN", "spec.env.TOKEN", "build.args.KEY"] {
            assert_eq!(shown(field), HIDDEN, "{field}");
        }
        let new = Change { field: "env.A".into(), from: "absent".into(), to: "present".into() };
        assert_eq!(
            (&change(&new)["from"], &change(&new)["to"]),
            (&"absent".into(), &"present".into())
        );
        for field in ["image", "environment", "build.dockerfile"] {
            assert_eq!(shown(field), "new", "{field}");
        }
    }
}
