//! How much a project may have: one rule for uploads, commits and what comes back from the trash.

use super::{Error, Store, entry::Entry, name::Key};

/// What models take: how many they are, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    count: usize,
    bytes: u64,
}

impl Room {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn of<'a>(all: impl Iterator<Item = &'a Entry>) -> Self {
        let mut room = Self::default();
        all.for_each(|entry| room.add(entry.size));
        room
    }
}

impl Store {
    /// Whether a project has room for a model of so many bytes, in the place of what is there.
    pub(super) fn check_room(&self, key: &Key, size: u64) -> Result<(), Error> {
        let mut more = Room::default();
        more.add(size);
        let less = Room::of(self.index.get(key).iter().map(|entry| &**entry));
        self.check_total(&key.project, more, less)
    }

    /// Whether a project has room for some models, when others go.
    pub(super) fn check_total(&self, project: &str, more: Room, less: Room) -> Result<(), Error> {
        let (most, max) = (self.settings.project_models_max, self.settings.project_max);
        if most.is_none() && max.is_none() {
            return Ok(());
        }
        let all = self.index.of_project(project);
        let all = Room::of(all.iter().map(|entry| &**entry));
        let count = all.count.saturating_sub(less.count);
        let used = all.bytes.saturating_sub(less.bytes);
        // Who makes it smaller may, also where it has too much already.
        if let Some(most) =
            most.filter(|most| less.count < more.count && *most < count + more.count)
        {
            return Err(Error::TooLarge(format!(
                "the project `{project}` may have {most} models, and has {count} without {}",
                what(more)
            )));
        }
        let Some(max) = max else { return Ok(()) };
        if less.bytes < more.bytes && max < used.saturating_add(more.bytes) {
            return Err(Error::TooLarge(format!(
                "the project `{project}` may have {max} bytes, and has {used} without {}",
                what(more)
            )));
        }
        Ok(())
    }
}

impl Store {
    /// Whether so much more may be on its way into a project: before a commit names it, it is no
    /// model, and may be as much as all models together.
    pub fn check_coming(&self, project: &str, more: u64) -> Result<(), Error> {
        let Some(max) = self.settings.project_max else { return Ok(()) };
        let coming = self.coming_bytes(project);
        if max < coming.saturating_add(more) {
            return Err(Error::TooLarge(format!(
                "the project `{project}` may have {max} bytes on their way to commits, and has {coming}"
            )));
        }
        Ok(())
    }
}

fn what(more: Room) -> &'static str {
    if more.count == 1 { "this model" } else { "these" }
}
