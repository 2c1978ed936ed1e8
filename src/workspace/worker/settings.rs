//! Files of a repository that are written as git writes its settings: `.gitmodules`, `.lfsconfig`.

use git2::{Commit, ObjectType, Repository};

const FILE_BYTES_MAX: usize = 256 << 10;

/// One setting.
pub(super) struct Setting {
    /// Which section of the file it is in, counted from the first.
    pub(super) nth: usize,
    /// How that section begins, in lower case: `[submodule "a"]`.
    pub(super) header: String,
    /// Its name, in lower case.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
}

/// A file of the first level of a commit. None when it is not there, is no plain file or is too long.
pub(super) fn text(
    repository: &Repository,
    commit: &Commit<'_>,
    name: &str,
) -> Result<Option<String>, git2::Error> {
    let tree = commit.tree()?;
    let Some(entry) = tree.get_name(name) else { return Ok(None) };
    let is_plain = entry.kind() == Some(ObjectType::Blob) && entry.filemode() != 0o120_000;
    if !is_plain || FILE_BYTES_MAX < repository.odb()?.read_header(entry.id())?.0 {
        return Ok(None);
    }
    let blob = repository.find_blob(entry.id())?;
    Ok(Some(String::from_utf8_lossy(blob.content()).into_owned()))
}

/// All settings of a text, in their order. What is not understood is left out.
pub(super) fn read(text: &str) -> Vec<Setting> {
    let (mut all, mut nth, mut header) = (Vec::new(), 0, None::<String>);
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
        if line.starts_with('[') {
            nth += 1;
            header = line.ends_with(']').then(|| line.to_ascii_lowercase());
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let (Some(header), Some(value)) = (&header, unquoted(value)) else { continue };
        let (header, name) = (header.clone(), name.trim().to_ascii_lowercase());
        all.push(Setting { nth, header, name, value });
    }
    all
}

/// A value without its quotes and comments. None when it is broken, or has a character that has
/// no business in a path or an address.
fn unquoted(text: &str) -> Option<String> {
    let (mut value, mut kept, mut is_quoted) = (String::new(), 0, false);
    let mut letters = text.trim_matches([' ', '\t']).chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '#' | ';' if !is_quoted => break,
            '\\' => value.push(letters.next().filter(|next| ['"', '\\'].contains(next))?),
            letter if letter.is_control() => return None,
            letter => value.push(letter),
        }
        if is_quoted || !value.ends_with([' ', '\t']) {
            kept = value.len();
        }
    }
    value.truncate(kept);
    (!is_quoted && !value.is_empty()).then_some(value)
}
