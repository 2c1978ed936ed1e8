//! Formats that are not decoded: their bytes are searched for what is known to run code.

use super::{
    Format, Limits, Report, Safety,
    input::{Result, Source, read_up_to},
};

/// Operators of `TensorFlow` that touch files or call Python, with their length before them as
/// protocol buffers write it.
const OPERATORS: [&[u8]; 6] = [
    b"\x08ReadFile",
    b"\x09WriteFile",
    b"\x06PyFunc",
    b"\x0fPyFuncStateless",
    b"\x0bEagerPyFunc",
    b"\x12MergeV2Checkpoints",
];
/// A layer of bytecode in the configuration that Keras keeps in HDF5.
const LAMBDA: [&[u8]; 2] = [b"\"class_name\": \"Lambda\"", b"\"class_name\":\"Lambda\""];

pub(super) fn search(
    format: Format,
    head: &[u8],
    source: &dyn Source,
    limits: &Limits,
    report: &mut Report,
) -> Result<()> {
    report.format = format;
    let (needles, code, detail): (&[&[u8]], _, _) = match format {
        Format::Hdf5 => (&LAMBDA, "keras.lambda", "a layer of it is Python's bytecode"),
        Format::SavedModel => {
            (&OPERATORS, "tensorflow.operator", "its graph touches files or calls Python")
        }
        Format::Tflite => return Ok(()),
        _ => {
            unknown(head, report);
            return Ok(());
        }
    };
    if contains(source, limits.searched, needles)? {
        report.find(Safety::Dangerous, code, detail);
    } else if limits.searched < source.size() {
        let detail = "it is longer than is searched";
        report.find(Safety::Inconclusive, "file.limit", detail);
    }
    Ok(())
}

fn unknown(head: &[u8], report: &mut Report) {
    let is_program = head.starts_with(b"\x7fELF") || head.starts_with(b"MZ");
    if is_program {
        report.find(Safety::Dangerous, "file.program", "it is a program");
    } else if head.starts_with(b"7z\xbc\xaf\x27\x1c") || head.get(257..262) == Some(b"ustar") {
        let detail = "it is an archive of a kind that is not opened";
        report.find(Safety::Inconclusive, "file.archive", detail);
    } else if !head.is_empty() {
        let detail = "nothing is known of its format";
        report.find(Safety::Inconclusive, "file.unknown", detail);
    }
}

/// Whether one of these stands in the first so many bytes.
fn contains(source: &dyn Source, most: u64, needles: &[&[u8]]) -> Result<bool> {
    let overlap = needles.iter().map(|needle| needle.len()).max().unwrap_or(1) - 1;
    let mut window = vec![0; 1 << 20];
    let mut at = 0;
    while at < most {
        let got = read_up_to(source, at, &mut window)?;
        let found =
            |needle: &&[u8]| window[..got].windows(needle.len()).any(|part| part == *needle);
        if needles.iter().any(found) {
            return Ok(true);
        }
        if got < window.len() {
            break;
        }
        at += (got - overlap) as u64;
    }
    Ok(false)
}
