//! GGUF 2 and 3, of either byte order: metadata, the tensors' list, and whether they fit the file.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use serde_json::Value;

use super::{
    Format, Limits, Report,
    input::{Fault, Input, Result, Source, Span, broken},
};

/// A text that is kept; longer ones are counted only.
const LONGEST: usize = 256 << 10;
const PAIRS: u64 = 1 << 16;
const TENSORS: u64 = 1 << 20;
/// How many values of a list are kept.
const LISTED: usize = 64;
/// Arrays in arrays.
const DEEPEST: usize = 4;

/// Types of tensors: number, name, elements of a block, bytes of a block.
const TYPES: [(u32, &str, u64, u64); 36] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
    (u32::MAX, "", 1, 0),
];

/// Metadata that is kept whatever the architecture is called.
const ENDINGS: [&str; 9] = [
    ".context_length",
    ".embedding_length",
    ".block_count",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".expert_count",
    ".expert_used_count",
    ".feed_forward_length",
    ".rope.freq_base",
];

fn is_kept(key: &str) -> bool {
    key.starts_with("general.")
        || key.starts_with("split.")
        || ["tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"].contains(&key)
        || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

struct Reader<'a> {
    input: Input<Span<'a>>,
    is_big: bool,
}

pub(super) fn read(source: &dyn Source, limits: &Limits, report: &mut Report) -> Result<()> {
    report.format = Format::Gguf;
    // Vocabularies and the tensors' names stand there too.
    let budget = limits.header.saturating_mul(4);
    let span = Span::new(source, 0, u64::MAX);
    let input = Input::new(span, budget, "longer metadata than is read");
    let mut reader = Reader { input, is_big: false };
    reader.input.skip(4)?;
    let version = reader.input.u32()?;
    reader.is_big = 0xffff < version;
    let version = if reader.is_big { version.swap_bytes() } else { version };
    if !matches!(version, 2 | 3) {
        return broken(format!("version {version} of GGUF is not known"));
    }
    report.fact("version", version);
    if reader.is_big {
        report.fact("big_endian", true);
    }
    let (tensors, pairs) = (reader.u64()?, reader.u64()?);
    if PAIRS < pairs || TENSORS < tensors {
        return broken(format!("{pairs} pairs of metadata and {tensors} tensors can't be"));
    }
    let mut alignment = 32;
    for _ in 0..pairs {
        let key = reader.text(65_535)?;
        let kind = reader.u32()?;
        let Some(key) = key else { return broken("a key that is no text") };
        let value = reader.value(kind, 0, is_kept(&key))?;
        if key == "general.alignment" {
            alignment = value.as_u64().unwrap_or(0);
        }
        if is_kept(&key) && !value.is_null() {
            report.fact(&key, value);
        } else if key == "tokenizer.ggml.tokens" {
            report.fact("tokenizer.ggml.tokens.length", value);
        }
    }
    if !alignment.is_power_of_two() || 1 << 20 < alignment {
        return broken(format!("an alignment of {alignment}"));
    }
    let reach = reader.tensors(tensors, report)?;
    let begin = reader.input.taken().next_multiple_of(alignment);
    let data = source.size().saturating_sub(begin);
    if data < reach {
        return broken(format!("tensors of {reach} bytes, in a file with {data} for them"));
    }
    report.weight_bytes = Some(reach);
    Ok(())
}

impl Reader<'_> {
    fn u32(&mut self) -> Result<u32> {
        let number = self.input.u32()?;
        Ok(if self.is_big { number.swap_bytes() } else { number })
    }

    fn u64(&mut self) -> Result<u64> {
        let number = self.input.u64()?;
        Ok(if self.is_big { number.swap_bytes() } else { number })
    }

    fn text(&mut self, most: usize) -> Result<Option<String>> {
        let length = self.u64()?;
        let bytes = self.input.bytes(length, most)?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// The tensors' list; answers how far they reach.
    fn tensors(&mut self, count: u64, report: &mut Report) -> Result<u64> {
        report.fact("tensors", count);
        let mut reach = 0;
        for _ in 0..count {
            self.text(0)?;
            let dimensions = self.u32()?;
            if 4 < dimensions {
                return broken(format!("a tensor of {dimensions} dimensions"));
            }
            let mut elements = 1_u64;
            for _ in 0..dimensions {
                elements = match elements.checked_mul(self.u64()?) {
                    Some(elements) => elements,
                    None => return broken("a tensor with more elements than can be counted"),
                };
            }
            let (kind, offset) = (self.u32()?, self.u64()?);
            let found = TYPES.iter().find(|(number, ..)| *number == kind);
            let Some((_, name, block, bytes)) = found.filter(|(.., bytes)| *bytes != 0) else {
                return broken(format!("{kind} is no type of a tensor"));
            };
            report.count(name, elements);
            let end = elements
                .div_ceil(*block)
                .checked_mul(*bytes)
                .and_then(|size| size.checked_add(offset));
            let Some(end) = end else { return broken("a tensor that ends nowhere") };
            reach = reach.max(end);
        }
        Ok(reach)
    }

    /// A value of metadata; of a list that is not kept, how long it is.
    fn value(&mut self, kind: u32, depth: usize, is_kept: bool) -> Result<Value> {
        Ok(match kind {
            0 => self.input.u8()?.into(),
            1 => self.input.u8()?.cast_signed().into(),
            2 => self.u16()?.into(),
            3 => self.u16()?.cast_signed().into(),
            4 => self.u32()?.into(),
            5 => self.u32()?.cast_signed().into(),
            6 => f32::from_bits(self.u32()?).into(),
            7 => (self.input.u8()? != 0).into(),
            8 => self.text(if is_kept { LONGEST } else { 0 })?.into(),
            9 => return self.list(depth, is_kept),
            10 => self.u64()?.into(),
            11 => self.u64()?.cast_signed().into(),
            12 => f64::from_bits(self.u64()?).into(),
            other => return broken(format!("{other} is no type of a value")),
        })
    }

    fn u16(&mut self) -> Result<u16> {
        let number = self.input.u16()?;
        Ok(if self.is_big { number.swap_bytes() } else { number })
    }

    fn list(&mut self, depth: usize, is_kept: bool) -> Result<Value> {
        if DEEPEST <= depth {
            return broken("lists in lists without an end");
        }
        let (kind, count) = (self.u32()?, self.u64()?);
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => 0,
        };
        if is_kept && count <= LISTED as u64 {
            let values: Result<Vec<_>> =
                (0..count).map(|_| self.value(kind, depth + 1, true)).collect();
            return values.map(Value::Array);
        }
        if size != 0 {
            self.input
                .skip(count.checked_mul(size).ok_or(Fault::Limit("a list without an end"))?)?;
        } else {
            for _ in 0..count {
                self.value(kind, depth + 1, false)?;
            }
        }
        Ok(count.into())
    }
}
