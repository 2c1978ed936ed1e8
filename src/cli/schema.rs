//! `berth schema`: the JSON Schema of manifests, for editors.

use super::{
    document,
    error::{Error, Exit},
    output::Output,
};
use crate::manifest;

pub(super) fn run(output: &mut Output) -> Result<Exit, Error> {
    document::write(output, &manifest::schema(), false)?;
    Ok(Exit::Done)
}
