//! Lists of models, and parts of them.

use std::{convert::Infallible, fmt::Write as _, sync::Arc};

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Asker, Named,
    refusal::{Verb, refuse},
    store,
};
use crate::server::{Shared, request::Asked};
use crate::store::{Entry, Key, Page, Query};

/// How many models a page has at most, when pages are asked for.
const PAGE_MAX: usize = 10_000;
/// How many are put together at once, and about how long one is.
const AT_ONCE: usize = 100;
const EACH: usize = 800;

/// What may be asked of a list. Others than these were never looked at, and are not now.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wish {
    search: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// `GET /models/list`
pub(in super::super) async fn all(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Asked(wish): Asked<Wish>,
) -> Answer {
    let query = Query { projects: asker.0.projects(), ..Query::default() };
    answer(&shared, &[], query, wish).await
}

/// `GET /models/{project}`
pub(in super::super) async fn of_project(
    State(shared): State<Arc<Shared>>,
    Named(project): Named<String>,
    Asked(wish): Asked<Wish>,
) -> Answer {
    let query = Query { project: Some(project.clone()), ..Query::default() };
    answer(&shared, &[("project_id", &project)], query, wish).await
}

/// `GET /models/{project}/{app}`
pub(in super::super) async fn of_app(
    State(shared): State<Arc<Shared>>,
    Named((project, app)): Named<(String, String)>,
    Asked(wish): Asked<Wish>,
) -> Answer {
    let names = [("project_id", project.as_str()), ("app_name", &app)];
    let (project, app) = (Some(project.clone()), Some(app.clone()));
    answer(&shared, &names, Query { project, app, ..Query::default() }, wish).await
}

/// `GET /models/{project}/{app}/{version}`
pub(in super::super) async fn of_version(
    State(shared): State<Arc<Shared>>,
    Named((project, app, version)): Named<(String, String, String)>,
    Asked(wish): Asked<Wish>,
) -> Answer {
    let names = [("project_id", project.as_str()), ("app_name", &app), ("version", &version)];
    let query = Query {
        project: Some(project.clone()),
        app: Some(app.clone()),
        version: Some(version.clone()),
        ..Query::default()
    };
    answer(&shared, &names, query, wish).await
}

async fn answer(
    shared: &Arc<Shared>,
    names: &[(&str, &str)],
    mut query: Query,
    wish: Wish,
) -> Answer {
    let store = store(shared, Verb::List).await?;
    query.search = wish.search.filter(|words| !words.trim().is_empty());
    query.limit = wish.limit.map(|limit| limit.clamp(1, PAGE_MAX));
    query.after = match wish.after {
        None => None,
        Some(after) => Some(place(&after).ok_or_else(|| {
            let detail = "`after` is what an earlier page called `next`";
            refuse(axum::http::StatusCode::BAD_REQUEST, "request.invalid", detail)
        })?),
    };
    // What no name can be is in no list.
    for name in [&mut query.project, &mut query.app, &mut query.version].into_iter().flatten() {
        if let Ok(composed) = crate::store::name("", name) {
            *name = composed;
        }
    }
    Ok(document(names, store.list(&query)))
}

/// The place in a list that a page ended at.
pub(in super::super) fn place(text: &str) -> Option<Key> {
    let mut names = text.split('/');
    let mut next = || names.next().map(str::to_owned);
    let key = Key { project: next()?, app: next()?, version: next()?, model: next()? };
    names.next().is_none().then_some(key)
}

/// A list of thousands is sent as it is put together: it is never in memory as a whole.
fn document(names: &[(&str, &str)], page: Page) -> Response {
    let mut text = String::from("{");
    for (name, value) in names {
        let _ = write!(text, "\"{name}\":{},", json!(value));
    }
    let _ = write!(text, "\"total_models\":{},\"models\":[", page.total);
    let mut end = String::from("]");
    if let Some(last) = page.entries.last().filter(|_| page.has_more) {
        let _ = write!(end, ",\"next\":{}", json!(last.key.to_string()));
    }
    end.push('}');
    let kind = [(header::CONTENT_TYPE, "application/json")];
    if page.entries.len() <= AT_ONCE {
        add(&mut text, &page.entries, 0);
        return (kind, text + &end).into_response();
    }
    let length = text.len() + length(&page.entries) + end.len();
    let body = axum::body::Body::from_stream(stream::iter(pieces(page.entries, text, end)));
    (kind, [(header::CONTENT_LENGTH, length)], body).into_response()
}

/// Adds some of a list, the first of which has this place in it.
fn add(text: &mut String, entries: &[Arc<Entry>], from: usize) {
    for (entry, at) in entries.iter().zip(from..) {
        if 0 < at {
            text.push(',');
        }
        entry.list_into(text);
    }
}

/// How long a list is, as text.
fn length(entries: &[Arc<Entry>]) -> usize {
    let (mut text, mut sum) = (String::new(), 0);
    for (entry, at) in entries.iter().zip(0..) {
        text.clear();
        add(&mut text, std::slice::from_ref(entry), at);
        sum += text.len();
    }
    sum
}

/// A long list, a piece at a time.
fn pieces(
    entries: Vec<Arc<Entry>>,
    first: String,
    last: String,
) -> impl Iterator<Item = Result<Bytes, Infallible>> {
    let mut at = 0;
    let listed = move || {
        let next = entries.get(at..)?.get(..AT_ONCE).or_else(|| entries.get(at..))?;
        let mut text = String::with_capacity(next.len() * EACH);
        add(&mut text, next, at);
        at += next.len();
        (!text.is_empty()).then(|| text.into())
    };
    let ends = |text: String| std::iter::once(Bytes::from(text));
    ends(first).chain(std::iter::from_fn(listed)).chain(ends(last)).map(Ok)
}
