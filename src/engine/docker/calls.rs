//! The calls of a plan: one engine call each, and what its answers mean.

use std::time::Duration;

use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, RemoveImageOptions, StopContainerOptions,
};
use serde_json::json;

use super::super::gpus;
use super::super::labels::compose_project;
use super::super::{Applied, Deed, Error, ResolvedCall};
use super::convert::{create_body, proof_body};
use super::errors::{is_image_missing, is_port_taken, is_removal_under_way, within};
use super::gate;
use super::transport::SHORT_LIMIT;
use super::{Docker, full};
use crate::model::label;
use crate::plan::{Call, ContainerSpec};
use crate::secret::Given;
use crate::state::{ContainerId, is_proof_name};

/// How long making, starting or removing a container may take.
const CALL_LIMIT: Duration = Duration::from_mins(1);
/// How long the engine may take to show that it can give GPUs.
const PROOF_LIMIT: Duration = Duration::from_secs(30);
/// The most that a manifest may promise.
const MOST_GRACE: Duration = Duration::from_mins(10);
/// What a stop may take beyond the grace period: the engine waits 10 s for a kill to work.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// How often a removal that somebody else began is looked at.
const GONE_LOOK: Duration = Duration::from_millis(200);

/// What goes with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// Nothing.
    Alone,
    /// The volumes without a name that its image asked for: nobody has written to them.
    Whole,
}

impl Docker {
    /// Does one call.
    pub(super) async fn do_call(&self, call: &ResolvedCall<'_>) -> Result<Applied, Error> {
        let id = || {
            call.id.as_ref().ok_or_else(|| Error::Refused {
                status: 400,
                message: "the call does not say which container".to_owned(),
            })
        };
        match call.call {
            Call::EnsureNetwork { name } => {
                within("network", CALL_LIMIT, self.ensure_network(name)).await
            }
            Call::Create(spec) => {
                within("create", CALL_LIMIT, self.create(spec, &call.given)).await
            }
            Call::Prove(spec) => self.prove(spec).await,
            Call::Start(_) => within("start", CALL_LIMIT, self.start(id()?)).await,
            Call::Stop { grace_s, .. } => {
                let grace = grace_s.map_or(MOST_GRACE, |s| Duration::from_secs(u64::from(s)));
                let limit = grace + STOP_MARGIN;
                within("stop", limit, self.stop(id()?, *grace_s)).await
            }
            Call::Remove(target) => {
                let what = if is_proof_name(&target.name) { Goes::Whole } else { Goes::Alone };
                within("remove", CALL_LIMIT, self.remove(id()?, what)).await
            }
            // By its tag: an image that has others keeps them, and lives on by them.
            Call::RemoveImage { tag, .. } => {
                within("remove image", CALL_LIMIT, self.remove_image(tag)).await
            }
        }
    }

    /// Does what a person asked for by hand, to whatever container.
    pub(super) async fn do_by_hand(&self, id: &ContainerId, deed: Deed) -> Result<Applied, Error> {
        match deed {
            Deed::Start => within("start", CALL_LIMIT, self.start(id)).await,
            Deed::Stop => {
                let outcome = async {
                    let outcome = self.client().stop_container(full(id)?, None).await;
                    settle(outcome.map_err(|error| self.failure("stop", error)))
                };
                gone_is_fine(within("stop", CALL_LIMIT + STOP_MARGIN, outcome).await)
            }
            Deed::Remove => within("remove", CALL_LIMIT, self.remove(id, Goes::Alone)).await,
        }
    }

    /// Pauses a container, or lets it go on.
    pub(super) async fn pause_by_hand(
        &self,
        id: &ContainerId,
        is_paused: bool,
    ) -> Result<Applied, Error> {
        let outcome = async {
            let (what, outcome) = if is_paused {
                ("pause", self.client().pause_container(full(id)?).await)
            } else {
                ("unpause", self.client().unpause_container(full(id)?).await)
            };
            settle(outcome.map_err(|error| self.failure(what, error)))
        };
        within(if is_paused { "pause" } else { "unpause" }, CALL_LIMIT, outcome).await
    }

    async fn create(&self, spec: &ContainerSpec, given: &Given) -> Result<Applied, Error> {
        let body = create_body(spec, given);
        gate::pass(&self.settings().gate, spec, given, &body)?;
        let options =
            CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        match self.client().create_container(Some(options), body).await {
            Ok(made) => Ok(Applied::Created(ContainerId::new(made.id))),
            Err(error) => Err(match self.failure("create", error) {
                Error::NotFound(message) if is_image_missing(&message) => {
                    Error::ImageMissing(spec.shape.image.clone())
                }
                other => of_gpus(other),
            }),
        }
    }

