//! The model store as clients of OCI registries know it.

#![expect(dead_code, reason = "only their schemas are used")]

use schemars::JsonSchema;
use serde_json::Value;

use super::operation::{Operation, op};
use crate::server::oci;

const TAG: &str = "registry";
const REPO: &str = "The repository `{project}/{app}` is an app; its tags are versions and aliases.";

/// Repositories.
#[derive(JsonSchema)]
struct Catalog {
    repositories: Vec<String>,
}

/// Tags.
#[derive(JsonSchema)]
struct Tags {
    name: String,
    tags: Vec<String>,
}

/// What a manifest names.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// A version as an artifact: each layer is a file as it is.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct OciManifest {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// A version with a GGUF file as a model.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct OllamaManifest {
    schema_version: u32,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What refers to a manifest.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct OciIndex {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Descriptor>,
}

/// Why not, as clients of registries read it.
#[derive(JsonSchema)]
pub(super) struct RegistryRefusal {
    errors: Vec<RegistryError>,
}

/// One reason.
#[derive(JsonSchema)]
struct RegistryError {
    /// A word of the specification.
    code: String,
    message: String,
    /// Berth's own word.
    detail: Option<Value>,
}

pub(super) fn docs() -> Vec<Operation> {
    const MANIFEST: &str = "/v2/{project}/{app}/manifests/{reference}";
    const BLOB: &str = "/v2/{project}/{app}/blobs/{digest}";
    let get = |path, id, what| op(("GET", path), (TAG, id), what).says(REPO);
    vec![
        get("/v2", "registry", "That there is a registry, and that one may read it")
            .json::<std::collections::BTreeMap<String, Value>>(200, "There is."),
        get("/v2/_catalog", "registryCatalog", "The repositories")
            .query::<oci::Wish>()
            .json::<Catalog>(200, "The repositories; `Link` has the next page."),
        get("/v2/{project}/{app}/tags/list", "registryTags", "The versions and aliases")
            .query::<oci::Wish>()
            .json::<Tags>(200, "The tags; `Link` has the next page.")
            .problems(&[404]),
        get(MANIFEST, "registryManifest", "A version as an artifact, by tag or digest")
            .header("Accept", "Who takes no OCI manifest is shown a model for Ollama.")
            .kind::<OciManifest>(200, oci::PACKED, "The artifact.")
            .kind::<OllamaManifest>(200, oci::OLLAMA, "The model.")
            .json::<Value>(200, "The file, for llama.cpp.")
            .problems(&[404, 409, 503]),
        get(BLOB, "registryBlob", "A file, or what a manifest calls its config")
            .header("Range", "Parts of it.")
            .text(200, "application/octet-stream", "The file.")
            .text(206, "application/octet-stream", "Parts of it.")
            .tagged()
            .problems(&[404, 410, 412, 416, 503]),
        get(
            "/v2/{project}/{app}/referrers/{digest}",
            "registryReferrers",
            "What refers to it: nothing",
        )
        .kind::<OciIndex>(200, "application/vnd.oci.image.index.v1+json", "An empty list.")
        .problems(&[404]),
    ]
}
