//! What a request says about an upload: the headers of tus 1.0 and of the IETF's draft
//! (draft-ietf-httpbis-resumable-upload). Text in, data out.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::store::PARTS_MAX;

/// How many pairs `Upload-Metadata` may have.
const PAIRS: usize = 32;
/// How long its header may be.
const METADATA: usize = 32 * 1024;

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// tus 1.0.
    Tus,
    /// The IETF's draft.
    Draft,
}

/// How a part is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// SHA-1, which every server of tus knows.
    Sha1([u8; 20]),
    /// MD5.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// What an upload has to do with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Concat {
    /// It is a part.
    Part,
    /// It is what these are together.
    Final(Vec<String>),
}

/// What a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Which protocol it speaks.
    pub(super) dialect: Dialect,
    /// Where its part begins.
    pub(super) offset: Option<u64>,
    /// How long the whole is.
    pub(super) length: Option<u64>,
    /// Whether that is said later.
    pub(super) is_deferred: bool,
    /// Whether it is the last part.
    pub(super) complete: Option<bool>,
    /// What its part must hash to.
    pub(super) sum: Option<Sum>,
    /// What it says about the whole.
    pub(super) metadata: BTreeMap<String, String>,
    /// What it has to do with others.
    pub(super) concat: Option<Concat>,
}

/// Why a request makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It speaks no protocol that is known.
    Neither,
    /// It speaks another version.
    Version,
    /// A header can't be read.
    Header(&'static str),
    /// It says how to check in a way that is not known.
    Algorithm,
    /// It names more parts than one may have.
    Parts,
}

/// Reads what a request says; `header` reads one of its headers.
pub(super) fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Said, Flaw> {
    let dialect = match (header("tus-resumable"), header("upload-complete")) {
        (Some("1.0.0"), _) => Dialect::Tus,
        (Some(_), _) => return Err(Flaw::Version),
        (None, Some(_)) => Dialect::Draft,
        (None, None) => return Err(Flaw::Neither),
    };
    let number = |name: &'static str| match header(name) {
        None => Ok(None),
        Some(text) => integer(text).map(Some).ok_or(Flaw::Header(name)),
    };
    let complete = match header("upload-complete").map(str::trim) {
        Some("?1") => Some(true),
        Some("?0") => Some(false),
        Some(_) if dialect == Dialect::Draft => return Err(Flaw::Header("upload-complete")),
        _ => None,
    };
    let is_deferred = match header("upload-defer-length") {
        None => false,
        Some("1") => true,
        Some(_) => return Err(Flaw::Header("upload-defer-length")),
    };
    let (offset, length) = (number("upload-offset")?, number("upload-length")?);
    if is_deferred && length.is_some() {
        return Err(Flaw::Header("upload-defer-length"));
    }
    let (mut sum, mut metadata, mut joined) = (None, BTreeMap::new(), None);
    if dialect == Dialect::Tus {
        sum = header("upload-checksum").map(checksum).transpose()?;
        metadata = pairs(header("upload-metadata").unwrap_or_default())
            .ok_or(Flaw::Header("upload-metadata"))?;
        joined = header("upload-concat").map(concat).transpose()?;
    }
    Ok(Said { dialect, offset, length, is_deferred, complete, sum, metadata, concat: joined })
}

/// `partial`, or `final;` and the addresses of the parts.
fn concat(text: &str) -> Result<Concat, Flaw> {
    const NAME: &str = "upload-concat";
    let text = text.trim();
    if text == "partial" {
        return Ok(Concat::Part);
    }
    let list = text.strip_prefix("final;").ok_or(Flaw::Header(NAME))?;
    let all: Vec<_> = list.split_ascii_whitespace().map(str::to_owned).collect();
    match all.len() {
        0 => Err(Flaw::Header(NAME)),
        count if PARTS_MAX < count => Err(Flaw::Parts),
        _ => Ok(Concat::Final(all)),
    }
}

/// What the upload at an address is called, whichever way here the address takes.
pub(super) fn id_of(url: &str) -> Option<&str> {
    let (folder, id) = url.rsplit_once('/')?;
    let is_here = folder == "uploads" || folder.ends_with("/uploads");
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_here && is_id).then_some(id)
}

