//! Stored models in an app: which version each mount gets, and why there is none.

use std::collections::BTreeMap;

use super::{Input, Plan, Wait, shape, times};
use crate::model::{App, ModelRef, MountedModel, Reason};
use crate::state::{ModelSeen, models_of};

/// What is mounted, by path. Of what can't be had, the plan says so.
pub(super) fn mounted(input: &Input<'_>, app: &App) -> BTreeMap<String, MountedModel> {
    let found = app.spec.stored().filter_map(|(path, wanted)| {
        let mounted = kept(input, app, path, wanted).or_else(|| here(input, app, path, wanted))?;
        Some((path.to_owned(), mounted))
    });
    found.collect()
}

/// Why a model can't be mounted, and until when to wait for it.
pub(super) fn missing(input: &Input<'_>, app: &App) -> Option<Wait> {
    app.spec.stored().find_map(|(path, wanted)| {
        if kept(input, app, path, wanted).is_some() {
            return None;
        }
        let (message, until) = match input.state.models.get(path) {
            Some(ModelSeen::Here { .. }) => return None,
            Some(ModelSeen::Missing(why)) => (format!("{wanted} can't be mounted: {why}"), None),
            Some(ModelSeen::Unsettled { version, until }) => {
                let message = format!(
                    "{wanted} is {version}, which changed just now: it is mounted once it is left alone for a moment"
                );
                (message, Some(*until))
            }
            None => (format!("{wanted} was not looked for"), None),
        };
        let until = until.or(Some(input.now + times::SOON * 30));
        Some(Wait { reason: Reason::ModelMissing, message, until })
    })
}

/// Says which newer versions are not mounted.
pub(super) fn remark(input: &Input<'_>, app: &App, plan: &mut Plan) {
    for (path, wanted) in app.spec.stored() {
        let Some(mounted) = mounted_at(input, app, path, wanted) else { continue };
        let Some(ModelSeen::Here { version, digest }) = input.state.models.get(path) else {
            continue;
        };
        let is_kept = mounted.version != *version || mounted.digest != *digest;
        if is_kept && !app.spec.models.at.contains_key(path) {
            plan.remarks.push(format!(
                "{wanted} is {version} (sha256:{}) now; {} stays: `models.follow` is false",
                digest.short(12),
                mounted.version
            ));
        }
    }
}

fn mounted_at(input: &Input<'_>, app: &App, path: &str, wanted: &ModelRef) -> Option<MountedModel> {
    kept(input, app, path, wanted).or_else(|| here(input, app, path, wanted))
}

fn here(input: &Input<'_>, app: &App, path: &str, wanted: &ModelRef) -> Option<MountedModel> {
    let Some(ModelSeen::Here { version, digest }) = input.state.models.get(path) else {
        return None;
    };
    let mut mounted = MountedModel {
        model: wanted.name(),
        version: version.clone(),
        file: wanted.file.clone(),
        digest: digest.clone(),
        // Only where it decides what is kept does another way to name the same matter.
        reference: (!app.spec.models.follow).then(|| wanted.clone()),
        source: String::new(),
    };
    mounted.source = shape::model_path(input.policy, &mounted);
    Some(mounted)
}

/// What the app runs with, where it keeps that whatever the reference means by now.
fn kept(input: &Input<'_>, app: &App, path: &str, wanted: &ModelRef) -> Option<MountedModel> {
    if app.spec.models.follow || app.spec.models.at.contains_key(path) {
        return None;
    }
    let bad = input.state.bad_revision.as_ref().map(|bad| &bad.spec_hash);
    let mine = input.containers();
    let mut mine = mine.iter().rev().filter(|container| {
        let hash = container.ownership.owner().map(|owner| &owner.spec_hash);
        bad.is_none() || hash != bad
    });
    let mut kept = mine.find_map(|container| {
        let mut all = models_of(container);
        all.remove(path).filter(|mounted| mounted.reference.as_ref() == Some(wanted))
    })?;
    kept.source = shape::model_path(input.policy, &kept);
    Some(kept)
}
