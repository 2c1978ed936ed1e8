//! What a forge says in a webhook: that something was pushed, and where.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Repository;
use crate::model::VersionRange;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was pushed.
    Push,
    /// The forge asks whether somebody is there.
    Ping,
    /// Anything else.
    Other,
}

impl Event {
    /// The kind of a message; `header` reads one of the request's headers.
    pub fn find<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let names = ["x-forgejo-event", "x-gitea-event", "x-github-event", "x-gitlab-event"];
        let named = names.iter().find_map(|name| header(name))?;
        Some(match named {
            "push" | "Push Hook" | "Tag Push Hook" => Self::Push,
            "ping" => Self::Ping,
            _ => Self::Other,
        })
    }
}

/// A push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The repository, by each of its addresses.
    pub repositories: BTreeSet<Repository>,
    /// What was pushed, in full: `refs/heads/main`.
    pub reference: String,
    /// The branch that HEAD is, when the message says so.
    pub default_branch: Option<String>,
    /// The commits that it names.
    pub commits: BTreeSet<String>,
}

impl Push {
    /// Reads a message of GitHub, Gitea, Forgejo or GitLab.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let message: Value =
            serde_json::from_slice(body).map_err(|error| format!("it is not JSON: {error}"))?;
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        let places = ["repository", "project"];
        let names = [
            "clone_url",
            "ssh_url",
            "git_url",
            "html_url",
            "git_http_url",
            "git_ssh_url",
            "web_url",
        ];
        let addresses = places
            .iter()
            .flat_map(|place| names.iter().map(move |name| format!("/{place}/{name}")));
        let repositories: BTreeSet<_> =
            addresses.filter_map(|path| Repository::parse(text(&path)?)).collect();
        if repositories.is_empty() {
            return Err("it names no repository".to_owned());
        }
        let reference = text("/ref").ok_or("it has no `ref`")?.to_owned();
        if !reference.starts_with("refs/") {
            return Err("its `ref` is not a full one, such as refs/heads/main".to_owned());
        }
        let default_branch =
            places.iter().find_map(|place| text(&format!("/{place}/default_branch")));
        let ends = ["/after", "/checkout_sha"].iter().filter_map(|path| text(path));
        let listed = message.pointer("/commits").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(|commit| commit.get("id")?.as_str());
        Ok(Self {
            repositories,
            default_branch: default_branch.map(ToOwned::to_owned),
            commits: ends.chain(listed).map(str::to_ascii_lowercase).collect(),
            reference,
        })
    }

    /// Whether whoever follows this address and reference may have something new.
    pub fn concerns(&self, address: &str, reference: Option<&str>) -> bool {
        let is_same = Repository::parse(address).is_some_and(|it| self.repositories.contains(&it));
        is_same && self.moves(reference)
    }

    fn moves(&self, wanted: Option<&str>) -> bool {
        let branch = self.reference.strip_prefix("refs/heads/");
        let tag = self.reference.strip_prefix("refs/tags/");
        let Some(wanted) = wanted.filter(|wanted| *wanted != "HEAD") else {
            let is_head = |branch: &str| {
                self.default_branch.as_deref().is_none_or(|default| default == branch)
            };
            return branch.is_some_and(is_head);
        };
        if wanted.len() == 40 && wanted.chars().all(|c| c.is_ascii_hexdigit()) {
            return self.commits.contains(&wanted.to_ascii_lowercase());
        }
        // Any tag may change what a range of versions means.
        if VersionRange::parse(wanted).is_some() {
            return tag.is_some();
        }
        wanted == self.reference || branch == Some(wanted) || tag == Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://git.example.com/acme/chat.git";

    fn github(reference: &str) -> Push {
        let body = serde_json::json!({
            "ref": reference,
            "after": "A1".repeat(20),
            "commits": [{"id": "b2".repeat(20)}],
            "repository": {
                "full_name": "acme/chat",
                "default_branch": "main",
                "clone_url": "https://git.example.com/acme/chat.git",
                "ssh_url": "git@git.example.com:acme/chat.git",
                "html_url": "https://git.example.com/acme/chat",
            },
        });
        Push::read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_push_concerns_whoever_follows_what_was_pushed() {
        let main = github("refs/heads/main");
        for (reference, expected) in [
            (None, true),
            (Some("main"), true),
            (Some("refs/heads/main"), true),
            (Some("dev"), false),
            (Some("v1.2.0"), false),
            (Some("^1.2"), false),
        ] {
            assert_eq!(main.concerns(URL, reference), expected, "{reference:?}");
        }
        assert!(main.concerns("ssh://git@git.example.com:22/acme/chat", None));
        assert!(!main.concerns("https://git.example.com/acme/other.git", None));
        assert!(!main.concerns("./chat.git", None));
        assert!(!github("refs/heads/dev").concerns(URL, None), "HEAD is main");
        let commit = "a1".repeat(20);
        assert!(main.concerns(URL, Some(&commit)));
        assert!(main.concerns(URL, Some(&"b2".repeat(20))));
        assert!(!main.concerns(URL, Some(&"c3".repeat(20))));
    }

    #[test]
    fn a_tag_concerns_ranges_and_its_own_followers() {
        let tag = github("refs/tags/v1.2.0");
        for reference in ["v1.2.0", "refs/tags/v1.2.0", "^1.2", ">=1.2 <2", "~1", "1.x", "*"] {
            assert!(tag.concerns(URL, Some(reference)), "{reference}");
        }
        for reference in ["main", "v1.2.1", "box", "x-ray", "a.x"] {
            assert!(!tag.concerns(URL, Some(reference)), "{reference}");
        }
        assert!(!tag.concerns(URL, None));
    }

    #[test]
    fn gitlab_says_it_in_its_own_words() {
        let body = serde_json::json!({
            "object_kind": "push",
            "ref": "refs/heads/main",
            "checkout_sha": "a1".repeat(20),
            "project": {
                "default_branch": "trunk",
                "git_http_url": "https://git.example.com/acme/chat.git",
                "git_ssh_url": "git@git.example.com:acme/chat.git",
                "web_url": "https://git.example.com/acme/chat",
            },
        });
        let push = Push::read(body.to_string().as_bytes()).unwrap();
        assert!(push.concerns(URL, Some("main")));
        assert!(!push.concerns(URL, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"ref": "refs/heads/main"}"#,
            r#"{"ref": "refs/heads/main", "repository": {"clone_url": 5}}"#,
            r#"{"repository": {"clone_url": "https://h.example/a/b"}}"#,
            r#"{"ref": "main", "repository": {"clone_url": "https://h.example/a/b"}}"#,
        ] {
            assert!(Push::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_is_known_by_its_header() {
        let find = |name: &'static str, value: &'static str| {
            Event::find(move |asked| (asked == name).then_some(value))
        };
        assert_eq!(find("x-github-event", "push"), Some(Event::Push));
        assert_eq!(find("x-gitea-event", "ping"), Some(Event::Ping));
        assert_eq!(find("x-forgejo-event", "issues"), Some(Event::Other));
        assert_eq!(find("x-gitlab-event", "Tag Push Hook"), Some(Event::Push));
        assert_eq!(find("x-other", "push"), None);
    }
}
