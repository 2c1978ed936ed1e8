//! Who a host is, as `known_hosts` says (fault G03). Nothing is believed that is not written
//! there: neither the first key that a host shows nor a new one.

use std::{fs, io, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::workspace::{access::Approach, address::Host, error::Error, place};

/// What `known_hosts` says about a key.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is the host's.
    Known,
    /// The host has other keys: their fingerprints and lines.
    Other(Vec<(String, usize)>),
    /// It may never be used again.
    Revoked,
    /// Nothing is known about the host.
    Unknown,
}

/// Checks the key that a host showed.
pub(super) fn check(approach: &Approach, host: &Host, key: &[u8]) -> Result<(), Error> {
    let message = match verdict(&approach.known_hosts, host, key) {
        Verdict::Known => return Ok(()),
        Verdict::Unknown => unknown(approach, host, key),
        Verdict::Other(known) => changed(approach, host, key, &known),
        Verdict::Revoked => format!("it is marked as revoked ({})", fingerprint(key)),
    };
    Err(Error::HostKey { host: host.as_known(), message })
}

/// Writes down the keys of this host where the library looks, which makes it ask the host for one
/// of those that are known.
pub(super) fn prefer_known(area: &Path, approach: &Approach, host: &Host) -> io::Result<()> {
    let folder = area.join(place::HOME).join(".ssh");
    fs::create_dir_all(&folder)?;
    let mut text = String::new();
    for entry in entries(&approach.known_hosts, host).filter(|entry| entry.marker.is_none()) {
        text += &format!("{}\n", line(host, &entry.key));
    }
    fs::write(folder.join("known_hosts"), text)
}

/// What the keys of this host are for that are known, as the library names it.
pub(super) fn known_kinds(approach: &Approach, host: &Host) -> Vec<String> {
    let known = entries(&approach.known_hosts, host).filter(|entry| entry.marker.is_none());
    let kinds = known.flat_map(|entry| match algorithm(&entry.key).as_str() {
        "ssh-rsa" => ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"].map(ToOwned::to_owned).to_vec(),
        kind => vec![kind.to_owned()],
    });
    kinds.collect()
}

fn unknown(approach: &Approach, host: &Host, key: &[u8]) -> String {
    format!(
        "nothing is known about it. It is {} {}. When the host's owner confirms that, add it: \
         echo '{}' >> {}",
        algorithm(key),
        fingerprint(key),
        line(host, key),
        approach.known_hosts_path.display()
    )
}

fn changed(approach: &Approach, host: &Host, key: &[u8], known: &[(String, usize)]) -> String {
    let known: Vec<_> = known.iter().map(|(key, line)| format!("{key} (line {line})")).collect();
    format!(
        "it has CHANGED, so somebody may be in between, and nothing was sent. It is {} {}; known \
         is {}. When the host's owner confirms the new one, take the old lines out of {} and add: {}",
        algorithm(key),
        fingerprint(key),
        known.join(", "),
        approach.known_hosts_path.display(),
        line(host, key)
    )
}

fn verdict(text: &str, host: &Host, key: &[u8]) -> Verdict {
    let mut others = Vec::new();
    let mut is_known = false;
    for entry in entries(text, host) {
        match entry.marker {
            Some("@revoked") if entry.key == key => return Verdict::Revoked,
            // Certificates are not spoken by the library.
            Some(_) => {}
            None if entry.key == key => is_known = true,
            None => {
                let shown = format!("{} {}", algorithm(&entry.key), fingerprint(&entry.key));
                others.push((shown, entry.line));
            }
        }
    }
    match others {
        _ if is_known => Verdict::Known,
        others if others.is_empty() => Verdict::Unknown,
        others => Verdict::Other(others),
    }
}

/// A line about a host.
struct Entry<'a> {
    line: usize,
    marker: Option<&'a str>,
    key: Vec<u8>,
}

/// The lines that are about a host. What can't be read says nothing.
fn entries<'a>(text: &'a str, host: &'a Host) -> impl Iterator<Item = Entry<'a>> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        words.next().filter(|names| !names.starts_with('#') && fits(names, host))?;
        let _algorithm = words.next()?;
        let key = STANDARD.decode(words.next()?).ok()?;
        Some(Entry { line: number + 1, marker, key })
    })
}

/// Whether the first word of a line means this host.
fn fits(names: &str, host: &Host) -> bool {
    let name = host.as_known();
    if let Some(hashed) = names.strip_prefix("|1|") {
        return is_hash_of(hashed, &name);
    }
    let mut is_meant = false;
    for pattern in names.split(',') {
        let (is_not, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        if is_like(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
            if is_not {
                return false;
            }
            is_meant = true;
        }
    }
    is_meant
}

/// A name that is kept as a keyed hash: `salt|hash`.
fn is_hash_of(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&salt) else { return false };
    mac.update(name.as_bytes());
    mac.verify_slice(&hash).is_ok()
}

