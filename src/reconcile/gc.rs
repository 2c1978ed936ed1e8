//! Cleaning up: what was left behind is found, judged as a whole and taken away one by one, each looked
//! at once more right before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Reconciler;
use crate::compose::Folder;
use crate::engine::Error;
use crate::execute::Spare;
use crate::model::{AppName, Timestamp, format_bytes, label};
use crate::plan::{
    GcRules, Left, LeftFacts, LeftKind, Stray, Unneeded, composed, gc, remains, render_gc, unneeded,
};
use crate::record::Cleaned;
use crate::state::{CacheRecord, Container, Policy, World};
use crate::workspace::{Lies, Lying, look_through};

/// A file that is younger may be being written.
const BEING_WRITTEN: Duration = Duration::from_mins(10);

/// How what was found is taken away.
pub(super) enum Hand {
    Workspace(Lies),
    Compose(AppName),
    Reservation(AppName),
    Image(Unneeded),
    Container(Box<Container>),
    Stray(Stray),
    Cache(Vec<CacheRecord>),
    File(PathBuf),
}

/// What was found, by kind and name.
pub(super) type Found = BTreeMap<(LeftKind, String), (Left, Hand)>;

/// What lies on the disk; a sentence where a part of it can't be read.
struct Disk {
    now: Timestamp,
    found: Found,
    unread: Vec<String>,
}

impl Reconciler {
    /// Finds what was left behind, and removes what nothing needs, or only says which; answers a
    /// document.
    pub(crate) async fn collect_garbage(
        self: &Arc<Self>,
        is_dry: bool,
        rules: GcRules,
    ) -> Result<String, Error> {
        let world = self.observer.fresh(Instant::now()).await?;
        let now = self.clock.now();
        let this = Arc::clone(self);
        let wanted = self.left_facts(&world).wanted;
        let looking = tokio::task::spawn_blocking(move || this.lying(&wanted, now)).await;
        let looked = looking.unwrap_or_else(|died| Disk {
            now,
            found: Found::new(),
            unread: vec![died.to_string()],
        });
        let Disk { mut found, mut unread, .. } = looked;
        self.find_images(&world, &mut found);
        if let Err(error) = self.find_cache(rules.grace, &mut found).await {
            unread.push(format!("what BuildKit keeps: {error}"));
        }
        if let Err(error) = self.find_strays(&world, &mut found).await {
            unread.push(format!("networks, volumes and what compose made: {error}"));
        }
        self.find_reservations(&world, &mut found);
        let all: Vec<_> = found.values().map(|(left, _)| left.clone()).collect();
        self.note_named(all.iter().filter_map(|left| left.app.clone()));
        let facts = self.left_facts(&world);
        let plan = gc(&all, &facts, rules, now);
        if !is_dry && !plan.going.is_empty() {
            tracing::info!(plan = render_gc(&plan), "cleaning up");
        }
        let (mut going, mut bytes) = (Vec::new(), 0);
        for left in &plan.going {
            let Some((_, hand)) = found.remove(&(left.kind, left.name.clone())) else { continue };
            let problem = if is_dry { None } else { self.take_away(left, hand, rules).await.err() };
            if problem.is_none() {
                bytes += left.size;
            }
            going.push(row(left, problem.as_deref()));
        }
        // Of whom nothing is left, nothing has to be known.
        let stays = plan.staying.iter().map(|(left, _)| left);
        let failed =
            going.iter().zip(&plan.going).filter(|(row, _)| is_dry || !row["error"].is_null());
        let left = stays.chain(failed.map(|(_, left)| left)).filter_map(|left| left.app.clone());
        self.ledger.keep_gone(&left.collect());
        if !is_dry {
            let failed = going.iter().filter(|row| !row["error"].is_null()).count();
            let cleaned = Cleaned { at: now, gone: going.len() - failed, failed, bytes };
            self.record.update_overview(|overview| overview.cleaned = Some(cleaned));
        }
        let staying = plan.staying.iter().map(|(left, why)| {
            let mut row = row(left, None);
            row["stays"] = json!(why);
            row
        });
        let document = json!({
            "dryRun": is_dry,
            "going": going,
            "staying": staying.collect::<Vec<_>>(),
            "unread": unread,
            "bytes": bytes,
            "text": render_gc(&plan),
        });
        Ok(document.to_string())
    }

