//! The seeded bugs stay what they are: patches that apply, each with a head that says which fault
//! it brings back and which tests must find it. `make seeded` plants them all, and wakes one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A patch: its head, and for each file what it looks for and what it puts there.
struct Seed {
    name: String,
    head: Vec<(String, String)>,
    hunks: Vec<(String, String, String)>,
}

fn seeds() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeded");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Seed {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let (head, patch) = text.split_once("\n\n").unwrap();
    let head = head.lines().filter_map(|line| line.split_once(": "));
    let head = head.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let (mut hunks, mut file) = (Vec::new(), String::new());
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            path.clone_into(&mut file);
        } else if line.starts_with("@@") {
            hunks.push((file.clone(), String::new(), String::new()));
        } else if let Some((_, old, new)) = hunks.last_mut() {
            let (mark, rest) = line.split_at(usize::from(!line.is_empty()));
            for (side, other) in [(old, "+"), (new, "-")] {
                if mark != other {
                    side.push_str(rest);
                    side.push('\n');
                }
            }
        }
    }
    Seed { name, head, hunks }
}

#[test]
fn every_seeded_bug_still_applies() {
    let seeds = seeds();
    assert!(30 <= seeds.len(), "only {} seeded bugs", seeds.len());
    let mut wrong = Vec::new();
    let mut faults = BTreeSet::new();
    // One after the other into one tree: each finds what those before it have left.
    let mut tree = BTreeMap::new();
    for Seed { name, head, hunks } in &seeds {
        let keys: Vec<_> = head.iter().map(|(key, _)| key.as_str()).collect();
        if keys != ["Fault", "Bug", "Find"] || hunks.is_empty() {
            wrong.push(format!("{name}: a head of Fault, Bug and Find, then a patch"));
            continue;
        }
        faults.insert(&head[0].1);
        // All are planted together: what one does it does only when it is awake.
        let number: u32 = name.split('-').next().unwrap().parse().unwrap();
        let switch = format!("crate::seeded::is({number})");
        if !hunks.iter().any(|(_, old, new)| new.contains(&switch) && !old.contains(&switch)) {
            wrong.push(format!("{name}: nothing in it asks `{switch}`"));
        }
        for (file, old, new) in hunks {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let read =
                || fs::read_to_string(path).map(|text| format!("\n{text}")).unwrap_or_default();
            let text: &mut String = tree.entry(file).or_insert_with(read);
            let (old, new) = (format!("\n{old}"), format!("\n{new}"));
            let found = text.matches(&old).count();
            if found != 1 || old == new || !file.starts_with("src/") {
                wrong.push(format!("{name}: {file} has its lines {found} times"));
            }
            *text = text.replace(&old, &new);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(25 <= faults.len(), "only {} kinds of faults", faults.len());
}