/// Whether `text` is like a pattern with `*` and `?`.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|at| is_like(rest, &text[at..])),
        (Some((b'?', rest)), Some((_, text))) => is_like(rest, text),
        (Some((one, rest)), Some((other, text))) => one == other && is_like(rest, text),
        _ => false,
    }
}

/// The line that makes a key known.
fn line(host: &Host, key: &[u8]) -> String {
    format!("{} {} {}", host.as_known(), algorithm(key), STANDARD.encode(key))
}

fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// What a key is for, which is how it begins. It comes from a stranger.
fn algorithm(key: &[u8]) -> String {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-@.".contains(byte);
    let name = || {
        let (length, rest) = key.split_first_chunk::<4>()?;
        let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let is_good = name.len() <= 64 && name.iter().all(legal);
        is_good.then(|| String::from_utf8_lossy(name).into_owned())
    };
    name().unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a host that does not exist; `other` differs in its last letter.
    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key() -> Vec<u8> {
        STANDARD.decode(KEY).unwrap()
    }

    fn judge(text: &str, url: &str) -> Verdict {
        verdict(text, &Host::of(url), &key())
    }

    #[test]
    fn a_host_is_known_by_its_lines() {
        for line in [
            format!("h.example ssh-ed25519 {KEY} a comment"),
            format!("x.example,h.example ssh-ed25519 {KEY}"),
            format!("*.example ssh-ed25519 {KEY}"),
            format!("# h.example\n\nH.example ssh-ed25519 {KEY}"),
        ] {
            assert_eq!(judge(&line, "git@h.example:a"), Verdict::Known, "{line}");
        }
        for line in [
            String::new(),
            format!("# h.example ssh-ed25519 {KEY}"),
            format!("other.example ssh-ed25519 {KEY}"),
            format!("!h.example,*.example ssh-ed25519 {KEY}"),
            format!("[h.example]:2222 ssh-ed25519 {KEY}"),
            format!("@cert-authority h.example ssh-ed25519 {KEY}"),
            "h.example ssh-ed25519 not-base64!".to_owned(),
        ] {
            assert_eq!(judge(&line, "git@h.example:a"), Verdict::Unknown, "{line}");
        }
        let other_port = format!("[h.example]:2222 ssh-ed25519 {KEY}");
        assert_eq!(judge(&other_port, "ssh://git@h.example:2222/a"), Verdict::Known);
        assert_eq!(
            judge(&other_port.replace(":2222", ":2223"), "ssh://h.example:2222/a"),
            Verdict::Unknown
        );
    }

    /// Made by `ssh-keygen -H`.
    #[test]
    fn a_hashed_name_is_found() {
        let salt = b"0123456789abcdef0123";
        let mut mac = Hmac::<Sha1>::new_from_slice(salt).unwrap();
        mac.update(b"h.example");
        let hash = STANDARD.encode(mac.finalize().into_bytes());
        let line = format!("|1|{}|{hash} ssh-ed25519 {KEY}", STANDARD.encode(salt));
        assert_eq!(judge(&line, "git@h.example:a"), Verdict::Known);
        assert_eq!(judge(&line, "git@i.example:a"), Verdict::Unknown);
        assert_eq!(judge(&line.replace("|1|", "|1||"), "git@h.example:a"), Verdict::Unknown);
    }

    /// Fault G03.
    #[test]
    fn another_key_than_the_known_one_is_seen_and_a_revoked_one_is_never_good() {
        let mut other = key();
        *other.last_mut().unwrap() ^= 1;
        let other = STANDARD.encode(other);
        let changed = judge(&format!("\nh.example ssh-ed25519 {other}"), "git@h.example:a");
        assert!(matches!(&changed, Verdict::Other(known) if known[0].1 == 2), "{changed:?}");
        let both = format!("h.example ssh-ed25519 {other}\nh.example ssh-ed25519 {KEY}");
        assert_eq!(judge(&both, "git@h.example:a"), Verdict::Known);
        let revoked = format!("{both}\n@revoked * ssh-ed25519 {KEY}");
        assert_eq!(judge(&revoked, "git@h.example:a"), Verdict::Revoked);
    }

    #[test]
    fn a_refusal_says_what_to_check_and_what_to_add() {
        let approach = Approach { known_hosts_path: "/k".into(), ..Approach::default() };
        let host = Host::of("ssh://git@h.example:2222/a");
        let told = check(&approach, &host, &key()).unwrap_err().to_string();
        let add = format!("echo '[h.example]:2222 ssh-ed25519 {KEY}' >> /k");
        assert!(told.contains(&add), "{told}");
        assert!(told.contains(&fingerprint(&key())), "{told}");
        let known = Approach { known_hosts: add[6..].replace("' >> /k", ""), ..approach };
        assert!(check(&known, &host, &key()).is_ok());
        assert!(
            check(&known, &host, b"\0\0\0\x03ssh").unwrap_err().to_string().contains("CHANGED")
        );
        assert_eq!(algorithm(b"\0\0\xff\xffssh\x1b[2J"), "unknown");
    }
}
