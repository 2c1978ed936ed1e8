//! What an image's name means: found out once for each generation of a manifest, and kept. A tag
//! that moves changes nothing by itself (fault D40).

use super::{Input, shape, shape::Image};
use crate::model::{App, ImageRef, PullPolicy, SpecHash};
use crate::state::{Container, ContainerState, Resolved};

/// What the name of an app's image means.
pub(super) enum Meaning {
    /// This image, and it is here.
    Known(Resolved),
    /// It has to be pulled, by this name and for this cause.
    Pull(ImageRef, String),
    /// It was known and is gone, and nothing brings it back.
    Gone(String),
}

pub(super) fn meaning(
    input: &Input<'_>,
    app: &App,
    reference: &ImageRef,
    pull: PullPolicy,
) -> Meaning {
    let state = input.state;
    let known = state.resolved.as_ref().filter(|known| known.reference == reference.as_str());
    let here = input.world.image_id(reference.as_str());
    if pull == PullPolicy::Always && state.pulled_generation != Some(state.generation) {
        let cause = match here {
            Some(_) => {
                format!("pullPolicy is Always and {reference} was not pulled for this generation")
            }
            None => format!("the engine does not have {reference}"),
        };
        return Meaning::Pull(reference.clone(), cause);
    }
    if let Some(known) = known.filter(|known| known.generation == state.generation) {
        return kept(input, known, reference, here);
    }
    let runs = known.is_none().then(|| running(input, app, reference)).flatten();
    let absent = || format!("the engine does not have {reference}");
    runs.as_deref().or(here).map_or_else(
        || Meaning::Pull(reference.clone(), absent()),
        |id| Meaning::Known(found(input, reference, id)),
    )
}

/// What the name was found to mean counts, as long as that is to be had.
fn kept(input: &Input<'_>, known: &Resolved, name: &ImageRef, here: Option<&str>) -> Meaning {
    // The list leaves out a nameless image that others were built on: what runs shows it.
    let runs = |c: &Container| c.image_id == known.id && c.state == ContainerState::Running;
    if input.world.has_image(&known.id) || input.world.containers.iter().any(runs) {
        let is_named = input.world.image_id(&known.reference) == Some(&known.id);
        let pinned = || input.world.pinned(&known.reference).filter(|_| is_named);
        let digest = known.digest.clone().or_else(|| pinned().map(ToOwned::to_owned));
        return Meaning::Known(Resolved { digest, ..known.clone() });
    }
    let digest = known.digest.as_deref();
    // The same content may be kept under another id: an engine can change how it stores images.
    if let Some(id) = digest.and_then(|digest| input.world.image_id(digest)) {
        return Meaning::Known(Resolved { id: id.to_owned(), ..known.clone() });
    }
    match (digest.and_then(|digest| ImageRef::parse(digest).ok()), here) {
        (Some(digest), _) => {
            let cause = format!("the image {digest}, which {name} meant, is not here any more");
            Meaning::Pull(digest, cause)
        }
        (None, Some(_)) => Meaning::Gone(format!(
            "the image {}, which {name} meant, is gone, and {name} is another one now: `berth rebuild {}` takes that, and so does a change of the manifest",
            short(&known.id),
            input.app
        )),
        (None, None) => {
            let cause = format!("the engine does not have {name}");
            Meaning::Pull(name.clone(), cause)
        }
    }
}

fn found(input: &Input<'_>, reference: &ImageRef, id: &str) -> Resolved {
    let is_named = input.world.image_id(reference.as_str()) == Some(id);
    let digest = is_named.then(|| input.world.pinned(reference.as_str())).flatten();
    Resolved {
        reference: reference.as_str().to_owned(),
        generation: input.state.generation,
        id: id.to_owned(),
        digest: digest.map(ToOwned::to_owned),
    }
}

/// The image of what runs, when nobody remembers what the name meant: of a Berth that did not keep
/// it, or whose record was lost. Nothing is restarted for that.
fn running(input: &Input<'_>, app: &App, reference: &ImageRef) -> Option<String> {
    let mut shape = shape::wanted(input, app, reference.as_str());
    let plain = SpecHash::of(&shape);
    let mut exact = |id: &str| {
        id.clone_into(&mut shape.image);
        SpecHash::of(&shape)
    };
    let mut is_it = |container: &&&Container| {
        let hash_of = container.ownership.owner().map(|owner| &owner.spec_hash);
        input.world.has_image(&container.image_id)
            && (hash_of == Some(&plain) || hash_of == Some(&exact(&container.image_id)))
    };
    let mine = input.containers();
    mine.iter().rev().find(|container| is_it(container)).map(|container| container.image_id.clone())
}

/// How a container is asked for that runs this image.
///
/// It is worded by the image's name, as ever, unless a container so worded runs another image, or
/// one that is worded by the id is there already: then the id makes the two different.
pub(super) fn image(input: &Input<'_>, app: &App, resolved: &Resolved) -> Image {
    let (name, id) = (&resolved.reference, &resolved.id);
    let mut shape = shape::wanted(input, app, name);
    let plain = SpecHash::of(&shape);
    id.clone_into(&mut shape.image);
    let exact = SpecHash::of(&shape);
    let mine = input.containers();
    let has = |hash: &SpecHash, is_fit: &dyn Fn(&Container) -> bool| {
        mine.iter().any(|container| {
            let owner = container.ownership.owner();
            owner.is_some_and(|owner| owner.spec_hash == *hash) && is_fit(container)
        })
    };
    let is_other = |c: &Container| c.image_id != *id && input.world.has_image(&c.image_id);
    let is_exact = has(&exact, &|_| true) || has(&plain, &is_other);
    let is_named = input.world.image_id(name) == Some(id);
    Image {
        reference: if is_exact { id.clone() } else { name.clone() },
        id: Some(id.clone()),
        asked_as: (!is_exact && !is_named).then(|| id.clone()),
        build: None,
        commit: None,
    }
}

/// An image's id, for people.
pub(super) fn short(id: &str) -> &str {
    let end = id.find(':').map_or(12, |at| at + 13);
    id.get(..end).unwrap_or(id)
}
