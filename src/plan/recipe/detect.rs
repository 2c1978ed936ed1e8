//! Which files of a repository say how it is built.

use super::{nothing, refuse, version::Wanted};
use crate::model::{App, Reason};
use crate::plan::Refusal;
use crate::state::{Checkout, FileFacts, Framework};

/// What a Dockerfile is generated for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// pip, from a requirements file.
    Requirements(String),
    /// uv, from `uv.lock`.
    Uv,
    /// Poetry, from `poetry.lock` when it is there.
    Poetry {
        /// Whether it is.
        is_locked: bool,
    },
    /// pip, from `pyproject.toml`.
    Project,
    /// Pipenv, from `Pipfile.lock` when it is there.
    Pipenv {
        /// Whether it is.
        is_locked: bool,
    },
    /// conda, or pip where it can do the same.
    Conda(String),
    /// pip, from `setup.py`.
    Setup,
    /// A package manager of Node.
    Node,
}

impl Kind {
    /// Whether a tool with rules of its own chooses the versions.
    pub(super) fn is_by_tool(&self) -> bool {
        matches!(self, Self::Uv | Self::Poetry { .. } | Self::Pipenv { .. } | Self::Node)
    }

    /// The lock file that decides what is installed.
    pub(super) fn lock(&self) -> Option<&'static str> {
        match self {
            Self::Uv => Some("uv.lock"),
            Self::Poetry { is_locked: true } => Some("poetry.lock"),
            Self::Pipenv { is_locked: true } => Some("Pipfile.lock"),
            _ => None,
        }
    }
}

/// The manifest's own choice comes first, then these, in this order.
pub(super) const LOOKED_FOR: &str = "Dockerfile, requirements.txt, pyproject.toml, uv.lock, \
     poetry.lock, Pipfile, environment.yml, setup.py, package.json";

/// The names that `LOOKED_FOR` stands for, without the Dockerfile.
const NAMES: [&str; 11] = [
    "requirements.txt",
    "pyproject.toml",
    "uv.lock",
    "poetry.lock",
    "Pipfile",
    "Pipfile.lock",
    "environment.yml",
    "environment.yaml",
    "setup.py",
    "setup.cfg",
    "package.json",
];

/// What decides, and why, as a sentence without its beginning.
pub(super) fn kind(app: &App, checkout: &Checkout) -> Result<(Kind, String), Refusal> {
    if let Some(path) = &app.spec.build.requirements {
        if !checkout.has(path) {
            let what = format!("`build.requirements` names `{path}`, which does not exist");
            return nothing(checkout, &what);
        }
        let why = if path == NAMES[0] {
            found(checkout, &[path])
        } else {
            format!("{path} used: build.requirements names it")
        };
        return Ok((Kind::Requirements(path.clone()), why));
    }
    let (kind, files) = by_files(checkout)?;
    Ok((kind, found(checkout, &files.iter().map(String::as_str).collect::<Vec<_>>())))
}

/// `uv.lock found with pyproject.toml (it comes before package.json)`.
fn found(checkout: &Checkout, used: &[&str]) -> String {
    let first = used.first().copied().unwrap_or_default();
    let with =
        if used.len() < 2 { String::new() } else { format!(" with {}", used[1..].join(", ")) };
    let mut others: Vec<_> =
        NAMES.iter().copied().filter(|name| checkout.has(name) && !used.contains(name)).collect();
    // A lock file belongs to the file that it locks.
    others.retain(|name| *name != "Pipfile.lock" && *name != "setup.cfg");
    match others.as_slice() {
        [] => format!("{first} found{with}"),
        others => format!("{first} found{with} (it comes before {})", others.join(", ")),
    }
}

fn by_files(checkout: &Checkout) -> Result<(Kind, Vec<String>), Refusal> {
    let has = |name: &str| checkout.has(name);
    let files = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    if has("requirements.txt") {
        return Ok((
            Kind::Requirements("requirements.txt".to_owned()),
            files(&["requirements.txt"]),
        ));
    }
    if let Some((kind, used)) = by_pyproject(checkout)? {
        return Ok((kind, files(used)));
    }
    if has("Pipfile") {
        readable(checkout, "Pipfile")?;
        let is_locked = has("Pipfile.lock");
        let used: &[&str] = if is_locked { &["Pipfile", "Pipfile.lock"] } else { &["Pipfile"] };
        return Ok((Kind::Pipenv { is_locked }, files(used)));
    }
    if let Some(name) = ["environment.yml", "environment.yaml"].into_iter().find(|name| has(name)) {
        readable(checkout, name)?;
        return Ok((Kind::Conda(name.to_owned()), files(&[name])));
    }
    if has("setup.py") {
        return Ok((Kind::Setup, files(&["setup.py"])));
    }
    if has("package.json") {
        readable(checkout, "package.json")?;
        return Ok((Kind::Node, files(&["package.json"])));
    }
    nothing(checkout, "there is nothing that says how to build it")
}

