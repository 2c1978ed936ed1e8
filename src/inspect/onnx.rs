//! ONNX: `ModelProto` of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. Weights are
//! passed by; operators, shapes and the paths of external data are looked at.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Format, Report, Safety,
    input::{Result, Source, broken},
    protobuf::{Content, Message, Walk},
};

/// More fields than a model with a million nodes has.
const FIELDS: u64 = 50_000_000;
const LONGEST: usize = 4096;
/// How deep graphs may stand in attributes of nodes: bodies of `If` and `Loop`.
const DEEPEST: usize = 16;
/// Domains of operators that every runtime has.
const KNOWN: [&str; 5] =
    ["", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"];
/// Types of numbers, and how many bits they take.
const TYPES: [(u64, &str, u64); 18] = [
    (1, "F32", 32),
    (2, "U8", 8),
    (3, "I8", 8),
    (4, "U16", 16),
    (5, "I16", 16),
    (6, "I32", 32),
    (7, "I64", 64),
    (9, "BOOL", 8),
    (10, "F16", 16),
    (11, "F64", 64),
    (12, "U32", 32),
    (13, "U64", 64),
    (16, "BF16", 16),
    (17, "F8_E4M3", 8),
    (19, "F8_E5M2", 8),
    (21, "U4", 4),
    (22, "I4", 4),
    (23, "F4", 4),
];

#[derive(Default)]
struct Seen {
    operators: BTreeSet<String>,
    domains: BTreeSet<String>,
    /// Of functions that the model brings along.
    own: BTreeSet<String>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    opsets: Vec<Value>,
    nodes: u64,
    has_graph: bool,
}

pub(super) fn read(source: &dyn Source, report: &mut Report) -> Result<()> {
    report.format = Format::Onnx;
    let mut walk = Walk::new(source, FIELDS);
    let mut seen = Seen::default();
    let mut model = walk.whole();
    while let Some((number, content)) = walk.next(&mut model)? {
        match (number, content) {
            (1, Content::Varint(version)) => report.fact("ir_version", version),
            (5, Content::Varint(version)) => report.fact("model_version", version),
            (2 | 3 | 4 | 6, Content::Bytes(bytes)) => {
                let name = ["producer_name", "producer_version", "domain", "", "doc_string"]
                    [usize::try_from(number - 2).unwrap_or(3)];
                if let Some(text) = walk.text(bytes, LONGEST)?.filter(|text| !text.is_empty()) {
                    report.fact(name, text);
                }
            }
            (7, Content::Bytes(bytes)) => {
                seen.has_graph = true;
                graph(&mut walk, bytes, 0, &mut seen, report)?;
            }
            (8, Content::Bytes(bytes)) => opset(&mut walk, bytes, &mut seen)?,
            (25, Content::Bytes(bytes)) => function(&mut walk, bytes, &mut seen, report)?,
            (14 | 20 | 26, Content::Bytes(_)) => {}
            _ => return broken(format!("ONNX has no field {number} of this kind in its model")),
        }
    }
    if !seen.has_graph {
        return broken("there is no graph in it");
    }
    let is_foreign = |name: &&String| !KNOWN.contains(&name.as_str()) && !seen.own.contains(*name);
    let foreign: Vec<_> = seen.domains.iter().filter(is_foreign).collect();
    if !foreign.is_empty() {
        let names = foreign.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let detail = format!("operators of {names} need a library that the runtime loads");
        report.find(Safety::Suspicious, "onnx.domain", detail);
    }
    report.fact("opset_import", seen.opsets);
    report.fact("operators", seen.operators.into_iter().collect::<Vec<_>>());
    report.fact("inputs", seen.inputs);
    report.fact("outputs", seen.outputs);
    report.fact("nodes", seen.nodes);
    Ok(())
}

/// A function: its nodes (7) and its domain (10).
fn function(
    walk: &mut Walk<'_>,
    mut message: Message,
    seen: &mut Seen,
    report: &mut Report,
) -> Result<()> {
    while let Some((number, content)) = walk.next(&mut message)? {
        let Content::Bytes(bytes) = content else { continue };
        match number {
            7 => node(walk, bytes, 1, seen, report)?,
            10 if seen.own.len() < 1_000 => seen.own.extend(walk.text(bytes, LONGEST)?),
            _ => {}
        }
    }
    Ok(())
}

fn opset(walk: &mut Walk<'_>, mut message: Message, seen: &mut Seen) -> Result<()> {
    let (mut domain, mut version) = (String::new(), 0);
    while let Some((number, content)) = walk.next(&mut message)? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => domain = walk.text(bytes, LONGEST)?.unwrap_or_default(),
            (2, Content::Varint(number)) => version = number,
            _ => {}
        }
    }
    if seen.opsets.len() < 100 {
        seen.opsets.push(json!({ "domain": domain, "version": version }));
    }
    Ok(())
}

