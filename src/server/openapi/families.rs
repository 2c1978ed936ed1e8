//! What clients of other systems know: containers and ports, and the model store.

#![expect(
    dead_code,
    clippy::struct_field_names,
    reason = "only their schemas are used, and their fields are named as in the documents"
)]

use schemars::JsonSchema;

use super::{
    super::models::Pull,
    documents::Time,
    operation::{Operation, op},
};
use crate::server::leaving;

const TAG: &str = "containers";
const MODELS: &str = "models";

macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(JsonSchema)]
        pub(super) struct $name { $($(#[$field_about])* $field: $kind,)* }
    )*};
}

documents! {
    /// What went wrong: a text, or what is missing or wrong one by one.
    DetailDocument {
        detail: serde_json::Value,
    }
    /// A container of the host.
    ContainerInfo {
        id: String,
        name: String,
        status: String,
        image: String,
        /// By port and protocol, where it is bound: `{"5000/tcp": "127.0.0.1:8001"}`.
        ports: std::collections::BTreeMap<String, String>,
        created: Option<Time>,
        state: String,
        /// Whether it is an app's.
        managed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        app: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    }
    /// What is to be made.
    ContainerWish {
        #[schemars(default)]
        name: Option<String>,
        #[schemars(default)]
        image: Option<String>,
    }
    /// What was done.
    MessageDocument {
        message: String,
    }
    /// What a container uses.
    ContainerStats {
        container_id: String,
        name: String,
        /// Of one processor.
        cpu_percent: f64,
        memory_usage: String,
        memory_limit: String,
        memory_percent: f64,
        network_rx: String,
        network_tx: String,
        /// Seconds since 1970.
        timestamp: f64,
    }
    /// What the host uses.
    SystemStats {
        /// Of all processors.
        cpu_percent: f64,
        memory_percent: f64,
        memory_used: String,
        memory_total: String,
        disk_usage_percent: f64,
        timestamp: f64,
        gpus: Vec<serde_json::Value>,
    }
    /// The ports that are used.
    UsedPorts {
        used_ports: Vec<u16>,
        available_range: String,
        total_ports: u32,
        allocations: Vec<serde_json::Value>,
    }
    /// The host ports that somebody has to do with.
    PortList {
        #[schemars(rename = "apiVersion")]
        api_version: String,
        kind: String,
        range: serde_json::Value,
        items: Vec<serde_json::Value>,
    }
    /// A model; `metadata.json` may say more.
    ModelDocument {
        project_id: String,
        app_name: String,
        version: String,
        model_name: String,
        size: u64,
        /// How often files of the version were downloaded; this and the following only of one model.
        #[serde(skip_serializing_if = "Option::is_none")]
        downloads: Option<u64>,
        /// The repository that it is in, for clients of a Hub.
        #[serde(skip_serializing_if = "Option::is_none")]
        hf_id: Option<String>,
        /// The commit that its version is, for these.
        #[serde(skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// The tags that stand for that.
        #[serde(skip_serializing_if = "Option::is_none")]
        tags: Option<Vec<String>>,
    }
    /// What is inside a model: `status` is `done` or `waiting`.
    InspectionDocument {
        model: String,
        sha256: Option<String>,
        inspection: serde_json::Value,
    }
    /// Whether the content of a model is what it was: `good`, `quarantined` or `gone`.
    VerifiedDocument {
        model: String,
        sha256: Option<String>,
        found: String,
    }
    /// How the store stands.
    StoreHealth {
        models: u64,
        bytes: u64,
        /// How many models wait for being looked into.
        inspection: serde_json::Value,
        /// How far reading everything again has come.
        scrub: serde_json::Value,
        /// Contents that have changed on the disk.
        quarantined: Vec<serde_json::Value>,
    }
    /// An upload that may go on.
    UploadDocument {
        id: String,
        url: String,
        /// What it is to become.
        model: String,
        offset: u64,
        length: Option<u64>,
        /// The SHA-256 that it was said to have.
        announced: Vec<String>,
        expires: Time,
        /// What it became.
        sha256: Option<String>,
        /// `partial`, or `final;` and the parts it was put together from.
        concat: Option<String>,
    }
    /// Uploads that may go on.
    UploadList {
        items: Vec<UploadDocument>,
    }
    /// Models, with the names that were asked for.
    ModelList {
        total_models: u64,
        models: Vec<ModelDocument>,
    }
    /// What was stored or deleted.
    ModelDone {
        message: String,
        project_id: String,
        app_name: String,
        version: String,
        model_name: String,
    }
    /// The file, as a field of the form; names are in the query or in fields before it.
    ModelForm {
        file: String,
    }
    /// Where models are looked for.
    ModelQuery {
        /// Words that all stand in the names, the description or the framework.
        #[schemars(default)]
        search: Option<String>,
        /// How many.
        #[schemars(default)]
        limit: Option<u32>,
        /// What an earlier answer called `next`.
        #[schemars(default)]
        after: Option<String>,
    }
    /// What an upload is called.
    UploadQuery {
        #[schemars(default)]
        project_id: Option<String>,
        #[schemars(default)]
        app_name: Option<String>,
        #[schemars(default)]
        version: Option<String>,
        #[schemars(default)]
        model_name: Option<String>,
        #[schemars(default)]
        description: Option<String>,
        #[schemars(default)]
        framework: Option<String>,
        /// The digest that the file must have, as 64 hexadecimal digits.
        #[schemars(default)]
        sha256: Option<String>,
    }
    /// A version in other words.
    ResolveQuery {
        /// `1`: a version that is not there is read as a range.
        #[schemars(default)]
        resolve: Option<String>,
        /// `safe`: only what is known to be safe to load is sent; else 403, or 503 as long as nobody has
        /// looked into it.
        #[schemars(default)]
        require: Option<String>,
    }
    /// What is required of a content.
    ContentQuery {
        /// `safe`: only what is known to be safe to load is sent.
        #[schemars(default)]
        require: Option<String>,
    }
    /// A name for a version.
    AliasDocument {
        project_id: String,
        app_name: String,
        alias: String,
        version: String,
    }
    /// The version that an alias is to stand for.
    AliasWish {
        #[schemars(default)]
        version: Option<String>,
    }
    /// Whether what apps mount is deleted all the same.
    DeleteWish {
        #[schemars(default)]
        force: Option<bool>,
    }
    /// An app's aliases and frozen versions.
    AliasList {
        aliases: std::collections::BTreeMap<String, String>,
        frozen: Vec<String>,
    }
    /// Whether a version can be changed.
    FrozenDocument {
        project_id: String,
        app_name: String,
        version: String,
        frozen: bool,
    }
    /// Deleted models.
    TrashList {
        items: Vec<serde_json::Value>,
        #[schemars(rename = "keptSeconds")]
        kept_seconds: u64,
    }
    /// Models that are fetched from elsewhere.
    PullDocument {
        id: u64,
        from: String,
        r#as: String,
        /// `waiting`, `running`, `done`, `failed` or `cancelled`.
        phase: String,
        error: Option<String>,
        files: u64,
        #[schemars(rename = "filesDone")]
        files_done: u64,
        size: Option<u64>,
        bytes: u64,
        #[schemars(rename = "startedAt")]
        started_at: Time,
        #[schemars(rename = "finishedAt")]
        finished_at: Option<Time>,
    }
    /// All of these.
    PullList {
        items: Vec<PullDocument>,
    }
    /// What was swept.
    SweptDocument {
        #[schemars(rename = "dryRun")]
        dry_run: bool,
        trashed: u64,
        blobs: u64,
        bytes: u64,
        #[schemars(rename = "historyBytes")]
        history_bytes: u64,
    }
}

