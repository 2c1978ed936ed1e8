//! Handshakes, protocols, and what is different where TLS is spoken.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use berth::server::{CertificateSource, Tls};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Harbour, PATIENCE, USUAL, ask::Many, roots, secure};
use crate::api::stage::Stage;

#[tokio::test]
async fn both_protocols_answer_alike() {
    let harbour = Harbour::start().await;
    let first = harbour.ask("GET", "/api/v1/apps", "", "").await;
    let many = Many::open(&harbour).await;
    let (status, body) = many.get("/api/v1/apps").await;
    assert_eq!((first.status, status), (200, 200));
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(first.json()["items"], list["items"]);
    assert_eq!(list["certificate"]["names"], serde_json::json!(["localhost", "127.0.0.1"]));
    assert_eq!(list["certificate"]["warning"], serde_json::Value::Null);
    let all = ["/livez", "/health", "/api/v1/gpus", "/api/v1/events/recent"];
    let all = futures_util::future::join_all(all.map(|path| many.get(path))).await;
    assert!(all.iter().all(|(status, _)| *status == 200), "{all:?}");
    let (status, _) = many.whole("POST", "/api/v1/apps/chat/stop", &[]).await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn only_modern_versions_are_spoken_and_no_protocol_is_http_1() {
    let harbour = Harbour::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots(&harbour.authority))
            .with_no_client_auth();
        let stream = secure(harbour.stage.address, config).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), None);
    }
    let answer = harbour.ask("GET", "/livez", "", "").await;
    assert_eq!(answer.status, 200);
    // A client that knows nothing newer than TLS 1.1 gets an alert.
    let mut old = openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls()).unwrap();
    old.set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_1)).unwrap();
    old.set_verify(openssl::ssl::SslVerifyMode::NONE);
    let address = harbour.stage.address;
    let old = old.build();
    let tried = tokio::task::spawn_blocking(move || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        old.connect("localhost", stream).is_ok()
    });
    assert!(!tried.await.unwrap());
    // A client that speaks other protocols only is refused, not served by a guess.
    assert!(secure(harbour.stage.address, harbour.config(&["smtp"])).await.is_err());
    harbour.until_figure("berth_http_turned_away_total{reason=\"handshake\"} ").await;
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so() {
    let harbour = Harbour::start().await;
    let answer = harbour.stage.get("/api/v1/apps").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("server.https-only")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("this port speaks https"));
    harbour.until_figure("berth_http_turned_away_total{reason=\"plain-http\"} 1").await;
    let client = berth::server::client::Client::new(&harbour.stage.base()).unwrap();
    let said = client.ask(berth::server::client::Method::GET, "/livez", None).await.unwrap();
    assert_eq!(said.status, 400);
}

