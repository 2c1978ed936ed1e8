//! Submodules, and repositories that mean harm by them (faults G06, G13).

use super::*;

const MODULE: u32 = 0o160_000;

/// A bench with a second repository, `lib.git`, beside the first.
struct Pair {
    bench: Bench,
    lib: Repository,
    server: Server,
}

impl Pair {
    fn new() -> Self {
        Self::of(Bench::new())
    }

    fn of(bench: Bench) -> Self {
        let lib = Repository::init_bare(bench.folder.path().join("served/lib.git")).unwrap();
        lib.set_head("refs/heads/main").unwrap();
        let server = bench.serve();
        Self { bench, lib, server }
    }

    /// A commit of the main repository, with submodules at these paths.
    fn commit(&self, files: &[(&str, u32, &str)], modules: &[(&str, Oid)]) -> Oid {
        let repository = &self.bench.repository;
        let mut index = repository.index().unwrap();
        index.clear().unwrap();
        for (path, mode, text) in files {
            index.add_frombuffer(&entry(path, *mode), text.as_bytes()).unwrap();
        }
        for (path, commit) in modules {
            index.add(&IndexEntry { id: *commit, ..entry(path, MODULE) }).unwrap();
        }
        self.bench.commit_tree(index.write_tree().unwrap())
    }

    fn source(&self) -> GitSource {
        GitSource { submodules: true, ..source(&self.server.url()) }
    }

    async fn refusal(&self) -> String {
        let error = self.bench.fetch(&self.source()).await.unwrap_err();
        assert!(error.is_permanent(), "{error}");
        error.to_string()
    }
}

/// A commit of any repository.
fn commit_in(repository: &Repository, files: &[(&str, u32, &str)], modules: &[(&str, Oid)]) -> Oid {
    let mut index = repository.index().unwrap();
    index.clear().unwrap();
    for (path, mode, text) in files {
        index.add_frombuffer(&entry(path, *mode), text.as_bytes()).unwrap();
    }
    for (path, commit) in modules {
        index.add(&IndexEntry { id: *commit, ..entry(path, MODULE) }).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::now("a", "a@example.com").unwrap();
    let parent = repository.head().and_then(|head| head.peel_to_commit()).ok();
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("refs/heads/main"), &author, &author, "m", &tree, &parents).unwrap()
}

fn module(path: &str, url: &str) -> String {
    format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n")
}

#[tokio::test]
async fn submodules_are_fetched_within_each_other() {
    let pair = Pair::new();
    let inner = Repository::init_bare(pair.bench.folder.path().join("served/inner.git")).unwrap();
    inner.set_head("refs/heads/main").unwrap();
    let deep = commit_in(&inner, &[("deep", FILE, "deep")], &[]);
    let modules = module("sub/inner", "../inner.git");
    // Not the newest commit of the submodule: the one that the tree names.
    let lib = commit_in(
        &pair.lib,
        &[(".gitmodules", FILE, &modules), ("lib.py", FILE, "lib"), ("link", LINK, "lib.py")],
        &[("sub/inner", deep)],
    );
    commit_in(&pair.lib, &[("lib.py", FILE, "newer")], &[]);
    let modules = module("libs/lib", "../lib.git");
    pair.commit(&[(".gitmodules", FILE, &modules), ("a", FILE, "1")], &[("libs/lib", lib)]);
    let with = pair.bench.fetch(&pair.source()).await.unwrap();
    assert_eq!(pair.bench.code("libs/lib/lib.py"), "lib");
    assert_eq!(pair.bench.code("libs/lib/link"), "lib");
    assert_eq!(pair.bench.code("libs/lib/sub/inner/deep"), "deep");
    assert_eq!(pair.bench.mirrors().len(), 4, "main, inner, and lib in parts and as a whole");
    // The same commit without them is another tree, and with them again the same.
    let plain = GitSource { submodules: false, ..pair.source() };
    let without = pair.bench.fetch(&plain).await.unwrap();
    assert_eq!(with.commit, without.commit);
    assert_ne!(with.tree, without.tree);
    assert!(!pair.bench.workspace.code_dir(&pair.bench.app).join("libs/lib/lib.py").exists());
    assert_eq!(pair.bench.fetch(&pair.source()).await.unwrap().tree, with.tree);
}

#[tokio::test]
async fn submodules_below_the_folder_of_the_app_are_enough() {
    let pair = Pair::new();
    let lib = commit_in(&pair.lib, &[("lib.py", FILE, "lib")], &[]);
    let modules = [module("web/lib", "../lib.git"), module("other", "../absent.git")].concat();
    pair.commit(
        &[(".gitmodules", FILE, &modules), ("web/a", FILE, "1")],
        &[("web/lib", lib), ("other", lib)],
    );
    let web = GitSource { path: "web".to_owned(), ..pair.source() };
    pair.bench.fetch(&web).await.unwrap();
    assert_eq!(pair.bench.code("lib/lib.py"), "lib");
}

