//! The lines that a commit is sent as: JSON, one change each.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// How long a line of a commit is at most: one file as text, of which `preupload` asks for a mebibyte
/// at most.
const LINE_MAX: usize = 4 << 20;
/// How many lines it has at most.
const LINES_MAX: usize = 100_000;

/// A line of a commit.
#[derive(Debug, Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
pub(super) enum Line {
    #[serde(rename_all = "camelCase")]
    Header {
        #[serde(default)]
        summary: String,
        #[serde(default)]
        description: String,
        #[serde(default)]
        parent_commit: Option<String>,
    },
    File {
        path: String,
        content: String,
        #[serde(default)]
        encoding: Option<String>,
    },
    LfsFile {
        path: String,
        oid: String,
    },
    #[serde(rename_all = "camelCase")]
    CopyFile {
        path: String,
        src_path: String,
        src_revision: String,
    },
    DeletedFile {
        path: String,
    },
    DeletedFolder {
        path: String,
    },
}

/// What is wrong with a commit as it was sent.
#[derive(Debug)]
pub(super) enum Flaw {
    /// A line is longer than one may be.
    TooLong,
    /// Something else.
    Bad(String),
}

/// Cuts a commit into lines while it comes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    waiting: Vec<u8>,
    /// Where the line begins that is next.
    start: usize,
    /// Up to where no end of that was seen.
    seen: usize,
    count: usize,
}

impl Lines {
    /// Takes what came.
    pub(super) fn push(&mut self, part: &[u8]) {
        self.waiting.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.waiting.extend_from_slice(part);
    }

    /// The next line that is whole. What is empty is left out.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, Flaw> {
        loop {
            let rest = self.waiting.get(self.seen..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let end = self.seen + length;
            let line = self.waiting.get(self.start..end).unwrap_or_default();
            (self.start, self.seen) = (end + 1, end + 1);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.count += 1;
            if LINES_MAX < self.count {
                return Err(Flaw::Bad(format!("a commit has at most {LINES_MAX} lines")));
            }
            let wrong = |error| Flaw::Bad(format!("a line of the commit can't be read: {error}"));
            return serde_json::from_slice(line).map(Some).map_err(wrong);
        }
        self.seen = self.waiting.len();
        if LINE_MAX < self.waiting.len() - self.start {
            return Err(Flaw::TooLong);
        }
        Ok(None)
    }
}

/// The content of a file that is sent as text.
pub(super) fn content(text: String, encoding: Option<&str>) -> Result<Vec<u8>, Flaw> {
    match encoding {
        None | Some("utf-8" | "utf8") => Ok(text.into_bytes()),
        Some("base64") => STANDARD
            .decode(text.as_bytes())
            .map_err(|_| Flaw::Bad("a content is said to be base64, and is not".to_owned())),
        Some(_) => Err(Flaw::Bad("a content is `utf-8` or `base64`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, step: usize) -> Result<Vec<String>, Flaw> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in text.as_bytes().chunks(step).chain([&b"\n"[..]]) {
            lines.push(part);
            while let Some(line) = lines.next_line()? {
                found.push(format!("{line:?}"));
            }
        }
        assert_eq!(lines.start, lines.waiting.len());
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_in_whatever_parts_they_come() {
        let text = "\n  \n{\"key\":\"deletedFile\",\"value\":{\"path\":\"a\"}}\n\n\
            {\"key\":\"lfsFile\",\"value\":{\"path\":\"b\",\"oid\":\"x\"}}\r\n \n\
            {\"key\":\"header\",\"value\":{\"summary\":\"s\"}}";
        let whole = all(text, text.len()).unwrap();
        assert_eq!(whole.len(), 3, "{whole:?}");
        for step in [1, 2, 7, 50] {
            assert_eq!(all(text, step).unwrap(), whole, "{step}");
        }
        for bad in ["{", "[]", "{\"key\":\"other\",\"value\":{}}", "\0"] {
            assert!(matches!(all(bad, 1), Err(Flaw::Bad(_))), "{bad}");
        }
        assert!(matches!(
            all(
                &"{\"key\":\"deletedFile\",\"value\":{\"path\":\"a\"}}\n".repeat(LINES_MAX + 1),
                1 << 20
            ),
            Err(Flaw::Bad(_))
        ));
    }

    #[test]
    fn contents_are_text_or_base64() {
        assert_eq!(content("a".to_owned(), None).unwrap(), b"a");
        assert_eq!(content("YQ==".to_owned(), Some("base64")).unwrap(), b"a");
        assert!(content("!".to_owned(), Some("base64")).is_err());
        assert!(content(String::new(), Some("utf-16")).is_err());
    }
}
