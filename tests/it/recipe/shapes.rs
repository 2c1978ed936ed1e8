//! Each shape of repository, with the Dockerfile that is written for it.

use std::{fs, path::Path};

use berth::{model::Digest, state::Policy};

use super::{Files, recipe, text_of, with_buildkit};

/// A repository, what its manifest says, and why it is built as it is.
struct Shape {
    name: &'static str,
    rest: &'static str,
    files: Files<'static>,
    why: &'static str,
}

const fn shape(
    name: &'static str,
    rest: &'static str,
    files: Files<'static>,
    why: &'static str,
) -> Shape {
    Shape { name, rest, files, why }
}

const RUN: &str = "run: python app.py";
const PROJECT: (&str, &str) = (
    "pyproject.toml",
    "[project]\nname = 'x'\nrequires-python = '>=3.10'\ndependencies = ['six==1.16.0', \"a'b; x<'4'\"]\n",
);
const PACKAGE: (&str, &str) = (
    "pyproject.toml",
    "[project]\nname = 'x'\ndynamic = ['dependencies']\n[build-system]\nrequires = ['setuptools']\n",
);
const POETRY: (&str, &str) = (
    "pyproject.toml",
    "[tool.poetry]\nname = 'x'\n[tool.poetry.dependencies]\npython = '^3.11'\n[build-system]\nrequires = ['poetry-core']\n",
);

