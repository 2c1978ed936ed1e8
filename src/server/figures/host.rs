//! What Berth takes of the host: images and disks.

use std::path::Path;

use super::Figures;
use crate::record::Overview;
use crate::state::World;
use crate::telemetry::{
    Exposed,
    text::{Family, whole},
};

/// The host, as far as Berth fills it.
pub(super) struct Host<'a> {
    pub(super) figures: &'a Figures,
    pub(super) overview: &'a Overview,
    pub(super) world: Option<&'a World>,
}

impl Exposed for Host<'_> {
    fn write(&self, out: &mut String) {
        if let Some(world) = self.world {
            let images = &world.own_images;
            let help = "Images that Berth built and that are still there.";
            Family::gauge(out, "berth_images", help).sample(&[], whole(images.len() as u64));
            let bytes: u64 = images.iter().map(|image| image.size).sum();
            let help = "Bytes of these images; layers that several share are counted for each.";
            Family::gauge(out, "berth_images_bytes", help).sample(&[], whole(bytes));
        }
        let images = self.overview.engine.as_ref().and_then(|about| about.root());
        let images = images.filter(|_| self.figures.is_engine_local);
        let images = images.map(|root| ("images", root));
        let folders = self.figures.disks.iter().map(|(what, folder)| (*what, folder.as_path()));
        let disks: Vec<_> = folders.chain(images).filter_map(disk).collect();
        let help = "Bytes that may still be written to the disk of this folder.";
        let mut family = Family::gauge(out, "berth_disk_free_bytes", help);
        for (what, free, _) in &disks {
            family.sample(&[("folder", what)], whole(*free));
        }
        let help = "Bytes of the disk of this folder.";
        let mut family = Family::gauge(out, "berth_disk_size_bytes", help);
        for (what, _, size) in &disks {
            family.sample(&[("folder", what)], whole(*size));
        }
    }
}

/// What is free and what there is; none when nobody can tell.
fn disk((what, folder): (&'static str, &Path)) -> Option<(&'static str, u64, u64)> {
    let seen = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(seen.f_frsize);
    Some((what, bytes(seen.f_bavail), bytes(seen.f_blocks)))
}
