//! Which of two versions is the greater, in the order of what they are versions of.

use std::{cmp::Ordering, str::FromStr as _};

use pep440_rs::Version;

use super::{deb, inventory::Kind};

/// A version that can be ordered among others of its kind.
#[derive(Clone, Debug)]
pub(super) enum Ordered {
    Deb(String),
    Pypi(Version),
}

impl Ordered {
    /// Reads a version; none when its kind has no place for it.
    pub(super) fn read(kind: Kind, text: &str) -> Option<Self> {
        match kind {
            Kind::Deb => is_debian(text).then(|| Self::Deb(text.to_owned())),
            // `2.1.0+cu118` is 2.1.0 built in another way: advisories speak of releases only.
            Kind::Pypi => Version::from_str(text.trim())
                .ok()
                .map(|version| Self::Pypi(version.without_local())),
        }
    }

    /// Two of different kinds are never compared.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Deb(one), Self::Deb(other)) => deb::compare(one, other),
            (Self::Pypi(one), Self::Pypi(other)) => one.cmp(other),
            (Self::Deb(_), Self::Pypi(_)) => Ordering::Less,
            (Self::Pypi(_), Self::Deb(_)) => Ordering::Greater,
        }
    }
}

/// What dpkg would take for a version.
fn is_debian(text: &str) -> bool {
    let text = text.trim();
    let rest = match text.split_once(':') {
        Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => {
            rest
        }
        Some(_) => return false,
        None => text,
    };
    rest.starts_with(|first: char| first.is_ascii_digit())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte))
}

/// The one spelling of a Python package's name (PEP 503).
pub(super) fn normal_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.extend(part.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    normal
}
