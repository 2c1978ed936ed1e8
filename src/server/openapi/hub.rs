//! The model store as clients of the Hugging Face Hub know it. They are the reference for what is
//! answered; here stands what there is.

#![expect(dead_code, reason = "only their schemas are used")]

use schemars::JsonSchema;

use super::operation::{Operation, op};

const TAG: &str = "hub";
const REPO: &str =
    "The repository `{ns}/{name}` is the app `name` of the project `ns`; the same is below `/hf`.";

/// A document whose shape clients of the Hub know.
#[derive(JsonSchema)]
pub(super) struct HubDocument {
    #[serde(flatten)]
    fields: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Why not, as clients of the Hub read it; `X-Error-Code` and `X-Error-Message` say it too.
#[derive(JsonSchema)]
pub(super) struct HubRefusal {
    /// What is wrong.
    error: String,
    /// The same as a word.
    code: String,
}

fn read(path: &'static str, id: &'static str, what: &'static str) -> Operation {
    op(("GET", path), (TAG, id), what)
        .says(REPO)
        .json::<serde_json::Value>(200, "What is there.")
        .problems(&[404])
}

fn write(route: (&'static str, &'static str), id: &'static str, what: &'static str) -> Operation {
    op(route, (TAG, id), what)
        .says(REPO)
        .takes::<HubDocument>("application/json")
        .or_nothing()
        .json::<serde_json::Value>(200, "It is so.")
        .problems(&[404, 408, 409, 412, 413, 507])
}

/// A change whose answer is a word.
fn word(
    route: (&'static str, &'static str),
    (id, what): (&'static str, &'static str),
    status: u16,
) -> Operation {
    op(route, (TAG, id), what)
        .says(REPO)
        .takes::<HubDocument>("application/json")
        .or_nothing()
        .text(status, "text/plain", "It is so.")
        .problems(&[404, 408, 409, 412, 413, 507])
}

fn send(route: (&'static str, &'static str), id: &'static str, what: &'static str) -> Operation {
    op(route, (TAG, id), what)
        .says("The address, or the token that came with it, is signed and good for a while.")
        .takes::<String>("application/octet-stream")
        .json::<serde_json::Value>(200, "It is on the disk.")
        .problems(&[401, 404, 408, 413, 503, 507])
}

pub(super) fn reading() -> Vec<Operation> {
    vec![
        read("/api/whoami-v2", "hubWhoami", "Who one is"),
        read("/api/models", "hubList", "The repositories"),
        read("/api/models/{ns}", "hubUnnamed", "Nothing: a repository has two names"),
        read("/api/models/{ns}/{name}", "hubModel", "A repository"),
        op(
            ("GET", "/api/models/{ns}/{name}/auth-check"),
            (TAG, "hubAuthCheck"),
            "Whether one may see it",
        )
        .says(REPO)
        .text(200, "text/plain", "One may.")
        .problems(&[404]),
        read("/api/models/{ns}/{name}/revision/{rev}", "hubRevision", "A repository at a revision"),
        read("/api/models/{ns}/{name}/tree/{rev}", "hubTree", "The files of a revision"),
        read("/api/models/{ns}/{name}/tree/{rev}/{*path}", "hubFolder", "The files of a folder"),
        write(
            ("POST", "/api/models/{ns}/{name}/paths-info/{rev}"),
            "hubPaths",
            "What is at some paths",
        ),
        read("/api/models/{ns}/{name}/refs", "hubRefs", "Branches and tags"),
        read("/api/models/{ns}/{name}/commits/{rev}", "hubCommits", "The history"),
        read(
            "/api/models/{ns}/{name}/safetensors-metadata/{*path}",
            "hubTensors",
            "The headers of all files that an index of safetensors names, on `main`",
        ),
        op(("GET", "/{ns}/{name}/resolve/{rev}/{*path}"), (TAG, "hubDownload"), "A file")
            .says(REPO)
            .header("Range", "Parts of it.")
            .query::<super::families::ContentQuery>()
            .text(200, "application/octet-stream", "The file.")
            .text(206, "application/octet-stream", "Parts of it.")
            .tagged()
            .problems(&[403, 404, 412, 416, 503]),
    ]
}

pub(super) fn writing() -> Vec<Operation> {
    vec![
        write(("POST", "/api/validate-yaml"), "hubValidate", "Look at a model card"),
        write(("POST", "/api/repos/create"), "hubCreate", "Make a repository"),
        word(("DELETE", "/api/repos/delete"), ("hubDelete", "Delete a repository"), 200),
        write(("POST", "/api/repos/move"), "hubMove", "Give a repository another name"),
        write(
            ("PUT", "/api/models/{ns}/{name}/settings"),
            "hubSettings",
            "Change a repository: tokens say who sees it",
        ),
        word(
            ("POST", "/api/models/{ns}/{name}/branch/{rev}"),
            ("hubMakeBranch", "Make a branch"),
            201,
        ),
        word(
            ("DELETE", "/api/models/{ns}/{name}/branch/{rev}"),
            ("hubRemoveBranch", "Remove it"),
            200,
        ),
        word(("POST", "/api/models/{ns}/{name}/tag/{rev}"), ("hubMakeTag", "Name a revision"), 201),
        word(
            ("DELETE", "/api/models/{ns}/{name}/tag/{rev}"),
            ("hubRemoveTag", "Remove a tag"),
            200,
        ),
        write(
            ("POST", "/api/models/{ns}/{name}/preupload/{rev}"),
            "hubPreupload",
            "How files are to be sent",
        ),
        write(("POST", "/api/models/{ns}/{name}/commit/{rev}"), "hubCommit", "Make a commit"),
        read(
            "/api/models/{ns}/{name}/xet-write-token/{rev}",
            "hubXetToken",
            "A token for sending chunks",
        ),
        write(("POST", "/{ns}/{name}/info/lfs/objects/batch"), "hubBatch", "Where to send files")
            .kind::<serde_json::Value>(200, "application/vnd.git-lfs+json", "Where to."),
        write(("POST", "/{ns}/{name}/info/lfs/objects/verify"), "hubVerify", "Whether one came"),
        send(("PUT", "/_lfs/{ns}/{oid}"), "hubPut", "Send a file"),
        send(("PUT", "/_lfs/{ns}/{oid}/{part}"), "hubPart", "Send a part of a file"),
        send(("POST", "/_lfs/{ns}/{oid}/{part}"), "hubJoin", "Make a file of its parts"),
        read("/xet/{gen}/v1/chunks/{prefix}/{hash}", "xetChunk", "Nothing: chunks are not told"),
        send(
            ("POST", "/xet/{gen}/v1/xorb-grants/{prefix}/{hash}"),
            "xetGrant",
            "Whether a xorb is there",
        ),
        send(("POST", "/xet/{gen}/v1/xorbs/{prefix}/{hash}"), "xetXorb", "Send chunks"),
        send(("POST", "/xet/{gen}/v1/shards"), "xetShard", "Make files of chunks"),
        send(
            ("POST", "/xet/{gen}/v2/shards"),
            "xetShardTold",
            "Make files of chunks, line by line",
        )
        .text(200, "application/x-ndjson", "How far it is, line by line."),
        send(("POST", "/xet/{gen}/v1/telemetry"), "xetTelemetry", "Nothing is kept of it"),
    ]
}
