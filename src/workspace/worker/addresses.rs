//! Which addresses a repository may have (fault G05).
//!
//! A host is looked up and checked before anything is said to it. The library looks it up once
//! more to connect, and a name may have changed meanwhile: so what it connected to is checked
//! too, before a login is sent, and before what came is believed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
};

use crate::workspace::{access::Approach, address::Host, error::Error};

/// Where clouds give their credentials away, beside the link-local addresses.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Never,
    Loopback,
    Private,
    Public,
}

/// Refuses hosts whose addresses the operator does not allow.
pub(in crate::workspace) fn check(
    approach: &Approach,
    url: &str,
    shown: &str,
) -> Result<(), Error> {
    let host = Host::of(url);
    // The proxy looks names up, and may know others than this machine does.
    let is_number = host.name.parse::<IpAddr>().is_ok();
    if has_proxy() && host.scheme != "ssh" && !is_number && host.name != "localhost" {
        return check_plain(approach, &host, shown, false);
    }
    // What can't be resolved is told by the library, in the same words as ever.
    let Ok(found) = (host.name.as_str(), host.port()).to_socket_addrs() else { return Ok(()) };
    let found: Vec<_> = found.collect();
    for address in &found {
        judge(approach, &host.name, address.ip())
            .map_err(|message| Error::NotAllowed { url: shown.to_owned(), message })?;
    }
    let is_near = found.iter().all(|address| kind(address.ip()) != Kind::Public);
    check_plain(approach, &host, shown, is_near)
}

/// Without encryption everybody on the way could put another program in the place of the app.
fn check_plain(approach: &Approach, host: &Host, shown: &str, is_near: bool) -> Result<(), Error> {
    if host.scheme != "http" || approach.is_plain_allowed || is_near {
        return Ok(());
    }
    let message = "plain http is used within private networks only: write https://…, or have the \
                   operator add `http` to `git-schemes`"
        .to_owned();
    Err(Error::NotAllowed { url: shown.to_owned(), message })
}

/// Whether an address may be spoken to; else, why not.
pub(in crate::workspace) fn judge(
    approach: &Approach,
    name: &str,
    address: IpAddr,
) -> Result<(), String> {
    match kind(address) {
        Kind::Public => Ok(()),
        Kind::Private if approach.is_private_allowed => Ok(()),
        Kind::Loopback if approach.is_loopback_allowed => Ok(()),
        Kind::Never => Err(format!("{address} is not the address of a repository")),
        Kind::Private => Err(format!(
            "`{name}` is at {address}, in a private network: the operator allows that with \
             `git-private-addresses`, or by naming the host in `git-hosts`"
        )),
        Kind::Loopback => Err(format!(
            "`{name}` is this machine ({address}): the operator allows that with \
             `allow-local-git`, or by naming the host in `git-hosts`"
        )),
    }
}

/// Checks what this process is connected to.
pub(super) fn check_connected(approach: &Approach, host: &Host) -> Result<(), String> {
    if has_proxy() && host.scheme != "ssh" {
        return Ok(());
    }
    connected().into_iter().try_for_each(|peer| judge(approach, &host.name, peer.ip()))
}

fn kind(address: IpAddr) -> Kind {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        return Kind::Never;
    }
    if address.is_loopback() {
        return Kind::Loopback;
    }
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            match v4 {
                _ if v4.is_link_local() || v4.is_multicast() || first == 0 || 240 <= first => {
                    Kind::Never
                }
                _ if v4.is_private() || is_shared => Kind::Private,
                _ => Kind::Public,
            }
        }
        IpAddr::V6(v6) => match v6.segments() {
            _ if v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() => {
                Kind::Never
            }
            // Translated addresses are what they stand for.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let number = (u32::from(high) << 16) | u32::from(low);
                kind(IpAddr::V4(Ipv4Addr::from(number)))
            }
            _ if v6.is_unique_local() => Kind::Private,
            _ => Kind::Public,
        },
    }
}

/// Whether the environment names a proxy.
pub(in crate::workspace) fn has_proxy() -> bool {
    std::env::vars().any(|(name, value)| {
        name.to_ascii_lowercase().ends_with("s_proxy") && !value.is_empty()
            || name.eq_ignore_ascii_case("http_proxy") && !value.is_empty()
    })
}

/// The other ends of this process's TCP connections, as the kernel lists them.
fn connected() -> Vec<SocketAddr> {
    let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let own: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok())
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| peers(&table, &own))
        .collect()
}

/// The remote addresses of the sockets with these inodes, from one of the kernel's tables.
fn peers(table: &str, inodes: &[String]) -> Vec<SocketAddr> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(9).is_some_and(|inode| inodes.iter().any(|own| own == inode)))
        .filter_map(|row| peer(row.get(2)?))
        .filter(|peer| peer.port() != 0)
        .collect()
}

/// An address as the kernel writes it: words in the machine's order, in hexadecimal.
fn peer(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Kind {
        kind(text.parse().unwrap())
    }

    /// Fault G05.
    #[test]
    fn the_metadata_addresses_of_clouds_are_off_limits() {
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "::",
            "224.0.0.1",
        ] {
            assert_eq!(of(bad), Kind::Never, "{bad}");
        }
    }

    #[test]
    fn addresses_are_sorted_by_who_can_have_them() {
        for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(own), Kind::Loopback, "{own}");
        }
        for near in
            ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "64:ff9b::a00:1"]
        {
            assert_eq!(of(near), Kind::Private, "{near}");
        }
        for far in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            assert_eq!(of(far), Kind::Public, "{far}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_told_with_the_option_that_allows_it() {
        let strict = Approach::default();
        let told = |url: &str, approach: &Approach| match check(approach, url, "shown") {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(told("https://192.168.1.5/a", &strict).contains("`git-private-addresses`"));
        assert!(told("ssh://git@10.0.0.5/a", &strict).contains("`git-private-addresses`"));
        assert!(told("https://localhost/a", &strict).contains("`allow-local-git`"));
        assert!(told("https://[::1]:3000/a", &strict).contains("`allow-local-git`"));
        assert!(told("http://192.0.2.1/a", &strict).contains("`git-schemes`"));
        assert_eq!(told("https://192.0.2.1/a", &strict), "ok");
        let near = Approach { is_private_allowed: true, ..Approach::default() };
        assert_eq!(told("http://192.168.1.5/a", &near), "ok");
        assert!(told("http://127.0.0.1/a", &near).contains("this machine"));
    }

    /// A name may lead elsewhere by the time that it is used (fault G05).
    #[test]
    fn the_kernel_says_what_we_are_connected_to() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(host) else { continue };
            let address = listener.local_addr().unwrap();
            assert!(!connected().contains(&address));
            let stream = std::net::TcpStream::connect(address).unwrap();
            assert!(connected().contains(&address), "{address}");
            let here = Host::of("https://h.example/a");
            let told = check_connected(&Approach::default(), &here).unwrap_err();
            assert!(told.contains("`h.example` is this machine"), "{told}");
            drop(stream);
        }
    }
}
