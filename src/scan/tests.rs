//! Every form of range, versions that are easily got wrong, and what must never read as clean.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, sync::Arc};

use jiff::civil::date;
use serde_json::{Value, json};

use super::*;
use crate::model::Timestamp;
use crate::state::ScanSeen;

fn package(kind: Kind, name: &str, version: &str) -> Package {
    Package {
        kind,
        name: name.to_owned(),
        version: version.to_owned(),
        source: None,
        architecture: None,
    }
}

fn inventory(kind: Kind, name: &str, version: &str) -> Inventory {
    let distribution = Distribution { id: "debian".to_owned(), version: "12".to_owned() };
    let packages = vec![package(kind, name, version)];
    Inventory { distribution: Some(distribution), packages }
}

fn record(value: Value) -> Record {
    serde_json::from_value(value).expect("a record")
}

/// A record of the package `demo` in an ecosystem.
fn about(ecosystem: &str, affected: Value) -> Record {
    let mut affected = affected;
    affected["package"] = json!({ "ecosystem": ecosystem, "name": "demo" });
    record(json!({ "id": "T-1", "affected": [affected] }))
}

fn range(events: &Value) -> Value {
    json!({ "ranges": [{ "type": "ECOSYSTEM", "events": events }] })
}

fn is_hit(kind: Kind, version: &str, record: &Record) -> bool {
    let report = compare(&inventory(kind, "demo", version), [record]);
    assert_eq!(report.unread, [], "{version}");
    !report.findings.is_empty()
}

/// Checks which of some versions a record is about.
fn expect(kind: Kind, record: &Record, affected: &[&str], safe: &[&str]) {
    for version in affected {
        assert!(is_hit(kind, version, record), "{version} is affected by {record:?}");
    }
    for version in safe {
        assert!(!is_hit(kind, version, record), "{version} is not affected by {record:?}");
    }
}

#[test]
fn every_form_of_range_means_what_the_schema_says() {
    let python = |affected| about("PyPI", affected);
    let from_to = python(range(&json!([{"introduced": "1.2"}, {"fixed": "1.10"}])));
    expect(
        Kind::Pypi,
        &from_to,
        &["1.2", "1.2.0", "1.9.9", "1.10rc1", "1.3.dev1"],
        &["1.1", "1.10", "1.10.0", "2", "1.2rc1"],
    );
    let from_start = python(range(&json!([{"introduced": "0"}, {"fixed": "2.0"}])));
    expect(
        Kind::Pypi,
        &from_start,
        &["0", "0.0.dev0", "1!0".trim_start_matches("1!"), "1.99"],
        &["2.0", "2.0.post1", "1!0"],
    );
    let last = python(range(&json!([{"introduced": "0"}, {"last_affected": "2.1.0"}])));
    expect(Kind::Pypi, &last, &["2.1.0", "2.1", "2.0"], &["2.1.1", "2.1.0.post1"]);
    let for_ever = python(range(&json!([{"introduced": "3"}])));
    expect(Kind::Pypi, &for_ever, &["3", "99"], &["2.9"]);
    // Written in any order, broken off and begun again.
    let twice = python(range(&json!([
        {"fixed": "3.5"}, {"introduced": "3.0"}, {"fixed": "2.5"}, {"introduced": "2.0"}
    ])));
    expect(Kind::Pypi, &twice, &["2.0", "2.4", "3.0", "3.4"], &["1.9", "2.5", "2.9", "3.5"]);
    let limited = python(range(&json!([{"introduced": "1"}, {"limit": "2"}])));
    expect(Kind::Pypi, &limited, &["1", "1.9"], &["2", "3", "0.9"]);
    let unlimited = python(range(&json!([{"introduced": "1"}, {"limit": "*"}, {"limit": "2"}])));
    expect(Kind::Pypi, &unlimited, &["1", "3"], &["0.9"]);
    let listed = python(json!({ "versions": ["1.0", "1.5.0"] }));
    expect(Kind::Pypi, &listed, &["1.0", "1.0.0", "1.5"], &["1.1", "1.5.1"]);
    let both = python(json!({
        "versions": ["9.0"],
        "ranges": [{ "type": "SEMVER", "events": [{"introduced": "1.0.0"}, {"fixed": "1.1.0"}] }],
    }));
    expect(Kind::Pypi, &both, &["9.0", "1.0.5"], &["1.1.0", "8.9"]);
    let commits = python(json!({ "ranges": [{
        "type": "GIT", "repo": "https://git.example.com/demo", "events": [{"introduced": "0"}],
    }] }));
    expect(Kind::Pypi, &commits, &[], &["1.0"]);
}

