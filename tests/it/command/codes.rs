//! Every code of the source is explained, and docs/errors.md is what the table says.

use std::{collections::BTreeSet, fs, path::Path};

use berth::model;

/// The first words of codes. Other texts with a dot in them are names of files, fields or figures.
const FAMILIES: &[&str] = &[
    "app",
    "audit",
    "auth",
    "backup",
    "build",
    "cli",
    "container",
    "controller",
    "disk",
    "doctor",
    "engine",
    "exec",
    "git",
    "gpu",
    "health",
    "host",
    "image",
    "manifest",
    "model",
    "network",
    "notify",
    "plan",
    "policy",
    "port",
    "request",
    "rollout",
    "scan",
    "secret",
    "server",
    "source",
    "state",
    "terminal",
    "tls",
];
/// What looks like a code and is none: names of files and fields, and deeds in the audit log.
const OTHER: &[&str] = &[
    "audit.jsonl",
    "backup.create",
    "backup.prune",
    "backup.restore",
    "build.args",
    "build.log",
    "build.python",
    "container.started",
    "host.docker",
    "image.name",
    "manifest.added",
    "manifest.removed",
    "state.json",
    "secret.key",
    "secret.removed",
    "secret.set",
];
const ENDS: &[&str] = &[
    "css",
    "html",
    "internal",
    "js",
    "json",
    "key",
    "lock",
    "log",
    "md",
    "onnx",
    "pem",
    "pkl",
    "pt",
    "py",
    "rs",
    "safetensors",
    "socket",
    "svg",
    "toml",
    "txt",
    "yaml",
    "yml",
];

#[test]
fn every_code_of_the_source_is_in_the_table_and_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut used = BTreeSet::new();
    walk(&root, &mut used);
    let known: BTreeSet<String> = model::codes().map(|code| code.slug.to_owned()).collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "codes without a line in src/model/codes/table.txt: {unknown:?}");
    let unused: Vec<_> = known.difference(&used).filter(|code| *code != "ok").collect();
    assert!(unused.is_empty(), "codes that nothing says: {unused:?}");
}

/// The table as a page. `BLESS=1` writes it.
#[test]
fn the_page_of_codes_is_the_one_that_was_looked_at() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = model::codes_page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert!(known == page, "docs/errors.md is not what the table says: look, then BLESS=1");
}

fn walk(folder: &Path, used: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, used);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|end| end != "rs") || name == "tests.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        used.extend(code.split('"').filter(|text| is_code(text)).map(ToOwned::to_owned));
    }
}

fn is_code(text: &str) -> bool {
    let Some((family, rest)) = text.split_once('.') else { return false };
    let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
    FAMILIES.contains(&family)
        && !rest.is_empty()
        && rest.chars().all(is_word)
        && !ENDS.contains(&rest)
        && !OTHER.contains(&text)
}
