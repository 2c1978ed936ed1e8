//! Apps: what is known of them, their manifests, and what is asked of them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    documents::{
        Accepted, Anything, AppDocument, AppList, PlanDocument, PlanList, RevisionList,
        UsageDocument, Written,
    },
    operation::{Operation, op},
};
use crate::manifest;
use crate::server::{apps, form::Registration, leaving, logs, rollouts};

const TAG: &str = "apps";
const JSON: &str = "application/json";
const ONE: &str = "/api/v1/apps/{name}";
/// How a write of a manifest may be refused.
const WRITES: &[u16] = &[404, 408, 409, 412, 413, 415, 422];

/// A manifest, or the fields of a form.
struct Either;

impl JsonSchema for Either {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ManifestOrRegistration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let manifest = manifest::schema_of_manifest(generator);
        let form = generator.subschema_for::<Registration>();
        json_schema!({ "anyOf": [manifest, form] })
    }
}

struct Manifest;

impl JsonSchema for Manifest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ManifestDocument".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        manifest::schema_of_manifest(generator)
    }
}

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(("GET", "/api/v1/apps"), (TAG, "listApps"), "All apps")
            .says("All apps, by name, with how the manifests' source and the engine stand. With `limit`, `Link: rel=\"next\"` names the next page.")
            .query::<apps::Query>()
            .tagged()
            .json::<AppList>(200, "The apps."),
        op(("POST", "/api/v1/apps"), (TAG, "createApp"), "Create an app")
            .says("From a manifest, or from the five fields of a form, of which a manifest is made. It is written into the watched folder.")
            .takes::<Either>(JSON)
            .takes::<Manifest>("application/yaml")
            .takes::<Registration>("application/x-www-form-urlencoded")
            .takes::<Registration>("multipart/form-data")
            .json::<Written>(201, "It is written; `Location` names the app.")
            .problems(WRITES),
        op(("GET", ONE), (TAG, "readApp"), "One app")
            .tagged()
            .json::<AppDocument>(200, "The app.")
            .problems(&[404]),
        op(("PUT", ONE), (TAG, "putApp"), "Create an app or replace its manifest")
            .says("The text is changed only where it means something else, unless what is sent has comments of its own. A value of the environment that reads `(set)` stays what it is.")
            .header("If-Match", "The tag of the app: refuse when its manifest is another one by now.")
            .header("If-None-Match", "`*`: refuse when there is one.")
            .query::<apps::Expected>()
            .takes::<Manifest>(JSON)
            .takes::<Manifest>("application/yaml")
            .json::<Written>(200, "It is replaced, or says so already.")
            .json::<Written>(201, "It is created.")
            .problems(WRITES),
        op(("PATCH", ONE), (TAG, "patchApp"), "Change an app's manifest")
            .says("A JSON merge patch (RFC 7396) of the manifest as it is written. Comments, order and quotes of what stays the same are kept.")
            .header("If-Match", "The tag of the app: refuse when its manifest is another one by now.")
            .takes::<Anything>("application/merge-patch+json")
            .takes::<Anything>(JSON)
            .json::<Written>(200, "It is changed, or says so already.")
            .problems(WRITES),
        op(("DELETE", ONE), (TAG, "deleteApp"), "Remove an app's manifest")
            .says("The app is stopped and removed; its volumes stay, and its workspace does unless the query says otherwise: then the answer comes once both are gone.")
            .query::<leaving::Query>()
            .header("If-Match", "The tag of the app: refuse when its manifest is another one by now.")
            .json::<Written>(200, "It is removed.")
            .problems(&[404, 409, 412, 504]),
        op(("GET", "/api/v1/apps/{name}/logs"), (TAG, "readLogs"), "What an app writes, or wrote while it was built")
            .query::<logs::Query>()
            .header("Last-Event-ID", "Of a stream, the last event that was seen: what came after it is sent.")
            .text(200, "text/plain", "The log; or, as a stream, the events `line`, `gap` and `end`.")
            .text(200, "text/event-stream", "The log.")
            .problems(&[404, 503]),
        op(("GET", "/api/v1/apps/{name}/usage"), (TAG, "readUsage"), "What an app used in the last hour")
            .json::<UsageDocument>(200, "The figures.")
            .problems(&[404]),
        op(("GET", "/api/v1/apps/{name}/plan"), (TAG, "readPlan"), "The plan of an app's last pass")
            .either::<PlanDocument>(200, "The plan; text for `Accept: text/plain`.")
            .problems(&[404]),
        op(("GET", "/api/v1/plan"), (TAG, "listPlans"), "The plans of all apps")
            .either::<PlanList>(200, "The plans; as text those with differences."),
        op(("GET", "/api/v1/apps/{name}/revisions"), (TAG, "listRevisions"), "An app's last rollouts")
            .json::<RevisionList>(200, "The rollouts, oldest first.")
            .problems(&[404]),
        asked("/api/v1/apps/{name}/start", "startApp", "Undo stop"),
        asked("/api/v1/apps/{name}/stop", "stopApp", "Stop it until start"),
        asked("/api/v1/apps/{name}/restart", "restartApp", "Stop and start it"),
        asked("/api/v1/apps/{name}/install", "installApp", "Get its image, and leave it stopped"),
        asked("/api/v1/apps/{name}/rebuild", "rebuildApp", "Build it from scratch"),
        asked("/api/v1/apps/{name}/reconcile", "reconcileApp", "Look at it now, and try again what failed"),
        undone("/api/v1/apps/{name}/undo", "undoApp", "Run an earlier version"),
        undone("/api/v1/apps/{name}/rollback", "rollBackApp", "The same as undo"),
    ]
}

/// A route that goes back.
fn undone(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    asked(path, id, summary).takes::<rollouts::Undo>(JSON).or_nothing()
}

/// A route that asks something of an app.
fn asked(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    op(("POST", path), (TAG, id), summary)
        .once()
        .json::<Accepted>(202, "It is on its way, and on the disk.")
        .problems(&[404, 409, 507])
}
