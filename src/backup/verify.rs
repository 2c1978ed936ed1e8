//! Whether an archive holds what it says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, Name, Vault};

/// How an archive was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many snapshots were looked at.
    pub snapshots: usize,
    /// How many contents were read.
    pub objects: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong: which snapshot or file, and why.
    pub flaws: Vec<String>,
}

/// How many of a content's files are named.
const NAMED: usize = 3;

/// Reads every content of these snapshots, and compares.
pub fn verify(vault: &Vault, names: &[Name]) -> Result<Verdict, Error> {
    let mut verdict = Verdict { snapshots: names.len(), ..Verdict::default() };
    let mut contents = BTreeMap::new();
    let mut users: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let snapshot = match vault.snapshot(name) {
            Ok(snapshot) => snapshot,
            Err(error @ (Error::Corrupt(_) | Error::Foreign(_) | Error::Newer { .. })) => {
                verdict.flaws.push(format!("{name}: {error}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in &snapshot.entries {
            if let super::What::File { size, sha256, .. } = &entry.what {
                contents.insert(sha256.clone(), *size);
                let users = users.entry(sha256.clone()).or_default();
                users.insert(format!("{}/{}", entry.root, entry.path));
            }
        }
    }
    for (content, size) in &contents {
        verdict.objects += 1;
        verdict.bytes = verdict.bytes.saturating_add(*size);
        if let Err(why) = vault.check(content, *size) {
            let users = users.remove(content).unwrap_or_default();
            let more = users.len().saturating_sub(NAMED);
            let mut names = users.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
            if 0 < more {
                names = format!("{names} and {more} more");
            }
            verdict.flaws.push(format!("objects/{} {why} ({names})", vault.object(content)));
        }
    }
    Ok(verdict)
}
