//! The readers, each with what it is fed. None may panic, whatever it is given.

use crate::{answers, composed, engine, manifest, model, models, record, state, workspace};

/// One reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Larger inputs are refused before this reader sees them.
    pub(crate) bytes_max: usize,
    /// Inputs to begin with, beside the corpus.
    pub(crate) seeds: &'static [&'static str],
    /// Words that mean something to it.
    pub(crate) words: &'static [&'static str],
    pub(crate) read: fn(&[u8]),
}

pub(crate) const MIB: usize = 1 << 20;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "manifest",
        bytes_max: MIB,
        seeds: &[
            "apiVersion: berth/v1\nkind: App\nmetadata: {name: a}\nspec: {image: x, port: 80}\n",
            "{\"apiVersion\":\"berth/v1\",\"kind\":\"App\",\"metadata\":{\"name\":\"a\"},\"spec\":{}}",
        ],
        words: &[
            "\n---\n",
            "&a ",
            "*a",
            "<<: ",
            "!!binary ",
            "!",
            "- ",
            ": ",
            "? ",
            "|\n",
            ">-\n",
            "[",
            "{",
            "]",
            "}",
            "\"\\u0000\"",
            "\t",
            "\r\n",
            "\u{feff}",
            "%YAML 1.1\n",
            "...\n",
            "# ",
            "spec:",
            "env:",
            "ports:",
            "mounts:",
            "git:",
            "health:",
            "metadata:",
            "1e999",
            "0x7f",
            "-9223372036854775808",
            ".inf",
            "null",
            "~",
            "true",
            "  ",
            "''",
            "'",
            "\u{2028}",
        ],
        read: read_manifest,
    },
    Target {
        name: "dockerignore",
        bytes_max: MIB,
        seeds: &["*\n!src\n**/*.o\n!docs/keep\n", "a*b*c*\n[a-z]\n\\#\n"],
        words: &["**", "*", "?", "!", "[", "]", "^", "-", "\\", "/", "\n", "../", "a", "#", "\0"],
        read: read_ignore,
    },
    Target {
        name: "reference",
        bytes_max: MIB,
        seeds: &[
            "https://user@h.example:8080/a.git",
            "ssh://git@h/a",
            "git@h.example:a/b.git",
            "file:///srv/a",
            "../a",
            "[::1]:a",
            "h.example:5000/a/b:v1@sha256:00",
            "2h30m",
            "0.5",
        ],
        words: &[
            "://",
            "@",
            ":",
            "/",
            "..",
            "-",
            "ext::",
            "[",
            "]",
            "%2e",
            "\0",
            "~",
            "^",
            "{",
            "sha256:",
            "refs/heads/",
            ".lock",
            "Ki",
            "Ti",
            "ms",
            "d",
            "99999999999999999999",
            "k8s",
        ],
        read: read_reference,
    },
    Target {
        name: "state-file",
        bytes_max: MIB,
        seeds: &[
            r#"{"format":1,"engineId":"e","folder":"f","apps":{"chat":{"generation":3,"specDigest":"00","isPaused":true,"rebuilds":1,"pulledGeneration":2,"badRevision":{"specHash":"v1:00","message":"m","at":"2026-01-01T00:00:00Z"},"ports":[[80,"tcp",8001]],"lastGood":["a.yaml","kind: App"]}}}"#,
        ],
        words: JSON_WORDS,
        read: read_state,
    },
    Target {
        name: "engine-list",
        bytes_max: MIB,
        seeds: &[
            r#"[{"Id":"0a","Names":["/web/alias","/chat-01234567"],"Image":"x:1","ImageID":"sha256:1","Created":1700000000,"State":"exited","Status":"Exited (137) 3 seconds ago","Labels":{"dev.berth.instance":"home","dev.berth.app":"chat","dev.berth.generation":"1","dev.berth.spec-hash":"v1:0123456789abcdef","dev.berth.ports":"127.0.0.1:8001:80/tcp"},"Ports":[{"IP":"::","PrivatePort":80,"PublicPort":8001,"Type":"tcp"}],"NetworkSettings":{"Networks":{"berth":{"IPAddress":"172.18.0.2"}}}}]"#,
            r#"[{"Id":"sha256:1","Created":1,"RepoTags":["a:1","<none>:<none>"],"RepoDigests":["a@sha256:1"],"Labels":{"dev.berth.image.app":"chat","dev.berth.image.instance":"home"}}]"#,
        ],
        words: JSON_WORDS,
        read: read_lists,
    },
    Target {
        name: "engine-inspect",
        bytes_max: MIB,
        seeds: &[
            r#"{"Id":"0a","State":{"Status":"exited","OOMKilled":true,"ExitCode":137,"Error":"e","StartedAt":"2026-01-01T00:00:00.000000001Z","FinishedAt":"0001-01-01T00:00:00Z"},"RestartCount":3,"Config":{"Tty":true,"Labels":{"a":"b"}}}"#,
        ],
        words: JSON_WORDS,
        read: read_inspection,
    },
    Target {
        name: "labels",
        bytes_max: MIB,
        seeds: &["127.0.0.1:8001:5000/tcp,0.0.0.0:53:53/udp", "env.A=0f1e,image=12ab"],
        words: &[":", "/tcp", "/udp", ",", "=", "65536", "v1:", "[::]", "-", "\0"],
        read: read_labels,
    },
    answers::EVENTS,
    answers::FRAMES,
    answers::BUILD,
    answers::PULL,
    composed::COMPOSE,
    models::UPLOADS,
    models::RANGE,
    models::WEIGHTS,
    models::PICKLE,
    models::TEXT,
    crate::hub::XORB,
    crate::hub::SHARD,
    crate::hub::COMMIT,
];

