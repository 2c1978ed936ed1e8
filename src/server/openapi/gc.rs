//! What was left behind.

#![expect(dead_code, reason = "only the schemas of the documents are used")]

use schemars::JsonSchema;

use super::{
    documents::{Time, documents},
    operation::{Operation, op},
};
use crate::server::gc::Query;

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(
            ("POST", "/api/v1/gc"),
            ("host", "collectGarbage"),
            "Remove what was left behind and nothing needs",
        )
        .says("Only what is of this Berth, unused and older than `grace`. With `dryRun` it is only said what would go; as `text/plain`, the plan.")
        .query::<Query>()
        .json::<GarbageDocument>(200, "What went, what stays, and why.")
        .problems(&[400, 503]),
    ]
}

documents! {
    /// What was left behind.
    GarbageDocument {
        dry_run: bool,
        going: Vec<Garbage>,
        staying: Vec<Garbage>,
        /// What could not be read: nothing of it was looked at.
        unread: Vec<String>,
        /// How much that frees at most: images share layers.
        bytes: u64,
        /// The plan.
        text: String,
    }

    Garbage {
        /// `workspace`, `code`, `compose`, `project`, `reservation`, `image`, `container`, `network`, `volume`, `cache`, `mirror` or `temporary`.
        kind: String,
        name: String,
        app: Option<String>,
        size: u64,
        /// Since when nothing was done with it.
        since: Option<Time>,
        why: String,
        /// Why it stays, of what does.
        stays: Option<String>,
        /// Why it could not be removed.
        error: Option<String>,
    }
}
