//! From the text of a known file to the facts that the planner needs.
//!
//! The texts are hostile. Whatever they say, reading them ends, and what comes of it is small.

mod conda;
mod javascript;
mod python;
mod requirements;

use crate::state::FileFacts;

/// How many entries of a list are kept. A longer list is as good as unknown.
const ENTRIES_MAX: usize = 500;
/// How much of a list is kept: it has to fit into one command line.
const BYTES_MAX: usize = 64 * 1024;
/// The longest text that is kept.
const CHARS_MAX: usize = 400;

/// The files of the first level that are read, beside `*requirements*.txt`.
const KNOWN: &[&str] = &[
    ".nvmrc",
    ".node-version",
    ".python-version",
    "Pipfile",
    "Procfile",
    "environment.yaml",
    "environment.yml",
    "package.json",
    "pyproject.toml",
    "runtime.txt",
    "setup.cfg",
    "setup.py",
];

/// Whether a file of the first level says something that the planner needs to know.
pub fn is_telling(name: &str) -> bool {
    KNOWN.contains(&name) || is_requirements(name)
}

/// Whether a name is that of a requirements file.
pub(super) fn is_requirements(name: &str) -> bool {
    let is_text = name.strip_suffix(".txt").is_some_and(|stem| !stem.contains('/'));
    is_text && name.contains("requirements")
}

/// What a file says.
pub fn read_facts(path: &str, text: &str) -> FileFacts {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let name = path.rsplit('/').next().unwrap_or(path);
    let read = match name {
        ".python-version" | "runtime.txt" => Ok(python::version_file(text)),
        ".nvmrc" | ".node-version" => Ok(javascript::version_file(text)),
        "pyproject.toml" => python::pyproject(text),
        "Pipfile" => python::pipfile(text),
        "setup.py" | "setup.cfg" => Ok(python::setup(text)),
        "environment.yml" | "environment.yaml" => conda::environment(text),
        "package.json" => javascript::package(text),
        "Procfile" => Ok(procfile(text)),
        _ => Ok(requirements::file(text)),
    };
    read.unwrap_or_else(|problem| FileFacts {
        problem: Some(cut(&problem)),
        ..FileFacts::default()
    })
}

fn procfile(text: &str) -> FileFacts {
    let web = text.lines().find_map(|line| line.trim().strip_prefix("web:"));
    let web = web.map(str::trim).filter(|command| !command.is_empty() && is_short(command));
    FileFacts { web: web.map(ToOwned::to_owned), ..FileFacts::default() }
}

/// Whether a text may be kept as it is.
fn is_short(text: &str) -> bool {
    text.chars().count() <= CHARS_MAX && !text.chars().any(char::is_control)
}

/// A list that is short enough to be kept, of texts that are.
fn kept(list: Vec<String>) -> Option<Vec<String>> {
    let length: usize = list.iter().map(String::len).sum();
    let is_kept = list.len() <= ENTRIES_MAX
        && length <= BYTES_MAX
        && list.iter().all(|entry| is_short(entry));
    is_kept.then_some(list)
}

/// A message, without what can't be shown.
fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_matter_are_read() {
        for name in ["requirements.txt", "dev-requirements.txt", "pyproject.toml", "Procfile"] {
            assert!(is_telling(name), "{name}");
        }
        for name in ["README.md", "requirements.md", "requirements/base.txt", "uv.lock", "app.py"] {
            assert!(!is_telling(name), "{name}");
        }
    }

    #[test]
    fn a_procfile_says_what_serves() {
        let web = |text: &str| read_facts("Procfile", text).web;
        assert_eq!(
            web("release: x\nweb: gunicorn app:app \n"),
            Some("gunicorn app:app".to_owned())
        );
        assert_eq!(web("worker: x\n"), None);
        assert_eq!(web(&format!("web: {}\n", "x".repeat(1000))), None);
    }

    #[test]
    fn what_is_no_toml_yaml_or_json_is_a_problem() {
        for name in ["pyproject.toml", "Pipfile", "environment.yml", "package.json"] {
            let facts = read_facts(name, "{[\u{1}");
            assert!(facts.problem.is_some(), "{name}: {facts:?}");
            assert!(!facts.problem.unwrap().contains('\n'), "{name}");
        }
    }

    /// Fault B05: nesting and length cost nothing.
    #[test]
    fn hostile_texts_end() {
        let deep = |open: &str| open.repeat(100_000);
        for name in ["pyproject.toml", "Pipfile", "environment.yml", "package.json", "setup.py"] {
            for text in [deep("["), deep("{"), deep("a = [["), deep("- "), deep("&a [*a,")] {
                let _ = read_facts(name, &text);
            }
        }
        let many: Vec<_> = (0..10_000).map(|nth| format!("'package{nth}'")).collect();
        let project = format!("[project]\ndependencies = [{}]\n", many.join(","));
        assert_eq!(read_facts("pyproject.toml", &project).dependencies, None);
    }
}