pub(crate) const JSON_WORDS: &[&str] = &[
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "-1",
    "1e999",
    "9223372036854775808",
    "\"dev.berth.app\":",
    "\"State\":",
    "\"Names\":",
    "\"Ports\":",
    "\"Id\":",
    "\"format\":",
    "\"ports\":",
    "\"lastGood\":",
    "18446744073709551616",
    "\"running\"",
    "0.1",
    "\"9999-12-31T23:59:60Z\"",
    "\"-009999-01-01T00:00:00Z\"",
];

fn read_manifest(bytes: &[u8]) {
    let reading = manifest::read_file("fuzz.yaml", bytes);
    let is_wrong = reading.diagnostics.iter().any(manifest::Diagnostic::is_error);
    assert!(is_wrong || reading.mentions.len() == reading.apps.len(), "silently dropped");
    for diagnostic in &reading.diagnostics {
        let text = diagnostic.summary();
        assert!(!text.contains('\u{1b}'), "an escape sequence is shown");
    }
    for app in &reading.apps {
        let again = model::Digest::of_value(&app.spec);
        assert_eq!(again, model::Digest::of_value(&app.spec));
    }
}

fn read_ignore(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // As the reader of the build context does it, which takes no more than this.
    if workspace::IGNORE_BYTES < text.len() {
        return;
    }
    if let Ok(ignore) = workspace::ignore::Ignore::parse(text) {
        for path in ["a", "src/main.rs", "docs/keep/a/b/c/main.o"] {
            let _ = ignore.is_ignored(path);
            let _ = ignore.may_bring_back_below(path);
        }
    }
}

fn read_reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(url) = model::GitUrl::parse(&text) {
        let text = url.as_str();
        let is_helper =
            matches!(url, model::GitUrl::Ssh(_)) && text.split("://").next() == Some(text);
        assert!(!text.starts_with('-') && !(is_helper && text.contains("::")), "{url:?}");
    }
    if let Ok(image) = model::ImageRef::parse(&text) {
        assert!(!image.as_str().starts_with('-'), "{image}");
    }
    if model::check_git_ref(&text).is_ok() {
        assert!(!text.starts_with('-') && !text.contains(".."), "{text}");
    }
    if model::check_repository_path(&text).is_ok() {
        assert!(!text.starts_with('/') && !text.split('/').any(|part| part == ".."), "{text}");
    }
    let _ = model::AppName::new(&text);
    let _ = model::parse_bytes(&text);
    let _ = model::parse_millicpus(&text);
    let _ = model::parse_duration(&text).map(model::format_duration);
}

fn read_state(bytes: &[u8]) {
    std::thread_local! {
        static PLACE: (std::path::PathBuf, record::Folder) = {
            let path = std::env::temp_dir().join(format!("berth-fuzz-{}", std::process::id()));
            let folder = record::Folder::open(&path).expect("a folder for state files");
            (path, folder)
        };
    }
    PLACE.with(|(path, folder)| {
        std::fs::write(path.join("state.json"), bytes).expect("room for a state file");
        let now = model::Timestamp::from_millis(1);
        if let Ok((kept, _)) = folder.load(now) {
            assert!(kept.format <= 1, "a newer format was read");
            let text = serde_json::to_vec(&kept).expect("what was read can be written");
            let again = serde_json::from_slice::<record::Kept>(&text).expect("and read again");
            assert_eq!(again, kept);
        }
        let _ = std::fs::remove_file(path.join("state.json.corrupt-1"));
    });
}

fn read_lists(bytes: &[u8]) {
    let both = [(bytes, &b"[]"[..]), (&b"[]"[..], bytes)];
    for (containers, images) in both {
        if let Ok(world) = engine::docker::world("home", containers, images) {
            assert!(world.containers.iter().all(|container| !container.id.as_str().is_empty()));
            for app in world.apps() {
                let _ = world.containers_of(&app);
            }
            let _ = world.image_id("docker.io/library/a:1@sha256:1");
        }
    }
}

fn read_inspection(bytes: &[u8]) {
    let _ = engine::docker::detail(bytes);
    let _ = engine::docker::has_terminal(bytes);
    let _ = engine::docker::image(bytes);
}

fn read_labels(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let ports = state::ports_of_label(&text);
    assert_eq!(state::ports_of_label(&state::ports_label(&ports)), ports);
    let keys = [model::label::APP, model::label::SPEC_HASH, model::label::FIELDS];
    let mut labels: std::collections::BTreeMap<_, _> =
        keys.iter().map(|key| ((*key).to_owned(), text.clone().into_owned())).collect();
    labels.insert(model::label::INSTANCE.to_owned(), "home".to_owned());
    labels.insert(model::label::GENERATION.to_owned(), "1".to_owned());
    if let Some(owner) = state::owner_of("home", &text, &labels).owner() {
        assert!(text.starts_with(owner.app.as_str()));
    }
}
