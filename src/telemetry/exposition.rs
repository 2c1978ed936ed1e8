//! Pages of figures: several sources joined into one, as text 0.0.4 or as `OpenMetrics` 1.0.0.
//!
//! # Guarantees
//! - A family is on a page once: what two sources write of it is joined; what the second one writes
//!   of another type is left out.
//! - A page has at most [`PAGE_MAX`] bytes. What does not fit is left out in whole families.
//! - A source that panics costs its own families only.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, panic::AssertUnwindSafe};

use super::exposed::Exposed;

/// A page is at most so long; with 500 apps it has some 6 MB.
pub const PAGE_MAX: usize = 32 << 20;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that a reader likes best, by its `Accept`. Whoever accepts neither gets text.
    pub fn accepted(accept: &str) -> Self {
        // Of two that are liked equally the last one wins.
        let offers = [
            (Self::OpenMetrics, "application", "openmetrics-text", "1.0.0"),
            (Self::Text, "text", "plain", "0.0.4"),
        ];
        let liked = |(_, kind, subtype, version): &(Self, &str, &str, &str)| {
            let ranges = accept.split(',').enumerate();
            let fitting = ranges.filter_map(|(at, range)| {
                let range = Wish::read(range)?;
                let exactness = range.exactness(kind, subtype, version)?;
                Some((exactness, range.quality, usize::MAX - at))
            });
            // The most exact range that fits says how much it is liked (RFC 9110, 12.5.1).
            fitting.max().map(|(exactness, quality, place)| (quality, exactness, place))
        };
        let best = offers.iter().filter_map(|offer| Some((liked(offer)?, offer.0)));
        let best = best.filter(|((quality, ..), _)| 0 < *quality).max_by_key(|(liked, _)| *liked);
        best.map_or(Self::Text, |(_, format)| format)
    }
}

/// Whether a reader takes gzip, by its `Accept-Encoding`.
pub fn takes_gzip(accept_encoding: &str) -> bool {
    let quality = |name: &str| {
        accept_encoding.split(',').find_map(|coding| {
            let mut parts = coding.split(';');
            let is_it = parts.next()?.trim().eq_ignore_ascii_case(name);
            is_it.then(|| quality_of(parts))
        })
    };
    quality("gzip").or_else(|| quality("*")).is_some_and(|quality| 0 < quality)
}

/// One media range of an `Accept`.
struct Wish<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    quality: u16,
}

impl<'a> Wish<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let version = parts.clone().find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("version").then(|| value.trim().trim_matches('"'))
        });
        Some(Self { kind, subtype, version, quality: quality_of(parts) })
    }

    /// How exactly it names this type; none when it does not.
    fn exactness(&self, kind: &str, subtype: &str, version: &str) -> Option<u8> {
        let is_it = |wished: &str, offered: &str| wished.eq_ignore_ascii_case(offered);
        match (self.kind, self.subtype, self.version) {
            ("*", "*", None) => Some(0),
            (k, "*", None) if is_it(k, kind) => Some(1),
            (k, s, None) if is_it(k, kind) && is_it(s, subtype) => Some(2),
            (k, s, Some(v)) if is_it(k, kind) && is_it(s, subtype) && v == version => Some(3),
            _ => None,
        }
    }
}

