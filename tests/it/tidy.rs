//! The architecture, as a test: what may import what, what the pure half may not name, what is
//! named in one place only, and how large things may grow. docs/architecture.md says why.
//!
//! It reads the source as text. That is coarse, but a person can follow it, and every rule here
//! is seen to fail on a planted breach.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The modules, lowest first. A module imports only from lines above its own, and from itself.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["manifest", "state"],
    &["plan"],
    &["status"],
    // Above this line nothing waits, fails or costs.
    &["clock", "telemetry", "host", "secret", "inspect", "scan", "xet"],
    &["source", "workspace", "engine", "gpu", "usage", "store", "auth", "audit", "backup"],
    &["queue", "record", "execute"],
    &["health", "intake", "compose", "forge", "doctor"],
    &["notice"],
    &["reconcile"],
    &["controller", "server"],
    &["config"],
    &["daemon"],
    &["cli"],
];

/// How many of these layers are pure.
const PURE_LAYERS: usize = 4;

/// What the pure half may not name: waiting, time, chance, and everything outside the process.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "futures_util",
    "bollard",
    "git2",
    "ssh2",
    "notify",
    "hyper",
    "axum",
    "rustix",
    "tracing",
    "rand",
    "Instant",
    "SystemTime",
];

/// What of the standard library the pure half may not import.
const IMPURE_STD: &[&str] =
    &["std::env", "std::fs", "std::io", "std::net", "std::os", "std::process", "std::thread"];

/// A word that only some files may name.
struct Place {
    word: &'static str,
    /// Beginnings of paths.
    at: &'static [&'static str],
}

const PLACES: &[Place] = &[
    Place { word: "bollard", at: &["src/engine/"] },
    Place { word: "git2", at: &["src/workspace/", "src/source/git"] },
    Place { word: "ssh2", at: &["src/workspace/"] },
    Place { word: "notify::", at: &["src/source/directory/"] },
    Place { word: "axum", at: &["src/server/"] },
    Place { word: "hyper", at: HTTP },
    Place { word: "hyper_util", at: HTTP },
    Place { word: "ureq", at: &["src/forge/", "src/workspace/"] },
    Place { word: "lettre", at: &["src/notice/"] },
    Place { word: "prometheus", at: &["src/telemetry/"] },
    Place { word: "tokio_tungstenite", at: &["src/server/"] },
    Place {
        word: "serde_yaml",
        at: &[
            "src/manifest/",
            "src/config/",
            "src/cli/document.rs",
            "src/compose/import/",
            "src/engine/docker/cdi.rs",
            "src/inspect/text.rs",
            "src/plan/recipe/read/",
        ],
    },
    Place { word: "clap", at: &["src/cli/", "src/cli.rs", "src/config/", "src/main.rs"] },
];

const HTTP: &[&str] =
    &["src/server/", "src/cli/", "src/cli.rs", "src/health.rs", "src/engine/docker/"];

/// Names that say nothing about what is in a module.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "types", "stuff"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// A file of Rust.
struct Source {
    /// Where it is below the project's folder.
    path: String,
    text: String,
    /// The text with comments and the insides of strings blanked out, line by line the same.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text, true) }
    }

    fn is_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// The top-level module, for a file that belongs to one.
    fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        (!matches!(name, "lib" | "main")).then_some(name)
    }

    fn layer(&self) -> Option<usize> {
        layer(self.module()?)
    }

    /// A problem at a byte of the code.
    fn at(&self, byte: usize, problem: &str) -> String {
        format!("{}:{}: {problem}", self.path, line_at(&self.code, byte))
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn line_at(text: &str, byte: usize) -> usize {
    text[..byte].matches('\n').count() + 1
}

/// Everything that is wrong with these files.
fn problems(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        check_shape(file, &mut found);
        check_names(file, &mut found);
        check_leftovers(file, &mut found);
        check_functions(file, &mut found);
        if file.is_src() {
            check_imports(file, &mut found);
            check_purity(file, &mut found);
            check_places(file, &mut found);
            check_labels(file, &mut found);
            check_conditions(file, &mut found);
        }
    }
    check_reached(files, &mut found);
    found
}

fn check_shape(file: &Source, found: &mut Vec<String>) {
    if !file.text.starts_with("//!") {
        found.push(format!("{}: does not open with `//!`", file.path));
    }
    let lines = file.text.lines().count();
    if FILE_LINES_MAX < lines {
        found.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
    }
}

