//! Signing in to the page.

use super::{Gate, code};
use crate::api::stage::Answer;

const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// One browser.
const FROM: [u8; 4] = [127, 6, 0, 1];

fn hidden(page: &str) -> String {
    let rest = page.split("name=\"form\" value=\"").nth(1).expect("the page has a form");
    rest.split('"').next().unwrap().to_owned()
}

fn cookie(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    line.to_owned()
}

impl Gate {
    async fn browse(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let site = format!("http://{}", self.stage.address);
        let headers = [&[HTML, FORM, ("origin", site.as_str())], more].concat();
        self.ask_raw(FROM, method, path, &headers, body).await
    }

    /// Asks, and keeps the answer's head as it was written.
    async fn ask_raw(
        &self,
        from: [u8; 4],
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.ask_from(from, method, path, headers, body).await
    }

    async fn sign_in(&self, token: &str) -> Answer {
        let page = self.browse("GET", "/sign-in", &[], "").await;
        let body = format!("form={}&token={token}", hidden(&page.body));
        self.browse("POST", "/sign-in", &[], &body).await
    }
}

#[tokio::test]
async fn one_signs_in_by_a_form_and_out_again() {
    let gate = Gate::start().await;
    let away = gate.browse("GET", "/", &[], "").await;
    assert!(away.status == 303 && away.has("location: /sign-in"), "{away:?}");
    let form = gate.browse("GET", "/sign-in", &[], "").await;
    assert!(form.status == 200 && form.head.contains("form-action 'self'"), "{form:?}");
    // Ids are letters of both cases, and `Answer` lowers its head: so the session is read raw.
    let (id, attributes) = raw_sign_in(&gate, &gate.viewer).await;
    assert_eq!(attributes, "; Path=/; HttpOnly; SameSite=Strict");
    assert!(43 <= id.len());
    let session = format!("berth-session={id}");
    let with = [("cookie", session.as_str())];
    let page = gate.browse("GET", "/", &with, "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("looker") && page.body.contains("(viewer)"), "{}", page.body);
    assert!(!page.body.contains("who changed what"), "a viewer may not see that");
    assert!(!page.body.contains(&gate.viewer) && !page.body.contains(&id));
    assert_eq!(gate.browse("GET", "/api/v1/apps", &with, "").await.status, 200);
    assert_eq!(code(&gate.browse("POST", "/api/v1/apps/chat/stop", &with, "").await), "auth.role");

    let forged = gate.browse("POST", "/sign-out", &with, "form=0").await;
    assert_eq!((forged.status, code(&forged).as_str()), (403, "auth.form"));
    let out = format!("form={}", hidden(&page.body));
    let gone = gate.browse("POST", "/sign-out", &with, &out).await;
    assert!(gone.status == 303 && cookie(&gone).contains("max-age=0"), "{gone:?}");
    assert_eq!(gate.browse("GET", "/", &with, "").await.status, 303, "the session is over");
}

#[tokio::test]
async fn a_wrong_token_a_form_of_elsewhere_and_too_many_tries_begin_no_session() {
    let gate = Gate::start().await;
    for token in ["", "hf_wrong", &gate.expired, &gate.scoped] {
        let answer = gate.sign_in(token).await;
        assert!([401, 403].contains(&answer.status), "{token}: {answer:?}");
        assert!(!answer.head.contains("set-cookie") && answer.body.contains("role=\"alert\""));
    }
    let token = &gate.admin;
    let stolen = hidden(&gate.browse("GET", "/sign-in", &[], "").await.body);
    for (from, body) in [
        (FROM, format!("token={token}")),
        (FROM, format!("form=0&token={token}")),
        ([127, 6, 0, 2], format!("form={stolen}&token={token}")),
    ] {
        let site = format!("http://{}", gate.stage.address);
        let answer =
            gate.ask_raw(from, "POST", "/sign-in", &[FORM, ("origin", &site)], &body).await;
        assert!(answer.status == 403 && !answer.head.contains("set-cookie"), "{answer:?}");
    }
    let body = format!("form={stolen}&token={token}");
    let silent = gate.ask_raw(FROM, "POST", "/sign-in", &[FORM], &body).await;
    assert_eq!(silent.status, 403, "a browser says where it comes from");
    let long = format!("form={stolen}&token={}", "x".repeat(10_000));
    assert_eq!(gate.browse("POST", "/sign-in", &[], &long).await.status, 413);
    let mut limited = false;
    for _ in 0..30 {
        limited |= gate.sign_in("hf_wrong").await.status == 429;
    }
    assert!(limited);
    assert_eq!(gate.sign_in(token).await.status, 429, "the form is closed to this address for now");
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_changes_nothing_for_other_sites() {
    let gate = Gate::start().await;
    let (id, _) = raw_sign_in(&gate, &gate.operator).await;
    let session = format!("berth-session={id}");
    let with = [("cookie", session.as_str())];
    let stop = "/api/v1/apps/chat/stop";
    assert_eq!(gate.browse("POST", stop, &with, "").await.status, 202);
    let silent = gate.ask("POST", stop, &with, "").await;
    assert_eq!(code(&silent), "request.origin", "a cookie alone is no will");
    let cross = [with[0], ("origin", "http://evil.example")];
    assert_eq!(code(&gate.ask("POST", stop, &cross, "").await), "request.origin");
    let (records, _) =
        berth::audit::page(gate.state.path(), None, 9, |r| r.deed.who.kind == "session").unwrap();
    let actions: Vec<_> = records.iter().map(|record| record.deed.action.as_str()).collect();
    assert_eq!(actions, ["POST /api/v1/apps/{name}/stop", "session.begun"]);
    gate.tokens.revoke("mover").unwrap();
    assert_eq!(gate.browse("GET", "/", &with, "").await.status, 303);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_bound_to_the_host() {
    let gate = Gate::with(|settings| settings.access.is_tls = true).await;
    let (name, attributes) = raw_cookie(&gate, &gate.admin).await;
    assert!(name.starts_with("__Host-berth-session="), "{name}");
    assert!(attributes.ends_with("; Secure"), "{attributes}");
}

/// A session's id, and what the cookie says beside it.
async fn raw_sign_in(gate: &Gate, token: &str) -> (String, String) {
    let (cookie, attributes) = raw_cookie(gate, token).await;
    (cookie.split_once('=').unwrap().1.to_owned(), attributes)
}

async fn raw_cookie(gate: &Gate, token: &str) -> (String, String) {
    use tokio::io::AsyncWriteExt as _;
    let page = gate.browse("GET", "/sign-in", &[], "").await;
    let body = format!("form={}&token={token}", hidden(&page.body));
    let address = gate.stage.address;
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\norigin: http://{address}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = super::connect(FROM.into(), address).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = super::read(&mut stream).await;
    let line = said.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let line = line.unwrap_or_else(|| panic!("no cookie: {said}"));
    let at = line.find(';').unwrap();
    (line[..at].to_owned(), line[at..].to_owned())
}
