//! Every command that README.md and docs/ show runs: those of Berth here, against an engine in
//! memory; targets of make exist. What needs other machines is named below, with why.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::desk::{CHAT, Desk, Ended, ended};

/// Commands that end otherwise than with 0 on this desk: their beginnings, and with what.
const OTHERWISE: &[(&str, &[i32])] = &[
    ("berth plan", &[0, 1]),
    // What it would restore to is not empty, and here none is made by itself.
    ("berth backup restore", &[6]),
    ("berth backup schedule", &[1]),
    // Without a terminal there is nobody to say yes.
    ("berth delete chat", &[2]),
    ("berth rollout undo", &[0, 6]),
    // Its files are not here.
    ("berth config view --listen 10.0.0.5:8000 --tls-cert", &[0, 2]),
    // There is no such machine.
    ("berth --server https://", &[5]),
    // What this machine is like is not for this test to say.
    ("berth doctor", &[0, 1]),
    ("berth top", &[0]),
    // Images are not looked through here.
    ("berth scan chat", &[0, 3]),
    ("berth sbom chat", &[3]),
    ("berth exec", &[0, 125]),
    // Nobody is told anything here.
    ("berth notify test", &[3]),
];

/// Other programs, which these tests do not run: they ask servers and build images, as the tests
/// beside the documents' subjects do, or are run by hand.
const ELSEWHERE: &[&str] = &[
    "curl",
    "for",
    "phase=",
    "python3",
    "case",
    "sleep",
    "done",
    "[",
    "--header",
    "GRAFANA_PASSWORD",
    "CARGO_TARGET_DIR",
    "cargo",
    "tests/",
    "docker",
    "compose/",
    "hf",
    "huggingface-cli",
    "HF_",
    "export",
    "git",
    "pip",
    "source",
    "man",
    "wget",
    "sha256sum",
    "systemctl",
    "sudo",
    "apt",
    "python",
    "unshare",
    "BERTH_",
    "cp",
    "berth-mcp",
    "npm",
    "test",
    "cd",
    "mkdir",
    "cat",
    "echo",
    "if",
    "fi",
    "tar",
    "from",
    "jq",
    "llama",
    "ollama",
    "oras",
    "skopeo",
    "uv",
];

/// A document's command.
struct Shown {
    page: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

/// The code blocks of a page that a shell would read, each with its language.
pub(crate) fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(language), None) => block = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(block.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found.retain(|(language, _)| matches!(language.as_str(), "sh" | "bash" | "shell" | "console"));
    found
}

/// The commands of a page, one a line; a backslash goes on, and answers of a console are left out.
fn commands(page: &str, text: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    for (language, block) in blocks(text) {
        let joined = block.replace("\\\n", " ");
        let lines = joined.lines().filter_map(|line| match language.as_str() {
            "console" => line.strip_prefix("$ "),
            _ => Some(line),
        });
        for line in lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            // A remark would hide what is added behind it.
            let line = line.split(" #").next().unwrap_or(line).trim();
            found.push(Shown { page: page.to_owned(), text: line.to_owned() });
        }
    }
    found
}

/// `berth stop|start chat` stands for several commands.
fn alternatives(text: &str) -> Vec<String> {
    let is_choice = |word: &&str| word.contains('|') && !word.starts_with('|') && word.len() > 1;
    match text.split_whitespace().find(is_choice) {
        Some(word) if text.starts_with("berth ") => {
            word.split('|').map(|one| text.replacen(word, one, 1)).collect()
        }
        _ => vec![text.to_owned()],
    }
}

/// A desk with the files that the documents speak of.
fn desk() -> Desk {
    let desk = Desk::start();
    for (name, text) in [
        ("docker-compose.yml", "services:\n  web:\n    image: example.com/web:1\n"),
        ("token.txt", "secret\n"),
        ("id_key", "secret\n"),
        ("password.txt", "secret\n"),
        ("model.pt", "model\n"),
        ("hello/requirements.txt", ""),
    ] {
        desk.write(name, text);
    }
    desk.write("manifests/extra.yaml", &CHAT.replace("name: chat", "name: extra"));
    desk
}

