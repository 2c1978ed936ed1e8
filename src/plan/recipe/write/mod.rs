//! Writes the Dockerfile. The same input gives the same text.
//!
//! What changes seldom comes first: the base, the packages, the dependencies by the files that
//! name them and nothing else, and the source last.

mod node;
mod python;

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Generation, Kind, detect, refuse};
use crate::model::{App, BuildSecret, Reason, label};
use crate::plan::Refusal;
use crate::state::{Checkout, Policy};

/// Where the CA bundle lies in the build context.
const CA_IN_CONTEXT: &str = ".berth/ca.crt";
/// Where the CA bundle lies in the image.
const CA_IN_IMAGE: &str = "/usr/local/share/ca-certificates/berth.crt";
/// Where it lies there together with the public authorities: tools that are told of a file trust
/// nothing else.
const CA_WITH_PUBLIC: &str = "/usr/local/share/berth-ca.pem";
/// The system's own bundle, and what it was before: a base image may have more in it than its
/// packages say.
const CA_OF_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
const CA_BEFORE: &str = "/usr/local/share/berth-ca.before";
/// The variables by which tools find a CA bundle.
const CA_VARIABLES: [&str; 5] =
    ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// What the writers of the parts have at hand.
struct Part<'a> {
    app: &'a App,
    checkout: &'a Checkout,
    generation: &'a Generation,
    has_buildkit: bool,
    instance: &'a str,
}

/// The Dockerfile for `generation`, on the base `from`.
pub(super) fn dockerfile(
    (app, checkout): (&App, &Checkout),
    generation: &Generation,
    from: &str,
    policy: &Policy,
    has_buildkit: bool,
) -> Result<String, Refusal> {
    let build = &app.spec.build;
    let instance = policy.instance.as_str();
    let part = Part { app, checkout, generation, has_buildkit, instance };
    let mut text = format!("# Written by Berth.\nFROM {from}\n");
    // First of all, so that what a failed build leaves behind says whose it is.
    let _ = writeln!(text, "LABEL {}={}", label::IMAGE_INSTANCE, word(&policy.instance));
    text.push_str(&arguments(&build.args)?);
    if build.ca_bundle {
        text.push_str(&ca_bundle());
    }
    text.push_str(&packages(&build.packages)?);
    let body = match generation.kind {
        Kind::Node => node::body(&part)?,
        _ => python::body(&part)?,
    };
    text.push_str(&body);
    if build.ca_bundle {
        text.push_str(&without_ca_bundle());
    }
    if let Some(command) = &generation.command {
        let _ = writeln!(text, "CMD {}", list(command));
    }
    Ok(text)
}

/// The command that the repository itself names: a `Procfile`'s `web`, else npm's `start`.
pub(super) fn command(kind: &Kind, checkout: &Checkout) -> Option<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    if let Some(web) = detect::facts(checkout, "Procfile").and_then(|facts| facts.web.as_ref()) {
        return Some(words(&["/bin/sh", "-c", &format!("exec {web}")]));
    }
    let node = detect::facts(checkout, "package.json").and_then(|facts| facts.node.as_ref());
    let has_start = *kind == Kind::Node && node.is_some_and(|node| node.has_start);
    has_start.then(|| words(&["npm", "start"]))
}

impl Part<'_> {
    /// A `RUN` that fetches things: with `BuildKit` it sees the secrets, and what is kept between
    /// builds.
    fn run(&self, caches: &[&str], command: &str) -> String {
        let mut mounts = String::new();
        if self.has_buildkit {
            for cache in caches {
                // By its place alone it would be that of every build of the engine, whoever's it is.
                let id = format!("berth/{}{cache}", self.instance);
                let _ = write!(mounts, "--mount=type=cache,id={id},target={cache} ");
            }
            for secret in &self.app.spec.build.secrets {
                let _ = write!(mounts, "--mount=type=secret,id={}{} ", secret.id, place(secret));
            }
        }
        format!("RUN {mounts}{command}\n")
    }

    /// pip's options.
    fn pip(&self) -> String {
        let cache = if self.has_buildkit { "" } else { " --no-cache-dir" };
        let index = if self.generation.is_torch_cpu {
            " --extra-index-url https://download.pytorch.org/whl/cpu"
        } else {
            ""
        };
        let bounds = self.generation.bounds.iter().map(|bound| format!(" {}", shell_word(bound)));
        format!("python3 -m pip install{cache}{index}{}", bounds.collect::<String>())
    }
}

/// Where tools look for secrets of these names; all others are at `/run/secrets/<id>`.
fn place(secret: &BuildSecret) -> &'static str {
    match secret.id.as_str() {
        "netrc" => ",target=/root/.netrc",
        "npmrc" => ",target=/root/.npmrc",
        "pip.conf" => ",target=/etc/pip.conf",
        _ => "",
    }
}

/// Installs Debian packages, where one of `programs` is missing.
fn apt(programs: &str) -> String {
    format!(
        "apt-get update && \\\n    \
         DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {programs} && \\\n    \
         rm -rf /var/lib/apt/lists/*\n"
    )
}

fn copy(paths: &[&str], target: &str) -> Result<String, Refusal> {
    let mut words = Vec::new();
    for path in paths.iter().copied().chain([target]) {
        words.push(copy_word(path)?);
    }
    Ok(format!("COPY [{}]\n", words.join(", ")))
}

fn arguments(args: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let mut text = String::new();
    for (name, value) in args {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("`build.args` has `{name}`, which is not the name of a variable");
            return refuse(Reason::InvalidManifest, &message);
        }
        let _ = writeln!(text, "ARG {name}={}", word(value));
    }
    Ok(text)
}

/// The CA bundle, for the tools that the build runs; what runs later does not see the variables.
fn ca_bundle() -> String {
    let variables: Vec<_> =
        CA_VARIABLES.iter().map(|name| format!("ARG {name}={CA_WITH_PUBLIC}\n")).collect();
    format!(
        "COPY {CA_IN_CONTEXT} {CA_IN_IMAGE}\n\
         RUN if [ -f {CA_OF_SYSTEM} ]; then cp -p {CA_OF_SYSTEM} {CA_BEFORE}; fi; \\\n    \
         if command -v update-ca-certificates >/dev/null; then update-ca-certificates; fi\n{}{}",
        joined_ca(),
        variables.concat()
    )
}

/// Joins the CA bundle with the public authorities that the image has by now: the system's, else
/// pip's.
fn joined_ca() -> String {
    format!(
        "RUN {{ cat {CA_OF_SYSTEM} {CA_BEFORE} 2>/dev/null || \\\n    \
         cat \"$(python3 -c 'import pip._vendor.certifi as c; print(c.where())' 2>/dev/null)\" 2>/dev/null || :; \\\n    \
         echo; cat {CA_IN_IMAGE}; }} >{CA_WITH_PUBLIC}\n"
    )
}

/// Takes the CA bundle out of what runs later: it is for the build alone.
fn without_ca_bundle() -> String {
    format!(
        "RUN rm -f {CA_IN_IMAGE} {CA_WITH_PUBLIC} /app/{CA_IN_CONTEXT} && \\\n    \
         if command -v update-ca-certificates >/dev/null; then update-ca-certificates --fresh; fi && \\\n    \
         if [ -f {CA_BEFORE} ]; then mv -f {CA_BEFORE} {CA_OF_SYSTEM}; fi\n"
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
    Ok(format!("RUN {}", apt(&packages.join(" "))))
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

/// A list of words, as JSON.
fn list(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}

/// A word of an instruction, quoted.
fn word(value: &str) -> String {
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
