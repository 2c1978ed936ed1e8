//! Known ways out of containers: by which versions of the engine and its parts a program in a
//! container can reach the host. The table holds those that were published with a fixed version;
//! each names where. What opens nothing to a program in a container of this engine is not in it:
//! ways past authorisation plugins, and what other callers of runc only are open to.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use semver::Version;
use serde::Serialize;

use crate::telemetry::{
    Exposed,
    text::{Family, whole},
};

/// One published way out.
struct Published {
    id: &'static str,
    /// The part, as engines name it.
    part: &'static str,
    /// The first good version of each branch, oldest first.
    fixed: &'static [&'static str],
    what: &'static str,
    link: &'static str,
}

/// The parts, as `/version` and `nvidia-ctk` name them.
const ENGINE: &str = "Engine";
const CONTAINERD: &str = "containerd";
const RUNC: &str = "runc";
/// NVIDIA's toolkit, which gives GPUs to containers.
pub const TOOLKIT: &str = "nvidia-container-toolkit";
/// The parts that engines name.
pub const PARTS: [&str; 3] = [ENGINE, CONTAINERD, RUNC];
/// Up to when publications were looked through.
pub const AS_OF: &str = "2026-07-31";
/// The fix of the three of May 2026, which open where somebody copies files into or out of a container.
const COPY_2026: &[&str] = &["29.5.1"];
/// The fixes of the three of November 2025.
const RUNC_2025: &[&str] = &["1.2.8", "1.3.3", "1.4.0-rc.3"];
/// The fixes of `BuildKit`'s of January 2024, as engines hold it.
const BUILDKIT_2024: &[&str] = &["24.0.9", "25.0.2"];

const TABLE: &[Published] = &[
    Published {
        id: "CVE-2019-5736",
        part: RUNC,
        fixed: &["1.0.0-rc.7"],
        what: "a container can overwrite runc itself",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2019-5736",
    },
    Published {
        id: "CVE-2021-30465",
        part: RUNC,
        fixed: &["1.0.0-rc.95"],
        what: "a link that is swapped while volumes are mounted leads to the host",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2021-30465",
    },
    Published {
        id: "CVE-2024-21626",
        part: RUNC,
        fixed: &["1.1.12"],
        what: "an image's working directory can be a folder of the host",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2024-21626",
    },
    Published {
        id: "CVE-2025-31133",
        part: RUNC,
        fixed: RUNC_2025,
        what: "what is masked in /proc can be uncovered",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2025-31133",
    },
    Published {
        id: "CVE-2025-52565",
        part: RUNC,
        fixed: RUNC_2025,
        what: "the console's mount can be led elsewhere",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2025-52565",
    },
    Published {
        id: "CVE-2025-52881",
        part: RUNC,
        fixed: RUNC_2025,
        what: "writes to /proc can be led elsewhere",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2025-52881",
    },
    Published {
        id: "CVE-2020-15257",
        part: CONTAINERD,
        fixed: &["1.3.9", "1.4.3"],
        what: "containers in the host's network can command containerd",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2020-15257",
    },
    Published {
        id: "CVE-2024-23651",
        part: ENGINE,
        fixed: BUILDKIT_2024,
        what: "two builds that share a cache can read the host's files",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2024-23651",
    },
    Published {
        id: "CVE-2024-23652",
        part: ENGINE,
        fixed: BUILDKIT_2024,
        what: "a build can remove the host's files",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2024-23652",
    },
    Published {
        id: "CVE-2024-23653",
        part: ENGINE,
        fixed: BUILDKIT_2024,
        what: "a build's frontend can run containers with more rights",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2024-23653",
    },
    Published {
        id: "CVE-2026-41567",
        part: ENGINE,
        fixed: COPY_2026,
        what: "who copies a packed archive into a container runs the container's programs as root",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2026-41567",
    },
    Published {
        id: "CVE-2026-41568",
        part: ENGINE,
        fixed: COPY_2026,
        what: "while files are copied, a container can have empty files made on the host",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2026-41568",
    },
    Published {
        id: "CVE-2026-42306",
        part: ENGINE,
        fixed: COPY_2026,
        what: "while files are copied, a container can lead a mount to any path of the host",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2026-42306",
    },
    Published {
        id: "CVE-2024-0132",
        part: TOOLKIT,
        fixed: &["1.16.2"],
        what: "an image can mount the host's files",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2024-0132",
    },
    Published {
        id: "CVE-2025-23359",
        part: TOOLKIT,
        fixed: &["1.17.4"],
        what: "an image can mount the host's files, past the fix of CVE-2024-0132",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2025-23359",
    },
    Published {
        id: "CVE-2025-23266",
        part: TOOLKIT,
        fixed: &["1.17.8"],
        what: "an image's environment can run code in the toolkit's hook, as root",
        link: "https://nvd.nist.gov/vuln/detail/CVE-2025-23266",
    },
];

