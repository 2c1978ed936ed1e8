//! An image's files, from its layers: as the engine keeps them on a disk of this machine, or as it
//! sends them in an archive. Only what says something about packages is read.
//!
//! The formats: Docker's image archive (v1.2) and the OCI image layout 1.1; removed files as both
//! overlayfs and the OCI layer format mark them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Cursor, Read},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tar::{Archive, EntryType};

use super::inventory::{Gather, Inventory};

/// How many files one layer may have.
const ENTRIES_LIMIT: usize = 10_000_000;
/// How many bytes of lists an image may have.
const BYTES_LIMIT: u64 = 512 << 20;
/// What marks a removed file in an archive, and an emptied folder.
const REMOVED: &str = ".wh.";
const EMPTIED: &str = ".wh..wh..opq";
/// A block of an archive: enough to see what a file is.
const BLOCK: usize = 512;

/// What one layer adds and takes away.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layer {
    files: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    emptied: Vec<String>,
}

/// The packages of layers, the lowest first.
pub(super) fn flatten(layers: impl IntoIterator<Item = Layer>) -> Inventory {
    let mut all = BTreeMap::<String, Vec<u8>>::new();
    for layer in layers {
        all.retain(|path, _| {
            let is_under = |folder: &String| is_within(path, folder);
            !layer.emptied.iter().any(is_under)
                && !layer.removed.iter().any(|gone| path == gone || is_within(path, gone))
        });
        all.extend(layer.files);
    }
    let mut gather = Gather::default();
    for (path, content) in all {
        gather.take(&path, &content);
    }
    gather.finish()
}

fn is_within(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Reads folders of an overlay filesystem, the lowest first.
pub fn of_folders(folders: &[impl AsRef<Path>]) -> io::Result<Inventory> {
    let layers: io::Result<Vec<_>> = folders.iter().map(|one| of_folder(one.as_ref())).collect();
    Ok(flatten(layers?))
}

fn of_folder(root: &Path) -> io::Result<Layer> {
    let (mut layer, mut left, mut budget) = (Layer::default(), vec![String::new()], BYTES_LIMIT);
    let mut seen = 0;
    while let Some(folder) = left.pop() {
        let at = root.join(&folder);
        if is_opaque(&at) {
            layer.emptied.push(folder.clone());
        }
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_LIMIT {
                return Err(too_many());
            }
            // Lists of packages have plain names.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_char_device() && entry.metadata()?.rdev() == 0 {
                layer.removed.push(path);
            } else if let Some(limit) = Gather::wants(&path).filter(|_| kind.is_file()) {
                let content = read(File::open(entry.path())?, limit, &mut budget)?;
                layer.files.push((path, content));
            }
        }
    }
    Ok(layer)
}

/// Whether overlayfs shows nothing of the layers below this folder.
fn is_opaque(folder: &Path) -> bool {
    let mut value = [0_u8; 1];
    let asked = rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut value);
    asked.is_ok_and(|length| length == 1 && value == *b"y")
}

/// Reads an image's archive, as the engine sends it.
pub fn of_archive(from: impl Read) -> io::Result<Inventory> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        layers: Vec<String>,
    }
    let mut images: Option<Vec<Image>> = None;
    let (mut layers, mut same, mut budget) = (BTreeMap::new(), BTreeMap::new(), BYTES_LIMIT);
    for entry in Archive::new(from).entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path()?.to_string_lossy());
        if matches!(entry.header().entry_type(), EntryType::Symlink | EntryType::Link) {
            let target = entry.link_name()?.map(|to| to.to_string_lossy().into_owned());
            same.extend(target.map(|to| (path.clone(), beside(&path, &to))));
        } else if path == "manifest.json" {
            let content = read(&mut entry, BYTES_LIMIT, &mut budget)?;
            images = Some(serde_json::from_slice(&content)?);
        } else if path.ends_with("/layer.tar") || path.starts_with("blobs/") {
            layers.extend(layer(entry, &mut budget)?.map(|layer| (path, layer)));
        }
    }
    let mut images = images.ok_or_else(|| broken("the archive has no manifest.json"))?;
    let image = images.pop().filter(|_| images.is_empty());
    let image = image.ok_or_else(|| broken("the archive is not of one image"))?;
    let named = image.layers.iter().map(|name| {
        let name = same.get(name).unwrap_or(name);
        layers.remove(name).ok_or_else(|| broken(&format!("the archive lacks the layer {name}")))
    });
    let layers: io::Result<Vec<_>> = named.collect();
    Ok(flatten(layers?))
}

/// A layer of an archive, packed or not; none when it is something else.
fn layer(mut entry: impl Read, budget: &mut u64) -> io::Result<Option<Layer>> {
    let mut head = Vec::new();
    (&mut entry).take(BLOCK as u64).read_to_end(&mut head)?;
    let is_tar = head.get(257..262) == Some(b"ustar")
        || (head.len() == BLOCK && head.iter().all(|byte| *byte == 0));
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let is_zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let whole = Cursor::new(head).chain(entry);
    match () {
        () if is_tar => of_tar(whole, budget).map(Some),
        () if is_gzip => of_tar(MultiGzDecoder::new(whole), budget).map(Some),
        () if is_zstd => Err(broken("a layer is packed with zstd, which is not read here")),
        () => Ok(None),
    }
}

fn of_tar(from: impl Read, budget: &mut u64) -> io::Result<Layer> {
    let mut layer = Layer::default();
    for (seen, entry) in Archive::new(from).entries()?.enumerate() {
        let mut entry = entry?;
        if seen > ENTRIES_LIMIT {
            return Err(too_many());
        }
        let path = plain(&entry.path()?.to_string_lossy());
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == EMPTIED {
            layer.emptied.push(folder.to_owned());
        } else if let Some(name) = name.strip_prefix(REMOVED) {
            let gone = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            layer.removed.push(gone);
        } else if entry.header().entry_type() == EntryType::Regular
            && let Some(limit) = Gather::wants(&path)
        {
            let content = read(&mut entry, limit, budget)?;
            layer.files.push((path, content));
        }
    }
    Ok(layer)
}

/// Reads the beginning of a file: lists that are longer than what is wanted end there.
fn read(from: impl Read, limit: u64, budget: &mut u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(limit.min(*budget)).read_to_end(&mut content)?;
    *budget = budget.saturating_sub(content.len() as u64);
    if *budget == 0 {
        return Err(broken("the image has too much to say about its packages"));
    }
    Ok(content)
}

/// A path without what stands before its first name.
fn plain(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    path.trim_end_matches('/').to_owned()
}

/// Where a link of an archive leads.
fn beside(path: &str, to: &str) -> String {
    let mut parts: Vec<_> = path.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn too_many() -> io::Error {
    broken("a layer has too many files")
}
