//! The part of a Dockerfile that is about Python.

use std::fmt::Write as _;

use super::{
    super::{
        base, detect,
        detect::{Kind, PythonAsk},
        read::is_requirements,
        refuse,
    },
    Part, apt, copy, copy_word, joined_ca, shell_word,
};
use crate::model::Reason;
use crate::plan::Refusal;
use crate::state::FileFacts;

/// What pip keeps between builds.
const PIP_CACHE: &str = "/root/.cache/pip";
/// Where uv and Poetry put what an app needs, apart from what they need themselves.
const VENV: &str = "ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH\n";
const SOURCE: &str = "COPY . /app\n";

/// From a base to an app, ready to run.
pub(super) fn body(part: &Part<'_>) -> Result<String, Refusal> {
    if let Kind::Conda(path) = &part.generation.kind
        && has_conda(part)
    {
        return conda(part, path);
    }
    let mut text = python();
    if part.app.spec.build.ca_bundle {
        // With Python came the public authorities, where the base had none.
        text.push_str(&joined_ca());
    }
    if let Some(ask) = &part.generation.python {
        text.push_str(&check(ask, part.generation.base.image.as_str()));
    }
    text.push_str(
        "ENV PYTHONUNBUFFERED=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1\n",
    );
    text.push_str("WORKDIR /app\n");
    let facts = |path: &str| detect::facts(part.checkout, path);
    let is_package = facts("pyproject.toml")
        .and_then(|facts| facts.project.as_ref())
        .is_some_and(|project| project.is_package);
    text.push_str(&match &part.generation.kind {
        Kind::Requirements(path) => requirements(part, path)?,
        Kind::Uv => uv(part, is_package)?,
        Kind::Poetry { is_locked } => poetry(part, *is_locked, is_package)?,
        Kind::Pipenv { is_locked } => pipenv(part, *is_locked)?,
        Kind::Project => listed(part, facts("pyproject.toml"), is_package),
        Kind::Setup => listed(part, facts("setup.py"), true),
        Kind::Conda(path) => without_conda(part, path)?,
        Kind::Node => String::new(),
    });
    Ok(text)
}

/// Python and pip, where the base has none. Only bases with apt can be helped.
fn python() -> String {
    format!(
        "RUN if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then exit 0; fi; \\\n    \
         command -v apt-get >/dev/null || {{ echo \"ERROR: the base image has neither python3 with pip nor apt-get\" >&2; exit 1; }}; \\\n    {}",
        apt("python3 python3-pip python-is-python3")
    )
}

/// Fails early, and with a sentence that says what to do.
fn check(ask: &PythonAsk, base: &str) -> String {
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let asks =
        format!("ERROR: {} asks for Python {}, the base image {base} has ", ask.by, ask.text);
    let todo = ": name another base with build.base, or another Python with build.python";
    let program = format!(
        "import sys; v = sys.version_info[:2]; sys.exit(0 if {} else {} + \"%d.%d\" % v + {})",
        ask.wanted.expression(),
        quoted(asks),
        quoted(todo.to_owned())
    );
    format!("RUN python3 -c {}\n", shell_word(&program))
}

fn requirements(part: &Part<'_>, path: &str) -> Result<String, Refusal> {
    let install = format!("{} -r {}", part.pip(), shell_word(&format!("/app/{path}")));
    let install = part.run(&[PIP_CACHE], &install);
    if detect::facts(part.checkout, path).is_some_and(|facts| facts.needs_source) {
        return Ok(format!("{SOURCE}{install}"));
    }
    let mut text = String::new();
    for path in dependency_files(part, path) {
        let target = match path.rsplit_once('/') {
            Some((folder, _)) => format!("/app/{folder}/"),
            None => "/app/".to_owned(),
        };
        text.push_str(&copy(&[path], &target)?);
    }
    Ok(format!("{text}{install}{SOURCE}"))
}

/// The files that the dependencies are read from: the requirements file, and those of the first
/// level that it may refer to.
fn dependency_files<'a>(part: &'a Part<'_>, requirements: &'a str) -> Vec<&'a str> {
    let may_be_named = |path: &&str| {
        let is_text = path.strip_suffix(".txt").is_some_and(|name| !name.contains('/'));
        *path != requirements
            && (is_requirements(path) || is_text && path.contains("constraints"))
            && copy_word(path).is_ok()
    };
    let files = part.checkout.files.iter().map(|file| file.path.as_str());
    std::iter::once(requirements).chain(files.filter(may_be_named)).collect()
}

/// What a file lists plainly is installed first; the project itself last.
fn listed(part: &Part<'_>, facts: Option<&FileFacts>, is_package: bool) -> String {
    let list = facts.and_then(|facts| facts.dependencies.as_deref());
    let first = list.map_or_else(String::new, |list| install(part, list));
    let itself = part.run(&[PIP_CACHE], &format!("{} .", part.pip()));
    let itself = if is_package || list.is_none() { itself.as_str() } else { "" };
    format!("{first}{SOURCE}{itself}")
}

fn install(part: &Part<'_>, list: &[String]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut command = part.pip();
    for entry in list {
        let _ = write!(command, " \\\n    {}", shell_word(entry));
    }
    part.run(&[PIP_CACHE], &command)
}

