//! Which records are about what is installed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    inventory::{Distribution, Inventory, Kind, Package},
    osv::{Affected, Event, Range, Record},
    severity::Severity,
    version::{Ordered, normal_name},
};

/// One vulnerability of one installed package, under all its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The name it is known by: its CVE number where it has one.
    pub id: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// How bad it is: the worst that a record says.
    pub severity: Severity,
    /// The package.
    pub package: Package,
    /// The first version without it; none where no record knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// What it is, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// What could not be decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unread {
    /// The package, the record or the file.
    pub what: String,
    /// Why.
    pub why: String,
    /// What it would be; none where it says nothing of one image more than of another.
    #[serde(skip)]
    pub stake: Option<Stake>,
}

/// What may be so, as far as anybody can tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stake {
    /// Under which names it can be accepted.
    pub names: BTreeSet<String>,
    /// In which package; none is in all of them.
    pub package: Option<Package>,
    /// How bad it would be.
    pub severity: Severity,
}

impl Unread {
    /// A file, or a record, that can't be read.
    pub fn file(what: String, why: String) -> Self {
        Self { what, why, stake: None }
    }
}

/// What an image's packages were found to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What nobody knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// Whether a part of the database could not be read for it.
    #[serde(skip)]
    pub is_part: bool,
}

/// Says what a database can't tell about an image, because it has no record of where its packages
/// come from: that is not the same as that nothing is known of them.
pub fn uncovered(inventory: &Inventory, ecosystems: &BTreeSet<String>) -> Vec<Unread> {
    let count = |kind| inventory.packages.iter().filter(|one| one.kind == kind).count();
    let (debs, wheels) = (count(Kind::Deb), count(Kind::Pypi));
    let mut lacking = Vec::new();
    let mut lack = |name: &str, why: String| {
        let id = format!("no-records:{name}");
        let why = format!("{why}; it can be accepted until a day as `{id}`");
        let names = BTreeSet::from([id]);
        let stake = Some(Stake { names, package: None, severity: Severity::Critical });
        lacking.push(Unread { what: name.to_owned(), why, stake });
    };
    match &inventory.distribution {
        Some(one) if !ecosystems.iter().any(|ecosystem| one.is(ecosystem)) => {
            let release = if one.version.is_empty() { "" } else { ":" };
            let name = format!("{}{release}{}", one.id, one.version);
            let why = "the database has no record of this distribution";
            lack(&name, format!("{why}, so nothing is known of its {debs} listed packages"));
        }
        None if debs != 0 || wheels == 0 => {
            let why = "the image does not say which distribution it is, or of what it is made";
            lack("unnamed", why.to_owned());
        }
        _ => {}
    }
    if wheels != 0 && !ecosystems.contains("PyPI") {
        let why = "the database has no record of Python packages, so nothing is known of these";
        lack("PyPI", format!("{why} {wheels}"));
    }
    lacking
}

/// Compares what is installed with the records of a database.
pub fn compare<'a>(inventory: &Inventory, records: impl IntoIterator<Item = &'a Record>) -> Report {
    let mut named: BTreeMap<(Kind, &str), Vec<&Package>> = BTreeMap::new();
    for package in &inventory.packages {
        named.entry((package.kind, package.advised().0)).or_default().push(package);
    }
    let (mut hits, mut unread) = (BTreeMap::<&Package, Vec<Hit<'_>>>::new(), BTreeSet::new());
    for record in records {
        if record.withdrawn.is_some() {
            continue;
        }
        for affected in &record.affected {
            let Some(kind) = kind_of(affected, inventory.distribution.as_ref()) else { continue };
            let name = name_of(kind, &affected.package.name);
            for package in named.get(&(kind, name.as_str())).into_iter().flatten() {
                match is_affected(package, affected) {
                    Ok(None) => {}
                    Ok(Some(Fixed(fixed))) => {
                        hits.entry(*package).or_default().push(Hit { record, affected, fixed });
                    }
                    Err(why) => {
                        let what = format!("{} in {} {}", record.id, package.name, package.version);
                        let several = record.upstream.iter().map(String::as_str);
                        let stake = Stake {
                            names: record.names().chain(several).map(ToOwned::to_owned).collect(),
                            package: Some((*package).clone()),
                            severity: record.severity(affected),
                        };
                        unread.insert(Unread { what, why, stake: Some(stake) });
                    }
                }
            }
        }
    }
    let mut findings: Vec<_> =
        hits.into_iter().flat_map(|(package, hits)| merged(package, hits)).collect();
    findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.cmp(other)));
    Report { findings, unread: unread.into_iter().collect(), is_part: false }
}