/// A way out that is open, as far as versions tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Escape {
    /// What it is known by.
    pub id: &'static str,
    /// Which part has it.
    pub component: &'static str,
    /// The version that was found.
    pub found: String,
    /// The versions in which it is closed.
    pub fixed: &'static [&'static str],
    /// What it lets happen.
    pub what: &'static str,
    /// Where it is described.
    pub link: &'static str,
    /// Whether the version is a distribution's own, which may have closed it without a new number.
    pub may_be_patched: bool,
}

impl Escape {
    /// It, as a sentence that says what to do.
    pub fn message(&self) -> String {
        let fixed = self.fixed.join(", ");
        let Self { id, component, found, what, link, .. } = self;
        let patched = if self.may_be_patched {
            "; this version is a distribution's own and may be patched: its security tracker says whether"
        } else {
            ""
        };
        format!(
            "{component} {found} is known for {id} ({what}): closed in {fixed}{patched}; see {link}"
        )
    }
}

/// What is open, in one sentence; nothing when nothing is.
pub fn warning(open: &[Escape]) -> Option<String> {
    let mut parts = BTreeMap::<_, Vec<_>>::new();
    for escape in open {
        parts.entry((escape.component, &*escape.found)).or_default().push(escape.id);
    }
    let part = |((component, found), ids): (&(&str, &str), &Vec<&str>)| {
        format!("{component} {found} ({})", ids.join(", "))
    };
    let parts: Vec<_> = parts.iter().map(part).collect();
    let patched = if open.iter().any(|escape| escape.may_be_patched) {
        "; a distribution may have closed them under the old number"
    } else {
        ""
    };
    (!parts.is_empty()).then(|| {
        format!(
            "the engine is known for ways out of containers: {}{patched}; `knownEscapes` of /api/v1/capacity says what each lets happen and what closes it",
            parts.join(", ")
        )
    })
}

/// The ways out that are open with these versions, by part.
pub fn open(parts: &BTreeMap<String, String>) -> Vec<Escape> {
    let is_open = |published: &&Published| {
        let version = parts.get(published.part).and_then(|text| number(text));
        version.is_some_and(|version| is_before(&version, published.fixed))
    };
    let escape = |published: &Published| {
        let found = parts.get(published.part).cloned().unwrap_or_default();
        let may_be_patched = is_of_distribution(&found);
        let Published { id, part: component, fixed, what, link } = *published;
        Escape { id, component, found, fixed, what, link, may_be_patched }
    };
    TABLE.iter().filter(is_open).map(escape).collect()
}

/// Whether a version comes before the fix of its branch; of a branch without one, before all.
fn is_before(version: &Version, fixed: &[&str]) -> bool {
    let fixed: Vec<_> = fixed.iter().filter_map(|text| Version::parse(text).ok()).collect();
    let branch = |fix: &&Version| (fix.major, fix.minor) == (version.major, version.minor);
    match fixed.iter().find(branch) {
        Some(fix) => version < fix,
        None => fixed.last().is_some_and(|last| version < last),
    }
}

/// The number in what a part says of its version: `1.1.5+ds1`, `v1.7.2`, `1.0.0~rc93`, `1.4.0-rc1`.
fn number(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
    let mut numbers = text[..end].trim_end_matches('.').to_owned();
    while numbers.matches('.').count() < 2 {
        numbers.push_str(".0");
    }
    let mut version = Version::parse(&numbers).ok()?;
    let rest = text[end..].trim_start_matches(['-', '~']);
    if let Some(digits) = rest.strip_prefix("rc") {
        let digits: String =
            digits.trim_start_matches('.').chars().take_while(char::is_ascii_digit).collect();
        version.pre = semver::Prerelease::new(&format!("rc.{digits}")).ok()?;
    }
    Some(version)
}

/// Whether a version has the marks of a distribution, which closes holes under old numbers.
fn is_of_distribution(text: &str) -> bool {
    ["ds", "deb", "ubuntu", "~", ".el", ".fc", "+"].iter().any(|mark| text.contains(mark))
}

/// The ways out that are known to be open now: for figures and for who asks.
#[derive(Debug, Default)]
pub struct Known(Mutex<Vec<Escape>>);

