//! Who is told when an app fails on a real engine: by a webhook, signed, and then that it is over.

use std::{fs, os::unix::fs::PermissionsExt as _};

use berth::forge::signature::Signature;

use super::{
    engine,
    program::{Network, Program},
    stage::{Stage, eventually, tiny},
};
use crate::notice::inbox::Inbox;

/// What messages are signed with. It lies in memory, as secrets do.
const SECRET: &[u8] = b"hush-hush";

/// An app that fails once its data says so.
fn fragile() -> String {
    let command = "[sh, -c, \"while [ ! -e /workspace/broken ]; do sleep 0.1; done; exit 3\"]";
    tiny("fragile", command, "health: none")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_fails_is_told_signed_and_so_is_its_return() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let mut inbox = Inbox::start().await;
    let secrets = tempfile::tempdir_in("/dev/shm").unwrap();
    let secret = secrets.path().join("hook");
    fs::write(&secret, SECRET).unwrap();
    for (path, mode) in [(secrets.path(), 0o700), (secret.as_path(), 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let targets = format!(
        "group: 1s\ntargets:\n- {{name: ops, webhook: 'http://127.0.0.1:{}/hook', secret: hook}}\n",
        inbox.port
    );
    fs::write(stage.path("targets.yaml"), targets).unwrap();
    stage.write("fragile.yaml", &fragile());
    let mut program = Program::start_with(&stage, &engine::host(), "auto", |command| {
        command.arg("--notifications").arg(stage.path("targets.yaml"));
        command.arg("--secrets-dir").arg(secrets.path());
    });
    let runs = || stage.containers("fragile").iter().any(engine::Seen::is_running);
    assert!(eventually(runs).await, "it never ran");
    // From then on what goes wrong is news.
    let kept = stage.path("state/notifications.json");
    assert!(eventually(|| kept.exists()).await, "nothing is ever news");

    let broken = stage.workspace("fragile", "data/broken");
    fs::write(&broken, "").unwrap();
    let told = inbox.next().await;
    let signature = Signature::find(|name| told.header(name)).expect("no signature");
    assert!(signature.is_good(SECRET, told.body.as_bytes()), "{told:?}");
    assert!(!signature.is_good(b"another", told.body.as_bytes()));
    let change = &told.json()["changes"][0];
    assert_eq!(
        (&change["app"], &change["state"]),
        (&"fragile".into(), &"trouble".into()),
        "{told:?}"
    );
    assert_eq!(told.json()["instance"], stage.instance.as_str());

    fs::remove_file(&broken).unwrap();
    // It is started again with growing pauses; who mends it need not wait for these.
    stage.write("fragile.yaml", &fragile().replace("sleep 0.1", "sleep 0.2"));
    let over = loop {
        let told = inbox.next().await;
        if told.json()["changes"][0]["state"] == "resolved" {
            break told;
        }
    };
    assert_eq!(over.json()["changes"][0]["app"], "fragile");
    let signature = Signature::find(|name| over.header(name)).expect("no signature");
    assert!(signature.is_good(SECRET, over.body.as_bytes()));
    assert!(program.stop().await);
}