/// A whole number that is not negative, as structured fields write it; parameters are passed by.
fn integer(text: &str) -> Option<u64> {
    let digits = text.split(';').next()?.trim();
    let is_number = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

fn checksum(text: &str) -> Result<Sum, Flaw> {
    const NAME: &str = "upload-checksum";
    let (algorithm, sum) = text.trim().split_once(' ').ok_or(Flaw::Header(NAME))?;
    let bytes = STANDARD.decode(sum.trim()).map_err(|_| Flaw::Header(NAME))?;
    let wrong = |_| Flaw::Header(NAME);
    match algorithm {
        "sha1" => bytes.try_into().map(Sum::Sha1).map_err(wrong),
        "md5" => bytes.try_into().map(Sum::Md5).map_err(wrong),
        "sha256" => bytes.try_into().map(Sum::Sha256).map_err(wrong),
        _ => Err(Flaw::Algorithm),
    }
}

/// `name base64,name base64,name`
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    if text.trim().is_empty() {
        return Some(pairs);
    }
    if METADATA < text.len() {
        return None;
    }
    for pair in text.split(',') {
        let pair = pair.trim();
        let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD.decode(value.trim()).ok()?;
        let is_new = pairs.insert(name.to_owned(), String::from_utf8(value).ok()?).is_none();
        if name.is_empty() || !name.is_ascii() || !is_new || PAIRS < pairs.len() {
            return None;
        }
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &'static str)]) -> Result<Said, Flaw> {
        read(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    const TUS: (&str, &str) = ("tus-resumable", "1.0.0");

    #[test]
    fn both_protocols_are_read() {
        let said = of(&[
            TUS,
            ("upload-length", "100"),
            ("upload-metadata", "filename bS5vbm54,is_private,version MS4w"),
            ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
        ])
        .unwrap();
        assert_eq!((said.dialect, said.length, said.offset), (Dialect::Tus, Some(100), None));
        let wanted = [("filename", "m.onnx"), ("is_private", ""), ("version", "1.0")];
        assert!(said.metadata.iter().map(|(a, b)| (a.as_str(), b.as_str())).eq(wanted));
        assert!(matches!(said.sum, Some(Sum::Sha1(_))));
        let said = of(&[("upload-complete", "?0"), ("upload-offset", "7;x=1")]).unwrap();
        let wanted = (Dialect::Draft, Some(7), Some(false));
        assert_eq!((said.dialect, said.offset, said.complete), wanted);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(of(&[]), Err(Flaw::Neither));
        assert_eq!(of(&[("tus-resumable", "0.2.2")]), Err(Flaw::Version));
        assert_eq!(of(&[TUS, ("upload-checksum", "crc32 AAAA")]), Err(Flaw::Algorithm));
        for (name, value) in [
            ("upload-offset", "-1"),
            ("upload-offset", ""),
            ("upload-offset", "+1"),
            ("upload-offset", "1.0"),
            ("upload-length", "9999999999999999"),
            ("upload-length", "0x10"),
            ("upload-defer-length", "2"),
            ("upload-metadata", "a !"),
            ("upload-metadata", ","),
            ("upload-metadata", "a YQ==,a YQ=="),
            ("upload-metadata", "a /w=="),
            ("upload-checksum", "sha1"),
            ("upload-checksum", "sha1 AAAA"),
            ("upload-checksum", "md5 !"),
        ] {
            assert!(matches!(of(&[TUS, (name, value)]), Err(Flaw::Header(_))), "{name}: {value}");
        }
        for bad in ["1", "?2", "true", ""] {
            assert_eq!(of(&[("upload-complete", bad)]), Err(Flaw::Header("upload-complete")));
        }
        let both = [TUS, ("upload-length", "1"), ("upload-defer-length", "1")];
        assert_eq!(of(&both), Err(Flaw::Header("upload-defer-length")));
    }

    #[test]
    fn parts_and_what_they_are_together_are_read() {
        let draft = [("upload-complete", "?0"), ("upload-concat", "nonsense")];
        // The IETF's draft has nothing of the kind.
        assert_eq!(of(&draft).unwrap().concat, None);
        let of = |text: &str| concat(text);
        assert_eq!(of(" partial "), Ok(Concat::Part));
        let two = of("final;/uploads/a  https://h:1/x/uploads/b ").unwrap();
        let Concat::Final(urls) = &two else { panic!("{two:?}") };
        assert_eq!(urls.iter().map(|url| id_of(url)).collect::<Vec<_>>(), [Some("a"), Some("b")]);
        for bad in ["", "final", "final;", "final; ", "Partial", "partial;", "final /uploads/a"] {
            assert_eq!(of(bad), Err(Flaw::Header("upload-concat")), "{bad}");
        }
        let many = |count| format!("final;{}", "/uploads/a ".repeat(count));
        assert!(of(&many(PARTS_MAX)).is_ok());
        assert_eq!(of(&many(PARTS_MAX + 1)), Err(Flaw::Parts));
        for other in
            ["a", "/a", "/files/a", "/uploads/", "/uploads/a/", "/uploads/..", "/xuploads/a"]
        {
            assert_eq!(id_of(other), None, "{other}");
        }
        assert_eq!(id_of("uploads/a"), Some("a"));
    }
}