pub(super) fn containers() -> Vec<Operation> {
    let done = |method, path, id, what| {
        op((method, path), (TAG, id), what)
            .says("A container of Berth goes through its app; another one is acted on directly.")
            .json::<MessageDocument>(200, "It is so.")
            .problems(&[404, 409, 504])
    };
    vec![
        op(("GET", "/containers"), (TAG, "listContainers"), "All containers of the host")
            .json::<Vec<ContainerInfo>>(200, "The containers."),
        op(("GET", "/containers/running"), (TAG, "listRunning"), "Those that run").json::<Vec<
            ContainerInfo,
        >>(
            200,
            "The containers.",
        ),
        op(
            ("POST", "/containers/create"),
            (TAG, "createContainer"),
            "Make an app of an image, and wait until it runs",
        )
        .takes::<ContainerWish>("application/json")
        .or_nothing()
        .json::<ContainerInfo>(200, "It is there.")
        .problems(&[404, 408, 409, 413, 415, 422, 503, 504]),
        op(("GET", "/containers/{id}"), (TAG, "readContainer"), "One container")
            .json::<ContainerInfo>(200, "The container.")
            .problems(&[404, 409]),
        done("DELETE", "/containers/{id}", "removeContainer", "Remove a container")
            .query::<leaving::Query>(),
        done("POST", "/containers/{id}/start", "startContainer", "Start a container"),
        done("POST", "/containers/{id}/stop", "stopContainer", "Stop a container"),
        op(("GET", "/containers/{id}/stats"), (TAG, "readContainerStats"), "What a container uses")
            .json::<ContainerStats>(200, "The figures.")
            .problems(&[404, 409]),
        op(("GET", "/system/stats"), (TAG, "readSystemStats"), "What the host uses")
            .json::<SystemStats>(200, "The figures."),
        op(("GET", "/ports"), (TAG, "readPorts"), "The ports that are used")
            .json::<UsedPorts>(200, "The ports."),
        op(("GET", "/api/v1/ports"), ("host", "listPorts"), "The host ports, and who has them")
            .json::<PortList>(200, "The ports.")
            .problems(&[503]),
    ]
}

