//! Which hosts Berth itself asks for what is not git: the rules for the hosts of repositories.

use std::net::IpAddr;

use super::{
    access::{Access, Approach, Rules},
    address::Host,
    error::redact,
    worker::addresses,
};

/// Who may be asked (faults G05, T12).
#[derive(Clone, Debug)]
pub struct Reach(Access);

/// Nobody near.
impl Default for Reach {
    fn default() -> Self {
        Self(Access { is_private_allowed: false, is_loopback_allowed: false, ..Access::default() })
    }
}

impl Reach {
    /// The operator's rules for repositories.
    pub fn of(access: Access) -> Self {
        Self(access)
    }

    fn approach(&self, host: &Host) -> (Rules, Approach) {
        let rules = self.0.rules();
        (rules.clone(), Approach::default().under(rules, host))
    }

    /// Whether this address may be asked; else, why not.
    ///
    /// # Errors
    /// What speaks against it, with the option that allows it.
    pub fn check(&self, url: &str) -> Result<(), String> {
        let host = Host::of(url);
        if !matches!(host.scheme.as_str(), "http" | "https") || host.name.is_empty() {
            return Err("write http://… or https://…".to_owned());
        }
        let shown = Self::shown(url);
        let (rules, approach) = self.approach(&host);
        rules.check(&host, &shown).map_err(|error| error.to_string())?;
        addresses::check(&approach, url, &shown).map_err(|error| error.to_string())
    }

    /// Whether what a name was found to be may be connected to.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn judge(&self, name: &str, address: IpAddr) -> Result<(), String> {
        let host = Host { scheme: "https".to_owned(), name: name.to_owned(), port: None };
        addresses::judge(&self.approach(&host).1, name, address)
    }

    /// Whether both addresses are the same place: a login for one may be sent to the other.
    pub fn is_same_place(one: &str, other: &str) -> bool {
        Host::of(one).is_same_place(&Host::of(other))
    }

    /// An address without what only its owner should see.
    pub fn shown(url: &str) -> String {
        let shown = redact(url);
        shown.split(['?', '#']).next().unwrap_or_default().to_owned()
    }
}
