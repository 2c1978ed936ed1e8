//! Revisions: the versions of an app that were rolled out, as they are remembered.

use serde::{Deserialize, Serialize};

use crate::model::{Digest, RolloutOrder, RunSpec, SpecHash, Timestamp};

/// How many revisions of an app are remembered.
pub const REVISIONS_MAX: usize = 10;

/// One rollout of one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its number, one more with each rollout.
    pub number: u64,
    /// The generation of the manifest.
    pub generation: u64,
    /// The digest of the manifest's spec; empty when it is not known.
    pub spec_digest: String,
    /// Its shape.
    pub spec_hash: SpecHash,
    /// Its image: a reference.
    pub image: String,
    /// The id of that image.
    pub image_id: String,
    /// What the image was built from.
    pub build: Option<Digest>,
    /// The commit.
    pub commit: Option<String>,
    /// How it ran; none when only its image is known.
    pub run: Option<RunSpec>,
    /// Who or what asked for it.
    pub by: Asked,
    /// The earlier revision that it is again.
    pub again: Option<u64>,
    /// Which of the two versions came first; none while there was one only.
    pub order: Option<RolloutOrder>,
    /// When it began.
    pub started: Timestamp,
    /// Whether a version ran when it began; none when nobody saw.
    pub replaces_running: Option<bool>,
    /// Since when no version ran, as far as it was seen.
    pub down_since: Option<Timestamp>,
    /// When it was decided.
    pub finished: Option<Timestamp>,
    /// What came of it.
    pub outcome: RevisionOutcome,
    /// Why it failed, in one word.
    pub reason: Option<String>,
    /// Why it failed, in a sentence.
    pub message: Option<String>,
    /// For how long no version answered, in milliseconds; none when that is not known.
    pub downtime_ms: Option<u64>,
}

/// Who or what asked for a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// The manifest was written or changed.
    Manifest,
    /// There was a newer commit.
    Commit,
    /// Somebody asked for a build from scratch, or a base image moved.
    Rebuild,
    /// Somebody went back to an earlier revision.
    Undo,
    /// Somebody had a version that had failed tried again.
    Retry,
    /// The operator changed a setting, or a host port moved.
    Operator,
    /// Nobody knows: the record was lost and made anew from what was there.
    Found,
}

/// What came of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevisionOutcome {
    /// It is on its way.
    Progressing,
    /// It proved good.
    Succeeded,
    /// It failed.
    Failed,
    /// It failed, and the version before runs again.
    Restored,
    /// Something else was wanted before it was decided.
    Superseded,
    /// Nobody knows: the record was lost.
    Unknown,
}

impl RevisionOutcome {
    /// The outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Progressing => "progressing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Restored => "restored",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
        }
    }
}

impl Revision {
    /// Whether one may go back to it without being told its number.
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, RevisionOutcome::Succeeded | RevisionOutcome::Unknown)
    }

    /// Whether it is on its way.
    pub fn is_going(&self) -> bool {
        self.outcome == RevisionOutcome::Progressing
    }
}

/// An earlier revision that an app is held at, until its manifest or its wanted commit changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The revision.
    pub revision: u64,
    /// Its image: a reference.
    pub image: String,
    /// The id of that image.
    pub image_id: String,
    /// What the image was built from.
    pub build: Option<Digest>,
    /// The commit that it runs.
    pub commit: Option<String>,
    /// How it runs; none is as the manifest says.
    pub run: Option<RunSpec>,
    /// The digest of the manifest's spec that was undone.
    pub undone_spec: String,
    /// The commit that was undone.
    pub undone_commit: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Pin {
    /// The pin as a sentence.
    pub fn message(&self) -> String {
        format!(
            "held at revision {} by `berth rollout undo`; a change of the manifest or a new commit ends it",
            self.revision
        )
    }
}

/// Something that speaks against starting a new version now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What, in one word.
    pub reason: crate::model::Reason,
    /// What, in a sentence that says what to do.
    pub message: String,
}
