//! Compose files, read as manifests.

use std::collections::BTreeSet;

use crate::{
    compose::import::{Files, Request, import},
    manifest,
    readers::Target,
};

pub(crate) const COMPOSE: Target = Target {
    name: "compose",
    bytes_max: 256 << 10,
    seeds: &[
        "services:\n  web:\n    image: nginx:1\n    ports: [\"8080:80\"]\n",
        "name: p\nservices:\n  a: {build: ., environment: [A=${B:-c}], env_file: a.env}\nvolumes: {d: {}}\n",
    ],
    words: &[
        "services:\n",
        "  b: {image: x}\n",
        "image: ",
        "build: ",
        "ports: [",
        "\"1-3:1-3/udp\"",
        "127.0.0.1:",
        "volumes: [",
        "./a:/b:ro",
        "environment: ",
        "env_file: a.env",
        "${",
        "${A:?b}",
        "${A:-${B}}",
        "$$",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "x-y: ",
        "deploy: ",
        "resources: ",
        "devices: ",
        "capabilities: [gpu]",
        "healthcheck: {test: ",
        "command: ",
        "'",
        "\"",
        "\\",
        "\u{1b}[31m",
        "\0",
        "99999999999999999999",
        "1.5",
        "512M",
        "1h30m",
        "null",
        "~",
        "- ",
        "  ",
        "\n",
        "\t",
        "depends_on: ",
        "network_mode: host",
        "privileged: true",
    ],
    read: read_compose,
};

/// A machine with one file and one repository.
struct Shelf;

impl Files for Shelf {
    fn read(&self, path: &str) -> Result<String, String> {
        let is_there = path.ends_with("/a.env");
        is_there.then(|| "A=1\n# no\nB='x y'\n".to_owned()).ok_or_else(|| "no such file".to_owned())
    }

    fn repository(&self, path: &str) -> Option<(String, String)> {
        path.strip_prefix("/srv/").map(|path| ("/srv".to_owned(), path.to_owned()))
    }
}

fn read_compose(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lookup = |name: &str| (name == "SET").then(|| "set: [it\n\u{1b}]".to_owned());
    let (folder, project, name) = ("/srv/shop", None, None);
    let imported =
        import(&Request { text, folder, project, name, lookup: &lookup, files: &Shelf });
    if imported.has_mistakes() {
        return;
    }
    let mut names = BTreeSet::new();
    for made in &imported.manifests {
        let is_plain = |c: char| c == '\n' || !c.is_control();
        assert!(made.text.chars().all(is_plain), "a control character in a manifest");
        assert!(names.insert(made.app.clone()), "two manifests for {}", made.app);
        let reading = manifest::read_file("made.yaml", made.text.as_bytes());
        let errors = reading.diagnostics.iter().filter(|said| said.is_error()).count();
        let apps: Vec<_> = reading.apps.iter().map(|app| &app.name).collect();
        assert_eq!((errors, apps), (0, vec![&made.app]), "it is no manifest");
    }
}
