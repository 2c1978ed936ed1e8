//! Submodules: repositories that a repository names as folders of its own (faults G06, G13).
//!
//! Which commit is meant is said by the tree, where it is to be had by `.gitmodules`. That file
//! is only ever asked for the address of a folder that the tree has: what it says of other paths
//! means nothing here.

use std::{collections::BTreeMap, path::PathBuf};

use git2::{Commit, Oid, Repository};

use super::{
    failure::Failure,
    lfs, open_origin,
    report::Report,
    settings::{self, Setting},
};
use crate::model::GitUrl;
use crate::workspace::access::Approach;
use crate::workspace::error::{Error, redact};
use crate::workspace::protocol::{Job, Origin};

const FILE: &str = ".gitmodules";
/// How many submodules one checkout may have.
const COUNT_MAX: usize = 100;
/// How many submodules may lie within each other.
const DEPTH_MAX: usize = 8;

/// The repositories that a tree is made from.
#[derive(Default)]
pub(super) struct Sources {
    /// The addresses of those that have a mirror.
    pub(super) urls: Vec<String>,
    all: Vec<Source>,
}

/// One of them.
struct Source {
    path: PathBuf,
    /// How it was fetched.
    job: Job,
    /// The addresses of its submodules, by their paths.
    modules: BTreeMap<String, String>,
    /// Where it says that its files in Git LFS are.
    lfs: Option<String>,
    depth: usize,
}

impl Sources {
    /// Adds a repository at this commit. Answers its number.
    pub(super) fn add(
        &mut self,
        repository: &Repository,
        commit: &Commit<'_>,
        job: &Job,
    ) -> Result<usize, git2::Error> {
        let text_of = |name: &str| settings::text(repository, commit, name);
        let modules = if job.submodules { text_of(FILE)? } else { None };
        let lfs = if job.lfs.is_some() { text_of(lfs::CONFIG)? } else { None };
        self.all.push(Source {
            path: repository.path().to_owned(),
            job: job.clone(),
            modules: modules.map(|text| parse(&text)).unwrap_or_default(),
            lfs: lfs.and_then(|text| lfs::named(&text)),
            depth: 0,
        });
        Ok(self.all.len() - 1)
    }

    /// How one of them was fetched, and where it says that its files in Git LFS are.
    pub(super) fn kept(&self, number: usize) -> Option<(&Job, Option<&str>)> {
        self.all.get(number).map(|source| (&source.job, source.lfs.as_deref()))
    }

    /// Where each of them is.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.all.iter().map(|source| &source.path)
    }
}

/// Fetches submodules.
pub(super) struct Modules<'a> {
    job: &'a Job,
    report: &'a Report,
}

impl<'a> Modules<'a> {
    /// For a job that asks for them.
    pub(super) fn new(job: &'a Job, report: &'a Report) -> Self {
        Self { job, report }
    }

    /// Fetches the submodule at `path` of the repository `parent`. Answers its number, and the
    /// tree of the commit.
    pub(super) fn enter(
        &self,
        sources: &mut Sources,
        parent: usize,
        path: &str,
        commit: Oid,
    ) -> Result<(usize, Oid), Failure> {
        let refuse = |message: String| Error::Content { path: path.to_owned(), message };
        let source = &sources.all[parent];
        let depth = source.depth + 1;
        if COUNT_MAX < sources.all.len() || DEPTH_MAX < depth {
            let limit =
                format!("{COUNT_MAX} submodules, {DEPTH_MAX} within each other, are allowed");
            return Err(refuse(format!("is one submodule too many: {limit}")).into());
        }
        let Some(url) = source.modules.get(path) else {
            let message = format!("is a submodule, and {FILE} says no address for this path");
            return Err(refuse(message).into());
        };
        let origin = resolve(&source.job.origin, url)
            .map_err(|why| refuse(format!("is a submodule at `{}`, which {why}", redact(url))))?;
        let job = self
            .job_for(origin, commit)
            .map_err(|error| refuse(format!("is a submodule that can't be had: {error}")))?;
        let opened = open_origin(&job, sources, self.report);
        let (repository, _) = opened.map_err(|failure| match failure {
            Failure::Told(error) if error.is_permanent() => {
                refuse(format!("is a submodule that can't be had: {error}")).into()
            }
            failure => failure,
        })?;
        let commit = repository.find_commit(commit).map_err(Failure::mirror)?;
        let number = sources.add(&repository, &commit, &job).map_err(Failure::mirror)?;
        sources.all[number].depth = depth;
        Ok((number, commit.tree_id()))
    }

    /// The job of fetching a submodule: one commit, by its id. The rules hold for it too, and a
    /// login is for one host.
    fn job_for(&self, origin: Origin, commit: Oid) -> Result<Job, Error> {
        let address = match &origin {
            Origin::Remote(url) => url.clone(),
            Origin::Local(path) => path.display().to_string(),
        };
        let approach = match (&self.job.origin, &origin) {
            (Origin::Remote(ours), Origin::Remote(theirs)) => {
                self.job.approach.onwards(ours, theirs)?
            }
            _ => Approach::default(),
        };
        Ok(Job {
            approach,
            lfs: self.job.lfs.as_deref().map(|folder| lfs::beside(folder, &address)),
            shown: redact(&address),
            origin,
            reference: Some(commit.to_string()),
            found: None,
            had: None,
            path: String::new(),
            depth: 1,
            ..self.job.clone()
        })
    }
}

