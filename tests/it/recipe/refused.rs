//! What is refused, with a sentence that says what to do.

use berth::{model::Reason, state::Policy};

use super::{Files, refusal};

fn is_refused(rest: &str, files: Files<'_>, reason: Reason, parts: &[&str]) {
    let (seen, message) = refusal(rest, files, Policy::default());
    assert_eq!(seen, reason, "{message}");
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_repository_with_nothing_to_build_from_is_told_what_was_looked_for() {
    let (reason, message) = refusal("run: x", &[("app.py", "")], Policy::default());
    assert_eq!(reason, Reason::NothingToBuild);
    assert_eq!(
        message,
        "there is nothing that says how to build it in commit c0ffee0; looked for: Dockerfile, \
         requirements.txt, pyproject.toml, uv.lock, poetry.lock, Pipfile, environment.yml, \
         setup.py, package.json. Add one, or name one with `build.dockerfile` or \
         `build.requirements`, or correct `source.git.path`"
    );
    let tools: Files<'_> = &[("pyproject.toml", "[tool.black]\n"), ("Dockerfile.gpu", "")];
    let reason = Reason::NothingToBuild;
    is_refused("run: x", tools, reason, &["(pyproject.toml, Dockerfile.gpu found)"]);
    is_refused("run: x", &[("uv.lock", "")], reason, &["`uv.lock` is there without"]);
}

#[test]
fn what_a_manifest_names_must_exist() {
    let reason = Reason::NothingToBuild;
    let files: Files<'_> = &[("requirements.txt", "")];
    let named = "run: x\nbuild: {requirements: deps.txt}";
    is_refused(named, files, reason, &["names `deps.txt`, which", "(requirements.txt found)"]);
    is_refused("run: x\nbuild: {dockerfile: D}", files, reason, &["names `D`, which"]);
    is_refused("run: x\nbuild: {target: final}", files, reason, &["there is no Dockerfile"]);
}

#[test]
fn a_file_that_cannot_be_read_is_said() {
    for name in ["pyproject.toml", "Pipfile", "environment.yml", "package.json"] {
        let files = [(name, "{[")];
        let expected = format!("`{name}` can't be read: ");
        is_refused("run: x", &files, Reason::NothingToBuild, &[&expected]);
    }
}

#[test]
fn what_only_conda_can_install_needs_a_base_with_conda() {
    let files: Files<'_> = &[("environment.yml", "dependencies: [ffmpeg, python=3.11]\n")];
    let parts = ["(ffmpeg)", "python:3.11-slim has no conda", "condaforge/miniforge3"];
    is_refused("run: x", files, Reason::NothingToBuild, &parts);
}

#[test]
fn a_python_that_no_base_has_is_refused_before_the_build() {
    let old: Files<'_> = &[("requirements.txt", ""), ("runtime.txt", "python-2.7.18\n")];
    let parts = ["runtime.txt asks for Python 2.7", "build.base", "build.python"];
    is_refused("run: x", old, Reason::PythonMissing, &parts);
    let empty = "run: x\nbuild: {python: '>=3.10,<3.9'}";
    is_refused(empty, &[("requirements.txt", "")], Reason::PythonMissing, &["build.python asks"]);
    let odd = "run: x\nbuild: {python: '3.11<'}";
    is_refused(odd, &[("requirements.txt", "")], Reason::InvalidManifest, &["write `3.11`"]);
}

/// A shell or an interpreter that ends at once is no command.
#[test]
fn something_must_say_what_to_run() {
    let files: Files<'_> = &[("requirements.txt", "")];
    is_refused("port: 80", files, Reason::InvalidManifest, &["`run`", "`Procfile`"]);
    let own = "port: 80\nbuild: {base: 'own/base:1'}";
    let recipe = super::recipe(own, files, Policy::default());
    assert!(!super::text_of(&recipe).contains("CMD"));
}

/// Fault B08.
#[test]
fn secrets_need_buildkit() {
    let rest = "run: x\nbuild: {secrets: [{id: pip.conf, secret: index}]}";
    for files in [&[("requirements.txt", "")][..], &[("Dockerfile", "")]] {
        is_refused(rest, files, Reason::BuildKitMissing, &["classic builder would keep"]);
    }
}

#[test]
fn a_base_that_the_operator_does_not_list_is_refused() {
    let policy = Policy { base_images: vec!["nvcr.io/nvidia/*".to_owned()], ..Policy::default() };
    let files: Files<'_> = &[("requirements.txt", "")];
    let (reason, message) = refusal("run: x\nbuild: {base: 'own/base:1'}", files, policy.clone());
    assert_eq!(reason, Reason::NotAllowed);
    assert!(message.contains("own/base:1") && message.contains("nvcr.io/nvidia/*"), "{message}");
    for rest in ["run: x", "run: x\nbuild: {base: 'nvcr.io/nvidia/pytorch:24.01-py3'}"] {
        assert!(super::recipe(rest, files, policy.clone()).base.is_some());
    }
}
