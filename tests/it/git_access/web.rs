//! Logins over HTTP.

use std::{fs, sync::Arc, time::Duration};

use berth::{
    model::Reason,
    workspace::{Access, HostLogin},
};

use super::{
    Yard, is_written, source,
    wire::{Answer, Wire, basic, git, has_login, status},
};

const PASSWORD: &str = "s3cret-w0rd";

#[tokio::test]
async fn a_private_repository_is_fetched_with_the_secret_that_the_app_names() {
    let yard = Yard::new();
    yard.keep("work", &[("username", "me"), ("password", PASSWORD)]);
    yard.keep("token", &[("token", &format!("{PASSWORD}\n"))]);
    for (secret, user) in [("work", "me"), ("token", "x-access-token")] {
        let wire = Wire::start(git(&yard.served(), Some(basic(user, PASSWORD))));
        let text = format!("{secret}!");
        yard.commit(&[("a", &text)]);
        yard.fetch(&source(&wire.url("/app.git"), Some(secret))).await.unwrap();
        assert_eq!(yard.read("a"), text);
    }
    // Fault G15.
    let workspaces = yard.folder.path().join("workspaces");
    assert!(!is_written(&workspaces, PASSWORD) && !is_written(&workspaces, &basic("me", PASSWORD)));
}

#[tokio::test]
async fn the_operators_secret_for_a_host_is_used_where_an_app_names_none() {
    let login = HostLogin { pattern: "127.0.0.1".to_owned(), secret: "work".to_owned() };
    let yard = Yard::with(|settings| settings.access.logins.push(login));
    yard.keep("work", &[("token", PASSWORD)]);
    let wire = Wire::start(git(&yard.served(), Some(basic("x-access-token", PASSWORD))));
    yard.fetch(&source(&wire.url("/app.git"), None)).await.unwrap();
    // The same server under another name is another host.
    let other = format!("http://localhost:{}/app.git", wire.port());
    let error = yard.fetch(&source(&other, None)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitAuth);
    let error = yard.fetch(&source(&other, Some("work"))).await.unwrap_err();
    assert!(error.to_string().contains("`git-credentials`"), "{error}");
}

/// Faults G02, G16: said once, told by its name, and mended by the next attempt.
#[tokio::test]
async fn a_wrong_password_is_offered_once_and_a_new_one_counts_at_once() {
    let yard = Yard::new();
    let wire = Wire::start(git(&yard.served(), Some(basic("me", PASSWORD))));
    let at = source(&wire.url("/app.git"), Some("work"));
    let error = yard.fetch(&at).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::GitAuth, true));
    assert!(error.to_string().contains("no secret `work`"), "{error}");
    assert!(wire.seen().is_empty(), "nothing was asked without the secret");
    yard.keep("work", &[("username", "me"), ("password", "wr0ng-w0rd")]);
    let (done, said) = yard.fetch_as("chat", &at).await;
    let error = done.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::GitAuth, true), "{error}");
    assert!(error.to_string().contains("the secret `work`"), "{error}");
    assert!(!error.to_string().contains("wr0ng") && !said.contains("wr0ng"));
    let offered = wire.seen().iter().filter(|request| request.login.is_some()).count();
    assert_eq!(offered, 1);
    yard.keep("work", &[("password", PASSWORD)]);
    yard.fetch(&at).await.unwrap();
    // Without a login one is told how to have one.
    let error = yard.fetch(&source(&wire.url("/app.git"), None)).await.unwrap_err();
    assert!(error.to_string().contains("`source.git.auth: {secret: NAME}`"), "{error}");
}

