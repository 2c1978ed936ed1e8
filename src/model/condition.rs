//! Conditions, their reasons, and phases: the words in which a status is said.

use std::fmt;

use serde::Serialize;

use super::time::Timestamp;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ConditionType {
    /// The manifest was read and is valid.
    Accepted,
    /// The source is there at the wanted revision.
    SourceReady,
    /// The image is there.
    ImageReady,
    /// A container of the wanted shape runs.
    Available,
    /// The health check passes (or none is wanted and the container runs).
    Ready,
    /// Something is on its way.
    Progressing,
    /// No vulnerability that the operator wants to hear of is known in the image.
    ScanPassed,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell at present.
    Unknown,
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, as a sentence a person can act on.
    pub message: String,
    /// Since when `status` is what it is.
    pub last_transition: Timestamp,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $slug:literal,)*) => {
        /// Why something is as it is: one word, in capitals and small letters in a status, a slug in an error.
        ///
        /// The same word is the metric's label, so the set is closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason as an error code, such as `port.taken`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }
        }
    };
}

reasons! {
    /// All is as wanted.
    AsWanted => "ok",
    /// The manifest is valid.
    Valid => "manifest.valid",
    /// The manifest has mistakes.
    InvalidManifest => "manifest.invalid",
    /// Two files define the app.
    DuplicateName => "manifest.duplicate-name",
    /// The manifest folder can't be read, so nothing is known about what is wanted.
    SourceUnreadable => "source.unreadable",
    /// Many apps vanished at once; a person must confirm.
    RemovalHeld => "source.removal-held",
    /// The app left the manifests and is being removed.
    Removing => "app.removing",
    /// The app is stopped because somebody asked for it.
    Paused => "app.paused",
    /// The manifest says `suspend: true`.
    Suspended => "app.suspended",
    /// The repository is being cloned or fetched.
    Fetching => "git.fetching",
    /// The repository could not be fetched.
    FetchFailed => "git.fetch-failed",
    /// The host of the repository can't be reached.
    GitUnreachable => "git.unreachable",
    /// The repository refused us.
    GitAuth => "git.auth",
    /// The host of the repository is not known to be who it says.
    GitHostKey => "git.host-key",
    /// The branch, tag or commit does not exist.
    RefNotFound => "git.ref-not-found",
    /// The branch or tag was removed from the repository; its last commit goes on running.
    RefMissing => "git.ref-missing",
    /// The tag names another commit than before; the one before goes on running.
    TagMoved => "git.tag-moved",
    /// The operator does not allow this kind of repository.
    SourceNotAllowed => "git.not-allowed",
    /// The folder named by `source.path` is not in the repository.
    PathNotFound => "git.path-not-found",
    /// The checkout is in place.
    Fetched => "git.fetched",
    /// Neither a Dockerfile nor a requirements file was found.
    NothingToBuild => "build.nothing-to-build",
    /// The base image is neither present nor to be had.
    BaseImageMissing => "build.base-missing",
    /// The base image and the project do not agree on a version of Python.
    PythonMissing => "build.python-missing",
    /// The GPUs' driver is too old for the CUDA version that the project asks for.
    DriverTooOld => "build.driver-too-old",
    /// The build asks for what only `BuildKit` has.
    BuildKitMissing => "build.buildkit-missing",
    /// A secret that the build should see can't be read.
    SecretMissing => "build.secret-missing",
    /// A secret that the app uses can't be had.
    SecretUnavailable => "secret.unavailable",
    /// A stored model that the app mounts is not there, or not whole yet.
    ModelMissing => "model.missing",
    /// A model is being fetched from elsewhere.
    ModelPulling => "model.pulling",
    /// A model was fetched from elsewhere.
    ModelPulled => "model.pulled",
    /// A model could not be fetched from elsewhere.
    ModelPullFailed => "model.pull-failed",
    /// The image is being looked through for known vulnerabilities.
    Scanning => "image.scanning",
    /// The image could not be looked through for known vulnerabilities.
    ScanFailed => "image.scan-failed",
    /// The image has known vulnerabilities.
    Vulnerable => "image.vulnerable",
    /// No vulnerability to tell of is known in the image.
    NothingKnown => "image.nothing-known",
    /// The image is being built.
    Building => "build.running",
    /// The build failed.
    BuildFailed => "build.failed",
    /// The engine's disk has too little room for the build.
    InsufficientDisk => "build.disk",
    /// The image is built or present.
    ImagePresent => "image.present",
    /// The image is being pulled.
    Pulling => "image.pulling",
    /// The image could not be pulled.
    PullFailed => "image.pull-failed",
    /// The wanted host port belongs to somebody else.
    PortTaken => "port.taken",
    /// No automatic host port is free.
    NoPortFree => "port.none-free",
    /// A container that is not ours has the name.
    NameConflict => "container.name-conflict",
    /// Another app must be ready first.
    WaitingForDependency => "app.waiting-for-dependency",
    /// The GPUs that it asks for are held by others; it is in the queue.
    WaitingForGpu => "gpu.waiting",
    /// No GPU of this host is what it asks for.
    NoSuchGpu => "gpu.none",
    /// The engine could not give it its GPUs.
    GpuFailed => "gpu.failed",
    /// The container can't reach its GPUs any more.
    GpuLost => "gpu.lost",
    /// The GPUs' driver is another one than when the container was made, or can't start a new one.
    GpuDriver => "gpu.driver",
    /// The container is being made or started.
    Starting => "container.starting",
    /// The container runs and its health check has not passed yet.
    Probing => "health.probing",
    /// The health check fails.
    Unhealthy => "health.failing",
    /// The health check never passed within its time.
    ProbeDeadline => "health.deadline",
    /// The container exits again and again.
    CrashLoop => "container.crash-loop",
    /// The container exited, and its restart policy leaves it so.
    Exited => "container.exited",
    /// The new version failed and the old one runs again.
    RolledBack => "rollout.rolled-back",
    /// The new version failed and there was no old one to go back to.
    RolloutFailed => "rollout.failed",
    /// The new version is healthy and must stay so for a while before the old one goes.
    Proving => "rollout.proving",
    /// The app is held at an earlier revision.
    Held => "rollout.held",
    /// An image that was there is gone.
    ImageGone => "image.gone",
    /// There is too little room on the disk for a new version.
    DiskFull => "disk.full",
    /// The container was paused by somebody else.
    ContainerPaused => "container.paused",
    /// The container runs and is healthy.
    Healthy => "health.passing",
    /// The container runs; no health check is wanted.
    RunningUnchecked => "health.none",
    /// The engine refused or failed a call.
    EngineError => "engine.error",
    /// The engine can't be reached; what runs is unknown and nothing is changed.
    EngineUnreachable => "engine.unreachable",
    /// The operator's policy does not allow it.
    NotAllowed => "policy.not-allowed",
    /// The container differs from what was asked for, and was made anew just now.
    Drift => "container.drift",
    /// The certificate of the interface expires soon, or has.
    CertificateExpiring => "tls.expiring",
    /// The files hold a certificate that can't be used; an older one is.
    CertificateRefused => "tls.refused",
    /// Another certificate is used from now on.
    CertificateChanged => "tls.changed",
    /// A model was stored.
    ModelStored => "model.stored",
    /// An alias stands for another version of a model.
    ModelAlias => "model.alias",
    /// A model was deleted.
    ModelDeleted => "model.deleted",
    /// It is known what is inside a model.
    ModelScanned => "model.scanned",
    /// A model has changed on the disk, and is in quarantine.
    ModelQuarantined => "model.quarantined",
    /// A backup was made.
    BackupMade => "backup.made",
    /// A backup was not made, or lacks something.
    BackupFailed => "backup.failed",
    /// Not looked at yet.
    Pending => "app.pending",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where an app stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Phase {
    /// Registered; nothing was built yet.
    Uninstalled,
    /// Being cloned, built or pulled.
    Installing,
    /// Built, not running.
    Installed,
    /// Observed to run and to be healthy.
    Running,
    /// Runs, but not as wanted.
    Degraded,
    /// Does not run, and will not without a change.
    Failed,
    /// Stopped on request.
    Paused,
    /// Nobody can tell: the engine does not answer.
    Unknown,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_slug_of_its_own() {
        let mut slugs: Vec<_> = Reason::ALL.iter().map(|reason| reason.slug()).collect();
        slugs.sort_unstable();
        let count = slugs.len();
        slugs.dedup();
        assert_eq!(count, slugs.len());
    }
}
