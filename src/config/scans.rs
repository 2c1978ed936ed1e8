//! The options of what is known of vulnerabilities.

use std::{fs, io, path::PathBuf};

use super::Reader;
use crate::scan::{Exception, Severity};

/// The largest file of exceptions, in bytes.
const EXCEPTIONS_LIMIT: u64 = 1 << 20;

/// How images are compared with known vulnerabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanning {
    /// The folder of OSV records.
    pub database: PathBuf,
    /// From which severity on is warned.
    pub warn: Severity,
    /// From which severity on an image may not start; none only warns.
    pub block: Option<Severity>,
    /// The file of exceptions.
    pub exceptions_file: Option<PathBuf>,
}

impl Scanning {
    /// The exceptions, as they are written now.
    pub fn exceptions(&self) -> Result<Vec<Exception>, String> {
        let Some(path) = &self.exceptions_file else { return Ok(Vec::new()) };
        let why = |error: &dyn std::fmt::Display| {
            format!("cannot read the exceptions in {}: {error}", path.display())
        };
        let size = fs::metadata(path).map_err(|error| why(&error))?.len();
        if EXCEPTIONS_LIMIT < size {
            return Err(why(&io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let text = fs::read_to_string(path).map_err(|error| why(&error))?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_yaml::from_str(&text).map_err(|error| why(&error))
    }
}

impl Reader {
    /// Nothing is looked through without a database. A value is wrong with or without one.
    pub(super) fn scanning(&mut self) -> Option<Vec<Scanning>> {
        let path = |text: &str| Ok(PathBuf::from(text));
        let database = self.last("vulnerability-database", path);
        let warn = self.one("vulnerability-warn", str::parse);
        let block = self.last("vulnerability-block", str::parse);
        let exceptions = self.last("vulnerability-exceptions", path);
        let (mut database, warn) = (database?, warn?);
        let (mut block, mut exceptions) = (block?, exceptions?);
        let scanning = |database| Scanning {
            database,
            warn,
            block: block.pop(),
            exceptions_file: exceptions.pop(),
        };
        Some(database.pop().map(scanning).into_iter().collect())
    }
}