    /// Starts a container with the same GPUs in which nothing runs, and removes it, however that went.
    /// What is left of it when this ends half-way is known by its label, and goes with the next plan.
    async fn prove(&self, spec: &ContainerSpec) -> Result<Applied, Error> {
        let (spec, given) = (spec.proof(), Given::default());
        let body = proof_body(&spec);
        gate::pass(&self.settings().gate, &spec, &given, &body)?;
        let options =
            CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let make = async {
            let made = self.client().create_container(Some(options), body).await;
            made.map_err(|error| match self.failure("prove", error) {
                Error::NotFound(message) if is_image_missing(&message) => {
                    Error::ImageMissing(spec.shape.image.clone())
                }
                other => of_gpus(other),
            })
        };
        let made = within("prove", CALL_LIMIT, make).await?;
        let id = ContainerId::new(made.id);
        let started = within("prove", PROOF_LIMIT, self.start(&id)).await;
        let removed = within("remove", CALL_LIMIT, self.remove(&id, Goes::Whole)).await;
        started?;
        removed.map(|_| Applied::AlreadySo)
    }

    async fn start(&self, id: &ContainerId) -> Result<Applied, Error> {
        let outcome = self.client().start_container(full(id)?, None).await;
        settle(outcome.map_err(|error| self.failure("start", error))).map_err(|error| match error {
            Error::Failed { message, .. } | Error::Conflict(message) if is_port_taken(&message) => {
                Error::PortTaken(message)
            }
            other => of_gpus(other),
        })
    }

    async fn stop(&self, id: &ContainerId, grace_s: Option<u32>) -> Result<Applied, Error> {
        let grace = grace_s.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
        let options = StopContainerOptions { t: grace, ..Default::default() };
        let outcome = self.client().stop_container(full(id)?, Some(options)).await;
        gone_is_fine(settle(outcome.map_err(|error| self.failure("stop", error))))
    }

    /// Removes the container, running or not; an app's volumes stay (fault D44).
    async fn remove(&self, id: &ContainerId, what: Goes) -> Result<Applied, Error> {
        let v = what == Goes::Whole;
        let options = RemoveContainerOptions { force: true, v, link: false };
        let outcome = self.client().remove_container(full(id)?, Some(options)).await;
        match settle(outcome.map_err(|error| self.failure("remove", error))) {
            Err(Error::Conflict(message)) if is_removal_under_way(&message) => {
                self.wait_until_gone(id).await
            }
            other => gone_is_fine(other),
        }
    }

    /// Somebody else is removing it: it is gone once an inspection says so (fault D04).
    async fn wait_until_gone(&self, id: &ContainerId) -> Result<Applied, Error> {
        while self.inspection(id).await?.is_some() {
            tokio::time::sleep(GONE_LOOK).await;
        }
        Ok(Applied::AlreadySo)
    }

    /// Removes an image of ours; one that a container uses stays, which is fine.
    async fn remove_image(&self, tag: &str) -> Result<Applied, Error> {
        // A step of a build goes alone: what it rests on may be another's.
        let noprune = tag.starts_with("sha256:");
        let options = RemoveImageOptions { force: false, noprune, platforms: None };
        let outcome = self.client().remove_image(tag, Some(options), None).await;
        let outcome = outcome.map(|_| ()).map_err(|error| self.failure("remove image", error));
        match settle(outcome) {
            Err(Error::Conflict(_)) => Ok(Applied::AlreadySo),
            other => gone_is_fine(other),
        }
    }

    async fn ensure_network(&self, name: &str) -> Result<Applied, Error> {
        let _turn = self.inner.network_turn.lock().await;
        let path = format!("/networks/{name}");
        match self.get("network", SHORT_LIMIT, &path).await {
            Ok(_) => return Ok(Applied::AlreadySo),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let instance = &self.settings().instance;
        let body = json!({
            "Name": name,
            "Driver": "bridge",
            "CheckDuplicate": true,
            "Labels": { label::INSTANCE: instance, label::COMPOSE_PROJECT: compose_project(instance) },
        });
        match self.transport().post("network", "/networks/create", &body).await {
            Ok(_) => Ok(Applied::Changed),
            Err(Error::Conflict(_)) => Ok(Applied::AlreadySo),
            Err(error) => Err(error),
        }
    }
}

/// Whatever its status is: what it says tells whether it is about GPUs.
fn of_gpus(error: Error) -> Error {
    let said = match &error {
        Error::Failed { message, .. }
        | Error::Refused { message, .. }
        | Error::NotFound(message) => Some(message),
        _ => None,
    };
    said.and_then(|message| gpus::error_of(message)).unwrap_or(error)
}

/// 304 is success without an effect (fault D07).
fn settle(outcome: Result<(), Error>) -> Result<Applied, Error> {
    match outcome {
        Ok(()) => Ok(Applied::Changed),
        Err(Error::Failed { status: 304, .. }) => Ok(Applied::AlreadySo),
        Err(error) => Err(error),
    }
}

/// What is gone is stopped and removed (fault D06).
fn gone_is_fine(outcome: Result<Applied, Error>) -> Result<Applied, Error> {
    match outcome {
        Err(Error::NotFound(_)) => Ok(Applied::AlreadySo),
        other => other,
    }
}
