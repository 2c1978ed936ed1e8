//! Decides how an app's image is built, and writes the Dockerfile when the repository has none.
//!
//! Every text of a manifest is either checked against a small alphabet or quoted, so that none of
//! it becomes an instruction of its own (fault B05).

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Dockerfile, Recipe, Refusal};
use crate::model::{App, ImageRef, Reason, label};
use crate::state::{Checkout, Policy};

/// Where the CA bundle lies in the build context.
const CA_IN_CONTEXT: &str = ".berth/ca.crt";
/// Where the CA bundle lies in the image.
const CA_IN_IMAGE: &str = "/usr/local/share/ca-certificates/berth.crt";
/// The variables by which tools find a CA bundle.
const CA_VARIABLES: [&str; 4] =
    ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
const DOCKERFILE: &str = "Dockerfile";
const REQUIREMENTS: &str = "requirements.txt";

/// Decides how the image of `app` is built from `checkout`.
///
/// A base image that the engine does not have is refused with [`Reason::BaseImageMissing`] and
/// its name as the message; the caller pulls it.
pub(super) fn recipe(
    app: &App,
    checkout: &Checkout,
    image_id_of: &dyn Fn(&str) -> Option<String>,
    rebuilds: u64,
    policy: &Policy,
) -> Result<Recipe, Refusal> {
    let build = &app.spec.build;
    let new = |dockerfile, base, why| Recipe {
        instance: policy.instance.clone(),
        app: app.name.clone(),
        tree: checkout.tree.clone(),
        commit: checkout.commit.clone(),
        dockerfile,
        target: build.target.clone(),
        args: build.args.clone(),
        base,
        ca_bundle: policy.ca_bundle.clone().filter(|_| build.ca_bundle),
        rebuilds,
        why,
    };
    if build.ca_bundle && policy.ca_bundle.is_none() {
        return refuse(
            Reason::InvalidManifest,
            "`build.caBundle` is set, and the operator has configured no CA bundle",
        );
    }
    if let Some((path, why)) = dockerfile_in_source(app, checkout)? {
        return Ok(new(Dockerfile::InSource(path), None, why));
    }
    let requirements = requirements(app, checkout)?;
    if build.target.is_some() {
        return nothing(checkout, "`build.target` names a stage, and there is no Dockerfile");
    }
    let base = build.base.as_ref().unwrap_or(&policy.base_image);
    let Some(base_id) = image_id_of(base.as_str()) else {
        return refuse(Reason::BaseImageMissing, base.as_str());
    };
    let text = generate(app, checkout, base, &requirements, &policy.instance)?;
    let why = format!("Dockerfile generated: {requirements} found");
    Ok(new(Dockerfile::Generated(text), Some((base.clone(), base_id)), why))
}

/// The Dockerfile of the repository, and why it is used.
fn dockerfile_in_source(
    app: &App,
    checkout: &Checkout,
) -> Result<Option<(String, String)>, Refusal> {
    let build = &app.spec.build;
    match &build.dockerfile {
        Some(path) if checkout.has(path) => {
            Ok(Some((path.clone(), format!("{path} used: build.dockerfile names it"))))
        }
        Some(path) => {
            nothing(checkout, &format!("`build.dockerfile` names `{path}`, which does not exist"))
        }
        None if checkout.has(DOCKERFILE) => {
            let unused = if build.requirements.is_some() || build.base.is_some() {
                "; build.base, build.packages and build.requirements are not used"
            } else {
                ""
            };
            Ok(Some((DOCKERFILE.to_owned(), format!("{DOCKERFILE} found{unused}"))))
        }
        None => Ok(None),
    }
}

/// The requirements file that the image is made from.
fn requirements(app: &App, checkout: &Checkout) -> Result<String, Refusal> {
    match &app.spec.build.requirements {
        Some(path) if checkout.has(path) => Ok(path.clone()),
        Some(path) => {
            nothing(checkout, &format!("`build.requirements` names `{path}`, which does not exist"))
        }
        None if checkout.has(REQUIREMENTS) => Ok(REQUIREMENTS.to_owned()),
        None => nothing(checkout, "there is neither a `Dockerfile` nor a `requirements.txt`"),
    }
}

