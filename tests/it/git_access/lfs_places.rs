//! Git LFS in other places than at the repository's own address: submodules, `.lfsconfig`, and what
//! a host says by ssh.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use berth::model::{GitSource, Reason};
use git2::{Oid, Repository};

use super::{
    Yard, commit_in, is_written,
    lfs_server::{Content, PASSWORD, Store},
    source,
    sshd::Sshd,
    wire::{Wire, basic},
};

fn whole(url: &str, auth: Option<&str>) -> GitSource {
    GitSource { lfs: true, submodules: true, ..source(url, auth) }
}

/// Who asked a server where contents are: paths, and the logins that were shown.
fn asked(wire: &Wire) -> Vec<(String, Option<String>)> {
    let seen = wire.seen().into_iter().filter(|request| request.path.ends_with("/objects/batch"));
    seen.map(|request| (request.path, request.login)).collect()
}

/// A repository with files beside the yard's own.
fn neighbour(path: &Path, files: &[(&str, &str)]) -> Oid {
    let repository = Repository::init_bare(path).unwrap();
    repository.set_head("refs/heads/main").unwrap();
    commit_in(&repository, files, &[])
}

/// A store with one content.
fn store_with(content: &Content) -> Store {
    let store = Store::default();
    store.add(content);
    store
}

fn reads(yard: &Yard, path: &str, content: &Content) -> bool {
    fs::read(yard.code(path)).unwrap() == content.bytes()
}

#[tokio::test]
async fn the_files_of_a_submodule_are_had_from_its_own_address() {
    let yard = Yard::new();
    yard.keep("work", &[("token", PASSWORD)]);
    let contents = ["main", "lib", "far"].map(|seed| Content::new(seed, 3000));
    let [main, lib, far] = &contents;
    let near = Store::default();
    near.add(main);
    near.add(lib);
    let wire = near.serve(&yard.served());
    let lib_at = neighbour(&yard.served().join("lib.git"), &[("lib.bin", &lib.pointer())]);
    // One at another host, which has a store of its own and is shown no login.
    let other = yard.folder.path().join("other");
    let far_at = neighbour(&other.join("far.git"), &[("far.bin", &far.pointer())]);
    let elsewhere = store_with(far).serve_to(&other, None, None);
    let modules = format!(
        "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n\
         [submodule \"far\"]\n\tpath = deep/far\n\turl = {}\n",
        elsewhere.url("/far.git")
    );
    let pointer = main.pointer();
    let files = [(".gitmodules", modules.as_str()), ("main.bin", pointer.as_str())];
    commit_in(&yard.repository, &files, &[("lib", lib_at), ("deep/far", far_at)]);
    yard.fetch(&whole(&wire.url("/app.git"), Some("work"))).await.unwrap();
    assert!(reads(&yard, "main.bin", main));
    assert!(reads(&yard, "lib/lib.bin", lib));
    assert!(reads(&yard, "deep/far/far.bin", far));
    let paths: Vec<_> = asked(&wire).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/app.git/info/lfs/objects/batch", "/lib.git/info/lfs/objects/batch"]);
    assert_eq!(asked(&elsewhere), [("/far.git/info/lfs/objects/batch".to_owned(), None)]);
    assert!(elsewhere.seen().iter().all(|request| request.login.is_none()));
}

#[tokio::test]
async fn what_all_repositories_want_together_is_held_against_the_limit() {
    let yard = Yard::with(|settings| settings.transfer_bytes_max = 100_000);
    yard.keep("work", &[("token", PASSWORD)]);
    let (main, lib) = (Content::new("main", 60_000), Content::new("lib", 60_000));
    let store = store_with(&main);
    store.add(&lib);
    let wire = store.serve(&yard.served());
    let lib_at = neighbour(&yard.served().join("lib.git"), &[("lib.bin", &lib.pointer())]);
    let modules = "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n";
    let pointer = main.pointer();
    let files = [(".gitmodules", modules), ("main.bin", pointer.as_str())];
    commit_in(&yard.repository, &files, &[("lib", lib_at)]);
    let error = yard.fetch(&whole(&wire.url("/app.git"), Some("work"))).await.unwrap_err();
    assert!(error.to_string().contains("120000 bytes"), "{error}");
    assert!(asked(&wire).is_empty(), "nothing is asked for");
}