/// What `pyproject.toml` and its lock files ask for. A file that only configures tools asks for
/// nothing.
fn by_pyproject(checkout: &Checkout) -> Result<Option<(Kind, &'static [&'static str])>, Refusal> {
    let locks = ["uv.lock", "poetry.lock"].map(|name| checkout.has(name));
    if !checkout.has("pyproject.toml") {
        let lock = match locks {
            [true, _] => "uv.lock",
            [_, true] => "poetry.lock",
            _ => return Ok(None),
        };
        if NAMES[4..].iter().any(|name| checkout.has(name)) {
            return Ok(None);
        }
        return nothing(checkout, &format!("`{lock}` is there without its `pyproject.toml`"));
    }
    readable(checkout, "pyproject.toml")?;
    if locks[0] {
        return Ok(Some((Kind::Uv, &["uv.lock", "pyproject.toml"])));
    }
    if locks[1] {
        let kind = Kind::Poetry { is_locked: true };
        return Ok(Some((kind, &["poetry.lock", "pyproject.toml"])));
    }
    let Some(project) = facts(checkout, "pyproject.toml").and_then(|facts| facts.project.as_ref())
    else {
        // Of a checkout of an older Berth nobody knows what is in it.
        return Ok(Some((Kind::Project, &["pyproject.toml"])));
    };
    Ok(if project.is_described {
        Some((Kind::Project, &["pyproject.toml"]))
    } else if project.has_poetry {
        Some((Kind::Poetry { is_locked: false }, &["pyproject.toml"]))
    } else if project.is_package && !NAMES[4..].iter().any(|name| checkout.has(name)) {
        Some((Kind::Project, &["pyproject.toml"]))
    } else {
        None
    })
}

/// What a file says, when it was read.
pub(super) fn facts<'a>(checkout: &'a Checkout, path: &str) -> Option<&'a FileFacts> {
    checkout.facts.get(path)
}

fn readable(checkout: &Checkout, path: &str) -> Result<(), Refusal> {
    match facts(checkout, path).and_then(|facts| facts.problem.as_ref()) {
        Some(problem) => {
            let message = format!("`{path}` can't be read: {problem}");
            refuse(Reason::NothingToBuild, &message)
        }
        None => Ok(()),
    }
}

/// Which Python is asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PythonAsk {
    /// Which.
    pub(super) wanted: Wanted,
    /// As it was written, for people.
    pub(super) text: String,
    /// Where it was written.
    pub(super) by: String,
}

/// Which Python is asked for: by the manifest, else by the first file that says it.
pub(super) fn python(app: &App, checkout: &Checkout) -> Result<Option<PythonAsk>, Refusal> {
    const FILES: [&str; 8] = [
        ".python-version",
        "runtime.txt",
        "pyproject.toml",
        "Pipfile",
        "environment.yml",
        "environment.yaml",
        "setup.py",
        "setup.cfg",
    ];
    let ask = |text: &str, by: &str| {
        let wanted = Wanted::parse(text)?;
        Some(PythonAsk { wanted, text: text.to_owned(), by: by.to_owned() })
    };
    if let Some(text) = &app.spec.build.python {
        let wrong = || {
            let message = format!(
                "`build.python` is `{text}`, which is not a version: write `3.11`, or `>=3.10,<3.13`"
            );
            Refusal { reason: Reason::InvalidManifest, message }
        };
        return ask(text, "build.python").ok_or_else(wrong).map(Some);
    }
    let said = |name: &'static str| ask(facts(checkout, name)?.python.as_deref()?, name);
    Ok(FILES.into_iter().find_map(said))
}

/// The frameworks that the deciding file asks for, and whether it names an index of its own.
pub(super) fn frameworks(kind: &Kind, checkout: &Checkout) -> (Vec<Framework>, bool) {
    let path = match kind {
        Kind::Requirements(path) | Kind::Conda(path) => path,
        Kind::Uv | Kind::Poetry { .. } | Kind::Project => "pyproject.toml",
        Kind::Pipenv { .. } => "Pipfile",
        Kind::Setup => "setup.py",
        Kind::Node => return (Vec::new(), false),
    };
    facts(checkout, path)
        .map_or_else(Default::default, |facts| (facts.frameworks.clone(), facts.has_index))
}
