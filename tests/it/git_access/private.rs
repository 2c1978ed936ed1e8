//! Servers whose certificates a private authority has signed, and the login of a repository of
//! manifests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use berth::{
    daemon::repositories::repository,
    model::Reason,
    source::{Source as _, git::Place},
    workspace::{Settings, Workspace, believe},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, USUAL};

use super::{
    Yard, is_written, source,
    wire::{Wire, basic, git},
};

const PASSWORD: &str = "pr1vate-w0rd";

/// What a server for `localhost` shows.
fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (shown, key) = authority.pair(2, USUAL);
    let shown = CertificateDer::from_pem_slice(&shown).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// The environment of a worker that believes this authority.
fn believed_by(authority: &Authority, folder: &Path) -> BTreeMap<String, String> {
    let own = folder.join("own.pem");
    fs::write(&own, authority.pem()).unwrap();
    let mut env = BTreeMap::new();
    believe(&own, &folder.join("all.pem"), &mut env).unwrap();
    env
}

/// Fault G05: nothing is said to a server that nobody has vouched for, and whom the operator
/// believes is spoken to, over https and for Git LFS alike.
#[tokio::test]
async fn a_private_authority_is_believed_only_where_the_operator_says_so() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let folder = tempfile::tempdir().unwrap();
    for (believed, is_good) in [(None, false), (Some(&other), false), (Some(&ours), true)] {
        let env = believed.map(|authority| believed_by(authority, folder.path()));
        let yard = Yard::with(|settings| settings.env = env.unwrap_or_default());
        yard.keep("work", &[("token", PASSWORD)]);
        let login = Some(basic("x-access-token", PASSWORD));
        let wire = Wire::secured(git(&yard.served(), login), acceptor(&ours));
        let url = format!("https://localhost:{}/app.git", wire.port());
        let done = yard.fetch(&source(&url, Some("work"))).await;
        if is_good {
            done.unwrap();
            assert_eq!(yard.read("a"), "1");
            continue;
        }
        let error = done.unwrap_err();
        assert_eq!(error.reason(), Reason::GitUnreachable, "{error}");
        assert!(error.to_string().contains("`git-ca-bundle`"), "{error}");
        assert!(wire.seen().is_empty(), "nothing was asked");
    }
}

/// Faults G15, G16: a repository of manifests has a login of its own, of which nobody sees more than the name.
#[tokio::test]
async fn a_repository_of_manifests_is_read_with_its_own_secret() {
    let yard = Yard::new();
    let manifest = "apiVersion: berth/v1\nkind: App\nmetadata: {name: a}\nspec: {image: x}\n";
    yard.commit(&[("apps/a.yaml", manifest)]);
    let wire = Wire::start(git(&yard.served(), Some(basic("x-access-token", PASSWORD))));
    let settings = Settings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
        access: berth::workspace::Access {
            secrets: Some(yard.secrets.clone()),
            ..berth::workspace::Access::default()
        },
        ..Settings::default()
    };
    let kept = Arc::new(Workspace::new(yard.folder.path().join("sources"), settings));
    let look = async |place: &str| {
        let place = Place::parse(&place.replace("HOST", &wire.url(""))).unwrap();
        let shown = place.to_string();
        let mut source = repository(place, &kept, Duration::from_hours(1));
        (source.snapshot().await.map_err(|error| error.to_string()), shown)
    };
    let with = "git+HOST/app.git?secret=manifests#main:apps";
    for (secret, told) in [(None, "no secret `manifests`"), (Some("wr0ng"), "`manifests`")] {
        if let Some(secret) = secret {
            yard.keep("manifests", &[("token", secret)]);
        }
        let (seen, shown) = look(with).await;
        let error = seen.unwrap_err();
        assert!(error.contains(told) && !error.contains("wr0ng"), "{error}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    yard.keep("manifests", &[("token", PASSWORD)]);
    let (seen, _) = look(with).await;
    assert_eq!(seen.unwrap().files.len(), 1);
    let (seen, _) = look("git+HOST/app.git#main:apps").await;
    assert!(seen.is_err() || wire.seen().iter().any(|request| request.login.is_some()));
    assert!(!is_written(&yard.folder.path().join("sources"), PASSWORD));
}
