//! Safetensors: eight bytes of length, a JSON header, tensors without holes.
//!
//! <https://huggingface.co/docs/safetensors> says what a valid file is; what is not is told.

use std::{
    fmt,
    io::{self, BufReader},
};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{
    Format, Limits, Report,
    bounded::{Budget, Lifted},
    input::{Fault, Input, Result, Source, Span, broken},
};

/// Types of numbers and how many bits each takes (safetensors 0.8).
const TYPES: [(&str, u64); 21] = [
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
    ("F4", 4),
    ("F6_E2M3", 6),
];
/// The one more type of six bits.
const F6_E3M2: (&str, u64) = ("F6_E3M2", 6);
/// How many tensors there may be.
const TENSORS: usize = 1 << 19;

/// Whether a file can begin so: a length, then an object that is not longer than the rest.
pub(super) fn begins(head: &[u8]) -> bool {
    let Some(length) = head.first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    head.get(8) == Some(&b'{') && (2..=100 << 20).contains(&length) && head[5..8] == [0; 3]
}

/// Reads the header; looks whether what it says covers the file.
pub(super) fn read(source: &dyn Source, limits: &Limits, report: &mut Report) -> Result<()> {
    report.format = Format::Safetensors;
    let budget = limits.header.saturating_add(8);
    let mut input =
        Input::new(Span::new(source, 0, u64::MAX), budget, "a longer header than is read");
    let length = input.u64()?;
    let rest = source.size().saturating_sub(8);
    if rest < length {
        return broken(format!("a header of {length} bytes, in a file with {rest} more"));
    }
    if limits.header < length {
        return Err(Fault::Limit("a longer header than is read"));
    }
    let text = BufReader::new(Span::new(source, 8, length));
    let header: Header = match serde_json::from_reader(text) {
        Ok(header) => header,
        Err(error) if error.is_io() => return Err(io::Error::from(error).into()),
        Err(error) => return broken(format!("the header is not valid: {error}")),
    };
    let data = rest - length;
    if !header.metadata.is_empty() {
        report.fact("metadata", header.metadata);
    }
    report.fact("tensors", header.tensors.len() as u64);
    report.weight_bytes = Some(data);
    let mut ranges = Vec::with_capacity(header.tensors.len());
    for tensor in header.tensors {
        let (of, elements) = (tensor.kind.0, tensor.elements);
        let bits = elements.checked_mul(tensor.kind.1);
        let size = tensor.to.checked_sub(tensor.from);
        if bits.is_none() || size.and_then(|size| size.checked_mul(8)) != bits {
            let what =
                format!("{elements} × {of} do not take the bytes {}..{}", tensor.from, tensor.to);
            return broken(what);
        }
        report.count(of, elements);
        ranges.push((tensor.from, tensor.to));
    }
    ranges.sort_unstable();
    let mut end = 0;
    for (from, to) in ranges {
        if from != end {
            return broken(format!(
                "a hole or an overlap at byte {} of the tensors",
                end.min(from)
            ));
        }
        end = to;
    }
    if end != data {
        return broken(format!("tensors end at {end}, the file's data at {data}"));
    }
    Ok(())
}

struct Tensor {
    kind: (&'static str, u64),
    elements: u64,
    from: u64,
    to: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A header without the names of its tensors.
struct Header {
    metadata: Map<String, Value>,
    tensors: Vec<Tensor>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut header = Header { metadata: Map::new(), tensors: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let metadata = map.next_value_seed(Lifted(&mut Budget::default()))?;
                let Value::Object(metadata) = metadata else {
                    return Err(A::Error::custom("`__metadata__` is no object"));
                };
                // What is beyond the budget is null.
                if metadata.values().any(|value| !value.is_string() && !value.is_null()) {
                    return Err(A::Error::custom("`__metadata__` holds what is no text"));
                }
                header.metadata = metadata;
                continue;
            }
            if TENSORS <= header.tensors.len() {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Err(A::Error::custom("more tensors than are read"));
            }
            let Entry { dtype, shape, data_offsets: [from, to] } = map.next_value()?;
            let mut known = TYPES.iter().chain([&F6_E3M2]);
            let Some(kind) = known.find(|(name, _)| *name == dtype) else {
                return Err(A::Error::custom(format!("`{dtype}` is no type of numbers")));
            };
            let elements = shape.iter().try_fold(1_u64, |all, one| all.checked_mul(*one));
            let Some(elements) = elements else {
                return Err(A::Error::custom("a shape with more elements than can be counted"));
            };
            header.tensors.push(Tensor { kind: *kind, elements, from, to });
        }
        Ok(header)
    }
}
