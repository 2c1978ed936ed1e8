//! What a manifest may name of a repository, and what happens when that changes (fault G08).

use berth::{
    plan::Look,
    workspace::{News, Seen},
};
use tokio::time::Instant;

use super::*;

impl Bench {
    fn tag(&self, name: &str, commit: Oid) {
        let object = self.repository.find_object(commit, None).unwrap();
        self.repository.tag_lightweight(name, &object, true).unwrap();
    }

    async fn look(&self, source: &GitSource, look: Look) -> Result<Seen, Error> {
        let at = (look, Instant::now());
        self.workspace.look(&self.app, source, self.folder.path(), &[], at).await
    }

    async fn take(&self, source: &GitSource, news: News) -> Result<Checkout, Error> {
        let (sender, _said) = mpsc::channel(1000);
        self.workspace.take(&self.app, source, self.folder.path(), news, sender).await
    }

    /// Has the branch be at an earlier commit again.
    fn back_to(&self, commit: Oid) {
        let commit = self.repository.find_object(commit, None).unwrap();
        self.repository.reset(&commit, git2::ResetType::Soft, None).unwrap();
    }

    fn is_at(&self, commit: Oid) -> bool {
        self.workspace.load(&self.app).unwrap().commit == commit.to_string()
    }
}

#[tokio::test]
async fn what_was_resolved_is_told() {
    let bench = Bench::new();
    let commits: Vec<_> =
        ["1", "2", "3", "4"].map(|text| bench.commit(&[("a", FILE, text)])).into();
    bench.tag("v1.2.0", commits[0]);
    bench.tag("1.4.2", commits[1]);
    bench.tag("v2.0.0-rc.1", commits[2]);
    let server = bench.serve();
    let (first, third) = (commits[0].to_string(), commits[2].to_string());
    for base in [source(&server.url()), local()] {
        for (reference, commit, what) in [
            ("main", 3, "branch main".to_owned()),
            ("v1.2.0", 0, "tag v1.2.0".to_owned()),
            (">=1.2 <2", 1, "tag 1.4.2".to_owned()),
            ("~1.2", 0, "tag v1.2.0".to_owned()),
            (">=2.0.0-rc.0", 2, "tag v2.0.0-rc.1".to_owned()),
            (&first, 0, format!("commit {}", &first[..12])),
            // A commit that no name leads to: only the whole history tells it.
            (&third[..9], 2, format!("commit {}", &third[..12])),
        ] {
            let checkout = bench.fetch(&at(&base, reference)).await.unwrap();
            let resolved = checkout.resolved.clone().unwrap();
            assert_eq!((&checkout.commit, resolved), (&commits[commit].to_string(), what));
            assert_eq!(bench.code("a"), (commit + 1).to_string(), "{reference}");
        }
        let checkout = bench.fetch(&base).await.unwrap();
        assert_eq!(checkout.resolved.as_deref(), Some("branch main"));
        let error = bench.fetch(&at(&base, "^3")).await.unwrap_err();
        assert!(
            error.to_string().contains("versions there: v2.0.0-rc.1, 1.4.2, v1.2.0"),
            "{error}"
        );
        let error = bench.fetch(&at(&base, "0123456")).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RefNotFound, "{error}");
    }
}

/// Once it is known which commit a few digits mean, nobody is asked again.
#[tokio::test]
async fn a_commit_is_asked_for_once() {
    let bench = Bench::new();
    let commit = bench.commit(&[("a", FILE, "1")]).to_string();
    let server = bench.serve();
    let source = at(&source(&server.url()), &commit[..10]);
    bench.fetch(&source).await.unwrap();
    drop(server);
    assert!(matches!(bench.look(&source, Look::Asked).await.unwrap(), Seen::Same(_)));
}

#[tokio::test]
async fn a_force_push_is_followed_and_told() {
    let bench = Bench::new();
    let server = bench.serve();
    let base = bench.commit(&[("a", FILE, "1")]);
    for source in [source(&server.url()), local()] {
        let old = bench.commit(&[("a", FILE, "old")]);
        bench.fetch(&source).await.unwrap();
        bench.back_to(base);
        let new = bench.commit(&[("a", FILE, "new")]);
        let checkout = bench.fetch(&source).await.unwrap();
        assert_eq!(checkout.commit, new.to_string());
        assert_eq!(bench.code("a"), "new");
        let told = format!("branch main, force-pushed over {}", &old.to_string()[..12]);
        assert_eq!(checkout.resolved, Some(told));
        bench.back_to(base);
    }
}

