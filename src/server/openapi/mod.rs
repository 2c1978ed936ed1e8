//! The `OpenAPI` document, made from the table of routes, the types that requests are read into, and
//! a description of each route.
//!
//! **To add a route's description**: each module of routes has a file here with a function
//! `docs()`, a list with one element for each route. Add an element there, or a file and its line
//! in [`PARTS`]. A test fails for a route without one, and another holds live answers against it.

mod apps;
mod documents;
mod families;
mod gc;
mod gpus;
mod host;
mod hub;
mod images;
mod notices;
mod oci;
mod operation;
mod probes;
mod scans;
mod terminals;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use axum::{extract::State, http::HeaderMap, response::Response};
use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use super::{Shared, dry, etag, family, routes::routes};
use crate::auth::{Needs, Role};
use crate::manifest;
use operation::{Body, Operation};

/// The descriptions, by the modules that answer.
const PARTS: [fn() -> Vec<Operation>; 15] = [
    apps::docs,
    terminals::docs,
    gpus::docs,
    host::docs,
    gc::docs,
    notices::docs,
    scans::docs,
    probes::docs,
    families::containers,
    families::models,
    families::aliases,
    hub::reading,
    hub::writing,
    oci::docs,
    families::uploads,
];

static DOCUMENT: LazyLock<(Value, String)> = LazyLock::new(|| {
    let document = document();
    let tag = etag::of_bytes(document.to_string().as_bytes());
    (document, tag)
});

/// `GET /openapi.json`
pub(super) async fn openapi(State(_): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    etag::answer(&headers, &DOCUMENT.1, || DOCUMENT.0.clone())
}

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let operations: Vec<_> = PARTS.iter().flat_map(|docs| docs()).collect();
    let described: BTreeMap<_, _> =
        operations.iter().map(|op| ((op.method, op.path), op)).collect();
    let mut paths = Map::new();
    for (method, path, needs) in routes() {
        let Some(op) = described.get(&(method.as_str(), path)) else { continue };
        let place = paths.entry(path.replace("{*", "{")).or_insert_with(|| json!({}));
        place[method.to_ascii_lowercase()] = rendered(op, needs, &mut schemas);
    }
    let tags: BTreeSet<_> = operations.iter().map(|op| op.tag).collect();
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Berth",
            "version": "v1",
            "summary": "A Kubernetes-style reconciliation controller over plain Docker",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas.taken(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of `berth token create`." },
                "session": { "type": "apiKey", "in": "cookie", "name": "berth-session", "description": "The page's session. Changes need `Origin` or `Sec-Fetch-Site` besides." },
                "proxy": { "type": "apiKey", "in": "header", "name": "X-Forwarded-User", "description": "The word of a proxy that the operator trusts, from its address only." },
                "signature": { "type": "apiKey", "in": "header", "name": "X-Hub-Signature-256", "description": "HMAC-SHA256 of the body; GitLab sends `X-Gitlab-Token`." },
            },
        },
    })
}

/// The routes without a description, and descriptions without a route.
pub fn undescribed() -> Vec<String> {
    let described: BTreeSet<_> = PARTS
        .iter()
        .flat_map(|docs| docs())
        .map(|op| format!("{} {}", op.method, op.path))
        .collect();
    // What the page's own screens and forms are is no interface for programs: docs/page.md has them.
    let known = routes().filter(|(_, path, _)| !path.starts_with("/ui/"));
    let known: BTreeSet<_> = known.map(|(method, path, _)| format!("{method} {path}")).collect();
    known.symmetric_difference(&described).cloned().collect()
}

/// The schemas of what is sent and of what is answered.
struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        let optional = RecursiveTransform(manifest::without_null as fn(&mut Schema));
        Self {
            sent: settings().for_deserialize().with_transform(optional).into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    fn sent(&mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
        schema(&mut self.sent).to_value()
    }

    fn answered(&mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
        schema(&mut self.answered).to_value()
    }

    /// All that are referred to, the manifest's among them.
    fn taken(mut self) -> BTreeMap<String, Value> {
        let _ = manifest::schema_of_manifest(&mut self.sent);
        let _ = manifest::schema_of_spec(&mut self.sent);
        let mut all: BTreeMap<_, _> = self.answered.take_definitions(true).into_iter().collect();
        for (name, schema) in self.sent.take_definitions(true) {
            let known = all.insert(name.clone(), schema);
            debug_assert!(known.is_none(), "two schemas are called {name}");
        }
        all
    }
}

