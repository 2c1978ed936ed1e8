//! What a person asks of an app, as notes for its next pass.

use super::ledger::Facts;
use crate::state::{Request, WorkKind};

impl Facts {
    /// Somebody asks for this. What a pass has under way, of the same kind, does not answer it.
    pub fn ask(&mut self, request: Request) {
        self.request = Some(request);
        self.asks += 1;
    }

    /// What was asked for with this number was done. What was asked for later is not.
    pub fn answer(&mut self, request: Request, number: u64) {
        if self.request == Some(request) && self.asks == number {
            (self.request, self.restarting) = (None, None);
        }
    }

    /// What failed is tried again; where nothing did, or the repository could not be had, that is
    /// looked at: not what somebody else was told of it a moment ago.
    pub fn try_again(&mut self) {
        let has_failed = !self.failures.is_empty() || self.bad_revision.is_some();
        let is_fetch = !has_failed || self.failures.contains_key(&WorkKind::Fetch);
        self.failures.clear();
        self.ask(if is_fetch { Request::Fetch } else { Request::Retry });
        self.bad_revision = None;
    }

    /// Somebody pushed to its repository: that is looked at. What a person asked for stays so.
    pub fn look_at_pushed(&mut self) {
        if self.request.is_none_or(|request| request == Request::Fetch) {
            self.ask(Request::Fetch);
        }
        self.checked_at = None;
    }

    /// What the name of the app's image means is looked up again.
    pub fn look_up_again(&mut self) {
        if let Some(known) = self.resolved.as_mut() {
            known.generation = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_meanwhile_stays_asked_for() {
        let mut facts = Facts::default();
        facts.ask(Request::Restart);
        let number = facts.asks;
        facts.ask(Request::Restart);
        facts.answer(Request::Restart, number);
        assert_eq!(facts.request, Some(Request::Restart));
        facts.answer(Request::Retry, facts.asks);
        assert_eq!(facts.request, Some(Request::Restart));
        facts.answer(Request::Restart, facts.asks);
        assert_eq!(facts.request, None);
    }

    /// A push during a fetch is looked at after it, and takes the place of nothing that a person
    /// asked for.
    #[test]
    fn a_push_counts_anew_and_leaves_what_a_person_asked_for() {
        let mut facts = Facts::default();
        facts.look_at_pushed();
        let number = facts.asks;
        facts.look_at_pushed();
        facts.answer(Request::Fetch, number);
        assert_eq!(facts.request, Some(Request::Fetch));
        facts.ask(Request::Restart);
        let number = facts.asks;
        facts.look_at_pushed();
        assert_eq!((facts.request, facts.asks), (Some(Request::Restart), number));
    }
}
