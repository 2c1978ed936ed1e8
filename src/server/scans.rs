//! What is known of vulnerabilities in the apps' images.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

use super::{Shared, problem::Problem, request::Named, view};
use crate::model::AppName;
use crate::scan::{Book, Scanned, sbom};
use crate::state::ScanSeen;

/// Why nothing is known of any image.
const OFF: &str = "images are not looked through: give Berth a folder of OSV records with --vulnerability-database";

/// `GET /api/v1/scans`
pub(super) async fn all(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let book = shared.parts.figures.scans.as_deref();
    let entries = shared.parts.record.entries();
    let scans =
        book.map(|book| entries.iter().map(|entry| short(book, &entry.name)).collect::<Vec<_>>());
    Json(json!({
        "apiVersion": view::API_VERSION,
        "kind": "ScanList",
        "isEnabled": book.is_some(),
        "database": book.map(database),
        "scans": scans.unwrap_or_default(),
    }))
}

/// `GET /api/v1/apps/{name}/scan`
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    Ok(Json(whole(shared.parts.figures.scans.as_deref(), &name)))
}

/// How an app's image stands, at length.
fn whole(book: Option<&Book>, name: &AppName) -> Value {
    let mut document = book.map_or_else(|| off(name), |book| short(book, name));
    let about = [("apiVersion", json!(view::API_VERSION)), ("kind", json!("Scan"))];
    document.extend(about.map(|(key, value)| (key.to_owned(), value)));
    document.insert("database".to_owned(), book.map_or(Value::Null, database));
    let found = book.and_then(|book| book.of_app(name)).and_then(|(_, found)| found?.ok());
    let more = found.as_deref().map_or_else(unseen, details);
    document.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(document)
}

/// `GET /api/v1/apps/{name}/sbom`
pub(super) async fn parts(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    let book =
        shared.parts.figures.scans.as_deref().ok_or_else(|| Problem::not_there("scan.off", OFF))?;
    let Some((image, Some(Ok(scanned)))) = book.of_app(&name) else {
        return Err(Problem::not_there(
            "scan.none",
            format!("the image of {name} was not looked through yet"),
        ));
    };
    Ok(Json(sbom(&image, &scanned.inventory)))
}

/// What was found, at length.
fn details(scanned: &Scanned) -> Value {
    let Scanned { report, verdict, inventory, .. } = scanned;
    json!({
        "distribution": inventory.distribution,
        "packages": inventory.packages.len(),
        "findings": report.findings,
        "blocked": verdict.blocked.iter().map(|one| &one.id).collect::<Vec<_>>(),
        "accepted": verdict.accepted,
        "expired": verdict.expired,
        "unread": report.unread,
    })
}

/// The same of what was not looked through.
fn unseen() -> Value {
    json!({
        "distribution": null,
        "packages": null,
        "findings": null,
        "blocked": null,
        "accepted": null,
        "expired": null,
        "unread": null,
    })
}

/// An app of which nobody asks.
fn off(app: &AppName) -> Map<String, Value> {
    let document = json!({
        "app": app,
        "image": null,
        "status": "off",
        "message": OFF,
        "counts": null,
        "scannedAt": null,
    });
    document.as_object().cloned().unwrap_or_default()
}

fn database(book: &Book) -> Value {
    let known = book.known();
    let print = known.fingerprint;
    json!({
        "newest": print.as_ref().map(|print| {
            crate::model::Timestamp::from_millis(i64::try_from(print.newest_ms).unwrap_or(i64::MAX))
        }),
        "digest": print.map(|print| print.digest),
        "error": known.error,
    })
}

/// How an app's image stands, in short.
fn short(book: &Book, app: &AppName) -> Map<String, Value> {
    let (image, found) = match book.of_app(app) {
        None => (None, None),
        Some((image, found)) => (Some(image), found),
    };
    let (status, message) = match &found {
        None => ("pending", "it was not looked through yet".to_owned()),
        Some(Err(why)) => ("failed", why.clone()),
        Some(Ok(scanned)) => match scanned.seen() {
            ScanSeen::Clean(text) => ("clean", text),
            ScanSeen::Warned(text) => ("warned", text),
            ScanSeen::Blocked(text) => ("blocked", text),
            ScanSeen::Failed(text) => ("failed", text),
        },
    };
    let scanned = found.and_then(Result::ok);
    let counts = scanned.as_ref().map(|scanned| {
        let all = scanned.counts().into_iter();
        all.map(|(severity, count)| (severity.word().to_owned(), json!(count)))
            .collect::<Map<_, _>>()
    });
    let document = json!({
        "app": app,
        "image": image,
        "status": status,
        "message": message,
        "counts": counts,
        "scannedAt": scanned.map(|scanned| scanned.at),
    });
    document.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_database_the_document_has_all_its_fields() {
        let document = whole(None, &AppName::new("web").unwrap());
        let described = super::super::openapi::document();
        let wanted = &described["components"]["schemas"]["ScanDocument"]["required"];
        let wanted: Vec<_> = wanted.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let missing: Vec<_> = wanted.iter().filter(|key| document.get(**key).is_none()).collect();
        assert!(missing.is_empty() && 10 < wanted.len(), "{missing:?}");
    }
}
