//! Who looks for known ways out of containers, and tells of them once.

use std::{collections::BTreeMap, process::Stdio, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::engine::{
    Engine,
    escapes::{self, Known},
};
use crate::record::Record;

/// An engine may be another one after an update of the host.
const PAUSE: Duration = Duration::from_mins(10);
/// How long NVIDIA's program may take to say its version.
const TOOLKIT_LIMIT: Duration = Duration::from_secs(5);

/// Begins to look; what is found is there.
pub(super) fn follow(
    config: &Config,
    (engine, record): (&Arc<dyn Engine>, Arc<Record>),
    stop: &CancellationToken,
) -> Arc<Known> {
    let known = Arc::<Known>::default();
    let is_local = config.docker_host.starts_with("unix:");
    let told = (Arc::clone(&known), record);
    tokio::spawn(watch(Arc::clone(engine), told, is_local, stop.clone()));
    known
}

/// Looks now and then, until it is told to stop.
async fn watch(
    engine: Arc<dyn Engine>,
    (known, record): (Arc<Known>, Arc<Record>),
    is_engine_local: bool,
    stop: CancellationToken,
) {
    loop {
        if let Ok(mut parts) = engine.parts().await {
            if is_engine_local {
                let version = toolkit().await;
                parts.extend(version.map(|version| (escapes::TOOLKIT.to_owned(), version)));
            }
            tell(&known, &parts);
            let warning = escapes::warning(&known.all());
            record.update_overview(|overview| overview.engine_warning = warning);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn tell(known: &Known, parts: &BTreeMap<String, String>) {
    for escape in known.put(escapes::open(parts)) {
        tracing::warn!(
            id = escape.id,
            component = escape.component,
            found = escape.found,
            may_be_patched = escape.may_be_patched,
            "{}",
            escape.message()
        );
    }
}

/// The version of NVIDIA's toolkit on this machine.
async fn toolkit() -> Option<String> {
    let mut command = tokio::process::Command::new("nvidia-ctk");
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let said = tokio::time::timeout(TOOLKIT_LIMIT, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().next()?;
    Some(line.rsplit_once("version ")?.1.trim().to_owned())
}