impl Known {
    /// What is open now; answers what was not known before.
    pub fn put(&self, now: Vec<Escape>) -> Vec<Escape> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = now.iter().filter(|escape| !known.contains(escape)).cloned().collect();
        *known = now;
        news
    }

    /// What is open.
    pub fn all(&self) -> Vec<Escape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Exposed for Known {
    fn write(&self, out: &mut String) {
        let help = "Published ways out of containers that the engine's versions are known for.";
        let mut family = Family::gauge(out, "berth_engine_known_escape", help);
        for escape in self.all() {
            family.sample(&[("component", escape.component), ("id", escape.id)], whole(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(part: &str, version: &str) -> Vec<&'static str> {
        let parts = [(part.to_owned(), version.to_owned())].into();
        open(&parts).into_iter().map(|escape| escape.id).collect()
    }

    /// Fault B05: each fix, the version before it, and branches that were never open.
    #[test]
    fn a_version_is_known_for_what_was_closed_after_it() {
        let trio = ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"];
        assert_eq!(ids(RUNC, "1.2.7"), trio);
        assert_eq!(ids(RUNC, "1.3.2"), trio);
        assert_eq!(ids(RUNC, "1.4.0-rc.2"), trio);
        assert_eq!(ids(RUNC, "1.1.15"), trio);
        for good in ["1.2.8", "1.3.3", "1.4.0-rc.3", "1.4.0-rc3", "1.4.0", "1.5.0", "2.0.0"] {
            assert!(ids(RUNC, good).is_empty(), "{good}");
        }
        assert_eq!(ids(RUNC, "1.1.11")[0], "CVE-2024-21626");
        assert_eq!(ids(RUNC, "1.0.0-rc6").len(), TABLE.iter().filter(|p| p.part == RUNC).count());
        assert!(!ids(RUNC, "1.0.0~rc93+ds1").contains(&"CVE-2019-5736"));
        assert!(ids(RUNC, "1.0.0~rc93+ds1").contains(&"CVE-2021-30465"));
        let buildkit = ["CVE-2024-23651", "CVE-2024-23652", "CVE-2024-23653"];
        let copy = ["CVE-2026-41567", "CVE-2026-41568", "CVE-2026-42306"];
        for old in ["24.0.8", "25.0.1", "20.10.24+dfsg1"] {
            assert_eq!(ids(ENGINE, old), [buildkit, copy].concat(), "{old}");
        }
        for newer in ["24.0.9", "28.5.2", "29.5.0"] {
            assert_eq!(ids(ENGINE, newer), copy, "{newer}");
        }
        assert!(ids(ENGINE, "29.5.1").is_empty() && ids(ENGINE, "30.0.0").is_empty());
        assert_eq!(ids(CONTAINERD, "1.4.2"), ["CVE-2020-15257"]);
        assert!(ids(CONTAINERD, "v1.7.27").is_empty() && ids(CONTAINERD, "1.6.20~ds1").is_empty());
        assert_eq!(ids(TOOLKIT, "1.16.1").len(), 3);
        assert_eq!(ids(TOOLKIT, "1.17.7"), ["CVE-2025-23266"]);
        assert!(ids(TOOLKIT, "1.17.8").is_empty());
        for unknown in ["", "unknown", "dev", "HEAD-abc"] {
            assert!(ids(RUNC, unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn versions_of_distributions_are_said_to_be_maybe_patched() {
        let of = |version: &str| open(&[(RUNC.to_owned(), version.to_owned())].into()).remove(0);
        let debian = of("1.1.5+ds1");
        assert!(debian.may_be_patched && debian.message().contains("may be patched"));
        let plain = of("1.1.5");
        assert!(!plain.may_be_patched && !plain.message().contains("may be patched"));
        let both = [plain.clone(), Escape { id: "CVE-1", ..plain.clone() }];
        let said = warning(&both).unwrap_or_default();
        assert!(said.contains(&format!("runc 1.1.5 ({}, CVE-1);", plain.id)), "{said}");
        assert!(!said.contains("distribution"), "{said}");
        assert!(warning(&[debian]).is_some_and(|said| said.contains("a distribution may")));
        assert_eq!(warning(&[]), None);
        for part in [plain.id, "runc 1.1.5", "1.1.12", plain.link] {
            assert!(plain.message().contains(part), "{part}: {}", plain.message());
        }
    }

    #[test]
    fn every_row_can_be_read_and_what_is_known_is_news_once() {
        for row in TABLE {
            assert!(row.link.ends_with(row.id) && row.id.starts_with("CVE-"), "{}", row.id);
            let fixed: Vec<_> =
                row.fixed.iter().map(|text| Version::parse(text).unwrap()).collect();
            assert!(fixed.is_sorted() && !fixed.is_empty(), "{}", row.id);
        }
        assert!(include_str!("../../docs/security.md").contains(AS_OF));
        let known = Known::default();
        let open = || open(&[(RUNC.to_owned(), "1.1.11".to_owned())].into());
        assert_eq!(known.put(open()).len(), 4);
        assert!(known.put(open()).is_empty());
        let mut page = String::new();
        known.write(&mut page);
        assert!(page.contains("CVE-2024-21626"), "{page}");
        assert!(known.put(Vec::new()).is_empty() && known.all().is_empty());
    }
}