fn nothing<T>(checkout: &Checkout, what: &str) -> Result<T, Refusal> {
    let commit = checkout.commit.get(..7).unwrap_or(&checkout.commit);
    let place = if checkout.path.is_empty() {
        format!("commit {commit}")
    } else {
        format!("`{}` at commit {commit}", checkout.path)
    };
    let kind = |file: &str| file.contains("requirements") || file.contains(DOCKERFILE);
    let found: Vec<_> =
        checkout.files.iter().map(|file| file.path.as_str()).filter(|path| kind(path)).collect();
    let found =
        if found.is_empty() { String::new() } else { format!(" ({} found)", found.join(", ")) };
    let todo = "add one, or name one with `build.dockerfile` or `build.requirements`, or correct `source.path`";
    refuse(Reason::NothingToBuild, &format!("{what} in {place}{found}: {todo}"))
}

fn refuse<T>(reason: Reason, message: &str) -> Result<T, Refusal> {
    Err(Refusal { reason, message: message.to_owned() })
}

/// Writes the Dockerfile. The same input gives the same text.
fn generate(
    app: &App,
    checkout: &Checkout,
    base: &ImageRef,
    requirements: &str,
    instance: &str,
) -> Result<String, Refusal> {
    let build = &app.spec.build;
    let mut text = format!("# Written by Berth for the app {}.\nFROM {base}\n", app.name);
    // First of all, so that what a failed build leaves behind says whose it is.
    let _ = writeln!(text, "LABEL {}={}", label::IMAGE_INSTANCE, dockerfile_word(instance));
    text.push_str(&arguments(&build.args)?);
    if build.ca_bundle {
        text.push_str(&ca_bundle());
    }
    text.push_str(PYTHON);
    text.push_str(&packages(&build.packages)?);
    text.push_str(
        "ENV PYTHONUNBUFFERED=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1\n",
    );
    text.push_str("WORKDIR /app\n");
    for path in dependency_files(checkout, requirements) {
        let target = match path.rsplit_once('/') {
            Some((folder, _)) => format!("/app/{folder}/"),
            None => "/app/".to_owned(),
        };
        let _ = writeln!(text, "COPY [{}, {}]", copy_word(path)?, copy_word(&target)?);
    }
    let _ = writeln!(
        text,
        "RUN python3 -m pip install --no-cache-dir -r {}",
        shell_word(&format!("/app/{requirements}"))
    );
    text.push_str("COPY . /app\n");
    Ok(text)
}