/// A part of a history is enough to tell, mostly; where it is not, that is what is said.
#[tokio::test]
async fn a_part_of_a_history_tells_what_it_can_of_a_force_push() {
    // Small limits, so that there is room for all that they allow.
    let bench = Bench::with(|settings| {
        (settings.transfer_bytes_max, settings.tree_bytes_max) = (16 << 20, 16 << 20);
    });
    let server = bench.serve();
    let push = |count: usize| {
        let mut last = None;
        for nth in 0..count {
            last = Some(bench.commit(&[("a", FILE, &format!("{count} {nth}"))]));
        }
        last.unwrap()
    };
    let told = async |source: &GitSource| {
        let known = bench.workspace.load(&bench.app);
        let resolved = bench.fetch(source).await.unwrap().resolved.unwrap();
        known.map_or(resolved.clone(), |known| {
            resolved.replace(&known.commit[..12], "what was there")
        })
    };
    let part = source(&server.url());
    push(30);
    assert_eq!(told(&part).await, "branch main");
    let third = push(3);
    assert_eq!(told(&part).await, "branch main", "it went on by three commits");
    push(9);
    assert_eq!(told(&part).await, "branch main", "it went on by nine");
    let over = "branch main, force-pushed over what was there";
    bench.back_to(third);
    assert_eq!(told(&part).await, over, "it went back");
    push(40);
    let unsure = told(&part).await;
    let said = "branch main, went on from what was there or was force-pushed over it: the part of its \
                history that is here does not tell (`depth: 0` has all of it fetched)";
    assert_eq!(unsure, said);
    assert!(!is_whole(&bench.mirror()), "no more was fetched than a part");
    // Nobody has to guess who has it all.
    let whole = GitSource { depth: Some(0), ..part };
    push(1);
    assert_eq!(told(&whole).await, "branch main");
    push(40);
    assert_eq!(told(&whole).await, "branch main", "it went on by forty");
    bench.back_to(third);
    assert_eq!(told(&whole).await, over);
}

/// Looking back must not cost what the operator does not allow.
#[tokio::test]
async fn a_history_that_is_too_much_is_not_looked_back_into() {
    let bench = Bench::with(|settings| settings.transfer_bytes_max = 900_000);
    let server = bench.serve();
    let source = source(&server.url());
    for nth in 0..3 {
        for half in 0..2 {
            bench.commit(&[("a", FILE, &noise(1_000_000, nth * 2 + half))]);
        }
        let checkout = bench.fetch(&source).await.unwrap();
        let resolved = checkout.resolved.unwrap();
        assert!(resolved.starts_with("branch main"), "{nth}: {resolved}");
        assert_eq!(bench.code("a"), noise(1_000_000, nth * 2 + 1));
    }
}

#[tokio::test]
async fn a_branch_that_is_gone_keeps_its_last_commit() {
    let bench = Bench::new();
    let server = bench.serve();
    let commit = bench.commit(&[("a", FILE, "1")]);
    for base in [source(&server.url()), local()] {
        let commit = bench.repository.find_commit(commit).unwrap();
        let mut branch = bench.repository.branch("dev", &commit, true).unwrap();
        bench.fetch(&at(&base, "dev")).await.unwrap();
        branch.delete().unwrap();
        let error = bench.fetch(&at(&base, "dev")).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RefMissing);
        let told = format!(
            "branch dev is gone from {}: its last commit {} is kept; branches there: main",
            base.url,
            &commit.id().to_string()[..12]
        );
        assert_eq!(error.to_string(), told);
        assert!(bench.is_at(commit.id()));
        assert_eq!(bench.code("a"), "1");
    }
}

