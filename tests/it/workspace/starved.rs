//! What happens to a fetch when the machine has no memory left.

use std::{fs, net::TcpListener, time::Duration};

use super::{Bench, source};

/// How likely a process is to be ended, as it says itself.
fn score(process: &str) -> Option<i32> {
    fs::read_to_string(format!("/proc/{process}/oom_score_adj")).ok()?.trim().parse().ok()
}

/// The scores of the git workers of this process.
fn of_workers() -> Vec<i32> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let scores = processes.filter_map(|process| {
        let name = process.file_name().into_string().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        let command = fs::read_to_string(process.path().join("cmdline")).ok()?;
        if parent == own && command.contains("git-worker") { score(&name) } else { None }
    });
    scores.collect()
}

/// Fault T12: the kernel takes the worker, which is started again, and not Berth.
#[tokio::test]
async fn a_worker_goes_before_berth_does() {
    let bench = Bench::new();
    // It takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = source(&format!("http://{}/app.git", silent.local_addr().unwrap()));
    let wanted = (score("self").unwrap() + 500).min(1000);
    let looking = async {
        while !of_workers().contains(&wanted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        fetched = bench.fetch(&source) => panic!("nobody has answered: {fetched:?}"),
        seen = tokio::time::timeout(Duration::from_secs(60), looking) => {
            assert!(seen.is_ok(), "no worker stands at {wanted}: {:?}", of_workers());
        }
    }
}
