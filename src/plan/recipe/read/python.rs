//! What Python projects say about themselves.

use serde::Deserialize;
use toml::{Table, Value};

use super::{cut, is_short, kept, requirements};
use crate::state::{FileFacts, Project};

/// `.python-version` and `runtime.txt`: one version. What follows the second number is left out:
/// bases come with one release of each Python.
pub(super) fn version_file(text: &str) -> FileFacts {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let version = first.map(|line| {
        let line = line.strip_prefix("python").unwrap_or(line);
        line.trim_start_matches(['-', '='])
    });
    FileFacts { python: version.and_then(two_numbers), ..FileFacts::default() }
}

/// `3.11` of `3.11.4`, and nothing of what is not a version.
fn two_numbers(text: &str) -> Option<String> {
    let mut parts = text.split('.');
    let major: u16 = parts.next()?.parse().ok()?;
    let minor: u16 = parts.next()?.parse().ok()?;
    Some(format!("{major}.{minor}"))
}

fn table(text: &str) -> Result<Table, String> {
    if text.lines().any(is_deep) {
        return Err("it is nested too deeply".to_owned());
    }
    text.parse::<Table>().map_err(|error| error.message().to_owned())
}

/// Readers of nested texts may call themselves for each level.
fn is_deep(line: &str) -> bool {
    64 < line.chars().filter(|c| "[{".contains(*c)).count()
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let list = value?.as_array()?;
    list.iter().map(|entry| entry.as_str().map(ToOwned::to_owned)).collect()
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| is_short(text)).map(ToOwned::to_owned)
}

/// `pyproject.toml`.
pub(super) fn pyproject(source: &str) -> Result<FileFacts, String> {
    let root = table(source)?;
    let project = root.get("project").and_then(Value::as_table);
    let tool = root.get("tool").and_then(Value::as_table);
    let poetry = tool.and_then(|tool| tool.get("poetry")).and_then(Value::as_table);
    let by_poetry = poetry.and_then(|poetry| poetry.get("dependencies")).and_then(Value::as_table);
    let listed = texts(project.and_then(|project| project.get("dependencies")));
    let dynamic = texts(project.and_then(|project| project.get("dynamic"))).unwrap_or_default();
    let is_dynamic = dynamic.iter().any(|name| name == "dependencies");
    let dependencies = match (project, listed) {
        (Some(_), Some(list)) => requirements::plain_list(list),
        (Some(project), None) if !is_dynamic && !project.contains_key("dependencies") => {
            Some(Vec::new())
        }
        _ => None,
    };
    let mut frameworks =
        requirements::frameworks(dependencies.iter().flatten().map(String::as_str));
    frameworks.extend(table_frameworks(by_poetry));
    Ok(FileFacts {
        python: text(project.and_then(|project| project.get("requires-python")))
            .or_else(|| text(by_poetry.and_then(|table| table.get("python")))),
        dependencies,
        frameworks,
        has_index: has_index(tool, poetry),
        project: Some(Project {
            is_described: project.is_some(),
            has_poetry: poetry.is_some(),
            is_package: root.contains_key("build-system"),
        }),
        ..FileFacts::default()
    })
}

fn has_index(tool: Option<&Table>, poetry: Option<&Table>) -> bool {
    let uv = tool.and_then(|tool| tool.get("uv")).and_then(Value::as_table);
    let keys = ["index", "index-url", "extra-index-url", "sources"];
    uv.is_some_and(|uv| keys.iter().any(|key| uv.contains_key(*key)))
        || poetry.is_some_and(|poetry| poetry.contains_key("source"))
}

/// The frameworks of a table of dependencies by name.
fn table_frameworks(dependencies: Option<&Table>) -> Vec<crate::state::Framework> {
    let entries = dependencies.into_iter().flatten().map(|(name, wanted)| {
        let wanted = wanted.as_table().and_then(|table| table.get("version")).unwrap_or(wanted);
        let wanted = wanted.as_str().unwrap_or_default();
        // Poetry writes a fixed version bare.
        let is_bare = wanted.starts_with(|c: char| c.is_ascii_digit());
        format!("{name}{}{wanted}", if is_bare { "==" } else { "" })
    });
    let entries: Vec<_> = entries.collect();
    requirements::frameworks(entries.iter().map(String::as_str))
}

/// `Pipfile`.
pub(super) fn pipfile(source: &str) -> Result<FileFacts, String> {
    let root = table(source)?;
    let requires = root.get("requires").and_then(Value::as_table);
    let python = text(requires.and_then(|requires| requires.get("python_version")))
        .or_else(|| text(requires.and_then(|requires| requires.get("python_full_version"))));
    let packages = root.get("packages").and_then(Value::as_table);
    let sources = root.get("source").and_then(Value::as_array);
    Ok(FileFacts {
        python: python.map(|version| two_numbers(&version).unwrap_or(version)),
        frameworks: table_frameworks(packages),
        has_index: sources.is_some_and(|sources| 1 < sources.len()),
        ..FileFacts::default()
    })
}