    pub(super) fn left_facts(&self, world: &World) -> LeftFacts {
        let desired = Arc::clone(&self.desired.borrow());
        let overview = self.record.overview();
        let manifests = if desired.revision.is_empty() {
            Some("the manifests have not been read yet".to_owned())
        } else {
            overview.source_error.or_else(|| desired.hold.as_ref().map(crate::state::Hold::message))
        };
        // An app of another Berth that shares the folder of workspaces counts, too.
        let named = |container: &Container| AppName::new(container.labels.get(label::APP)?).ok();
        let mut running: BTreeSet<_> = world.containers.iter().filter_map(named).collect();
        running.extend(composed(world, &self.compose_place()));
        let wanted = desired.apps.keys().cloned().collect();
        let busy = self.jobs.busy();
        let (gone, is_building) = (self.ledger.gone(), self.jobs.is_building());
        LeftFacts { manifests, wanted, gone, running, busy, is_building }
    }

    /// Takes note of which of these apps, and of those that are known anyway, no manifest names,
    /// where that is known.
    pub(crate) fn note_named(&self, found: impl IntoIterator<Item = AppName>) {
        let desired = Arc::clone(&self.desired.borrow());
        let is_unread = self.record.overview().source_error.is_some();
        if desired.revision.is_empty() || desired.hold.is_some() || is_unread {
            return;
        }
        let known = self.ledger.apps().into_iter().chain(desired.removals.iter().cloned());
        let is_named = |app: &AppName| desired.apps.contains_key(app);
        self.ledger.note_named(known.chain(found), is_named, self.clock.now());
    }

    /// What lies on the disk. It waits in place.
    fn lying(&self, wanted: &BTreeSet<AppName>, now: Timestamp) -> Disk {
        let mut disk = Disk { now, found: Found::new(), unread: Vec::new() };
        let root = self.workspace.root();
        match look_through(root, wanted, now) {
            Ok(seen) => {
                disk.unread = seen.unread;
                seen.all.into_iter().for_each(|lies| disk.put_lies(lies));
            }
            Err(error) => disk.unread.push(format!("{}: {error}", root.display())),
        }
        let settings = self.jobs.settings();
        for folder in &settings.own_folders {
            disk.put_new_files(folder);
        }
        if let Some(root) = &settings.compose_dir {
            disk.put_compose(root);
        }
        disk
    }

    fn find_images(&self, world: &World, found: &mut Found) {
        let mut needed = self.needed(true);
        let facts = self.left_facts(world);
        for left in remains(world, &needed) {
            let why = "a build that was interrupted left it behind".to_owned();
            put(
                found,
                Left {
                    kind: LeftKind::Container,
                    name: left.name.clone(),
                    app: None,
                    is_ours: true,
                    used_by: None,
                    holds_data: false,
                    size: 0,
                    since: Some(left.created),
                    of_gone: false,
                    why,
                },
                Hand::Container(Box::new(left.clone())),
            );
        }
        let all = unneeded(world, &self.policy, self.clock.now(), &needed);
        let mut all: Vec<_> = all.into_iter().map(|image| (image, false)).collect();
        if facts.manifests.is_none() {
            // Of an app that is gone nothing is kept to go back to.
            let is_gone =
                |app: &AppName| !facts.wanted.contains(app) && !facts.running.contains(app);
            let mut of_gone = world.clone();
            of_gone.own_images.retain(|image| is_gone(&image.app));
            (of_gone.leftovers, of_gone.nameless) = (Vec::new(), BTreeMap::new());
            needed.traces = Vec::new();
            let policy =
                Policy { keep_images: 0, images_max_age: Duration::ZERO, ..self.policy.clone() };
            let known: BTreeSet<_> = all.iter().map(|(image, _)| image.id.clone()).collect();
            let why = || "no manifest names its app any more".to_owned();
            let of_gone = unneeded(&of_gone, &policy, self.clock.now(), &needed).into_iter();
            let of_gone = of_gone.filter(|image| !known.contains(&image.id));
            all.extend(of_gone.map(|image| (Unneeded { why: why(), ..image }, true)));
        }
        for (image, of_gone) in all {
            let own = world.own_images.iter().find(|own| own.id == image.id).map(|own| own.created);
            let left = world.leftovers.iter().find(|left| left.id == image.id).map(|it| it.created);
            let since = own.or(left).or_else(|| world.nameless.get(&image.id).copied());
            put(
                found,
                Left {
                    kind: LeftKind::Image,
                    name: image.tags.first().unwrap_or(&image.id).clone(),
                    app: image.app.clone(),
                    is_ours: true,
                    used_by: None,
                    holds_data: false,
                    size: image.size,
                    since,
                    of_gone,
                    why: image.why.clone(),
                },
                Hand::Image(image),
            );
        }
    }