struct Hit<'a> {
    record: &'a Record,
    affected: &'a Affected,
    fixed: Option<String>,
}

/// The first version without it, where one is known.
struct Fixed(Option<String>);

fn kind_of(affected: &Affected, distribution: Option<&Distribution>) -> Option<Kind> {
    let ecosystem = &affected.package.ecosystem;
    if ecosystem == "PyPI" {
        return Some(Kind::Pypi);
    }
    distribution.is_some_and(|one| one.is(ecosystem)).then_some(Kind::Deb)
}

fn name_of(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Pypi => normal_name(name),
        Kind::Deb => name.to_owned(),
    }
}

/// Whether the installed version is affected, and the first one after it that is not. By the
/// rules of OSV: named in the list of versions, or within one of the ranges.
fn is_affected(package: &Package, affected: &Affected) -> Result<Option<Fixed>, String> {
    let (_, version) = package.advised();
    let Some(installed) = Ordered::read(package.kind, version) else {
        let is_named = affected.versions.iter().any(|one| one == version);
        let why = || format!("the installed version `{version}` has no place in its order");
        return if is_named { Ok(Some(Fixed(None))) } else { Err(why()) };
    };
    let is_same = |text: &String| {
        text == version
            || Ordered::read(package.kind, text).is_some_and(|one| one.order(&installed).is_eq())
    };
    let mut is_hit = affected.versions.iter().any(is_same);
    let mut fixed: Option<(Ordered, String)> = None;
    let mut trouble = None;
    // Ranges of commits say nothing about versions.
    for range in affected.ranges.iter().filter(|range| range.kind != "GIT") {
        let steps = match steps(package.kind, range) {
            Ok(steps) => steps,
            // It matters only when nothing else says that it is affected.
            Err(why) => {
                trouble.get_or_insert(why);
                continue;
            }
        };
        is_hit |= is_within(&installed, &steps);
        for (at, text) in steps.iter().filter_map(Step::fixed) {
            let is_sooner = fixed.as_ref().is_none_or(|(best, _)| at.order(best).is_lt());
            if at.order(&installed).is_gt() && is_sooner {
                fixed = Some((at.clone(), text.to_owned()));
            }
        }
    }
    match trouble {
        Some(why) if !is_hit => Err(why),
        _ => Ok(is_hit.then(|| Fixed(fixed.map(|(_, text)| text)))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Introduced,
    Fixed,
    LastAffected,
    Limit,
}

/// One event of a range. No place is before all versions, or, for a limit, after all.
struct Step<'a> {
    what: What,
    at: Option<Ordered>,
    text: &'a str,
}

impl<'a> Step<'a> {
    fn fixed(&self) -> Option<(&Ordered, &'a str)> {
        Some((self.at.as_ref()?, self.text)).filter(|_| self.what == What::Fixed)
    }
}

/// A range's events in the order of their versions.
fn steps(kind: Kind, range: &Range) -> Result<Vec<Step<'_>>, String> {
    let mut steps = Vec::new();
    for Event { introduced, fixed, last_affected, limit } in &range.events {
        let said = [
            (What::Introduced, introduced),
            (What::Fixed, fixed),
            (What::LastAffected, last_affected),
            (What::Limit, limit),
        ];
        for (what, text) in said {
            let Some(text) = text else { continue };
            let is_open =
                matches!((what, text.as_str()), (What::Introduced, "0") | (What::Limit, "*"));
            let at = if is_open { None } else { Some(read(kind, text)?) };
            steps.push(Step { what, at, text });
        }
    }
    // Stable: events of one version stay as they were written.
    steps.sort_by(|one, other| match (&one.at, &other.at) {
        (Some(one), Some(other)) => one.order(other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    });
    Ok(steps)
}

fn read(kind: Kind, text: &str) -> Result<Ordered, String> {
    Ordered::read(kind, text).ok_or_else(|| format!("a range names `{text}`, which has no place"))
}

fn is_within(installed: &Ordered, steps: &[Step<'_>]) -> bool {
    let mut limits = steps.iter().filter(|step| step.what == What::Limit).peekable();
    let is_before_limit = limits.peek().is_none()
        || limits.any(|step| step.at.as_ref().is_none_or(|at| installed.order(at).is_lt()));
    if !is_before_limit {
        return false;
    }
    let mut is_hit = false;
    for step in steps {
        let order = step.at.as_ref().map(|at| installed.order(at));
        match step.what {
            What::Introduced if order.is_none_or(std::cmp::Ordering::is_ge) => is_hit = true,
            What::Fixed if order.is_some_and(std::cmp::Ordering::is_ge) => is_hit = false,
            What::LastAffected if order.is_some_and(std::cmp::Ordering::is_gt) => is_hit = false,
            _ => {}
        }
    }
    is_hit
}

/// One finding for each vulnerability, however many records speak of it.
fn merged(package: &Package, hits: Vec<Hit<'_>>) -> Vec<Finding> {
    let (notices, hits): (Vec<_>, Vec<_>) =
        hits.into_iter().partition(|hit| hit.record.is_of_several());
    let groups = grouped(Vec::new(), hits.into_iter().map(named));
    // A notice of several says something only of those that have no record of their own here.
    let is_told = |names: &BTreeSet<&str>| groups.iter().any(|(told, _)| !told.is_disjoint(names));
    let mut untold = Vec::new();
    for hit in &notices {
        let matters = hit.record.matters().into_iter();
        let matters = matters.map(|(matter, mut names)| {
            names.insert(matter);
            names
        });
        for names in matters.filter(|names| !is_told(names)) {
            let (record, affected, fixed) = (hit.record, hit.affected, hit.fixed.clone());
            untold.push((names, Hit { record, affected, fixed }));
        }
    }
    let groups = grouped(groups, untold.into_iter());
    groups.into_iter().map(|(names, hits)| finding(package, &names, &hits)).collect()
}

type Group<'a> = (BTreeSet<&'a str>, Vec<Hit<'a>>);

fn named(hit: Hit<'_>) -> (BTreeSet<&str>, Hit<'_>) {
    (hit.record.names().filter(|name| !name.is_empty()).collect(), hit)
}

/// Puts together what has a name in common.
fn grouped<'a>(
    mut groups: Vec<Group<'a>>,
    hits: impl Iterator<Item = (BTreeSet<&'a str>, Hit<'a>)>,
) -> Vec<Group<'a>> {
    for (mut names, hit) in hits {
        let mut group = vec![hit];
        // A record may show that two that seemed apart are one.
        let (same, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(known, _)| !known.is_disjoint(&names));
        for (known, hits) in same {
            names.extend(known);
            group.extend(hits);
        }
        groups = apart;
        groups.push((names, group));
    }
    groups
}

