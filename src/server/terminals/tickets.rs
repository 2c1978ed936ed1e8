//! Tickets: what was allowed a moment ago, once, to one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;

use crate::auth::{Identity, random_text};
use crate::engine::terminal::Asked;
use crate::model::{AppName, Timestamp};
use crate::server::{access::Client, problem::Problem};
use crate::state::ContainerId;

/// How long a ticket is good: a client opens the websocket right away.
pub(super) const LIFE: Duration = Duration::from_secs(30);
/// How many may wait, in all: each is a few hundred bytes.
const WAITING_MAX: usize = 64;
/// How many letters and digits a ticket has: 190 bits, which nobody guesses.
const LENGTH: usize = 32;

/// What somebody may do once.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) who: Identity,
    pub(super) client: Client,
    pub(super) app: AppName,
    pub(super) container: ContainerId,
    pub(super) asked: Asked,
}

/// The tickets that nobody has used yet.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<BTreeMap<String, (Timestamp, Ticket)>>);

impl Tickets {
    /// Keeps a ticket for its time; answers its id.
    pub(super) fn put(&self, ticket: Ticket, now: Timestamp) -> Result<String, Problem> {
        let id = random_text(LENGTH).map_err(|_| Problem::failed())?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (made, _)| is_good(*made, now));
        if WAITING_MAX <= all.len() {
            let detail = format!("{WAITING_MAX} terminals were asked for and not opened yet");
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(Problem::new(status, "terminal.full", "Too many terminals", detail));
        }
        all.insert(id.clone(), (now, ticket));
        Ok(id)
    }

    /// Takes a ticket that is good for `who`. One of somebody else stays, and is not spoken of.
    pub(super) fn take(&self, id: &str, who: &Identity, now: Timestamp) -> Option<Ticket> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (made, _)| is_good(*made, now));
        if all.get(id)?.1.who != *who {
            return None;
        }
        all.remove(id).map(|(_, ticket)| ticket)
    }
}

/// A clock that was set back must not make one good for longer.
fn is_good(made: Timestamp, now: Timestamp) -> bool {
    made <= now && now.since(made) < LIFE
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::auth::{Kind, Role};

    fn who(name: &str) -> Identity {
        let role = Some(Role::Operator);
        Identity { kind: Kind::Token, name: name.to_owned(), role, scopes: Vec::new() }
    }

    fn ticket(name: &str) -> Ticket {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ticket {
            who: who(name),
            client: Client { address, is_proxied: false, is_tls: false, user: None },
            app: AppName::new("chat").unwrap(),
            container: ContainerId::new("c"),
            asked: Asked {
                command: vec!["sh".to_owned()],
                has_terminal: true,
                has_input: true,
                size: None,
                mark: "m".to_owned(),
            },
        }
    }

    #[test]
    fn a_ticket_is_good_once_for_its_owner_and_not_for_long() {
        let (tickets, now) = (Tickets::default(), Timestamp::from_millis(1_000_000));
        let id = tickets.put(ticket("mover"), now).unwrap();
        assert!(tickets.take(&id, &who("other"), now).is_none(), "of somebody else");
        assert!(tickets.take("", &who("mover"), now).is_none());
        assert!(tickets.take(&id, &who("mover"), now.moved(29_999)).is_some());
        assert!(tickets.take(&id, &who("mover"), now.moved(29_999)).is_none(), "twice");
        for late in [30_000, -1] {
            let id = tickets.put(ticket("mover"), now).unwrap();
            assert!(tickets.take(&id, &who("mover"), now.moved(late)).is_none(), "{late}");
        }
    }

    #[test]
    fn so_many_wait_and_their_places_come_back() {
        let (tickets, now) = (Tickets::default(), Timestamp::from_millis(1_000_000));
        let put = |at| tickets.put(ticket("mover"), at);
        let ids: Vec<_> = (0..WAITING_MAX).map(|_| put(now).unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == LENGTH));
        assert_eq!(put(now).unwrap_err().status(), 429);
        assert!(put(now.moved(30_000)).is_ok());
    }
}