/// Fault G05: who sends us elsewhere learns nothing, and neither does the other host.
#[tokio::test]
async fn a_login_is_not_carried_to_where_a_host_sends_us() {
    let yard = Yard::new();
    yard.keep("work", &[("token", PASSWORD)]);
    let login = basic("x-access-token", PASSWORD);
    let other = Wire::start(git(&yard.served(), Some(login.clone())));
    let path = "/app.git/info/refs?service=git-upload-pack";
    for code in [301, 302, 307, 308] {
        // Another name, before we are asked who we are.
        let to = format!("http://localhost:{}{path}", other.port());
        let wire = Wire::start(redirect(code, to, None));
        let error = yard.fetch(&source(&wire.url("/app.git"), Some("work"))).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SourceNotAllowed, "{error}");
        assert!(wire.seen().iter().all(|request| request.login.is_none()));
        assert!(other.seen().is_empty(), "{:?}", other.seen());
    }
    // Another server of the same name, once we have said who we are.
    let wire = Wire::start(redirect(302, other.url(path), Some(login)));
    yard.fetch(&source(&wire.url("/app.git"), Some("work"))).await.unwrap_err();
    assert!(wire.seen().iter().any(|request| request.login.is_some()));
    assert!(other.seen().iter().all(|request| request.login.is_none()), "{:?}", other.seen());
}

/// Sends everybody on who has the login.
fn redirect(code: u16, to: String, login: Option<String>) -> Answer {
    Arc::new(move |request| {
        let (to, login) = (to.clone(), login.clone());
        Box::pin(async move {
            if !has_login(&request, login.as_deref()) {
                return status(401, &[("www-authenticate", "Basic realm=\"x\"")]);
            }
            status(code, &[("location", &to)])
        })
    })
}

/// A login is sent only after the host has asked for it.
#[tokio::test]
async fn a_public_repository_gets_no_login() {
    let yard = Yard::new();
    yard.keep("work", &[("token", PASSWORD)]);
    let wire = Wire::start(git(&yard.served(), None));
    yard.fetch(&source(&wire.url("/app.git"), Some("work"))).await.unwrap();
    assert!(!wire.seen().is_empty());
    assert!(wire.seen().iter().all(|request| request.login.is_none()));
}

/// Fault G15: what other programs of this machine can see of a worker that has a login.
#[tokio::test]
async fn the_worker_has_its_login_neither_in_its_arguments_nor_in_its_environment() {
    // No other test has this one in the arguments of a program.
    let password = "an0ther-w0rd";
    let yard = Yard::new();
    yard.keep("work", &[("token", password)]);
    let (gate, wire) = Wire::held();
    let at = source(&wire.url("/app.git"), Some("work"));
    let fetch = yard.fetch(&at);
    tokio::pin!(fetch);
    tokio::select! {
        () = gate.reached() => {}
        done = &mut fetch => panic!("done before it was held: {done:?}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the worker asked nobody"),
    }
    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        seen += usize::from(command.contains("git-worker"));
        let shown = command + &String::from_utf8_lossy(&read("environ"));
        assert!(!shown.contains(password), "{shown}");
    }
    assert!(0 < seen);
}

#[tokio::test]
async fn only_hosts_and_schemes_of_the_operators_are_spoken_to() {
    let strict =
        Access { is_loopback_allowed: false, is_private_allowed: false, ..Access::default() };
    let cases: [(Access, &str); 3] = [
        (strict, "`allow-local-git`"),
        (Access { hosts: vec!["*.example.com".into()], ..Access::default() }, "`git-hosts`"),
        (
            Access {
                is_loopback_allowed: false,
                is_private_allowed: false,
                hosts: vec!["127.0.0.1".into()],
                ..Access::default()
            },
            "",
        ),
    ];
    for (access, told) in cases {
        let yard = Yard::with(|settings| settings.access = access);
        let wire = Wire::start(git(&yard.served(), None));
        let done = yard.fetch(&source(&wire.url("/app.git"), None)).await;
        match done {
            Ok(_) => assert_eq!(told, ""),
            Err(error) => {
                assert_eq!(error.reason(), Reason::SourceNotAllowed);
                assert!(!told.is_empty() && error.to_string().contains(told), "{error}");
                assert!(wire.seen().is_empty());
            }
        }
    }
}