#[test]
fn a_version_built_for_a_card_is_the_version_that_it_is_built_of() {
    let last = about("PyPI", range(&json!([{"introduced": "0"}, {"last_affected": "2.1.0"}])));
    let fixed = about("PyPI", range(&json!([{"introduced": "0"}, {"fixed": "2.1.0"}])));
    let listed = about("PyPI", json!({ "versions": ["2.1.0"] }));
    assert!(is_hit(Kind::Pypi, "2.1.0+cu118", &last));
    assert!(!is_hit(Kind::Pypi, "2.1.0+cu118", &fixed));
    assert!(is_hit(Kind::Pypi, "2.1.0+cu118", &listed));
}

#[test]
fn debians_ranges_use_its_own_order_and_the_source() {
    let record =
        about("Debian:12", range(&json!([{"introduced": "0"}, {"fixed": "1:2.0-1+deb12u2"}])));
    expect(
        Kind::Deb,
        &record,
        &["3.0-1", "1:2.0-1", "1:2.0-1+deb12u1", "1:2.0~rc1-9"],
        &["1:2.0-1+deb12u2", "1:2.0-1+deb12u10", "1:2.0-2", "2:0.1"],
    );
    // Unfixed so far.
    let open = about("Debian:12", range(&json!([{"introduced": "0"}])));
    expect(Kind::Deb, &open, &["0.1", "9:9"], &[]);
    // Of another release, of Ubuntu, of Python: other packages with one name.
    for ecosystem in ["Debian:11", "Ubuntu:22.04:LTS", "PyPI", "Alpine:v3.20", ""] {
        let other = about(ecosystem, range(&json!([{"introduced": "0"}])));
        expect(Kind::Deb, &other, &[], &["0.1"]);
    }
    // A package is affected by what its source is, in the source's version.
    let mut installed = inventory(Kind::Deb, "libdemo5", "5.0-1");
    let source = Source { name: "demo".to_owned(), version: "1:2.0-1".to_owned() };
    installed.packages[0].source = Some(source);
    let report = compare(&installed, [&record]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].fixed.as_deref(), Some("1:2.0-1+deb12u2"));
}

#[test]
fn a_release_of_ubuntu_is_told_from_its_paid_updates() {
    let ubuntu = Distribution { id: "ubuntu".to_owned(), version: "22.04".to_owned() };
    assert!(ubuntu.is("Ubuntu:22.04:LTS"));
    assert!(ubuntu.is("Ubuntu:22.04"));
    assert!(ubuntu.is("Ubuntu"));
    assert!(!ubuntu.is("Ubuntu:24.04:LTS"));
    assert!(!ubuntu.is("Ubuntu:Pro:22.04:LTS"));
    assert!(!ubuntu.is("Debian:12"));
}

#[test]
fn what_nobody_can_order_is_said_and_not_called_clean() {
    let record = about("PyPI", range(&json!([{"introduced": "0"}, {"fixed": "2.0"}])));
    let report = compare(&inventory(Kind::Pypi, "demo", "not-a-version"), [&record]);
    assert!(report.findings.is_empty());
    assert_eq!(report.unread.len(), 1, "{:?}", report.unread);
    assert!(report.unread[0].why.contains("`not-a-version`"), "{:?}", report.unread);
    // A list names it, so it needs no order.
    let listed = about("PyPI", json!({ "versions": ["not-a-version"] }));
    assert!(is_hit(Kind::Pypi, "not-a-version", &listed));
    let broken = about("PyPI", range(&json!([{"introduced": "a b"}])));
    let report = compare(&inventory(Kind::Pypi, "demo", "1.0"), [&broken]);
    assert!(report.unread[0].why.contains("`a b`"), "{:?}", report.unread);
}

