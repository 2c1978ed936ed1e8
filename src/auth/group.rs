//! Groups of this machine, as `/etc/group` and `/etc/passwd` name them.

use std::fs;

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
}

impl Group {
    /// The group of this name.
    pub fn find(name: &str) -> Option<Self> {
        find(&fs::read_to_string("/etc/group").ok()?, name)
    }

    /// Whether the user belongs to it. Read anew each time, so that a change counts at once.
    pub fn has(&self, uid: u32, gid: u32) -> bool {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        gid == self.id || has(&read("/etc/group"), &read("/etc/passwd"), self, uid)
    }
}

/// The name of a user of this machine.
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

fn find(groups: &str, name: &str) -> Option<Group> {
    groups.lines().find_map(|line| {
        let mut words = line.split(':');
        let is_it = words.next()? == name;
        let id = words.nth(1)?.parse().ok()?;
        is_it.then(|| Group { name: name.to_owned(), id })
    })
}

fn has(groups: &str, passwd: &str, group: &Group, uid: u32) -> bool {
    let Some(user) = user_name(passwd, uid) else { return false };
    groups.lines().any(|line| {
        let words: Vec<_> = line.split(':').collect();
        let &[name, _, id, members] = words.as_slice() else { return false };
        name == group.name
            && id.parse() == Ok(group.id)
            && members.split(',').any(|member| member.trim() == user)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nberth:x:990:ada,bob\nempty:x:991:\nbroken\n";
    const USERS: &str = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:\neve:x:1001:1001::/:\n";

    #[test]
    fn members_are_those_that_the_files_name() {
        let group = find(GROUPS, "berth").unwrap();
        assert_eq!(group.id, 990);
        assert_eq!(find(GROUPS, "ber"), None);
        assert_eq!(find(GROUPS, "broken"), None);
        assert!(has(GROUPS, USERS, &group, 1000));
        for uid in [0, 1001, 4242] {
            assert!(!has(GROUPS, USERS, &group, uid), "{uid}");
        }
        assert!(!has(GROUPS, USERS, &find(GROUPS, "empty").unwrap(), 1000));
        let renamed = Group { id: 7, ..group };
        assert!(!has(GROUPS, USERS, &renamed, 1000));
    }

    #[test]
    fn the_primary_group_counts() {
        let group = Group { name: "no-such-group".to_owned(), id: 424_242 };
        assert!(group.has(424_299, 424_242) && !group.has(424_299, 424_299));
    }
}
