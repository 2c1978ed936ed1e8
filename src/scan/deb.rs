//! Debian's versions and its list of installed packages.

use std::cmp::Ordering;

use super::inventory::{Kind, Package, Source};

/// Orders two versions as Debian Policy §5.6.12 says: epoch, upstream version, revision.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    number(one.epoch, other.epoch)
        .then_with(|| text(one.upstream, other.upstream))
        .then_with(|| text(one.revision, other.revision))
}

struct Parts<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let version = version.trim();
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        // No revision is the same as revision 0.
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self { epoch, upstream, revision }
    }
}

/// Parts without digits and numbers by turns, until they differ.
fn text(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (word, rest) = split(one, |byte| !byte.is_ascii_digit());
        let (other_word, other_rest) = split(other, |byte| !byte.is_ascii_digit());
        let (digits, after) = split(rest, |byte| byte.is_ascii_digit());
        let (other_digits, other_after) = split(other_rest, |byte| byte.is_ascii_digit());
        let order = words(word, other_word).then_with(|| number(digits, other_digits));
        if order.is_ne() {
            return order;
        }
        (one, other) = (after, other_after);
    }
    Ordering::Equal
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    // Bytes of one character are all or none digits, so this is a border of characters.
    text.split_at(end)
}

/// A tilde is before the end, the end before letters, letters before all else.
fn words(one: &str, other: &str) -> Ordering {
    let weight = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(else_) => i32::from(else_) + 256,
    };
    let (mut one, mut other) = (one.bytes(), other.bytes());
    loop {
        let pair = (one.next(), other.next());
        let order = weight(pair.0).cmp(&weight(pair.1));
        if order.is_ne() || pair == (None, None) {
            return order;
        }
    }
}

/// Numbers of any length; none is zero.
fn number(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// The packages of a `dpkg/status` file that are installed.
pub(super) fn installed(text: &str) -> impl Iterator<Item = Package> + '_ {
    text.split("\n\n").filter_map(package)
}

fn package(stanza: &str) -> Option<Package> {
    let (mut name, mut version, mut source, mut architecture) = (None, None, None, None);
    // Lists of images without dpkg have no status: what they name is there.
    let mut is_installed = true;
    for line in stanza.lines() {
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match field {
            "Package" => name = Some(value),
            "Version" => version = Some(value),
            "Source" => source = Some(value),
            "Architecture" => architecture = Some(value.to_owned()),
            "Status" => is_installed = value.ends_with(" installed"),
            _ => {}
        }
    }
    let (name, version) = (name?, version?);
    if !is_installed || name.is_empty() || version.is_empty() {
        return None;
    }
    Some(Package {
        kind: Kind::Deb,
        name: name.to_owned(),
        version: version.to_owned(),
        source: source.map(|source| source_of(source, version)),
        architecture,
    })
}

/// `name` or `name (version)`: a source may be of another version than what is built of it.
fn source_of(text: &str, version: &str) -> Source {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let own = rest.trim().trim_start_matches('(').trim_end_matches(')');
    let version = if own.is_empty() { version } else { own };
    Source { name: name.to_owned(), version: version.to_owned() }
}
