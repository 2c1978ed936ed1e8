//! The base image of a generated Dockerfile: which, and why.

use super::{
    cuda::{self, NoImage},
    detect::{Kind, PythonAsk},
    refuse,
};
use crate::model::{App, ImageRef, Reason};
use crate::plan::Refusal;
use crate::state::{Framework, Policy};

/// The Node that is taken when the project does not say.
const NODE_MAJOR: u16 = 22;

/// A base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Its name.
    pub(super) image: ImageRef,
    /// Why this one.
    pub(super) why: String,
    /// Whether it has CUDA.
    pub(super) has_cuda: bool,
}

/// What a base is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    pub(super) kind: &'a Kind,
    pub(super) python: Option<&'a PythonAsk>,
    pub(super) frameworks: &'a [Framework],
    /// The major version of Node that is asked for.
    pub(super) node: Option<u16>,
}

/// Chooses the base: the manifest's, the operator's, or one of the family of the operator's when
/// that is an official Python image.
pub(super) fn choose(app: &App, needs: Needs<'_>, policy: &Policy) -> Result<Base, Refusal> {
    let base = if let Some(image) = &app.spec.build.base {
        Base { image: image.clone(), why: "build.base names it".to_owned(), has_cuda: true }
    } else if let Some((default, suffix)) = official_python(&policy.base_image) {
        family(needs, policy, default, suffix)?
    } else {
        let why = "the operator's base".to_owned();
        Base { image: policy.base_image.clone(), why, has_cuda: true }
    };
    if base.image == policy.base_image || is_allowed(&base.image, &policy.base_images) {
        return Ok(base);
    }
    let allowed = policy.base_images.join(", ");
    let message = format!(
        "the base image {} is not one that the operator allows: {}, {allowed} (`--base-images`)",
        base.image, policy.base_image
    );
    refuse(Reason::NotAllowed, &message)
}

fn family(needs: Needs<'_>, policy: &Policy, default: u16, suffix: &str) -> Result<Base, Refusal> {
    if *needs.kind == Kind::Node {
        let major = needs.node.unwrap_or(NODE_MAJOR);
        let why = match needs.node {
            Some(major) => format!("the project asks for Node {major}"),
            None => format!("Node {NODE_MAJOR} where the project does not say"),
        };
        return named(&format!("node:{major}-slim"), why, false);
    }
    let with_gpu: Vec<_> =
        needs.frameworks.iter().filter(|framework| cares(framework)).cloned().collect();
    if let Some(driver) = policy.gpu_driver.as_deref().filter(|_| !with_gpu.is_empty()) {
        return gpu(needs, policy, (driver, &with_gpu), (default, suffix));
    }
    python(needs, policy, default, suffix)
}

/// The operator's image, or another of its family, by the Python that is asked for.
fn python(needs: Needs<'_>, policy: &Policy, default: u16, suffix: &str) -> Result<Base, Refusal> {
    let Some(ask) = needs.python else {
        let why = "the operator's base".to_owned();
        return Ok(Base { image: policy.base_image.clone(), why, has_cuda: false });
    };
    let asks = format!("{} asks for Python {}", ask.by, ask.text);
    match ask.wanted.nearest(default) {
        Some(minor) if minor == default => {
            Ok(Base { image: policy.base_image.clone(), why: asks, has_cuda: false })
        }
        Some(minor) => named(&format!("python:3.{minor}{suffix}"), asks, false),
        None => {
            let message = format!(
                "{asks}, and there is no such official image: name a base that has it with \
                 `build.base`, or another Python with `build.python`"
            );
            refuse(Reason::PythonMissing, &message)
        }
    }
}

/// Whether a framework does something with a GPU.
pub(super) fn cares(framework: &Framework) -> bool {
    !framework.is_cpu && !framework.name.ends_with("-cpu")
}

