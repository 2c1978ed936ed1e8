//! The vocabulary: what an app is, and the words everything else is written in.
//!
//! Pure data. Nothing here waits, reads a clock or leaves the process.

mod access;
mod app;
mod codes;
mod condition;
mod gpu;
mod hash;
pub mod label;
mod name;
mod port;
mod quantity;
mod reference;
mod revision;
mod secret;
mod stored;
mod time;
mod version;

pub use access::{KEY_FILES, REMOTES_FILE, Remote, SSH_PORT, Services, SshAccess};
pub use app::{
    App, AppSpec, BuildSecret, BuildSpec, Command, GitSource, Health, HealthCheck, MetricsSpec,
    Mount, MountSource, Origin, PullPolicy, Resources, RestartPolicy, Rollout, RolloutOrder,
    Source, WorkspaceSpec,
};
pub use codes::{Code, code, codes, codes_page};
pub use condition::{Condition, ConditionStatus, ConditionType, Phase, Reason};
pub use gpu::{GpuAsk, GpuGiven, GpuGrant, GpuRoute, GpuShare, GpuVendor, GpuWay};
pub use hash::{Digest, SpecHash};
pub use name::{AppName, NameError};
pub use port::{Bind, PortBinding, PortRange, PortSpec, Protocol};
pub use quantity::{
    QuantityError, format_bytes, format_duration, parse_bytes, parse_duration, parse_millicpus,
};
pub use reference::{
    GitUrl, ImageRef, ReferenceError, check_git_ref, check_repository_path, check_secret_name,
};
pub use revision::{VersionRange, is_full_commit, is_short_commit, version};
pub use secret::{
    HUB_TOKEN, Profile, SECRET_VALUE, SECRET_VARIABLE, SecretDocs, SecretFrom, SecretRef,
    SecretSpec,
};
pub use stored::{ModelRef, ModelsSpec, MountedModel};
pub use time::Timestamp;
pub use version::RunSpec;
