//! All files of one snapshot, put together.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{App, AppName, SecretDocs};

use super::{
    diagnostic::{Diagnostic, Severity, printable},
    read::{FileReading, Mention},
};

/// What all files say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembled {
    /// The apps without mistakes.
    pub apps: BTreeMap<AppName, Arc<App>>,
    /// The secrets that documents describe.
    pub secrets: SecretDocs,
    /// The apps whose documents have mistakes, with the mistakes in one sentence.
    pub invalid: BTreeMap<AppName, String>,
    /// Everything there is to say, file by file.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether all documents were understood. While they were not, an app that no document names
    /// is not known to be unwanted, and nothing may be pruned.
    pub is_complete: bool,
}

/// Puts the files together. An app that is defined twice is not defined at all, whichever comes
/// first (fault W11). Names of files mean nothing (fault W12).
pub fn assemble(readings: &BTreeMap<String, Arc<FileReading>>) -> Assembled {
    let mut all = Assembled::default();
    let mut mentions: BTreeMap<&AppName, Vec<&Mention>> = BTreeMap::new();
    for mention in readings.values().flat_map(|reading| &reading.mentions) {
        mentions.entry(&mention.name).or_default().push(mention);
    }
    let twice = |name: &AppName| mentions.get(name).is_some_and(|list| 1 < list.len());
    for (path, reading) in readings {
        all.diagnostics.extend(reading.diagnostics.iter().cloned());
        for mention in reading.mentions.iter().filter(|mention| twice(&mention.name)) {
            all.diagnostics.push(defined_twice(path, mention, &mentions[&mention.name]));
        }
        for app in reading.apps.iter().filter(|app| !twice(&app.name)) {
            all.apps.insert(app.name.clone(), Arc::clone(app));
        }
    }
    let mut errors: BTreeMap<&AppName, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in all.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()) {
        if let Some(app) = &diagnostic.app {
            errors.entry(app).or_default().push(diagnostic);
        }
    }
    for (name, list) in &mentions {
        if 1 < list.len() {
            let sentence = format!("`{name}` is defined more than once: {}", places(list));
            all.invalid.insert((*name).clone(), sentence);
        } else if list.iter().any(|mention| mention.is_bad) {
            let found = errors.get(name).map_or(&[][..], Vec::as_slice);
            all.invalid.insert((*name).clone(), mistakes(found));
        }
    }
    all.secrets = secrets(readings, &mut all.diagnostics);
    all.is_complete = !all.diagnostics.iter().any(Diagnostic::is_error);
    all
}

/// The secrets of all files. One that is described twice is not described at all.
fn secrets(
    readings: &BTreeMap<String, Arc<FileReading>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> SecretDocs {
    let mut secrets = SecretDocs::new();
    for (path, reading) in readings {
        for (name, read) in &reading.secrets {
            let said = match read {
                _ if secrets.contains_key(name) => {
                    let message = format!("the secret `{name}` is described more than once");
                    let mut twice =
                        Diagnostic::of_file(&printable(path), "manifest.duplicate", &message);
                    twice.help = Some("keep one of them".to_owned());
                    diagnostics.push(twice);
                    Err("it is described more than once in the manifests".to_owned())
                }
                None => Err(format!("its document in {} has mistakes", printable(path))),
                Some(secret) => Ok(Arc::clone(secret)),
            };
            secrets.insert(name.clone(), said);
        }
    }
    secrets
}

/// The first mistake, and how many more there are.
fn mistakes(found: &[&Diagnostic]) -> String {
    let Some(first) = found.first() else { return "its manifest has mistakes".to_owned() };
    let first = first.summary();
    match found.len() {
        1 => first,
        2 => format!("{first} (and 1 more problem)"),
        more => format!("{first} (and {} more problems)", more - 1),
    }
}

fn places(list: &[&Mention]) -> String {
    let show =
        |mention: &&Mention| format!("{}:{}", printable(&mention.origin.file), mention.origin.line);
    let mut places: Vec<_> = list.iter().map(show).collect();
    let last = places.pop().unwrap_or_default();
    if places.is_empty() { last } else { format!("{} and {last}", places.join(", ")) }
}

fn defined_twice(path: &str, mention: &Mention, list: &[&Mention]) -> Diagnostic {
    let others: Vec<_> =
        list.iter().copied().filter(|other| other.origin != mention.origin).collect();
    Diagnostic {
        severity: Severity::Error,
        code: "manifest.duplicate-app",
        path: "metadata.name".to_owned(),
        message: format!("the app `{}` is also defined at {}", mention.name, places(&others)),
        help: Some("keep one of them; what runs stays as it is until then".to_owned()),
        file: printable(path),
        line: mention.origin.line,
        column: 1,
        span: None,
        hidden: Vec::new(),
        app: Some(mention.name.clone()),
    }
}
