//! Files with a bad content. The app keeps running as its last good manifest said, and the other
//! apps do not notice.

use berth::manifest::{Diagnostic, read_file};

use super::yard::{APPS, Notice, Scenario, Yard, bad, manifest, survive};

/// The good text of `api.yaml` with one part written in another way.
fn api(part: &str, other: &str) -> Vec<u8> {
    let good = manifest("api");
    assert!(good.contains(part), "{part}");
    good.replacen(part, other, 1).into_bytes()
}

/// A bad content of `api.yaml`, and the code of the diagnostic that it must cause.
fn spoilt(name: &str, code: &'static str, bytes: impl Into<Vec<u8>>) -> Scenario {
    let bytes = bytes.into();
    bad(name, Notice::Mistake(code), move |yard: &Yard| yard.put("api.yaml", &bytes))
}

fn utf_16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}

/// Each of nine lists holds nine times the one before: a few lines that mean gigabytes.
fn billion_laughs() -> String {
    let mut text = "a0: &a0 [lol]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text
}

// W05, W16, W17, Y01, Y04, Y06.
#[tokio::test]
async fn a_text_that_is_no_yaml_takes_nothing_down() {
    const SYNTAX: &str = "manifest.syntax";
    const ENCODING: &str = "manifest.encoding";
    let half = &manifest("api")[..70];
    let scenarios = [
        spoilt("garbage", SYNTAX, "}{ : ] %"),
        spoilt("W05 cut within a key", "manifest.not-a-mapping", "apiVers"),
        spoilt("W05 cut within the name's line", SYNTAX, format!("{half}\n  name: \"a")),
        spoilt("merge conflict", SYNTAX, format!("<<<<<<< HEAD\n{0}=======\n{0}", manifest("api"))),
        spoilt("W17 tab", "manifest.tab", api("  name: api", "\tname: api")),
        spoilt("W17 NUL bytes, as after a power cut", ENCODING, vec![0; 200]),
        spoilt("W17 UTF-16", ENCODING, utf_16(&manifest("api"))),
        spoilt("W17 Latin-1", ENCODING, [manifest("api").as_bytes(), b"# \xe4\n"].concat()),
        spoilt("W17 a terminal's escape", ENCODING, api("kind: App", "kind: \u{1b}[2JApp")),
        spoilt("W17 old Macintosh", ENCODING, manifest("api").replace('\n', "\r")),
        spoilt("Y01 billion laughs", "manifest.alias", billion_laughs()),
        spoilt("Y01 deep nesting", "manifest.limit", "[".repeat(20_000)),
        spoilt("Y01 deep mappings", "manifest.limit", "{a: ".repeat(5_000)),
        spoilt("Y01 many values", "manifest.limit", format!("a: [{}]", "1,".repeat(20_000))),
        spoilt(
            "Y04 a key twice",
            "manifest.duplicate-key",
            api("kind: App", "kind: App\nkind: App"),
        ),
        spoilt("Y06 a tag", SYNTAX, api("name: api", "name: !!python/object:os.system api")),
        spoilt("Y06 an include", SYNTAX, "!include /etc/passwd\n"),
        spoilt("Y06 a directive", SYNTAX, format!("%YAML 1.1\n---\n{}", manifest("api"))),
        spoilt("Y06 a merge key", "manifest.alias", api("  port: 5000", "  <<: {port: 5000}")),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W13, Y03, Y05, Y08, Y09.
#[tokio::test]
async fn a_document_that_is_no_good_app_takes_nothing_down() {
    const WRONG_TYPE: &str = "manifest.wrong-type";
    const INVALID: &str = "manifest.invalid-value";
    const MISSING: &str = "manifest.missing-field";
    let image = "  image: shop/app:1\n";
    let more = |line: &str| api(image, &format!("{image}  {line}\n"));
    let scenarios = [
        spoilt("a list", "manifest.not-a-mapping", "- one\n- two\n"),
        spoilt("an error page", "manifest.not-a-mapping", "<html>502 Bad Gateway</html>\n"),
        spoilt("Y05 unknown field", "manifest.unknown-field", more("imagee: shop/app:2")),
        spoilt(
            "Y05 wrong indentation",
            "manifest.unknown-field",
            api(image, "image: shop/app:1\n"),
        ),
        spoilt("wrong type of a port", WRONG_TYPE, api("5000", "[5000]")),
        spoilt("wrong type of the spec", WRONG_TYPE, api("spec:\n", "spec: none\nignored:\n")),
        spoilt("Y03 a boolean in the environment", WRONG_TYPE, more("env: {DEBUG: true}")),
        spoilt("Y08 port 99999", INVALID, api("5000", "99999")),
        spoilt("Y08 a negative port", INVALID, api("5000", "-1")),
        spoilt("Y08 not a number", WRONG_TYPE, api("5000", ".nan")),
        spoilt("Y09 unknown version", "manifest.unknown-version", api("berth/v1", "berth/v9")),
        spoilt(
            "a version of somebody else",
            "manifest.unknown-version",
            api("berth/v1", "apps/v1"),
        ),
        spoilt("unknown kind", "manifest.unknown-kind", api("kind: App", "kind: Apq")),
        spoilt("a later kind", "manifest.not-yet-supported", api("kind: App", "kind: Job")),
        spoilt("a later field", "manifest.not-yet-supported", more("schedule: daily")),
        spoilt("no version", MISSING, api("apiVersion: berth/v1\n", "")),
        spoilt("no kind", MISSING, api("kind: App\n", "")),
        spoilt("no name", MISSING, api("  name: api\n", "  labels: {a: b}\n")),
        spoilt("no spec", MISSING, "apiVersion: berth/v1\nkind: App\nmetadata: {name: api}\n"),
        spoilt("W13 a name in capitals", INVALID, api("name: api", "name: API")),
        spoilt("W13 a name beyond ASCII", INVALID, api("name: api", "name: ap\u{131}")),
        spoilt("a number for a name", WRONG_TYPE, api("name: api", "name: 12")),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W05, W16: all five at once, so that nothing good is left to compare with.
#[tokio::test]
async fn five_bad_files_take_nothing_down() {
    let all = |name: &str, notice: Notice, spoil: fn(&str) -> Vec<u8>| {
        bad(name, notice, move |yard: &Yard| {
            for app in APPS {
                yard.put(&format!("{app}.yaml"), spoil(app));
            }
        })
    };
    let scenarios = [
        all("D42 W05 all cut to zero", Notice::Mistake("manifest.empty"), |_| Vec::new()),
        all("all blank", Notice::Mistake("manifest.empty"), |_| b"\n  \n\n".to_vec()),
        all("all comments", Notice::Brake(5), |app| {
            format!("# {}", manifest(app).replace('\n', "\n# ")).into_bytes()
        }),
        all("all marks of nothing", Notice::Brake(5), |_| b"---\n...\n---\n".to_vec()),
        all("W05 all cut in half", Notice::Mistake("manifest.missing-field"), |app| {
            manifest(app).as_bytes()[..60].to_vec()
        }),
        all("all garbage", Notice::Mistake("manifest.syntax"), |_| b"}{".to_vec()),
        all("all of a newer version", Notice::Mistake("manifest.unknown-version"), |app| {
            manifest(app).replace("berth/v1", "berth/v2").into_bytes()
        }),
        all("W16 all too large", Notice::Mistake("manifest.unreadable"), |app| {
            format!("{}# {}\n", manifest(app), "x".repeat(300_000)).into_bytes()
        }),
        all("all the same app", Notice::Mistake("manifest.duplicate-app"), |_| {
            manifest("api").into_bytes()
        }),
        all("all pointers of git-lfs", Notice::Mistake("manifest.not-a-mapping"), |_| {
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12\n".to_vec()
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// D42, W05: what a full disk and an interrupted save leave.
#[tokio::test]
async fn one_file_that_became_empty_or_too_large_takes_nothing_down() {
    let scenarios = [
        spoilt("D42 W05 cut to zero", "manifest.empty", ""),
        spoilt("blank", "manifest.empty", "\n\n   \n"),
        spoilt("a byte order mark alone", "manifest.empty", "\u{feff}"),
        spoilt("W16 too large", "manifest.unreadable", vec![b'#'; 256 * 1024 + 1]),
        spoilt("65 documents", "manifest.limit", "---\na: 1\n".repeat(65)),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W11, W13: another file takes the name. Which of the two comes first by name does not matter.
#[tokio::test]
async fn a_name_that_is_there_twice_keeps_what_runs() {
    const TWICE: Notice = Notice::Mistake("manifest.duplicate-app");
    let copy = |name: &str, file: &'static str, text: String| {
        bad(name, TWICE, move |yard: &Yard| yard.put(file, &text))
    };
    let other = || manifest("api").replace("app:1", "app:2");
    let scenarios = [
        copy("W11 the same text", "copy.yaml", manifest("api")),
        copy("W11 another text, after it", "b.yaml", other()),
        copy("W11 another text, before it", "a.yaml", other()),
        copy("W11 in a folder", "team/api.yaml", other()),
        copy("W13 a name in capitals", "API.yaml", other()),
        copy("W11 in a file with another app", "x.yaml", format!("{}---\n{}", other(), other())),
        bad("W11 within one file", TWICE, |yard| {
            yard.put("api.yaml", format!("{0}---\n{0}", manifest("api")));
        }),
        bad("W11 two apps named alike by a copied file", TWICE, |yard| {
            yard.put("web.yaml", manifest("api"));
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W17, W10, W12: other bytes that mean the same.
#[tokio::test]
async fn the_same_manifest_in_other_bytes_changes_nothing() {
    let same = |name: &str, bytes: Vec<u8>| {
        bad(name, Notice::Nothing, move |yard: &Yard| yard.put("api.yaml", &bytes))
    };
    let good = manifest("api");
    let scenarios = [
        same("W17 CRLF", good.replace('\n', "\r\n").into_bytes()),
        same("W17 a byte order mark", format!("\u{feff}{good}").into_bytes()),
        same("a comment", format!("# ours\n{good}").into_bytes()),
        same("document marks", format!("---\n{good}...\n").into_bytes()),
        same("quotes", api("shop/app:1", "\"shop/app:1\"")),
        same("no end of the last line", good.trim_end().as_bytes().to_vec()),
        same("another order", {
            let (head, spec) = good.split_once("spec:").unwrap();
            format!("spec:{spec}{head}").into_bytes()
        }),
        same("JSON", {
            let health = r#"{"exec": ["check"], "interval": "5s"}"#;
            let spec = format!(
                r#"{{"image": "shop/app:1", "port": 5000, "stopGracePeriod": "1s", "health": {health}}}"#
            );
            let head = r#""apiVersion": "berth/v1", "kind": "App", "metadata": {"name": "api"}"#;
            format!("{{{head}, \"spec\": {spec}}}").into_bytes()
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W05: whatever is missing at the end, a file never seems to name nothing on purpose.
#[test]
fn no_beginning_of_a_manifest_reads_as_nothing() {
    let text = manifest("api");
    for end in 1..text.len() - 1 {
        let reading = read_file("api.yaml", &text.as_bytes()[..end]);
        let has_error = reading.diagnostics.iter().any(Diagnostic::is_error);
        assert!(has_error || !reading.apps.is_empty(), "{:?}", &text[..end]);
    }
}