    /// What `BuildKit` keeps of our builds beyond what the operator allows: in one piece what no build
    /// has used during the grace period, in another what one has.
    async fn find_cache(&self, grace: Duration, found: &mut Found) -> Result<(), Error> {
        let Some(Spare { total, max, going }) = self.jobs.spare_cache().await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let is_old = |record: &CacheRecord| grace <= now.since(record.used);
        let (old, young): (Vec<_>, Vec<_>) = going.into_iter().partition(is_old);
        for (name, pieces) in [("build cache", old), ("build cache that was used lately", young)] {
            if pieces.is_empty() {
                continue;
            }
            let why = format!(
                "what BuildKit keeps of builds takes {}, more than {}; of {} pieces that were not used \
                 for the longest",
                format_bytes(total),
                format_bytes(max),
                pieces.len(),
            );
            let left = Left {
                kind: LeftKind::Cache,
                name: name.to_owned(),
                app: None,
                is_ours: true,
                used_by: None,
                holds_data: false,
                size: pieces.iter().map(|record| record.size).sum(),
                since: pieces.iter().map(|record| record.used).max(),
                of_gone: false,
                why,
            };
            put(found, left, Hand::Cache(pieces));
        }
        Ok(())
    }

    /// Lets pieces of the build cache go, in this order: what rests on another goes before it.
    async fn drop_pieces(&self, pieces: &[CacheRecord]) -> Result<(), String> {
        let mut gone = 0;
        for record in pieces {
            match self.jobs.drop_cached(&record.id).await {
                Ok(is_gone) => gone += usize::from(is_gone),
                Err(error) => return Err(format!("{gone} pieces went: {error}")),
            }
        }
        if 0 < gone { Ok(()) } else { Err("the engine needs all of it".to_owned()) }
    }

    /// Ports and GPUs that are kept for apps that nobody names any more.
    fn find_reservations(&self, world: &World, found: &mut Found) {
        let facts = self.left_facts(world);
        for app in self.ledger.apps() {
            if facts.wanted.contains(&app) || facts.running.contains(&app) {
                continue;
            }
            let Some(known) = self.ledger.facts(&app) else { continue };
            let ports = known.ports.values().map(|port| format!("port {port}"));
            let gpus = known.gpus.iter().flat_map(|grant| &grant.devices).cloned();
            let all: Vec<_> = ports.chain(gpus).collect();
            if all.is_empty() {
                continue;
            }
            let updated = self.workspace.read_metadata(&app).and_then(|known| known.updated_at);
            let rollout = known.revisions.last().map(|revision| revision.started);
            let left = Left {
                kind: LeftKind::Reservation,
                name: format!("{} of app/{app}", all.join(", ")),
                app: Some(app.clone()),
                is_ours: true,
                used_by: None,
                holds_data: false,
                size: 0,
                since: updated.max(rollout).max(known.checked_at),
                of_gone: true,
                why: "no manifest names the app, and it has no container".to_owned(),
            };
            put(found, left, Hand::Reservation(app));
        }
    }