fn check_names(file: &Source, found: &mut Vec<String>) {
    let names = file.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let inline = words(&file.code, "mod").filter_map(|at| word_after(&file.code, at + "mod".len()));
    for name in names.chain(inline) {
        if EMPTY_NAMES.contains(&name) {
            found.push(format!("{}: `{name}` says nothing", file.path));
        }
    }
}

fn check_leftovers(file: &Source, found: &mut Vec<String>) {
    for (word, problem) in [
        ("[ignore]", "a test that does not run"),
        ("[ignore =", "a test that does not run"),
        ("should_panic", "say what comes out, not that it panics"),
        ("todo!", "not finished"),
        ("unimplemented!", "not finished"),
        ("dbg!", "left over"),
        ("thread::sleep", "wait for a state, not for a while"),
    ] {
        for (at, _) in file.code.match_indices(word) {
            found.push(file.at(at, &format!("`{word}`: {problem}")));
        }
    }
}

fn check_functions(file: &Source, found: &mut Vec<String>) {
    for at in words(&file.code, "fn") {
        let Some(name) = word_after(&file.code, at + "fn".len()) else { continue };
        let Some(lines) = body_lines(&file.code[at..]) else { continue };
        if FUNCTION_LINES_MAX < lines {
            let problem = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            found.push(file.at(at, &problem));
        }
    }
}

/// How many lines a function has, from `fn` to its last brace. None for one without a body.
fn body_lines(code: &str) -> Option<usize> {
    let open = code.find(['{', ';']).filter(|at| code[*at..].starts_with('{'))?;
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(line_at(code, open + at));
        }
    }
    None
}

fn check_imports(file: &Source, found: &mut Vec<String>) {
    for (at, _) in file.code.match_indices("use crate::{") {
        found.push(file.at(at, "one `use crate::…` for each module"));
    }
    let Some(module) = file.module() else { return };
    let Some(own) = file.layer() else {
        found.push(format!("{}: `{module}` is on no layer", file.path));
        return;
    };
    for (at, _) in file.code.match_indices("crate::") {
        let Some(used) = word_after(&file.code, at + "crate::".len()) else { continue };
        let is_lower = layer(used).is_some_and(|layer| layer < own);
        if !is_lower && used != module {
            found.push(file.at(at, &format!("`{module}` may not use `crate::{used}`")));
        }
    }
}

fn check_purity(file: &Source, found: &mut Vec<String>) {
    if file.layer().is_none_or(|layer| PURE_LAYERS <= layer) {
        return;
    }
    for word in IMPURE {
        for at in words(&file.code, word) {
            found.push(file.at(at, &format!("the pure half names `{word}`")));
        }
    }
    for (at, path) in uses(&file.code) {
        if let Some(bad) = IMPURE_STD.iter().find(|bad| path.starts_with(**bad)) {
            found.push(file.at(at, &format!("the pure half uses `{bad}`")));
        }
    }
    for bad in IMPURE_STD.iter().chain(&["::now()"]) {
        for (at, _) in file.code.match_indices(bad) {
            found.push(file.at(at, &format!("the pure half names `{bad}`")));
        }
    }
}

fn check_places(file: &Source, found: &mut Vec<String>) {
    for Place { word, at } in PLACES {
        if at.iter().any(|begin| file.path.starts_with(begin)) {
            continue;
        }
        let bare = word.trim_end_matches("::");
        for byte in words(&file.code, bare) {
            if file.code[byte..].starts_with(word) {
                found.push(file.at(byte, &format!("`{bare}` belongs into {}", at.join(", "))));
            }
        }
    }
}

/// Keys of labels are written in one place, or two places will differ one day.
fn check_labels(file: &Source, found: &mut Vec<String>) {
    if file.path == "src/model/label.rs" {
        return;
    }
    let text = blank(&file.text, false);
    let code = without_tests(&text);
    for (at, _) in code.match_indices("\"dev.berth.") {
        found.push(format!("{}:{}: a label's key", file.path, line_at(code, at)));
    }
}

/// Only `status` says how an app stands.
fn check_conditions(file: &Source, found: &mut Vec<String>) {
    if file.module() == Some("status") {
        return;
    }
    let code = without_tests(&file.code);
    for at in words(code, "Condition") {
        let is_literal = code[at + "Condition".len()..].trim_start().starts_with('{');
        let before = code[..at].trim_end();
        let is_named = ["struct", "enum", "impl", "for", "->", ">"];
        if is_literal && !is_named.iter().any(|word| before.ends_with(word)) {
            found.push(file.at(at, "a condition is set in `status` only"));
        }
    }
}

