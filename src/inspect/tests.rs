//! Files made by hand, byte by byte: what is in them, and what they hide (fault S09).

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn look(name: &str, bytes: &[u8]) -> Report {
    inspect(name, &bytes.to_vec(), &Limits::default()).unwrap()
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn imports(report: &Report) -> Vec<String> {
    report.imports.iter().map(|one| format!("{}.{}", one.module, one.name)).collect()
}

/// `os.system`, called, in ways that loaders take.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("protocol 0", b"cos\nsystem\n(S'id'\ntR.".to_vec()),
        ("an instance", b"(S'id'\nios\nsystem\n.".to_vec()),
        ("strings", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.".to_vec()),
        (
            "the memo",
            b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93\x8c\x02id\x85R.".to_vec(),
        ),
        ("a doubled string", b"\x80\x04\x8c\x06system\x8c\x02os2\x8c\x06system\x93.".to_vec()),
        ("never ended", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R".to_vec()),
        (
            "broken after the call",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R\xff".to_vec(),
        ),
        ("a second pickle", b"\x80\x02N.\x80\x02cos\nsystem\nU\x02id\x85R.".to_vec()),
        ("a second, of protocol 0", b"\x80\x02N.cos\nsystem\n(S'id'\ntR.".to_vec()),
        ("dots", b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93.".to_vec()),
        ("Python 2", b"c__builtin__\neval\n(S'id'\ntR.".to_vec()),
        ("no string", b"\x80\x04NN\x93)R.".to_vec()),
        ("escapes", b"\x80\x04V\\u006fs\nVsystem\n\x93)R.".to_vec()),
        ("an extension", b"\x80\x02\x82\x01)R.".to_vec()),
    ]
}

#[test]
fn what_runs_code_is_dangerous_however_it_is_written() {
    for (what, bytes) in attacks() {
        let report = look("model.pkl", &bytes);
        assert_eq!(report.safety, Safety::Dangerous, "{what}: {report:?}");
        assert_eq!(report.format, Format::Pickle, "{what}");
    }
    let named = look("x.bin", &attacks()[3].1);
    assert_eq!(imports(&named), ["os.system"]);
}

#[test]
fn tensors_and_nothing_else_are_safe() {
    let safe = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00wq\x02\
        ctorch._utils\n_rebuild_tensor_v2\nq\x03(X\x07\x00\x00\x00storageq\x04ctorch\nFloatStorage\nq\x05tQtRs.";
    let report = look("model.pkl", safe);
    assert_eq!((report.safety, codes(&report)), (Safety::Safe, vec![]));
    assert_eq!(
        imports(&report),
        ["collections.OrderedDict", "torch.FloatStorage", "torch._utils._rebuild_tensor_v2"]
    );
    let own = look("model.pkl", b"\x80\x02cmy.net\nNet\n)\x81.");
    assert_eq!(own.safety, Safety::Suspicious);
}

#[test]
fn what_cannot_be_told_is_not_clean() {
    for bytes in
        [&b"\x80\x04"[..], b"\x80\x04\x8c\xff", b"\x80\x04\x8b\xff\xff\xff\xff.", b"\x80\x09."]
    {
        assert_eq!(look("m.pt", bytes).safety, Safety::Inconclusive, "{bytes:x?}");
    }
    assert_eq!(look("m.pkl", b"").safety, Safety::Inconclusive);
    assert_eq!(look("engine.plan", b"\x00\x01\x02ftrt").safety, Safety::Inconclusive);
    assert_eq!(look("run", b"\x7fELF\x02\x01\x01").safety, Safety::Dangerous);
    let deep = [b"\x80\x04".to_vec(), vec![b'('; 3 << 20], b".".to_vec()].concat();
    let report = look("m.pkl", &deep);
    assert_eq!((report.safety, codes(&report)), (Safety::Inconclusive, vec!["file.limit"]));
    let limits = Limits { opcodes: 10, ..Limits::default() };
    let report = inspect("m.pkl", &vec![b'N'; 100], &limits).unwrap();
    assert_eq!(report.safety, Safety::Inconclusive);
}

#[test]
fn a_legacy_file_is_read_up_to_its_bytes() {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.";
    let bytes =
        |object: &[u8]| [magic, object, b"\x80\x02]q\x00.", &[0, 1, 0xff, 9, 0x80][..]].concat();
    let report = look("old.pt", &bytes(b"\x80\x02ccollections\nOrderedDict\n)R."));
    assert_eq!(report.safety, Safety::Safe, "{report:?}");
    assert_eq!(report.facts["legacy"], true);
    assert_eq!(look("old.pt", &bytes(b"cposix\nsystem\n(S'x'\ntR.")).safety, Safety::Dangerous);
}

/// An archive of stored entries; the second name is the one in the entry's own header.
fn archive(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let (mut file, mut table) = (Vec::new(), Vec::new());
    for (name, local, bytes) in entries {
        let at = u32::try_from(file.len()).unwrap().to_le_bytes();
        let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let length = |name: &str| u16::try_from(name.len()).unwrap().to_le_bytes();
        file.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([size, size].concat());
        file.extend([length(local), [0, 0]].concat());
        file.extend([local.as_bytes(), bytes].concat());
        table.extend_from_slice(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        table.extend([size, size].concat());
        table.extend(length(name));
        table.extend([0; 12]);
        table.extend(at);
        table.extend(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (at, length) = (file.len(), table.len());
    file.extend(table);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].concat());
    file.extend(u32::try_from(length).unwrap().to_le_bytes());
    file.extend(u32::try_from(at).unwrap().to_le_bytes());
    file.extend([0, 0]);
    file
}

fn torch(pickle: &[u8]) -> Vec<u8> {
    archive(&[
        ("m/data.pkl", "m/data.pkl", pickle),
        // Numbers that look like the beginning of a pickle.
        ("m/data/0", "m/data/0", b"\x80\x02\xff\xff"),
        ("m/version", "m/version", b"3\n"),
    ])
}

#[test]
fn archives_are_opened() {
    let safe = look("model.pt", &torch(b"\x80\x02ccollections\nOrderedDict\n)R."));
    assert_eq!((safe.format, safe.safety), (Format::Pytorch, Safety::Safe), "{safe:?}");
    assert_eq!(safe.weight_bytes, Some(4));
    for (what, bytes) in attacks() {
        let report = look("model.safetensors", &torch(&bytes));
        assert_eq!(report.safety, Safety::Dangerous, "{what}");
        let hidden = archive(&[("m/data.pkl", "m/data.pkl", b"N."), ("m/x", "m/x", &bytes)]);
        assert_eq!(look("m", &hidden).safety, Safety::Dangerous, "{what}, under another name");
    }
    let lying = archive(&[("m/data.pkl", "m/datb.pkl", b"N.")]);
    assert_eq!(codes(&look("m.pt", &lying)), ["zip.headers"]);
    assert_eq!(look("m.pt", &lying).safety, Safety::Inconclusive);
    let before = [&b"#!/bin/sh\n"[..], &torch(b"N.")].concat();
    assert_eq!(look("m.pt", &before).safety, Safety::Inconclusive, "it begins as a text");
    let script =
        archive(&[("m/code/a.py", "m/code/a.py", b"x"), ("m/data.pkl", "m/data.pkl", b"N.")]);
    let script = look("m.pt", &script);
    assert_eq!((script.format, script.safety), (Format::Torchscript, Safety::Suspicious));
    assert_eq!(look("m.pt", &torch(b"N.")[..60]).safety, Safety::Inconclusive);
}

#[test]
fn arrays_and_keras_are_opened() {
    let array = |kind: &str, rest: &[u8]| {
        let header = format!("{{'descr': {kind}, 'fortran_order': False, 'shape': (1,), }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), rest].concat()
    };
    let numbers = look("x.npy", &array("'<f4'", &[0; 4]));
    assert_eq!((numbers.format, numbers.safety), (Format::Npy, Safety::Safe));
    assert_eq!(numbers.facts["descr"], "'<f4'");
    let objects = array("'|O'", &attacks()[2].1);
    assert_eq!(look("x.npy", &objects).safety, Safety::Dangerous);
    let record = array("[('a', '<i4'), ('b', '|O')]", &attacks()[2].1);
    assert_eq!(look("x.npy", &record).safety, Safety::Dangerous);
    let npz = look("x.npz", &archive(&[("a.npy", "a.npy", &objects)]));
    assert_eq!((npz.format, npz.safety), (Format::Npz, Safety::Dangerous));
    let keras = |config: &[u8]| {
        look(
            "m.keras",
            &archive(&[
                ("config.json", "config.json", config),
                ("metadata.json", "metadata.json", b"{}"),
            ]),
        )
    };
    let safe = keras(br#"{"module":"keras.layers","class_name":"Dense"}"#);
    assert_eq!((safe.format, safe.safety), (Format::Keras, Safety::Safe));
    assert_eq!(keras(br#"{"layers":[{"class_name":"Lambda"}]}"#).safety, Safety::Dangerous);
    assert_eq!(keras(br#"{"module":"subprocess","class_name":"run"}"#).safety, Safety::Suspicious);
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn safetensors_are_checked_whole() {
    let good = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}"#;
    let report = look("m.safetensors", &safetensors(good, 16));
    assert_eq!((report.format, report.safety), (Format::Safetensors, Safety::Safe));
    assert_eq!(json!(report.parameters), json!({ "BF16": 6, "F32": 1 }));
    assert_eq!((report.weight_bytes, report.total_parameters()), (Some(16), 7));
    assert_eq!(report.facts["metadata"]["format"], "pt");
    let one = |entry: &str| format!(r#"{{"a":{entry}}}"#);
    for (what, bytes) in [
        ("more data", safetensors(good, 17)),
        ("less data", safetensors(good, 15)),
        ("a hole", safetensors(&one(r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#), 2)),
        (
            "a wrong size",
            safetensors(&one(r#"{"dtype":"U8","shape":[2],"data_offsets":[0,1]}"#), 1),
        ),
        ("backwards", safetensors(&one(r#"{"dtype":"U8","shape":[0],"data_offsets":[1,0]}"#), 0)),
        (
            "overflow",
            safetensors(
                &one(r#"{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#),
                0,
            ),
        ),
        (
            "an unknown type",
            safetensors(&one(r#"{"dtype":"X","shape":[0],"data_offsets":[0,0]}"#), 0),
        ),
        ("no JSON", safetensors("{", 0)),
        ("a header longer than the file", [&900_u64.to_le_bytes()[..], b"{}"].concat()),
    ] {
        let report = look("m.safetensors", &bytes);
        assert_eq!(
            (report.safety, codes(&report)),
            (Safety::Inconclusive, vec!["file.broken"]),
            "{what}"
        );
    }
}

/// A GGUF file with these pairs (already encoded) and one tensor of 32 × 2 in `Q8_0`.
fn gguf(pairs: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    file.extend((pairs.len() as u64).to_le_bytes());
    file.extend(pairs.concat());
    file.extend(text("blk.0"));
    file.extend([&2_u32.to_le_bytes()[..], &32_u64.to_le_bytes(), &2_u64.to_le_bytes()].concat());
    file.extend([&8_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat());
    file.resize(file.len().next_multiple_of(32), 0);
    file.resize(file.len() + data, 0);
    file
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

#[test]
fn gguf_is_read_within_bounds() {
    let list = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("<s>"), &text("a")].concat();
    let pairs = [
        pair("general.architecture", 8, &text("llama")),
        pair("llama.context_length", 4, &4096_u32.to_le_bytes()),
        pair("tokenizer.ggml.tokens", 9, &list),
        pair("tokenizer.chat_template", 8, &text("{{ messages }}")),
    ];
    let report = look("m.gguf", &gguf(&pairs, 68));
    assert_eq!((report.format, report.safety), (Format::Gguf, Safety::Safe), "{report:?}");
    assert_eq!(json!(report.parameters), json!({ "Q8_0": 64 }));
    assert_eq!(report.weight_bytes, Some(68));
    assert_eq!(report.facts["general.architecture"], "llama");
    assert_eq!(report.facts["llama.context_length"], 4096);
    assert_eq!(report.facts["tokenizer.ggml.tokens.length"], 2);
    assert_eq!(report.facts["tokenizer.chat_template"], "{{ messages }}");
    let endless = |kind: u32| [&kind.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    for (what, bytes) in [
        ("cut", gguf(&pairs, 67)),
        ("a list without an end", gguf(&[pair("x", 9, &endless(4))], 68)),
        ("texts without an end", gguf(&[pair("x", 9, &endless(8))], 68)),
        ("lists in lists", gguf(&[pair("general.x", 9, &endless(9))], 68)),
        ("a long text", gguf(&[pair("x", 8, &u64::MAX.to_le_bytes())], 68)),
        ("many pairs", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("another version", b"GGUF\x09\0\0\0".to_vec()),
    ] {
        assert_eq!(look("m.gguf", &bytes).safety, Safety::Inconclusive, "{what}");
    }
}

/// A field of protocol buffers with bytes in it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

#[test]
fn onnx_is_walked() {
    let location =
        |path: &str| field(13, &[field(1, b"location"), field(2, path.as_bytes())].concat());
    let model = |domain: &str, path: &str| {
        let node = [field(4, b"Gemm"), field(7, domain.as_bytes())].concat();
        let mut tensor = field(1, &[2, 3]);
        tensor.extend([2 << 3, 1]);
        tensor.extend(location(path));
        let graph = [field(1, &node), field(5, &tensor), field(11, &field(1, b"x"))].concat();
        [&[1 << 3, 8][..], &field(2, b"pytorch"), &field(7, &graph)].concat()
    };
    let report = look("m.onnx", &model("", "m.data"));
    assert_eq!((report.format, report.safety), (Format::Onnx, Safety::Safe), "{report:?}");
    assert_eq!(json!(report.parameters), json!({ "F32": 6 }));
    assert_eq!(
        (&report.facts["operators"], &report.facts["inputs"]),
        (&json!(["Gemm"]), &json!(["x"]))
    );
    assert_eq!(codes(&look("m.onnx", &model("com.example", "m.data"))), ["onnx.domain"]);
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x"] {
        assert_eq!(look("m.onnx", &model("", path)).safety, Safety::Dangerous, "{path}");
    }
    assert_eq!(look("m.onnx", b"no protocol buffers").safety, Safety::Inconclusive);
    assert_eq!(look("m.onnx", &model("", "m.data")[..20]).safety, Safety::Inconclusive);
}

#[test]
fn texts_tell_what_they_name() {
    let config =
        look("config.json", br#"{"model_type":"qwen3","architectures":["Q"],"auto_map":{}}"#);
    assert_eq!((config.format, config.safety), (Format::Json, Safety::Suspicious));
    assert_eq!(config.facts["model_type"], "qwen3");
    let index = |shard: &str| {
        let text =
            json!({ "metadata": { "total_size": 9 }, "weight_map": { "a": shard, "b": shard } });
        look("model.safetensors.index.json", text.to_string().as_bytes())
    };
    assert_eq!(index("m-1.safetensors").facts["shards"], json!(["m-1.safetensors"]));
    assert_eq!((index("m").weight_bytes, index("m").safety), (Some(9), Safety::Safe));
    assert_eq!(index("../m").safety, Safety::Dangerous);
    let card = look("README.md", b"---\nlicense: mit\ntags: [a, b]\nother: 1\n---\n# Model\n");
    assert_eq!((card.format, card.safety), (Format::Text, Safety::Safe));
    assert_eq!(json!(card.facts), json!({ "license": "mit", "tags": ["a", "b"] }));
    assert_eq!(look("modeling.py", b"import os\n").safety, Safety::Suspicious);
    assert_eq!(look("notes.txt", "grüße".as_bytes()).safety, Safety::Safe);
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<_> = attacks().into_iter().map(|(_, bytes)| ("m.pkl", bytes)).collect();
    all.push(("m.pt", torch(&attacks()[2].1)));
    all.push(("m.gguf", gguf(&[pair("general.name", 8, &text("x"))], 68)));
    all.push((
        "m.safetensors",
        safetensors(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, 2),
    ));
    all.push(("m.onnx", field(7, &field(1, &field(4, b"Gemm")))));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a file holds, it is looked at to an end, and a file of nonsense is never clean.
    #[test]
    fn any_bytes_are_looked_at(
        nth in 0..samples().len(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..40),
        is_cut in any::<bool>(),
    ) {
        let (name, mut bytes) = samples().swap_remove(nth);
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(tail);
        }
        look(name, &bytes);
    }
}

#[test]
fn what_looks_like_a_secret_is_told_by_its_line_and_never_shown() {
    let token = format!("hf_{}", "aZ3xQ9bT7".repeat(5));
    for (name, text) in [
        ("config.json", format!("{{\n \"model_type\": \"bert\",\n \"token\": \"{token}\"\n}}")),
        ("README.md", format!("---\nlicense: mit\nkey: {token}\n---\n")),
    ] {
        let report = look(name, text.as_bytes());
        assert_eq!((codes(&report), report.safety), (vec!["text.secret"], Safety::Safe), "{name}");
        let told = serde_json::to_string(&report).unwrap();
        assert!(told.contains("line 3 has what looks like") && !told.contains(&token), "{told}");
    }
    assert_eq!(codes(&look("config.json", b"{}")), Vec::<&str>::new());
}