/// The quality among parameters, in thousandths.
fn quality_of<'a>(parameters: impl Iterator<Item = &'a str>) -> u16 {
    let mut values = parameters.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(value) = values.next() else { return 1000 };
    let value: f32 = value.parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let thousandths = (value.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

/// A page with the families of all sources, and how many were left out. `about` is how long it may
/// become: as long as the one before.
pub fn page(sources: &[&dyn Exposed], format: Format, about: usize) -> (String, usize) {
    page_within(sources, format, (about, PAGE_MAX))
}

fn page_within(
    sources: &[&dyn Exposed],
    format: Format,
    (about, max): (usize, usize),
) -> (String, usize) {
    let mut text = String::with_capacity(about.min(max));
    for source in sources {
        let before = text.len();
        let written = AssertUnwindSafe(|| source.write(&mut text));
        if std::panic::catch_unwind(written).is_err() {
            tracing::error!("a source of figures panicked; its families are left out");
            text.truncate(before);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    let (families, clashes) = families(&text);
    let is_whole = text.len() <= max && families.iter().all(|family| family.more.is_empty());
    if is_whole && clashes == 0 && format == Format::Text {
        return (text, 0);
    }
    let mut page = String::with_capacity(text.len().min(max));
    let mut left_out = clashes;
    for family in &families {
        let before = page.len();
        match format {
            Format::Text => family.push_text(&text, &mut page),
            Format::OpenMetrics => family.push_open(&text, &mut page),
        }
        if max < page.len() {
            page.truncate(before);
            left_out += 1;
        }
    }
    if format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    (page, left_out)
}

/// A family, as places in a text.
#[derive(Debug)]
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    help: Option<&'a str>,
    /// Its samples where it was seen first.
    samples: Range<usize>,
    /// Its samples elsewhere.
    more: Vec<Range<usize>>,
}

/// All families of a text, in order, and how many pieces clash with what came before.
fn families(text: &str) -> (Vec<Family<'_>>, usize) {
    let mut found: Vec<Family<'_>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut clashes = 0;
    for family in pieces(text) {
        let Some(&place) = places.get(family.name) else {
            places.insert(family.name, found.len());
            found.push(family);
            continue;
        };
        let first = &mut found[place];
        if first.kind == family.kind {
            first.more.push(family.samples);
        } else {
            clashes += 1;
        }
    }
    (found, clashes)
}

/// The pieces of a text: each a head and the samples below it.
fn pieces(text: &str) -> Vec<Family<'_>> {
    let mut found: Vec<Family<'_>> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        // Nearly every line is one more sample of the family before it.
        if let Some(family) = found.last_mut().filter(|family| family.goes_on(line)) {
            family.samples.end = end;
            continue;
        }
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(rest) = line.strip_prefix("# ") {
            let Some((word, rest)) = rest.split_once(' ') else { continue };
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            if !matches!(word, "HELP" | "TYPE") {
                continue;
            }
            let is_going_on = |last: &Family<'_>| last.name == name && last.samples.is_empty();
            let is_new = !found.last().is_some_and(is_going_on);
            if is_new {
                let samples = end..end;
                found.push(Family { name, kind: "untyped", help: None, samples, more: vec![] });
            }
            if let Some(family) = found.last_mut() {
                match word {
                    "HELP" => family.help = Some(rest),
                    _ => family.kind = rest.trim(),
                }
                if family.samples.is_empty() {
                    family.samples = end..end;
                }
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            match found.last_mut() {
                Some(family) if family.owns(line) => family.samples.end = end,
                _ => {
                    let (name, samples) = (sample_name(line), start..end);
                    found.push(Family { name, kind: "untyped", help: None, samples, more: vec![] });
                }
            }
        }
    }
    found
}

fn sample_name(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or(line)
}

impl Family<'_> {
    /// Whether a line can be nothing but a sample of this family, found out in few steps.
    fn goes_on(&self, line: &str) -> bool {
        let after = line.as_bytes().get(self.name.len());
        matches!(after, Some(b'{' | b' '))
            && self.kind != "histogram"
            && line.starts_with(self.name)
    }

    /// Whether a sample is of this family.
    fn owns(&self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix(self.name) else { return false };
        let is_whole = rest.is_empty() || rest.starts_with(['{', ' ']);
        match self.kind {
            "histogram" => matches!(sample_name(rest), "_bucket" | "_sum" | "_count"),
            "summary" => is_whole || matches!(sample_name(rest), "_sum" | "_count"),
            _ => is_whole,
        }
    }

    fn samples<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let all: Vec<_> = std::iter::once(&self.samples).chain(&self.more).cloned().collect();
        all.into_iter().filter_map(|range| text.get(range)).flat_map(str::lines)
    }

    fn push_text(&self, text: &str, page: &mut String) {
        if let Some(help) = self.help {
            let _ = writeln!(page, "# HELP {} {help}", self.name);
        }
        let _ = writeln!(page, "# TYPE {} {}", self.name, self.kind);
        for line in self.samples(text) {
            page.push_str(line);
            page.push('\n');
        }
    }

    fn push_open(&self, text: &str, page: &mut String) {
        let counted = self.name.strip_suffix("_total").filter(|_| self.kind == "counter");
        let name = counted.unwrap_or(self.name);
        let kind = match self.kind {
            // A counter whose samples can't be called `_total` would lose its name.
            "counter" if counted.is_none() => "unknown",
            "untyped" => "unknown",
            kind => kind,
        };
        let _ = writeln!(page, "# TYPE {name} {kind}");
        if let Some(help) = self.help {
            let _ = writeln!(page, "# HELP {name} {}", help.replace('"', "\\\""));
        }
        for line in self.samples(text) {
            push_open_sample(line, page);
        }
    }
}

/// A sample with its time, if it has one, in seconds.
fn push_open_sample(line: &str, page: &mut String) {
    let head = line.rfind('}').map_or_else(|| sample_name(line).len(), |at| at + 1);
    let (name, rest) = line.split_at(head);
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().unwrap_or("NaN");
    let time: Option<f64> = words.next().and_then(|ms| ms.parse().ok());
    let _ = match time {
        None => writeln!(page, "{name} {value}"),
        Some(ms) => writeln!(page, "{name} {value} {}", ms / 1000.0),
    };
}

#[cfg(test)]
mod tests;
