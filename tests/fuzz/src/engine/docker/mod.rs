//! What Docker Engine lists and inspects.

#[path = "../../../../../src/engine/docker/observe.rs"]
mod observe;

use std::collections::BTreeMap;

use super::Error;
use crate::state::{Detail, World};

mod transport {
    use super::Error;

    pub(super) fn decode<'a, T: serde::Deserialize<'a>>(
        call: &'static str,
        body: &'a [u8],
    ) -> Result<T, Error> {
        let broken = |error: serde_json::Error| Error::Broken { call, message: error.to_string() };
        serde_json::from_slice(body).map_err(broken)
    }
}

pub(crate) fn world(instance: &str, containers: &[u8], images: &[u8]) -> Result<World, Error> {
    observe::world(instance, containers, images)
}

pub(crate) fn detail(body: &[u8]) -> Result<Detail, Error> {
    observe::detail(body)
}

pub(crate) fn has_terminal(body: &[u8]) -> Result<bool, Error> {
    observe::has_terminal(body)
}

pub(crate) fn image(body: &[u8]) -> Result<(String, BTreeMap<String, String>), Error> {
    observe::image(body)
}
