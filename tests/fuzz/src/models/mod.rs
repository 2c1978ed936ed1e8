//! What clients of the model store say about uploads and parts, and what is inside model files.

use std::time::Duration;

use crate::readers::{JSON_WORDS, MIB, Target};

#[allow(unused_imports, reason = "not all of it is read here")]
#[path = "../../../../src/inspect/mod.rs"]
mod inspect;
#[path = "../../../../src/server/models/uploads/machine.rs"]
mod machine;
#[path = "../../../../src/server/models/range.rs"]
mod range;
#[path = "../../../../src/server/models/uploads/said.rs"]
mod said;

/// As the store bounds them, with less to read: an input here has 1 MiB at most.
const LIMITS: inspect::Limits = inspect::Limits {
    header: 1 << 20,
    opcodes: 500_000,
    unpacked: 1 << 20,
    entries: 1_000,
    searched: 1 << 20,
    time: Duration::from_secs(60),
};

pub(crate) const UPLOADS: Target = Target {
    name: "uploads",
    bytes_max: 64 << 10,
    seeds: &[
        "tus-resumable: 1.0.0\nupload-length: 100\nupload-metadata: filename bS5vbm54,is_private\nupload-checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "upload-complete: ?0\nupload-offset: 7;x=1\nupload-length: 9",
        "tus-resumable: 1.0.0\nupload-defer-length: 1\nupload-offset: 0",
    ],
    words: &[
        "\nupload-offset: ",
        "\nupload-length: ",
        "\nupload-complete: ?1",
        "\nupload-checksum: md5 ",
        "999999999999999",
        "-1",
        "?1",
        ";",
        ",",
        " ",
        "====",
        "/w==",
    ],
    read: read_uploads,
};

pub(crate) const RANGE: Target = Target {
    name: "range",
    bytes_max: 64 << 10,
    seeds: &["bytes=0-4,299990-", "bytes=-7", "lines=1-2", "bytes=5-4"],
    words: &["bytes=", "-", ",", "0", "18446744073709551616", " ", "="],
    read: read_range,
};

pub(crate) const WEIGHTS: Target = Target {
    name: "weights",
    bytes_max: MIB,
    seeds: &[
        "GGUF\u{3}\0\0\0\u{1}\0\0\0\0\0\0\0\u{1}\0\0\0\0\0\0\0\u{14}\0\0\0\0\0\0\0general.architecture\u{8}\0\0\0\u{5}\0\0\0\0\0\0\0llama\u{1}\0\0\0\0\0\0\0t\u{1}\0\0\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "@\0\0\0\0\0\0\0{\"__metadata__\":{},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}abcd",
        "\u{8}\u{8}\u{12}\u{7}pytorch:\u{2}\u{a}\0",
    ],
    words: &["GGUF", "\u{7f}\u{7f}\u{7f}\u{7f}", "\0\0\0\0", "\u{9}\0\0\0", "{", "[", "\"a\":", "BF16", "\u{12}"],
    read: read_weights,
};

pub(crate) const PICKLE: Target = Target {
    name: "pickle",
    bytes_max: MIB,
    seeds: &[
        "cos\nsystem\n(S'true'\ntR.",
        "ccollections\nOrderedDict\n)R.",
        "PK\u{3}\u{4}\u{14}\0\0\0\0\0",
        "(lp0\nI1\naS'x'\np1\na.",
    ],
    words: &["c", "R", ".", "(", "t", "i", "o", "b", "\n", "p0\n", "g0\n", "PK\u{1}\u{2}", "PK\u{5}\u{6}", "\u{7f}", "\0"],
    read: read_pickle,
};

pub(crate) const TEXT: Target = Target {
    name: "model-text",
    bytes_max: MIB,
    seeds: &[
        r#"{"model_type":"llama","architectures":["A"],"auto_map":{},"quantization_config":{"a":[1,2]}}"#,
        r#"{"metadata":{"total_size":8},"weight_map":{"a":"model-00001.safetensors","b":"../x"}}"#,
        "---\nlicense: mit\ntags: [a, b]\n---\n# A model\n",
    ],
    words: JSON_WORDS,
    read: read_text,
};

fn read_uploads(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let header = |name: &str| {
        let line = |line: &&str| line.split_once(": ").is_some_and(|(known, _)| known == name);
        text.lines().find(line).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    };
    let Ok(said) = said::read(header) else { return };
    let ends = match said.complete {
        None => machine::Ends::WhenFull,
        Some(true) => machine::Ends::Now,
        Some(false) => machine::Ends::NotYet,
    };
    let (offset, most) = (said.offset.unwrap_or(0), 1_000_000);
    for (content, at) in [(Some(offset), offset), (None, offset), (said.length, 3)] {
        let state = machine::State { offset: at, length: Some(7).filter(|_| at == 3), is_over: false };
        let append = machine::Append { offset, content, length: said.length, ends };
        let Ok(course) = machine::begin(state, append, Some(most)) else { continue };
        assert!(course.offset + course.most <= most, "more than may be: {course:?}");
        for came in [0, course.most / 2, course.most] {
            for is_whole in [true, false] {
                if let machine::Outcome::Whole(length) = machine::end(course, came, is_whole) {
                    assert_eq!(length, course.offset + came, "{course:?}");
                    assert!(course.length.is_none_or(|said| said == length), "{course:?}");
                }
            }
        }
    }
}

fn read_range(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for size in [0, 1, 1000, u64::MAX] {
        if let range::Asked::Parts(parts) = range::read(text, size) {
            assert!(!parts.is_empty() && parts.len() <= 64, "{} parts", parts.len());
            let mut end = None;
            for (first, last) in parts {
                assert!(first <= last && last < size, "{first}-{last} of {size}");
                assert!(end.is_none_or(|end| end < first), "parts overlap");
                end = Some(last);
            }
        }
    }
}

fn inspect_as(names: &[&str], bytes: &[u8]) {
    let bytes = bytes.to_vec();
    for name in names {
        let report = inspect::inspect(name, &bytes, &LIMITS).expect("memory does not fail");
        let text = serde_json::to_string(&report).expect("a report can be written");
        let again: inspect::Report = serde_json::from_str(&text).expect("and read again");
        assert_eq!(again.safety, report.safety);
        assert!(report.findings.iter().all(|finding| finding.safety <= report.safety));
        assert!(report.imports.iter().all(|import| import.safety <= report.safety));
    }
}

fn read_weights(bytes: &[u8]) {
    inspect_as(&["m.safetensors", "m.onnx", "saved_model.pb"], bytes);
}

fn read_pickle(bytes: &[u8]) {
    inspect_as(&["m.pkl", "m.pt"], bytes);
}

fn read_text(bytes: &[u8]) {
    inspect_as(&["config.json", "model.safetensors.index.json", "readme.md"], bytes);
}
