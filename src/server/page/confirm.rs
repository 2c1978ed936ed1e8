//! What is asked before a change that takes something away: which app, what goes, what stays.

use askama::Template;
use axum::response::Response;

use super::{Look, Shell, onward, show, unclear};
use crate::auth::Role;
use crate::model::AppName;
use crate::record::{Order, Supposed};
use crate::server::{actions, actions::Asking, dry, problem::Problem, request::Named, view};

#[derive(Template)]
#[template(path = "confirm.html", config = "src/server/templates/askama.toml")]
struct Confirm {
    shell: Shell,
    name: String,
    code: &'static str,
    verb: &'static str,
    goes: &'static str,
    stays: &'static str,
    revision: Option<u64>,
    /// Whether the name is to be written.
    is_named: bool,
    plan: String,
}

struct Kind {
    code: &'static str,
    verb: &'static str,
    goes: &'static str,
    stays: &'static str,
    order: fn(Option<u64>) -> Option<Order>,
}

const KINDS: [Kind; 5] = [
    Kind {
        code: "stop",
        verb: "Stop",
        goes: "Its container is stopped. It does not answer until somebody starts it, also after a restart of the machine.",
        stays: "The manifest, the container, its port, its image, its data folder and its volumes.",
        order: |_| Some(Order::Stop),
    },
    Kind {
        code: "restart",
        verb: "Restart",
        goes: "Its container is stopped and started again. For that moment it does not answer.",
        stays: "Everything: the same version runs again.",
        order: |_| Some(Order::Restart),
    },
    Kind {
        code: "rebuild",
        verb: "Rebuild",
        goes: "Its image is made again from scratch, and the new one takes the place of what runs once it is good.",
        stays: "What runs goes on until then; data folder and volumes are not touched.",
        order: |_| Some(Order::Rebuild),
    },
    Kind {
        code: "undo",
        verb: "Go back",
        goes: "The earlier version takes the place of what runs, until the manifest or the wanted commit changes.",
        stays: "The manifest as it is, data folder and volumes.",
        order: |revision| Some(Order::Undo(revision)),
    },
    Kind {
        code: "remove",
        verb: "Remove",
        goes: "Its manifest is removed from the folder, its container and its network name go, and its port is given to others.",
        stays: "Its data folder and its volumes, and its images until nothing needs them.",
        order: |_| None,
    },
];

/// `GET /ui/apps/{name}/confirm`
pub(in super::super) async fn ask(look: Look, Named(name): Named) -> Response {
    let page = page(&look, &name).await;
    look.answer(page.map(|page| show(&page)))
}

async fn page(look: &Look, name: &AppName) -> Result<Confirm, Problem> {
    let record = &look.shared.parts.record;
    record.entry(name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    let wanted = look.asked("do").unwrap_or_else(|| "stop".to_owned());
    let kind = KINDS.iter().find(|kind| kind.code == wanted);
    let kind = kind.ok_or_else(|| unclear("nothing that can be done is called so"))?;
    let revision = look.asked("revision").and_then(|text| text.parse().ok());
    let supposed = match (kind.order)(revision) {
        Some(order) => Supposed::Asked(name.clone(), order),
        None => Supposed::Removed(name.clone()),
    };
    // What would come of it is shown by whoever knows; not to know it forbids nothing.
    let may = look.may(Role::Operator);
    let plan = if may {
        dry::plans(&look.shared, supposed).await
    } else {
        Ok((String::new(), Vec::new()))
    };
    let plan = match plan {
        Ok((_, plans)) => plans.iter().map(view::plan_text).collect(),
        Err(problem) => problem.detail().to_owned(),
    };
    Ok(Confirm {
        shell: look.shell(format!("{} {name}?", kind.verb), "apps"),
        name: name.to_string(),
        code: kind.code,
        verb: kind.verb,
        goes: kind.goes,
        stays: kind.stays,
        revision,
        is_named: kind.code == "remove",
        plan,
    })
}

/// `POST /ui/confirm`: what is held back may pass.
pub(in super::super) async fn release(look: Look, asking: Asking) -> Response {
    let done = actions::confirm(asking).await;
    look.answer(done.map(|done| onward(done, "/?done=confirm")))
}