#[tokio::test]
async fn a_tag_that_moved_is_not_followed_before_somebody_asks() {
    let bench = Bench::new();
    let server = bench.serve();
    let (from, to) = (bench.commit(&[("a", FILE, "1")]), bench.commit(&[("a", FILE, "2")]));
    for base in [source(&server.url()), local()] {
        for reference in ["v1.0.0", "^1"] {
            bench.tag("v1.0.0", from);
            let source = at(&base, reference);
            let Seen::News(news) = bench.look(&source, Look::Take).await.unwrap() else { panic!() };
            bench.take(&source, news).await.unwrap();
            assert!(bench.is_at(from));
            bench.tag("v1.0.0", to);
            let error = bench.fetch(&source).await.unwrap_err();
            assert_eq!(error.reason(), Reason::TagMoved);
            let (short_from, short_to) = (&from.to_string()[..12], &to.to_string()[..12]);
            let told = format!("was moved from {short_from} to {short_to}: {short_from} is kept");
            assert!(error.to_string().contains(&told), "{error}");
            assert!(bench.is_at(from));
            let Seen::News(news) = bench.look(&source, Look::Take).await.unwrap() else { panic!() };
            bench.take(&source, news).await.unwrap();
            assert!(bench.is_at(to));
        }
    }
}

/// A version that was taken back does not bring an older one.
#[tokio::test]
async fn a_range_goes_up_and_not_down() {
    let bench = Bench::new();
    let server = bench.serve();
    let commits = ["1", "2", "3"].map(|text| bench.commit(&[("a", FILE, text)]));
    let source = at(&source(&server.url()), "^1");
    bench.tag("v1.0.0", commits[0]);
    bench.fetch(&source).await.unwrap();
    bench.tag("v1.1.0", commits[1]);
    bench.fetch(&source).await.unwrap();
    assert!(bench.is_at(commits[1]));
    bench.repository.tag_delete("v1.1.0").unwrap();
    let error = bench.fetch(&source).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RefMissing);
    assert!(error.to_string().ends_with("`berth rebuild` takes tag v1.0.0"), "{error}");
    assert!(bench.is_at(commits[1]));
    bench.tag("v1.2.0", commits[2]);
    bench.fetch(&source).await.unwrap();
    assert!(bench.is_at(commits[2]));
}

fn is_whole(path: &std::path::Path) -> bool {
    path.to_string_lossy().ends_with("-whole.git")
}

/// Fault G10: a server that can't give a part of a history.
#[tokio::test]
async fn a_server_without_parts_gives_all() {
    let bench = Bench::new();
    let first = bench.commit(&[("a", FILE, "1")]);
    bench.commit(&[("a", FILE, "2")]);
    let server = Server::start(Answers::Whole(bench.folder.path().join("served")));
    let (done, said) = bench.fetch_and_listen(&source(&server.url())).await;
    done.unwrap();
    assert!(said.iter().any(|line| line.contains("whole history")), "{said:?}");
    let whole = bench.mirrors().into_iter().find(|path| is_whole(path)).unwrap();
    let whole = Repository::open_bare(whole).unwrap();
    assert!(!whole.is_shallow() && whole.find_commit(first).is_ok());
    // From then on it is asked for all at once.
    bench.commit(&[("a", FILE, "3")]);
    let before = server.posts();
    bench.fetch(&source(&server.url())).await.unwrap();
    assert_eq!((server.posts() - before, bench.code("a")), (1, "3".to_owned()));
}

/// Faults G02, G08: a login that is asked for later takes nothing away from what runs.
#[tokio::test]
async fn a_repository_that_became_private_keeps_its_last_commit() {
    let bench = Bench::new();
    let commit = bench.commit(&[("a", FILE, "1")]);
    let served = bench.folder.path().join("served");
    let private = Server::start(Answers::Private(served, "Basic dTpw".to_owned()));
    bench.fetch(&local()).await.unwrap();
    let error = bench.fetch(&source(&private.url())).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitAuth, "{error}");
    assert!(bench.is_at(commit));
}

/// Fault G04: what looks like an option of a program is only a name that nobody has.
#[tokio::test]
async fn option_like_names_are_names() {
    let bench = Bench::new();
    bench.commit(&[("a", FILE, "1")]);
    let server = bench.serve();
    let marker = bench.folder.path().join("ran");
    let bad = format!("--upload-pack=touch {}", marker.display());
    for base in [source(&server.url()), local()] {
        for reference in [bad.as_str(), "-c", "--", "..", "@{-1}", "main:a", "main^{/x}"] {
            let error = bench.fetch(&at(&base, reference)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::RefNotFound, "{reference}: {error}");
            assert!(berth::model::check_git_ref(reference).is_err(), "{reference}");
        }
    }
    assert!(!marker.exists());
}
