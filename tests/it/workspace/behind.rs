//! How far what runs is behind what is fetched, as the worker counts it.

use berth::{
    plan::Look,
    state::Ahead,
    workspace::{News, Seen},
};
use tokio::time::Instant;

use super::*;

fn commits(count: u32) -> Ahead {
    Ahead { commits: count, is_more: false }
}

async fn look(bench: &Bench, source: &GitSource) -> News {
    let now = (Look::Asked, Instant::now());
    let seen = bench.workspace.look(&bench.app, source, bench.folder.path(), &[], now).await;
    match seen.unwrap() {
        Seen::News(news) => news,
        Seen::Same(checkout) => panic!("{checkout:?}"),
    }
}

/// From a server a part of the history comes, which is enough; a folder of this machine has all.
#[tokio::test]
async fn what_ran_before_is_counted_against_what_came() {
    for is_served in [true, false] {
        let bench = Bench::new();
        let server = bench.serve();
        let source = if is_served { source(&server.url()) } else { local() };
        let one = bench.commit(&[("a", FILE, "1")]).to_string();
        let first = bench.fetch(&source).await.unwrap();
        assert!(first.ahead.is_empty(), "nothing ran before: {:?}", first.ahead);
        let last = ["2", "3", "4"].map(|text| bench.commit(&[("a", FILE, text)]))[2].to_string();
        let second = bench.fetch(&source).await.unwrap();
        assert_eq!((&second.commit, &second.ahead), (&last, &[(one.clone(), commits(3))].into()));
        // An app may run what is older than what was fetched last.
        bench.commit(&[("a", FILE, "5")]);
        let strange = "12".repeat(20);
        let news = look(&bench, &source).await.counting(&[one.clone(), strange, "x".to_owned()]);
        let (sender, _said) = mpsc::channel(1000);
        let folder = bench.folder.path();
        let third = bench.workspace.take(&bench.app, &source, folder, news, sender).await.unwrap();
        assert_eq!(third.ahead, [(one, commits(4)), (last, commits(1))].into());
        let kept = bench.workspace.load(&bench.app).unwrap();
        assert_eq!(kept.ahead, third.ahead, "a restart of Berth does not ask again");
    }
}
