//! Revisions: what each pass adds to their history, and the hold at an earlier one.

use std::{path::Path, sync::Arc};

use tokio::time::Instant;

use super::{Reconciler, as_app};
use crate::host;
use crate::model::{App, AppName, Reason, SpecHash, format_bytes};
use crate::plan::{Input, Plan};
use crate::record::{CommandError, Past, history, ledger::Facts};
use crate::state::{Asked, Obstacle, Pin, Revision, Want, World};
use crate::status::{Held, RolloutStatus};

impl Reconciler {
    /// What is wanted, the hold at an earlier revision included. A hold whose end has come ends.
    pub(super) fn held(&self, app: &AppName, want: Want) -> Want {
        let Some(pin) = self.ledger.facts(app).and_then(|facts| facts.pin) else { return want };
        let Some(manifest) = as_app(&want) else { return want };
        let Some(why) = self.end_of(app, manifest, &pin) else {
            let held = hold(manifest, &pin);
            return match want {
                Want::Present(_) => Want::Present(held),
                Want::Invalid { problem, .. } => Want::Invalid { last_good: Some(held), problem },
                Want::Absent | Want::Held(_) => want,
            };
        };
        let is_ended = self.ledger.update(app, |facts| {
            let is_same = facts.pin.as_ref() == Some(&pin);
            if is_same {
                facts.pin = None;
            }
            is_same
        });
        if is_ended {
            let message = format!("no longer held at revision {}: {why}", pin.revision);
            self.tell(app, false, Reason::Held, message);
        }
        want
    }

    /// Why a hold has ended: what was undone is not what is wanted any more.
    fn end_of(&self, app: &AppName, manifest: &App, pin: &Pin) -> Option<String> {
        let spec = self.ledger.facts(app)?.spec_digest;
        if spec != pin.undone_spec {
            return Some("the manifest was changed".to_owned());
        }
        manifest.spec.git()?;
        let undone = pin.undone_commit.as_ref()?;
        let commit = self.workspace.load(app)?.commit;
        (commit != *undone).then(|| {
            let commit = commit.get(..7).unwrap_or(&commit);
            format!("there is another commit, {commit}")
        })
    }

    /// What speaks against starting any new version now.
    pub(super) fn obstacles(&self) -> Vec<Obstacle> {
        let path = &self.policy.workspaces;
        let free = host::free_bytes(Path::new(path));
        let least = self.policy.min_free_disk;
        let Some(free) = free.filter(|free| *free < least) else { return Vec::new() };
        let message = format!(
            "the disk of {path} has {} left, and a new version is not started below {}: make room there",
            format_bytes(free),
            format_bytes(least)
        );
        vec![Obstacle { reason: Reason::DiskFull, message }]
    }

    /// Keeps what the name of the app's image was found to mean (fault D40).
    pub(super) fn note_resolved(&self, input: &Input<'_>, plan: &Plan) {
        let Some(resolved) = plan.resolved.as_ref() else { return };
        if input.state.resolved.as_ref() != Some(resolved) {
            self.ledger.update(input.app, |facts| {
                // Somebody may have asked anew meanwhile.
                if facts.resolved == input.state.resolved {
                    facts.resolved = Some(resolved.clone());
                }
            });
        }
    }

    /// Takes note of how far the wanted version is.
    pub(super) fn note_version(&self, input: &Input<'_>, plan: &Plan) {
        let Some(app) = as_app(input.want) else { return };
        let born = self.memory.born(input.now);
        let ended = self.ledger.update(input.app, |facts| {
            let spec_digest = &facts.spec_digest;
            let look = history::Look { input: *input, plan, app, spec_digest, born };
            let Some(list) = history::note(&facts.revisions, &look) else { return Vec::new() };
            let before = std::mem::replace(&mut facts.revisions, Arc::new(list));
            history::ended(&before, &facts.revisions)
        });
        for (outcome, took) in ended {
            self.metrics.rolled_out(outcome.word(), took);
        }
    }

    /// The revisions as they are shown, and the last one as the status shows it.
    pub(super) fn past(&self, app: &AppName, world: &World) -> (Vec<Past>, Option<RolloutStatus>) {
        let facts = self.ledger.facts(app).unwrap_or_default();
        let past = |revision: &Revision| Past {
            is_image_here: is_here(revision, world),
            is_held: facts.pin.as_ref().is_some_and(|pin| pin.revision == revision.number),
            revision: revision.clone(),
        };
        let held = facts.pin.as_ref().map(|pin| Held {
            revision: pin.revision,
            since: pin.since,
            message: pin.message(),
        });
        let status = facts.revisions.last().map(|last| RolloutStatus::of(last, held));
        (facts.revisions.iter().map(past).collect(), status)
    }

