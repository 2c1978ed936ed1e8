//! A certificate that Berth signs itself, for a first try: made once, and kept.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    x509::{
        X509Builder, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};

use super::pair::Error;
use crate::model::Timestamp;

/// How long it is good: nobody but those who trust it by hand does.
const DAYS: i64 = 730;
/// An hour, for clocks that are behind.
const BEFORE_SECS: i64 = 3600;
/// How many names a certificate has at most.
const NAMES_MAX: usize = 64;

/// The certificate and key in `folder`; they are made when they are not there.
pub(super) fn files(
    folder: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<(PathBuf, PathBuf), Error> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !(cert.exists() && key.exists()) {
        let wrong = |source| Error::Keep { path: folder.to_owned(), source };
        let (cert_text, key_text) = make(&all_names(names), now)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        // The certificate comes last: where it is, the key is too.
        keep(&key, &key_text, 0o600).map_err(wrong)?;
        keep(&cert, &cert_text, 0o644).map_err(wrong)?;
    }
    Ok((cert, key))
}

fn keep(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// By what this machine is reached, as far as it knows itself.
fn all_names(more: &[String]) -> BTreeSet<String> {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fib = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let inet6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let addresses = v4(&fib).into_iter().map(IpAddr::V4).chain(v6(&inet6).map(IpAddr::V6));
    let usual = ["localhost", "127.0.0.1", "::1", hostname.trim()].map(str::to_owned);
    let mut names: BTreeSet<_> = usual.into_iter().filter(|name| !name.is_empty()).collect();
    names.extend(more.iter().cloned());
    for address in addresses {
        if names.len() < NAMES_MAX {
            names.insert(address.to_string());
        }
    }
    names
}

/// The addresses in the kernel's table of routes (`/proc/net/fib_trie`): each stands above the line
/// that says that it is local.
fn v4(table: &str) -> BTreeSet<Ipv4Addr> {
    let lines: Vec<_> = table.lines().map(str::trim).collect();
    let local = lines.windows(2).filter(|pair| pair[1].starts_with("/32 host LOCAL"));
    local.filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok()).collect()
}

/// The addresses in `/proc/net/if_inet6` that need no interface to be named with them.
fn v6(table: &str) -> impl Iterator<Item = Ipv6Addr> + '_ {
    table.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        (!address.is_unicast_link_local()).then_some(address)
    })
}

/// A certificate and its key, as PEM.
fn make(names: &BTreeSet<String>, now: Timestamp) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "berth (self-signed)")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&key)?;
    let now = now.as_millis() / 1000;
    builder.set_not_before(&*Asn1Time::from_unix(now - BEFORE_SECS)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + DAYS * 86_400)?)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(_) => alternatives.ip(name),
            Err(_) => alternatives.dns(name),
        };
    }
    let alternatives = alternatives.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(alternatives)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build().to_pem()?, key.private_key_to_pem_pkcs8()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::pair::Pair;
    use super::*;

    #[test]
    fn it_is_made_once_for_the_names_of_this_machine_and_its_key_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("tls");
        let now = Timestamp::from_millis(1_764_547_200_000);
        let names = ["berth.example.com".to_owned()];
        let (cert, key) = files(&folder, &names, now).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&folder)), (0o600, 0o700));
        let about = Pair::read(&cert, &key).unwrap().about;
        for name in ["localhost", "127.0.0.1", "::1", "berth.example.com"] {
            assert!(about.names.iter().any(|known| known == name), "{name}: {about:?}");
        }
        let days = about.to.since(about.from).as_secs() / 86_400;
        assert!((729..=731).contains(&days), "{days}");
        files(&folder, &["other.example.com".to_owned()], now).unwrap();
        assert_eq!(Pair::read(&cert, &key).unwrap().about, about);
    }

    #[test]
    fn addresses_are_read_from_the_kernel_s_tables() {
        let table = "Local:\n  +-- 10.0.0.0/8 2 0 2\n     |-- 10.0.0.0\n        /8 link UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.255.255.255\n        /32 link BROADCAST\n";
        assert_eq!(v4(table), BTreeSet::from([Ipv4Addr::new(10, 1, 2, 3)]));
        let table = "fe800000000000000000000000000001 02 40 20 80 eth0\n20010db8000000000000000000000007 02 40 00 80 eth0\nx\n";
        assert_eq!(v6(table).collect::<Vec<_>>(), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
    }
}