#[test]
fn records_of_one_vulnerability_are_one_finding_with_the_worst_that_is_known() {
    let affected = |fixed: &str| {
        json!([{
            "package": { "ecosystem": "PyPI", "name": "Demo" },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}] }],
        }])
    };
    let records = [
        record(
            json!({ "id": "PYSEC-2024-1", "affected": affected("2.0"), "aliases": ["CVE-2024-1"] }),
        ),
        record(json!({ "id": "GHSA-a", "affected": affected("2.1"), "summary": "reads too far",
            "database_specific": { "severity": "HIGH" } })),
        // Only this one shows that the two above are the same.
        record(json!({ "id": "CVE-2024-1", "affected": affected("2.0"), "aliases": ["GHSA-a"],
            "severity": [{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" }] })),
        record(
            json!({ "id": "PYSEC-2024-2", "affected": affected("9"), "withdrawn": "2024-02-01T00:00:00Z" }),
        ),
    ];
    let report = compare(&inventory(Kind::Pypi, "demo", "1.0"), &records);
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!(finding.id, "CVE-2024-1");
    assert_eq!(finding.aliases, ["GHSA-a", "PYSEC-2024-1"]);
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.fixed.as_deref(), Some("2.1"));
    assert_eq!(finding.summary, "reads too far");
}

#[test]
fn severities_come_from_scores_before_words() {
    let rate = |value: Value| {
        let record = record(value);
        let affected = record.affected.first().cloned().unwrap_or_default();
        record.severity(&affected)
    };
    let v4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";
    assert_eq!(
        rate(json!({ "severity": [{ "type": "CVSS_V4", "score": v4 }] })),
        Severity::Critical
    );
    let v2 = "AV:N/AC:L/Au:N/C:P/I:P/A:P";
    assert_eq!(rate(json!({ "severity": [{ "type": "CVSS_V2", "score": v2 }] })), Severity::High);
    let ubuntu = json!({ "severity": [{ "type": "Ubuntu", "score": "medium" }] });
    assert_eq!(rate(ubuntu), Severity::Medium);
    let moderate = json!({ "database_specific": { "severity": "MODERATE" } });
    assert_eq!(rate(moderate), Severity::Medium);
    let debian = json!({ "affected": [{ "ecosystem_specific": { "urgency": "unimportant" } }] });
    assert_eq!(rate(debian), Severity::Low);
    let later =
        json!({ "affected": [{ "ecosystem_specific": { "urgency": "not yet assigned" } }] });
    assert_eq!(rate(later), Severity::Unknown);
    let odd = json!({ "severity": [{ "type": "CVSS_V3", "score": "CVSS:3.1/none" }] });
    assert_eq!(rate(odd), Severity::Unknown);
}

#[test]
fn package_lists_are_read_as_package_managers_wrote_them() {
    let mut gather = Gather::default();
    let status = "Package: libdemo5\nStatus: install ok installed\nSource: demo (1:2.0-1)\n\
        Architecture: amd64\nVersion: 5.0-1\nDescription: a: b\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: same\nStatus: install ok installed\nSource: other\nVersion: 3-1\n";
    for (path, content) in [
        ("./var/lib/dpkg/status", status),
        ("/var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\n"),
        ("etc/os-release", "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n"),
        (
            "usr/lib/python3/dist-packages/Foo_Bar-1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Foo_.Bar\nVersion: 1.2\n\nName: not this\nVersion: 9\n",
        ),
        ("opt/x.egg-info/PKG-INFO", "Name: x\nVersion: 0.1\n"),
    ] {
        assert!(Gather::wants(path).is_some(), "{path}");
        gather.take(path, content.as_bytes());
    }
    for path in
        ["etc/passwd", "var/lib/dpkg/status-old", "a/METADATA", "var/lib/dpkg/status.d/a.md5sums"]
    {
        assert!(Gather::wants(path).is_none(), "{path}");
    }
    let found = gather.finish();
    let names: Vec<_> = found
        .packages
        .iter()
        .map(|one| (one.name.as_str(), one.version.as_str(), one.advised()))
        .collect();
    assert_eq!(
        names,
        [
            ("base-files", "12.4", ("base-files", "12.4")),
            ("libdemo5", "5.0-1", ("demo", "1:2.0-1")),
            ("same", "3-1", ("other", "3-1")),
            ("foo-bar", "1.2", ("foo-bar", "1.2")),
            ("x", "0.1", ("x", "0.1")),
        ]
    );
    assert_eq!(
        found.distribution.map(|one| (one.id, one.version)),
        Some(("debian".to_owned(), "12".to_owned()))
    );
}

#[test]
fn a_policy_warns_blocks_and_forgives_until_a_day() {
    let affected = json!([{
        "package": { "ecosystem": "PyPI", "name": "demo" },
        "ranges": [{ "type": "ECOSYSTEM", "events": [{"introduced": "0"}] }],
    }]);
    let rated = |id: &str, word: &str| {
        record(json!({ "id": id, "affected": affected, "database_specific": { "severity": word } }))
    };
    let records = [rated("A", "CRITICAL"), rated("B", "HIGH"), rated("C", "LOW"), rated("D", "?")];
    let report = compare(&inventory(Kind::Pypi, "demo", "1.0"), &records);
    let mut policy = Policy {
        warn: Severity::Medium,
        block: Some(Severity::High),
        exceptions: vec![Exception {
            id: "a".to_owned(),
            package: Some("demo".to_owned()),
            until: date(2026, 11, 21),
            reason: "not reachable".to_owned(),
        }],
    };
    let ids = |findings: &[Finding]| findings.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let last_day = policy.judge(&report, date(2026, 11, 21));
    assert_eq!(ids(&last_day.blocked), ["B"]);
    assert_eq!(ids(&last_day.warned), ["D"], "what nobody rated is shown");
    assert_eq!(last_day.accepted.len(), 1);
    assert!(last_day.expired.is_empty());
    let day_after = policy.judge(&report, date(2026, 11, 22));
    assert_eq!(ids(&day_after.blocked), ["A", "B"]);
    assert_eq!(day_after.expired, policy.exceptions);
    policy.exceptions[0].package = Some("another".to_owned());
    assert_eq!(ids(&policy.judge(&report, date(2026, 11, 1)).blocked), ["A", "B"]);
    policy.block = None;
    assert_eq!(ids(&policy.judge(&report, date(2026, 11, 1)).warned), ["A", "B", "D"]);
}

#[test]
fn a_database_is_read_from_files_and_archives_and_says_what_it_could_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &Path, value: &Value| {
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, value.to_string()).expect("a record");
    };
    let root = folder.path();
    assert!(matches!(Database::open(root), Err(DatabaseError::Empty { .. })));
    assert!(matches!(Database::open(&root.join("none")), Err(DatabaseError::Folder { .. })));
    let of = |id: &str, ecosystem: &str, name: &str| json!({ "id": id, "affected": [{ "package": { "ecosystem": ecosystem, "name": name } }] });
    write(&root.join("PyPI/one.json"), &of("ONE", "PyPI", "De.Mo"));
    write(&root.join("PyPI/else.json"), &of("ELSE", "PyPI", "something-else"));
    write(&root.join("deep/er/two.json"), &of("TWO", "PyPI", "de-mo"));
    fs::write(root.join("cut.json"), "{\"id\": \"CU").expect("a cut file");
    fs::write(root.join("no-id.json"), "{}").expect("a file");
    fs::write(root.join("README.md"), "text").expect("a file");
    let mut archive = zip::ZipWriter::new(fs::File::create(root.join("all.zip")).expect("a file"));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("THREE.json", options).expect("an entry");
    archive.write_all(of("THREE", "PyPI", "de_mo").to_string().as_bytes()).expect("content");
    archive.finish().expect("an archive");
    fs::write(root.join("not.zip"), "no archive").expect("a file");

    let database = Database::open(root).expect("a database");
    let read = database.records(&[&inventory(Kind::Pypi, "de-mo", "1.0")]);
    assert_eq!(read.ecosystems.iter().collect::<Vec<_>>(), ["PyPI"]);
    assert!(read.flaw().is_some_and(|why| why.contains("cut.json") && why.contains("2 more")));
    let mut ids: Vec<_> = read.wanted.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["ONE", "THREE", "TWO"]);
    let unread: Vec<_> = read
        .unread
        .iter()
        .map(|one| one.what.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(unread, ["cut.json", "no-id.json", "not.zip"]);

    let before = database.fingerprint().clone();
    assert_eq!(Database::open(root).expect("again").fingerprint(), &before);
    write(&root.join("PyPI/four.json"), &of("FOUR", "PyPI", "de-mo"));
    assert_ne!(Database::open(root).expect("again").fingerprint(), &before);
}

#[test]
fn a_list_of_parts_is_the_same_for_the_same_image() {
    let mut installed = inventory(Kind::Deb, "lib++", "1:2.0~rc1-1");
    installed.packages[0].architecture = Some("amd64".to_owned());
    installed.packages.push(package(Kind::Pypi, "torch", "2.1.0+cu118"));
    let document = sbom("sha256:abc", &installed);
    assert_eq!(document["bomFormat"], "CycloneDX");
    assert_eq!(
        document["components"][0]["purl"],
        "pkg:deb/debian/lib%2B%2B@1:2.0~rc1-1?arch=amd64&distro=debian-12"
    );
    assert_eq!(document["components"][1]["purl"], "pkg:pypi/torch@2.1.0%2Bcu118");
    assert_eq!(document, sbom("sha256:abc", &installed));
    assert_ne!(document["serialNumber"], sbom("sha256:def", &installed)["serialNumber"]);
    let serial = document["serialNumber"].as_str().expect("a serial number");
    assert_eq!(serial.len(), "urn:uuid:".len() + 36);
}

#[test]
fn debians_order_is_that_of_its_policy() {
    // Each is less than the next.
    let rising = [
        "0~~",
        "0~~a",
        "0~",
        "0",
        "0a",
        "0+",
        "0.1",
        "0.9",
        "0.10~rc1",
        "0.10",
        "0.10-0.1",
        "0.10-1~bpo12+1",
        "0.10-1",
        "0.10-1+b1",
        "0.10-1.1",
        "0.10-10",
        "0.10.1-1",
        "1.0a",
        "1.0+git1",
        "1:0",
        "2:0.1-1",
    ];
    for (index, one) in rising.iter().enumerate() {
        for (other_index, other) in rising.iter().enumerate() {
            assert_eq!(deb::compare(one, other), index.cmp(&other_index), "{one} and {other}");
        }
    }
    for (one, other) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("1.a0", "1.a")] {
        assert!(deb::compare(one, other).is_eq(), "{one} and {other}");
    }
}

