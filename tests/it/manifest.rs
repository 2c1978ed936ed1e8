//! Manifests: the golden corpus, the schema against the reader, and what no file may do.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, sync::Arc};

use berth::manifest::{Diagnostic, FileReading, assemble, read_file, render, schema};
use berth::model::AppName;
use proptest::prelude::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifest")
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn show(reading: &FileReading, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::new();
    for diagnostic in &reading.diagnostics {
        writeln!(shown, "{}\n", render(diagnostic, &text, false)).unwrap();
    }
    for app in &reading.apps {
        let origin = &app.origin;
        writeln!(shown, "{} is good, from line {}", app.name, origin.line).unwrap();
        if origin.file.starts_with("good") {
            writeln!(shown, "{:#?}\n", app.spec).unwrap();
        }
    }
    for mention in reading.mentions.iter().filter(|mention| mention.is_bad) {
        writeln!(shown, "{} is bad, from line {}", mention.name, mention.origin.line).unwrap();
    }
    shown
}

/// Every kind of mistake has a file here, and every text that a user reads about it. Write them
/// anew with `BLESS=1`.
#[test]
fn every_manifest_of_the_corpus_reads_as_it_is_written_down() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let files = corpus();
    assert!(45 <= files.len(), "the corpus has shrunk to {}", files.len());
    for (name, bytes) in files {
        let shown = show(&read_file(&name, &bytes), &bytes);
        let path = folder().join(name.replace(".yaml", ".txt"));
        if bless {
            fs::write(&path, &shown).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != shown {
            wrong.push(format!("{name}:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_manifests_give_apps_and_bad_ones_give_errors() {
    for (name, bytes) in corpus() {
        let reading = read_file(&name, &bytes);
        let errors = reading.diagnostics.iter().filter(|d| d.is_error()).count();
        let is_good = name.starts_with("good") || name.starts_with("warning");
        assert_eq!(errors == 0, is_good, "{name}");
    }
}

/// Faults Y10 and W17: nothing that is printed steers a terminal, and nothing repeats a secret.
#[test]
fn what_is_shown_is_harmless_and_keeps_secrets() {
    for (name, bytes) in corpus() {
        let reading = read_file(&name, &bytes);
        let shown = show(&reading, &bytes).replace('\n', "");
        assert!(!shown.contains(char::is_control), "{name}");
        for diagnostic in &reading.diagnostics {
            let shown = format!(
                "{diagnostic:?}{}",
                render(diagnostic, &String::from_utf8_lossy(&bytes), true)
            );
            for secret in ["hunter2", "s3cret", "12345"] {
                assert!(!shown.contains(secret), "{name}: {shown}");
            }
        }
    }
}

const GOOD: &str = "apiVersion: berth/v1\nkind: App\nmetadata: {name: NAME}\nspec: {image: a}\n";

fn readings(files: &[(&str, &str)]) -> BTreeMap<String, Arc<FileReading>> {
    let read = |(path, text): &(&str, &str)| {
        ((*path).to_owned(), Arc::new(read_file(path, text.as_bytes())))
    };
    files.iter().map(read).collect()
}

fn app(name: &str) -> String {
    GOOD.replace("NAME", name)
}

fn name(text: &str) -> AppName {
    AppName::new(text).unwrap()
}

/// Fault W11: neither file wins, whatever their order, and the message names both.
#[test]
fn an_app_in_two_files_is_invalid_in_both() {
    let all = assemble(&readings(&[
        ("a.yaml", &app("chat")),
        ("b.yaml", &format!("# first\n{}---\n{}", app("db"), app("chat"))),
    ]));
    assert_eq!(all.apps.keys().collect::<Vec<_>>(), [&name("db")]);
    assert_eq!(
        all.invalid[&name("chat")],
        "`chat` is defined more than once: a.yaml:1 and b.yaml:7"
    );
    let shown: Vec<_> = all.diagnostics.iter().map(Diagnostic::summary).collect();
    assert_eq!(
        shown,
        [
            "a.yaml:1:1: the app `chat` is also defined at b.yaml:7",
            "b.yaml:7:1: the app `chat` is also defined at a.yaml:1"
        ]
    );
    assert!(!all.is_complete);
}

/// Fault W11, within one file, and also when one of the two has mistakes of its own.
#[test]
fn an_app_that_is_there_twice_is_invalid_even_when_one_of_them_is_bad() {
    let text = format!("{}---\n{}", app("chat"), app("chat").replace("image", "imgae"));
    let all = assemble(&readings(&[("a.yaml", &text)]));
    assert!(all.apps.is_empty());
    assert_eq!(all.invalid.len(), 1);
}

/// Fault W12.
#[test]
fn the_name_of_a_file_means_nothing() {
    let before = assemble(&readings(&[("a.yaml", &app("chat"))]));
    let after = assemble(&readings(&[("z/b.yml", &app("chat"))]));
    assert_eq!(before.apps[&name("chat")].spec, after.apps[&name("chat")].spec);
    assert!(before.is_complete && after.is_complete);
}

/// Fault W05: a mistake keeps the app known, and stops pruning.
#[test]
fn a_bad_document_hides_no_good_one_and_names_its_app() {
    let text = format!(
        "{}---\n{}---\n{}",
        app("a"),
        app("b").replace("{image: a}", "{image: [a"),
        app("c")
    );
    let all = assemble(&readings(&[("x.yaml", &text), ("y.yaml", &app("d"))]));
    let found: Vec<_> = all.apps.keys().map(AppName::as_str).collect();
    assert_eq!(found, ["a", "c", "d"]);
    let problem = &all.invalid[&name("b")];
    assert!(problem.starts_with("x.yaml:9:"), "{problem}");
    assert!(!all.is_complete);
}

#[test]
fn documents_of_kinds_that_name_no_app_do_not_collide_with_apps() {
    let volume = "apiVersion: berth/v1\nkind: Volume\nmetadata: {name: chat}\n";
    let all = assemble(&readings(&[("a.yaml", &app("chat")), ("v.yaml", volume)]));
    assert!(all.apps.contains_key(&name("chat")) && all.invalid.is_empty());
    assert!(!all.is_complete);
}

#[test]
fn a_warning_leaves_the_reading_complete() {
    let text = format!("{}status: {{phase: Ready}}\n", app("chat"));
    let all = assemble(&readings(&[("a.yaml", &text)]));
    assert!(all.is_complete && all.apps.len() == 1 && all.diagnostics.len() == 1);
}

/// Faults Y01 and W16: size, number of documents, number of values, depth.
#[test]
fn what_is_too_large_is_refused_as_a_whole() {
    let many =
        (0..66).map(|n| format!("---\n{}", app(&format!("a{n}")))).collect::<Vec<_>>().concat();
    let reading = read_file("a.yaml", many.as_bytes());
    assert_eq!((reading.apps.len(), reading.diagnostics.len()), (64, 1));
    let wide =
        app("a").replace("{image: a}", &format!("{{image: a, args: [{}]}}", "x,".repeat(10_000)));
    for text in [wide, "# ".repeat(200_000), "[".repeat(100_000), "{a: ".repeat(60_000)] {
        let reading = read_file("a.yaml", text.as_bytes());
        assert_eq!(reading.diagnostics.len(), 1);
        assert!(["manifest.limit", "manifest.too-large"].contains(&reading.diagnostics[0].code));
    }
}

#[test]
fn a_flood_of_mistakes_is_cut_short() {
    let fields = (0..3000).map(|n| format!("  field{n}: x\n")).collect::<Vec<_>>().concat();
    let text = format!("{}{fields}", app("a").replace("spec: {image: a}", "spec:\n  image: a"));
    let reading = read_file("a.yaml", text.as_bytes());
    assert_eq!(reading.diagnostics.len(), 101);
    let values = (0..3000).map(|n| format!("    V{n}: 1\n")).collect::<Vec<_>>().concat();
    let text = text.replace(&fields, &format!("  env:\n{values}"));
    assert_eq!(read_file("a.yaml", text.as_bytes()).diagnostics.len(), 101);
}

fn as_json(text: &str) -> Option<serde_json::Value> {
    serde_yaml::from_str_with_options(text, serde_yaml::options! { strict_booleans: true }).ok()
}

/// The schema that editors use and the reader agree on the corpus: what is read without a word is
/// legal, and a field that is unknown, later or of a wrong type is not.
#[test]
fn the_schema_accepts_what_is_read_and_refuses_what_is_not() {
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    let (mut good, mut bad) = (0, 0);
    for (file, bytes) in corpus() {
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for document in text.trim_start_matches('\u{feff}').split("---\n") {
            let Some(json) = as_json(document).filter(|json| !json.is_null()) else { continue };
            let reading = read_file(&file, document.as_bytes());
            let by_shape =
                ["manifest.unknown-field", "manifest.not-yet-supported", "manifest.wrong-type"];
            if reading.diagnostics.is_empty() {
                assert!(
                    validator.is_valid(&json),
                    "{file}: {:?}",
                    validator.iter_errors(&json).next()
                );
                good += 1;
            } else if reading.diagnostics.iter().any(|d| by_shape.contains(&d.code)) {
                assert!(!validator.is_valid(&json), "{file}:\n{document}");
                bad += 1;
            }
        }
    }
    assert!(8 <= good && 12 <= bad, "{good} good, {bad} bad");
}

/// What people copy is right as it stands.
#[test]
fn every_example_is_read_without_a_word() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let files = ["examples", "manifests"].map(|folder| fs::read_dir(top.join(folder)).unwrap());
    let paths = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut apps = 0;
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
        let reading = read_file("example.yaml", &fs::read(&path).unwrap());
        assert!(reading.diagnostics.is_empty(), "{}: {:?}", path.display(), reading.diagnostics);
        apps += reading.apps.len();
    }
    assert!(10 <= apps, "{apps}");
}

/// The same of secrets, and of what is no kind.
#[test]
fn the_schema_knows_every_kind() {
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    let is_legal = |text: &str| validator.is_valid(&as_json(text).unwrap());
    let secret = |spec: &str| {
        format!("apiVersion: berth/v1\nkind: Secret\nmetadata: {{name: db}}\nspec: {spec}\n")
    };
    for spec in ["{folder: db}", "{credential: db}", "{variable: BERTH_SECRET_DB}"] {
        let text = secret(spec);
        assert!(read_file("s.yaml", text.as_bytes()).diagnostics.is_empty(), "{spec}");
        assert!(is_legal(&text), "{spec}");
    }
    for spec in ["{}", "{folder: a, variable: BERTH_SECRET_B}", "{value: x}", "{image: a}", "1"] {
        let text = secret(spec);
        assert!(!read_file("s.yaml", text.as_bytes()).diagnostics.is_empty(), "{spec}");
        assert!(!is_legal(&text), "{spec}");
    }
    assert!(is_legal(&app("a")));
    for wrong in [app("a").replace("kind: App", "kind: Secret"), app("a").replace("App", "Job")] {
        assert!(!is_legal(&wrong), "{wrong}");
    }
    assert!(!is_legal("metadata: {name: a}\nspec: {image: a}\n"));
}

/// Pieces that manifests are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "apiVersion: berth/v1\n",
        "kind: App\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  ",
        "image: a\n",
        "port: ",
        "8080\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        ": ",
        "\n",
        "\t",
        "#",
        "---\n",
        "...\n",
        "env:\n",
        "A: 1\n",
        "&a ",
        "*a ",
        "<<: ",
        "!!str ",
        "|\n",
        ">-\n",
        "? ",
        "~",
        "0x1f",
        "ä",
        "\u{feff}",
        "\u{85}",
        "\u{202e}",
        "\r\n",
        "%YAML 1.2\n",
        "health: none\n",
        "-9223372036854775809",
        "1e999",
        "\\",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Whatever is read, the answer is an answer: no panic, and every span is one of the text.
fn check_any(bytes: &[u8]) {
    let reading = read_file("any.yaml", bytes);
    let text = String::from_utf8_lossy(bytes);
    for diagnostic in &reading.diagnostics {
        render(diagnostic, &text, false);
        render(diagnostic, "something else", true);
        if let Some(span) = &diagnostic.span {
            assert!(text.get(span.clone()).is_some(), "{diagnostic:?} in {text:?}");
            assert!(!text[span.clone()].contains('\n'), "{diagnostic:?} in {text:?}");
        }
    }
    assemble(&BTreeMap::from([("any.yaml".to_owned(), Arc::new(reading))]));
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_any(&bytes);
    }

    #[test]
    fn no_pieces_of_yaml_break_the_reader(text in pieces()) {
        check_any(text.as_bytes());
    }

    #[test]
    fn no_damage_to_a_manifest_breaks_the_reader(
        at in 0..1500_usize,
        length in 0..40_usize,
        other in pieces(),
    ) {
        let text = fs::read_to_string(folder().join("good-everything.yaml")).unwrap();
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + length).min(text.len()));
        check_any(format!("{}{other}{}", &text[..start], &text[end..]).as_bytes());
    }
}