fn finding(package: &Package, names: &BTreeSet<&str>, hits: &[Hit<'_>]) -> Finding {
    let id = names.iter().find(|name| name.starts_with("CVE-")).or_else(|| names.first());
    let id = id.map(|id| (*id).to_owned()).unwrap_or_default();
    let severity = hits.iter().map(|hit| hit.record.severity(hit.affected)).max();
    let known = hits.iter().filter_map(|hit| {
        let text = hit.fixed.as_ref()?;
        Some((Ordered::read(package.kind, text)?, text))
    });
    // Records that disagree: the later one is without it by all of them.
    let fixed = known.max_by(|one, other| one.0.order(&other.0)).map(|(_, text)| text.clone());
    let summary = hits.iter().map(|hit| hit.record.summary.trim()).find(|text| !text.is_empty());
    // An advisory of several is a name by which each of them is found.
    let notices = hits.iter().filter(|hit| hit.record.is_of_several()).map(|hit| &*hit.record.id);
    let others: BTreeSet<_> = names.iter().copied().chain(notices).collect();
    Finding {
        aliases: others.into_iter().filter(|name| *name != id).map(ToOwned::to_owned).collect(),
        id,
        severity: severity.unwrap_or_default(),
        package: package.clone(),
        fixed,
        summary: summary.unwrap_or_default().to_owned(),
    }
}
