//! What happened, newest first.

use askama::Template;
use axum::response::Response;

use super::{
    Look, Shell, show,
    words::{self, EventRow},
};
use crate::auth::Role;
use crate::model::AppName;

/// How many events a screen has.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "events.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    rows: Vec<EventRow>,
    app: String,
    only_warnings: bool,
    next: Option<u64>,
    may_see_audit: bool,
}

/// `GET /ui/events`
pub(in super::super) async fn events(look: Look) -> Response {
    let app = look.asked("app").unwrap_or_default();
    let only_warnings = look.asked("show").as_deref() == Some("warnings");
    let before: Option<u64> = look.asked("before").and_then(|text| text.parse().ok());
    let name = AppName::new(&app).ok();
    let all = look.shared.parts.record.events(name.as_ref());
    let mut wanted = all.iter().rev().filter(|event| {
        (!only_warnings || event.is_warning) && before.is_none_or(|before| event.id < before)
    });
    let rows: Vec<_> = wanted.by_ref().take(ROWS).map(|one| words::event(one, look.now)).collect();
    let next = wanted.next().and(rows.last().map(|row| row.id));
    let may_see_audit = look.may(Role::Operator);
    show(&Page {
        shell: look.shell("Events", "events"),
        rows,
        app,
        only_warnings,
        next,
        may_see_audit,
    })
}