/// A file that no `mod` names is compiled by nobody, and its tests never run.
fn check_reached(files: &[Source], found: &mut Vec<String>) {
    let by_path: BTreeMap<_, _> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    for file in files {
        let Some((folder, name)) = file.path.rsplit_once('/') else { continue };
        let is_root = matches!(file.path.as_str(), "src/lib.rs" | "src/main.rs")
            || file.path.starts_with("benches/")
            || matches!(folder, "tests" | "examples")
            || (matches!(name, "main.rs" | "lib.rs") && folder.starts_with("tests/"));
        if is_root {
            continue;
        }
        let (folder, name) = match (name, folder.rsplit_once('/')) {
            ("mod.rs", Some((above, own))) => (above, own),
            _ => (folder, name.strip_suffix(".rs").unwrap_or(name)),
        };
        let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"];
        let is_named = parents.iter().any(|parent| {
            let parent = by_path.get(format!("{folder}{parent}").as_str());
            parent.is_some_and(|parent| {
                words(&parent.code, "mod")
                    .any(|at| word_after(&parent.code, at + "mod".len()) == Some(name))
            })
        });
        if !is_named {
            found.push(format!("{}: no `mod {name};` names it", file.path));
        }
    }
}

/// The code before the first module of unit tests.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where this word stands by itself.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

/// The word that follows.
fn word_after(code: &str, at: usize) -> Option<&str> {
    let rest = code[at..].trim_start();
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (0 < end).then(|| &rest[..end])
}

/// Every path that a `use` brings in, with where the `use` stands. Groups are written out.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for at in words(code, "use") {
        let Some(end) = code[at..].find(';') else { continue };
        let tree: String = code[at + "use".len()..at + end].split_whitespace().collect();
        write_out("", &tree, &mut |path| paths.push((at, path)));
    }
    paths
}

fn write_out(before: &str, tree: &str, tell: &mut impl FnMut(String)) {
    let Some((head, group)) = tree.split_once('{') else { return tell(format!("{before}{tree}")) };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0_i32;
    let is_end = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    for branch in group.split(is_end).filter(|branch| !branch.is_empty()) {
        write_out(&format!("{before}{head}"), branch, tell);
    }
}

