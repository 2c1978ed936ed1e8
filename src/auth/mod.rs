//! Who may do what: tokens, roles, scopes, sessions, trusted proxies, and what each route needs.
//!
//! # Guarantees
//! - A token is kept as its SHA-256 only, and compared in a time that says nothing (fault H04).
//! - A token file that can't be read lets nobody in.
//! - A scoped token reaches the model store of its projects and nothing else.

mod failures;
mod group;
mod proxy;
mod sessions;
mod token;
mod tokens;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use failures::Failures;
pub use group::Group;
pub use proxy::{Network, Proxy};
pub use sessions::{Session, Sessions};
pub use token::{Secret, looks_like_token, random_text};
pub use tokens::{Error, Kept, Made, New, Tokens, Verdict};

/// What somebody may do; each may also do what the ones before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Start, stop, apply, delete.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Viewer, Self::Operator, Self::Admin];
        let found = all.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| "write `viewer`, `operator` or `admin`".to_owned())
    }
}

/// Whether one reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Reads.
    Read,
    /// Writes, and reads.
    Write,
}

/// The part of the model store that a token is for: `store:PROJECT/*:read`, `store:*:write`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The project; none is every one.
    pub project: Option<String>,
    /// What may be done there.
    pub mode: Mode,
}

impl Scope {
    fn admits(&self, project: Option<&str>, mode: Mode) -> bool {
        let is_here = match (&self.project, project) {
            (None, _) => true,
            (Some(own), Some(asked)) => own == asked,
            (Some(_), None) => false,
        };
        is_here && mode <= self.mode
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == Mode::Read { "read" } else { "write" };
        match &self.project {
            Some(project) => write!(f, "store:{project}/*:{mode}"),
            None => write!(f, "store:*:{mode}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write `store:PROJECT/*:read`, or `write` to write too".to_owned();
        let rest = text.strip_prefix("store:").ok_or_else(wrong)?;
        let (what, mode) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let mode = match mode {
            "read" => Mode::Read,
            "write" => Mode::Write,
            _ => return Err(wrong()),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let project = match what {
            "*" | "*/*" => None,
            what => {
                let project = what.strip_suffix("/*").ok_or_else(wrong)?;
                if project.is_empty() || !project.chars().all(legal) || project.starts_with('.') {
                    return Err(wrong());
                }
                Some(project.to_owned())
            }
        };
        Ok(Self { project, mode })
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a route needs of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Public,
    /// A signature in the message, which its handler checks; no browser, no sign-in.
    Signature,
    /// This role.
    Role(Role),
    /// To look at figures: a viewer, or anybody when the operator says so.
    Metrics,
    /// The part of the model store that the path names.
    Store(Mode),
    /// Some part of the model store; the handler asks which.
    StorePart(Mode),
}

/// How somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nobody signs in here.
    Open,
    /// By a token.
    Token,
    /// By a session of the page, which a token began.
    Session,
    /// By a user of this machine, through the socket.
    Uid,
    /// By a proxy that is trusted.
    Proxy,
    /// By the signature of a webhook.
    Hook,
    /// By nothing.
    Nobody,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How that is known.
    pub kind: Kind,
    /// The token's name, the user, the uid.
    pub name: String,
    /// What that one may do; none for those that may do what is public.
    pub role: Option<Role>,
    /// To which parts of the model store it is limited; empty is not limited.
    pub scopes: Vec<Scope>,
}

/// Why somebody may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nobody has signed in.
    SignIn,
    /// A higher role is needed.
    Role(Role),
    /// The token is for something else.
    Scope,
}

impl Identity {
    /// Somebody that nothing is known of.
    pub fn nobody() -> Self {
        Self { kind: Kind::Nobody, name: String::new(), role: None, scopes: Vec::new() }
    }

    /// The same, where everybody may read these parts of the model store.
    pub fn anyone(open: &[Scope]) -> Self {
        let role = (!open.is_empty()).then_some(Role::Viewer);
        Self { role, scopes: open.to_vec(), ..Self::nobody() }
    }

    /// Whoever reaches a Berth where nobody signs in.
    pub fn open() -> Self {
        let name = "anyone on this machine".to_owned();
        Self { kind: Kind::Open, name, role: Some(Role::Admin), scopes: Vec::new() }
    }

    /// Whether this one may do what needs `needs`. `project` is the one that the path names.
    pub fn may(&self, needs: Needs, project: Option<&str>) -> Result<(), Denial> {
        let (role, mode) = match needs {
            Needs::Public | Needs::Signature => return Ok(()),
            Needs::Role(role) => (role, None),
            Needs::Metrics => (Role::Viewer, None),
            Needs::Store(mode @ Mode::Read) | Needs::StorePart(mode @ Mode::Read) => {
                (Role::Viewer, Some(mode))
            }
            Needs::Store(mode @ Mode::Write) | Needs::StorePart(mode @ Mode::Write) => {
                (Role::Operator, Some(mode))
            }
        };
        let Some(own) = self.role else { return Err(Denial::SignIn) };
        if !self.scopes.is_empty() {
            let is_some = matches!(needs, Needs::StorePart(_));
            let admits = |scope: &Scope, mode| {
                if is_some { mode <= scope.mode } else { scope.admits(project, mode) }
            };
            let is_in =
                mode.is_some_and(|mode| self.scopes.iter().any(|scope| admits(scope, mode)));
            // Who signs in may do more.
            let denial = if self.kind == Kind::Nobody { Denial::SignIn } else { Denial::Scope };
            return if is_in { Ok(()) } else { Err(denial) };
        }
        if own < role { Err(Denial::Role(role)) } else { Ok(()) }
    }

    /// The projects whose models this one may see; none is every one.
    pub fn projects(&self) -> Option<Vec<String>> {
        if self.scopes.is_empty() {
            return None;
        }
        self.scopes.iter().map(|scope| scope.project.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(role: Role, scopes: &[&str]) -> Identity {
        let scopes = scopes.iter().map(|text| text.parse().unwrap()).collect();
        Identity { kind: Kind::Token, name: "t".to_owned(), role: Some(role), scopes }
    }

    #[test]
    fn a_role_may_what_lower_ones_may_and_nothing_more() {
        let roles = [Role::Viewer, Role::Operator, Role::Admin];
        for own in roles {
            for needed in roles {
                let may = with(own, &[]).may(Needs::Role(needed), None);
                assert_eq!(may.is_ok(), needed <= own, "{own} for {needed}");
            }
        }
        assert_eq!(Identity::nobody().may(Needs::Metrics, None), Err(Denial::SignIn));
        assert_eq!(Identity::nobody().may(Needs::Public, None), Ok(()));
        let viewer = with(Role::Viewer, &[]);
        assert_eq!(viewer.may(Needs::Store(Mode::Read), Some("a")), Ok(()));
        let denied = Err(Denial::Role(Role::Operator));
        assert_eq!(viewer.may(Needs::Store(Mode::Write), Some("a")), denied);
    }

    #[test]
    fn a_scope_opens_its_project_and_closes_everything_else() {
        let scoped = with(Role::Admin, &["store:vision/*:read", "store:text/*:write"]);
        let read = Needs::Store(Mode::Read);
        let write = Needs::Store(Mode::Write);
        assert_eq!(scoped.may(read, Some("vision")), Ok(()));
        assert_eq!(scoped.may(write, Some("vision")), Err(Denial::Scope));
        assert_eq!(scoped.may(write, Some("text")), Ok(()));
        assert_eq!(scoped.may(read, Some("text")), Ok(()));
        assert_eq!(scoped.may(read, Some("visio")), Err(Denial::Scope));
        assert_eq!(scoped.may(read, None), Err(Denial::Scope));
        for needs in [Needs::Role(Role::Viewer), Needs::Role(Role::Admin), Needs::Metrics] {
            assert_eq!(scoped.may(needs, None), Err(Denial::Scope));
        }
        assert_eq!(with(Role::Viewer, &["store:*:read"]).may(read, None), Ok(()));
        // Of some part, the handler asks which.
        assert_eq!(scoped.may(Needs::StorePart(Mode::Write), None), Ok(()));
        let reader = with(Role::Admin, &["store:vision/*:read"]);
        assert_eq!(reader.may(Needs::StorePart(Mode::Write), None), Err(Denial::Scope));
        assert_eq!(reader.projects(), Some(vec!["vision".to_owned()]));
        assert_eq!(with(Role::Viewer, &["store:vision/*:read", "store:*:read"]).projects(), None);
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for text in ["store:vision/*:read", "store:*:write", "store:a-b_c.d/*:write"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for bad in ["", "store:", "store:a:read", "store:a/*", "store:a/*:rw", "apps:a/*:read"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        for bad in ["store:/*:read", "store:../*:read", "store:a/b/*:read", "store:é/*:read"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
