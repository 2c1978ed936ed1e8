//! The model store as an OCI registry: what clients read, byte for byte, and the real ones.

mod clients;
mod wire;

use std::{sync::Arc, time::Duration};

use berth::{
    auth::{New, Role, Tokens},
    model::Digest,
    server::Access,
    store::{Depot, Settings},
};
use serde_json::Value;

use crate::api::stage::{Answer, Stage, now};

/// A Berth with a model store, and a token that reads one project.
struct Registry {
    stage: Stage,
    models: Arc<Depot>,
    all: String,
    scoped: String,
    folder: tempfile::TempDir,
    /// The tokens are read once more when somebody signs in.
    _state: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        Self::start_as(|_| {}).await
    }

    async fn start_as(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, change).await
    }

    async fn start_in(folder: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(state.path()));
        let make = |name: &str, scopes: &[&str]| {
            let scopes = scopes.iter().map(|text| text.parse().unwrap()).collect();
            let new = New { name: name.to_owned(), role: Role::Operator, expires: None, scopes };
            tokens.create(new, now()).unwrap().secret.reveal().to_owned()
        };
        let (all, scoped) = (make("all", &[]), make("scoped", &["store:team/*:read"]));
        let access = Access { tokens: Some(Arc::clone(&tokens)), ..Access::default() };
        let mut settings = Settings::new(folder.path().join("models"));
        change(&mut settings);
        let models = Arc::new(Depot::new(settings));
        // One that was there before may be about to let go of the folder.
        let opened = async {
            while models.store().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), opened).await.expect("the store is held");
        let change = |settings: &mut berth::server::Settings| {
            settings.access = access;
            settings.header_timeout = Duration::from_secs(30);
        };
        let stage = Stage::kept_in(Arc::clone(&models), change).await;
        Self { stage, models, all, scoped, folder, _state: state }
    }

    async fn with(&self, headers: &[(&str, &str)], method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.all);
        let own = [("authorization", bearer.as_str())];
        self.stage.ask(method, path, &[&own[..], headers].concat(), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.with(&[], "GET", path, "").await
    }

    async fn put(&self, path: &str, text: &str) -> Digest {
        let stored = self.with(&[], "PUT", &format!("/models/{path}"), text).await;
        assert_eq!(stored.status, 201, "{stored:?}");
        Digest::of_bytes(text.as_bytes())
    }

    /// Stores a version of several files.
    async fn model(&self) {
        let weights = safetensors();
        for (name, text) in [
            ("config.json", r#"{"model_type":"llama","architectures":["LlamaForCausalLM"]}"#),
            ("model.safetensors", weights.as_str()),
            ("onnx%252Fm.onnx", "not really"),
            ("README.md", "---\nlicense: mit\n---\n# A model\n"),
        ] {
            self.put(&format!("team/chat/1.0/{name}"), text).await;
        }
    }
}

/// A file with one tensor of four bfloat16 numbers.
fn safetensors() -> String {
    let head = r#"{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}"#;
    let length = char::from(u8::try_from(head.len()).unwrap());
    format!("{length}\0\0\0\0\0\0\0{head}12345678")
}

/// A GGUF file without tensors, of an architecture and a precision.
fn gguf(file_type: u8) -> String {
    let text = |text: &str| {
        format!("{}\0\0\0\0\0\0\0{text}", char::from(u8::try_from(text.len()).unwrap()))
    };
    let pairs = [
        format!("{}\u{8}\0\0\0{}", text("general.architecture"), text("llama")),
        format!("{}\u{4}\0\0\0{}\0\0\0", text("general.file_type"), char::from(file_type)),
        format!("{}\u{8}\0\0\0{}", text("general.size_label"), text("1B")),
    ];
    format!("GGUF\u{3}\0\0\0\0\0\0\0\0\0\0\0\u{3}\0\0\0\0\0\0\0{}", pairs.concat())
}

fn header(answer: &Answer, name: &str) -> String {
    let found = answer.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

/// The code of a refusal, in the words of the specification.
fn word(answer: &Answer) -> String {
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{answer:?}");
    assert!(errors[0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    errors[0]["code"].as_str().unwrap().to_owned()
}

fn layers(manifest: &Value) -> Vec<(String, String)> {
    let one = |layer: &Value| {
        let text = |name: &str| layer[name].as_str().unwrap().to_owned();
        (text("mediaType"), text("digest"))
    };
    manifest["layers"].as_array().unwrap().iter().map(one).collect()
}
