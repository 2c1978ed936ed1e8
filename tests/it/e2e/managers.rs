//! Package managers that a build fetches first: Poetry, and npm with Node. It takes minutes, so it
//! is run by `make managers` alone.

use berth::model::{ConditionType, Phase};

use super::{
    repository::Repository,
    stage::{Stage, eventually},
};

/// Fails at once outside of the environment that Poetry installs into.
const PYTHON: &str = "import sys, time\nassert sys.prefix == '/opt/venv'\ntime.sleep(3600)\n";
const POETRY: &str = "[tool.poetry]\nname = \"x\"\nversion = \"0\"\ndescription = \"\"\nauthors = []\n\
                      package-mode = false\n\n[tool.poetry.dependencies]\npython = \">=3.10\"\n";
const POETRY_LOCK: &str = "package = []\n\n[metadata]\nlock-version = \"2.1\"\n\
    python-versions = \">=3.10\"\n\
    content-hash = \"14755fb18b13efea789fd0516c370a68387afd30cd915160b60123cf17151d1b\"\n";
/// Fails at once where the package is not installed as the lock file says.
const NODE: &str = "if (require('ms')('1h') !== 3600000) process.exit(1);\n\
                    if (require('ms/package.json').version !== '2.1.3') process.exit(1);\n\
                    setInterval(() => {}, 1000);\n";
const PACKAGE: &str = r#"{"name": "x", "version": "1.0.0", "private": true,
"scripts": {"start": "node app.js"}, "dependencies": {"ms": "^2.1.0"}}"#;
const PACKAGE_LOCK: &str = r#"{"name": "x", "version": "1.0.0", "lockfileVersion": 3,
"requires": true, "packages": {
"": {"name": "x", "version": "1.0.0", "dependencies": {"ms": "^2.1.0"}},
"node_modules/ms": {"version": "2.1.3", "license": "MIT",
"integrity": "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="}}}"#;
/// How often the usual patience is had with a build.
const TURNS: usize = 6;

/// An app that is fetched, built and run; answers why it was built so.
async fn built(app: &str, files: &[(&str, &str)], rest: &str) -> String {
    let stage = Stage::new();
    let repository = Repository::bare(&stage.path("served/app.git"));
    repository.commit(files);
    stage.write(
        "app.yaml",
        &format!(
            "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
             source: {{git: {}}}\n  health: none\n{rest}",
            repository.url()
        ),
    );
    let berth = stage.start();
    let is_done = || {
        let phase = berth.status(app).map(|status| status.phase);
        matches!(phase, Some(Phase::Running | Phase::Failed | Phase::Degraded))
    };
    for _ in 0..TURNS {
        if eventually(is_done).await {
            break;
        }
    }
    let status = berth.until_running(app).await;
    status.condition(ConditionType::ImageReady).unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn poetry_installs_what_its_lock_file_says() {
    let files = [("app.py", PYTHON), ("pyproject.toml", POETRY), ("poetry.lock", POETRY_LOCK)];
    let why = built("poetry", &files, "  run: python3 app.py\n").await;
    assert!(why.contains("poetry.lock found with pyproject.toml"), "{why}");
}

/// npm runs through the host's authorities, which Node has to be told of.
#[tokio::test(flavor = "multi_thread")]
async fn npm_installs_what_its_lock_file_says_and_its_start_is_run() {
    let files = [("app.js", NODE), ("package.json", PACKAGE), ("package-lock.json", PACKAGE_LOCK)];
    let rest = format!(
        "  build:\n    base: {}\n    args: {{NODE_EXTRA_CA_CERTS: /etc/ssl/certs/ca-certificates.crt}}\n",
        super::engine::BASE
    );
    let why = built("node", &files, &rest).await;
    assert!(why.contains("package.json found"), "{why}");
}
