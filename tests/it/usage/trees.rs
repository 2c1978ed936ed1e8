//! Both versions of the kernel's accounts, in every shape, and hostile.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use berth::state::{Container, ContainerState};

use super::tree::{Tree, container, id, of};

pub(super) fn two() -> Vec<Container> {
    let mut host = container(&id("b2"), "plain", None);
    host.networks = [("host".to_owned(), None)].into_iter().collect();
    vec![container(&id("a1"), "web-01234567", Some("web")), host]
}

/// What does not hang on the machine that the test runs on.
fn stable(text: &str) -> String {
    let hangs = ["node_filesystem_", "node_time_", "berth_usage_read_", "berth_usage_open_"];
    let is_stable = |line: &&str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        !hangs.iter().any(|begin| name.starts_with(begin))
    };
    let lines: Vec<_> = text.lines().filter(is_stable).collect();
    lines.join("\n") + "\n"
}

#[track_caller]
fn is_as_written(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/usage").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn cgroup_v1_and_mixed() {
    let tree = Tree::unpack("v1.tree", |_| ());
    tree.see(two());
    is_as_written("v1.prom", &stable(&tree.text()));
}

/// The second one is of a rootless engine, and its own list of processes is of another namespace.
#[tokio::test(start_paused = true)]
async fn cgroup_v2_with_systemd_and_rootless() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let mut both = two();
    both[1].networks = both[0].networks.clone();
    tree.see(both);
    is_as_written("v2.prom", &stable(&tree.text()));
}

/// Each family once, with help and type before its series, and no series twice.
#[tokio::test(start_paused = true)]
async fn the_text_is_well_formed() {
    for name in ["v1.tree", "v2.tree"] {
        let tree = Tree::unpack(name, |_| ());
        tree.see(two());
        let text = tree.text();
        let (mut families, mut series, mut current) = (BTreeSet::new(), BTreeSet::new(), "");
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# HELP ") {
                let name = head.split(' ').next().unwrap();
                assert!(families.insert(name), "{name} is there twice");
                current = name;
            } else if let Some(head) = line.strip_prefix("# TYPE ") {
                assert_eq!(head.split(' ').next(), Some(current));
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(key.split('{').next(), Some(current), "{line}");
                assert!(series.insert(key), "{key} is there twice");
                value.parse::<f64>().unwrap();
            }
        }
        assert!(!text.contains("hunter2") && !text.contains("compose_version"), "H09");
        assert!(30 < families.len());
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_within_a_second_is_told_the_same() {
    let tree = Tree::unpack("v2.tree", |_| ());
    tree.see(two());
    let family = "container_memory_usage_bytes";
    let before = of(&tree.text(), family).join("\n");
    tree.put(&format!("cgroup/system.slice/docker-{}.scope/memory.current", id("a1")), "5\n");
    assert_eq!(of(&tree.text(), family).join("\n"), before);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(of(&tree.text(), family)[0].ends_with(" 5"));
}

/// Fault H09: what is gone has no series at the next look, whether or not the engine said so.
#[tokio::test(start_paused = true)]
async fn a_container_that_is_gone_has_no_series() {
    let tree = Tree::unpack("v2.tree", |_| ());
    tree.see(two());
    assert!(tree.text().contains("name=\"web-01234567\""));
    let place = format!("cgroup/system.slice/docker-{}.scope", id("a1"));
    fs::rename(tree.folder.path().join(&place), tree.folder.path().join("kept")).unwrap();
    // The files that were open go on to be readable here; the kernel answers ENODEV.
    for file in ["cpu.stat", "memory.current"] {
        fs::remove_file(tree.folder.path().join("kept").join(file)).unwrap();
    }
    tree.see(vec![two().remove(1)]);
    let text = tree.text();
    assert!(!text.contains("web-01234567") && text.contains("name=\"plain\""));
    let mut stopped = two();
    stopped[1].state = ContainerState::Exited;
    tree.see(stopped);
    let text = tree.text();
    assert!(!text.contains("name=\"plain\""));
    assert!(of(&text, "berth_usage_left_out").iter().any(|l| l.ends_with("\"unreadable\"} 1")));
}

