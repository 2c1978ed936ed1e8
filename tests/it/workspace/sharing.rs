//! One mirror and one question for each remote, however many apps (fault G17).

use berth::{plan::Look, workspace::Seen};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;

const APPS: usize = 100;

fn apps() -> Vec<AppName> {
    (0..APPS).map(|nth| AppName::new(&format!("app-{nth}")).unwrap()).collect()
}

impl Bench {
    async fn polls(&self, apps: &[AppName], source: &GitSource) -> Vec<Seen> {
        let poll = async |app: &AppName| {
            let at = (Look::Polled, Instant::now());
            self.workspace.look(app, source, self.folder.path(), &[], at).await.unwrap()
        };
        join_all(apps.iter().map(poll)).await
    }

    /// How many packs the one mirror has: each fetch brings one.
    fn packs(&self) -> usize {
        let folder = fs::read_dir(self.mirror().join("objects/pack")).unwrap();
        let paths = folder.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "pack")).count()
    }

    async fn fetch_for(&self, app: &AppName, source: &GitSource) -> Result<Checkout, Error> {
        let (sender, _said) = mpsc::channel(1000);
        self.workspace.fetch(app, source, self.folder.path(), &[], sender).await
    }
}

#[tokio::test]
async fn a_hundred_apps_of_one_remote_ask_once_and_fetch_once() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    let server = bench.serve();
    let (apps, source) = (apps(), source(&server.url()));
    // A few at a time, as the slots for fetches have it.
    for some in apps.chunks(10) {
        for done in join_all(some.iter().map(|app| bench.fetch_for(app, &source))).await {
            done.unwrap();
        }
    }
    assert_eq!(bench.packs(), 1, "one fetch for all");
    // All polls share one question: here the first one asks again, or nobody does.
    let before = server.connections();
    let seen = bench.polls(&apps, &source).await;
    assert!(seen.iter().all(|seen| matches!(seen, Seen::Same(_))));
    assert!(server.connections() <= before + 1);
    // New for all, asked for at one time.
    bench.commit(&[("a", FILE, "2")]);
    let before = (server.connections(), server.posts());
    let since = Instant::now();
    let look = async |app: &AppName| {
        let at = (Look::Asked, since);
        bench.workspace.look(app, &source, bench.folder.path(), &[], at).await.unwrap()
    };
    let seen = join_all(apps.iter().map(look)).await;
    assert!(seen.iter().all(|seen| matches!(seen, Seen::News(_))));
    assert_eq!((server.connections(), server.posts()), (before.0 + 1, before.1));
}

/// A push that came after the last answer is not missed by whoever asks.
#[tokio::test]
async fn who_asks_gets_an_answer_that_is_newer_than_the_question() {
    let bench = Bench::new();
    let server = bench.serve();
    let source = source(&server.url());
    for text in ["1", "2", "3"] {
        bench.commit(&[("a", FILE, text)]);
        bench.fetch(&source).await.unwrap();
        assert_eq!(bench.code("a"), text);
    }
}

/// Two apps that want different commits of one remote at a time.
#[tokio::test]
async fn apps_with_different_wishes_share_a_mirror() {
    let bench = Bench::new();
    let commits = ["1", "2", "3"].map(|text| bench.commit(&[("a", FILE, text)]));
    for (nth, commit) in commits.iter().enumerate() {
        let object = bench.repository.find_object(*commit, None).unwrap();
        bench.repository.tag_lightweight(&format!("t{nth}"), &object, false).unwrap();
    }
    let server = bench.serve();
    let wishes = (0..6).map(|nth| {
        let app = AppName::new(&format!("app-{nth}")).unwrap();
        (app, at(&source(&server.url()), &format!("t{}", nth % 3)), commits[nth % 3])
    });
    let wishes: Vec<_> = wishes.collect();
    let fetch = async |(app, source, _): &(AppName, GitSource, Oid)| {
        bench.fetch_for(app, source).await.unwrap()
    };
    let done = join_all(wishes.iter().map(fetch)).await;
    for ((app, _, commit), checkout) in wishes.iter().zip(done) {
        assert_eq!(checkout.commit, commit.to_string());
        let code = bench.workspace.code_dir(app).join("a");
        let nth = commits.iter().position(|other| other == commit).unwrap();
        assert_eq!(fs::read_to_string(code).unwrap(), (nth + 1).to_string());
    }
    assert_eq!(bench.packs(), 3);
}

/// The mirror that each app had for itself once is removed when it is seen.
#[tokio::test]
async fn a_mirror_of_one_app_alone_goes() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    let server = bench.serve();
    fs::create_dir_all(bench.area().join("git/objects")).unwrap();
    bench.fetch(&source(&server.url())).await.unwrap();
    assert!(!bench.area().join("git").exists());
}

/// What a changed manifest looks for is found without a new commit and without the network.
#[tokio::test]
async fn what_is_looked_for_later_is_found() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1"), ("deep/Dockerfile", FILE, "FROM x")]);
    let server = bench.serve();
    let first = bench.fetch_for(&bench.app, &source(&server.url())).await.unwrap();
    assert!(!first.has("deep/Dockerfile"));
    let (sender, _said) = mpsc::channel(1000);
    let look_for = ["deep/Dockerfile".to_owned()];
    let (app, source) = (&bench.app, source(&server.url()));
    let again = bench.workspace.fetch(app, &source, bench.folder.path(), &look_for, sender);
    assert!(again.await.unwrap().has("deep/Dockerfile"));
    assert_eq!(bench.packs(), 1);
}
