//! Zip archives: what `PyTorch`, `NumPy` and Keras save. Each entry that a loader could unpickle is
//! scanned, and an archive whose two tables of contents differ is not believed: one reader would
//! see another file than the other.
//!
//! The format: PKWARE's APPNOTE 6.3.

use std::{io::Read, ops::Range};

use flate2::read::DeflateDecoder;
use serde_json::Value;

use super::{
    Format, Limits, Report, Safety,
    input::{Fault, Input, Result, Source, Span, broken, read_up_to},
    numpy, pickle, text,
};

/// The longest comment, and the record before it.
const TAIL: u64 = 65_535 + 22;
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// How much of a Keras configuration is read.
const CONFIGURATION: u64 = 16 << 20;

/// An entry of the central directory.
struct Entry {
    name: String,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    at: u64,
}

struct Directory {
    entries: u64,
    range: Range<u64>,
    /// How many bytes stand before the archive.
    before: u64,
}

pub(super) fn read(source: &dyn Source, limits: &Limits, report: &mut Report) -> Result<()> {
    report.format = Format::Zip;
    let directory = directory(source)?;
    if directory.before != 0 {
        let detail = format!("{} bytes stand before the archive", directory.before);
        report.find(Safety::Suspicious, "zip.prefix", detail);
    }
    let entries = entries(source, &directory, limits)?;
    report.format = format_of(&entries);
    let is_weight = |entry: &&Entry| is_storage(&entry.name);
    let weights =
        entries.iter().filter(is_weight).fold(0_u64, |sum, one| sum.saturating_add(one.size));
    if weights != 0 {
        report.weight_bytes = Some(weights);
    }
    if report.format == Format::Torchscript {
        let detail = "it holds code, which runs when the model is loaded and used";
        report.find(Safety::Suspicious, "torchscript.code", detail);
    }
    for entry in &entries {
        look(source, entry, limits, report)?;
    }
    Ok(())
}

fn format_of(entries: &[Entry]) -> Format {
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let within = |what: &str| entries.iter().any(|entry| entry.name.contains(what));
    let ends = |what: &str| entries.iter().any(|entry| entry.name.ends_with(what));
    if ends("/constants.pkl") || within("/code/") {
        Format::Torchscript
    } else if ends("/data.pkl") {
        Format::Pytorch
    } else if has("config.json") && has("metadata.json") {
        Format::Keras
    } else if !entries.is_empty() && entries.iter().all(|entry| is_array(&entry.name)) {
        Format::Npz
    } else {
        Format::Zip
    }
}

fn is_array(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ending == "npy")
}

/// Whether an entry is a tensor's bytes, as `torch.save` calls them: `archive/data/17`.
fn is_storage(name: &str) -> bool {
    let mut parts = name.rsplit('/');
    let is_number = parts.next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    is_number && parts.next() == Some("data")
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Fault::End)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// Finds the central directory, from the end of the file.
fn directory(source: &dyn Source) -> Result<Directory> {
    let size = source.size();
    let from = size.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(size - from).unwrap_or(0)];
    let got = read_up_to(source, from, &mut tail)?;
    tail.truncate(got);
    let found = (0..tail.len().saturating_sub(21)).rev().find(|at| tail[*at..].starts_with(END));
    let Some(at) = found else { return broken("no table of contents: the archive is cut") };
    let mut end = from + at as u64;
    let record = &tail[at..];
    let mut entries = u64::from(u16_at(record, 10)?);
    let mut length = u64::from(u32_at(record, 12)?);
    let mut offset = u64::from(u32_at(record, 16)?);
    if entries == 0xffff || length == 0xffff_ffff || offset == 0xffff_ffff {
        let mut locator = [0; 20];
        let there = end.checked_sub(20).ok_or(Fault::End)?;
        read_up_to(source, there, &mut locator)?;
        if locator.starts_with(LOCATOR) {
            end = u64_at(&locator, 8)?;
            let mut record = [0; 56];
            read_up_to(source, end, &mut record)?;
            if !record.starts_with(END_64) {
                return broken("the large table of contents is not where the file says");
            }
            entries = u64_at(&record, 32)?;
            length = u64_at(&record, 40)?;
            offset = u64_at(&record, 48)?;
        }
    }
    let begin = end.checked_sub(length).ok_or(Fault::End)?;
    let before = begin.checked_sub(offset);
    let Some(before) = before else { return broken("the table of contents overlaps its end") };
    Ok(Directory { entries, range: begin..end, before })
}