fn rendered(op: &Operation, needs: Needs, schemas: &mut Schemas) -> Value {
    let mut parameters = path_parameters(op.path);
    for query in &op.queries {
        parameters.extend(query_parameters(&schemas.sent(*query)));
    }
    if dry::is_known(op.method, op.path) {
        parameters.push(json!({
            "name": "dryRun", "in": "query", "schema": { "type": "boolean" },
            "description": "Only say what would come of it: 200 with the plan.",
        }));
    }
    for (name, description) in &op.headers {
        parameters.push(json!({
            "name": name, "in": "header", "schema": { "type": "string" },
            "description": description,
        }));
    }
    let mut responses = Map::new();
    for (status, description, body) in &op.answers {
        let mut answer = json!({ "description": description });
        if let Some(content) = content(body, schemas) {
            answer["content"] = content;
        }
        merge_answer(&mut responses, *status, answer);
    }
    if dry::is_known(op.method, op.path) {
        let plan = schemas.answered(of::<documents::DryRun>);
        let known =
            responses.get("200").map(|known| &known["content"]["application/json"]["schema"]);
        let schema = known.map_or_else(|| plan.clone(), |known| json!({ "anyOf": [known, plan] }));
        let content = json!({ "application/json": { "schema": schema }, "text/plain": { "schema": { "type": "string" } } });
        let answer =
            json!({ "description": "With `dryRun`: what would come of it.", "content": content });
        merge_answer(&mut responses, 200, answer);
    }
    for status in op.problems.iter().copied().chain(usual_problems(needs, op.method)) {
        let (kind, problem) = if family::is_compatible(op.path) {
            ("application/json", schemas.answered(of::<families::DetailDocument>))
        } else if family::is_registry(op.path) {
            ("application/json", schemas.answered(of::<oci::RegistryRefusal>))
        } else if family::is_hub_route(op.path) {
            ("application/json", schemas.answered(of::<hub::HubRefusal>))
        } else {
            ("application/problem+json", schemas.answered(of::<documents::ProblemDocument>))
        };
        let answer = json!({
            "description": operation::meaning(status),
            "content": { kind: { "schema": problem } },
        });
        merge_answer(&mut responses, status, answer);
    }
    let mut document = json!({
        "operationId": op.id,
        "tags": [op.tag],
        "summary": op.summary,
        "description": format!("{}.{}", op.description.trim_end_matches('.'), role(needs, op.path)),
        "parameters": parameters,
        "responses": responses,
        "security": security(needs, op.path),
        "x-berth-role": role_word(needs),
    });
    if !op.bodies.is_empty() {
        let mut content = Map::new();
        for (kind, body) in &op.bodies {
            content.insert((*kind).to_owned(), json!({ "schema": schemas.sent(*body) }));
        }
        document["requestBody"] = json!({ "required": op.is_body_needed, "content": content });
    }
    document
}

fn content(body: &Body, schemas: &mut Schemas) -> Option<Value> {
    let text = json!({ "type": "string" });
    Some(match body {
        Body::None => return None,
        Body::Json(schema) => {
            json!({ "application/json": { "schema": schemas.answered(*schema) } })
        }
        Body::Kind(schema, kind) => json!({ *kind: { "schema": schemas.answered(*schema) } }),
        Body::Text(kind) => json!({ *kind: { "schema": text } }),
        Body::Either(schema, kind) => json!({
            "application/json": { "schema": schemas.answered(*schema) },
            *kind: { "schema": text },
        }),
    })
}

/// Two answers of one status are one with both contents.
fn merge_answer(all: &mut Map<String, Value>, status: u16, answer: Value) {
    match all.get_mut(&status.to_string()) {
        None => {
            all.insert(status.to_string(), answer);
        }
        Some(known) => {
            for (kind, content) in answer["content"].as_object().into_iter().flatten() {
                known["content"][kind] = content.clone();
            }
        }
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let one = |name: &str| json!({ "name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": { "type": "string" } });
    names.map(one).collect()
}

fn query_parameters(schema: &Value) -> Vec<Value> {
    let required =
        |name: &str| schema["required"].as_array().into_iter().flatten().any(|known| known == name);
    let fields = schema["properties"].as_object().into_iter().flatten();
    let one = |(name, field): (&String, &Value)| {
        let mut field = field.clone();
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        json!({
            "name": name, "in": "query", "required": required(name), "schema": field,
            "description": description.unwrap_or_default(),
        })
    };
    fields.map(one).collect()
}

/// The refusals that every route of its kind may answer.
fn usual_problems(needs: Needs, method: &str) -> Vec<u16> {
    let mut all = vec![400, 403, 429, 500];
    if !matches!(needs, Needs::Public | Needs::Signature) {
        all.push(401);
    }
    if method != "GET" {
        all.push(503);
    }
    all
}

fn role_word(needs: Needs) -> &'static str {
    match needs {
        Needs::Public => "public",
        Needs::Signature => "signature",
        Needs::Metrics => Role::Viewer.word(),
        Needs::Role(role) => role.word(),
        Needs::Store(_) | Needs::StorePart(_) => "store",
    }
}

fn role(needs: Needs, path: &str) -> String {
    match needs {
        Needs::Public => " Public.".to_owned(),
        Needs::Signature if family::is_hub_route(path) => " Signed by Berth.".to_owned(),
        Needs::Signature => " Signed with the operator's secret.".to_owned(),
        Needs::Store(_) | Needs::StorePart(_) => {
            " Takes a token with a scope of the model store, too.".to_owned()
        }
        other => format!(" Role: {}.", role_word(other)),
    }
}

fn security(needs: Needs, path: &str) -> Value {
    match needs {
        Needs::Public => json!([]),
        // The address, or the token for chunks, is the signature.
        Needs::Signature if family::is_hub_route(path) => json!([{}]),
        Needs::Signature => json!([{ "signature": [] }]),
        // Where nobody signs in, none is needed.
        _ => json!([{ "token": [] }, { "session": [] }, { "proxy": [] }, {}]),
    }
}

/// A schema as a function, for lists of them.
fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The same, written where it is used: the fields of a query.
fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}
