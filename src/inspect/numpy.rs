//! `NumPy`'s `.npy` (NEP 1, and `numpy.lib.format`): a header in Python's words, then numbers; of
//! objects, a pickle.

use std::io::Read;

use super::{
    Format, Limits, Report,
    input::{Fault, Result, Source, Span, broken},
    pickle,
};

/// `numpy` itself refuses a longer header.
const LONGEST: usize = 10_000;

pub(super) fn read(source: &dyn Source, limits: &Limits, report: &mut Report) -> Result<()> {
    report.format = Format::Npy;
    array(Span::new(source, 0, u64::MAX), u64::MAX, limits, report)
}

/// Reads one array from a stream.
pub(super) fn array(
    mut from: impl Read,
    bytes: u64,
    limits: &Limits,
    report: &mut Report,
) -> Result<()> {
    let mut prefix = [0; 10];
    from.read_exact(&mut prefix)?;
    if !prefix.starts_with(b"\x93NUMPY") {
        return broken("this is no array of NumPy");
    }
    let length = match prefix[6] {
        1 => usize::from(u16::from_le_bytes([prefix[8], prefix[9]])),
        2 | 3 => {
            let mut more = [0; 2];
            from.read_exact(&mut more)?;
            let length = u32::from_le_bytes([prefix[8], prefix[9], more[0], more[1]]);
            usize::try_from(length).unwrap_or(usize::MAX)
        }
        other => return broken(format!("version {other} of `.npy` is not known")),
    };
    if LONGEST < length {
        return Err(Fault::Limit("a longer header than NumPy reads"));
    }
    let mut header = vec![0; length];
    from.read_exact(&mut header)?;
    let Ok(header) = String::from_utf8(header) else { return broken("the header is no text") };
    let Some(kind) = described(&header) else { return broken("the header names no type") };
    report.fact("descr", kind);
    // An object's type is `O`; a record's types are listed, and one of them may be.
    let is_object =
        kind.split(['\'', '"']).any(|part| part.trim_start_matches(['|', '<', '>', '=']) == "O");
    if is_object {
        return pickle::scan(from, bytes, limits.opcodes, report);
    }
    Ok(())
}

/// What the header says after `'descr':`, up to the next key.
fn described(header: &str) -> Option<&str> {
    let (_, rest) = header.split_once("'descr'").or_else(|| header.split_once("\"descr\""))?;
    let rest = rest.trim_start().strip_prefix(':')?;
    let end = rest.find("'fortran_order'").or_else(|| rest.find("\"fortran_order\""));
    Some(rest[..end.unwrap_or(rest.len())].trim().trim_end_matches(','))
}