/// Python and pip, where the base has none. Only bases with apt can be helped.
const PYTHON: &str = r#"RUN if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then exit 0; fi; \
    command -v apt-get >/dev/null || { echo "the base image has neither python3 with pip nor apt-get" >&2; exit 1; }; \
    apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-pip python-is-python3 && \
    rm -rf /var/lib/apt/lists/*
"#;

fn arguments(args: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let mut text = String::new();
    for (name, value) in args {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("`build.args` has `{name}`, which is not the name of a variable");
            return refuse(Reason::InvalidManifest, &message);
        }
        let _ = writeln!(text, "ARG {name}={}", dockerfile_word(value));
    }
    Ok(text)
}

/// The CA bundle, for the tools that the build runs; what runs later does not see the variables.
fn ca_bundle() -> String {
    let variables: Vec<_> =
        CA_VARIABLES.iter().map(|name| format!("ARG {name}={CA_IN_IMAGE}\n")).collect();
    format!(
        "COPY {CA_IN_CONTEXT} {CA_IN_IMAGE}\n\
         RUN if command -v update-ca-certificates >/dev/null; then update-ca-certificates; fi\n{}",
        variables.concat()
    )
}

fn packages(packages: &[String]) -> Result<String, Refusal> {
    if packages.is_empty() {
        return Ok(String::new());
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "+-.:=~".contains(c);
    let is_package = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(legal)
    };
    if let Some(bad) = packages.iter().find(|name| !is_package(name)) {
        let message = format!("`build.packages` has `{bad}`, which is not the name of a package");
        return refuse(Reason::InvalidManifest, &message);
    }
    Ok(format!(
        "RUN apt-get update && \\\n    \
         DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {} && \\\n    \
         rm -rf /var/lib/apt/lists/*\n",
        packages.join(" ")
    ))
}

/// The files that the dependencies are read from: the requirements file, and those of the first
/// level that it may refer to.
fn dependency_files<'a>(checkout: &'a Checkout, requirements: &'a str) -> Vec<&'a str> {
    let may_be_named = |path: &&str| {
        let is_text = path.strip_suffix(".txt").is_some_and(|name| !name.contains('/'));
        *path != requirements
            && is_text
            && (path.contains("requirements") || path.contains("constraints"))
            && copy_word(path).is_ok()
    };
    let others = checkout.files.iter().map(|file| file.path.as_str()).filter(may_be_named);
    std::iter::once(requirements).chain(others).collect()
}

/// A word of `COPY`, in the JSON form. Patterns and variables have no place in it.
fn copy_word(path: &str) -> Result<String, Refusal> {
    let legal = |c: char| c.is_alphanumeric() || "._-+@=,~/ ".contains(c);
    if path.is_empty() || !path.chars().all(legal) {
        let message =
            format!("`{path}` can't be copied into an image: rename it without special characters");
        return refuse(Reason::NothingToBuild, &message);
    }
    Ok(format!("\"{path}\""))
}

/// A word of an instruction, quoted.
fn dockerfile_word(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A word of a shell's line, quoted.
fn shell_word(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        AppName, AppSpec, BuildSpec, Command, Digest, GitSource, GitUrl, Health, Origin, Resources,
        RestartPolicy, Rollout, Source, WorkspaceSpec,
    };
    use crate::state::DetectedFile;

    fn app(build: BuildSpec) -> App {
        let source = Source::Git(GitSource {
            url: GitUrl::parse("https://h.example/a.git").unwrap(),
            reference: None,
            path: String::new(),
            depth: None,
            interval: Duration::ZERO,
        });
        let health = Health {
            check: None,
            start_period: Duration::ZERO,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            retries: 1,
        };
        let spec = AppSpec {
            source,
            build,
            command: Command::Shell("python app.py".to_owned()),
            ports: Vec::new(),
            env: BTreeMap::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            health,
            restart: RestartPolicy::default(),
            rollout: Rollout::default(),
            depends_on: Vec::new(),
            suspend: false,
            workspace: WorkspaceSpec::default(),
            stop_grace_period: Duration::from_secs(10),
        };
        App {
            name: AppName::new("chat").unwrap(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec,
            origin: Origin::default(),
        }
    }

    fn check(build: BuildSpec, files: &[&str]) -> Result<Recipe, Refusal> {
        let files = files.iter().map(|path| DetectedFile { path: (*path).to_owned() }).collect();
        let checkout = Checkout {
            url: "https://h.example/a.git".to_owned(),
            reference: None,
            path: String::new(),
            commit: "0123456789".repeat(4),
            tree: "abcdef0123".repeat(4),
            files,
        };
        let policy = Policy { ca_bundle: Some(Digest::of_bytes(b"ca")), ..Policy::default() };
        let images = |name: &str| (!name.starts_with("absent")).then(|| format!("id of {name}"));
        recipe(&app(build), &checkout, &images, 0, &policy)
    }

    fn generated(recipe: &Recipe) -> &str {
        match &recipe.dockerfile {
            Dockerfile::Generated(text) => text,
            Dockerfile::InSource(path) => path,
        }
    }

    #[test]
    fn a_requirements_file_is_enough() {
        let recipe = check(BuildSpec::default(), &["app.py", "requirements.txt"]).unwrap();
        assert_eq!(
            generated(&recipe),
            include_str!("../../tests/golden/recipe/requirements/Dockerfile")
        );
        assert_eq!(recipe.why, "Dockerfile generated: requirements.txt found");
        let base = recipe.base.map(|(base, id)| (base.to_string(), id));
        let python = "python:3.12-slim".to_owned();
        assert_eq!(base, Some((python.clone(), format!("id of {python}"))));
    }

    /// Fault B05: nothing in a manifest becomes an instruction.
    #[test]
    fn everything_at_once_is_quoted() {
        let evil = "a\"\nRUN evil $HOME \\";
        let args = [("A", "plain"), ("EVIL", evil)];
        let build = BuildSpec {
            base: ImageRef::parse("nvidia/cuda:12.1.1-runtime-ubuntu22.04").ok(),
            requirements: Some("deps/it's here.txt".to_owned()),
            packages: vec!["ffmpeg".to_owned(), "libgl1=1.6.0-1".to_owned()],
            args: args.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ca_bundle: true,
            ..BuildSpec::default()
        };
        let refusal = check(build.clone(), &["deps/it's here.txt"]).unwrap_err();
        assert_eq!(refusal.reason, Reason::NothingToBuild);
        let build = BuildSpec { requirements: Some("deps/it is.txt".to_owned()), ..build };
        let files = ["deps/it is.txt", "constraints.txt", "dev-requirements.txt", "notes.txt"];
        let recipe = check(build, &files).unwrap();
        assert_eq!(generated(&recipe), include_str!("../../tests/golden/recipe/all/Dockerfile"));
        assert_eq!(recipe.ca_bundle, Some(Digest::of_bytes(b"ca")));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let args = [("A B".to_owned(), String::new())].into();
        let with_args = BuildSpec { args, ..BuildSpec::default() };
        let packages = vec!["x; rm -rf /".to_owned()];
        let with_packages = BuildSpec { packages, ..BuildSpec::default() };
        for build in [with_args, with_packages] {
            let refusal = check(build, &["requirements.txt"]).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidManifest);
        }
    }

    #[test]
    fn a_dockerfile_of_the_repository_comes_first() {
        let recipe = check(BuildSpec::default(), &["Dockerfile", "requirements.txt"]).unwrap();
        assert_eq!(recipe.dockerfile, Dockerfile::InSource("Dockerfile".to_owned()));
        assert_eq!(recipe.base, None);
        let build = BuildSpec { dockerfile: Some("docker/gpu".to_owned()), ..BuildSpec::default() };
        let recipe = check(build.clone(), &["Dockerfile", "docker/gpu"]).unwrap();
        assert_eq!(recipe.dockerfile, Dockerfile::InSource("docker/gpu".to_owned()));
        let refusal = check(build, &["Dockerfile"]).unwrap_err();
        assert_eq!(refusal.reason, Reason::NothingToBuild);
        assert!(refusal.message.contains("`docker/gpu`"), "{}", refusal.message);
    }

    #[test]
    fn a_repository_with_nothing_to_build_from_is_refused_with_what_to_do() {
        let refusal = check(BuildSpec::default(), &["app.py", "pyproject.toml"]).unwrap_err();
        assert_eq!(refusal.reason, Reason::NothingToBuild);
        assert_eq!(
            refusal.message,
            "there is neither a `Dockerfile` nor a `requirements.txt` in commit 0123456: add one, \
             or name one with `build.dockerfile` or `build.requirements`, or correct `source.path`"
        );
    }

    #[test]
    fn an_absent_base_image_is_named() {
        let base = ImageRef::parse("absent:1").ok();
        let build = BuildSpec { base, ..BuildSpec::default() };
        let refusal = check(build, &["requirements.txt"]).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.message.as_str()),
            (Reason::BaseImageMissing, "absent:1")
        );
    }

    #[test]
    fn what_a_dockerfile_leaves_unused_is_said() {
        let why = |build| check(build, &["Dockerfile"]).unwrap().why;
        assert_eq!(why(BuildSpec::default()), "Dockerfile found");
        let base = ImageRef::parse("own/base:2").ok();
        let with_base = BuildSpec { base, ..BuildSpec::default() };
        let requirements = Some("deps.txt".to_owned());
        let with_requirements = BuildSpec { requirements, ..BuildSpec::default() };
        for build in [with_base, with_requirements] {
            assert!(why(build).ends_with("build.requirements are not used"));
        }
    }

    #[test]
    fn a_requirements_file_that_is_named_must_exist() {
        let build = BuildSpec { requirements: Some("deps.txt".to_owned()), ..BuildSpec::default() };
        assert!(check(build.clone(), &["deps.txt"]).is_ok());
        let refusal = check(build, &["requirements.txt", "Makefile"]).unwrap_err();
        assert!(refusal.message.starts_with("`build.requirements` names `deps.txt`"));
        // What is there and may have been meant is named, and nothing else.
        assert!(refusal.message.contains("(requirements.txt found)"), "{}", refusal.message);
        let build = BuildSpec { dockerfile: Some("D".to_owned()), ..BuildSpec::default() };
        let refusal = check(build, &["Dockerfile.gpu"]).unwrap_err();
        assert!(refusal.message.contains("(Dockerfile.gpu found)"), "{}", refusal.message);
    }

    #[test]
    fn the_name_of_a_build_argument_is_that_of_a_variable() {
        let named = |name: &str| {
            let args = [(name.to_owned(), String::new())].into();
            check(BuildSpec { args, ..BuildSpec::default() }, &["requirements.txt"]).is_ok()
        };
        assert!(named("A") && named("_a") && named("a_1"));
        assert!(!named("1A") && !named("") && !named("A-B"));
    }
}