    /// Takes one thing away, if it may still go.
    async fn take_away(&self, left: &Left, hand: Hand, rules: GcRules) -> Result<(), String> {
        let world = self.observer.fresh(Instant::now()).await.map_err(|error| error.to_string())?;
        let facts = self.left_facts(&world);
        let again = gc(std::slice::from_ref(left), &facts, rules, self.clock.now());
        if let Some((_, why)) = again.staying.into_iter().next() {
            return Err(why);
        }
        match hand {
            Hand::Image(image) => self.remove(&image).await.map_err(|error| error.to_string()),
            Hand::Container(left) => {
                self.remove_remains(&left).await.map_err(|error| error.to_string())
            }
            Hand::Stray(stray) => self.take_stray(&stray).await,
            Hand::Cache(pieces) => self.drop_pieces(&pieces).await,
            Hand::Reservation(app) => {
                self.ledger.forget(&app, self.clock.now() + self.policy.port_quarantine);
                Ok(())
            }
            Hand::Compose(app) => {
                let root = self.jobs.settings().compose_dir.clone();
                let root = root.ok_or("there is no folder of compose files")?;
                let done = Folder::new(root).remove(app.as_str());
                done.map_err(|error| error.to_string())
            }
            Hand::File(path) => fs::remove_file(path).map_err(|error| error.to_string()),
            Hand::Workspace(lies) => {
                let app = left.app.clone();
                match self.workspace.take_away(app.as_ref(), lies, rules.with_data).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("somebody has it just now".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }
}

impl Disk {
    fn put_lies(&mut self, lies: Lies) {
        let name = lies.path.display().to_string();
        let mut left = Left {
            kind: LeftKind::Temporary,
            name,
            app: None,
            is_ours: true,
            used_by: None,
            holds_data: false,
            size: lies.size,
            since: Some(lies.since),
            of_gone: false,
            why: String::new(),
        };
        let why = match &lies.what {
            Lying::Leaving => "a folder that was being removed",
            Lying::Part => "a file of Git LFS that did not come whole",
            Lying::Mirror => {
                left.kind = LeftKind::Mirror;
                "nobody has fetched into it for 30 days; it can be made again"
            }
            Lying::Broken(app) => {
                left.app = Some(app.clone());
                "a fetch that was broken off left it behind"
            }
            Lying::App { app, is_ours, has_code, holds_data, code_size } => {
                left.app = Some(app.clone());
                (left.is_ours, left.holds_data) = (*is_ours, *holds_data);
                left.kind = LeftKind::Workspace;
                if *holds_data && *has_code && *is_ours {
                    // What can be made again goes without what can't.
                    let (holds_data, kind) = (false, LeftKind::Code);
                    let why = "no manifest names the app; its data stays".to_owned();
                    let code = Left { kind, holds_data, size: *code_size, why, ..left.clone() };
                    put(&mut self.found, code, Hand::Workspace(lies.clone()));
                }
                "no manifest names the app"
            }
        };
        why.clone_into(&mut left.why);
        // Who says that the data goes has all of it removed.
        let mut whole = lies;
        if let Lying::App { holds_data, .. } = &mut whole.what {
            *holds_data = false;
        }
        put(&mut self.found, left, Hand::Workspace(whole));
    }

    /// Files that were to take the place of others, and did not.
    fn put_new_files(&mut self, folder: &Path) {
        let read = match fs::read_dir(folder) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unread.push(format!("{}: {error}", folder.display())),
        };
        for entry in read.flatten() {
            let path = entry.path();
            let Ok(seen) = fs::symlink_metadata(&path) else { continue };
            let changed = Timestamp::from_millis(seen.mtime().saturating_mul(1000));
            if self.now.since(changed) < BEING_WRITTEN {
                continue;
            }
            if !seen.is_file() || path.extension().is_none_or(|end| end != "new") {
                continue;
            }
            let left = Left {
                kind: LeftKind::Temporary,
                name: path.display().to_string(),
                app: None,
                is_ours: true,
                used_by: None,
                holds_data: false,
                size: seen.blocks() * 512,
                since: Some(changed),
                of_gone: false,
                why: "a file that was not written to its end".to_owned(),
            };
            put(&mut self.found, left, Hand::File(path));
        }
    }

    fn put_compose(&mut self, root: &Path) {
        for name in Folder::new(root.to_owned()).apps() {
            let Ok(app) = AppName::new(&name) else { continue };
            let path = root.join(&name);
            let file = fs::symlink_metadata(path.join("docker-compose.yaml"));
            let file = file.map(|seen| (seen.blocks() * 512, seen.mtime()));
            let (size, changed) = file.unwrap_or_default();
            let left = Left {
                kind: LeftKind::Compose,
                name: path.display().to_string(),
                app: Some(app.clone()),
                is_ours: true,
                used_by: None,
                holds_data: false,
                size,
                since: Some(Timestamp::from_millis(changed.saturating_mul(1000))),
                of_gone: true,
                why: "no manifest names the app".to_owned(),
            };
            put(&mut self.found, left, Hand::Compose(app));
            self.put_new_files(&path);
        }
        self.put_new_files(root);
    }
}

fn put(found: &mut Found, left: Left, hand: Hand) {
    found.insert((left.kind, left.name.clone()), (left, hand));
}

fn row(left: &Left, problem: Option<&str>) -> Value {
    json!({
        "kind": left.kind,
        "name": left.name,
        "app": left.app,
        "size": left.size,
        "since": left.since,
        "why": left.why,
        "stays": null,
        "error": problem,
    })
}