    /// Has an app run an earlier revision, until its manifest or its wanted commit changes.
    pub async fn undo(&self, app: &AppName, asked: Option<u64>) -> Result<String, CommandError> {
        let unseen = |error: crate::engine::Error| {
            CommandError::Refused(format!("nobody can tell which images are there: {error}"))
        };
        let world = self.observer.fresh(Instant::now()).await.map_err(unseen)?;
        let facts = self.ledger.facts(app).unwrap_or_default();
        let wanted = self.record.entry(app).and_then(|entry| entry.plan.wanted.clone());
        let target = choose(app, &facts, wanted.as_ref(), asked, &world)?;
        let commit = self.workspace.load(app).map(|checkout| checkout.commit);
        let number = target.number;
        let told = if is_of_manifest(&facts, &target, commit.as_deref()) {
            if facts.pin.is_none() && wanted.as_ref() == Some(&target.spec_hash) {
                let message = format!("revision {number} is what the manifest says already");
                return Err(refused("rollout.nothing-to-undo", &message, &facts, &world));
            }
            self.ledger.update(app, |facts| facts.pin = None);
            format!(
                "going on to revision {number}, which is what the manifest says; no longer held"
            )
        } else {
            let since = self.clock.now();
            let pin = self.ledger.update(app, |facts| {
                let pin = Arc::new(Pin {
                    revision: number,
                    image: target.image.clone(),
                    image_id: target.image_id.clone(),
                    build: target.build.clone(),
                    commit: target.commit.clone(),
                    run: target.run.clone(),
                    undone_spec: facts.spec_digest.clone(),
                    undone_commit: commit,
                    since,
                });
                facts.pin = Some(Arc::clone(&pin));
                pin
            });
            format!("going back to revision {number}; {}", pin.message())
        };
        self.ledger.update(app, |facts| {
            let is_other = |bad: &crate::state::BadRevision| bad.spec_hash != target.spec_hash;
            facts.bad_revision = facts.bad_revision.take().filter(is_other);
        });
        self.tell(app, false, Reason::Held, told.clone());
        Ok(told)
    }
}

/// The manifest's app, run as the revision that it is held at.
fn hold(manifest: &Arc<App>, pin: &Pin) -> Arc<App> {
    match &pin.run {
        None => Arc::clone(manifest),
        Some(run) => Arc::new(App { spec: manifest.spec.with_run(run), ..App::clone(manifest) }),
    }
}

fn is_here(revision: &Revision, world: &World) -> bool {
    world.reference_of(&revision.image, &revision.image_id).is_some()
}

/// The revision to go back to, or why there is none.
fn choose(
    app: &AppName,
    facts: &Facts,
    wanted: Option<&SpecHash>,
    asked: Option<u64>,
    world: &World,
) -> Result<Revision, CommandError> {
    let list = &facts.revisions;
    let found = match asked {
        Some(number) => list.iter().find(|past| past.number == number).ok_or_else(|| {
            let message = format!("no revision {number} of {app} is remembered");
            refused("rollout.no-such-revision", &message, facts, world)
        }),
        None => history::before(list, wanted, facts.pin.as_deref()).ok_or_else(|| {
            let message = format!("no earlier version of {app} that was good is remembered");
            refused("rollout.nothing-to-undo", &message, facts, world)
        }),
    }?;
    if !is_here(found, world) {
        let message = format!("the image {} of revision {} is gone", found.image, found.number);
        return Err(refused("rollout.image-gone", &message, facts, world));
    }
    Ok(found.clone())
}

/// A refusal that says which revisions one can go to.
fn refused(code: &'static str, why: &str, facts: &Facts, world: &World) -> CommandError {
    let here = facts.revisions.iter().filter(|past| is_here(past, world));
    let revisions: Vec<u64> = here.map(|past| past.number).collect();
    let texts: Vec<_> = revisions.iter().map(ToString::to_string).collect();
    let message = if texts.is_empty() {
        format!("{why}; the image of no other one is there")
    } else {
        format!("{why}; the images of these revisions are there: {}", texts.join(", "))
    };
    CommandError::Undo { code, message, revisions }
}

/// Whether a revision is what the manifest and the repository say at present.
fn is_of_manifest(facts: &Facts, target: &Revision, commit: Option<&str>) -> bool {
    let is_it = |past: &&Revision| {
        past.again.is_none()
            && past.by != Asked::Found
            && past.spec_digest == facts.spec_digest
            && (past.commit.is_none() || past.commit.as_deref() == commit)
    };
    facts.revisions.iter().rev().find(is_it).is_some_and(|last| last.number == target.number)
}