/// A package of Debian that these records are about, from the first version on.
fn since_ever(id: &str, upstream: &[&str], severity: &str) -> Record {
    record(json!({
        "id": id, "upstream": upstream, "database_specific": { "severity": severity },
        "affected": [{
            "package": { "ecosystem": "Debian:12", "name": "demo" },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{"introduced": "0"}] }],
        }],
    }))
}

#[test]
fn a_notice_of_several_vulnerabilities_does_not_make_them_one() {
    let records = [
        since_ever("DSA-1-1", &["CVE-2024-1", "CVE-2024-2", "UBUNTU-CVE-2024-2"], "?"),
        since_ever("DEBIAN-CVE-2024-1", &["CVE-2024-1"], "LOW"),
        since_ever("DEBIAN-CVE-2024-3", &["CVE-2024-3"], "CRITICAL"),
        since_ever("DSA-2-1", &["CVE-2024-1", "CVE-2024-3"], "?"),
    ];
    let report = compare(&inventory(Kind::Deb, "demo", "1.0"), &records);
    let mut found: Vec<_> =
        report.findings.iter().map(|one| (one.id.as_str(), one.severity)).collect();
    found.sort_unstable();
    let unknown = Severity::Unknown;
    let wanted = [
        ("CVE-2024-1", Severity::Low),
        // The notice alone speaks of it.
        ("CVE-2024-2", unknown),
        ("CVE-2024-3", Severity::Critical),
    ];
    assert_eq!(found, wanted);
    let second = report.findings.iter().find(|one| one.id == "CVE-2024-2").expect("it is there");
    assert_eq!(second.aliases, ["DSA-1-1", "UBUNTU-CVE-2024-2"]);
    // Who lives with the harmless one does not live with the other.
    let accepted = Exception {
        id: "CVE-2024-1".to_owned(),
        package: None,
        until: date(9999, 1, 1),
        reason: "harmless".to_owned(),
    };
    let block = Some(Severity::High);
    let policy = Policy { block, exceptions: vec![accepted], ..Policy::default() };
    let verdict = policy.judge(&report, date(2026, 1, 1));
    assert_eq!((verdict.accepted.len(), verdict.blocked.len()), (1, 1));
}