fn entries(source: &dyn Source, directory: &Directory, limits: &Limits) -> Result<Vec<Entry>> {
    let length = directory.range.end - directory.range.start;
    let most = limits.entries as u64;
    if most < directory.entries {
        return Err(Fault::Limit("an archive of more entries than are read"));
    }
    let budget = limits.header.saturating_mul(4);
    let span = Span::new(source, directory.range.start, length);
    let mut input = Input::new(span, budget, "a longer table of contents than is read");
    let mut entries = Vec::new();
    while input.taken() < length {
        if limits.entries <= entries.len() {
            return Err(Fault::Limit("an archive of more entries than are read"));
        }
        let fixed: [u8; 46] = input.array()?;
        if !fixed.starts_with(CENTRAL) {
            return broken("the table of contents is broken");
        }
        let name = input.bytes(u16_at(&fixed, 28)?.into(), usize::MAX)?.unwrap_or_default();
        let extra = input.bytes(u16_at(&fixed, 30)?.into(), usize::MAX)?.unwrap_or_default();
        input.skip(u16_at(&fixed, 32)?.into())?;
        let mut entry = Entry {
            name: String::from_utf8_lossy(&name).into_owned(),
            flags: u16_at(&fixed, 8)?,
            method: u16_at(&fixed, 10)?,
            crc: u32_at(&fixed, 16)?,
            packed: u32_at(&fixed, 20)?.into(),
            size: u32_at(&fixed, 24)?.into(),
            at: u32_at(&fixed, 42)?.into(),
        };
        enlarge(&mut entry, &extra)?;
        entry.at = entry.at.saturating_add(directory.before);
        entries.push(entry);
    }
    if entries.len() as u64 != directory.entries {
        return broken("the table of contents has another length than the archive says");
    }
    Ok(entries)
}

/// Takes numbers of more than 32 bits from the field that holds them.
fn enlarge(entry: &mut Entry, extra: &[u8]) -> Result<()> {
    let mut at = 0;
    while at + 4 <= extra.len() {
        let (id, length) = (u16_at(extra, at)?, usize::from(u16_at(extra, at + 2)?));
        at += 4;
        if id == 1 {
            let mut field = at;
            for number in [&mut entry.size, &mut entry.packed, &mut entry.at] {
                if *number == 0xffff_ffff {
                    *number = u64_at(extra, field)?;
                    field += 8;
                }
            }
        }
        at += length;
    }
    Ok(())
}

/// Where an entry's bytes begin. Its own header must say what the table of contents says.
fn begin(source: &dyn Source, entry: &Entry, report: &mut Report) -> Result<u64> {
    let mut fixed = [0; 30];
    if read_up_to(source, entry.at, &mut fixed)? < fixed.len() || !fixed.starts_with(LOCAL) {
        return broken(format!("`{}` is not where the table of contents says", entry.name));
    }
    let length = u16_at(&fixed, 26)?;
    let mut name = vec![0; length.into()];
    read_up_to(source, entry.at + 30, &mut name)?;
    let is_streamed = entry.flags & 8 != 0;
    let (packed, size) = (u64::from(u32_at(&fixed, 18)?), u64::from(u32_at(&fixed, 22)?));
    let is_large = packed == 0xffff_ffff || size == 0xffff_ffff;
    let same_sizes = is_streamed || is_large || (packed, size) == (entry.packed, entry.size);
    let is_same = String::from_utf8_lossy(&name) == entry.name
        && u16_at(&fixed, 8)? == entry.method
        && (u16_at(&fixed, 6)? ^ entry.flags) & 1 == 0
        && same_sizes
        && (is_streamed || u32_at(&fixed, 14)? == entry.crc);
    if !is_same {
        let detail =
            format!("`{}` is described in two ways: readers differ in what they see", entry.name);
        report.find(Safety::Inconclusive, "zip.headers", detail);
    }
    Ok(entry.at + 30 + u64::from(length) + u64::from(u16_at(&fixed, 28)?))
}

