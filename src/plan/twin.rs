//! Equal inputs are built once, whatever apps they are for: an image that another app has is made
//! this app's own by labels alone.

use serde_json::Value;

use super::Recipe;
use crate::model::{AppName, Digest};
use crate::state::World;

/// An image of another app that was built from the same inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Its id.
    pub id: String,
    /// The app that it was built for.
    pub app: AppName,
}

impl Recipe {
    /// What the image is made from, without whom it is for and how often that was asked for: equal
    /// for all apps whose builds give the same.
    pub fn inputs(&self) -> Digest {
        let mut value = serde_json::to_value(self.identity()).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.remove("app");
            fields.remove("rebuilds");
        }
        Digest::of_value(&value)
    }

    /// Whether an image of another app may stand for the one that this would build. What a secret
    /// was worth at that time nobody knows, and who asks for a build from scratch gets one.
    pub fn may_be_shared(&self) -> bool {
        !self.is_from_scratch && self.secrets.is_empty()
    }
}

/// The newest image of another app that was built from the same inputs.
pub(super) fn twin(recipe: &Recipe, world: &World) -> Option<Twin> {
    if !recipe.may_be_shared() {
        return None;
    }
    let inputs = recipe.inputs();
    let is_it = |image: &&crate::state::OwnImage| {
        image.app != recipe.app && image.inputs.as_ref() == Some(&inputs)
    };
    let newest = world.own_images.iter().filter(is_it).max()?;
    Some(Twin { id: newest.id.clone(), app: newest.app.clone() })
}
