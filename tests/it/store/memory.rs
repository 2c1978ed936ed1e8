//! A file system in memory that knows what is on the disk and what is not yet: what it forgets when
//! the power goes is decided by a seed.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    path::{Component, Path},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use berth::store::disk::{Disk, Stat, Temp};

/// What a name in a folder becomes; none is no name.
type Effect = (u64, OsString, Option<u64>);

#[derive(Clone, Debug)]
enum Node {
    Folder { now: BTreeMap<OsString, u64>, kept: BTreeMap<OsString, u64> },
    File { now: Vec<u8>, kept: Vec<u8>, is_stored: bool },
}

#[derive(Clone, Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// What happened in folders and is not on the disk yet.
    pending: Vec<Vec<Effect>>,
    has_exchange: bool,
}

const ROOT: u64 = 1;

/// What happened to the same name before comes along: no file system forgets that a folder was made
/// and remembers that it was moved.
fn with_causes(all: &[Vec<Effect>], mut picked: Vec<bool>) -> Vec<bool> {
    let mut needed = BTreeSet::new();
    for (effects, is_picked) in all.iter().zip(&mut picked).rev() {
        *is_picked |= effects.iter().any(|(at, name, _)| needed.contains(&(*at, name)));
        if *is_picked {
            needed.extend(effects.iter().map(|(at, name, _)| (*at, name)));
        }
    }
    picked
}

fn empty() -> Node {
    Node::Folder { now: BTreeMap::new(), kept: BTreeMap::new() }
}

/// What is left when the power goes, of what was not on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing is lost: only the process was killed.
    None,
    /// All of it is lost.
    All,
    /// What came first stays, as a journal writes it.
    Tail,
    /// Anything may stay.
    Any,
}

