//! The documents that Berth answers with, as far as they are not types of their own: their schemas.
//! Live answers are held against them by a test, field by field.

#![expect(
    dead_code,
    clippy::struct_field_names,
    reason = "only their schemas are used, and their fields are named as in the documents"
)]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use crate::usage::AppUsage;

/// A spec in the manifest's words; the manifest's schema says which.
pub(super) struct SpecDocument;

impl JsonSchema for SpecDocument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SpecDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "$ref": "#/components/schemas/Spec" })
    }
}

macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(JsonSchema)]
        #[schemars(rename_all = "camelCase", deny_unknown_fields)]
        pub(super) struct $name { $($(#[$field_about])* $field: $kind,)* }
    )*};
}
pub(super) use documents;

/// A time, as RFC 3339 says it.
pub(super) struct Time;

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// What went wrong (RFC 9457).
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub(super) struct ProblemDocument {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    detail: String,
    /// What programs look at.
    code: String,
    /// Each mistake of a manifest or form.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<DiagnosticDocument>>,
    /// The text to commit where the manifests come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// The tag of what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// The revisions that one can go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    revisions: Option<Vec<u64>>,
}

documents! {
    /// A remark about a manifest or a form.
    DiagnosticDocument {
        #[schemars(extend("enum" = ["error", "warning"]))]
        severity: String,
        code: String,
        path: String,
        message: String,
        help: Option<String>,
        file: String,
        line: u32,
        column: u32,
        /// The form's field.
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    }

    /// All apps, or a page of them.
    AppList {
        api_version: String,
        kind: String,
        metadata: ListMetadata,
        source: SourceDocument,
        engine: EngineDocument,
        /// That of the interface; null without TLS.
        certificate: Option<CertificateDocument>,
        items: Vec<AppDocument>,
    }

    CertificateDocument {
        expires_at: Time,
        sha256: String,
        names: Vec<String>,
        warning: Option<String>,
    }

    ListMetadata {
        revision: u64,
        /// The cursor of the next page.
        #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    }

    /// How the manifests' source stands.
    SourceDocument {
        path: String,
        error: Option<String>,
        read_at: Option<Time>,
        sources: Vec<SourcePart>,
        hold: Option<HoldDocument>,
        diagnostics: Vec<DiagnosticDocument>,
    }

    SourcePart { name: String, commit: Option<String>, error: Option<String>, }

    /// Why removals are held back.
    HoldDocument { message: String, apps: Vec<String>, }

    /// How the engine stands.
    EngineDocument {
        reachable: bool,
        version: Option<String>,
        api_version: Option<String>,
        error: Option<String>,
        /// Published ways out of containers that it is known for.
        warning: Option<String>,
    }

    /// An app.
    AppDocument {
        api_version: String,
        kind: String,
        metadata: AppMetadata,
        spec: Option<SpecDocument>,
        status: AppStatus,
    }

    AppMetadata {
        name: String,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        generation: u64,
        revision: u64,
        origin: Option<OriginDocument>,
    }

    /// Where the manifest is.
    OriginDocument { file: String, line: u32, }

    /// How an app stands.
    AppStatus {
        #[schemars(extend("enum" = ["Uninstalled", "Installing", "Installed", "Running", "Degraded", "Failed", "Paused", "Unknown"]))]
        phase: String,
        reason: String,
        message: String,
        url: Option<String>,
        conditions: Vec<ConditionDocument>,
        observed_generation: u64,
        revision: Option<String>,
        commit: Option<String>,
        /// How many commits its source had, when it was looked at last, that what runs lacks; not
        /// there where nobody can tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        commits_behind: Option<u32>,
        /// There are more than were counted.
        #[serde(skip_serializing_if = "Option::is_none")]
        commits_behind_is_minimum: Option<bool>,
        image: Option<String>,
        image_digest: Option<String>,
        container_id: Option<String>,
        ports: Vec<PortDocument>,
        gpus: Vec<String>,
        gpu_way: Option<Value>,
        models: Vec<MountedDocument>,
        restarts: u64,
        since: Time,
        rollout: Option<RolloutDocument>,
        plan: PlanSummary,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<AppUsage>,
    }

    ConditionDocument {
        #[serde(rename = "type")]
        kind: String,
        #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
        status: String,
        reason: String,
        message: String,
        last_transition_time: Time,
    }

    PortDocument { host_ip: String, host_port: u16, container_port: u16, protocol: String, }

    /// A stored model that is mounted.
    MountedDocument {
        path: String,
        model: String,
        version: String,
        file: Option<String>,
        sha256: String,
    }

    /// The last rollout.
    RolloutDocument {
        revision: u64,
        started: Option<Time>,
        finished: Option<Time>,
        downtime_ms: Option<u64>,
        order: Option<String>,
        by: String,
        result: String,
        message: Option<String>,
        held: Option<HeldDocument>,
    }

    HeldDocument { revision: u64, since: Time, message: String, }

    RevisionList {
        api_version: String,
        kind: String,
        app: String,
        held: Option<HeldDocument>,
        items: Vec<RevisionDocument>,
    }

    RevisionDocument {
        revision: u64,
        generation: u64,
        spec_hash: String,
        image: String,
        image_id: String,
        image_present: bool,
        commit: Option<String>,
        by: String,
        again: Option<u64>,
        order: Option<String>,
        started: Option<Time>,
        finished: Option<Time>,
        result: String,
        reason: Option<String>,
        message: Option<String>,
        downtime_ms: Option<u64>,
        held: bool,
    }

    PlanSummary {
        verb: String,
        has_differences: bool,
        steps: u64,
        waits: Vec<WaitDocument>,
        refusals: Vec<RefusalDocument>,
    }

    /// What the next pass would do, and why.
    PlanDocument {
        app: String,
        /// What the plan is called: equal plans have equal names.
        id: String,
        #[schemars(extend("enum" = ["nothing", "create", "replace", "start", "stop", "restart", "restore", "remove", "refresh", "tidy"]))]
        verb: String,
        has_differences: bool,
        changes: Vec<ChangeDocument>,
        steps: Vec<StepDocument>,
        then: Vec<String>,
        waits: Vec<WaitDocument>,
        refusals: Vec<RefusalDocument>,
        wanted: Option<String>,
        held: Option<String>,
        /// The same as text.
        text: String,
    }

    ChangeDocument { field: String, from: String, to: String, }
    StepDocument { action: String, cause: String, }
    WaitDocument { reason: String, message: String, until: Option<Time>, }
    RefusalDocument { reason: String, message: String, }

    /// Whether this machine is fit for Berth.
    HostDocument {
        #[schemars(extend("enum" = ["skipped", "good", "warning", "error"]))]
        outcome: String,
        at: String,
        checks: Vec<CheckDocument>,
    }

    /// A check: what was seen, and what to do.
    CheckDocument {
        #[schemars(extend("enum" = ["host", "docker", "gpu", "network", "state", "controller", "certificates"]))]
        group: String,
        name: String, code: String,
        #[schemars(extend("enum" = ["skipped", "good", "warning", "error"]))]
        outcome: String,
        evidence: String, fix: String, hint: String,
    }

    /// The plans of all apps.
    PlanList { id: String, has_differences: bool, items: Vec<PlanDocument>, }

    /// What would come of a change.
    DryRun {
        dry_run: bool,
        message: String,
        has_differences: bool,
        items: Vec<PlanDocument>,
        #[serde(skip_serializing_if = "Option::is_none")] name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] file: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] result: Option<String>,
        /// What the change is called: give it back as `expectPlan`.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The spec with all defaults, as it is now and as it would be.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Map<String, Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Map<String, Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        warnings: Option<Vec<DiagnosticDocument>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Map<String, Value>>,
        /// Of the model store: what it is about, and the apps that have to do with it.
        #[serde(skip_serializing_if = "Option::is_none")] model: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] size: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] sha256: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] is_known: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")] replaces: Option<Map<String, Value>>,
        #[serde(skip_serializing_if = "Option::is_none")] was: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] becomes: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] frozen: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")] offset: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] length: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] apps: Option<Vec<String>>,
    }

    /// What was written.
    Written {
        name: String,
        file: String,
        #[schemars(extend("enum" = ["created", "replaced", "unchanged", "removed"]))]
        result: String,
        message: String,
        warnings: Vec<DiagnosticDocument>,
    }

    /// It is on its way.
    Accepted {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<AcceptedMetadata>,
    }

    AcceptedMetadata {
        /// The record's revision before it was asked for: what comes of it is written after that.
        revision: u64,
    }

    /// What a webhook led to.
    Queued {
        #[serde(skip_serializing_if = "Option::is_none")]
        queued: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sources: Option<Vec<String>>,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        dry_run: Option<bool>,
    }

    EventList { items: Vec<EventDocument>, }

    EventDocument {
        id: u64,
        at: Time,
        app: Option<String>,
        #[serde(rename = "type")]
        #[schemars(extend("enum" = ["Normal", "Warning"]))]
        kind: String,
        reason: String,
        message: String,
    }

    /// Who changed what.
    AuditList { items: Vec<AuditDocument>, next: Option<u64>, }

    AuditDocument {
        seq: u64,
        at: Time,
        who: WhoDocument,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        action: String,
        object: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Value>,
        outcome: String,
        prev: String,
        hash: String,
    }

    WhoDocument {
        kind: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
    }

    Root { message: String, service: String, version: String, endpoints: Vec<String>, }

    HealthDocument {
        status: String,
        #[schemars(extend("enum" = ["healthy", "unhealthy"]))]
        docker: String,
        timestamp: f64,
        time: Time,
        #[serde(rename = "storage_path")]
        storage_path: String,
        version: String,
    }

    Verdict { status: String, reasons: Vec<String>, }

    /// A target of Prometheus.
    Target { targets: Vec<String>, labels: TargetLabels, }

    TargetLabels {
        app: String,
        #[serde(rename = "__metrics_path__")]
        path: String,
        #[serde(rename = "__meta_berth_phase")]
        phase: String,
        #[serde(rename = "__meta_berth_ready")]
        ready: String,
        #[serde(rename = "__meta_berth_container")]
        container: String,
    }

    /// What an app used in the last hour.
    UsageDocument {
        api_version: String,
        kind: String,
        metadata: UsageMetadata,
        units: BTreeMap<String, String>,
        asked: Option<AskedDocument>,
        now: Option<AppUsage>,
        step: u64,
        from: Time,
        series: BTreeMap<String, Vec<Option<f64>>>,
    }

    UsageMetadata { name: String, }

    AskedDocument {
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        memory: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gpus: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gpu_memory: Option<u64>,
    }

    /// What is asked for, what is used and what there is.
    CapacityDocument {
        api_version: String,
        kind: String,
        host: crate::usage::HostUsage,
        disk: Option<crate::usage::Trend>,
        gpus: Vec<CardCapacity>,
        asked: AskedOfAll,
        used: AppUsage,
        apps: Vec<AppCapacity>,
        /// Known ways out of containers that the engine's parts have.
        known_escapes: Vec<Map<String, Value>>,
    }

    CardCapacity {
        uuid: String,
        index: u32,
        name: String,
        memory: CardMemory,
        utilization: Option<u32>,
        /// How many asked for it and have it, or a part of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        shares: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_alone: Option<bool>,
    }

    CardMemory {
        total: u64,
        reserved: u64,
        used: u64,
        /// What is promised of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<u64>,
    }

    AskedOfAll {
        cpu: f64,
        memory: u64,
        gpus: u64,
        gpu_memory: u64,
        without_cpu: u64,
        without_memory: u64,
    }

    AppCapacity {
        name: String,
        phase: String,
        asked: Option<AskedDocument>,
        used: Option<AppUsage>,
    }
}

/// The GPUs, and who holds and awaits which.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub(super) struct GpuList {
    gpus: Vec<Map<String, Value>>,
    queue: Vec<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// GPUs that a program outside has for a time.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub(super) struct LeaseDocument {
    id: String,
    fence: u64,
    devices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquired_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
}

/// All leases.
#[derive(JsonSchema)]
pub(super) struct LeaseList {
    items: Vec<LeaseDocument>,
}

/// Any JSON object.
#[derive(JsonSchema)]
#[schemars(transparent, inline)]
pub(super) struct Anything(Map<String, Value>);
