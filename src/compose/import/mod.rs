//! A compose file as manifests, one for each service.
//!
//! Every key is either carried over or named, with its line and why: the readers below mark what
//! they look at, and whatever is unmarked in the end is reported.

mod beyond;
mod gpus;
mod health;
mod mounts;
mod names;
mod ports;
mod reasons;
mod service;
mod tree;
mod values;

use std::collections::BTreeMap;

use super::emit::{Map, document};
use crate::manifest;
use crate::model::AppName;
use tree::Node;

pub(super) use values::shown_bytes;
pub use values::{dotenv, exact};

/// What an import is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The compose file's text.
    pub text: &'a str,
    /// The folder that its paths are relative to, absolute.
    pub folder: &'a str,
    /// The project's name, when somebody gave one.
    pub project: Option<&'a str>,
    /// The name of the app, for a file with one service.
    pub name: Option<&'a str>,
    /// The value of a variable.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Other files.
    pub files: &'a dyn Files,
}

/// What an import may look at.
pub trait Files {
    /// A file's text, or why there is none.
    fn read(&self, path: &str) -> Result<String, String>;
    /// The git repository that holds a folder, and the folder's path inside it.
    fn repository(&self, path: &str) -> Option<(String, String)>;
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The manifests, in the order of the file.
    pub manifests: Vec<Manifest>,
    /// What is to be said, in the order of the file.
    pub findings: Vec<Finding>,
}

/// One manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The app.
    pub app: AppName,
    /// The service that it was.
    pub service: String,
    /// Its text.
    pub text: String,
}

/// Something to say about a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The line, counted from 1; 0 is the whole file.
    pub line: u32,
    /// The key, like `services.web.privileged`.
    pub path: String,
    /// How bad it is.
    pub level: Level,
    /// What, and why.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No manifest can be made.
    Mistake,
    /// It is not carried over.
    Lost,
    /// It is carried over in another way than one may think.
    Note,
}

impl Level {
    /// The level as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mistake => "mistake",
            Self::Lost => "not carried over",
            Self::Note => "note",
        }
    }
}

impl Imported {
    /// Whether something keeps manifests from being made.
    pub fn has_mistakes(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Mistake)
    }
}

/// What all services are read with.
struct Desk<'a> {
    request: Request<'a>,
    findings: Vec<Finding>,
    /// The apps' names by those of the services.
    names: BTreeMap<String, AppName>,
    /// The engine's names of volumes by those of the file.
    volumes: BTreeMap<String, String>,
}

impl Desk<'_> {
    fn say(&mut self, level: Level, node: &Node, message: impl Into<String>) {
        let (line, path) = (node.line, node.path.clone());
        self.findings.push(Finding { line, path, level, message: message.into() });
    }

    /// Something is not carried over.
    fn lose(&mut self, node: &Node, why: impl Into<String>) {
        node.use_all();
        self.say(Level::Lost, node, why);
    }

    fn note(&mut self, node: &Node, what: impl Into<String>) {
        self.say(Level::Note, node, what);
    }

    fn mistake(&mut self, node: &Node, what: impl Into<String>) {
        node.use_all();
        self.say(Level::Mistake, node, what);
    }
}

/// Makes manifests from a compose file.
pub fn import(request: &Request<'_>) -> Imported {
    let mut tree = match Node::read(request.text) {
        Ok(tree) => tree,
        Err(broken) => return unreadable(broken.line, broken.message),
    };
    let mut findings = Vec::new();
    tree.change_texts(&mut |text, path, line| {
        let mut missing = |message: String| {
            findings.push(Finding { line, path: path.to_owned(), level: Level::Mistake, message });
        };
        values::interpolate(text, request.lookup, &mut missing)
    });
    let mut desk =
        Desk { request: *request, findings, names: BTreeMap::new(), volumes: BTreeMap::new() };
    let manifests = file(&tree, &mut desk);
    let mut unused = Vec::new();
    tree.unused(&mut unused);
    for (key, node) in unused.into_iter().filter(|(key, _)| !key.starts_with("x-")) {
        desk.say(Level::Lost, node, reasons::of(key));
    }
    desk.findings.sort();
    Imported { manifests, findings: desk.findings }
}

fn unreadable(line: u32, message: String) -> Imported {
    let finding = Finding { line, path: String::new(), level: Level::Mistake, message };
    Imported { manifests: Vec::new(), findings: vec![finding] }
}

fn file(tree: &Node, desk: &mut Desk<'_>) -> Vec<Manifest> {
    // What the version says, the rest of the file says too.
    tree.get("version");
    let project = names::project(tree, desk);
    mounts::volumes(tree, &project, desk);
    networks(tree);
    let services: Vec<_> = match tree.get("services") {
        Some(node) if node.is_map() => node.entries().collect(),
        Some(node) => {
            desk.mistake(node, "`services` must be a mapping");
            return Vec::new();
        }
        None => {
            desk.mistake(
                tree,
                "there are no `services`: this is no compose file of version 2 or newer",
            );
            return Vec::new();
        }
    };
    if desk.request.name.is_some() && services.len() != 1 {
        desk.mistake(tree, format!("one name is given, and there are {} services", services.len()));
        return Vec::new();
    }
    names::choose(&services, desk);
    services.into_iter().filter_map(|(name, node)| manifest(name, node, desk)).collect()
}

/// Berth has one network. One from outside that is called as Berth calls it is that one.
fn networks(tree: &Node) {
    let Some(networks) = tree.get("networks") else { return };
    if let Some(own) = networks.get("berth") {
        own.get("external");
        own.get("name");
    }
}

fn manifest(service: &str, node: &Node, desk: &mut Desk<'_>) -> Option<Manifest> {
    if !node.is_map() {
        desk.mistake(node, "a service must be a mapping");
        return None;
    }
    let app = desk.names.get(service)?.clone();
    let (metadata, spec) = service::read(&app, node, desk);
    let mut root = Map::new();
    root.put("apiVersion", "berth/v1");
    root.put("kind", "App");
    root.put("metadata", metadata);
    root.put("spec", spec);
    let from = super::emit::remark(&format!("From the service `{service}` of a compose file."));
    let modeline = "# yaml-language-server: $schema=../.berth/schema/v1.json";
    let text = format!("{modeline}\n{from}\n{}", document(&root));
    let reading = manifest::read_file("manifest", text.as_bytes());
    for said in reading.diagnostics.iter().filter(|said| said.is_error()) {
        let help = said.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        desk.mistake(node, format!("the manifest's {}: {}{help}", said.path, said.message));
    }
    Some(Manifest { app, service: service.to_owned(), text })
}
