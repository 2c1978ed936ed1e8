//! What an upload says about itself: in the query, in fields, in headers.

use std::collections::BTreeMap;

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode, Uri},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::refusal::{Refused, Verb, missing, refuse, unprocessable};
use crate::model::Digest;
use crate::store::{About, Key, PARTS};

/// The texts that may come in the query or as fields.
const KNOWN: [&str; 7] =
    [PARTS[0], PARTS[1], PARTS[2], PARTS[3], "description", "framework", "sha256"];
/// The longest of them.
pub(super) const TEXT_MAX: usize = 64 * 1024;

/// What was said, by name. The query wins over fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(BTreeMap<String, String>);

impl Said {
    pub(super) fn of_query(uri: &Uri) -> Result<Self, Refused> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
            refuse(StatusCode::BAD_REQUEST, "request.invalid", error.body_text())
        })?;
        let known = pairs.0.into_iter().filter(|(name, _)| is_known(name));
        Ok(Self(known.collect()))
    }

    /// Takes a field.
    pub(super) fn add(&mut self, name: &str, value: String) {
        if is_known(name) {
            self.0.entry(name.to_owned()).or_insert(value);
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names, once all are said.
    pub(super) fn key(&self) -> Option<Result<Key, Refused>> {
        let [project, app, version, model] = PARTS.map(|part| self.get(part));
        let key = Key::new(project?, app?, version?, model?);
        Some(key.map_err(|bad| Verb::Upload.refuse(&bad.into())))
    }

    /// What of the names is missing, as clients are told.
    pub(super) fn flaws(&self) -> Vec<Value> {
        let absent = PARTS.into_iter().filter(|part| self.get(part).is_none());
        absent.map(|part| missing(["query", part])).collect()
    }

    pub(super) fn about(
        &self,
        original_filename: Option<String>,
        content_type: Option<String>,
    ) -> About {
        let text = |name| self.get(name).map(str::to_owned);
        About {
            original_filename,
            content_type,
            description: text("description"),
            framework: text("framework"),
        }
    }

    /// The MD5 that a body must have, as old clients say it.
    #[expect(clippy::unused_self, reason = "it is said with the rest")]
    pub(super) fn md5(&self, headers: &HeaderMap) -> Result<Option<[u8; 16]>, Refused> {
        let Some(text) = header(headers, "content-md5")? else { return Ok(None) };
        let sum = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let wrong = || refuse(StatusCode::BAD_REQUEST, "model.digest", "Content-MD5 is no MD5");
        sum.map(Some).ok_or_else(wrong)
    }

    /// The digests that the content must have.
    pub(super) fn digests(
        &self,
        headers: &HeaderMap,
        is_raw: bool,
    ) -> Result<Vec<Digest>, Refused> {
        let wrong = |what: &str| {
            let detail = format!("{what} is no SHA-256");
            refuse(StatusCode::BAD_REQUEST, "model.digest", detail)
        };
        let mut all = Vec::new();
        for hex in self.get("sha256").into_iter().chain(header(headers, "x-checksum-sha256")?) {
            let hex = hex.trim().to_ascii_lowercase();
            all.push(Digest::parse(&hex).ok_or_else(|| wrong("the checksum"))?);
        }
        // Of a form, the content of the message is not the content of the file.
        let names: &[&str] =
            if is_raw { &["repr-digest", "content-digest"] } else { &["repr-digest"] };
        for name in names {
            let Some(text) = header(headers, name)? else { continue };
            let members = text.split(',').filter_map(|member| member.trim().split_once('='));
            for (_, value) in members.filter(|(kind, _)| *kind == "sha-256") {
                let inner = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
                let bytes = inner.and_then(|inner| STANDARD.decode(inner).ok());
                let hash: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
                all.push(hash.map(Digest::of_hash).ok_or_else(|| wrong(name))?);
            }
        }
        Ok(all)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let read = headers.get(name).map(|value| value.to_str()).transpose();
    read.map_err(|_| {
        refuse(StatusCode::BAD_REQUEST, "request.invalid", format!("{name} is not text"))
    })
}

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// A file came as text.
pub(super) fn not_a_file(input: &str) -> Refused {
    let flaw = json!({
        "type": "value_error",
        "loc": ["body", "file"],
        "msg": "Value error, Expected UploadFile, received: <class 'str'>",
        "input": input,
        "ctx": { "error": {} },
    });
    unprocessable(&[flaw])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_in_every_way_they_are_sent() {
        let digest = Digest::of_bytes(b"abc");
        let base = super::super::download::repr_digest(digest.as_str());
        let mut headers = HeaderMap::new();
        headers.insert("repr-digest", format!("md5=:AAAA:, {base}").parse().unwrap());
        headers.insert("content-digest", base.parse().unwrap());
        headers.insert("x-checksum-sha256", digest.as_str().to_uppercase().parse().unwrap());
        let said = Said([("sha256".to_owned(), digest.to_string())].into());
        let all = vec![digest.clone(); 4];
        assert_eq!(said.digests(&headers, true).unwrap(), all);
        assert_eq!(said.digests(&headers, false).unwrap(), all[..3]);
        for bad in ["sha-256=abc", "sha-256=:abc:", "sha-256=:YWJj:"] {
            headers.insert("repr-digest", bad.parse().unwrap());
            assert!(said.digests(&headers, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_query_wins_over_fields() {
        let uri = "/models/upload?project_id=p&framework=onnx&other=1".parse().unwrap();
        let mut said = Said::of_query(&uri).unwrap();
        for (name, value) in [("framework", "torch"), ("app_name", "a"), ("other", "x")] {
            said.add(name, value.to_owned());
        }
        assert_eq!((said.get("framework"), said.get("app_name")), (Some("onnx"), Some("a")));
        assert_eq!(said.get("other"), None);
        assert!(said.key().is_none());
        assert_eq!(said.flaws().len(), 2);
        assert_eq!(said.flaws()[0]["loc"], json!(["query", "version"]));
    }
}
