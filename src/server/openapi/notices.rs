//! Who is told when something is wrong.

#![expect(dead_code, reason = "only the schemas of the documents are used")]

use schemars::JsonSchema;

use super::{
    documents::{Time, documents},
    operation::{Operation, op},
};
use crate::server::notices::Query;

const TAG: &str = "host";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(
            ("GET", "/api/v1/notifications"),
            (TAG, "listNotificationTargets"),
            "Who is told when something is wrong",
        )
        .json::<NotificationTargets>(200, "The targets, and how the last message to each went."),
        op(
            ("POST", "/api/v1/notifications/test"),
            (TAG, "testNotifications"),
            "Send a test to one target, or to all",
        )
        .query::<Query>()
        .json::<NotificationTest>(200, "How each went.")
        .problems(&[404]),
    ]
}

documents! {
    /// Who is told.
    NotificationTargets {
        api_version: String,
        kind: String,
        targets: Vec<NotificationTarget>,
    }

    NotificationTarget {
        name: String,
        /// `webhook`, `ntfy`, `slack` or `smtp`.
        kind: String,
        /// The conditions it is told of; empty is all.
        on: Vec<String>,
        /// Patterns of the apps it is told of; empty is all.
        apps: Vec<String>,
        /// Whether it is told what is over.
        resolved: bool,
        /// How many conditions it is still to be told of.
        waiting: u64,
        last: Option<NotificationSent>,
    }

    NotificationSent {
        at: Time,
        /// `sent`, `retried` or `refused`.
        result: String,
        title: String,
        error: Option<String>,
    }

    /// How tests went.
    NotificationTest {
        results: Vec<NotificationResult>,
    }

    NotificationResult {
        target: String,
        /// `sent`, `refused` or `failed`.
        result: String,
        error: Option<String>,
    }
}
