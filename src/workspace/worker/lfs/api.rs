//! The batch API: which contents are wanted, and where each of them is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{
    Object,
    http::{Got, Problem, Web, plain},
};
use crate::workspace::address::Host;

/// Where a content is.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) headers: Vec<(String, String)>,
}

/// What the host says about the contents, by their sha256: a link, or why there is none.
pub(super) type Links = BTreeMap<String, Result<Link, String>>;

/// Why the host says nothing about them.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It does not know us.
    Login,
    /// It will not be otherwise soon.
    Final(String),
    /// As with any other request.
    Problem(Problem),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    transfer: Option<String>,
    #[serde(default)]
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Wrong>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Download>,
}

#[derive(Deserialize)]
struct Download {
    href: String,
    #[serde(default)]
    header: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Wrong {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// Where a repository's host answers about Git LFS.
pub(super) fn endpoint(url: &str) -> String {
    let host = Host::of(url);
    let base = if host.scheme == "ssh" {
        let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name };
        format!("https://{name}/{}", path_of(url))
    } else {
        url.to_owned()
    };
    let base = base.trim_end_matches('/');
    format!("{}.git/info/lfs", base.strip_suffix(".git").unwrap_or(base))
}

/// The path of an address for ssh, from the host's own folder on.
pub(super) fn path_of(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url.split_once(':').map_or("", |(_, path)| path),
    };
    path.trim_start_matches('/')
}

/// Asks where contents are.
pub(super) fn batch(
    web: &Web<'_>,
    endpoint: &str,
    reference: Option<&str>,
    objects: &[&Object],
) -> Result<Links, Refusal> {
    let wanted: Vec<_> = objects
        .iter()
        .map(|object| json!({ "oid": object.pointer.oid, "size": object.pointer.size }))
        .collect();
    let mut question = json!({
        "operation": "download",
        "transfers": ["basic"],
        "objects": wanted,
        "hash_algo": "sha256",
    });
    if let Some(reference) = reference {
        question["ref"] = json!({ "name": reference });
    }
    let got = web
        .ask(&format!("{endpoint}/objects/batch"), &question.to_string())
        .map_err(Refusal::Problem)?;
    if got.status != 200 {
        return Err(refusal(web, got));
    }
    let text = got.text().map_err(Refusal::Problem)?;
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|_| Refusal::Final(format!("`{}` does not answer as Git LFS does", web.host())))?;
    if answer.transfer.as_deref().is_some_and(|transfer| transfer != "basic") {
        return Err(Refusal::Final(format!("`{}` offers no plain downloads", web.host())));
    }
    Ok(answer.objects.into_iter().map(|object| (object.oid.clone(), link(object))).collect())
}

fn link(object: Answered) -> Result<Link, String> {
    if let Some(wrong) = object.error {
        return Err(format!("the host says {}: {}", wrong.code, plain(&wrong.message)));
    }
    let download = object.actions.and_then(|actions| actions.download);
    let download = download.ok_or_else(|| "the host does not say where it is".to_owned())?;
    if !download.href.starts_with("https://") && !download.href.starts_with("http://") {
        return Err("the host names a place that can't be used".to_owned());
    }
    let headers = download.header.unwrap_or_default().into_iter().collect();
    Ok(Link { href: download.href, headers })
}

fn refusal(web: &Web<'_>, got: Got) -> Refusal {
    let status = got.status;
    let host = web.host().to_owned();
    match status {
        401 | 403 => Refusal::Login,
        404 | 410 | 501 => {
            Refusal::Final(format!("`{host}` has no Git LFS for this repository (status {status})"))
        }
        429 | 500.. => {
            Refusal::Problem(Problem::Passing(format!("`{host}` answered with status {status}")))
        }
        _ => {
            let text = got.text().unwrap_or_default();
            let said = serde_json::from_str::<Wrong>(&text).map(|wrong| plain(&wrong.message));
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            Refusal::Final(format!("`{host}` answered with status {status}{said}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_to_ask_follows_from_the_repositorys_address() {
        for (url, place) in [
            ("https://h.example/a/b.git", "https://h.example/a/b.git/info/lfs"),
            ("https://h.example:8443/a/b/", "https://h.example:8443/a/b.git/info/lfs"),
            ("git@h.example:a/b.git", "https://h.example/a/b.git/info/lfs"),
            ("ssh://git@h.example:2222/a/b", "https://h.example/a/b.git/info/lfs"),
            ("ssh://git@[::1]/a", "https://[::1]/a.git/info/lfs"),
        ] {
            assert_eq!(endpoint(url), place);
        }
    }
}
