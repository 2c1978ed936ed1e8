//! What `/metrics` shows is written by its owners.

/// Something that has figures to show.
pub trait Exposed: Send + Sync {
    /// Writes its families in Prometheus' text format 0.0.4, each with HELP and TYPE. What is not
    /// known is not written.
    fn write(&self, out: &mut String);
}