/// Fault G05: the operator's rules hold for the place, and the login is for the repository's host.
#[tokio::test]
async fn a_repository_may_name_another_place_within_the_operators_rules() {
    let yard = Yard::with(|settings| settings.access.hosts = vec!["127.0.0.1".to_owned()]);
    yard.keep("work", &[("token", PASSWORD)]);
    let model = Content::new("weights", 5000);
    let wire = Store::default().serve(&yard.served());
    let elsewhere = store_with(&model).serve_to(&yard.served(), None, None);
    let app = whole(&wire.url("/app.git"), Some("work"));
    let commit = |url: &str| {
        let config = format!("[lfs]\n\turl = {url}\n");
        yard.commit(&[(".lfsconfig", &config), ("model.bin", &model.pointer())]);
    };

    let forbidden = format!("http://localhost:{}/lfs", elsewhere.port());
    commit(&forbidden);
    let error = yard.fetch(&app).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceNotAllowed);
    let told = error.to_string();
    for words in [".lfsconfig", "`localhost`", "`git-hosts`", &forbidden] {
        assert!(told.contains(words), "{words}: {told}");
    }
    for bad in ["file:///etc", "/srv/lfs", "-x", "http://u:hunter2@127.0.0.1/"] {
        commit(bad);
        let told = yard.fetch(&app).await.unwrap_err().to_string();
        assert!(told.contains("`.lfsconfig`") && !told.contains("hunter2"), "{told}");
    }
    assert!(elsewhere.seen().is_empty() && asked(&wire).is_empty());

    commit(&elsewhere.url("/big/files/"));
    yard.fetch(&app).await.unwrap();
    assert!(reads(&yard, "model.bin", &model));
    assert_eq!(asked(&elsewhere), [("/big/files/objects/batch".to_owned(), None)]);
    assert!(elsewhere.seen().iter().all(|request| request.login.is_none()));
    assert!(asked(&wire).is_empty());
}

#[tokio::test]
async fn another_place_on_the_repositorys_own_host_is_logged_in_to() {
    let yard = Yard::new();
    yard.keep("work", &[("token", PASSWORD)]);
    let model = Content::new("weights", 5000);
    let wire = store_with(&model).serve(&yard.served());
    let config = format!("[remote \"origin\"]\n\tlfsurl = {}\n", wire.url("/pool"));
    yard.commit(&[(".lfsconfig", &config), ("model.bin", &model.pointer())]);
    yard.fetch(&whole(&wire.url("/app.git"), Some("work"))).await.unwrap();
    assert!(reads(&yard, "model.bin", &model));
    let login = basic("x-access-token", PASSWORD);
    assert_eq!(asked(&wire), [("/pool/objects/batch".to_owned(), Some(login))]);
}

/// A server for git by ssh, and what it answers about Git LFS.
struct Shell {
    yard: Yard,
    sshd: Sshd,
}

impl Shell {
    fn new() -> Self {
        let yard = Yard::new();
        let folder = yard.folder.path().join("sshd");
        fs::create_dir_all(&folder).unwrap();
        let sshd = Sshd::start(&folder, &yard.served());
        fs::write(yard.folder.path().join("known_hosts"), sshd.known()).unwrap();
        yard.keep("deploy", &[("ssh-privatekey", &sshd.client_key())]);
        Self { yard, sshd }
    }

    /// Has `git-lfs-authenticate` do this; it counts how often it was asked.
    fn answer(&self, script: &str) {
        let (served, program) = (self.yard.served(), self.yard.served().join("lfs"));
        let text = format!(
            "#!/bin/sh\necho \"$1\" >> '{0}/lfs-asked'\ncount=$(grep -c . '{0}/lfs-asked')\n{script}\n",
            served.display()
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.yard.served().join("lfs-asked")).unwrap_or_default()
    }

    fn source(&self) -> GitSource {
        whole(&self.sshd.url(), Some("deploy"))
    }
}