fn graph(
    walk: &mut Walk<'_>,
    mut message: Message,
    depth: usize,
    seen: &mut Seen,
    report: &mut Report,
) -> Result<()> {
    while let Some((number, content)) = walk.next(&mut message)? {
        let Content::Bytes(bytes) = content else { continue };
        match number {
            1 => node(walk, bytes, depth, seen, report)?,
            5 => tensor(walk, bytes, report)?,
            11 | 12 if depth == 0 => {
                let list = if number == 11 { &mut seen.inputs } else { &mut seen.outputs };
                let name = name_of(walk, bytes)?;
                if let Some(name) = name.filter(|_| list.len() < 1_000) {
                    list.push(name.into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn name_of(walk: &mut Walk<'_>, mut message: Message) -> Result<Option<String>> {
    while let Some((number, content)) = walk.next(&mut message)? {
        if let (1, Content::Bytes(bytes)) = (number, content) {
            return walk.text(bytes, LONGEST);
        }
    }
    Ok(None)
}

fn node(
    walk: &mut Walk<'_>,
    mut message: Message,
    depth: usize,
    seen: &mut Seen,
    report: &mut Report,
) -> Result<()> {
    seen.nodes += 1;
    while let Some((number, content)) = walk.next(&mut message)? {
        let Content::Bytes(bytes) = content else { continue };
        match number {
            4 if seen.operators.len() < 10_000 => {
                seen.operators.extend(walk.text(bytes, LONGEST)?);
            }
            7 if seen.domains.len() < 1_000 => seen.domains.extend(walk.text(bytes, LONGEST)?),
            5 => attribute(walk, bytes, depth, seen, report)?,
            _ => {}
        }
    }
    Ok(())
}

/// An attribute may hold a tensor (5), a graph (6), or lists of them (10, 11).
fn attribute(
    walk: &mut Walk<'_>,
    mut message: Message,
    depth: usize,
    seen: &mut Seen,
    report: &mut Report,
) -> Result<()> {
    while let Some((number, content)) = walk.next(&mut message)? {
        let Content::Bytes(bytes) = content else { continue };
        match number {
            5 | 10 => tensor(walk, bytes, report)?,
            6 | 11 if DEEPEST <= depth => return broken("graphs in graphs without an end"),
            6 | 11 => graph(walk, bytes, depth + 1, seen, report)?,
            _ => {}
        }
    }
    Ok(())
}

fn tensor(walk: &mut Walk<'_>, mut message: Message, report: &mut Report) -> Result<()> {
    let (mut shape, mut kind) = (Vec::new(), 0);
    while let Some((number, content)) = walk.next(&mut message)? {
        match (number, content) {
            (1, content) => walk.numbers(&content, &mut shape)?,
            (2, Content::Varint(number)) => kind = number,
            (13, Content::Bytes(entry)) => external(walk, entry, report)?,
            _ => {}
        }
    }
    let elements = shape.iter().fold(1_u64, |all, one| all.saturating_mul(*one));
    if let Some((_, name, bits)) = TYPES.iter().find(|(number, ..)| *number == kind) {
        report.count(name, elements);
        let bytes = elements.saturating_mul(*bits) / 8;
        let sum = report.weight_bytes.unwrap_or(0);
        report.weight_bytes = Some(sum.saturating_add(bytes));
    }
    Ok(())
}

/// Where a tensor's bytes stand, when it is another file.
fn external(walk: &mut Walk<'_>, mut entry: Message, report: &mut Report) -> Result<()> {
    let (mut key, mut value) = (None, None);
    while let Some((number, content)) = walk.next(&mut entry)? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => key = walk.text(bytes, LONGEST)?,
            (2, Content::Bytes(bytes)) => value = Some(walk.text(bytes, LONGEST)?),
            _ => {}
        }
    }
    if key.as_deref() != Some("location") {
        return Ok(());
    }
    let Some(path) = value.flatten() else {
        report.find(Safety::Dangerous, "onnx.external", "external data at an unreadable path");
        return Ok(());
    };
    let leaves = path.starts_with(['/', '\\']) || path.contains(':');
    if leaves || path.split(['/', '\\']).any(|part| part == "..") {
        let detail = format!("external data at `{path}`, outside the model's folder");
        report.find(Safety::Dangerous, "onnx.external", detail);
    } else {
        report.fact("external_data", true);
    }
    Ok(())
}
