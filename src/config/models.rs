//! The options of the model store.

use std::time::Duration;

use super::Reader;
use crate::model::{parse_bytes, parse_duration};
use crate::store::Immutable;

/// How models are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// How large one file may be.
    pub file_max: Option<u64>,
    /// How much a project may have.
    pub project_max: Option<u64>,
    /// How long what was deleted can be brought back.
    pub trash_ttl: Duration,
    /// Which versions may not be changed.
    pub immutable: Immutable,
}

impl Reader {
    pub(super) fn models(&mut self) -> Option<Models> {
        let file_max = self.list("model-max-file", size);
        let project_max = self.list("model-quota", size);
        let trash_ttl =
            self.one("model-trash", |text| parse_duration(text).map_err(|error| error.to_string()));
        let immutable = self.one("model-immutable", immutable);
        Some(Models {
            file_max: file_max?.into_iter().next_back(),
            project_max: project_max?.into_iter().next_back(),
            trash_ttl: trash_ttl?,
            immutable: immutable?,
        })
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

fn immutable(text: &str) -> Result<Immutable, String> {
    match text {
        "off" => Ok(Immutable::Off),
        "versions" => Ok(Immutable::Versions),
        "semver-releases" => Ok(Immutable::Releases),
        _ => Err("write `off`, `versions` or `semver-releases`".to_owned()),
    }
}
