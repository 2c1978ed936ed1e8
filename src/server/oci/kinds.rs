//! What files are called in manifests, and which versions can be tags.

/// The media types of layers: each is a file as it is, neither packed nor compressed.
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
const CODE: &str = "application/vnd.cncf.model.code.v1.raw";
const DATASET: &str = "application/vnd.cncf.model.dataset.v1.raw";

/// The longest tag.
const TAG_MAX: usize = 128;

const ENDINGS: [(&str, &[&str]); 4] = [
    (
        CONFIG,
        &[
            "json", "yaml", "yml", "toml", "txt", "jinja", "model", "vocab", "ini", "cfg", "xml",
            "tiktoken", "spm",
        ],
    ),
    (DOC, &["md", "rst", "pdf", "html", "png", "jpg", "jpeg", "gif", "svg", "webp"]),
    (CODE, &["py", "ipynb", "sh", "c", "cc", "cpp", "h", "cu", "rs", "js", "ts", "go", "java"]),
    (DATASET, &["csv", "tsv", "parquet", "arrow", "jsonl", "ndjson"]),
];

/// The media type of a file, by its name; `other` is what it was called elsewhere.
pub(super) fn layer(path: &str, other: Option<&str>) -> &'static str {
    by_name(path).or_else(|| by_name(other?)).unwrap_or(WEIGHT)
}

fn by_name(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    if ["license", "licence", "notice", "readme", "copying"].iter().any(|w| name.starts_with(w)) {
        return Some(DOC);
    }
    if ["params", "template", "system"].contains(&name.as_str()) {
        return Some(CONFIG);
    }
    let (_, ending) = name.rsplit_once('.')?;
    ENDINGS.iter().find(|(_, all)| all.contains(&ending)).map(|(kind, _)| *kind)
}

/// Whether it is a file of weights.
pub(super) fn is_weight(kind: &str) -> bool {
    kind == WEIGHT
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// Whether a text can be a tag.
pub(super) fn is_tag(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_MAX && text.starts_with(is_first) && text.chars().all(is_legal)
}

/// The tag of a version: itself, or with `_` for what no tag may have.
pub(super) fn tag_of(version: &str) -> String {
    if is_tag(version) {
        return version.to_owned();
    }
    let mut tag: String = version.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
    if tag.starts_with(['.', '-']) {
        tag.insert(0, '_');
    }
    tag.truncate(TAG_MAX);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_names() {
        for (path, kind) in [
            ("model.safetensors", WEIGHT),
            ("a/model-00001-of-00002.bin", WEIGHT),
            ("m", WEIGHT),
            ("config.json", CONFIG),
            ("tokenizer.model", CONFIG),
            ("template", CONFIG),
            ("README.md", DOC),
            ("x/LICENSE", DOC),
            ("modeling_x.py", CODE),
            ("train.parquet", DATASET),
        ] {
            assert_eq!(layer(path, None), kind, "{path}");
        }
        assert_eq!(layer("m", Some("card.md")), DOC);
        assert!(is_weight(layer("m", Some("m.onnx"))));
    }

    #[test]
    fn every_version_has_a_tag_that_is_one() {
        for (version, tag) in [
            ("1.0", "1.0"),
            ("main", "main"),
            ("2.0.1+cu121", "2.0.1_cu121"),
            ("exp%2Fa", "exp_2Fa"),
            ("-x", "_-x"),
            ("é", "_"),
        ] {
            assert_eq!(tag_of(version), tag);
            assert!(is_tag(tag), "{tag}");
        }
        assert!(is_tag(&tag_of(&"x+".repeat(100))));
        for bad in ["", ".a", "-a", "a/b", "a:b", "é", &"x".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
