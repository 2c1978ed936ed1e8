//! Since when no manifest names an app: what it left behind is as old as that at most, however long
//! ago it was made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::ledger::{Facts, Ledger};
use crate::manifest;
use crate::model::{App, AppName, Timestamp};

impl Facts {
    /// The app as its last good manifest described it.
    pub fn last_app(&self, name: &AppName) -> Option<Arc<App>> {
        let (file, text) = self.last_good.as_ref()?;
        let reading = manifest::read_file(file, text.as_bytes());
        reading.apps.into_iter().find(|app| app.name == *name)
    }
}

impl Ledger {
    /// Takes note of which apps manifests name now, of those that there are or were. Both have to be
    /// known completely.
    pub fn note_named(
        &self,
        known: impl IntoIterator<Item = AppName>,
        is_named: impl Fn(&AppName) -> bool,
        now: Timestamp,
    ) {
        let mut inner = self.lock();
        let before = inner.gone.len();
        inner.gone.retain(|app, _| !is_named(app));
        let mut is_changed = inner.gone.len() != before;
        for app in known.into_iter().filter(|app| !is_named(app)) {
            inner.gone.entry(app).or_insert_with(|| {
                is_changed = true;
                now
            });
        }
        if is_changed {
            self.note_change(inner);
        }
    }

    /// Since when no manifest names these apps.
    pub fn gone(&self) -> BTreeMap<AppName, Timestamp> {
        self.lock().gone.clone()
    }

    /// Nothing is left of other apps than these.
    pub fn keep_gone(&self, left: &BTreeSet<AppName>) {
        let mut inner = self.lock();
        let before = inner.gone.len();
        inner.gone.retain(|app, _| left.contains(app));
        if inner.gone.len() != before {
            self.note_change(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_gone_since_it_was_first_missed_and_over_restarts() {
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let [chat, web] = ["chat", "web"].map(|name| AppName::new(name).unwrap());
        let both = || [chat.clone(), web.clone()];
        let ledger = Ledger::default();
        assert!(!serde_json::to_string(&ledger.kept()).unwrap().contains("gone"));
        ledger.note_named(both(), |app| *app == web, at(1));
        let (number, kept) = ledger.numbered();
        ledger.note_named(both(), |app| *app == web, at(2));
        assert_eq!(ledger.numbered().0, number, "nothing is written for the same again");
        let text = serde_json::to_string(&kept).unwrap();
        let ledger = Ledger::new(serde_json::from_str(&text).unwrap());
        assert_eq!(ledger.gone(), BTreeMap::from([(chat.clone(), at(1))]));
        // It is back for a moment, and what it left is young again.
        ledger.note_named([], |_| true, at(3));
        assert!(ledger.gone().is_empty());
        ledger.note_named(both(), |_| false, at(4));
        assert_eq!(ledger.gone().values().copied().collect::<Vec<_>>(), [at(4), at(4)]);
        ledger.keep_gone(&BTreeSet::from([web.clone()]));
        assert_eq!(ledger.gone().into_keys().collect::<Vec<_>>(), [web]);
        // What can't be read costs a longer wait, and nothing else.
        for other in ["{\"gone\": 7}", "{\"gone\": {\"chat\": \"x\", \"A B\": 1}}"] {
            let kept = serde_json::from_str(other).unwrap();
            assert!(Ledger::new(kept).gone().is_empty(), "{other}");
        }
    }
}