/// A container that ends between two files of one look, with nothing kept open.
#[tokio::test(start_paused = true)]
async fn one_that_ends_while_it_is_read_is_left_out() {
    let tree = Tree::unpack("v1.tree", |_| ());
    tree.see(two());
    tree.text();
    tokio::time::advance(Duration::from_secs(2)).await;
    // Its first process is gone, and its accounts with it, while files of them are still open.
    fs::remove_dir_all(tree.folder.path().join("proc/42")).unwrap();
    for controller in ["memory", "cpu,cpuacct", "pids", "blkio"] {
        let place = format!("cgroup/{controller}/docker/{}", id("a1"));
        fs::remove_dir_all(tree.folder.path().join(place)).unwrap();
    }
    let text = tree.text();
    assert!(!text.contains("web-01234567"), "{text}");
    assert!(text.contains("name=\"plain\""));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_is_found_again_with_its_new_process() {
    let tree = Tree::unpack("v1.tree", |_| ());
    tree.see(two());
    tree.text();
    tokio::time::advance(Duration::from_secs(2)).await;
    let folder = tree.folder.path();
    fs::rename(folder.join("proc/42"), folder.join("proc/50")).unwrap();
    let stat = fs::read_to_string(folder.join("proc/50/stat")).unwrap();
    tree.put("proc/50/stat", &stat.replace(" 1000 ", " 500000 "));
    tree.put(&format!("cgroup/memory/docker/{}/cgroup.procs", id("a1")), "50\n");
    let text = tree.text();
    let started = of(&text, "container_start_time_seconds");
    assert!(started[0].contains("web-01234567") && started[0].ends_with(" 1700005000"), "{text}");
    assert_eq!(of(&text, "container_network_receive_bytes_total").len(), 1);
}

/// Looked at too soon, or by one whose process numbers are others, it is looked for again; where its
/// processes stay hidden, not for ever.
#[tokio::test(start_paused = true)]
async fn a_container_whose_process_was_not_seen_at_first_gets_its_network() {
    let family = "container_network_receive_bytes_total";
    for is_hidden in [false, true] {
        let tree = Tree::unpack("v1.tree", |_| ());
        let (process, aside) = (tree.folder.path().join("proc/42"), tree.folder.path().join("42"));
        fs::rename(&process, &aside).unwrap();
        // What a program in another namespace reads of a process outside.
        tree.put(&format!("cgroup/memory/docker/{}/cgroup.procs", id("a1")), "0\n");
        tree.see(two());
        let text = tree.text();
        assert!(of(&text, family).is_empty(), "{text}");
        assert!(text.contains("container_memory_usage_bytes{id=\"/docker/a1"), "{text}");
        if is_hidden {
            for _ in 0..40 {
                tokio::time::advance(Duration::from_secs(10)).await;
                assert!(of(&tree.text(), family).is_empty());
            }
        }
        fs::rename(&aside, &process).unwrap();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(of(&tree.text(), family).is_empty(), "the table is not read all the time");
        tokio::time::advance(Duration::from_secs(1)).await;
        let text = tree.text();
        assert_eq!(of(&text, family).len(), usize::from(!is_hidden), "{text}");
        let started = of(&text, "container_start_time_seconds");
        assert_eq!(started.iter().any(|line| line.contains("web-01234567")), !is_hidden);
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_what_is_shown_and_it_is_said() {
    let tree = Tree::unpack("v1.tree", |settings| settings.containers_max = 1);
    let mut all = two();
    all.reverse();
    tree.see(all);
    let place = |file: &str| format!("cgroup/blkio/docker/{}/{file}", id("a1"));
    let disks: Vec<_> = (0..40).map(|nth| format!("8:{nth} Read 1\n")).collect();
    tree.put(&place("blkio.throttle.io_service_bytes_recursive"), &disks.concat());
    let interfaces: Vec<_> =
        (0..30).map(|nth| format!("e{nth}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")).collect();
    tree.put("proc/42/net/dev", &interfaces.concat());
    let text = tree.text();
    assert!(text.contains("web-01234567"), "our own come first");
    assert_eq!(of(&text, "container_network_receive_bytes_total").len(), 16);
    assert_eq!(of(&text, "container_fs_reads_bytes_total").len(), 16);
    let out = of(&text, "berth_usage_left_out");
    let ends = ["\"containers\"} 1", "\"devices\"} 25", "\"interfaces\"} 14", "\"unreadable\"} 0"];
    for (line, end) in out.iter().zip(ends) {
        assert!(line.ends_with(end), "{out:#?}");
    }
}

/// Has every file below a folder hold this, but those that say which controllers there are.
fn overwrite(folder: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            overwrite(&entry.path(), bytes);
        } else if entry.file_name() != "cgroup.controllers" {
            fs::write(entry.path(), bytes).unwrap();
        }
    }
}

/// Whatever lies in the folders: nothing hangs, fails or is taken for a figure.
#[tokio::test(start_paused = true)]
async fn hostile_files_are_no_figures() {
    let odd: [&[u8]; 9] = [
        b"",
        b"\n\n\n",
        b"max",
        b"-1\n",
        b"99999999999999999999999999\n",
        b"\xff\xfe\x00\x01",
        b"usage_usec\nanon\n8:0\nsome total\n",
        b"usage_usec NaN\nanon 1e9\n8:x rbytes=1\nsome avg10=a total=\n",
        b"\"} 1\ncontainer_evil 1\n",
    ];
    for (nth, name) in odd.iter().zip(["v1.tree", "v2.tree"].iter().cycle()).enumerate() {
        let (bytes, name) = name;
        let tree = Tree::unpack(name, |_| ());
        overwrite(&tree.folder.path().join("cgroup"), bytes);
        tree.see(two());
        let text = tree.text();
        assert!(!text.contains("evil"), "{nth}");
        assert!(of(&text, "container_memory_usage_bytes").is_empty(), "{nth}: {text}");
        assert!(of(&text, "container_cpu_usage_seconds_total").is_empty(), "{nth}: {text}");
        assert_eq!(of(&text, "container_last_seen").len(), 2, "{nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn pipes_folders_and_endless_files_hold_nobody_up() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let place = tree.folder.path().join(format!("cgroup/system.slice/docker-{}.scope", id("a1")));
    for file in ["cpu.stat", "memory.stat", "io.stat", "cgroup.procs"] {
        fs::remove_file(place.join(file)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.join("cpu.stat"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::create_dir(place.join("memory.stat")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.join("io.stat")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.join("cgroup.procs")).unwrap();
    tree.see(two());
    let text = tree.text();
    let memory = of(&text, "container_memory_usage_bytes");
    assert_eq!(memory.len(), 2, "{text}");
    assert!(of(&text, "container_cpu_usage_seconds_total").len() == 1);
}

/// Names that break out of labels, and names without end.
#[tokio::test(start_paused = true)]
async fn hostile_names_stay_in_their_quotes() {
    let tree = Tree::unpack("v2.tree", |_| ());
    let mut all = two();
    all[0].name = "a\"} 1\nevil{x=\"\\".to_owned();
    all[1].image = "é".repeat(1000);
    tree.see(all);
    let text = tree.text();
    assert!(!text.lines().any(|line| line.starts_with("evil")));
    assert!(text.contains("name=\"a\\\"} 1\\nevil{x=\\\"\\\\\""));
    assert!(text.contains(&format!("image=\"{}\"", "é".repeat(128))));
}