fn gpu(
    needs: Needs<'_>,
    policy: &Policy,
    (driver, frameworks): (&str, &[Framework]),
    (default, suffix): (u16, &str),
) -> Result<Base, Refusal> {
    let allows = |minor: u16| needs.python.is_none_or(|ask| ask.wanted.allows(minor));
    match cuda::choose(driver, frameworks, &allows, default) {
        Ok((name, image, why)) => {
            named(&name, format!("{why}; its Python is 3.{}", image.python), true)
        }
        Err(NoImage::DriverTooOld(message)) => refuse(Reason::DriverTooOld, &message),
        // What brings its own CUDA needs none of the base's.
        Err(NoImage::Python(have)) if frameworks.iter().all(cuda::is_complete) => {
            let names: Vec<_> = frameworks.iter().map(|found| found.name.as_str()).collect();
            let base = python(needs, policy, default, suffix)?;
            let brings = if names.len() == 1 { "brings its" } else { "bring their" };
            let why = format!(
                "{}; the CUDA images for this driver have {have}, and {} {brings} own CUDA",
                base.why,
                names.join(" and ")
            );
            Ok(Base { why, ..base })
        }
        Err(NoImage::Python(have)) => {
            let (by, text) =
                needs.python.map_or(("", ""), |ask| (ask.by.as_str(), ask.text.as_str()));
            let message = format!(
                "{by} asks for Python {text}, the CUDA images for this driver have {have}: name a \
                 base that has both with `build.base`, or another Python with `build.python`"
            );
            refuse(Reason::PythonMissing, &message)
        }
    }
}

fn named(name: &str, why: String, has_cuda: bool) -> Result<Base, Refusal> {
    match ImageRef::parse(name) {
        Ok(image) => Ok(Base { image, why, has_cuda }),
        Err(error) => refuse(Reason::BaseImageMissing, &error.to_string()),
    }
}

/// The second number of the Python of an official image, and the rest of its tag.
fn official_python(image: &ImageRef) -> Option<(u16, &str)> {
    let (name, tag) = image.as_str().split_once(':')?;
    if short(name) != "python" || tag.contains('@') {
        return None;
    }
    let (version, suffix) = tag.find('-').map_or((tag, ""), |at| tag.split_at(at));
    let mut numbers = version.split('.');
    let is_three = numbers.next() == Some("3");
    let minor = numbers.next().and_then(|minor| minor.parse().ok()).filter(|_| is_three)?;
    Some((minor, suffix))
}

/// A name as the engine lists it.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// The command that an image of this name has is a shell or an interpreter, which ends at once.
pub(super) fn is_bare(image: &ImageRef) -> bool {
    let name = short(image.as_str()).split([':', '@']).next().unwrap_or_default();
    ["python", "node", "debian", "ubuntu", "alpine", "nvidia/cuda"].contains(&name)
}

/// Whether an image is among those that the operator lists; an empty list allows all.
fn is_allowed(image: &ImageRef, patterns: &[String]) -> bool {
    let matches = |pattern: &String| {
        glob(short(pattern), short(image.as_str())) || glob(pattern, image.as_str())
    };
    patterns.is_empty() || patterns.iter().any(matches)
}

