//! The two sides that a plan compares: what is wanted, and what was seen.
//!
//! Pure data. A thing that could not be looked at is said to be unknown; nothing here is ever
//! guessed to be absent.

mod around;
mod cache;
mod desired;
mod devices;
mod facts;
mod gpu;
mod lease;
mod observed;
mod ownership;
mod policy;
mod resolved;
mod rest;
mod revision;
mod scan;
mod secret;
mod stored;

pub use around::{Around, Network, Volume};
pub use cache::CacheRecord;
pub use desired::{Desired, Hold, Want};
pub use devices::{GpuDevices, GpuLoss};
pub use facts::{FileFacts, Framework, Node, Project};
pub use gpu::{
    Gpu, GpuError, GpuErrors, GpuHealth, GpuHold, GpuLink, GpuMemory, GpuPart, GpuPlacement,
    GpuProcess, GpuProfile, GpuTelemetry, GpuWays, Inventory, SeenDriver, gpus_of_labels,
};
pub use lease::{GpuLease, Leases};
pub use observed::{
    Ahead, AppState, BadRevision, BaseImage, Checkout, Container, ContainerId, ContainerState,
    Detail, DetectedFile, Failure, HealthSeen, HostPort, Leftover, Life, OwnImage, Placement,
    PlacementProblem, Proof, Request, RunningWork, WorkKind, World,
};
pub use ownership::{
    Owner, Ownership, container_name, is_proof_name, owner_of, ports_label, ports_of_label,
    proof_label, proof_name, proof_of,
};
pub use policy::Policy;
pub use resolved::Resolved;
pub use rest::Rest;
pub use revision::{Asked, Obstacle, Pin, REVISIONS_MAX, Revision, RevisionOutcome};
pub use scan::{ScanSeen, Scans};
pub use secret::SecretSeen;
pub use stored::{ModelSeen, models_label, models_of};