/// Fault S11, before a request is even there.
#[tokio::test]
async fn a_handshake_that_never_ends_holds_nobody_up_and_counts() {
    let harbour = Harbour::with(USUAL, |settings| {
        settings.header_timeout = Duration::from_secs(10);
        settings.connections_per_address = Some(3);
    })
    .await;
    let mut stalled = Vec::new();
    for beginning in [&b""[..], &b"\x16"[..], &b"\x16\x03\x01\x02"[..]] {
        let mut stream = TcpStream::connect(harbour.stage.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stalled.push(stream);
    }
    harbour.until_figure("berth_http_connections{kind=\"tls\"} 3").await;
    // Each of them is a connection of this address: there is no room for a fourth.
    let mut fourth = TcpStream::connect(harbour.stage.address).await.unwrap();
    let mut said = Vec::new();
    let reading = fourth.read_to_end(&mut said);
    tokio::time::timeout(PATIENCE, reading).await.expect("it was left waiting").unwrap();
    assert_eq!(said, [0x15, 3, 3, 0, 2, 2, 49], "an alert: access denied");
    for stream in &mut stalled {
        let reading = stream.read_to_end(&mut said);
        let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it was never cut");
    }
    harbour.until_figure("berth_http_turned_away_total{reason=\"handshake-timeout\"} 3").await;
    harbour.until_figure("berth_http_turned_away_total{reason=\"address\"} 1").await;
    assert_eq!(harbour.ask("GET", "/livez", "", "").await.status, 200);
}

#[tokio::test]
async fn browsers_are_told_to_come_by_tls_only_where_the_operator_says_so() {
    let harbour = Harbour::start().await;
    let plain = harbour.ask("GET", "/livez", "", "").await;
    assert!(!plain.head.contains("strict-transport-security"), "{plain:?}");
    let strict = Harbour::with(USUAL, |settings| {
        settings.tls.as_mut().unwrap().hsts = Some(Duration::from_secs(86_400));
    })
    .await;
    for path in ["/livez", "/no-such-page"] {
        let answer = strict.ask("GET", path, "", "").await;
        assert!(answer.has("strict-transport-security: max-age=86400"), "{answer:?}");
    }
    let answer = Many::open(&strict).await.ask("GET", "/livez", &[]).await.unwrap();
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=86400");
}

/// Fault H02: an `http` page of the same name is another site.
#[tokio::test]
async fn a_change_from_a_page_without_tls_is_refused() {
    let harbour = Harbour::start().await;
    let stop = async |scheme: &str| {
        let origin = format!("origin: {scheme}://{}\r\n", harbour.stage.address);
        harbour.ask("POST", "/api/v1/apps/chat/stop", &origin, "").await.status
    };
    assert_eq!(stop("http").await, 403);
    assert_eq!(stop("https").await, 202);
}

#[tokio::test]
async fn hosts_are_checked_by_http_2_as_well() {
    let harbour = Harbour::start().await;
    let many = Many::open(&harbour).await;
    let (status, body) = many.whole("GET", "/api/v1/apps", &[("host", "rebound.example")]).await;
    assert_eq!(status, 400, "two different hosts: {body}");
    let mut other = Many::open(&harbour).await;
    other.rename("rebound.example:8000");
    let (status, body) = other.get("/api/v1/apps").await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("request.host"), "{body}");
}

#[tokio::test]
async fn a_certificate_of_one_s_own_is_made_once_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls");
    let source = CertificateSource::SelfSigned { folder: path.clone(), names: Vec::new() };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (source, hsts) = (source.clone(), Some(Duration::from_secs(60)));
        let stage = Stage::with(|settings| {
            settings.tls = Some(Tls { hsts, ..Tls::new(source) });
        })
        .await;
        let text = std::fs::read(path.join("cert.pem")).unwrap();
        let made = openssl::x509::X509::from_pem(&text).unwrap().to_der().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.clone().into()).unwrap();
        let mut stream = secure(stage.address, super::config(roots, &[])).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0].as_ref(), made);
        let head =
            format!("GET /livez HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", stage.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert!(!said.contains("strict-transport-security"), "who trusts it by hand can go back");
        seen.push(text);
        let (stop, served) = (stage.stop.clone(), stage.served);
        stop.cancel();
        served.await.unwrap();
    }
    assert_eq!(seen[0], seen[1], "it is kept");
    let mode = std::fs::metadata(path.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A session that began by TLS is not told to anybody without it.
#[tokio::test]
async fn cookies_are_for_tls_only() {
    let state = tempfile::tempdir().unwrap();
    let tokens = berth::auth::Tokens::new(state.path());
    let new = berth::auth::New {
        name: "looker".to_owned(),
        role: berth::auth::Role::Viewer,
        expires: None,
        scopes: Vec::new(),
    };
    let token = tokens.create(new, crate::api::stage::now()).unwrap().secret;
    let harbour = Harbour::with(USUAL, |settings| {
        settings.access.tokens = Some(std::sync::Arc::new(tokens));
    })
    .await;
    let html = "accept: text/html\r\n";
    let page = harbour.ask("GET", "/sign-in", html, "").await;
    let form = page.body.split("name=\"form\" value=\"").nth(1).expect("the page has a form");
    let form = form.split('"').next().unwrap();
    let headers = format!(
        "{html}origin: https://{}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        harbour.stage.address
    );
    let body = format!("form={form}&token={}", token.reveal());
    let answer = harbour.ask("POST", "/sign-in", &headers, &body).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.starts_with("__host-berth-session="), "{cookie}");
    assert!(cookie.ends_with("; path=/; httponly; samesite=strict; secure"), "{cookie}");
}
