//! Whatever a manifest says, what is asked of the engine stays within the policy: 10,000 manifests,
//! right by the grammar and hostile in their values, each read, planned and sent by the client for
//! Docker to a stub that keeps the body of the create call as it came over the wire.
//!
//! `BERTH_POLICY_CASES` sets another number of manifests, `BERTH_POLICY_SEED` chooses others.

mod allowed;
mod manifests;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use berth::{
    engine::{
        Engine as _, ResolvedCall,
        docker::{Docker, Gate, Settings},
    },
    manifest,
    model::{App, Bind, GitUrl, MountSource, Source},
    plan::{Call, ContainerSpec, Sealed, Step, Work},
    secret::{Given, Value as Secret},
    state::{Checkout, DetectedFile, Policy, SecretSeen},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use proptest::{
    prelude::Strategy,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::Value;

use crate::sim::Sim;

const VERSION: &str = r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
const MADE: &str = concat!(
    r#"{"Warnings":[],"Id":"0123456789abcdef0123456789abcdef"#,
    r#"0123456789abcdef0123456789abcdef"}"#
);

/// One create call: the query and the body.
type Asked = (String, Value);

/// An engine that makes everything, and remembers how it was asked.
struct Stub {
    docker: Docker,
    asked: Arc<Mutex<Vec<Asked>>>,
    _folder: tempfile::TempDir,
}

impl Stub {
    fn new(policy: &Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let host = format!("unix://{}", path.display());
        let settings =
            Settings { gate: Gate::of(policy), ..Settings::new(host, allowed::INSTANCE) };
        let docker = Docker::connect(settings).unwrap();
        let stub = Self { docker, asked: Arc::default(), _folder: folder };
        let asked = Arc::clone(&stub.asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&asked)));
            }
        });
        stub
    }

    /// How the engine is asked for this container.
    async fn create(&self, spec: Box<ContainerSpec>) -> Asked {
        let mut given = Given::default();
        for target in spec.shape.secrets.keys() {
            if let Some(name) = Sealed::variable(target) {
                given.env.insert(name.to_owned(), Secret::new(allowed::SECRET));
            } else {
                let path = format!("{}/seal", allowed::SECRETS);
                given.files.insert(target.clone(), path.into());
            }
        }
        let call = Call::Create(spec);
        let made = self.docker.apply(&ResolvedCall { call: &call, id: None, given }).await;
        made.unwrap_or_else(|error| panic!("{error}: {call:?}"));
        self.asked.lock().unwrap().pop().unwrap()
    }
}

async fn serve(socket: tokio::net::UnixStream, asked: Arc<Mutex<Vec<Asked>>>) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let asked = Arc::clone(&asked);
        async move {
            let is_create = request.uri().path().ends_with("/containers/create");
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (status, answer) = if is_create { (201, MADE) } else { (200, VERSION) };
            if is_create {
                asked.lock().unwrap().push((query, serde_json::from_slice(&body).unwrap()));
            }
            let answer = Response::builder().status(status).body(Full::<Bytes>::from(answer));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let io = TokioIo::new(socket);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

/// What the operator allows; every other case allows more.
fn policy(is_generous: bool) -> Policy {
    let mut policy = Policy { instance: allowed::INSTANCE.to_owned(), ..Policy::default() };
    if is_generous {
        policy.host_mounts = vec![allowed::ROOT.to_owned()];
        policy.publish = Bind::Lan;
        policy.is_local_git_allowed = true;
    }
    policy
}

/// The container that Berth would make for the app; none when it refuses or waits.
fn planned(app: &Arc<App>, policy: &Policy) -> Option<Box<ContainerSpec>> {
    let mut sim = Sim::new(app);
    sim.policy = policy.clone();
    sim.add_image(policy.base_image.as_str());
    sim.state.ready = app.spec.depends_on.iter().cloned().collect();
    let variables = app.spec.secret_env.keys().map(|name| Sealed::of_variable(name));
    let is_file = |source: &MountSource| matches!(source, MountSource::Secret(_));
    let files = app.spec.mounts.iter().filter(|mount| is_file(&mount.source));
    let targets = variables.chain(files.map(|mount| mount.path.clone()));
    sim.state.secrets =
        targets.map(|target| (target, SecretSeen::Sealed("seal".to_owned()))).collect();
    for _ in 0..4 {
        let plan = sim.pass(None);
        for planned in plan.steps {
            match planned.step {
                Step::Call(Call::Create(spec)) => return Some(spec),
                Step::Work(Work::Fetch { source, .. }) => {
                    sim.state.checkout = Some(checkout(&source.url, app));
                }
                _ => {}
            }
        }
    }
    None
}

fn checkout(url: &GitUrl, app: &App) -> Checkout {
    let Source::Git(git) = &app.spec.source else { panic!("{app:?}") };
    let build = &app.spec.build;
    let named = [&build.dockerfile, &build.requirements].into_iter().flatten().cloned();
    let files = named.chain(["requirements.txt".to_owned()]);
    Checkout {
        url: url.as_str().to_owned(),
        reference: git.reference.clone(),
        path: git.path.clone(),
        resolved: None,
        submodules: false,
        commit: "c0ffee00".repeat(5),
        tree: "0badcafe".repeat(5),
        files: files.map(|path| DetectedFile { path }).collect(),
        facts: std::collections::BTreeMap::new(),
        ahead: std::collections::BTreeMap::new(),
        looked_for: None,
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn no_manifest_gets_more_than_the_policy_allows() {
    let cases = number("BERTH_POLICY_CASES", 10_000);
    let seed = number("BERTH_POLICY_SEED", 1);
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stubs = [false, true]
        .map(|is_generous| runtime.block_on(async { Stub::new(&policy(is_generous)) }));
    let (mut refused, mut sent) = (0_u64, 0_u64);
    let manifests = manifests::manifest();
    for case in 0..cases {
        let text =
            proptest::strategy::ValueTree::current(&manifests.new_tree(&mut runner).unwrap());
        let is_generous = case % 2 == 1;
        let (policy, stub) = (policy(is_generous), &stubs[usize::from(is_generous)]);
        let reading = manifest::read_file("fuzz.yaml", text.as_bytes());
        let made = reading.apps.first().and_then(|app| Some((app, planned(app, &policy)?)));
        let Some((app, spec)) = made else {
            refused += 1;
            continue;
        };
        let asked = runtime.block_on(stub.create(spec));
        sent += 1;
        let wrong = allowed::check(app, &policy, &asked.0, &asked.1);
        assert!(
            wrong.is_empty(),
            "case {case} of BERTH_POLICY_SEED={seed}: {wrong:#?}\n{text}\n{:#}",
            asked.1
        );
    }
    // Else it would say nothing: both kinds of manifests must be many.
    assert!(cases / 3 < sent && cases / 20 < refused, "{sent} of {cases} sent, {refused} refused");
    println!("{sent} of {cases} manifests reached the engine, {refused} were refused");
}