#[test]
fn one_event_without_a_place_does_not_hide_what_is_named_elsewhere() {
    let broken = json!({ "type": "ECOSYSTEM", "events": [{"introduced": "a b"}] });
    let good = json!({ "type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}] });
    let listed = about("PyPI", json!({ "versions": ["1.0"], "ranges": [broken] }));
    let ranged = about("PyPI", json!({ "ranges": [broken, good] }));
    assert!(is_hit(Kind::Pypi, "1.0", &listed) && is_hit(Kind::Pypi, "1.0", &ranged));
    // Where nothing else hits, nobody knows.
    for record in [&listed, &ranged] {
        let report = compare(&inventory(Kind::Pypi, "demo", "3.0"), [record]);
        assert_eq!((report.findings.len(), report.unread.len()), (0, 1));
    }
}

fn judged(report: &Report, exceptions: &[(&str, Option<&str>)]) -> ScanSeen {
    let exceptions = exceptions.iter().map(|(id, package)| Exception {
        id: (*id).to_owned(),
        package: package.map(ToOwned::to_owned),
        until: date(9999, 1, 1),
        reason: "known".to_owned(),
    });
    let block = Some(Severity::High);
    let policy = Policy { block, exceptions: exceptions.collect(), ..Policy::default() };
    let installed = Arc::new(inventory(Kind::Pypi, "py-yaml", "not-a-version"));
    let rules = (&policy, date(2026, 1, 1));
    Scanned::new("i", installed, report.clone(), rules, Timestamp::from_millis(0)).seen()
}

#[test]
fn what_can_not_be_decided_passes_no_gate_until_somebody_accepts_it() {
    let affected = |severity: &str| {
        record(json!({ "id": "T-1", "aliases": ["CVE-1"],
            "database_specific": { "severity": severity },
            "affected": [{ "package": { "ecosystem": "PyPI", "name": "Py_YAML" },
                "ranges": [{ "type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2"}] }] }] }))
    };
    let installed = inventory(Kind::Pypi, "py-yaml", "not-a-version");
    let bad = compare(&installed, [&affected("CRITICAL")]);
    assert!(matches!(judged(&bad, &[]), ScanSeen::Blocked(text) if text.contains("not-a-version")));
    // By any name, and the package as it is written anywhere.
    for exception in [("cve-1", None), ("T-1", Some("Py.YAML"))] {
        assert!(matches!(judged(&bad, &[exception]), ScanSeen::Warned(_)), "{exception:?}");
    }
    assert!(matches!(judged(&bad, &[("CVE-1", Some("other"))]), ScanSeen::Blocked(_)));
    // One that would be allowed is no reason.
    let mild = compare(&installed, [&affected("LOW")]);
    assert!(matches!(judged(&mild, &[]), ScanSeen::Warned(_)));
}

