//! A terminal in the container of an app. What it needs of the browser is in its script; who can't
//! have one is told why.

use askama::Template;
use axum::response::Response;

use super::{
    Look, Shell,
    app::{self, Head},
    show,
};
use crate::auth::Role;
use crate::model::format_duration;
use crate::record::Entry;
use crate::server::request::Named;

#[derive(Template)]
#[template(path = "terminal.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    head: Head,
    /// Why there is none.
    reason: Option<String>,
    idle: String,
}

/// `GET /ui/apps/{name}/terminal`
pub(in super::super) async fn terminal(look: Look, Named(name): Named) -> Response {
    let entry = match app::entry(&look, &name) {
        Ok(entry) => entry,
        Err(problem) => return look.problem(&problem),
    };
    show(&Page {
        shell: look.shell(format!("{name}: terminal"), "apps"),
        head: app::head(&look, &entry, "terminal"),
        reason: reason(&look, &entry),
        idle: format_duration(look.shared.terminals.idle()),
    })
}

fn reason(look: &Look, entry: &Entry) -> Option<String> {
    if !look.may(Role::Operator) {
        let own = look.who.role.map_or("nobody", Role::word);
        return Some(format!(
            "A terminal takes the role operator, and you are {own}: whoever is in the container can do all that the app can. Ask for a token with that role."
        ));
    }
    if let Some(refusal) = look.shared.terminals.refusal() {
        return Some(format!("There are no terminals: {}.", refusal.detail()));
    }
    entry.status.container_id.is_none().then(|| {
        format!("{} has no container at present, so there is nothing to get into.", entry.name)
    })
}