pub(super) fn models() -> Vec<Operation> {
    const MODEL: &str = "/models/{project}/{app}/{version}/{model}";
    let list = |path, id, what| {
        op(("GET", path), (MODELS, id), what)
            .query::<ModelQuery>()
            .json::<ModelList>(200, "The models; none when there are none.")
    };
    let put = op(("PUT", MODEL), (MODELS, "putModel"), "Store a file as it is sent")
        .takes::<String>("application/octet-stream")
        .json::<ModelDone>(201, "It is on the disk.");
    let form = op(("POST", "/models/upload"), (MODELS, "uploadModel"), "Store a file of a form")
        .query::<UploadQuery>()
        .takes::<ModelForm>("multipart/form-data")
        .json::<ModelDone>(201, "It is on the disk.");
    let stored = [408, 409, 412, 413, 415, 422, 503, 507];
    vec![
        form.problems(&stored),
        list("/models/list", "listModels", "All models"),
        list("/models/{project}", "listProject", "The models of a project"),
        list("/models/{project}/{app}", "listModelsOfApp", "The models of an app"),
        list("/models/{project}/{app}/{version}", "listVersion", "The models of a version"),
        op(("GET", MODEL), (MODELS, "downloadModel"), "The file")
            .header("Range", "Parts of it.")
            .query::<ResolveQuery>()
            .text(200, "application/octet-stream", "The file.")
            .text(206, "application/octet-stream", "Parts of it.")
            .tagged()
            .problems(&[403, 404, 410, 412, 416, 422, 503]),
        op(("GET", "/blobs/{digest}"), (MODELS, "readContent"), "A content by its digest")
            .says("`sha256:` and 64 hexadecimal digits. `HEAD` says whether the store has it.")
            .header("Range", "Parts of it.")
            .query::<ContentQuery>()
            .text(200, "application/octet-stream", "The content.")
            .text(206, "application/octet-stream", "Parts of it.")
            .tagged()
            .problems(&[400, 403, 404, 410, 412, 416, 503]),
        put.problems(&stored),
        op(("POST", MODEL), (MODELS, "freezeVersion"), "Freeze a version, or unfreeze it")
            .says("The last part of the path is `freeze` or `unfreeze`.")
            .json::<FrozenDocument>(200, "It is so.")
            .problems(&[404, 405, 422, 507]),
        op(("DELETE", MODEL), (MODELS, "deleteModel"), "Put a model into the trash")
            .query::<DeleteWish>()
            .json::<ModelDone>(200, "It is there.")
            .problems(&[404, 409, 412, 422, 507]),
        op(
            ("GET", "/models/{project}/{app}/{version}/{model}/info"),
            (MODELS, "readModel"),
            "One model",
        )
        .query::<ResolveQuery>()
        .json::<ModelDocument>(200, "The model.")
        .problems(&[404, 422]),
    ]
}

