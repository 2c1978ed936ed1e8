//! Repositories of several shapes, built and run on the real engine.

use std::fs;

use berth::model::{ConditionType, Phase, Reason};

use super::{
    engine::docker,
    repository::Repository,
    stage::{Stage, name},
};

/// Fails at once where what the project asks for is not installed.
const APP: &str = "import time\nimport six\nassert six.__version__ == '1.16.0'\ntime.sleep(3600)\n";
/// The same, where nothing is asked for.
const BARE: &str = "import sys, time\nassert sys.prefix == '/opt/venv'\ntime.sleep(3600)\n";
const PROJECT: &str = "[project]\nname = 'x'\nversion = '0'\nrequires-python = '>=3.10'\ndependencies = ['six==1.16.0']\n";
const UV: &str = "[project]\nname = \"x\"\nversion = \"0\"\nrequires-python = \">=3.10\"\n";
const UV_LOCK: &str = "version = 1\nrevision = 1\nrequires-python = \">=3.10\"\n\n[[package]]\n\
                       name = \"x\"\nversion = \"0\"\nsource = { virtual = \".\" }\n";
const PIPFILE: &str = "[packages]\nsix = \"==1.16.0\"\n\n[requires]\npython_version = \"3.11\"\n";
const PIPFILE_LOCK: &str = r#"{"_meta": {"hash": {"sha256":
"21c0b34ee7520aaf8b48b15f9b35bdc434f9bd666861eac8133b02430019b2a4"}, "pipfile-spec": 6,
"requires": {"python_version": "3.11"}, "sources": []},
"default": {"six": {"version": "==1.16.0"}}, "develop": {}}"#;
const ENVIRONMENT: &str =
    "name: x\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n    - six==1.16.0\n";
const SETUP: &str = "from setuptools import setup\n\
                     setup(name='x', version='0', py_modules=['app'], install_requires=['six==1.16.0'])\n";

/// An app, its files, and the file that decides.
type Shape = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const SHAPES: &[Shape] = &[
    ("pyproject", &[("app.py", APP), ("pyproject.toml", PROJECT)], "pyproject.toml found"),
    (
        "uv",
        &[("app.py", BARE), ("pyproject.toml", UV), ("uv.lock", UV_LOCK)],
        "uv.lock found with pyproject.toml",
    ),
    (
        "pipenv",
        &[("app.py", APP), ("Pipfile", PIPFILE), ("Pipfile.lock", PIPFILE_LOCK)],
        "Pipfile found with Pipfile.lock",
    ),
    ("conda", &[("app.py", APP), ("environment.yml", ENVIRONMENT)], "environment.yml found"),
    ("setup", &[("app.py", APP), ("setup.py", SETUP)], "setup.py found"),
];

fn manifest(app: &str, url: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         source: {{git: {url}}}\n  run: python3 app.py\n  health: none\n"
    )
}

fn put(stage: &Stage, app: &str, files: &[(&str, &str)]) -> String {
    let repository = Repository::bare(&stage.path("served").join(format!("{app}.git")));
    repository.commit(files);
    stage.write(&format!("{app}.yaml"), &manifest(app, &repository.url()));
    repository.url()
}

/// Faults B01, B02, B10: each shape is built by what it says itself, and the choice is shown. What
/// the base can't do is said with a sentence that helps.
#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_many_shapes_are_built_and_run() {
    let stage = Stage::new();
    for (app, files, _) in SHAPES {
        put(&stage, app, files);
    }
    let old = [("app.py", APP), ("requirements.txt", ""), (".python-version", "3.6\n")];
    put(&stage, "old", &old);
    let conda = [("environment.yml", "dependencies: [ffmpeg]\n")];
    put(&stage, "only-conda", &conda);
    let berth = stage.start();
    for (app, _, why) in SHAPES {
        let status = berth.until_running(app).await;
        let image = status.condition(ConditionType::ImageReady).unwrap();
        let base = format!("base {} (", super::engine::BASE);
        assert!(image.message.contains(why) && image.message.contains(&base), "{app}: {image:?}");
    }
    let status = berth.until_said("old", Phase::Failed, Reason::BuildFailed).await;
    let sentence = format!(
        ".python-version asks for Python 3.6, the base image {} has 3.11: name another base with \
         build.base, or another Python with build.python",
        super::engine::BASE
    );
    assert!(status.message.contains(&sentence), "{}", status.message);
    let status = berth.until_said("only-conda", Phase::Failed, Reason::NothingToBuild).await;
    assert!(status.message.contains("ffmpeg"), "{}", status.message);
}

/// What one app's dependencies have cost another one does not pay again, and which base an image
/// stands on is written on it.
#[tokio::test(flavor = "multi_thread")]
async fn equal_dependencies_are_installed_once_for_all_apps() {
    let stage = Stage::new();
    let berth = stage.start();
    put(&stage, "one", &[("app.py", APP), ("requirements.txt", "six==1.16.0\n")]);
    berth.until_running("one").await;
    let more = "# another\n".to_owned() + APP;
    put(&stage, "two", &[("app.py", &more), ("requirements.txt", "six==1.16.0\n")]);
    berth.until_running("two").await;
    let log = fs::read_to_string(stage.workspace("two", ".berth/build.log")).unwrap();
    let install = log.lines().position(|line| line.contains("pip install")).expect(&log);
    let is_cached = |line: &str| line.ends_with("(cached)") || line.contains("Using cache");
    assert!(log.lines().skip(install).take(2).any(is_cached), "{log}");
    assert!(berth.status(name("two").as_str()).unwrap().commit.is_some());
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", super::engine::BASE]);
    for app in ["one", "two"] {
        let format = "{{index .Config.Labels \"dev.berth.image.base\"}}";
        let label = docker(&["image", "inspect", "--format", format, &stage.images(app)[0]]);
        assert_eq!(label.trim(), format!("{} {}", super::engine::BASE, id.trim()));
    }
}