fn shell(desk: &Desk, script: &str) -> Ended {
    let berth = Path::new(env!("CARGO_BIN_EXE_berth")).parent().unwrap();
    let own = desk.command(&[]);
    let mut sh = Command::new("timeout");
    sh.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    sh.env("PATH", format!("{}:/usr/bin:/bin", berth.display()));
    sh.env("BERTH_MODEL_STORE", desk.path("models"));
    sh.env("GIT_AUTHOR_NAME", "t").env("GIT_AUTHOR_EMAIL", "t@t");
    sh.env("GIT_COMMITTER_NAME", "t").env("GIT_COMMITTER_EMAIL", "t@t");
    sh.current_dir(desk.folder.path()).args(["60", "sh", "-e", "-c", script]);
    ended(&mut sh)
}

#[test]
fn commands_of_the_documents_run() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<_> =
        makefile.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let mut troubles = Vec::new();
    let mut ran = 0;
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        if name == "tutorial.md" {
            // It is run as a whole, below.
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let shown = commands(&name, &text);
        let needs_desk = shown.iter().any(|shown| shown.text.starts_with("berth "));
        let desk = needs_desk.then(desk);
        for shown in shown {
            for text in alternatives(&shown.text) {
                let trouble = match (text.split_whitespace().next().unwrap_or(""), &desk) {
                    ("berth", Some(desk)) => {
                        ran += 1;
                        run(desk, &text)
                    }
                    ("make", _) => make(&text, &targets),
                    (word, _) if ELSEWHERE.iter().any(|begin| word.starts_with(begin)) => None,
                    _ => Some("nothing runs it: see tests/it/command/docs.rs".to_owned()),
                };
                troubles.extend(trouble.map(|why| format!("{}: `{text}`: {why}", shown.page)));
            }
        }
    }
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
    assert!(20 < ran, "only {ran} commands were found");
}

/// What is wrong with a command of Berth.
fn run(desk: &Desk, text: &str) -> Option<String> {
    if text.contains('…') {
        // A part of it is left out.
        return None;
    }
    // What would go on for ever is only read, or cut off.
    let text = text.replacen("berth run", "berth config view", 1);
    // What would be fetched lies on other machines.
    let text =
        if text.starts_with("berth models fetch ") { format!("{text} --help") } else { text };
    let is_endless = (text.starts_with("berth logs") && text.ends_with(" -f"))
        || (text.starts_with("berth events") && text.contains(" -w"));
    let script =
        if is_endless { format!("timeout 2 {text} || [ $? = 124 ]") } else { text.clone() };
    let ended = shell(desk, &script);
    let codes = OTHERWISE.iter().find(|(begin, _)| text.starts_with(begin));
    let codes = codes.map_or(&[0][..], |(_, codes)| codes);
    (!codes.contains(&ended.code)).then(|| format!("{ended:?}"))
}

fn make(text: &str, targets: &BTreeSet<&str>) -> Option<String> {
    let target = text.split_whitespace().skip(1).find(|word| !word.contains('='))?;
    (!targets.contains(target)).then(|| "there is no such target".to_owned())
}

/// The tutorial from its first command to its last, in one shell.
#[test]
fn the_tutorial_is_true() {
    let text = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let desk = Desk::with(&["--allow-local-git"]);
    let blocks: Vec<_> =
        blocks(&text).into_iter().filter(|(language, _)| language == "sh").collect();
    assert!(8 < blocks.len(), "{} blocks", blocks.len());
    let mut ran = 0;
    for (_, block) in blocks {
        // What answers is a program, which an engine in memory does not run; Berth itself runs.
        let skipped = ["curl", "make ", "berth run"];
        if block.lines().any(|line| skipped.iter().any(|word| line.starts_with(word))) {
            continue;
        }
        let ended = shell(&desk, &block);
        let codes: &[i32] = if block.contains("berth plan") || block.contains("berth doctor") {
            &[0, 1]
        } else {
            &[0]
        };
        assert!(codes.contains(&ended.code), "{block}{ended:?}\n{}", desk.read("log"));
        ran += 1;
    }
    assert!(6 < ran, "only {ran} blocks ran");
}

#[test]
fn commands_are_found_as_they_are_written() {
    let page = "x\n```console\n$ berth get\nNAME\n```\n```sh\n# no\nberth a \\\n  b\n```\n```yaml\nberth c\n```\n";
    let texts: Vec<_> = commands("p", page).into_iter().map(|shown| shown.text).collect();
    assert_eq!(texts, ["berth get", "berth a    b"]);
    assert_eq!(alternatives("berth stop|start chat"), ["berth stop chat", "berth start chat"]);
    assert_eq!(alternatives("curl x | sh"), ["curl x | sh"]);
}
