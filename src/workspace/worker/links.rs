//! Follows symbolic links within a tree that is not on a disk yet.

use std::collections::BTreeMap;

/// How many links are followed before it is taken for a loop. A loop leads nowhere.
const FOLLOWED_MAX: usize = 40;

/// All symbolic links of a tree: path to target.
pub(super) type Links = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whether the link at `path` leads to a place inside the tree, also by way of other links.
pub(super) fn stays_inside(path: &[u8], target: &[u8], links: &Links) -> bool {
    let mut at: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    at.pop();
    let mut ahead: Vec<&[u8]> = target.rsplit(|byte| *byte == b'/').collect();
    let mut followed = 0;
    if target.is_empty() || target.starts_with(b"/") {
        return false;
    }
    while let Some(part) = ahead.pop() {
        match part {
            b"" | b"." => {}
            b".." => {
                if at.pop().is_none() {
                    return false;
                }
            }
            name => {
                at.push(name);
                let Some(target) = links.get(&at.join(&b'/')) else { continue };
                followed += 1;
                if target.starts_with(b"/") {
                    return false;
                }
                if FOLLOWED_MAX < followed {
                    return true;
                }
                at.pop();
                ahead.extend(target.rsplit(|byte| *byte == b'/'));
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, target: &str, others: &[(&str, &str)]) -> bool {
        let links = others.iter().map(|(p, t)| (p.as_bytes().to_vec(), t.as_bytes().to_vec()));
        stays_inside(path.as_bytes(), target.as_bytes(), &links.collect())
    }

    #[test]
    fn links_within_the_tree_stay_inside() {
        assert!(check("l", "a", &[]));
        assert!(check("a/l", "../b", &[]));
        assert!(check("a/b/l", "../..", &[]));
        assert!(check("l", "m", &[("m", "l")]), "a loop leads nowhere");
    }

    /// Fault G06.
    #[test]
    fn links_that_leave_the_tree_are_seen() {
        assert!(!check("l", "/etc/passwd", &[]));
        assert!(!check("l", "..", &[]));
        assert!(!check("a/l", "../../x", &[]));
        assert!(!check("l", "", &[]));
    }

    /// Fault G06: each link alone looks harmless.
    #[test]
    fn links_that_leave_the_tree_together_are_seen() {
        assert!(!check("x/y/t", "s/../etc", &[("x/y/s", "../..")]));
        assert!(!check("l", "m/x", &[("m", "/")]));
    }
}
