//! What a folder of code says about the app that it is.

use std::{fs, io::Read as _, path::Path};

use crate::plan::{is_telling, read_facts};
use crate::state::FileFacts;

/// How much of a file is read.
const BYTES_MAX: u64 = 256 * 1024;
/// Where programs usually begin.
const ENTRIES: [&str; 6] = ["app.py", "main.py", "server.py", "api.py", "run.py", "wsgi.py"];
/// How the build is decided: the first of these that is there.
const BUILT_FROM: [&str; 10] = [
    "Dockerfile",
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "pyproject.toml",
    "Pipfile",
    "environment.yml",
    "environment.yaml",
    "setup.py",
    "package.json",
];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What the image is built from.
    pub(super) built_from: Option<String>,
    /// The command line, and where it comes from.
    pub(super) run: Option<(String, String)>,
    /// The port, and where it comes from.
    pub(super) port: Option<(u16, String)>,
    /// The framework that wants GPUs, and the file that names it.
    pub(super) framework: Option<(String, String)>,
    /// The path that answers whether all is well.
    pub(super) health: Option<(String, String)>,
}

/// Looks at a folder.
pub(super) fn look(folder: &Path) -> Found {
    let has = |name: &str| folder.join(name).is_file();
    let built_from = BUILT_FROM.iter().find(|name| has(name)).map(ToString::to_string);
    let facts = facts(folder);
    let framework = facts.iter().find_map(|(name, facts)| {
        let found = facts.frameworks.first()?;
        Some((found.name.clone(), name.clone()))
    });
    let docker = text(folder, "Dockerfile").map(|text| dockerfile(&text)).unwrap_or_default();
    let mut found = Found { built_from, framework, ..Found::default() };
    found.port = docker.port.map(|port| (port, "EXPOSE of the Dockerfile".to_owned()));
    if docker.has_command {
        // The image says what to run.
    } else if let Some((name, web)) =
        facts.iter().find_map(|(name, facts)| Some((name, facts.web.clone()?)))
    {
        found.port = found.port.or_else(|| port_in(&web).map(|port| (port, name.clone())));
        found.run = Some((web, format!("`web` of {name}")));
    } else if let Some(entry) = ENTRIES.iter().find(|name| has(name)) {
        let text = text(folder, entry).unwrap_or_default();
        program(entry, &text, &mut found);
    } else if found.built_from.as_deref() == Some("package.json") {
        found.run = Some(("npm start".to_owned(), "package.json".to_owned()));
        found.port = found.port.or_else(|| Some((3000, "usual for Node".to_owned())));
    }
    if let Some(entry) = ENTRIES.iter().find(|name| has(name)) {
        let text = text(folder, entry).unwrap_or_default();
        let paths = ["/healthz", "/health", "/readyz", "/livez"];
        let path = paths.iter().find(|path| {
            text.contains(&format!("\"{path}\"")) || text.contains(&format!("'{path}'"))
        });
        found.health = path.map(|path| ((*path).to_owned(), (*entry).to_owned()));
    }
    found
}

fn facts(folder: &Path) -> Vec<(String, FileFacts)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let telling = names.into_iter().filter(|name| is_telling(name));
    telling
        .filter_map(|name| Some((name.clone(), read_facts(&name, &text(folder, &name)?))))
        .collect()
}

fn text(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    let file = fs::File::open(&path).ok().filter(|_| path.is_file())?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a Dockerfile says of what its image does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Image {
    port: Option<u16>,
    has_command: bool,
}

fn dockerfile(text: &str) -> Image {
    let mut image = Image::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("EXPOSE") => {
                let first = words.next().and_then(|word| word.split('/').next());
                image.port = first.and_then(|port| port.parse().ok()).or(image.port);
            }
            Some("CMD" | "ENTRYPOINT") => image.has_command = true,
            _ => {}
        }
    }
    image
}