const SHAPES: &[Shape] = &[
    shape(
        "requirements",
        RUN,
        &[("app.py", ""), ("requirements.txt", "six\n"), ("constraints.txt", "")],
        "requirements.txt found",
    ),
    shape(
        "requirements-named",
        "run: x\nbuild: {requirements: deps/it is.txt}",
        &[("deps/it is.txt", "six\n"), ("dev-requirements.txt", ""), ("notes.txt", "")],
        "deps/it is.txt used: build.requirements names it",
    ),
    shape(
        "requirements-of-source",
        RUN,
        &[("requirements.txt", "-e .\nsix\n"), ("setup.py", "")],
        "requirements.txt found (it comes before setup.py)",
    ),
    shape(
        "torch-cpu",
        RUN,
        &[("requirements.txt", "torch==2.3.0\n"), (".python-version", "3.11.4\n")],
        ".python-version asks for Python 3.11",
    ),
    shape(
        "pyproject",
        RUN,
        &[PROJECT, ("package.json", "{}")],
        "pyproject.toml found (it comes before package.json)",
    ),
    shape("pyproject-package", RUN, &[PACKAGE], "pyproject.toml found"),
    shape(
        "uv",
        RUN,
        &[PROJECT, ("uv.lock", ""), ("poetry.lock", "")],
        "uv.lock found with pyproject.toml (it comes before poetry.lock)",
    ),
    shape("poetry", RUN, &[POETRY, ("poetry.lock", "")], "poetry.lock found with pyproject.toml"),
    shape("poetry-unlocked", RUN, &[POETRY], "pyproject.toml found"),
    shape(
        "pipenv",
        RUN,
        &[
            ("Pipfile", "[packages]\nsix = '*'\n[requires]\npython_version = '3.9'\n"),
            ("Pipfile.lock", "{}"),
        ],
        "Pipfile found with Pipfile.lock; base python:3.9-slim",
    ),
    shape("pipenv-unlocked", RUN, &[("Pipfile", "[packages]\n")], "Pipfile found"),
    shape(
        "environment",
        RUN,
        &[("environment.yml", "dependencies:\n- python=3.11\n- pip:\n  - six==1.16.0\n")],
        "environment.yml found; base python:3.11-slim",
    ),
    shape(
        "environment-conda",
        "run: x\nbuild: {base: 'condaforge/miniforge3:24.3.0-0'}",
        &[("environment.yml", "dependencies:\n- ffmpeg\n- python=3.11\n")],
        "build.base names it",
    ),
    shape(
        "setup",
        RUN,
        &[("setup.py", "setup(install_requires=['six'], python_requires='>=3.8')")],
        "setup.py found",
    ),
    shape(
        "tools-only",
        RUN,
        &[("pyproject.toml", "[tool.ruff]\n"), ("setup.py", "setup(install_requires=read())")],
        "setup.py found (it comes before pyproject.toml)",
    ),
    shape(
        "procfile",
        "port: 5000",
        &[("requirements.txt", ""), ("Procfile", "web: gunicorn -b \"0.0.0.0:5000\" app:app\n")],
        "requirements.txt found",
    ),
    shape(
        "node",
        "port: 3000",
        &[
            ("package.json", r#"{"scripts":{"start":"node ."},"engines":{"node":">=20"}}"#),
            ("package-lock.json", "{}"),
        ],
        "package.json found; base node:20-slim",
    ),
    shape(
        "node-build",
        "run: node dist",
        &[("package.json", r#"{"scripts":{"build":"tsc"}}"#), ("pnpm-lock.yaml", "")],
        "Node 22 where the project does not say",
    ),
    shape(
        "node-yarn",
        "run: node .",
        &[("package.json", "{}"), ("yarn.lock", ""), (".nvmrc", "v18.1")],
        "the project asks for Node 18",
    ),
];

fn policy() -> Policy {
    Policy { ca_bundle: Some(Digest::of_bytes(b"ca")), ..Policy::default() }
}

/// Compares with the expected text, or writes it anew with `BLESS=1`.
fn compare(name: &str, text: &str) {
    let path = format!("{}/tests/golden/recipe/{name}/Dockerfile", env!("CARGO_MANIFEST_DIR"));
    let path = Path::new(&path);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: `make bless` writes the expected texts anew");
}

#[test]
fn each_shape_of_repository_has_its_dockerfile() {
    for Shape { name, rest, files, why } in SHAPES {
        let recipe = recipe(rest, files, policy());
        assert!(recipe.why.contains(why), "{name}: {}", recipe.why);
        compare(name, text_of(&recipe));
    }
}

/// Where `BuildKit` builds, secrets and caches are mounted, and the build is the same build.
#[test]
fn buildkit_makes_the_same_image_with_mounts() {
    let secrets = "build:\n  secrets:\n    - {id: pip.conf, secret: index}\n    - {id: extra, secret: x, key: k}\n";
    let files: Files<'_> = &[("requirements.txt", "six\n")];
    compare("buildkit", text_of(&with_buildkit(&format!("run: x\n{secrets}"), files, policy())));
    for Shape { name, rest, files, .. } in SHAPES {
        let classic = recipe(rest, files, policy());
        let modern = with_buildkit(rest, files, policy());
        assert_eq!(classic.digest(), modern.digest(), "{name}");
        assert!(!text_of(&classic).contains("--mount"), "{name}");
        assert!(text_of(&modern).contains("--mount=type=cache"), "{name}");
    }
}

/// Fault B05: nothing in a manifest becomes an instruction.
#[test]
fn everything_at_once_is_quoted() {
    let rest = "run: x\nbuild:\n  base: 'own/base:12.1.1'\n  packages: [ffmpeg, libgl1]\n  \
                caBundle: true\n  python: '>=3.11'\n  args: {A: plain, EVIL: \"a\\\"\\nRUN evil $HOME \\\\\"}\n";
    let recipe = recipe(rest, &[("requirements.txt", "")], policy());
    compare("all", text_of(&recipe));
    assert_eq!(recipe.ca_bundle, policy().ca_bundle);
}

/// What the dependencies are installed from is copied before them, and the source after them.
#[test]
fn the_source_comes_after_the_dependencies() {
    for Shape { name, rest, files, .. } in SHAPES {
        let recipe = recipe(rest, files, policy());
        let text = text_of(&recipe);
        let source = text.find("COPY . /app").unwrap();
        let is_whole = ["requirements-of-source", "pyproject-package", "tools-only"].contains(name);
        let installs = [
            "pip install",
            "uv sync",
            "poetry install",
            "pipenv install",
            "npm ",
            "pnpm",
            "yarn",
            "conda",
        ];
        let install = installs.iter().filter_map(|word| text.find(&format!("RUN {word}")));
        let generic = text[..source].contains("install --no-cache-dir ");
        let before = install.chain(generic.then_some(0)).any(|at| at < source)
            || text[..source].contains("env update");
        assert!(before || is_whole, "{name}:\n{text}");
    }
}
