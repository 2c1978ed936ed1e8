//! Further figures for `/metrics`.

/// Something that has figures to show.
pub trait Exposed: Send + Sync {
    /// Appends its families, in Prometheus' text format 0.0.4.
    fn write(&self, out: &mut String);
}
