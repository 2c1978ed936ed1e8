//! Listens to the kernel, to be woken earlier than by the clock. A hint, never the truth: every
//! event that is lost here is made up for by the next look (faults W02, W03, W09, W18).

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode},
};
use tokio::sync::Notify;

use super::{
    list::{is_hidden, is_manifest},
    place::{Node, Place},
    scan::Folders,
};

/// How many folders are listened to; where there are more, the clock has to do.
const FOLDERS: usize = 1_024;
/// How many names of whole files are kept between two looks.
const NAMES: usize = 50_000;

/// What was heard since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Anything that means something.
    pub(super) is_anything: bool,
    /// Something is complete: look at once.
    pub(super) is_ready: bool,
    /// Something is going on: look when it is quiet.
    pub(super) is_stirring: bool,
    /// A folder that is listened to may be another one now: listen anew.
    pub(super) is_lost: bool,
    /// Files and folders that are whole: closed after writing or moved in.
    pub(super) whole: BTreeSet<String>,
}

/// Where what is heard ends up, and what it wakes.
#[derive(Default)]
pub(super) struct Ear {
    heard: Mutex<Heard>,
    /// Rings after each event that means something.
    pub(super) bell: Notify,
}

impl Ear {
    /// Takes all that was heard.
    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut *self.lock())
    }

    /// Takes only whether to look at once, and whether to look when it is quiet.
    pub(super) fn take_wakes(&self) -> (bool, bool) {
        let mut heard = self.lock();
        (std::mem::take(&mut heard.is_ready), std::mem::take(&mut heard.is_stirring))
    }

    fn hear(&self, event: notify::Result<Event>, paths: &Paths) {
        let mut heard = self.lock();
        let means_something = if let Ok(event) = event {
            paths.note(&event, &mut heard)
        } else {
            (heard.is_ready, heard.is_lost) = (true, true);
            true
        };
        heard.is_anything |= means_something;
        drop(heard);
        if means_something {
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which paths events can be about.
#[derive(Clone, Debug)]
struct Paths {
    root: PathBuf,
    link: Option<PathBuf>,
}

impl Paths {
    /// Adds what an event means. Answers whether it means anything.
    ///
    /// Looking at a folder causes events too, so what is only opened or read is nothing.
    fn note(&self, event: &Event, heard: &mut Heard) -> bool {
        if event.need_rescan() {
            (heard.is_ready, heard.is_lost) = (true, true);
            return true;
        }
        let is_read = matches!(event.kind, EventKind::Access(_));
        if is_read && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write)) {
            return false;
        }
        let mut means_something = false;
        for path in &event.paths {
            means_something |= self.note_path(path, event.kind, heard);
        }
        means_something
    }

    fn note_path(&self, path: &Path, kind: EventKind, heard: &mut Heard) -> bool {
        let is_move = matches!(kind, EventKind::Modify(ModifyKind::Name(_)));
        let comes_or_goes = is_move || matches!(kind, EventKind::Create(_) | EventKind::Remove(_));
        if path == self.root || Some(path) == self.link.as_deref() {
            heard.is_ready |= comes_or_goes;
            heard.is_lost |= comes_or_goes;
            heard.is_stirring |= !comes_or_goes;
            return true;
        }
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // `..data` and its like are switched as a whole, and with them what links lead to.
        let is_switch = name.starts_with(b"..") && comes_or_goes;
        if is_switch {
            heard.is_ready = true;
            return true;
        }
        let is_certainly_file = matches!(
            kind,
            EventKind::Create(CreateKind::File) | EventKind::Remove(RemoveKind::File)
        );
        let may_be_folder = comes_or_goes && !is_certainly_file && !is_manifest(name);
        if is_hidden(name) || !(is_manifest(name) || may_be_folder) {
            return false;
        }
        note_kind(&below.to_string_lossy(), kind, heard);
        heard.is_lost |= may_be_folder;
        true
    }
}

fn note_kind(below: &str, kind: EventKind, heard: &mut Heard) {
    match kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            if heard.whole.len() < NAMES {
                heard.whole.insert(below.to_owned());
            }
            heard.is_ready = true;
        }
        EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(RemoveKind::Any | RemoveKind::File | RemoveKind::Folder)
        | EventKind::Create(CreateKind::Folder) => heard.is_ready = true,
        // A new file is mostly about to be written, and the end of that is told; a new link is
        // not, so it is looked at soon in any case.
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_)) => {
            heard.is_stirring = true;
        }
        _ => {
            heard.whole.remove(below);
            heard.is_stirring = true;
        }
    }
}

/// Listens to a folder, to the folders in it, and to where it hangs.
pub(super) struct Watch {
    ear: Arc<Ear>,
    is_on: bool,
    watcher: Option<RecommendedWatcher>,
    armed: Option<(Node, Folders)>,
    /// Why not everything is listened to.
    pub(super) failure: Option<String>,
}

impl Watch {
    pub(super) fn new(ear: Arc<Ear>, is_on: bool) -> Self {
        Self { ear, is_on, watcher: None, armed: None, failure: None }
    }

