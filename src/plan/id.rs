//! What a plan is called, so that somebody can say which one was looked at.

use super::{Plan, render_step};
use crate::model::Digest;

/// How many digits a name has.
const DIGITS: usize = 8;

/// A name made from what the plan would do: equal plans have equal names, whenever they are made.
pub fn plan_id(plan: &Plan) -> String {
    let steps: Vec<_> = plan.steps.iter().map(|planned| render_step(&planned.step)).collect();
    let changes = plan.changes.iter().map(|change| [&change.field, &change.from, &change.to]);
    let refusals = plan.refusals.iter().map(|refusal| (refusal.reason.slug(), &refusal.message));
    let all = (
        plan.app.as_str(),
        format!("{:?}", plan.verb),
        changes.collect::<Vec<_>>(),
        steps,
        &plan.then,
        refusals.collect::<Vec<_>>(),
        (&plan.held, &plan.wanted),
    );
    Digest::of_value(&all).short(DIGITS).to_owned()
}

/// The name of several plans together: of one it is its own.
pub fn plans_id<T: AsRef<str>>(ids: &[T]) -> String {
    match ids {
        [one] => one.as_ref().to_owned(),
        several => {
            let all: Vec<_> = several.iter().map(AsRef::as_ref).collect();
            Digest::of_value(&all).short(DIGITS).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppName;
    use crate::plan::{Change, Verb};

    #[test]
    fn a_plan_is_called_by_what_it_would_do() {
        let plan = Plan::empty(AppName::new("chat").unwrap());
        let change = |to: &str| Change { field: "image".into(), from: "a".into(), to: to.into() };
        let with = |to: &str| {
            plan_id(&Plan { changes: vec![change(to)], verb: Verb::Replace, ..plan.clone() })
        };
        assert_eq!(plan_id(&plan), plan_id(&plan.clone()));
        assert_ne!(plan_id(&plan), with("b"));
        assert_ne!(with("c"), with("b"));
        assert_eq!(plans_id(&[with("b")]), with("b"));
        assert_ne!(plans_id(&[with("b"), with("c")]), plans_id(&[with("c"), with("b")]));
        assert_eq!(plan_id(&plan).len(), DIGITS);
    }
}
