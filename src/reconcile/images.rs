//! Images that nothing needs: shown, and removed, outside of any app's pass.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Reconciler;
use crate::engine::{Error, ResolvedCall};
use crate::plan::{Call, Needed, Unneeded, unneeded};
use crate::state::{OwnImage, World};

impl Reconciler {
    /// Removes every image that nothing needs, or only says which; answers a document: all images,
    /// what goes and why, and how much that frees at most.
    pub(crate) async fn collect_images(&self, is_dry: bool) -> Result<String, Error> {
        let world = self.observer.fresh(Instant::now()).await?;
        let needed = self.needed();
        let going = unneeded(&world, &self.policy, self.clock.now(), &needed);
        let mut rows = Vec::new();
        let mut bytes = 0;
        for image in &going {
            let problem = if is_dry { None } else { self.remove(image).await.err() };
            if problem.is_none() {
                bytes += image.size;
            }
            rows.push(json!({
                "app": image.app,
                "id": image.id,
                "tags": image.tags,
                "size": image.size,
                "why": image.why,
                "error": problem.map(|error| error.to_string()),
            }));
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

    /// Removes what interrupted builds left behind, once no build is under way.
    pub(crate) async fn clear_leftovers(&self, seen: Instant) {
        let Ok(world) = self.observer.fresh(seen).await else { return };
        if world.leftovers.is_empty() || self.observer.grace_left().is_some() {
            return;
        }
        let needed = self.needed();
        let going = unneeded(&world, &self.policy, self.clock.now(), &needed);
        for image in going.iter().filter(|image| image.app.is_none()) {
            match self.remove(image).await {
                Ok(()) => tracing::info!(image = image.id, "removed what a build left behind"),
                Err(error) => tracing::debug!(image = image.id, %error, "left where it is"),
            }
        }
    }

    fn needed(&self) -> Needed {
        let apps = self.ledger.apps();
        let pins = apps.iter().filter_map(|app| self.ledger.facts(app)?.pin);
        let held = pins.map(|pin| pin.image_id.clone()).collect();
        Needed { is_building: self.jobs.is_building(), held }
    }

    async fn remove(&self, image: &Unneeded) -> Result<(), Error> {
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
