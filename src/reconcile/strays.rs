//! What stands about on the engine: found, weighed, and taken away once it was looked at again.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use tokio::time::Instant;

use super::Reconciler;
use super::gc::{Found, Hand};
use crate::compose::{COMPOSE_FILE, Folder};
use crate::engine::Error;
use crate::model::MountSource;
use crate::plan::{ComposePlace, Stray, StrayKind, StrayScene, strays};
use crate::state::World;

impl Reconciler {
    /// Adds what stands about.
    pub(super) async fn find_strays(&self, world: &World, found: &mut Found) -> Result<(), Error> {
        let around = self.engine.surroundings().await?;
        let mut all = strays(world, &around, &self.stray_scene(world));
        self.weigh(&mut all).await;
        for stray in all {
            let mut left = stray.left.clone();
            // Several networks may have one name (fault D45).
            if let (StrayKind::Network(id), true) =
                (&stray.kind, found.contains_key(&(left.kind, left.name.clone())))
            {
                left.name.clone_from(id);
            }
            found.insert((left.kind, left.name.clone()), (left, Hand::Stray(stray)));
        }
        Ok(())
    }

    /// Where Berth writes compose files, without a look at them.
    pub(super) fn compose_place(&self) -> ComposePlace {
        let root = self.jobs.settings().compose_dir.clone();
        let real = root.as_deref().and_then(|root| fs::canonicalize(root).ok());
        let mut roots: Vec<_> = root.into_iter().chain(real).collect();
        roots.dedup();
        ComposePlace { roots, file: COMPOSE_FILE, ..ComposePlace::default() }
    }

    fn stray_scene(&self, world: &World) -> StrayScene {
        let facts = self.left_facts(world);
        let mut place = self.compose_place();
        let others = |root: &PathBuf| Folder::new(root.clone()).others();
        place.others = place.roots.iter().flat_map(others).collect();
        let desired = Arc::clone(&self.desired.borrow());
        let apps = desired.apps.keys().filter_map(|name| desired.app(name));
        let volume = |source: &MountSource| match source {
            MountSource::Volume(name) => Some(name.clone()),
            _ => None,
        };
        let mounts = apps.flat_map(|app| app.spec.mounts.iter());
        let gone = facts.gone.keys().cloned().chain(self.ledger.apps());
        StrayScene {
            instance: self.policy.instance.clone(),
            place,
            known: facts.wanted.iter().cloned().chain(gone).collect(),
            mounted: mounts.filter_map(|mount| volume(&mount.source)).collect(),
            last_gone: facts.gone.values().max().copied(),
            wanted: facts.wanted,
        }
    }

    /// How much they take, and since when they stand still: as far as the engine says so.
    async fn weigh(&self, all: &mut [Stray]) {
        let is_volume = |stray: &Stray| matches!(stray.kind, StrayKind::Volume(_));
        let sizes = if all.iter().any(is_volume) {
            // Without their sizes they are named all the same.
            self.engine.volume_sizes().await.unwrap_or_default()
        } else {
            BTreeMap::new()
        };
        for Stray { kind, left } in all {
            match kind {
                StrayKind::Volume(name) => left.size = sizes.get(name).copied().unwrap_or(0),
                StrayKind::Network(_) => {}
                StrayKind::Container(id) => {
                    let size = self.engine.layer_size(id).await;
                    left.size = size.ok().flatten().unwrap_or(0);
                    let Ok(detail) = self.engine.inspect(id).await else {
                        left.since = None;
                        continue;
                    };
                    left.since = left.since.max(detail.and_then(|detail| detail.finished_at));
                }
            }
        }
    }

    /// Takes one away, if it still stands about as it did.
    pub(super) async fn take_stray(&self, stray: &Stray) -> Result<(), String> {
        let said = |error: Error| error.to_string();
        let world = self.observer.fresh(Instant::now()).await.map_err(said)?;
        let around = self.engine.surroundings().await.map_err(said)?;
        let again = strays(&world, &around, &self.stray_scene(&world));
        let is_same = |other: &&Stray| other.kind == stray.kind;
        let Some(again) = again.iter().find(is_same) else {
            return Err("it is used again, or gone".to_owned());
        };
        if !again.left.is_ours || again.left.used_by.is_some() {
            return Err("it is used again".to_owned());
        }
        let is_gone = match &stray.kind {
            StrayKind::Container(id) => self.engine.drop_stopped(id).await.map_err(said)?,
            StrayKind::Network(id) => self.engine.drop_network(id).await.map_err(said)?,
            StrayKind::Volume(_) => false,
        };
        if is_gone { Ok(()) } else { Err("the engine needs it".to_owned()) }
    }
}
