//! A proxy that is trusted says who asks; from anyone else the same words count for nothing (H13).

use berth::auth::{Proxy, Role};

use super::{Gate, code};

const PROXY: [u8; 4] = [127, 5, 0, 1];

async fn gate() -> Gate {
    Gate::with(|settings| {
        settings.access.host_names = vec!["berth.example.com".to_owned()];
        settings.access.proxy = Proxy {
            from: vec!["127.5.0.0/24".parse().unwrap()],
            user_header: "x-forwarded-user".to_owned(),
            groups_header: "x-forwarded-groups".to_owned(),
            roles: vec![("ops".to_owned(), Role::Operator), ("eyes".to_owned(), Role::Viewer)],
        };
    })
    .await
}

const STOP: (&str, &str) = ("POST", "/api/v1/apps/chat/stop");

#[tokio::test]
async fn a_trusted_proxy_names_the_user_and_the_groups() {
    let gate = gate().await;
    let ask = async |from, (method, path), headers: &[(&str, &str)]| {
        gate.ask_from(from, method, path, headers, "").await
    };
    let list = ("GET", "/api/v1/apps");
    let ada = [("x-forwarded-user", "ada"), ("x-forwarded-groups", "eyes,ops")];
    let eve = [("x-forwarded-user", "eve"), ("x-forwarded-groups", "others")];
    assert_eq!(ask(PROXY, list, &ada).await.status, 200);
    assert_eq!(code(&ask(PROXY, list, &eve).await), "auth.no-role");
    assert_eq!(code(&ask(PROXY, list, &[]).await), "auth.required");
    assert_eq!(code(&ask([127, 5, 1, 1], list, &ada).await), "auth.required", "no proxy of ours");
    let twice = [("x-forwarded-user", "eve"), ada[0], ada[1]];
    assert_eq!(code(&ask(PROXY, list, &twice).await), "auth.required", "which one is it?");
    let groups = [ada[0], ("x-forwarded-groups", "others"), ada[1]];
    assert_eq!(code(&ask(PROXY, list, &groups).await), "auth.required");

    // A browser behind the proxy adds the proxy's cookie to every site's requests.
    assert_eq!(code(&ask(PROXY, STOP, &ada).await), "request.origin");
    let site = [ada[0], ada[1], ("sec-fetch-site", "same-origin")];
    assert_eq!(ask(PROXY, STOP, &site).await.status, 202);
    let host = ("host", "berth.example.com");
    let https = [host, ada[0], ada[1], ("origin", "https://berth.example.com")];
    assert_eq!(code(&ask(PROXY, STOP, &https).await), "request.origin", "it says http");
    let https = [&https[..], &[("x-forwarded-proto", "https")]].concat();
    assert_eq!(ask(PROXY, STOP, &https).await.status, 202);

    let (records, _) =
        berth::audit::page(gate.state.path(), None, 9, |r| r.deed.outcome == "done").unwrap();
    let who = &records[0].deed.who;
    assert_eq!((who.kind.as_str(), who.name.as_str()), ("proxy", "ada"));
}

#[tokio::test]
async fn the_clients_address_is_what_the_proxy_says() {
    let gate = gate().await;
    let guess = async |from, client: &str| {
        let headers = [("authorization", "Bearer hf_guess"), ("x-forwarded-for", client)];
        gate.ask_from(from, "GET", "/api/v1/apps", &headers, "").await.status
    };
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(guess(PROXY, "203.0.113.1").await);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(guess(PROXY, "203.0.113.2").await, 401, "others behind the proxy are not held up");
    assert_eq!(guess(PROXY, "203.0.113.1, 203.0.113.2").await, 401, "what a client says of itself");
    let other = [127, 5, 9, 9];
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(guess(other, &format!("198.51.100.{number}")).await);
    }
    assert!(statuses.contains(&429), "one that is no proxy gets around it: {statuses:?}");
}
