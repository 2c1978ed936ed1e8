//! An app's manifest: its text, changed with all comments kept, and the exact difference before it
//! is saved. Values of the environment read `(set)`, and stay what they are where they still do.

use askama::Template;
use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
    response::Response,
};

use super::{
    Fields, Look, Mistake, Shell,
    app::{self, Head},
    body_of,
    differ::{self, Row},
    mistakes, onward, show,
};
use crate::auth::Role;
use crate::manifest::{
    edit,
    fields::{self, Field},
};
use crate::model::AppName;
use crate::record::Entry;
use crate::server::{apps, problem::Problem, request::Named, trail::Tried, view};

#[derive(Template)]
#[template(path = "manifest.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    head: Head,
    file: String,
    /// What is in the editor.
    text: String,
    tag: String,
    /// Why it can't be changed here.
    refusal: Option<String>,
    problem: Option<String>,
    errors: Vec<Mistake>,
    /// The difference that would be saved; none before it was asked for.
    changes: Option<Vec<Row>>,
    plan: String,
    resolved: String,
    rows: usize,
    /// What may stand in it.
    fields: &'static [Field],
}

/// `GET /ui/apps/{name}/manifest`
pub(in super::super) async fn manifest(look: Look, Named(name): Named) -> Response {
    let page = page(&look, &name).await;
    look.answer(page.map(|page| show(&page)))
}

async fn page(look: &Look, name: &AppName) -> Result<Page, Problem> {
    let entry = app::entry(look, name)?;
    let written = apps::written(&look.shared, name).await;
    let (file, text, tag, refusal) = match written {
        Ok(found) => {
            let why = "this file can't be shown here without the values that are in it: change it where it is";
            match apps::masked(&found.bytes) {
                Some(text) => (found.file, text, found.tag, None),
                None => (found.file, String::new(), String::new(), Some(why.to_owned())),
            }
        }
        Err(problem) => {
            (String::new(), String::new(), String::new(), Some(problem.detail().to_owned()))
        }
    };
    let refusal = refusal.or_else(|| {
        (!look.may(Role::Operator)).then(|| "to change it takes the role operator".to_owned())
    });
    Ok(Page {
        shell: look.shell(format!("{name}: manifest"), "apps"),
        head: app::head(look, &entry, "manifest"),
        file,
        rows: rows(&text),
        text,
        tag,
        refusal,
        problem: None,
        errors: Vec::new(),
        changes: None,
        plan: String::new(),
        resolved: resolved(&entry),
        fields: fields::all(),
    })
}

/// How high the editor is.
fn rows(text: &str) -> usize {
    text.lines().count().clamp(12, 40) + 2
}

/// The manifest in its long form, with all defaults.
fn resolved(entry: &Entry) -> String {
    let document = view::app(entry);
    if document["spec"].is_null() {
        return String::new();
    }
    edit::write(&document["spec"])
}

/// `POST /ui/apps/{name}/manifest`: shows the difference, or saves it.
pub(in super::super) async fn save(look: Look, Named(name): Named, body: Body) -> Response {
    let saved = async {
        let fields = Fields::read(&look.headers, body).await?;
        // Browsers end the lines of a form as mail does.
        let text = fields.get("text").replace("\r\n", "\n");
        let tag = fields.get("tag").to_owned();
        let sent = apps::unmasked(&look.shared, &name, &Bytes::from(text.clone())).await?;
        if fields.get("do") == "save" {
            let tried = apps::replace(&look.shared, &name, &sent, &tag, None).await;
            return match tried {
                Ok((done, is_same)) => {
                    let said = if is_same { "same" } else { "save" };
                    Ok(onward(done, format!("/ui/apps/{name}/manifest?done={said}")))
                }
                Err(problem) => again(&look, &name, (text, tag), None, Some(problem)).await,
            };
        }
        let accept = axum::http::HeaderValue::from_static("text/plain");
        let as_text = HeaderMap::from_iter([(axum::http::header::ACCEPT, accept)]);
        match apps::replace(&look.shared, &name, &sent, &tag, Some(&as_text)).await {
            Ok((would, _)) => {
                let plan = body_of(would).await;
                let mut shown = again(&look, &name, (text, tag), Some(plan), None).await?;
                shown.extensions_mut().insert(Tried);
                Ok(shown)
            }
            Err(problem) => again(&look, &name, (text, tag), None, Some(problem)).await,
        }
    };
    look.answer(saved.await)
}

/// The editor again, with what was written in it.
async fn again(
    look: &Look,
    name: &AppName,
    (text, tag): (String, String),
    plan: Option<String>,
    problem: Option<Problem>,
) -> Result<Response, Problem> {
    let mut page = page(look, name).await?;
    page.changes = problem.is_none().then(|| differ::lines(&page.text, &text));
    (page.text, page.tag) = (text, tag);
    page.rows = rows(&page.text);
    page.plan = plan.unwrap_or_default();
    let Some(problem) = problem else { return Ok(show(&page)) };
    page.errors = mistakes(&problem);
    page.problem = Some(problem.detail().to_owned());
    let mut response = show(&page);
    *response.status_mut() = problem.status();
    response.extensions_mut().insert(problem.told());
    Ok(response)
}
