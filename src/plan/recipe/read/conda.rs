//! Conda's `environment.yml`.

use serde_json::Value;

use super::{is_short, kept, python, requirements};
use crate::state::FileFacts;

/// What conda lists beside Python and pip that pip has no need of.
const TOOLS: &[&str] = &["pip", "python", "setuptools", "wheel"];

/// What the file asks for: pip's part as requirements, the rest as what only conda has.
pub(super) fn environment(text: &str) -> Result<FileFacts, String> {
    let root: Value = python::yaml(text)?;
    let empty = Vec::new();
    let listed = match root.get("dependencies") {
        Some(Value::Array(list)) => list,
        Some(_) => return Err("`dependencies` is not a list".to_owned()),
        None => &empty,
    };
    let mut facts = FileFacts::default();
    let mut by_pip = Vec::new();
    let mut by_conda = Vec::new();
    for entry in listed {
        match entry {
            Value::String(entry) => {
                let bare = entry.rsplit("::").next().unwrap_or(entry).trim();
                let name = requirements::name_of(bare).unwrap_or_default();
                if name == "python" {
                    facts.python = version(&bare["python".len()..]);
                }
                if !TOOLS.contains(&name.as_str()) {
                    by_conda.push(bare.to_owned());
                }
            }
            Value::Object(entry) => {
                let list = entry.get("pip").and_then(Value::as_array).into_iter().flatten();
                by_pip.extend(list.filter_map(Value::as_str).map(ToOwned::to_owned));
            }
            _ => {}
        }
    }
    facts.frameworks = requirements::frameworks(by_pip.iter().map(String::as_str));
    facts.dependencies = requirements::plain_list(by_pip);
    facts.conda = kept(by_conda).ok_or("it lists more than can be read")?;
    Ok(facts)
}

/// Conda's `=3.11`, `==3.11.4` and `>=3.10`, as pip would write it.
fn version(text: &str) -> Option<String> {
    let text = text.trim();
    let text = match text.strip_prefix('=') {
        // `=3.11=build` names a build too.
        Some(rest) => rest.trim_start_matches('=').split('=').next().unwrap_or_default(),
        None => text,
    };
    let mut numbers = text.trim().split('.');
    let two = numbers.next().zip(numbers.next()).filter(|(major, _)| major.parse::<u16>().is_ok());
    let text = match two {
        Some((major, minor)) => format!("{major}.{}", minor.trim_end_matches('*')),
        None => text.trim().to_owned(),
    };
    (!text.is_empty() && is_short(&text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_part_is_told_from_condas() {
        let facts = environment(
            "name: x\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n\
             \x20 - conda-forge::ffmpeg>=6\n  - pip:\n    - six==1.16.0\n    - torch==2.3.0+cu121\n",
        )
        .unwrap();
        assert_eq!(facts.python.as_deref(), Some("3.11"));
        assert_eq!(facts.conda, ["ffmpeg>=6"]);
        assert_eq!(facts.dependencies.unwrap(), ["six==1.16.0", "torch==2.3.0+cu121"]);
        assert_eq!(facts.frameworks[0].cuda, Some((12, 1)));
    }

    #[test]
    fn versions_are_written_as_pip_would() {
        for (text, expected) in [
            ("=3.11", "3.11"),
            ("==3.11.4", "3.11"),
            (">=3.10,<3.13", ">=3.10,<3.13"),
            ("=3.10.*", "3.10"),
            ("=3.9=h12debd9_1", "3.9"),
        ] {
            assert_eq!(version(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(version(""), None);
    }
}
