//! Vulnerabilities within a pass: asked for before the plan, told after it.

use super::Reconciler;
use crate::plan::{Input, Plan};
use crate::state::Scans;

impl Reconciler {
    /// What is known of the images; nothing where no database is.
    pub(super) fn scanned(&self) -> Option<Scans> {
        self.scans.as_ref().map(|book| book.seen())
    }

    /// Has the image of the wanted version looked through.
    pub(super) fn note_image(&self, input: &Input<'_>, plan: &Plan) {
        let Some((book, version)) = self.scans.as_ref().zip(plan.version.as_ref()) else { return };
        book.want(input.app, &version.image_id);
    }
}
