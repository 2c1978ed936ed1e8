//! Images that nothing needs: shown, and removed, outside of any app's pass.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Reconciler;
use crate::engine::{Error, ResolvedCall};
use crate::plan::{Call, Needed, Target, Unneeded, remains, unneeded};
use crate::state::{Container, OwnImage, World};

/// What was a step's own ground goes after it: so often is looked at most.
const ROUNDS_MAX: usize = 200;

impl Reconciler {
    /// Removes every image that nothing needs, or only says which; answers a document: all images,
    /// what goes and why, and how much that frees at most.
    pub(crate) async fn collect_images(&self, is_dry: bool) -> Result<String, Error> {
        let mut world = self.observer.fresh(Instant::now()).await?;
        let needed = self.needed(false);
        let (mut rows, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        for _ in 0..ROUNDS_MAX {
            let before = rows.len();
            for left in remains(&world, &needed) {
                if !seen.insert(left.id.to_string()) {
                    continue;
                }
                let problem = if is_dry { None } else { self.remove_remains(left).await.err() };
                rows.push(remains_row(left, problem));
            }
            for image in unneeded(&world, &self.policy, self.clock.now(), &needed) {
                if !seen.insert(image.id.clone()) {
                    continue;
                }
                let problem = if is_dry { None } else { self.remove(&image).await.err() };
                if problem.is_none() {
                    bytes += image.size;
                }
                rows.push(going_row(&image, problem));
            }
            if is_dry || rows.len() == before {
                break;
            }
            world = self.observer.fresh(Instant::now()).await?;
        }
        let images: Vec<_> = world.own_images.iter().map(|image| row(image, &world)).collect();
        let held =
            needed.is_building.then_some("an image is being built: nothing is removed meanwhile");
        let document = json!({
            "dryRun": is_dry,
            "images": images,
            "going": rows,
            "bytes": bytes,
            "held": held,
        });
        Ok(document.to_string())
    }

    /// Removes what builds left behind and no build goes on from, once none is under way.
    pub(crate) async fn clear_leftovers(&self, seen: Instant) {
        let (mut since, mut tried) = (seen, BTreeSet::new());
        for _ in 0..ROUNDS_MAX {
            let Ok(world) = self.observer.fresh(since).await else { return };
            if self.observer.grace_left().is_some() {
                return;
            }
            let needed = self.needed(true);
            if world.leftovers.is_empty() && needed.traces.is_empty() {
                return;
            }
            let going = unneeded(&world, &self.policy, self.clock.now(), &needed);
            let mut is_less = false;
            for image in going.iter().filter(|image| image.app.is_none()) {
                if !tried.insert(image.id.clone()) {
                    continue;
                }
                is_less = true;
                match self.remove(image).await {
                    Ok(()) => tracing::info!(image = image.id, "removed what a build left behind"),
                    Err(error) => tracing::debug!(image = image.id, %error, "left where it is"),
                }
            }
            if !is_less {
                return;
            }
            since = Instant::now();
        }
    }

    pub(super) fn needed(&self, keeps_last: bool) -> Needed {
        let apps = self.ledger.apps();
        let pins = apps.iter().filter_map(|app| self.ledger.facts(app)?.pin);
        let held = pins.map(|pin| pin.image_id.clone()).collect();
        let is_building = self.jobs.is_building();
        let traces = if is_building { Vec::new() } else { self.jobs.traces() };
        Needed { is_building, held, traces, keeps_last }
    }

    /// Removes a container that a build left behind.
    pub(super) async fn remove_remains(&self, left: &Container) -> Result<(), Error> {
        if self.jobs.is_building() {
            return Err(Error::Conflict("an image is being built".to_owned()));
        }
        let id = Some(left.id.clone());
        let call = Call::Remove(Target { id: id.clone(), name: left.name.clone() });
        let given = crate::secret::Given::default();
        self.engine.apply(&ResolvedCall { call: &call, id, given }).await.map(drop)
    }

    pub(super) async fn remove(&self, image: &Unneeded) -> Result<(), Error> {
        for tag in &image.tags {
            // A build may have begun since it was looked at.
            if self.jobs.is_building() {
                return Err(Error::Conflict("an image is being built".to_owned()));
            }
            let call = Call::RemoveImage { id: image.id.clone(), tag: tag.clone() };
            self.engine
                .apply(&ResolvedCall {
                    call: &call,
                    id: None,
                    given: crate::secret::Given::default(),
                })
                .await?;
        }
        Ok(())
    }
}

fn going_row(image: &Unneeded, problem: Option<Error>) -> Value {
    json!({
        "app": image.app,
        "id": image.id,
        "tags": image.tags,
        "size": image.size,
        "why": image.why,
        "error": problem.map(|error| error.to_string()),
    })
}

fn remains_row(left: &Container, problem: Option<Error>) -> Value {
    json!({
        "app": null,
        "id": left.id.to_string(),
        "tags": [format!("container {}", left.name)],
        "size": 0,
        "why": "a build that was interrupted left it behind",
        "error": problem.map(|error| error.to_string()),
    })
}

fn row(image: &OwnImage, world: &World) -> Value {
    let users = world.containers.iter().filter(|container| container.image_id == image.id);
    json!({
        "app": image.app,
        "id": image.id,
        "tags": image.tags,
        "size": image.size,
        "created": image.created,
        "usedBy": users.map(|container| container.name.as_str()).collect::<Vec<_>>(),
    })
}