fn answer_with(href: &str) -> String {
    format!(
        "echo '{{\"href\":\"{href}\",\"header\":{{\"Authorization\":\"RemoteAuth '$count'\"}},\"expires_in\":60}}'"
    )
}

#[tokio::test]
async fn a_host_that_is_logged_in_to_by_ssh_says_where_the_files_are() {
    let shell = Shell::new();
    let model = Content::new("weights", 5000);
    let first = Some("RemoteAuth 1".to_owned());
    let wire = store_with(&model).serve_to(&shell.yard.served(), first.clone(), first.clone());
    shell.answer(&answer_with(&wire.url("/app.git/info/lfs")));
    shell.yard.commit(&[("model.bin", &model.pointer()), ("a", "1")]);
    let done = shell.yard.fetch(&shell.source()).await;
    done.unwrap_or_else(|error| panic!("{error}\n{}", shell.sshd.log()));
    assert!(reads(&shell.yard, "model.bin", &model));
    assert_eq!(shell.asked(), "app.git\n");
    assert_eq!(asked(&wire), [("/app.git/info/lfs/objects/batch".to_owned(), first)]);
    // Fault G15.
    assert!(!is_written(&shell.yard.folder.path().join("workspaces"), "RemoteAuth"));
    // What is here is not asked for.
    shell.yard.commit(&[("model.bin", &model.pointer()), ("a", "2")]);
    shell.yard.fetch(&shell.source()).await.unwrap();
    assert_eq!((shell.yard.read("a").as_str(), asked(&wire).len()), ("2", 1));
}

/// What a host gives by ssh lives for minutes: it is asked for anew, once.
#[tokio::test]
async fn what_was_given_by_ssh_is_asked_for_anew_when_it_is_over() {
    let shell = Shell::new();
    let model = Content::new("weights", 5000);
    let wire = store_with(&model).serve_to(&shell.yard.served(), None, Some("RemoteAuth 2".into()));
    shell.answer(&answer_with(&wire.url("/x")));
    shell.yard.commit(&[("model.bin", &model.pointer())]);
    shell.yard.fetch(&shell.source()).await.unwrap();
    assert!(reads(&shell.yard, "model.bin", &model));
    assert_eq!(shell.asked(), "app.git\napp.git\n");

    let shell = Shell::new();
    let wire = store_with(&model).serve_to(&shell.yard.served(), None, Some("never".into()));
    shell.answer(&answer_with(&wire.url("/x")));
    shell.yard.commit(&[("model.bin", &model.pointer())]);
    let error = shell.yard.fetch(&shell.source()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::GitAuth, true), "{error}");
    assert!(error.to_string().contains("what was given by ssh"), "{error}");
    assert_eq!(shell.asked(), "app.git\napp.git\n");
}

/// Where a host has no such command, the usual place by https is asked; where it answers with
/// what can't be used, too.
#[tokio::test]
async fn a_host_that_says_nothing_by_ssh_is_asked_by_https() {
    for script in
        ["echo 'unknown command' >&2; exit 127", "echo hello", "echo '{\"href\":\"ext::x\"}'"]
    {
        let shell = Shell::new();
        let model = Content::new("weights", 5000);
        shell.answer(script);
        shell.yard.commit(&[("model.bin", &model.pointer())]);
        // Nothing listens at the usual place here.
        let error = shell.yard.fetch(&shell.source()).await.unwrap_err();
        assert!(!error.is_permanent(), "{error}");
        assert!(error.to_string().contains("Git LFS"), "{error}");
        assert_eq!(shell.asked(), "app.git\n");
    }
    // A repository that names a place by http is not asked by ssh.
    let shell = Shell::new();
    let model = Content::new("weights", 5000);
    let wire = store_with(&model).serve_to(&shell.yard.served(), None, None);
    shell.answer("exit 1");
    let config = format!("[lfs]\n\turl = {}\n", wire.url("/x"));
    shell.yard.commit(&[(".lfsconfig", &config), ("model.bin", &model.pointer())]);
    shell.yard.fetch(&shell.source()).await.unwrap();
    assert!(reads(&shell.yard, "model.bin", &model));
    assert_eq!(shell.asked(), "");
    assert!(wire.seen().iter().all(|request| request.login.is_none()));
}