/// Where a submodule is to be had: at an address of its own, or one beside its parent's. What is
/// elsewhere never leads to this machine. The error ends a sentence.
fn resolve(parent: &Origin, url: &str) -> Result<Origin, String> {
    if url.chars().any(char::is_control) || url.starts_with('-') {
        return Err("is no address".to_owned());
    }
    if url.starts_with("./") || url.starts_with("../") {
        return beside(parent, url).ok_or_else(|| "leads out of its host".to_owned());
    }
    match GitUrl::parse(url) {
        Ok(GitUrl::Http(url) | GitUrl::Ssh(url)) => Ok(Origin::Remote(url)),
        Ok(GitUrl::Local(_)) => Err("is a folder of this machine".to_owned()),
        Err(error) => Err(format!("is not allowed: {error}")),
    }
}

/// An address relative to the parent's.
fn beside(parent: &Origin, url: &str) -> Option<Origin> {
    let walk = |start: &str| {
        let mut parts: Vec<&str> = start.split('/').filter(|part| !part.is_empty()).collect();
        for part in url.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                name => parts.push(name),
            }
        }
        (!parts.is_empty()).then(|| parts.join("/"))
    };
    match parent {
        Origin::Remote(base) => {
            let url = if let Some((scheme, rest)) = base.split_once("://") {
                let (host, path) = rest.split_once('/')?;
                format!("{scheme}://{host}/{}", walk(path)?)
            } else {
                let (host, path) = base.split_once(':')?;
                format!("{host}:{}", walk(path)?)
            };
            let is_remote = matches!(GitUrl::parse(&url), Ok(GitUrl::Http(_) | GitUrl::Ssh(_)));
            is_remote.then_some(Origin::Remote(url))
        }
        Origin::Local(base) => {
            Some(Origin::Local(PathBuf::from(format!("/{}", walk(base.to_str()?)?))))
        }
    }
}

/// Reads paths and addresses. What is not understood is left out: its folder then has no address.
fn parse(text: &str) -> BTreeMap<String, String> {
    let settings = settings::read(text);
    let is_module = |setting: &&Setting| {
        setting.header.starts_with("[submodule \"") && setting.header.ends_with("\"]")
    };
    let last = |section: &[&Setting], name: &str| {
        let mut named = section.iter().rev().filter(|setting| setting.name == name);
        named.next().map(|setting| setting.value.clone())
    };
    let modules: Vec<_> = settings.iter().filter(is_module).collect();
    let sections = modules.chunk_by(|one, other| one.nth == other.nth);
    sections.filter_map(|section| Some((last(section, "path")?, last(section, "url")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_by_their_paths() {
        let text = "[submodule \"a\"]\n\tpath = libs/a\n\turl = ../a.git # near\n\
                    [other]\n\tpath = x\n\turl = y\n\
                    [submodule \"b\"]\r\n\tURL = \"https://h.example/b;c\"\r\n\tpath = \"b \\\"q\\\"\"\r\n\
                    [submodule \"c\"]\n\tpath = c\n";
        let read = parse(text);
        let pairs: Vec<_> = read.iter().map(|(path, url)| (path.as_str(), url.as_str())).collect();
        assert_eq!(pairs, [("b \"q\"", "https://h.example/b;c"), ("libs/a", "../a.git")]);
    }

    /// Fault G06, as in CVE-2025-48384: a path that ends in a carriage return.
    #[test]
    fn paths_with_control_characters_are_no_paths() {
        for path in ["\"a\r\"", "a\rb", "a\u{1}", "\"a", "a\\"] {
            let text = format!("[submodule \"a\"]\n\tpath = {path}\n\turl = ../a\n");
            assert!(parse(&text).is_empty(), "{path:?}");
        }
    }

    /// Faults G04, G05, G06: no way to this machine, to other programs or out of the host.
    #[test]
    fn addresses_of_submodules_stay_within_the_rules() {
        let parent = Origin::Remote("https://h.example/team/app.git".to_owned());
        let to = |url: &str| match resolve(&parent, url) {
            Ok(Origin::Remote(url)) => url,
            Ok(Origin::Local(_)) => "local".to_owned(),
            Err(why) => why,
        };
        assert_eq!(to("../lib.git"), "https://h.example/team/lib.git");
        assert_eq!(to("./lib"), "https://h.example/team/app.git/lib");
        assert_eq!(to("../../x/y"), "https://h.example/x/y");
        assert_eq!(to("https://o.example/z"), "https://o.example/z");
        assert_eq!(to("../../../x"), "leads out of its host");
        assert_eq!(to("../.."), "leads out of its host");
        for bad in ["/etc", "file:///etc", "ext::sh -c id", "-oProxyCommand=id", "a\rb", "C:\\x"] {
            let told = to(bad);
            assert!(told.starts_with("is "), "{bad}: {told}");
        }
        assert_eq!(to("git@h.example:x"), "git@h.example:x");
        let beside_ssh = |url: &str| match beside(&Origin::Remote(url.to_owned()), "../lib.git") {
            Some(Origin::Remote(url)) => url,
            _ => "none".to_owned(),
        };
        assert_eq!(beside_ssh("git@h.example:team/app.git"), "git@h.example:team/lib.git");
        assert_eq!(beside_ssh("ssh://git@h.example:22/a/b"), "ssh://git@h.example:22/a/lib.git");
    }
}