/// `*` stands for any number of characters but `/`, `**` for any at all.
fn glob(pattern: &str, text: &str) -> bool {
    // What is left of the text, for each place in the pattern that may have been reached.
    let pattern: Vec<char> = pattern.chars().collect();
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    let spread = |reached: &mut Vec<bool>| {
        for at in 0..pattern.len() {
            reached[at + 1] |= reached[at] && pattern[at] == '*';
        }
    };
    spread(&mut reached);
    for c in text.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for at in 0..pattern.len() {
            let is_double = pattern[at] == '*'
                && (pattern.get(at + 1) == Some(&'*') || (0 < at && pattern[at - 1] == '*'));
            if pattern[at] == '*' && reached[at] && (is_double || c != '/') {
                next[at] = true;
            }
            if pattern[at] == c && reached[at] {
                next[at + 1] = true;
            }
        }
        spread(&mut next);
        reached = next;
    }
    reached[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::recipe::version::Wanted;

    fn image(text: &str) -> ImageRef {
        ImageRef::parse(text).unwrap_or_else(|_| unreachable!("{text}"))
    }

    #[test]
    fn patterns_name_what_is_allowed() {
        for (pattern, name, expected) in [
            ("python:*", "python:3.12-slim", true),
            ("python:*", "docker.io/library/python:3.12-slim", true),
            ("python:*", "evil.example/python:3.12", false),
            ("python:*", "python:5000/evil:1", false),
            ("nvcr.io/nvidia/*", "nvcr.io/nvidia/pytorch:24.01-py3", true),
            ("nvcr.io/nvidia/*", "nvcr.io/nvidia/a/b:1", false),
            ("nvcr.io/**", "nvcr.io/nvidia/a/b:1", true),
            ("nvcr.io/**", "x/nvcr.io/a:1", false),
            ("nvidia/cuda:12.*-ubuntu22.04", "nvidia/cuda:12.1.1-runtime-ubuntu22.04", true),
            ("own/base:1", "own/base:1", true),
            ("own/base:1", "own/base:12", false),
        ] {
            assert_eq!(
                is_allowed(&image(name), &[pattern.to_owned()]),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(is_allowed(&image("anything:1"), &[]));
    }

    #[test]
    fn only_an_official_python_image_has_a_family() {
        for (name, expected) in [
            ("python:3.12-slim", Some((12, "-slim"))),
            ("python:3.11.4-slim-bookworm", Some((11, "-slim-bookworm"))),
            ("docker.io/library/python:3.13", Some((13, ""))),
            ("python:latest", None),
            ("python:2.7", None),
            ("h.example/python:3.12", None),
            ("berth/base:offline", None),
        ] {
            assert_eq!(official_python(&image(name)), expected, "{name}");
        }
    }

    fn framework(name: &str) -> Framework {
        Framework { name: name.to_owned(), ..Framework::default() }
    }

    fn family_of(
        python: Option<&str>,
        names: &[&str],
        driver: Option<&str>,
    ) -> Result<String, Reason> {
        let policy = Policy { gpu_driver: driver.map(ToOwned::to_owned), ..Policy::default() };
        let python = python.map(|text| PythonAsk {
            wanted: Wanted::parse(text).unwrap_or_else(|| unreachable!("{text}")),
            text: text.to_owned(),
            by: "a file".to_owned(),
        });
        let frameworks: Vec<_> = names.iter().map(|name| framework(name)).collect();
        let needs = Needs {
            kind: &Kind::Project,
            python: python.as_ref(),
            frameworks: &frameworks,
            node: None,
        };
        let base = family(needs, &policy, 12, "-slim").map_err(|refusal| refusal.reason)?;
        Ok(base.image.to_string())
    }

    #[test]
    fn the_base_follows_the_project_and_the_host() {
        for (python, names, driver, expected) in [
            (None, &[][..], None, Ok("python:3.12-slim")),
            (Some(">=3.10"), &[], None, Ok("python:3.12-slim")),
            (Some("3.9"), &[], None, Ok("python:3.9-slim")),
            (Some(">=3.13"), &["torch"], None, Ok("python:3.13-slim")),
            (Some("2.7"), &[], None, Err(Reason::PythonMissing)),
            // A host with GPUs gives them to those that can use them.
            (None, &[], Some("550.54"), Ok("python:3.12-slim")),
            (None, &["jax-cpu"], Some("550.54"), Ok("python:3.12-slim")),
            (None, &["torch"], Some("550.54"), Ok("nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04")),
            (None, &["torch"], Some("?"), Ok("nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04")),
            (
                Some("3.12"),
                &["torch"],
                Some("570.26"),
                Ok("nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04"),
            ),
            // These bring their own CUDA; TensorFlow needs that of the base.
            (Some("3.11"), &["torch"], Some("570.26"), Ok("python:3.11-slim")),
            (Some("3.11"), &["torch", "jax"], Some("570.26"), Ok("python:3.11-slim")),
            (Some("2.7"), &["torch"], Some("570.26"), Err(Reason::PythonMissing)),
            (Some("3.11"), &["torch", "tensorflow"], Some("570.26"), Err(Reason::PythonMissing)),
            (None, &["torch"], Some("570.26"), Ok("nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04")),
            (None, &["torch"], Some("390.1"), Err(Reason::DriverTooOld)),
        ] {
            let seen = family_of(python, names, driver);
            assert_eq!(seen.as_deref().map_err(|reason| *reason), expected, "{python:?} {names:?}");
        }
    }
}