/// Faults G04, G05, G06: what `.gitmodules` says leads nowhere else, and what it does not say is
/// not guessed.
#[tokio::test]
async fn tricks_with_the_paths_and_addresses_of_submodules_are_refused() {
    let pair = Pair::new();
    let lib = commit_in(&pair.lib, &[("lib.py", FILE, "lib")], &[]);
    pair.commit(&[("a", FILE, "good")], &[]);
    pair.bench.fetch(&pair.source()).await.unwrap();
    let local = pair.lib.path().display().to_string();
    let cases = [
        // CVE-2025-48384: writer and reader differ about a carriage return.
        ("[submodule \"m\"]\n\tpath = \"m\r\"\n\turl = ../lib.git\n".to_owned(), "no address"),
        (module("../m", "../lib.git"), "no address"),
        (module("/m", "../lib.git"), "no address"),
        (module("m/../.git/hooks", "../lib.git"), "no address"),
        (String::new(), "no address"),
        (module("m", "../../../lib.git"), "leads out of its host"),
        (module("m", &local), "folder of this machine"),
        (module("m", &format!("file://{local}")), "folder of this machine"),
        (module("m", "ext::sh -c touch% /tmp/x"), "submodule at"),
        (module("m", "-u./payload"), "is no address"),
        (module("m", "http://169.254.169.254/latest"), "not the address of a repository"),
        (module("m", "../absent.git"), "can't be had"),
    ];
    for (modules, told) in cases {
        pair.commit(&[(".gitmodules", FILE, &modules)], &[("m", lib)]);
        let refusal = pair.refusal().await;
        assert!(refusal.contains(told) && refusal.contains("`m`"), "{modules}: {refusal}");
    }
    assert_eq!(pair.bench.code("a"), "good");
    let names = fs::read_dir(pair.bench.folder.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["served", "workspaces"], "no file outside its place");
}

/// Fault G06: links of two repositories that only together lead outside.
#[tokio::test]
async fn links_through_a_submodule_stay_inside() {
    let pair = Pair::new();
    let lib = commit_in(&pair.lib, &[("x/up", LINK, ".."), ("lib.py", FILE, "lib")], &[]);
    let modules = module("vendor", "../lib.git");
    let link = "vendor/x/up/../../etc";
    pair.commit(&[(".gitmodules", FILE, &modules), ("link", LINK, link)], &[("vendor", lib)]);
    assert!(pair.refusal().await.contains("`link` in the repository is a link that leads outside"));
}

/// Fault G11: submodules without end.
#[tokio::test]
async fn submodules_within_themselves_come_to_an_end() {
    let pair = Pair::new();
    let mut last = commit_in(&pair.lib, &[("a", FILE, "1")], &[]);
    let modules = module("m", "../lib.git");
    for _ in 0..10 {
        last = commit_in(&pair.lib, &[(".gitmodules", FILE, &modules)], &[("m", last)]);
    }
    pair.commit(&[(".gitmodules", FILE, &modules)], &[("m", last)]);
    assert!(pair.refusal().await.contains("one submodule too many"));
}

/// Fault G11: the limits count what all repositories bring together.
#[tokio::test]
async fn the_limits_hold_for_all_together() {
    let pair = Pair::of(Bench::with(|settings| settings.files_max = 6));
    let lib = commit_in(&pair.lib, &[("a", FILE, "1"), ("b", FILE, "1"), ("c", FILE, "1")], &[]);
    let modules = [module("m", "../lib.git"), module("n", "../lib.git")].concat();
    pair.commit(&[(".gitmodules", FILE, &modules)], &[("m", lib)]);
    pair.bench.fetch(&pair.source()).await.unwrap();
    pair.commit(&[(".gitmodules", FILE, &modules)], &[("m", lib), ("n", lib)]);
    assert!(pair.refusal().await.contains("more than 6 files"));
}

/// Fault G11: a tree that is deeper than any path may be, and one that is small as a pack and
/// endless as a tree.
#[tokio::test]
async fn trees_that_grow_when_they_are_written_are_refused() {
    let bench = Bench::new();
    let blob = bench.repository.blob(b"x").unwrap();
    let bomb = |names: &[&str], id: Oid, mode: i32, levels: usize| {
        let (mut id, mut mode) = (id, mode);
        for _ in 0..levels {
            let mut tree = bench.repository.treebuilder(None).unwrap();
            for name in names {
                tree.insert(name, id, mode).unwrap();
            }
            (id, mode) = (tree.write().unwrap(), 0o040_000);
        }
        bench.commit_tree(id);
    };
    let server = bench.serve();
    bomb(&["d"], blob, 0o100_644, 500);
    let error = bench.fetch(&source(&server.url())).await.unwrap_err();
    assert!(error.to_string().contains("lies too deep"), "{error}");
    // Ten names, ten levels: ten thousand million files in eleven objects.
    bomb(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], blob, 0o100_644, 10);
    let error = bench.fetch(&source(&server.url())).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    assert!(!bench.workspace.code_dir(&bench.app).exists());
}