#[test]
fn a_database_without_records_of_a_distribution_says_nothing_about_it() {
    let of = |id: &str, version: &str, packages: Vec<Package>| Inventory {
        distribution: Some(Distribution { id: id.to_owned(), version: version.to_owned() }),
        packages,
    };
    let known: BTreeSet<_> = ["Debian:12", "PyPI"].map(ToOwned::to_owned).into();
    let deb = || vec![package(Kind::Deb, "demo", "1")];
    let lacks = |inventory: &Inventory, known: &BTreeSet<String>| {
        uncovered(inventory, known).into_iter().map(|one| one.what).collect::<Vec<_>>()
    };
    assert!(lacks(&of("debian", "12", deb()), &known).is_empty());
    assert_eq!(lacks(&of("debian", "13", deb()), &known), ["debian:13"]);
    assert_eq!(lacks(&of("kali", "2026.1", deb()), &known), ["kali:2026.1"]);
    // Without a release, and without any list that is read.
    assert_eq!(lacks(&of("debian", "", deb()), &known), ["debian"]);
    assert_eq!(lacks(&of("alpine", "3.20", Vec::new()), &known), ["alpine:3.20"]);
    assert_eq!(lacks(&Inventory::default(), &known), ["unnamed"]);
    let wheel = of("debian", "12", vec![package(Kind::Pypi, "demo", "1")]);
    assert_eq!(lacks(&wheel, &["Debian:12".to_owned()].into()), ["PyPI"]);
    let unread = uncovered(&of("debian", "13", deb()), &known);
    let report = Report { unread, ..Report::default() };
    let seen = judged(&report, &[]);
    assert!(matches!(&seen, ScanSeen::Blocked(text) if text.contains("no-records:debian:13")));
    let accepted = judged(&report, &[("no-records:debian:13", None)]);
    assert!(matches!(accepted, ScanSeen::Warned(_)), "never clean");
}