pub(super) fn uploads() -> Vec<Operation> {
    const ONE: &str = "/uploads/{id}";
    let part = |op: Operation| {
        op.header("Tus-Resumable", "`1.0.0`, where the client speaks tus.")
            .header("Upload-Complete", "`?0` or `?1`, where it speaks the IETF's draft.")
            .header("Upload-Length", "How long the whole will be.")
            .header("Upload-Checksum", "Of this part: `sha1`, `md5` or `sha256`, and it in base64.")
    };
    // Asking how far it is makes the model of an upload that a kill or a full disk left whole.
    let publish = [404, 409, 412, 413, 415, 422, 423, 503, 507];
    let list = op(("GET", "/uploads"), (MODELS, "listUploads"), "Uploads that may go on")
        .json::<UploadList>(200, "Those of the projects that one may see.");
    let begin = op(("POST", "/uploads"), (MODELS, "beginUpload"), "Begin an upload")
        .says("With `Upload-Concat: final;…`, parts are put together, and are a model then.")
        .header("Upload-Concat", "Of tus: `partial`, or `final;` and the addresses of the parts.")
        .query::<UploadQuery>()
        .takes::<String>("application/offset+octet-stream")
        .takes::<String>("application/octet-stream")
        .or_nothing()
        .json::<ModelDone>(
            201,
            "It is begun; `Location` says where it goes on. Or all is there, and is a model.",
        );
    let look = op(("GET", ONE), (MODELS, "readUpload"), "How far an upload is")
        .says("`HEAD` says the same in its headers, and waits until no other request adds to it.")
        .json::<UploadDocument>(200, "The upload.")
        .problems(&publish);
    let add = op(("PATCH", ONE), (MODELS, "addToUpload"), "Add a part")
        .header("Upload-Offset", "Where it begins: where the upload ends.")
        .takes::<String>("application/offset+octet-stream")
        .takes::<String>("application/partial-upload")
        .or_nothing()
        .json::<ModelDone>(201, "All is there, and is a model.")
        .empty(204, "The part is on the disk.")
        .problems(&[403]);
    let end = op(("DELETE", ONE), (MODELS, "endUpload"), "Give an upload up")
        .empty(204, "It is gone.")
        .problems(&[404, 412, 423, 507]);
    let refused = |op: Operation| part(op).problems(&publish).problems(&[408, 460]);
    vec![list, refused(begin), look, refused(add), end]
}

pub(super) fn aliases() -> Vec<Operation> {
    const ALIAS: &str = "/models/{project}/{app}/aliases/{alias}";
    vec![
        op(
            ("GET", "/models/{project}/{app}/aliases"),
            (MODELS, "listAliases"),
            "An app's aliases and frozen versions",
        )
        .json::<AliasList>(200, "The aliases."),
        op(("GET", ALIAS), (MODELS, "readAlias"), "What an alias stands for")
            .json::<AliasDocument>(200, "The alias.")
            .problems(&[404]),
        op(("PUT", ALIAS), (MODELS, "setAlias"), "Have an alias stand for a version")
            .query::<AliasWish>()
            .takes::<AliasWish>("application/json")
            .or_nothing()
            .json::<AliasDocument>(200, "It does.")
            .problems(&[404, 409, 413, 422, 507]),
        op(("DELETE", ALIAS), (MODELS, "removeAlias"), "Remove an alias")
            .json::<AliasDocument>(200, "It is gone.")
            .problems(&[404, 409, 422, 507]),
        op(("GET", "/api/v1/models/trash"), (MODELS, "listTrash"), "Deleted models")
            .json::<TrashList>(200, "Those that can be brought back."),
        op(
            ("POST", "/api/v1/models/trash/{id}/restore"),
            (MODELS, "restoreModel"),
            "Bring a deleted model back",
        )
        .json::<ModelDocument>(200, "It is back.")
        .problems(&[404, 409, 507]),
        op(
            ("POST", "/api/v1/models/gc"),
            (MODELS, "sweepModels"),
            "Remove what no model has any more",
        )
        .query::<crate::server::models::SweepWish>()
        .json::<SweptDocument>(200, "What was freed.")
        .problems(&[507]),
        op(("GET", "/api/v1/models/health"), (MODELS, "readStore"), "How the store stands")
            .json::<StoreHealth>(200, "What waits, what was read again, what is in quarantine."),
        op(
            ("GET", "/api/v1/models/inspections/{project}/{app}/{version}/{model}"),
            (MODELS, "readInspection"),
            "What is inside a model",
        )
        .json::<InspectionDocument>(200, "All that is known.")
        .problems(&[404]),
        op(
            ("POST", "/api/v1/models/verify/{project}/{app}/{version}/{model}"),
            (MODELS, "verifyModel"),
            "Read the content of a model again",
        )
        .json::<VerifiedDocument>(200, "What was found.")
        .problems(&[404, 507]),
        op(("POST", "/api/v1/models/pull"), (MODELS, "pullModels"), "Fetch models from elsewhere")
            .takes::<Pull>("application/json")
            .json::<PullDocument>(202, "It is under way.")
            .problems(&[413, 422])
            .once(),
        op(("GET", "/api/v1/models/pulls"), (MODELS, "listPulls"), "How what is fetched stands")
            .json::<PullList>(200, "Those that are under way, and the last that are over."),
    ]
}
