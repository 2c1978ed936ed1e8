//! What a build is sent: the checkout, without what is ignored, and the files that Berth adds.

use std::{io, path::PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};

use crate::plan::{Dockerfile, Recipe};
use crate::workspace::context::{ContextLimits, ContextOptions, ExtraFile, stream};

/// Where a Dockerfile that Berth wrote lies within the context.
const GENERATED: &str = ".berth/Dockerfile";
/// Where the CA bundle lies within the context.
const CA_BUNDLE: &str = ".berth/ca.crt";

/// The Dockerfile's path within the context, and the context.
pub(super) fn of(
    recipe: &Recipe,
    code: PathBuf,
    ca_bundle: Option<&[u8]>,
) -> (String, BoxStream<'static, io::Result<Bytes>>) {
    let mut extra = Vec::new();
    let dockerfile = match &recipe.dockerfile {
        Dockerfile::InSource(path) => path.clone(),
        Dockerfile::Generated(text) => {
            extra.push(file(GENERATED, text.as_bytes()));
            GENERATED.to_owned()
        }
    };
    if recipe.ca_bundle.is_some() {
        extra.extend(ca_bundle.map(|bundle| file(CA_BUNDLE, bundle)));
    }
    let limits = ContextLimits::default();
    let options = ContextOptions { dockerfile: Some(dockerfile.clone()), extra, limits };
    (dockerfile, stream(code, options).boxed())
}

fn file(path: &str, bytes: &[u8]) -> ExtraFile {
    let bytes = Bytes::copy_from_slice(bytes);
    ExtraFile { path: path.to_owned(), bytes, is_executable: false }
}
