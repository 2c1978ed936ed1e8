//! `GET /metrics`: everything that Berth knows in figures, as one page.
//!
//! # Guarantees
//! - Nothing is asked of the engine: what was seen last is shown. A driver is asked at most once a
//!   second, and not waited for when it does not answer.
//! - The series of an app end with it; there are at most [`APPS_MAX`] apps' (fault H09).
//! - One page is made at a time, off the threads that serve.

mod apps;
mod gpus;
mod host;
mod scans;

use std::{io::Write as _, path::PathBuf, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};

use self::scans::Scans;
use super::{Shared, problem::Problem};
use crate::engine::escapes::Known;
use crate::gpu::Cards;
use crate::notice;
use crate::scan;
use crate::telemetry::{
    Exposed,
    dcgm::Names,
    exposition::{self, Format},
    process::{Process, host_name},
    text::{Family, whole},
};

/// Of so many apps at most, by name, the figures are shown one by one.
const APPS_MAX: usize = 2000;
/// What is shorter than this is sent as it is.
const GZIP_MIN: usize = 1024;

/// What is shown beside Berth's own figures.
pub struct Figures {
    /// The host's GPUs.
    pub cards: Arc<Cards>,
    /// What the series of the GPUs are called.
    pub gpu_names: Names,
    /// What else has figures to show.
    pub sources: Vec<Arc<dyn Exposed>>,
    /// The folders whose disks are watched, with what they are for.
    pub disks: Vec<(&'static str, PathBuf)>,
    /// Whether the engine's folders are folders of this machine.
    pub is_engine_local: bool,
    /// What this machine is called.
    pub host: String,
    /// The ways out of containers that the engine's versions are known for.
    pub escapes: Arc<Known>,
    /// What is known of vulnerabilities in images; none without a database.
    pub scans: Option<Arc<scan::Book>>,
    /// Who is told when something is wrong; none without targets.
    pub notices: Option<Arc<notice::Board>>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            cards: Arc::default(),
            gpu_names: Names::default(),
            sources: Vec::new(),
            disks: Vec::new(),
            is_engine_local: false,
            host: host_name(),
            escapes: Arc::default(),
            scans: None,
            notices: None,
        }
    }
}

impl Figures {
    /// With the ways out and the vulnerabilities that are known, as figures too.
    #[must_use]
    pub fn with(mut self, escapes: Arc<Known>, scans: Option<Arc<scan::Book>>) -> Self {
        self.sources.push(Arc::clone(&escapes) as Arc<dyn Exposed>);
        self.sources.extend(scans.clone().map(|book| Arc::new(Scans(book)) as Arc<dyn Exposed>));
        Self { escapes, scans, ..self }
    }

    /// With who is told when something is wrong, in figures too.
    #[must_use]
    pub fn telling(mut self, notices: Option<Arc<notice::Board>>) -> Self {
        self.sources.extend(notices.clone().map(|board| board as Arc<dyn Exposed>));
        Self { notices, ..self }
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = Format::accepted(&all(&headers, &header::ACCEPT));
    let is_packed = exposition::takes_gzip(&all(&headers, &header::ACCEPT_ENCODING));
    let mut about = shared.scraping.lock().await;
    // Who looks at all figures is shown what is new at once: containers of others, and cards.
    shared.parts.record.ask_figures(shared.parts.clock.now());
    shared.parts.figures.cards.ask().await;
    let made = {
        let (shared, about) = (Arc::clone(&shared), *about);
        let make = move || {
            let page = page(&shared, format, about);
            (page.len(), pack(page, is_packed))
        };
        tokio::task::spawn_blocking(make).await
    };
    let Ok((length, (body, is_packed))) = made else { return Problem::failed().into_response() };
    // The next one will be as long, give or take a little.
    *about = length + length / 16;
    let kind = HeaderValue::from_static(format.content_type());
    let vary = HeaderValue::from_static("accept, accept-encoding");
    let mut response = ([(header::CONTENT_TYPE, kind), (header::VARY, vary)], body).into_response();
    if is_packed {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    response
}

/// All values of a header, which may be there more than once.
fn all(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

fn pack(text: String, is_wanted: bool) -> (Vec<u8>, bool) {
    if !is_wanted || text.len() < GZIP_MIN {
        return (text.into_bytes(), false);
    }
    let mut packer = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    let packed = packer.write_all(text.as_bytes()).and_then(|()| packer.finish());
    match packed {
        Ok(packed) => (packed, true),
        Err(_) => (text.into_bytes(), false),
    }
}

/// The page. What repeats the record is set from it here, so it is never out of date.
fn page(shared: &Shared, format: Format, about: usize) -> String {
    let (parts, record) = (&shared.parts, &shared.parts.record);
    let overview = record.overview();
    let entries = record.entries();
    parts.metrics.apps(entries.iter().map(|entry| entry.status.phase));
    parts.metrics.engine_up(overview.is_engine_up());
    let mistakes = overview.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    parts.metrics.manifest_errors(mistakes.count());
    parts.metrics.removals_held(overview.hold.is_some());
    if let Some(at) = overview.source_read_at {
        parts.metrics.source_read(at);
    }
    let figures = &parts.figures;
    // Before the engine was asked nobody knows what is there.
    let world = overview.engine.is_some().then(|| record.world());
    let now = parts.clock.now();
    let apps = apps::Apps { entries: &entries, overview: &overview, now };
    let gpus = gpus::Gpus { figures, entries: &entries, world: world.as_deref() };
    let host = host::Host { figures, overview: &overview, world: world.as_deref() };
    let mut sources: Vec<&dyn Exposed> =
        vec![parts.metrics.as_ref(), &apps, &gpus, &host, &Process];
    sources.extend(figures.sources.iter().map(AsRef::as_ref));
    let (mut page, left_out) = exposition::page(&sources, format, about);
    if 0 < left_out {
        tracing::warn!(left_out, "families of figures left out: the page is full, or two clash");
        append(&mut page, format, |out| {
            let help = "Families that are not on this page: it is full, or two clash.";
            let mut family = Family::gauge(out, "berth_families_left_out", help);
            family.sample(&[], whole(left_out as u64));
        });
    }
    page
}

/// Adds what is known only once the page is there.
fn append(page: &mut String, format: Format, write: impl FnOnce(&mut String)) {
    let end = "# EOF\n";
    if format == Format::OpenMetrics {
        page.truncate(page.len() - end.len());
    }
    write(page);
    if format == Format::OpenMetrics {
        page.push_str(end);
    }
}
