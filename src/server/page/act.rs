//! What a person asks of one app by a button: the functions of the API, and where to look next.

use axum::{body::Body, extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{Fields, Look, onward, unclear};
use crate::server::{
    actions::{self, Asking},
    apps,
    dry::Dry,
    problem::Problem,
    request::Named,
    rollouts,
};

macro_rules! acts {
    ($($word:ident)*) => {$(
        #[doc = concat!("`POST /ui/apps/{name}/", stringify!($word), "`")]
        pub(in super::super) async fn $word(look: Look, Named(name): Named, asking: Asking) -> Response {
            let done = actions::$word(Named(name.clone()), asking).await;
            let to = format!("/ui/apps/{name}?done={}", stringify!($word));
            look.answer(done.map(|done| onward(done, to)))
        }
    )*};
}

acts! { start stop restart install rebuild reconcile }

/// `POST /ui/apps/{name}/undo`
pub(in super::super) async fn undo(
    look: Look,
    Named(name): Named,
    asking: Asking,
    body: Body,
) -> Response {
    let undone = async {
        let fields = Fields::read(&look.headers, body).await?;
        let revision = match fields.get("revision") {
            "" => None,
            text => Some(text.parse::<u64>().map_err(|_| unclear("a revision is a number"))?),
        };
        let body = json!({ "revision": revision }).to_string();
        let done = rollouts::undo(Named(name.clone()), asking, Body::from(body)).await?;
        Ok(onward(done, format!("/ui/apps/{name}/history?done=undo")))
    };
    look.answer(undone.await)
}

/// `POST /ui/apps/{name}/remove`: takes the name once more, so that nobody removes another app
/// than the one that was looked at.
pub(in super::super) async fn remove(look: Look, Named(name): Named, body: Body) -> Response {
    let removed = async {
        let fields = Fields::read(&look.headers, body).await?;
        if fields.get("name") != name.as_str() {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let detail = format!("to remove it, the name `{name}` must be written as it is");
            return Err(Problem::new(status, "request.invalid", "Not removed", detail));
        }
        let shared = State(look.shared.clone());
        let (headers, uri) = (axum::http::HeaderMap::new(), axum::http::Uri::default());
        let done = apps::delete(shared, Named(name.clone()), Dry(false), headers, uri).await?;
        Ok(onward(done, "/?done=remove"))
    };
    look.answer(removed.await)
}
