//! What is answered, by hand.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use berth::{
    model::Digest,
    store::{Danger, Policy},
};
use serde_json::json;

use super::{Registry, gguf, header, layers, safetensors, word};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const BASE: &str = "/v2/team/chat";

#[tokio::test]
async fn a_version_is_an_artifact_of_its_files() {
    let registry = Registry::start().await;
    registry.model().await;
    let answer = registry.get(&format!("{BASE}/manifests/1.0")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(header(&answer, "content-type"), OCI);
    let digest = format!("sha256:{}", Digest::of_bytes(answer.body.as_bytes()));
    assert_eq!(header(&answer, "docker-content-digest"), digest);
    assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
    let manifest = answer.json();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let paths = manifest["layers"].as_array().unwrap().iter().map(|layer| {
        let (path, title) = (
            &layer["annotations"]["org.cncf.model.filepath"],
            &layer["annotations"]["org.opencontainers.image.title"],
        );
        assert_eq!(path, title);
        (path.as_str().unwrap().to_owned(), layer["mediaType"].as_str().unwrap().to_owned())
    });
    let paths: Vec<_> = paths.collect();
    let kind = |kind: &str| format!("application/vnd.cncf.model.{kind}.v1.raw");
    let wanted = [
        ("README.md", "doc"),
        ("config.json", "weight.config"),
        ("model.safetensors", "weight"),
        ("onnx/m.onnx", "weight"),
    ];
    assert_eq!(paths, wanted.map(|(path, of)| (path.to_owned(), kind(of))));
    for (_, layer) in layers(&manifest) {
        let blob = registry.get(&format!("{BASE}/blobs/{layer}")).await;
        assert_eq!(format!("sha256:{}", Digest::of_bytes(blob.body.as_bytes())), layer);
    }
    let config = manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.model.config.v1+json");
    let blob = registry.get(&format!("{BASE}/blobs/{config}")).await;
    assert_eq!(u64::try_from(blob.body.len()).ok(), manifest["config"]["size"].as_u64());
    let config = blob.json();
    assert_eq!(
        config["descriptor"],
        json!({ "name": "chat", "version": "1.0", "family": "llama", "licenses": ["mit"] })
    );
    assert_eq!(config["modelfs"]["type"], "layers");
    assert_eq!(config["modelfs"]["diffIds"].as_array().unwrap().len(), 4);
    assert_eq!(
        config["config"],
        json!({
            "architecture": "LlamaForCausalLM", "format": "safetensors",
            "paramSize": "4", "precision": "bfloat16",
        })
    );
}

/// The same bytes by digest, by alias, by another case, after a start, and in another store.
#[tokio::test]
async fn the_same_files_have_the_same_manifest_for_ever() {
    let registry = Registry::start().await;
    registry.model().await;
    let first = registry.get(&format!("{BASE}/manifests/1.0")).await;
    let digest = header(&first, "docker-content-digest");
    let alias = r#"{"version":"1.0"}"#;
    let path = "/models/team/chat/aliases/stable";
    let made = registry.with(&[("content-type", "application/json")], "PUT", path, alias).await;
    assert_eq!(made.status, 200, "{made:?}");
    for reference in ["stable", "latest", "1.x", digest.as_str()] {
        let same = registry.get(&format!("{BASE}/manifests/{reference}")).await;
        assert_eq!(same.body, first.body, "{reference}");
        let head = registry.with(&[], "HEAD", &format!("{BASE}/manifests/{reference}"), "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{reference}");
        assert_eq!(header(&head, "docker-content-digest"), digest);
        assert_eq!(header(&head, "content-length"), first.body.len().to_string());
    }
    let small = registry.get("/v2/Team/CHAT/manifests/1.0").await;
    assert_eq!(small.body, first.body);
    let other = Registry::start().await;
    other.model().await;
    assert_eq!(other.get(&format!("{BASE}/manifests/1.0")).await.body, first.body);
    // By its digest, before anybody has asked for the tag.
    let Registry { stage, models, folder, .. } = registry;
    stage.stop.cancel();
    stage.served.await.unwrap();
    drop((stage.record, models));
    let again = Registry::start_in(folder, |_| {}).await;
    let found = again.get(&format!("{BASE}/manifests/{digest}")).await;
    assert_eq!((found.status, found.body.as_str()), (200, first.body.as_str()), "{found:?}");
}

#[tokio::test]
async fn lists_have_pages_in_their_order() {
    let registry = Registry::start().await;
    for version in ["1.0", "2.0+cu121", "main", "1.10"] {
        registry.put(&format!("team/chat/{version}/m"), version).await;
    }
    for project in ["a", "b", "team"] {
        registry.put(&format!("{project}/x/1/m"), "m").await;
    }
    let tags = registry.get(&format!("{BASE}/tags/list")).await.json();
    let all = ["1.0", "1.10", "2.0_cu121", "latest", "main"];
    assert_eq!(tags, json!({ "name": "team/chat", "tags": all }));
    let catalog = registry.get("/v2/_catalog").await.json();
    assert_eq!(catalog, json!({ "repositories": ["a/x", "b/x", "team/chat", "team/x"] }));
    let mangled = registry.get(&format!("{BASE}/manifests/2.0_cu121")).await.json();
    assert_eq!(mangled["annotations"]["org.opencontainers.image.version"], "2.0+cu121");
    for (path, field) in
        [(format!("{BASE}/tags/list"), "tags"), ("/v2/_catalog".to_owned(), "repositories")]
    {
        let whole = registry.get(&path).await.json()[field].as_array().unwrap().clone();
        let (mut at, mut seen) = (format!("{path}?n=2"), Vec::new());
        loop {
            let page = registry.get(&at).await;
            seen.extend(page.json()[field].as_array().unwrap().clone());
            let Some(link) = page.head.lines().find_map(|l| l.strip_prefix("link: <")) else {
                break;
            };
            let (next, rest) = link.split_once('>').unwrap();
            assert_eq!(rest, "; rel=\"next\"");
            next.clone_into(&mut at);
        }
        assert_eq!(seen, whole, "{path}");
    }
    let none = registry.get("/v2/_catalog?n=0").await;
    assert_eq!(none.json(), json!({ "repositories": [] }));
    let referrers = registry.get(&format!("{BASE}/referrers/sha256:{}", "0".repeat(64))).await;
    assert_eq!(header(&referrers, "content-type"), "application/vnd.oci.image.index.v1+json");
    assert_eq!(referrers.json()["manifests"], json!([]));
}

#[tokio::test]
async fn blobs_are_sent_as_downloads_are() {
    let registry = Registry::start().await;
    let text = "0123456789".repeat(20);
    let digest = registry.put("team/chat/1.0/m", &text).await;
    let path = format!("{BASE}/blobs/sha256:{digest}");
    let head = registry.with(&[], "HEAD", &path, "").await;
    assert_eq!((head.status, header(&head, "content-length").as_str()), (200, "200"));
    assert_eq!(header(&head, "docker-content-digest"), format!("sha256:{digest}"));
    let whole = registry.get(&path).await;
    assert_eq!((whole.status, &whole.body), (200, &text));
    // Ollama takes no answer without it.
    assert_eq!(header(&whole, "location"), path);
    let part = registry.with(&[("range", "bytes=5-9")], "GET", &path, "").await;
    assert_eq!((part.status, part.body.as_str()), (206, "56789"));
    assert_eq!(header(&part, "content-range"), "bytes 5-9/200");
    let beyond = registry.with(&[("range", "bytes=900-")], "GET", &path, "").await;
    assert_eq!(beyond.status, 416);
    // A blob of another repository is not one of this.
    let elsewhere = registry.put("team/other/1.0/m", "other").await;
    let absent = registry.get(&format!("{BASE}/blobs/sha256:{elsewhere}")).await;
    assert_eq!((absent.status, word(&absent).as_str()), (404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn passwords_are_tokens_and_refusals_have_the_words_of_the_specification() {
    let registry = Registry::start().await;
    registry.model().await;
    registry.put("others/secret/1/m", "m").await;
    let bare = registry.stage.get("/v2/").await;
    assert_eq!((bare.status, word(&bare).as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(header(&bare, "www-authenticate"), "basic realm=\"berth\"");
    let basic = |token: &str| format!("Basic {}", STANDARD.encode(format!("anybody:{token}")));
    let (good, own, wrong) = (basic(&registry.all), basic(&registry.scoped), basic("hf_x"));
    for (path, auth, status, said) in [
        ("/v2/", &good, 200, ""),
        ("/v2", &good, 200, ""),
        ("/v2/", &own, 200, ""),
        ("/v2/", &wrong, 401, "UNAUTHORIZED"),
        ("/v2/team/chat/tags/list", &own, 200, ""),
        ("/v2/others/secret/tags/list", &good, 200, ""),
        ("/v2/others/secret/tags/list", &own, 404, "NAME_UNKNOWN"),
        ("/v2/OTHERS/secret/tags/list", &own, 404, "NAME_UNKNOWN"),
        ("/v2/none/none/tags/list", &own, 404, "NAME_UNKNOWN"),
        ("/v2/chat/manifests/1.0", &own, 404, "NAME_UNKNOWN"),
        ("/v2/team/chat/manifests/9", &own, 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/chat/manifests/a@b", &own, 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/chat/manifests/sha256:xyz", &own, 400, "DIGEST_INVALID"),
        ("/v2/team/chat/blobs/sha256:xyz", &own, 400, "DIGEST_INVALID"),
    ] {
        let answer = registry.stage.ask("GET", path, &[("authorization", auth)], "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
        assert!(said.is_empty() || word(&answer) == said, "{path}: {answer:?}");
    }
    let seen = registry.stage.ask("GET", "/v2/_catalog", &[("authorization", &own)], "").await;
    assert_eq!(seen.json(), json!({ "repositories": ["team/chat"] }));
    for (method, path) in [
        ("POST", "/v2/team/chat/blobs/uploads/"),
        ("PUT", "/v2/team/chat/manifests/2.0"),
        ("DELETE", "/v2/team/chat/manifests/1.0"),
        ("PATCH", "/v2/team/chat/blobs/uploads/1"),
    ] {
        for auth in [&good, &own] {
            let answer = registry.stage.ask(method, path, &[("authorization", auth)], "").await;
            assert_eq!((answer.status, word(&answer).as_str()), (405, "UNSUPPORTED"), "{answer:?}");
        }
    }
    // Elsewhere a password is none: browsers send them by themselves.
    let elsewhere =
        registry.stage.ask("GET", "/models/list", &[("authorization", &good)], "").await;
    assert_eq!(elsewhere.status, 401);
}

#[tokio::test]
async fn what_downloads_refuse_blobs_refuse() {
    let registry = Registry::start_as(|settings| {
        let projects = [("team".to_owned(), Danger::Block)].into();
        settings.policy = Policy { projects, ..Policy::default() };
    })
    .await;
    let digest = registry.put("open/chat/1/m.pkl", "cos\nsystem\n(S'true'\ntR.").await;
    let blob = |project: &str| format!("/v2/{project}/chat/blobs/sha256:{digest}");
    assert_eq!(registry.get(&blob("open")).await.status, 200);
    // It came before the project was closed.
    let root = registry.models.settings().root.clone();
    let (from, to) = (root.join("open/chat/1/m.pkl/model"), root.join("team/chat/1/m.pkl"));
    std::fs::create_dir_all(&to).unwrap();
    std::fs::copy(from, to.join("model")).unwrap();
    let Registry { stage, models, folder, .. } = registry;
    stage.stop.cancel();
    stage.served.await.unwrap();
    drop((stage.record, models));
    let registry = Registry::start_in(folder, |settings| {
        let projects = [("team".to_owned(), Danger::Block)].into();
        settings.policy = Policy { projects, ..Policy::default() };
    })
    .await;
    let models = std::sync::Arc::clone(&registry.models);
    let key = berth::store::Key::new("team", "chat", "1", "m.pkl").unwrap();
    tokio::task::spawn_blocking(move || {
        let store = models.store().unwrap();
        store.hash(&key, || true).unwrap();
        store.inspect(&key, false).unwrap();
    })
    .await
    .unwrap();
    for method in ["GET", "HEAD"] {
        let refused = registry.with(&[], method, &blob("team"), "").await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    assert_eq!(word(&registry.get(&blob("team")).await), "DENIED");
    assert_eq!(registry.get(&blob("open")).await.status, 200);
}

#[tokio::test]
async fn a_gguf_file_is_a_model_for_ollama() {
    let registry = Registry::start().await;
    let (small, large) = (gguf(15), gguf(7));
    let model = registry.put("team/chat/1/chat-Q4_K_M.gguf", &small).await;
    let other = registry.put("team/chat/1/chat-Q8_0.gguf", &large).await;
    let template = registry.put("team/chat/1/template", "{{ .Prompt }}").await;
    let params = registry.put("team/chat/1/params", r#"{"stop":["x"]}"#).await;
    let license = registry.put("team/chat/1/LICENSE", "do what you like").await;
    let ask = async |tag: &str| {
        let headers = [("accept", DOCKER), ("user-agent", "ollama/0.12.6 (amd64 linux) Go/go1.24")];
        registry.with(&headers, "GET", &format!("{BASE}/manifests/{tag}"), "").await
    };
    let answer = ask("1").await;
    assert_eq!(header(&answer, "content-type"), DOCKER);
    let kind = |kind: &str| format!("application/vnd.ollama.image.{kind}");
    let wanted = [
        (kind("model"), &model),
        (kind("template"), &template),
        (kind("params"), &params),
        (kind("license"), &license),
    ];
    let wanted = wanted.map(|(kind, digest)| (kind, format!("sha256:{digest}")));
    assert_eq!(layers(&answer.json()), wanted);
    let config = answer.json()["config"]["digest"].as_str().unwrap().to_owned();
    let config = registry.get(&format!("{BASE}/blobs/{config}")).await.json();
    for (name, value) in [
        ("model_format", "gguf"),
        ("model_family", "llama"),
        ("model_type", "1B"),
        ("file_type", "Q4_K_M"),
    ] {
        assert_eq!(config[name], value, "{config}");
    }
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
    // The tag may be a precision, as elsewhere.
    assert_eq!(layers(&ask("Q8_0").await.json())[0].1, format!("sha256:{other}"));
    let none = ask("Q5_0").await;
    assert_eq!((none.status, word(&none).as_str()), (404, "MANIFEST_UNKNOWN"));
    let digest = header(&answer, "docker-content-digest");
    assert_eq!(registry.get(&format!("{BASE}/manifests/{digest}")).await.body, answer.body);
    // Others are shown all files.
    let whole = registry.with(&[("accept", OCI)], "GET", &format!("{BASE}/manifests/1"), "").await;
    assert_eq!(layers(&whole.json()).len(), 5);
    let headers = [("user-agent", "llama-cpp"), ("accept", "application/json")];
    let told = registry.with(&headers, "GET", &format!("{BASE}/manifests/latest"), "").await.json();
    assert_eq!(told["ggufFile"]["rfilename"], "chat-Q4_K_M.gguf");
    registry.put("team/plain/1/model.safetensors", &safetensors()).await;
    let headers = [("accept", DOCKER)];
    let none = registry.with(&headers, "GET", "/v2/team/plain/manifests/1", "").await;
    assert_eq!((none.status, word(&none).as_str()), (404, "MANIFEST_UNKNOWN"));
}
