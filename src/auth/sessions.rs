//! Sessions of the page: begun with a token, kept in memory, ended by time, by sign-out, or with
//! their token.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Kept, random_text};
use crate::model::{Digest, Timestamp};

/// After how long without a request a session ends.
const IDLE: Duration = Duration::from_mins(30);
/// After how long it ends in any case.
const LIFE: Duration = Duration::from_hours(12);
/// How many are kept; the one that was used longest ago makes room.
const SESSIONS_MAX: usize = 1024;
const ID_LENGTH: usize = 43;
/// How long a form may lie open before it is sent.
const FORM_LIFE_MS: i64 = 3_600_000;

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The fingerprint of the token that began it.
    pub token: String,
    began: Timestamp,
    used: Timestamp,
}

/// All sessions.
pub struct Sessions {
    /// By the digest of their ids: a copy of this memory opens nothing.
    all: Mutex<BTreeMap<Digest, Session>>,
    /// What forms are signed with.
    key: String,
}

impl Sessions {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { all: Mutex::default(), key: random_text(ID_LENGTH)? })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one for the bearer of a token. Answers its id, which the browser keeps.
    pub fn begin(&self, kept: &Kept, now: Timestamp) -> io::Result<String> {
        let id = random_text(ID_LENGTH)?;
        let mut all = self.lock();
        all.retain(|_, session| session.is_alive(now));
        if SESSIONS_MAX <= all.len() {
            let oldest = all.iter().min_by_key(|(_, session)| session.used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        let session = Session { token: kept.fingerprint(), began: now, used: now };
        all.insert(Digest::of_bytes(id.as_bytes()), session);
        Ok(id)
    }

    /// The session of this id, while it lasts; it was used now.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Session> {
        let key = Digest::of_bytes(id.as_bytes());
        let mut all = self.lock();
        let session = all.get_mut(&key)?;
        if !session.is_alive(now) {
            all.remove(&key);
            return None;
        }
        session.used = session.used.max(now);
        Some(session.clone())
    }

    /// Ends one.
    pub fn end(&self, id: &str) {
        self.lock().remove(&Digest::of_bytes(id.as_bytes()));
    }

    /// What a form holds so that no other site can send it: bound to what the browser has, and
    /// to the hour.
    pub fn form_token(&self, bound_to: &str, now: Timestamp) -> String {
        self.form_token_of(bound_to, now.as_millis() / FORM_LIFE_MS)
    }

    /// Whether a form's token is ours, of this hour or the one before.
    pub fn is_form_token(&self, text: &str, bound_to: &str, now: Timestamp) -> bool {
        let hour = now.as_millis() / FORM_LIFE_MS;
        let wanted = [hour, hour - 1].map(|hour| self.form_token_of(bound_to, hour));
        let is = |wanted: &String| {
            subtle::ConstantTimeEq::ct_eq(wanted.as_bytes(), text.as_bytes()).into()
        };
        wanted.iter().any(is)
    }

    fn form_token_of(&self, bound_to: &str, hour: i64) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()) else {
            return String::new();
        };
        mac.update(format!("{hour} {bound_to}").as_bytes());
        Digest::of_bytes(&mac.finalize().into_bytes()).as_str().to_owned()
    }
}

impl Session {
    fn is_alive(&self, now: Timestamp) -> bool {
        now.since(self.used) < IDLE && now.since(self.began) < LIFE
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sessions", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{New, Role, Tokens};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

    fn kept() -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let (name, role) = ("a".to_owned(), Role::Viewer);
        let new = New { name, role, expires: None, scopes: Vec::new() };
        Tokens::new(folder.path()).create(new, NOW).unwrap().kept
    }

    #[test]
    fn a_session_ends_by_silence_by_age_and_by_sign_out() {
        let (sessions, kept) = (Sessions::new().unwrap(), kept());
        let id = sessions.begin(&kept, NOW).unwrap();
        assert_eq!(sessions.find(&id, NOW).unwrap().token, kept.fingerprint());
        assert!(sessions.find("other", NOW).is_none());
        let silent = sessions.begin(&kept, NOW).unwrap();
        let mut now = NOW;
        while now.since(NOW) + IDLE < LIFE {
            now = now + Duration::from_mins(29);
            assert!(sessions.find(&id, now).is_some());
        }
        assert!(sessions.find(&silent, now).is_none());
        assert!(sessions.find(&id, NOW + LIFE).is_none());
        let id = sessions.begin(&kept, NOW).unwrap();
        sessions.end(&id);
        assert!(sessions.find(&id, NOW).is_none());
    }

    #[test]
    fn sessions_are_bounded() {
        let (sessions, kept) = (Sessions::new().unwrap(), kept());
        let first = sessions.begin(&kept, NOW).unwrap();
        for number in 0..i64::try_from(SESSIONS_MAX).unwrap() {
            sessions.begin(&kept, NOW.moved(number + 1)).unwrap();
        }
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
        assert!(sessions.find(&first, NOW).is_none());
    }

    /// Fault H02.
    #[test]
    fn a_form_is_good_for_who_got_it_and_for_a_while() {
        let sessions = Sessions::new().unwrap();
        let text = sessions.form_token("a", NOW);
        assert!(sessions.is_form_token(&text, "a", NOW + Duration::from_mins(59)));
        assert!(!sessions.is_form_token(&text, "b", NOW));
        assert!(!sessions.is_form_token(&text, "a", NOW + Duration::from_hours(2)));
        assert!(!sessions.is_form_token("", "a", NOW));
        assert!(!Sessions::new().unwrap().is_form_token(&text, "a", NOW), "another boot");
    }
}
