//! Terminals in the containers of apps.

#![expect(dead_code, reason = "only the schemas of the documents are used")]

use schemars::JsonSchema;

use super::{
    documents::documents,
    operation::{Operation, op},
};
use crate::server::terminals::Order;

const TAG: &str = "apps";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(
            ("POST", "/api/v1/apps/{name}/terminal"),
            (TAG, "askForTerminal"),
            "Ask for a terminal in an app's container",
        )
        .says("The command is checked and recorded; it begins once the websocket at `path` is opened: once, within `expiresSeconds`, by whoever asked for it.")
        .takes::<Order>("application/json")
        .or_nothing()
        .json::<TerminalDocument>(201, "It can be opened; `Location` is the websocket's path.")
        .problems(&[404, 408, 409, 413, 415, 429, 503]),
        op(("GET", "/api/v1/terminals/{id}"), (TAG, "openTerminal"), "Open a terminal")
            .says("A websocket (RFC 6455) of the protocol `v5.channel.k8s.io`. The first byte of each message says what the rest is: 0 is for the command to read, 1 and 2 are what it writes, 3 is how it ended, 4 the size of its terminal, 255 that channel 0 has ended.")
            .header("Upgrade", "`websocket`.")
            .header("Sec-WebSocket-Protocol", "`v5.channel.k8s.io`.")
            .empty(101, "It is open.")
            .problems(&[400, 404, 426, 503]),
    ]
}

documents! {
    /// A terminal that can be opened.
    TerminalDocument {
        /// What opens it: a secret, for as long as it is good.
        id: String,
        /// Where its websocket is.
        path: String,
        /// What the websocket speaks.
        protocol: String,
        app: String,
        /// The container that it is in.
        container: String,
        /// How long it can be opened.
        expires_seconds: u64,
        /// How long nothing need be typed or written before it is ended.
        idle_seconds: u64,
    }
}
