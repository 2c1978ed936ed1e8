//! Secrets, as far as a plan may know them.

/// How a secret of an app stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSeen {
    /// It is there, and this is the seal of its value.
    Sealed(String),
    /// It can't be had: why, and what to do.
    Missing(String),
}