/// The file system.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub(crate) fn new(has_exchange: bool) -> Self {
        let nodes = BTreeMap::from([(ROOT, empty())]);
        Self(Arc::new(Mutex::new(State { nodes, next: 2, pending: Vec::new(), has_exchange })))
    }

    /// Changes a file on the disk, as disks do it by themselves.
    pub(crate) fn rot(&self, path: &Path) {
        let mut state = self.lock();
        let node = state.find(path).unwrap();
        if let Some(Node::File { now, kept, .. }) = state.nodes.get_mut(&node) {
            now[2] ^= 1;
            kept.clone_from(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same machine after the power went, or the process was killed.
    pub(crate) fn after(&self, loss: Loss, mut random: impl FnMut() -> u64) -> Self {
        let mut state = self.lock().clone();
        if loss != Loss::None {
            let pending = std::mem::take(&mut state.pending);
            let count = u64::try_from(pending.len()).unwrap();
            let stay = random() % (count + 1);
            let picked = pending.iter().enumerate().map(|(at, _)| match loss {
                Loss::Tail => u64::try_from(at).unwrap() < stay,
                Loss::Any => random().is_multiple_of(2),
                Loss::None | Loss::All => false,
            });
            let picked: Vec<_> = picked.collect();
            for (effects, _) in
                pending.iter().zip(with_causes(&pending, picked)).filter(|(_, stays)| *stays)
            {
                state.keep(effects);
            }
            for node in state.nodes.values_mut() {
                match node {
                    Node::Folder { now, kept } => now.clone_from(kept),
                    Node::File { now, kept, .. } => now.clone_from(kept),
                }
            }
        }
        state.pending.clear();
        Self(Arc::new(Mutex::new(state)))
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            at = *self.folder(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn folder(&self, node: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match &self.nodes[&node] {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The folder that a path is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let folder = self.find(path.parent().unwrap())?;
        self.folder(folder)?;
        Ok((folder, path.file_name().unwrap().to_owned()))
    }

    fn add(&mut self, node: Node) -> u64 {
        self.next += 1;
        self.nodes.insert(self.next, node);
        self.next
    }

    /// Lets it happen, not on the disk yet.
    fn happen(&mut self, effects: Vec<Effect>) {
        for (folder, name, node) in &effects {
            let Some(Node::Folder { now, .. }) = self.nodes.get_mut(folder) else { continue };
            match node {
                Some(node) => now.insert(name.clone(), *node),
                None => now.remove(name),
            };
        }
        self.pending.push(effects);
    }

    fn keep(&mut self, effects: &[Effect]) {
        for (folder, name, node) in effects {
            let Some(Node::Folder { kept, .. }) = self.nodes.get_mut(folder) else { continue };
            match node {
                Some(node) => kept.insert(name.clone(), *node),
                None => kept.remove(name),
            };
        }
    }

    fn new_name(&mut self, path: &Path, node: u64) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        if self.folder(folder)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.happen(vec![(folder, name, Some(node))]);
        Ok(())
    }

    fn is_empty_or_file(&self, node: u64) -> bool {
        self.folder(node).map_or(true, BTreeMap::is_empty)
    }
}

struct Draft {
    memory: Memory,
    node: u64,
}

impl Temp for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(Node::File { now, .. }) = self.memory.lock().nodes.get_mut(&self.node) {
            now.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.memory.lock();
        let Node::File { now, .. } = &state.nodes[&self.node] else { return Ok(0) };
        berth::inspect::Source::read_at(now, offset, into)
    }

    fn keep(&mut self) -> io::Result<()> {
        if let Some(Node::File { now, kept, .. }) = self.memory.lock().nodes.get_mut(&self.node) {
            kept.clone_from(now);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(Node::File { now, kept, is_stored }) =
            self.memory.lock().nodes.get_mut(&self.node)
        {
            kept.clone_from(now);
            *is_stored = true;
        }
        Ok(())
    }

    fn link(&mut self, to: &Path) -> io::Result<()> {
        self.memory.lock().new_name(to, self.node)
    }
}

impl Disk for Memory {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.add(empty());
        state.new_name(path, node)
    }

    fn temp(&self, folder: &Path, _: Option<u64>) -> io::Result<Box<dyn Temp>> {
        let mut state = self.lock();
        state.find(folder)?;
        let node = state.add(Node::File { now: Vec::new(), kept: Vec::new(), is_stored: false });
        Ok(Box::new(Draft { memory: self.clone(), node }))
    }

    fn grow(&self, path: &Path, size: u64) -> io::Result<Box<dyn Temp>> {
        let mut state = self.lock();
        let node = match state.find(path) {
            Ok(node) => node,
            Err(_) if size == 0 => {
                let file = Node::File { now: Vec::new(), kept: Vec::new(), is_stored: false };
                let node = state.add(file);
                state.new_name(path, node)?;
                node
            }
            Err(error) => return Err(error),
        };
        if let Some(Node::File { now, .. }) = state.nodes.get_mut(&node) {
            let size = usize::try_from(size).unwrap();
            if now.len() < size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            now.truncate(size);
        }
        Ok(Box::new(Draft { memory: self.clone(), node }))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let (now, kept) = (bytes.to_vec(), bytes.to_vec());
        let node = state.add(Node::File { now, kept, is_stored: false });
        state.new_name(path, node)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(from)?;
        state.new_name(to, node)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (source, name) = state.place(from)?;
        let node = *state.folder(source)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
        let (target, new) = state.place(to)?;
        if let Some(there) = state.folder(target)?.get(&new)
            && !state.is_empty_or_file(*there)
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        // Two names of one file both stay, says POSIX.
        if state.folder(target)?.get(&new) != Some(&node) {
            state.happen(vec![(source, name, None), (target, new, Some(node))]);
        }
        Ok(())
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.has_exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let nodes = (state.find(one)?, state.find(other)?);
        let ((a, name_a), (b, name_b)) = (state.place(one)?, state.place(other)?);
        state.happen(vec![(a, name_a, Some(nodes.1)), (b, name_b, Some(nodes.0))]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        if state.folder(node).is_ok() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (folder, name) = state.place(path)?;
        state.happen(vec![(folder, name, None)]);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        if !state.folder(node)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = state.place(path)?;
        state.happen(vec![(folder, name, None)]);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let folder = state.find(path)?;
        // A rename is one change of both its folders.
        let touches = |effects: &Vec<Effect>| effects.iter().any(|(at, ..)| *at == folder);
        let pending = std::mem::take(&mut state.pending);
        let picked = pending.iter().map(touches).collect();
        for (effects, is_now) in pending.iter().zip(with_causes(&pending, picked)) {
            if is_now {
                state.keep(effects);
            } else {
                state.pending.push(effects.clone());
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock();
        match &state.nodes[&state.find(path)?] {
            Node::File { now, .. } => Ok(now.clone()),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.lock();
        Ok(state.folder(state.find(path)?)?.keys().cloned().collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.lock();
        let node = state.find(path)?;
        let names = state.nodes.values().map(|other| match other {
            Node::Folder { now, .. } => now.values().filter(|name| **name == node).count(),
            Node::File { .. } => 0,
        });
        let links = u64::try_from(names.sum::<usize>()).unwrap();
        let (is_folder, size, is_writable) = match &state.nodes[&node] {
            Node::Folder { .. } => (true, 0, true),
            Node::File { now, is_stored, .. } => {
                (false, u64::try_from(now.len()).unwrap(), !is_stored)
            }
        };
        Ok(Stat {
            is_folder,
            is_file: !is_folder,
            size,
            inode: (1, node),
            links,
            modified: 0,
            changed: 0,
            is_writable,
        })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.read(path)?)?;
        Ok(file)
    }

    fn hold(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }
}
