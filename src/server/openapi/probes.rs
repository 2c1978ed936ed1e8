//! The page, signing in, and what watches Berth.

use schemars::JsonSchema;

use super::{
    documents::{Anything, HealthDocument, Root, Target, Verdict},
    operation::{Operation, op},
};
use crate::server::targets;

const TAG: &str = "berth";
const HTML: &str = "text/html";
const FORM: &str = "application/x-www-form-urlencoded";

/// The page's form to sign in.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct SignIn {
    /// The token.
    token: String,
    /// What the page put into the form.
    form: String,
}

/// The page's form to sign out.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct SignOut {
    /// What the page put into the form.
    form: String,
}

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(("GET", "/"), (TAG, "readRoot"), "The page for a browser, or what there is")
            .json::<Root>(200, "What there is.")
            .text(200, HTML, "The page.")
            .empty(303, "A browser that must sign in first."),
        op(("GET", "/sign-in"), (TAG, "readSignIn"), "The form that takes a token")
            .text(200, HTML, "The form.")
            .empty(303, "Who asks is signed in."),
        op(("POST", "/sign-in"), (TAG, "signIn"), "Begin a session of the page")
            .takes::<SignIn>(FORM)
            .empty(303, "The session has begun; a cookie says so.")
            .text(401, HTML, "The token is not good: the form again.")
            .text(403, HTML, "The form was open for too long, or the token is for the model store.")
            .problems(&[408, 413, 415]),
        op(("POST", "/sign-out"), (TAG, "signOut"), "End the session of the page")
            .takes::<SignOut>(FORM)
            .or_nothing()
            .empty(303, "It has ended.")
            .problems(&[408, 413, 415]),
        op(("GET", "/health"), (TAG, "readHealth"), "How Berth and the engine are; always 200")
            .json::<HealthDocument>(200, "How they are."),
        op(("GET", "/livez"), (TAG, "readLive"), "Whether the controller is there")
            .json::<Verdict>(200, "It is.")
            .json::<Verdict>(503, "It is not, and why."),
        op(("GET", "/readyz"), (TAG, "readReady"), "Whether what Berth says can be relied on")
            .json::<Verdict>(200, "It can.")
            .json::<Verdict>(503, "It can't, and why."),
        op(("GET", "/metrics"), (TAG, "readMetrics"), "Figures for Prometheus")
            .text(200, "text/plain", "Prometheus' text format.")
            .text(200, "application/openmetrics-text", "OpenMetrics, for who asks for it.")
            .problems(&[503]),
        op(("GET", "/sd/prometheus"), (TAG, "listTargets"), "Where apps tell figures of their own")
            .query::<targets::Query>()
            .json::<Vec<Target>>(200, "The targets."),
        op(("GET", "/api/v1/schema"), (TAG, "readSchema"), "The JSON Schema of manifests")
            .json::<Anything>(200, "The schema (draft-07)."),
        op(("GET", "/openapi.json"), (TAG, "readOpenapi"), "This document")
            .tagged()
            .json::<Anything>(200, "OpenAPI 3.1."),
    ]
}
