//! The interface of a whole Berth on an engine in memory.

use std::sync::Arc;

use berth::{
    clock::Clock,
    engine::Engine,
    forge::Repositories,
    manifest,
    server::{Figures, Parts, Server, Settings},
    store::{self, Depot},
    telemetry::Metrics,
};
use tokio_util::sync::CancellationToken;

use crate::rig::{self, Berth, Rig};

/// Serves until it is told to stop; answers where.
pub(super) async fn serve(rig: &Rig, berth: &Berth, stop: &CancellationToken) -> String {
    let folder = rig.folder.path();
    let engine: Arc<dyn Engine> = Arc::new(rig.fake.clone());
    let parts = Parts {
        record: Arc::clone(&berth.record),
        engine,
        commands: berth.commands.clone(),
        metrics: Arc::new(Metrics::new("test").unwrap()),
        usage: crate::usage::history(&crate::usage::of(&berth.record)),
        figures: Figures::default(),
        clock: Clock::System,
        manifests: folder.join("apps"),
        repositories: Repositories::default(),
        compat: crate::compat::without_hands(),
        workspaces: folder.join("workspaces"),
        models: Arc::new(Depot::new(store::Settings::new(folder.join("models")))),
        book: Arc::clone(&rig.book),
        resync: rig::RESYNC,
        version: "0.0.0".to_owned(),
        schema: manifest::schema,
    };
    let bound = Server::bind(Settings::new("127.0.0.1:0".parse().unwrap()), parts).await.unwrap();
    let address = bound.address().to_string();
    tokio::spawn(bound.run(stop.clone()));
    address
}
