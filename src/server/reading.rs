//! Manifest text as the interface needs it: which apps it names, and what is wrong with it.

use std::sync::Arc;

use crate::manifest::{Diagnostic, FileReading, Severity, read_file};
use crate::model::{App, AppName};

/// What a manifest says.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// The apps that it names, those with mistakes included.
    pub(super) names: Vec<AppName>,
    /// Those of them that have no mistakes.
    pub(super) apps: Vec<Arc<App>>,
    /// Its mistakes.
    pub(super) mistakes: Vec<Diagnostic>,
    /// What is usable, but not good.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads a manifest. `path` is what its diagnostics call it.
pub(super) fn read(path: &str, bytes: &[u8]) -> Reading {
    let FileReading { mentions, diagnostics, apps, .. } = read_file(path, bytes);
    let (mistakes, warnings) = diagnostics.into_iter().partition(Diagnostic::is_error);
    let names = mentions.into_iter().map(|mention| mention.name).collect();
    Reading { names, apps, mistakes, warnings }
}

/// The word for how bad a remark is.
pub(super) fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