/// What a program of Python says.
fn program(name: &str, text: &str, found: &mut Found) {
    let module = name.trim_end_matches(".py");
    let object = |kind: &str| {
        let line = text.lines().find(|line| line.contains(&format!("= {kind}(")))?;
        let object = line.split('=').next()?.split(':').next()?.trim();
        let is_name = !object.is_empty() && object.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_name.then(|| object.to_owned())
    };
    let said = port_in(text).map(|port| (port, name.to_owned()));
    let usual = |port: u16, of: &str| Some((port, format!("usual for {of}")));
    let starts_itself = text.contains("__main__") || text.contains("uvicorn.run(");
    let (run, port) = if text.contains("import streamlit") {
        let run = format!("streamlit run {name} --server.address 0.0.0.0 --server.port 8501");
        (run, usual(8501, "Streamlit"))
    } else if let Some(object) = object("FastAPI").or_else(|| object("Starlette")) {
        let port = said.clone().or_else(|| usual(8000, "uvicorn"));
        let number = port.as_ref().map_or(8000, |(port, _)| *port);
        (format!("uvicorn {module}:{object} --host 0.0.0.0 --port {number}"), port)
    } else if let Some(object) = object("Flask").filter(|_| !starts_itself) {
        let port = said.clone().or_else(|| usual(5000, "Flask"));
        let number = port.as_ref().map_or(5000, |(port, _)| *port);
        (format!("flask --app {module}:{object} run --host 0.0.0.0 --port {number}"), port)
    } else if text.contains("import gradio") {
        (format!("python {name}"), said.clone().or_else(|| usual(7860, "Gradio")))
    } else {
        (format!("python {name}"), said.clone())
    };
    found.run = Some((run, name.to_owned()));
    found.port = found.port.take().or(port);
}

/// The port that a text names: `--port 8000`, `port=8000`, `"PORT", 8000`, `:8000`.
fn port_in(text: &str) -> Option<u16> {
    let lower = text.to_ascii_lowercase();
    for (at, word) in lower.match_indices("port") {
        let before = lower[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric()) {
            // `import`, `support`, `export`.
            continue;
        }
        let rest = lower[at + word.len()..].trim_start_matches(|c: char| " =:\"',(".contains(c));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(port @ 1..) = digits.parse::<u16>() {
            return Some(port);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Found {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        look(folder.path())
    }

    fn run(found: &Found) -> &str {
        found.run.as_ref().map_or("", |(run, _)| run)
    }

    #[test]
    fn a_dockerfile_says_what_runs_and_on_which_port() {
        let text = "FROM x\nexpose 9000/tcp\nCMD [\"./server\"]\n";
        let found = folder(&[("Dockerfile", text), ("app.py", "print(1)")]);
        assert_eq!(found.built_from.as_deref(), Some("Dockerfile"));
        assert_eq!((run(&found), found.port.clone().unwrap().0), ("", 9000));
    }

    #[test]
    fn programs_are_known_by_their_framework() {
        let fast = "from fastapi import FastAPI\napi = FastAPI()\n@api.get(\"/healthz\")\n";
        let found = folder(&[("main.py", fast), ("requirements.txt", "fastapi\ntorch==2.4.0\n")]);
        assert_eq!(run(&found), "uvicorn main:api --host 0.0.0.0 --port 8000");
        assert_eq!(found.health.unwrap().0, "/healthz");
        assert_eq!(found.framework.unwrap().0, "torch");

        let flask = "from flask import Flask\napp = Flask(__name__)\n";
        let found = folder(&[("app.py", flask)]);
        assert_eq!(run(&found), "flask --app app:app run --host 0.0.0.0 --port 5000");

        let own = "import os\nserve(port=int(os.environ.get('PORT', 9001)))\n";
        let found = folder(&[("server.py", own)]);
        assert_eq!((run(&found), found.port.clone().unwrap().0), ("python server.py", 9001));

        let found = folder(&[("Procfile", "web: gunicorn a:b --port 7000\n"), ("app.py", fast)]);
        assert_eq!(
            (run(&found), found.port.clone().unwrap().0),
            ("gunicorn a:b --port 7000", 7000)
        );

        let found = folder(&[("package.json", "{}")]);
        assert_eq!((run(&found), found.port.clone().unwrap().0), ("npm start", 3000));
        assert_eq!(folder(&[]), Found::default());
    }

    #[test]
    fn words_that_only_end_in_port_name_none() {
        assert_eq!(port_in("import 7\nsupport=8"), None);
        assert_eq!(port_in("PORT = 70000"), None);
        assert_eq!(port_in("app.run(port = 8123)"), Some(8123));
    }
}
