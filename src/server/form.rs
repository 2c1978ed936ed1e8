//! Registration: an app from the five fields of a form.

use axum::{
    body::{Body, Bytes},
    extract::{Form, FromRequest as _, Multipart},
    http::{HeaderMap, Request, StatusCode, header},
};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{problem::Problem, reading, request, view};
use crate::manifest::edit::scalar;

/// The fields, and where each stands in a manifest.
const FIELDS: [(&str, &str, bool); 5] = [
    ("name", "metadata.name", true),
    ("repository", "spec.source", true),
    ("requirements_file", "spec.build.requirements", false),
    ("start_command", "spec.run", true),
    ("port", "spec.port", true),
];

/// An app, as a form registers it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it says what may be sent; what was sent is read with all mistakes")]
pub(super) struct Registration {
    /// Its name: lower-case letters, digits and `-`.
    name: String,
    /// The address of its git repository.
    repository: String,
    /// The requirements file within the repository. Default: the one that is found.
    requirements_file: Option<String>,
    /// The command line that starts it.
    start_command: String,
    /// The port that it listens on.
    #[schemars(range(min = 1, max = 65535))]
    port: u16,
}

/// The manifest that a registration carries, or that its fields make.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = request::kind(headers);
    let is_form = ["application/x-www-form-urlencoded", "multipart/form-data"];
    if is_form.contains(&kind.as_str()) {
        let bytes = request::bytes(body).await?;
        let fields = fields(headers, bytes, kind == is_form[1]).await?;
        return manifest(fields);
    }
    if !request::is_manifest(&kind) {
        let detail = "send a manifest with `Content-Type: application/yaml` or `application/json`, or the fields of a form";
        return Err(request::wrong_kind("Not a manifest", detail));
    }
    let bytes = request::bytes(body).await?;
    let document = (kind == "application/json")
        .then(|| serde_json::from_slice::<Map<String, Value>>(&bytes).ok())
        .flatten();
    match document {
        Some(fields) if is_registration(&fields) => manifest(fields.into_iter().collect()),
        _ => Ok(bytes),
    }
}

/// Whether a JSON document is a form's rather than a manifest.
fn is_registration(document: &Map<String, Value>) -> bool {
    let is_manifest = ["apiVersion", "kind", "metadata", "spec"];
    !is_manifest.iter().any(|key| document.contains_key(*key))
        && FIELDS.iter().any(|(name, ..)| document.contains_key(*name))
}

type Fields = Vec<(String, Value)>;

async fn fields(headers: &HeaderMap, bytes: Bytes, is_multipart: bool) -> Result<Fields, Problem> {
    let wrong = |why: String| Problem::bad_request(format!("the form can't be read: {why}"));
    let mut request = Request::builder().method("POST");
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let request = request.body(Body::from(bytes)).map_err(|error| wrong(error.to_string()))?;
    if !is_multipart {
        let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(pairs) = form.map_err(|error| wrong(error.body_text()))?;
        return Ok(pairs.into_iter().map(|(name, value)| (name, value.into())).collect());
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| wrong(error.body_text()))?;
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.text().await.map_err(|error| wrong(error.body_text()))?;
        fields.push((name, value.into()));
        if 64 < fields.len() {
            return Err(wrong("it has too many fields".to_owned()));
        }
    }
    Ok(fields)
}

/// The manifest that the fields make, or everything that is wrong with them.
fn manifest(fields: Fields) -> Result<Bytes, Problem> {
    let mut mistakes = Vec::new();
    let mut say = |field: &str, code: &str, message: String| {
        mistakes.push(json!({
            "severity": "error", "code": code, "path": field, "message": message, "help": null,
            "file": "form", "line": 0, "column": 0, "field": field,
        }));
    };
    let mut known = Map::new();
    for (name, value) in fields {
        let is_empty = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        if !FIELDS.iter().any(|(field, ..)| *field == name) {
            let shown: String = name.escape_debug().take(60).collect();
            say(&shown, "form.unknown-field", format!("there is no field `{shown}`"));
        } else if known.contains_key(&name) {
            say(&name, "form.twice", format!("`{name}` is there twice"));
        } else if !is_empty {
            let is_text = value.is_string() || (name == "port" && value.is_number());
            if is_text {
                known.insert(name, value);
            } else {
                say(&name, "form.wrong-type", format!("`{name}` is a text"));
            }
        }
    }
    for (name, _, _) in
        FIELDS.iter().filter(|(name, _, needed)| *needed && !known.contains_key(*name))
    {
        say(name, "form.missing-field", format!("`{name}` is missing"));
    }
    let text = text(&known);
    for found in reading::read("form", text.as_bytes()).mistakes {
        let at = FIELDS.iter().find(|(_, path, _)| found.path.starts_with(path));
        let field = at.map(|(name, ..)| *name);
        // What is missing was said.
        if field.is_none_or(|field| known.contains_key(field)) {
            let mut mistake = view::diagnostic(&found);
            mistake["field"] = json!(field);
            mistakes.push(mistake);
        }
    }
    if mistakes.is_empty() {
        return Ok(text.into());
    }
    let detail = match mistakes.as_slice() {
        [one] => one["message"].as_str().unwrap_or_default().to_owned(),
        several => format!("the form has {} mistakes", several.len()),
    };
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let problem = Problem::new(status, "manifest.invalid", "The form is not valid", detail);
    Err(problem.with("errors", Value::Array(mistakes)))
}

/// The manifest as text. A field that is missing is a line that is missing.
fn text(known: &Map<String, Value>) -> String {
    let value =
        |name: &str| {
            let value = known.get(name)?;
            let text = value.as_str().map(str::trim);
            let number = text.filter(|_| name == "port").and_then(|text| text.parse::<i64>().ok());
            Some(number.map_or_else(
                || scalar(&text.map_or(value.clone(), Value::from)),
                |n| n.to_string(),
            ))
        };
    let lines = [
        ("name", "metadata:\n  name: ", ""),
        ("repository", "spec:\n  source: {git: ", "}"),
        ("requirements_file", "  build: {requirements: ", "}"),
        ("start_command", "  run: ", ""),
        ("port", "  port: ", ""),
    ];
    let mut text = "apiVersion: berth/v1\nkind: App\n".to_owned();
    for (name, before, after) in lines {
        match value(name) {
            Some(value) => text.push_str(&format!("{before}{value}{after}\n")),
            // What is below it still has its place.
            None => text.extend(before.split_inclusive('\n').filter(|part| part.ends_with('\n'))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
    }

    #[test]
    fn five_fields_are_nine_lines() {
        let made = manifest(fields(&[
            ("port", "7860"),
            ("name", "chat"),
            ("repository", "https://git.example.com/acme/chat.git"),
            ("requirements_file", "requirements.txt"),
            ("start_command", "python app.py --title 'a: b' # no comment"),
        ]));
        let expected = "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: chat\nspec:\n  source: {git: \"https://git.example.com/acme/chat.git\"}\n  build: {requirements: requirements.txt}\n  run: \"python app.py --title 'a: b' # no comment\"\n  port: 7860\n";
        let made = String::from_utf8(made.unwrap().to_vec()).unwrap();
        assert_eq!(made.replace('"', ""), expected.replace('"', ""));
        assert_eq!(made.lines().count(), 9);
        let read = reading::read("", made.as_bytes());
        assert!(read.mistakes.is_empty() && read.warnings.is_empty());
    }
}
