//! The profile `restricted`, as a program in a container meets it.

use std::collections::BTreeMap;

use super::{
    engine::{self, docker},
    stage::{Stage, tiny},
};

/// What the app tries, and says of it.
const LOOK: &str = "echo uid $(id -u) gid $(id -g)
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
for place in / /etc /bin /root /var /www; do touch $place/mark 2>/dev/null && echo wrote $place; done
touch /scratch/mark && echo wrote /scratch
chown 0 /scratch/mark 2>/dev/null && echo owned
chroot / true 2>/dev/null && echo rooted
mount -t tmpfs none /scratch 2>/dev/null && echo mounted
mknod /scratch/null c 1 3 2>/dev/null && echo made
while read -r _ place _ options _; do [ $place = / ] && echo root $options; done </proc/mounts
cat /proc/1/environ >/dev/null && echo looked
echo end";

/// Fault T11: nothing of the image can be written, the app is not root, and no capability is left,
/// neither held nor to be had.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_held_tightly_sees_no_root_no_capability_and_writes_nothing_of_its_image() {
    let stage = Stage::new();
    let script = serde_json::Value::from(format!("{LOOK}; sleep 3600"));
    let rest = "health: none\nstopGracePeriod: 1s\nmounts: [{path: /scratch, tmpfs: 1Mi}]";
    let command = format!("[sh, -c, {script}]");
    stage.write("loose.yaml", &tiny("loose", &command, rest));
    let tight = format!("{rest}\nsecurity: {{profile: restricted}}");
    stage.write("tight.yaml", &tiny("tight", &command, &tight));
    let berth = stage.start();
    let mut said = BTreeMap::new();
    for app in ["loose", "tight"] {
        berth.until_running(app).await;
        let id = stage.container(app).id();
        berth.until("it has said all", || engine::log_of(&id).lines().any(|l| l == "end")).await;
        said.insert(app, docker(&["logs", &id]));
    }
    let (loose, tight) = (&said["loose"], &said["tight"]);
    let has = |said: &str, line: &str| said.lines().any(|said| said.trim() == line);
    let number = |said: &str, name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    assert!(has(tight, "uid 65532 gid 65532"), "{tight}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(number(tight, set), 0, "{tight}");
    }
    for line in ["wrote /scratch", "end"] {
        assert!(has(tight, line), "{tight}");
    }
    let root = tight.lines().find_map(|line| line.strip_prefix("root ")).unwrap();
    assert!(root.split(',').any(|option| option == "ro"), "{tight}");
    for word in ["wrote /", "wrote /etc", "wrote /bin", "wrote /root", "wrote /var", "wrote /www"] {
        assert!(!has(tight, word), "{tight}");
    }
    for word in ["owned", "rooted", "mounted", "made"] {
        assert!(!has(tight, word), "{tight}");
    }
    // Without it the same program can do most of that, so that the look is one; never all.
    assert!(has(loose, "uid 0 gid 0") && has(loose, "wrote /") && has(loose, "owned"), "{loose}");
    assert!(0 < number(loose, "CapEff") && !has(loose, "mounted"), "{loose}");
    for said in [loose, tight] {
        assert_eq!(number(said, "NoNewPrivs"), 1, "{said}");
        assert_eq!(number(said, "Seccomp"), 2, "{said}");
    }
    berth.stop().await;
}
