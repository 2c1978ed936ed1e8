//! Uploads that are put together from others: tus' concatenation.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, StatusCode, header};

use super::super::{
    Answer, Asker, blocking,
    refusal::{Refused, Verb, refuse},
    store, tried,
    upload::seat,
};
use super::{
    answered, bad, claim, content, find, located,
    receive::Received,
    said::{Dialect, Said, id_of},
};
use crate::server::{Shared, problem::Problem};
use crate::store::{Claim, Concat, Kept, Order, Partial, Store};

/// Puts parts together.
pub(super) async fn join(
    shared: &Arc<Shared>,
    asker: &Asker,
    (order, said, urls): (Order, &Said, &[String]),
    (headers, is_dry): (&HeaderMap, bool),
) -> Answer {
    if said.length.is_some() || said.is_deferred {
        let detail = "a final upload is as long as its parts: leave `Upload-Length` out";
        return Err(bad("upload.length", detail));
    }
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if is_chunked || content(headers).is_some_and(|coming| coming != 0) {
        let detail = "a final upload has what its parts have: send no body";
        return Err(bad("upload.invalid", detail));
    }
    let store = store(shared, Verb::Upload).await?;
    let mut parts = Vec::with_capacity(urls.len());
    for url in urls {
        parts.push(part(shared, asker, url).await?);
    }
    let (key, checked) = (order.key.clone(), (Arc::clone(&store), parts.clone()));
    let wanted = order.clone();
    // A part that is not whole is not taken from who sends it.
    let length = blocking(Verb::Upload, move || checked.0.check_join(&checked.1, &wanted)).await?;
    if is_dry {
        return Ok(tried::begin(headers, &key, Some(length)));
    }
    let _place = seat(shared, &asker.1)?;
    let claims = claim_all(shared, &store, &parts).await?;
    let id = crate::auth::random_text(32).map_err(|_| Problem::failed())?;
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let metadata = text("upload-metadata").map(str::to_owned);
    let concat = text("upload-concat").unwrap_or_default().trim().to_owned();
    let (joining, now) = (Arc::clone(&store), shared.parts.clock.now());
    let work = move || {
        // Also when nobody waits for it any more, the parts are held to its end.
        let _claims = claims;
        joining.join_partials((&id, metadata, concat), &parts, &order, now)
    };
    let (joined, stored) = blocking(Verb::Upload, work).await?;
    let received = Received::Done(Box::new(stored));
    let response = answered(shared, &store, &joined, Dialect::Tus, received)?;
    Ok(located(response, &joined))
}

/// The part at an address, if this one may write there.
async fn part(shared: &Arc<Shared>, asker: &Asker, url: &str) -> Result<Arc<Partial>, Refused> {
    let nothing = || {
        let detail = format!("there is no such part, or its time is over: {url}");
        refuse(StatusCode::NOT_FOUND, "upload.nothing", detail)
    };
    let id = id_of(url).ok_or_else(nothing)?;
    let is_known = shared
        .parts
        .models
        .opened()
        .is_some_and(|store| store.partial(id, shared.parts.clock.now()).is_some());
    if !is_known {
        return Err(nothing());
    }
    find(shared, asker, id).await.map(|(_, partial)| partial)
}

/// Claims each part once, always in the same order: two that want the same do not wait for each other.
async fn claim_all(
    shared: &Shared,
    store: &Store,
    parts: &[Arc<Partial>],
) -> Result<Vec<Claim>, Refused> {
    let all: BTreeMap<_, _> = parts.iter().map(|part| (&part.id, part)).collect();
    let mut claims = Vec::with_capacity(all.len());
    for part in all.into_values() {
        claims.push(claim(shared, store, part).await?);
    }
    Ok(claims)
}

/// Nothing can be added to what was put together.
pub(super) fn check_open(kept: &Kept) -> Result<(), Refused> {
    if !matches!(kept.concat, Some(Concat::Final(_))) {
        return Ok(());
    }
    let detail = "the upload was put together from parts: nothing can be added to it";
    Err(refuse(StatusCode::FORBIDDEN, "upload.final", detail))
}
