//! Images that Berth built: their documents.

#![expect(dead_code, reason = "only the schemas of the documents are used")]

use schemars::JsonSchema;
use serde_json::Value;

use super::documents::documents;

documents! {
    /// The images that Berth built, and which of them go.
    ImageList {
        dry_run: bool,
        images: Vec<ImageDocument>,
        going: Vec<GoingDocument>,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        held: Option<String>,
    }

    ImageDocument {
        app: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        tags: Vec<String>,
        size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        created: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        used_by: Option<Vec<String>>,
    }

    GoingDocument {
        #[serde(skip_serializing_if = "Option::is_none")]
        app: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        tags: Vec<String>,
        size: u64,
        why: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
}
