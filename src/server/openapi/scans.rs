//! What is known of vulnerabilities in images.

#![expect(dead_code, reason = "only the schemas of the documents are used")]

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::{
    documents::{Anything, Time, documents},
    operation::{Operation, op},
};

const TAG: &str = "scans";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(
            ("GET", "/api/v1/apps/{name}/scan"),
            (TAG, "readScan"),
            "Known vulnerabilities of an app's image",
        )
        .json::<ScanDocument>(200, "What was found.")
        .problems(&[404]),
        op(
            ("GET", "/api/v1/apps/{name}/sbom"),
            (TAG, "readParts"),
            "What is installed in an app's image",
        )
        .says("A CycloneDX 1.6 document of its Python and Debian packages.")
        .json::<Anything>(200, "The list of parts.")
        .problems(&[404]),
        op(
            ("GET", "/api/v1/scans"),
            (TAG, "listScans"),
            "Known vulnerabilities of the apps' images, in short",
        )
        .json::<ScanList>(200, "How each app's image stands."),
    ]
}

documents! {
    /// How the images stand.
    ScanList {
        api_version: String,
        kind: String,
        /// Whether Berth was given a database.
        is_enabled: bool,
        database: Option<ScanDatabase>,
        scans: Vec<ScanShort>,
    }

    ScanDatabase {
        newest: Option<Time>,
        digest: Option<String>,
        /// Why it can't be read now.
        error: Option<String>,
    }

    ScanShort {
        app: String,
        /// The id of the image that is wanted.
        image: Option<String>,
        /// `off`, `pending`, `failed`, `clean`, `warned` or `blocked`.
        status: String,
        message: String,
        /// By severity, without those that are accepted.
        counts: Option<Map<String, Value>>,
        scanned_at: Option<Time>,
    }

    ScanDocument {
        api_version: String,
        kind: String,
        database: Option<ScanDatabase>,
        app: String,
        image: Option<String>,
        status: String,
        message: String,
        counts: Option<Map<String, Value>>,
        scanned_at: Option<Time>,
        distribution: Option<Map<String, Value>>,
        packages: Option<u64>,
        findings: Option<Vec<Map<String, Value>>>,
        /// The names of those that keep the image from starting.
        blocked: Option<Vec<String>>,
        accepted: Option<Vec<Map<String, Value>>>,
        expired: Option<Vec<Map<String, Value>>>,
        unread: Option<Vec<Map<String, Value>>>,
    }
}