    /// Whether it listens to this very folder with these folders in it.
    pub(super) fn is_armed(&self, place: &Place, folders: &Folders) -> bool {
        self.armed.as_ref().is_some_and(|(node, known)| *node == place.node && known == folders)
    }

    /// Begins to listen to a folder; to its surroundings only when it is not there.
    ///
    /// All is set up anew, because a watch stays with what was removed or moved away (fault
    /// W08). The old watches end after the new ones began, so nothing is missed in between.
    pub(super) fn arm(&mut self, root: &Path, place: Option<&Place>, folders: Folders) {
        if !self.is_on {
            self.failure = Some("listening is turned off".to_owned());
            self.armed = place.map(|place| (place.node, folders));
            return;
        }
        let link = place.and_then(|place| place.link.clone());
        let paths = Paths { root: root.to_owned(), link };
        let ear = Arc::clone(&self.ear);
        let targets = targets(&paths, place.is_some(), &folders);
        // The crate panics when its thread is dead (fault W18).
        let made = catch_unwind(AssertUnwindSafe(|| {
            let hear = move |event| ear.hear(event, &paths);
            let mut watcher = RecommendedWatcher::new(hear, Config::default())?;
            let failures: Vec<_> = targets
                .iter()
                .filter_map(|path| watcher.watch(path, RecursiveMode::NonRecursive).err())
                .collect();
            Ok::<_, notify::Error>((watcher, failures))
        }));
        let old = self.watcher.take();
        // A watcher whose thread is dead panics when it is dropped; there is nothing to save.
        let _dead = catch_unwind(AssertUnwindSafe(|| drop(old)));
        self.failure = match made {
            Ok(Ok((watcher, failures))) => {
                self.watcher = Some(watcher);
                failures.first().map(ToString::to_string)
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the watching thread died".to_owned()),
        };
        if FOLDERS < folders.len() {
            self.failure = Some(format!("there are more than {FOLDERS} folders"));
        }
        self.armed = place.map(|place| (place.node, folders));
    }
}

/// What to listen to: the root, what it hangs in, what the link on the way hangs in (fault W06),
/// and the folders below.
fn targets(paths: &Paths, is_there: bool, folders: &BTreeMap<String, Node>) -> BTreeSet<PathBuf> {
    let hangs_in = [Some(paths.root.as_path()), paths.link.as_deref()];
    let mut targets: BTreeSet<PathBuf> =
        hangs_in.into_iter().flatten().filter_map(Path::parent).map(Path::to_owned).collect();
    if is_there {
        targets.insert(paths.root.clone());
        let below = folders.keys().filter(|path| !path.is_empty()).take(FOLDERS);
        targets.extend(below.map(|path| paths.root.join(path)));
    }
    targets
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag, MetadataKind};

    use super::*;

    fn heard(kind: EventKind, path: &str) -> Option<Heard> {
        let paths = Paths { root: "/m/apps".into(), link: Some("/m/apps".into()) };
        let mut heard = Heard::default();
        paths.note(&Event::new(kind).add_path(path.into()), &mut heard).then_some(heard)
    }

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const MOVED_IN: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    #[test]
    fn reading_the_folder_wakes_nobody() {
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(heard(opened, "/m/apps/a.yaml"), None);
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Read));
        assert_eq!(heard(closed, "/m/apps"), None);
    }

    #[test]
    fn what_is_whole_is_looked_at_at_once_and_what_is_written_when_it_is_quiet() {
        for kind in [CLOSED, MOVED_IN] {
            let heard = heard(kind, "/m/apps/team/a.yaml").unwrap();
            assert!(heard.is_ready && heard.whole.contains("team/a.yaml"));
        }
        let heard = heard(WRITTEN, "/m/apps/a.yaml").unwrap();
        assert!(heard.is_stirring && !heard.is_ready && heard.whole.is_empty());
    }

    #[test]
    fn editors_leftovers_and_neighbours_mean_nothing() {
        for path in ["/m/apps/.a.yaml.swp", "/m/apps/a.yaml~", "/m/other.yaml", "/m/apps/x.log"] {
            assert_eq!(heard(CLOSED, path), None, "{path}");
        }
    }

    #[test]
    fn an_overflow_a_moved_root_and_a_new_folder_make_it_listen_anew() {
        let mut overflow = Heard::default();
        let paths = Paths { root: "/m/apps".into(), link: None };
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(paths.note(&event, &mut overflow) && overflow.is_lost && overflow.is_ready);
        for path in ["/m/apps", "/m/apps/team"] {
            assert!(heard(MOVED_IN, path).is_some_and(|heard| heard.is_lost), "{path}");
        }
        let touched = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert!(heard(touched, "/m/apps").is_some_and(|heard| !heard.is_lost));
    }

    #[test]
    fn a_switched_data_link_is_looked_at_at_once() {
        assert!(heard(MOVED_IN, "/m/apps/..data").is_some_and(|heard| heard.is_ready));
    }
}
