//! Where models come from: an address, another Berth, a server that speaks as the Hub does.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::web::{Problem, Web};
use crate::auth::Secret;
use crate::model::{Digest, ModelRef, VersionRange};
use crate::workspace::Reach;

/// The Hub, when nobody names another.
const HUB: &str = "https://huggingface.co";
/// What stands for itself in a part of a path.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+').remove(b'@');

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// One file at an address.
    Url(String),
    /// A version, or a file of it, of another Berth.
    Berth {
        /// Its address.
        base: String,
        /// What of it.
        model: ModelRef,
    },
    /// A revision, or a file of it, of a repository.
    Hub {
        /// The server.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// The file; none is all of them.
        file: Option<String>,
    },
}

/// A file that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// What the model is called; none is for who asks to say.
    pub(super) name: Option<String>,
    /// Its path there, of which a name that is too long tells only the beginning.
    pub(super) path: Option<String>,
    pub(super) url: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<Digest>,
    /// The id of the content as git makes it, where nothing better is known.
    pub(super) git: Option<String>,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl Origin {
    /// Reads `https://…`, `berth+https://host/project/app@version[/file]`,
    /// `hf://namespace/repository@revision[/file]`.
    pub fn parse(text: &str, endpoint: Option<&str>) -> Result<Self, String> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace() && !text.contains('@')) {
            return Err("an address holds neither blanks nor control characters".to_owned());
        }
        if let Some(rest) = text.strip_prefix("hf://") {
            let (repo, rest) = rest.split_once('@').unwrap_or((rest, "main"));
            let (revision, file) = match rest.split_once('/') {
                Some((revision, file)) => (revision, Some(file.to_owned())),
                None => (rest, None),
            };
            let is_repo = repo.split('/').count() == 2 && repo.split('/').all(is_word);
            if !is_repo || revision.is_empty() || file.as_deref().is_some_and(|it| !is_path(it)) {
                return Err("write hf://namespace/repository@revision[/file]".to_owned());
            }
            let endpoint = endpoint.unwrap_or(HUB).trim_end_matches('/').to_owned();
            let (repo, revision) = (repo.to_owned(), revision.to_owned());
            return Ok(Self::Hub { endpoint, repo, revision, file });
        }
        if let Some(rest) = text.strip_prefix("berth+") {
            let wrong = || "write berth+https://host/project/app@version[/file]".to_owned();
            let (scheme, rest) = rest.split_once("://").ok_or_else(wrong)?;
            let (host, model) = rest.split_once('/').ok_or_else(wrong)?;
            let model = ModelRef::parse(model)?;
            return Ok(Self::Berth { base: format!("{scheme}://{host}"), model });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text.to_owned()));
        }
        Err("write https://…, berth+https://… or hf://…".to_owned())
    }

    /// How it is shown.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => Reach::shown(url),
            Self::Berth { base, model } => format!("berth+{}/{model}", Reach::shown(base)),
            Self::Hub { repo, revision, file, .. } => {
                let file = file.as_deref().map_or_else(String::new, |file| format!("/{file}"));
                format!("hf://{repo}@{revision}{file}")
            }
        }
    }

    /// Whether it is one file, so that who asks may name it.
    pub fn is_file(&self) -> bool {
        match self {
            Self::Url(_) => true,
            Self::Berth { model, .. } => model.file.is_some(),
            Self::Hub { file, .. } => file.is_some(),
        }
    }

    /// The files.
    pub(super) fn items(&self, web: &Web, token: Option<&Secret>) -> Result<Vec<Item>, Problem> {
        let items = match self {
            Self::Url(url) => {
                let (name, size, sha256, git) = (None, None, None, None);
                vec![Item { name, path: None, url: url.clone(), size, sha256, git }]
            }
            Self::Berth { base, model } => of_berth(web, token, base, model)?,
            Self::Hub { endpoint, repo, revision, file } => {
                of_hub(web, token, (endpoint, repo), revision, file.as_deref())?
            }
        };
        let none = || Problem::Final(format!("{} has no files", self.shown()));
        if items.is_empty() { Err(none()) } else { Ok(items) }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_path(text: &str) -> bool {
    text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn of_berth(
    web: &Web,
    token: Option<&Secret>,
    base: &str,
    model: &ModelRef,
) -> Result<Vec<Item>, Problem> {
    let below = format!("{base}/models/{}/{}", encoded(&model.project), encoded(&model.app));
    let all = web.document(&below, token)?;
    let all: Vec<&Value> = all["models"].as_array().into_iter().flatten().collect();
    let versions = || all.iter().map(|entry| text(entry, "/version"));
    let word = model.version.as_str();
    let version = if versions().any(|version| version == word) {
        word.to_owned()
    } else if let Some(Ok(range)) = VersionRange::parse(word) {
        range.highest(versions()).unwrap_or_default().to_owned()
    } else {
        let alias = web.document(&format!("{below}/aliases/{}", encoded(word)), token)?;
        text(&alias, "/version").to_owned()
    };
    let is_asked = |entry: &&&Value| {
        let is_file = |file: &String| file == text(entry, "/model_name");
        text(entry, "/version") == version && model.file.as_ref().is_none_or(is_file)
    };
    let item = |entry: &&Value| {
        let name = text(entry, "/model_name").to_owned();
        let url = format!("{below}/{}/{}", encoded(&version), encoded(&name));
        let sha256 = Digest::parse(text(entry, "/sha256"));
        let size = entry["size"].as_u64();
        // What it was called is kept, where the name was made of that.
        let path = text(entry, "/original_filename");
        let path = Some(path.to_owned()).filter(|path| crate::store::name_of(path) == name);
        Item { name: Some(name), path, url, size, sha256, git: None }
    };
    Ok(all.iter().filter(is_asked).map(item).collect())
}

fn of_hub(
    web: &Web,
    token: Option<&Secret>,
    (endpoint, repo): (&str, &str),
    revision: &str,
    file: Option<&str>,
) -> Result<Vec<Item>, Problem> {
    let about = format!("{endpoint}/api/models/{repo}/revision/{}?blobs=true", encoded(revision));
    let about = web.document(&about, token)?;
    // Everything is asked for by the commit, so that all of it is of one revision.
    let commit = match text(&about, "/sha") {
        "" => revision,
        commit => commit,
    };
    let mut items = Vec::new();
    for sibling in about["siblings"].as_array().into_iter().flatten() {
        let path = text(sibling, "/rfilename");
        if !is_path(path) || file.is_some_and(|file| file != path) {
            continue;
        }
        let parts: Vec<_> = path.split('/').map(encoded).collect();
        let url = format!("{endpoint}/{repo}/resolve/{}/{}", encoded(commit), parts.join("/"));
        let sha256 = Digest::parse(text(sibling, "/lfs/sha256"));
        let size = sibling["size"].as_u64();
        let git = Some(text(sibling, "/blobId")).filter(|id| id.len() == 40 && sha256.is_none());
        // Its length is part of what git makes the id of.
        let git = git.filter(|_| size.is_some());
        items.push(Item {
            name: Some(crate::store::name_of(path)),
            path: Some(path.to_owned()),
            url,
            size,
            git: git.map(str::to_owned),
            sha256,
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_people_write_them() {
        let read = |text| Origin::parse(text, Some("http://h:1/"));
        assert_eq!(read("https://h/x"), Ok(Origin::Url("https://h/x".to_owned())));
        let Ok(Origin::Berth { base, model }) = read("berth+http://h:8000/demo/llm@>=1 <2/m")
        else {
            panic!("a Berth");
        };
        assert_eq!(
            (base.as_str(), model.to_string().as_str()),
            ("http://h:8000", "demo/llm@>=1 <2/m")
        );
        let Ok(Origin::Hub { endpoint, revision, file, .. }) = read("hf://a/b@v1/onnx/m.onnx")
        else {
            panic!("a repository");
        };
        assert_eq!((endpoint.as_str(), revision.as_str()), ("http://h:1", "v1"));
        assert_eq!(file.as_deref(), Some("onnx/m.onnx"));
        for bad in [
            "",
            "ftp://h/x",
            "file:///etc/passwd",
            "hf://a",
            "hf://a/b@/x",
            "hf://a/b@m/../x",
            "hf://../b",
            "berth+https://h",
            "https://h/a b",
            "http://h/\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let shown = read("https://user:pass@h/x?token=1").unwrap().shown();
        assert!(!shown.contains("pass") && !shown.contains("token"), "{shown}");
    }
}
