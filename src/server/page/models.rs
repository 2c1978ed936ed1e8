//! The model store, to be looked through, filled and cleared.

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value};

use super::{
    Fields, Look, Shell, body_of, onward, show,
    words::{self, Moment},
};
use crate::model::{Timestamp, format_bytes};
use crate::server::{dry::Dry, models, problem::Problem, request::Asked};
use crate::store::{Entry, Query, Trashed};

/// How many models a screen has.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "models.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
    total: usize,
    search: String,
    next: Option<String>,
    trash: Vec<TrashRow>,
    problem: Option<String>,
}

struct Row {
    project: String,
    app: String,
    version: String,
    model: String,
    path: String,
    size: String,
    digest: String,
    framework: String,
    description: String,
    since: Option<Moment>,
}

struct TrashRow {
    name: String,
    id: String,
    size: String,
    when: Moment,
}

/// `GET /ui/models`
pub(in super::super) async fn models(look: Look) -> Response {
    let mut page = Page {
        shell: look.shell("Models", "models"),
        rows: Vec::new(),
        total: 0,
        search: look.asked("q").unwrap_or_default(),
        next: None,
        trash: Vec::new(),
        problem: None,
    };
    let store = match models::store_of(&look.shared).await {
        Ok(store) => store,
        Err(refused) => {
            page.problem = Some(said(refused.into_response()).await);
            return show(&page);
        }
    };
    let search = Some(page.search.clone()).filter(|words| !words.trim().is_empty());
    let after = look.asked("after").as_deref().and_then(models::place);
    let query = Query {
        search,
        after,
        limit: Some(ROWS),
        projects: look.who.projects(),
        ..Query::default()
    };
    let found = store.list(&query);
    page.total = found.total;
    page.next =
        found.entries.last().filter(|_| found.has_more).map(|last| encode(&last.key.to_string()));
    page.rows = found.entries.iter().map(|entry| row(entry, look.now)).collect();
    let trashed = tokio::task::spawn_blocking(move || store.trash()).await;
    if let Ok(Ok(trashed)) = trashed {
        page.trash = trashed.iter().rev().map(|one| trash_row(one, look.now)).collect();
    }
    show(&page)
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn row(entry: &Entry, now: Timestamp) -> Row {
    let at = i64::try_from(entry.modified / 1_000_000).ok().map(Timestamp::from_millis);
    Row {
        project: entry.key.project.clone(),
        app: entry.key.app.clone(),
        version: entry.key.version.clone(),
        model: entry.key.model.clone(),
        path: entry.key.path(),
        size: format_bytes(entry.size),
        digest: entry.sha256.as_ref().map(|digest| digest.short(12).to_owned()).unwrap_or_default(),
        framework: entry.said("framework").unwrap_or_default(),
        description: entry.said("description").unwrap_or_default(),
        since: at.map(|at| words::moment(at, now)),
    }
}

fn trash_row(one: &Trashed, now: Timestamp) -> TrashRow {
    let Trashed { project_id, app_name, version, model_name, .. } = one;
    TrashRow {
        name: format!("{project_id}/{app_name}/{version}/{model_name}"),
        id: one.id.clone(),
        size: format_bytes(one.size),
        when: words::moment(one.deleted, now),
    }
}

/// What the store's own answer says.
pub(super) async fn said(refused: Response) -> String {
    let body = body_of(refused).await;
    let document: Map<String, Value> = serde_json::from_str(&body).unwrap_or_default();
    match document.get("detail") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(flaws)) => {
            let each = flaws.iter().map(|flaw| {
                let field =
                    flaw["loc"].as_array().and_then(|loc| loc.last()).and_then(Value::as_str);
                format!(
                    "{}: {}",
                    field.unwrap_or_default(),
                    flaw["msg"].as_str().unwrap_or_default()
                )
            });
            each.collect::<Vec<_>>().join("; ")
        }
        _ => "the model store does not answer".to_owned(),
    }
}

/// Where to go on, or what the store said.
async fn told(look: &Look, answer: Response, to: &str) -> Response {
    let status = answer.status();
    if status.is_success() {
        return onward(answer, to);
    }
    let code = if status == StatusCode::CONFLICT { "model.conflict" } else { "model.refused" };
    // Here it is a box of the model's own screen.
    let here = "its own screen, with \u{201c}although apps mount it\u{201d}";
    let detail =
        said(answer).await.replace("delete it with `force=true`", &format!("remove it on {here}"));
    look.problem(&Problem::new(status, code, "The model store refused", detail))
}

/// `POST /ui/models/upload`
pub(in super::super) async fn upload(look: Look, request: Request) -> Response {
    let shared = State(look.shared.clone());
    let asker = models::Asker(look.who.clone(), look.client);
    let answer = models::upload(shared, asker, Dry(false), request).await;
    told(&look, answer.into_response(), "/ui/models?done=model-upload").await
}

/// `POST /ui/models/remove`
pub(in super::super) async fn remove(look: Look, body: Body) -> Response {
    let fields = match Fields::read(&look.headers, body).await {
        Ok(fields) => fields,
        Err(problem) => return look.problem(&problem),
    };
    let name = |name: &str| fields.get(name).to_owned();
    let names = (name("project"), name("app"), name("version"), name("model"));
    let shared = State(look.shared.clone());
    let answer = models::delete(
        shared,
        models::Named(names),
        Asked(models::Wish::forced(fields.get("force") == "true")),
        Dry(false),
        HeaderMap::new(),
    )
    .await;
    told(&look, answer.into_response(), "/ui/models?done=model-remove").await
}