/// The text with comments blanked out, and the insides of strings too if that is wanted. What is
/// left stands where it stood.
fn blank(text: &str, with_strings: bool) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_after_word = code.ends_with(is_word);
        let (length, is_kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else if let Some(length) = raw_string(rest).filter(|_| !is_after_word) {
            (length, !with_strings)
        } else if c == '"' {
            (string(rest, '"'), !with_strings)
        } else if c == '\'' && is_char(rest) {
            (string(rest, '\''), !with_strings)
        } else {
            (c.len_utf8(), true)
        };
        let (piece, after) = rest.split_at(length);
        if is_kept {
            code.push_str(piece);
        } else {
            // Byte for byte, so that places stay what they are.
            code.extend(piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// The length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opened = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| opened + at + end.len()))
}

/// The length of a string or character that begins here.
fn string(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// Whether a character begins here, and not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

fn project() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&top.join(folder), &mut paths);
    }
    let read = |path: &PathBuf| {
        let below = path.strip_prefix(top).unwrap().to_str().unwrap();
        Source::new(below, &fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

#[test]
fn the_project_keeps_its_own_rules() {
    let files = project();
    assert!(100 < files.len(), "only {} files were found", files.len());
    let found = problems(&files);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// A rule that a planted breach does not break is no rule.
#[test]
fn every_rule_can_be_broken() {
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(69));
    let breaches: &[(&str, &str, &str)] = &[
        ("src/plan/x.rs", "use crate::engine::Engine;", "`plan` may not use `crate::engine`"),
        ("src/plan/x.rs", "fn f() { crate::daemon::run() }", "may not use `crate::daemon`"),
        ("src/state/x.rs", "use crate::manifest::Diagnostic;", "may not use `crate::manifest`"),
        ("src/strange/x.rs", "", "`strange` is on no layer"),
        ("src/queue.rs", "use crate::{model, plan};", "one `use crate::…` for each module"),
        ("src/plan/x.rs", "async fn f() {}", "names `async`"),
        ("src/plan/x.rs", "fn f() { g().await }", "names `await`"),
        ("src/model/x.rs", "use std::{collections::BTreeMap, fs};", "uses `std::fs`"),
        ("src/model/x.rs", "use std::{a::{b, c}, net::{IpAddr, TcpStream}};", "uses `std::net`"),
        ("src/model/x.rs", "fn f() { std::fs::read(x) }", "names `std::fs`"),
        ("src/manifest/x.rs", "use tokio::time::Instant;", "names `tokio`"),
        ("src/status/x.rs", "let now = Timestamp::now();", "names `::now()`"),
        ("src/plan/x.rs", "tracing::info!();", "names `tracing`"),
        ("src/execute/x.rs", "use bollard::Docker;", "`bollard` belongs into src/engine/"),
        ("src/source/x.rs", "use git2::Repository;", "`git2` belongs into src/workspace/"),
        ("src/source/writer.rs", "use notify::Event;", "`notify` belongs into"),
        ("src/engine/x.rs", "use axum::Router;", "`axum` belongs into src/server/"),
        ("src/daemon.rs", "use hyper_util::rt;", "`hyper_util` belongs into src/server/"),
        ("src/engine/x.rs", "const KEY: &str = \"dev.berth.app\";", "a label's key"),
        ("src/record/x.rs", "let c = Condition { kind };", "a condition is set in `status`"),
        ("src/queue.rs", "fn f() { todo!() }", "`todo!`: not finished"),
        ("tests/it/x.rs", "#[ignore] fn f() {}", "a test that does not run"),
        ("tests/it/x.rs", "#[ignore = \"slow\"] fn f() {}", "a test that does not run"),
        ("tests/it/x.rs", "#[should_panic] fn f() {}", "`should_panic`"),
        ("tests/it/x.rs", "std::thread::sleep(d);", "wait for a state"),
        ("src/queue.rs", "fn f() { dbg!(1); }", "`dbg!`: left over"),
        ("src/engine/helpers.rs", "", "`helpers` says nothing"),
        ("src/engine/x.rs", "mod util { }", "`util` says nothing"),
        ("src/queue.rs", &long, "`f` has 71 lines, at most 70"),
        ("tests/it/x.rs", &"\n".repeat(600), "601 lines, at most 600"),
        ("tests/it/orphan.rs", "", "no `mod orphan;` names it"),
    ];
    for (path, text, problem) in breaches {
        let found = problems(&[Source::new(path, &format!("//! Docs.\n{text}"))]);
        assert!(found.iter().any(|said| said.contains(problem)), "{path}: {text}\n{found:?}");
    }
    let found = problems(&[Source::new("src/queue.rs", "fn f() {}\n")]);
    assert!(found.iter().any(|said| said.contains("does not open with")), "{found:?}");
}

/// What looks like a breach and is none.
#[test]
fn comments_strings_and_lower_layers_break_no_rule() {
    let good: &[(&str, &str)] = &[
        ("src/plan/x.rs", "use crate::state::World;\nuse crate::plan::step::Call;"),
        ("src/plan/x.rs", "/// Never `async`, never tokio::spawn.\n// todo!()\nfn f() {}"),
        ("src/plan/x.rs", "fn f(input: &Input) -> Timestamp { let now = input.now; now }"),
        ("src/engine/x.rs", "const A: &str = \"use git2 and axum; todo!()\";"),
        ("src/engine/x.rs", "const A: &str = r#\"a \" git2 \"#; const B: char = '\"';"),
        ("src/engine/x.rs", "use tokio::sync::Notify; // dev.berth.app"),
        ("src/record/x.rs", "fn notify() { self.notify() }"),
        ("src/model/x.rs", "pub struct Condition {\n}\nimpl Condition {}\n"),
        ("src/record/x.rs", "#[cfg(test)]\nmod tests { fn f() { Condition { kind }; } }"),
        ("src/engine/x.rs", "#[cfg(test)]\nmod tests { const A: &str = \"dev.berth.app\"; }"),
        ("src/telemetry/x.rs", "fn f<'a>(x: &'a str, git: char) { let _ = ('a', '\\'', \"}}\"); }"),
        ("tests/it/x.rs", "fn f();\nfn g() { \"{{{\"; }\n"),
    ];
    for (path, text) in good {
        let file = Source::new(path, &format!("//! Docs.\n{text}"));
        let mut found = problems(&[file]);
        found.retain(|said| !said.contains("names it"));
        assert!(found.is_empty(), "{path}: {text}\n{found:?}");
    }
    let parent = Source::new("src/engine/mod.rs", "//! Docs.\nmod docker;");
    let child = Source::new("src/engine/docker/mod.rs", "//! Docs.\nmod calls;");
    let below = Source::new("src/engine/docker/calls.rs", "//! Docs.");
    let lib = Source::new("src/lib.rs", "//! Docs.\npub mod engine;");
    assert_eq!(problems(&[parent, child, below, lib]), Vec::<String>::new());
}
