//! What a build is sent: of the checkout what the Dockerfile takes and nothing ignores, and the
//! files that Berth adds.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use crate::engine::{Engine, Wants};
use crate::plan::{Dockerfile, Recipe};
use crate::workspace::context::{
    ContextLimits, ContextOptions, ExtraFile, Size, hides, measure, stream,
};
use crate::workspace::dockerfile::{Needs, Sources, needs};
use crate::workspace::selection::Selection;

/// Where a Dockerfile that Berth wrote lies within the context.
const GENERATED: &str = ".berth/Dockerfile";
/// Where the CA bundle lies within the context.
const CA_BUNDLE: &str = ".berth/ca.crt";
/// The longest Dockerfile that is looked into.
const DOCKERFILE_BYTES_MAX: u64 = 1 << 20;

/// A build context that nobody reads yet.
pub(super) struct Context {
    /// The Dockerfile's path within it.
    pub(super) dockerfile: String,
    /// How much it is.
    pub(super) size: Size,
    /// What the Dockerfile asks of its builder.
    pub(super) wants: Wants,
    /// The images that it begins from, as far as that is known.
    pub(super) bases: Vec<String>,
    root: PathBuf,
    options: ContextOptions,
}

impl Context {
    /// Finds out what of the checkout `code` has to be sent.
    pub(super) async fn of(
        recipe: &Recipe,
        code: PathBuf,
        ca_bundle: Option<&[u8]>,
        limits: ContextLimits,
        engine: &dyn Engine,
    ) -> io::Result<Self> {
        let mut extra = Vec::new();
        let (dockerfile, text) = match &recipe.dockerfile {
            Dockerfile::InSource(path) => (path.clone(), None),
            Dockerfile::Generated(text) => {
                extra.push(file(GENERATED, text.as_bytes()));
                (GENERATED.to_owned(), Some(text.clone()))
            }
        };
        if recipe.ca_bundle.is_some() {
            extra.extend(ca_bundle.map(|bundle| file(CA_BUNDLE, bundle)));
        }
        let needs = blocking(|| text.or_else(|| read(&code, &dockerfile)).map(|text| needs(&text)));
        let sources = match &needs {
            Some(needs) => certain(needs, engine).await,
            None => None,
        };
        let bases = needs.as_ref().and_then(|needs| needs.bases.clone()).unwrap_or_default();
        let buildkit = needs.and_then(|needs| needs.buildkit);
        let kept = Some(dockerfile.clone());
        blocking(move || {
            let only = sources.and_then(|sources| Selection::new(&code, &sources));
            let classic = only.is_none() && hides(&code, kept.as_deref().unwrap_or_default());
            let options = ContextOptions { dockerfile: kept, extra, only, limits };
            let size = measure(&code, &options)?;
            let wants = Wants { buildkit, classic };
            Ok(Self { dockerfile, size, wants, bases, root: code, options })
        })
    }

    /// The context as a tar stream.
    pub(super) fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream(self.root, self.options).boxed()
    }
}

/// Does what reads the disk, in place: where threads are to be had another one goes on with the
/// other tasks, and where there is only one all happens in the same order every time.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => block_in_place(work),
    }
}

/// The only paths that are taken; none when that is not certain. The base images have their say.
async fn certain(needs: &Needs, engine: &dyn Engine) -> Option<Vec<String>> {
    let (Sources::Only(sources), Some(bases)) = (&needs.sources, &needs.bases) else { return None };
    for base in bases {
        if !matches!(engine.has_triggers(base).await, Ok(Some(false))) {
            return None;
        }
    }
    Some(sources.clone())
}

/// The repository's Dockerfile, when nothing but folders leads to it.
fn read(code: &Path, path: &str) -> Option<String> {
    Selection::new(code, &[path.to_owned()])?;
    let place = code.join(path);
    let found = std::fs::symlink_metadata(&place).ok()?;
    let is_fit = found.is_file() && found.len() <= DOCKERFILE_BYTES_MAX;
    is_fit.then(|| std::fs::read_to_string(place).ok()).flatten()
}

fn file(path: &str, bytes: &[u8]) -> ExtraFile {
    let bytes = Bytes::copy_from_slice(bytes);
    ExtraFile { path: path.to_owned(), bytes, is_executable: false }
}
