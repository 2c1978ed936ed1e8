//! Proxies that are trusted: where they are, and what they may say about who asks.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{Identity, Kind, Role};

/// A range of addresses, such as `10.0.0.0/8`; an address alone is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Whether the address is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write an address such as `10.0.0.7`, or a range such as `10.0.0.0/8`";
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(length) => length.parse().ok().filter(|n| *n <= longest).ok_or_else(wrong)?,
        };
        Ok(Self { address, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// What is trusted of which proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Where they are; none is no proxy.
    pub from: Vec<Network>,
    /// The header that names the user.
    pub user_header: String,
    /// The header that names the user's groups.
    pub groups_header: String,
    /// Which group has which role; `*` is every user.
    pub roles: Vec<(String, Role)>,
}

impl Proxy {
    /// Whether any proxy is trusted.
    pub fn is_used(&self) -> bool {
        !self.from.is_empty()
    }

    /// Whether this peer is one of them.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.has(peer))
    }

    /// The client's address: the nearest one that is not a trusted proxy. `forwarded` are the
    /// lines of `X-Forwarded-For`, in their order. Only what trusted proxies added counts.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer;
        let hops = forwarded.rev().flat_map(|line| line.rsplit(','));
        for hop in hops {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = address(hop.trim()) else { break };
            client = address;
        }
        client
    }

    /// Who a trusted proxy says asks. A name that no person could have is nobody.
    pub fn identity(&self, user: &str, groups: &str) -> Option<Identity> {
        let is_plain = |c: char| !c.is_control() && c.is_ascii();
        if user.is_empty() || 255 < user.len() || !user.chars().all(is_plain) {
            return None;
        }
        let groups: Vec<_> = groups.split(',').map(str::trim).filter(|g| !g.is_empty()).collect();
        let roles = self.roles.iter();
        let own = roles.filter(|(group, _)| group == "*" || groups.contains(&group.as_str()));
        let role = own.map(|(_, role)| *role).max();
        let (kind, name) = (Kind::Proxy, user.to_owned());
        Some(Identity { kind, name, role, scopes: Vec::new() })
    }
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        Proxy {
            from: ["10.0.0.0/8", "::1"].iter().map(|text| text.parse().unwrap()).collect(),
            user_header: "x-forwarded-user".to_owned(),
            groups_header: "x-forwarded-groups".to_owned(),
            roles: vec![
                ("*".to_owned(), Role::Viewer),
                ("ops".to_owned(), Role::Operator),
                ("root".to_owned(), Role::Admin),
            ],
        }
    }

    #[test]
    fn ranges_hold_what_is_in_them() {
        let has = |range: &str, address: &str| {
            range.parse::<Network>().unwrap().has(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.0.0.7", "10.0.0.7") && !has("10.0.0.7", "10.0.0.6"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    /// Fault H13: what a client itself wrote into the header counts for nothing.
    #[test]
    fn the_client_is_the_nearest_address_that_is_not_a_proxy() {
        let client = |peer: &str, forwarded: &[&str]| {
            proxy().client(peer.parse().unwrap(), forwarded.iter().copied()).to_string()
        };
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1", "it is no proxy");
        assert_eq!(client("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        for bad in [&["nonsense"][..], &[""], &[], &["1.1.1.1, nonsense"]] {
            assert_eq!(client("10.0.0.1", bad), "10.0.0.1", "{bad:?}");
        }
    }

    #[test]
    fn groups_have_roles_and_the_highest_counts() {
        let role = |groups: &str| proxy().identity("ada", groups).unwrap().role;
        assert_eq!(role(""), Some(Role::Viewer));
        assert_eq!(role("x, ops"), Some(Role::Operator));
        assert_eq!(role("ops,root"), Some(Role::Admin));
        assert_eq!(role("op,*"), Some(Role::Viewer));
        let closed = Proxy { roles: Vec::new(), ..proxy() };
        assert_eq!(closed.identity("ada", "root").unwrap().role, None);
        for bad in ["", "a\nb", "\u{1b}[2J", "é", &"a".repeat(256)] {
            assert_eq!(proxy().identity(bad, "root"), None, "{bad:?}");
        }
    }
}
