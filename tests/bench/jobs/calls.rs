//! Which calls Berth makes for one new app, and when. The create call becomes the raw client's
//! pattern, so that both sides make the very same containers.

use tokio::time::Instant;

use crate::{
    bed::{Bed, drop_into},
    proxy::{Call, Proxy},
    report::Row,
    say,
    stage::{Stage, quiet},
    watch::Watch,
};

pub(crate) async fn run(bed: &Bed) -> Vec<Row> {
    let socket = bed.make_folder("proxy").join("engine.sock");
    let proxy = Proxy::start(&bed.socket, socket);
    let mut watch = Watch::instance(bed, &bed.instance).await;
    let stage = Stage::start_at(bed, &proxy.socket).await;
    proxy.take();
    let app = Bed::pattern();
    let file = (format!("{app}.yaml"), Bed::manifest(&app, 0));
    let written = drop_into(&stage.manifests, &[file]);
    watch.next("start").await;
    quiet().await;
    let calls = proxy.take();
    show(written, &calls);
    let create = calls.iter().find(|call| call.what() == "POST /containers/create").unwrap();
    let version = create.path.split("/containers").next().unwrap().to_owned();
    bed.set_template(version, String::from_utf8(create.body.to_vec()).unwrap());
    let file = (format!("{app}.yaml"), Bed::manifest(&app, 1));
    say("one variable of it changed:");
    let written = drop_into(&stage.manifests, &[file]);
    watch.next("destroy").await;
    quiet().await;
    show(written, &proxy.take());
    stage.end().await;
    Vec::new()
}

fn show(written: Instant, calls: &[Call]) {
    let mut calls: Vec<_> = calls.iter().collect();
    calls.sort_by_key(|call| call.at);
    for call in calls {
        let at = call.at.saturating_duration_since(written).as_secs_f64() * 1e3;
        let took = call.answered.duration_since(call.at).as_secs_f64() * 1e3;
        say(&format!("{at:8.1} ms {:45} {took:7.1} ms", call.what()));
    }
}

/// Makes sure that the pattern is known, whichever jobs were asked for.
pub(crate) async fn ensure(bed: &Bed) {
    if !bed.has_template() {
        run(bed).await;
        bed.sweep().await;
    }
}
