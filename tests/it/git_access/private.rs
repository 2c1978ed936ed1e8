//! Servers whose certificates a private authority has signed, and the login of a repository of
//! manifests.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use berth::{
    daemon::repositories::repository,
    model::Reason,
    source::{Source as _, git::Place},
    workspace::{Settings, Workspace, believe},
};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{
    Yard, is_written, source,
    wire::{Wire, basic, git},
};

const PASSWORD: &str = "pr1vate-w0rd";

/// Somebody who signs certificates.
struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate in the making, for a day from now.
fn begun(name: &str, key: &PKey<Private>, serial: u32) -> X509Builder {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = new_key();
        let mut builder = begun(name, &key, 1);
        let mut own = X509NameBuilder::new().unwrap();
        own.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
        builder.set_issuer_name(&own.build()).unwrap();
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// What a server for `localhost` shows.
    fn acceptor(&self) -> TlsAcceptor {
        let key = new_key();
        let mut builder = begun("localhost", &key, 2);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(Some(&self.certificate), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let shown = CertificateDer::from(builder.build().to_der().unwrap());
        let key = PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// The environment of a worker that believes this one.
    fn believed(&self, folder: &std::path::Path) -> BTreeMap<String, String> {
        let own = folder.join("own.pem");
        fs::write(&own, self.certificate.to_pem().unwrap()).unwrap();
        let mut env = BTreeMap::new();
        believe(&own, &folder.join("all.pem"), &mut env).unwrap();
        env
    }
}

/// Fault G05: nothing is said to a server that nobody has vouched for, and whom the operator
/// believes is spoken to, over https and for Git LFS alike.
#[tokio::test]
async fn a_private_authority_is_believed_only_where_the_operator_says_so() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let folder = tempfile::tempdir().unwrap();
    for (believed, is_good) in [(None, false), (Some(&other), false), (Some(&ours), true)] {
        let env = believed.map(|authority| authority.believed(folder.path()));
        let yard = Yard::with(|settings| settings.env = env.unwrap_or_default());
        yard.keep("work", &[("token", PASSWORD)]);
        let login = Some(basic("x-access-token", PASSWORD));
        let wire = Wire::secured(git(&yard.served(), login), ours.acceptor());
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