/// A tool of the build, where the base has none. Called before the environment exists.
fn tool(part: &Part<'_>, name: &str) -> String {
    let cache = if part.has_buildkit { "" } else { " --no-cache-dir" };
    let get = format!("python3 -m pip install{cache} {name}");
    part.run(&[PIP_CACHE], &format!("command -v {name} >/dev/null || {get}"))
}

fn uv(part: &Part<'_>, is_package: bool) -> Result<String, Refusal> {
    let cache = if part.has_buildkit { "" } else { " --no-cache" };
    let caches = ["/root/.cache/uv"];
    let sync = format!("uv sync --frozen --no-dev --no-install-workspace{cache}");
    let itself = format!("uv pip install --python /opt/venv --no-deps{cache} .");
    let mut text = tool(part, "uv");
    text.push_str(VENV);
    text.push_str(
        "ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy\n",
    );
    text.push_str(&copy(&["pyproject.toml", "uv.lock"], "/app/")?);
    text.push_str(&part.run(&caches, &sync));
    text.push_str(SOURCE);
    if is_package {
        text.push_str(&part.run(&caches, &itself));
    }
    Ok(text)
}

fn poetry(part: &Part<'_>, is_locked: bool, is_package: bool) -> Result<String, Refusal> {
    let files: &[&str] =
        if is_locked { &["pyproject.toml", "poetry.lock"] } else { &["pyproject.toml"] };
    let mut text = tool(part, "poetry");
    text.push_str("RUN python3 -m venv --without-pip /opt/venv\n");
    text.push_str(VENV);
    text.push_str("ENV POETRY_NO_INTERACTION=1 POETRY_CACHE_DIR=/tmp/poetry\n");
    text.push_str(&copy(files, "/app/")?);
    let clean = if part.has_buildkit { "" } else { " && rm -rf /tmp/poetry" };
    let install = format!("poetry install --no-root --only main{clean}");
    text.push_str(&part.run(&["/tmp/poetry"], &install));
    text.push_str(SOURCE);
    if is_package {
        // Many projects say that they are packages and are not; their modules are in /app.
        let itself = "poetry install --only-root || \
                      echo \"WARNING: the project itself can't be installed as a package\" >&2";
        text.push_str(&part.run(&["/tmp/poetry"], itself));
    }
    Ok(text)
}

fn pipenv(part: &Part<'_>, is_locked: bool) -> Result<String, Refusal> {
    let (files, how): (&[&str], _) = if is_locked {
        (&["Pipfile", "Pipfile.lock"], "--deploy")
    } else {
        (&["Pipfile"], "--skip-lock")
    };
    let install = format!("pipenv install {how} --system");
    let mut text = tool(part, "pipenv");
    text.push_str(&copy(files, "/app/")?);
    text.push_str(&part.run(&[PIP_CACHE], &install));
    text.push_str(SOURCE);
    Ok(text)
}

/// Whether the base has conda, as far as its name tells.
fn has_conda(part: &Part<'_>) -> bool {
    let base = part.generation.base.image.as_str();
    ["conda", "mamba", "miniforge"].iter().any(|word| base.contains(word))
}

fn conda(part: &Part<'_>, path: &str) -> Result<String, Refusal> {
    let file = shell_word(&format!("/app/{path}"));
    let install = format!(
        "if command -v micromamba >/dev/null; then micromamba install --yes --name base --file {file}; \\\n    \
         elif command -v mamba >/dev/null; then mamba env update --name base --file {file}; \\\n    \
         elif command -v conda >/dev/null; then conda env update --name base --file {file}; \\\n    \
         else echo \"ERROR: the base image has no conda\" >&2; exit 1; fi"
    );
    Ok(format!(
        "ENV PYTHONUNBUFFERED=1 PATH=/opt/conda/bin:$PATH\nWORKDIR /app\n{}{}{SOURCE}",
        copy(&[path], "/app/")?,
        part.run(&["/opt/conda/pkgs"], &install)
    ))
}

/// What an `environment.yml` asks for, with pip; refused where only conda can do it.
fn without_conda(part: &Part<'_>, path: &str) -> Result<String, Refusal> {
    let facts = detect::facts(part.checkout, path);
    let only_conda = facts.map_or(&[][..], |facts| &facts.conda);
    let list = facts.and_then(|facts| facts.dependencies.as_deref());
    match list {
        Some(list) if only_conda.is_empty() => Ok(format!("{}{SOURCE}", install(part, list))),
        _ => {
            let shown: Vec<_> = only_conda.iter().take(5).map(String::as_str).collect();
            let shown = if shown.is_empty() { "its list".to_owned() } else { shown.join(", ") };
            let base = &part.generation.base.image;
            let is_bare = if base::is_bare(base) { "" } else { ", as far as its name tells" };
            let message = format!(
                "`{path}` asks for what only conda can install ({shown}), and the base image \
                 {base} has no conda{is_bare}: name one that has, such as condaforge/miniforge3, \
                 with `build.base`, or list what pip can install in a `requirements.txt`"
            );
            refuse(Reason::NothingToBuild, &message)
        }
    }
}