/// `setup.py` and `setup.cfg`: what is written there as plain texts. Code is not run.
pub(super) fn setup(source: &str) -> FileFacts {
    let python = after(source, "python_requires").and_then(|rest| {
        let rest = rest.trim_start();
        match rest.chars().next()? {
            quote @ ('"' | '\'') => rest[1..].split(quote).next(),
            _ => rest.lines().next(),
        }
    });
    let listed = after(source, "install_requires").and_then(literal_list);
    let dependencies = listed.and_then(requirements::plain_list);
    let frameworks = requirements::frameworks(dependencies.iter().flatten().map(String::as_str));
    let python = python.map(str::trim).filter(|text| !text.is_empty() && is_short(text));
    FileFacts {
        python: python.map(ToOwned::to_owned),
        dependencies,
        frameworks,
        ..FileFacts::default()
    }
}

/// What follows `name =`.
fn after<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let mut found = source.match_indices(name);
    found.find_map(|(at, _)| source[at + name.len()..].trim_start().strip_prefix('='))
}

/// The elements of `[ "a", 'b' ]`, when there is nothing else in it.
fn literal_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_start().strip_prefix('[')?;
    let mut list = Vec::new();
    loop {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if let Some(comment) = rest.strip_prefix('#') {
            rest = comment.split_once('\n')?.1;
            continue;
        }
        if rest.starts_with(']') {
            return kept(list);
        }
        let quote = rest.chars().next().filter(|c| "\"'".contains(*c))?;
        let (entry, after) = rest[1..].split_once(quote)?;
        if entry.contains(['\\', '\n']) {
            return None;
        }
        list.push(entry.to_owned());
        rest = after;
        // Two texts beside each other are one in Python.
        if !rest.trim_start().starts_with([',', ']', '#']) {
            return None;
        }
    }
}

/// Reads a YAML document that may say anything.
pub(super) fn yaml<T: for<'a> Deserialize<'a>>(source: &str) -> Result<T, String> {
    if source.lines().any(|line| is_deep(line) || 64 < line.matches("- ").count()) {
        return Err("it is nested too deeply".to_owned());
    }
    serde_yaml::from_str(source).map_err(|error| cut(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_file_says_two_numbers() {
        let python = |text: &str| version_file(text).python;
        for text in ["3.11", "3.11.4\n", "# ours\n3.11\n3.10\n", "python-3.11.9", "python 3.11"] {
            let expected = if text.starts_with("python ") { None } else { Some("3.11") };
            assert_eq!(python(text).as_deref(), expected, "{text}");
        }
        for text in ["", "pypy3.9", "system", "3", "3.11-dev"] {
            assert_eq!(python(text), None, "{text}");
        }
    }

    #[test]
    fn a_project_says_what_it_needs() {
        let facts = pyproject(
            "[project]\nname = 'x'\nrequires-python = '>=3.10'\n\
             dependencies = ['six>=1', 'torch==2.3.0']\n[build-system]\nrequires = ['x']\n",
        )
        .unwrap();
        assert_eq!(facts.python.as_deref(), Some(">=3.10"));
        assert_eq!(facts.dependencies.unwrap(), ["six>=1", "torch==2.3.0"]);
        assert_eq!(facts.frameworks[0].version.as_deref(), Some("2.3.0"));
        let project = facts.project.unwrap();
        assert!(project.is_described && project.is_package && !project.has_poetry);
        let none = pyproject("[project]\nname = 'x'\n").unwrap();
        assert_eq!(none.dependencies, Some(Vec::new()));
        let dynamic = pyproject("[project]\nname = 'x'\ndynamic = ['dependencies']\n").unwrap();
        assert_eq!(dynamic.dependencies, None);
    }

    #[test]
    fn poetry_and_pipenv_have_tables() {
        let facts = pyproject(
            "[tool.poetry.dependencies]\npython = '^3.11'\ntorch = {version = '2.2.0+cu121'}\n",
        )
        .unwrap();
        assert_eq!(facts.python.as_deref(), Some("^3.11"));
        assert_eq!(facts.frameworks[0].cuda, Some((12, 1)));
        let facts = pipfile("[packages]\nsix = '*'\n[requires]\npython_version = '3.9'\n").unwrap();
        assert_eq!(facts.python.as_deref(), Some("3.9"));
        assert!(facts.frameworks.is_empty() && !facts.has_index);
    }

    #[test]
    fn of_setup_only_plain_lists_are_read() {
        let facts = setup(
            "setup(name='x', python_requires='>=3.8',\n  install_requires=[\n 'a>=1', # why\n \"b\",\n],)",
        );
        assert_eq!(facts.dependencies.unwrap(), ["a>=1", "b"]);
        assert_eq!(facts.python.as_deref(), Some(">=3.8"));
        for text in
            ["install_requires=read()", "install_requires=['a' 'b']", "install_requires=[x]"]
        {
            assert_eq!(setup(text).dependencies, None, "{text}");
        }
        assert_eq!(setup("[options]\npython_requires = >=3.9\n").python.as_deref(), Some(">=3.9"));
    }
}