/// An entry, unpacked as it is read.
fn unpacked<'a>(source: &'a dyn Source, entry: &Entry, at: u64) -> Option<Box<dyn Read + 'a>> {
    let span = Span::new(source, at, entry.packed);
    match entry.method {
        0 => Some(Box::new(span)),
        8 => Some(Box::new(DeflateDecoder::new(span))),
        _ => None,
    }
}

/// Looks at an entry, as far as its beginning and its name ask for it.
fn look(source: &dyn Source, entry: &Entry, limits: &Limits, report: &mut Report) -> Result<()> {
    let at = begin(source, entry, report)?;
    if entry.size == 0 && entry.packed == 0 {
        return Ok(());
    }
    if entry.flags & 1 != 0 {
        let detail = format!("`{}` is encrypted", entry.name);
        report.find(Safety::Inconclusive, "zip.encrypted", detail);
        return Ok(());
    }
    let open = || unpacked(source, entry, at);
    let Some(stream) = open() else {
        let detail =
            format!("`{}` is packed in a way ({}) that is not read", entry.name, entry.method);
        report.find(Safety::Inconclusive, "zip.method", detail);
        return Ok(());
    };
    let mut head = Vec::new();
    stream.take(512).read_to_end(&mut head)?;
    let Some(stream) = open() else { return Ok(()) };
    let most = limits.unpacked;
    let name = entry.name.to_ascii_lowercase();
    if head.starts_with(b"\x93NUMPY") {
        return numpy::array(stream, most, limits, report);
    }
    if [".pkl", ".pickle"].iter().any(|ending| name.ends_with(ending)) {
        return pickle::scan(stream, most, limits.opcodes, report);
    }
    let may_be = head.first() == Some(&0x80) && matches!(head.get(1), Some(0..=5));
    if may_be || text::looks_like(&head) && pickle::begins_plainly(&head) {
        // Numbers may begin so by chance: then nothing is imported before it breaks.
        let mut own = Report::default();
        let end = pickle::scan(stream, most, limits.opcodes, &mut own);
        if end.is_ok() || !own.imports.is_empty() || !own.findings.is_empty() {
            own.imports.into_iter().for_each(|import| report.import(import));
            own.findings.into_iter().for_each(|one| report.find(one.safety, &one.code, one.detail));
            return end;
        }
        return Ok(());
    }
    if head.starts_with(LOCAL) {
        let detail = format!("`{}` is an archive in the archive, which is not opened", entry.name);
        report.find(Safety::Inconclusive, "zip.nested", detail);
    }
    if report.format == Format::Keras && entry.name == "config.json" {
        return keras(stream, report);
    }
    Ok(())
}

/// Keras rebuilds layers by the names in its configuration; a `Lambda` holds Python's bytecode.
fn keras(stream: impl Read, report: &mut Report) -> Result<()> {
    let mut text = Vec::new();
    stream.take(CONFIGURATION + 1).read_to_end(&mut text)?;
    if CONFIGURATION < text.len() as u64 {
        return Err(Fault::Limit("a longer configuration than is read"));
    }
    let Ok(configuration) = serde_json::from_slice::<Value>(&text) else {
        return broken("the configuration is no JSON");
    };
    let mut left = vec![&configuration];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(values) => left.extend(values),
            Value::Object(map) => {
                if map.get("class_name").is_some_and(|name| name == "Lambda") {
                    report.find(
                        Safety::Dangerous,
                        "keras.lambda",
                        "a layer of it is Python's bytecode",
                    );
                }
                let module = map.get("module").and_then(Value::as_str);
                let is_known = |name: &str| {
                    name == "builtins" || name == "keras" || name.starts_with("keras.")
                };
                if let Some(module) = module.filter(|name| !is_known(name)) {
                    let detail = format!("it is rebuilt from the module `{module}`");
                    report.find(Safety::Suspicious, "keras.module", detail);
                }
                left.extend(map.values());
            }
            _ => {}
        }
    }
    Ok(())
}
