//! What stands about on the engine: whose it is by its labels, and what a whole Berth takes away of it.

use std::{collections::BTreeSet, time::Duration};

use berth::{
    engine::{Engine as _, fake::Fake},
    model::Timestamp,
    plan::{ComposePlace, GcRules, LeftKind, StrayScene, composed, strays},
    record::Command,
    state::ContainerId,
};
use serde_json::Value;

use crate::rig::{Berth, Rig, manifest, name};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const FOLDER: &str = "com.docker.compose.project.working_dir";
const FILES: &str = "com.docker.compose.project.config_files";
const INSTANCE: &str = "dev.berth.instance";
const APP: &str = "dev.berth.app";

/// What compose writes on what it makes; a project is called after its folder.
fn made<'a>(service: &'a str, folder: &'a str, files: &'a str) -> Vec<(&'a str, &'a str)> {
    let project = folder.rsplit('/').next().unwrap();
    vec![(PROJECT, project), (SERVICE, service), (FOLDER, folder), (FILES, files)]
}

fn fake() -> Fake {
    Rig::new().fake
}

fn scene() -> StrayScene {
    let all = |names: &[&str]| names.iter().map(|text| name(text)).collect::<BTreeSet<_>>();
    StrayScene {
        instance: "default".to_owned(),
        place: ComposePlace {
            roots: vec!["/b/compose".into()],
            file: "docker-compose.yaml",
            others: BTreeSet::from(["/b/compose/edited/docker-compose.yaml".into()]),
        },
        wanted: all(&["here"]),
        known: all(&["here", "gone", "edited", "my-web"]),
        mounted: BTreeSet::from(["shop_mounted".to_owned()]),
        last_gone: None,
    }
}

/// What is found: kind, name, and whether it is ours; and whether somebody uses it.
async fn found(fake: &Fake, scene: &StrayScene) -> Vec<(LeftKind, String, &'static str)> {
    let around = fake.surroundings().await.unwrap();
    let all = strays(&fake.world(), &around, scene);
    let word = |is_ours, is_used| match (is_ours, is_used) {
        (true, false) => "ours",
        (true, true) => "ours, used",
        (false, _) => "theirs",
    };
    all.into_iter()
        .map(|stray| stray.left)
        .map(|left| (left.kind, left.name.clone(), word(left.is_ours, left.used_by.is_some())))
        .collect()
}

/// Fault D21: labels that look like ours are not enough. Only the very files that Berth writes, where
/// it writes them, make a container one of its own.
#[tokio::test]
async fn only_what_was_made_of_berths_own_files_is_berths() {
    let own = "/b/compose/gone/docker-compose.yaml";
    let cases = [
        ("gone", "/b/compose/gone", own, Some("ours")),
        ("gone", "/b/compose/gone", "docker-compose.yaml", Some("ours")),
        ("gone", "/b/compose", "/b/compose/docker-compose.yaml", Some("ours")),
        ("here", "/b/compose", "/b/compose/docker-compose.yaml", Some("ours")),
        (
            "gone",
            "/b/compose/gone",
            "/b/compose/gone/docker-compose.yaml,/u/more.yaml",
            Some("theirs"),
        ),
        ("gone", "/b/compose/gone", "/b/compose/gone/mine.yaml", Some("theirs")),
        ("gone", "/b/compose/other", "/b/compose/other/docker-compose.yaml", Some("theirs")),
        ("gone", "/u", own, Some("theirs")),
        ("gone", "/b/compose/../u", own, Some("theirs")),
        ("gone", "/b/compose/gone", "../../../u/docker-compose.yaml", Some("theirs")),
        ("gone", "/b/compose-2/gone", "/b/compose-2/gone/docker-compose.yaml", Some("theirs")),
        ("gone", "b/compose/gone", "b/compose/gone/docker-compose.yaml", Some("theirs")),
        ("edited", "/b/compose/edited", "docker-compose.yaml", Some("theirs")),
        ("My_Web", "/srv/shop", "/srv/shop/docker-compose.yml", Some("theirs")),
        ("db", "/srv/shop", "/srv/shop/docker-compose.yml", None),
        ("gone", "/b/compose/gone", "", None),
    ];
    for (service, folder, files, wanted) in cases {
        let fake = fake();
        fake.add_labelled("thing", &made(service, folder, files), false);
        let seen = found(&fake, &scene()).await;
        let word = seen.first().map(|(kind, _, word)| {
            assert_eq!((*kind, seen.len()), (LeftKind::Project, 1));
            *word
        });
        assert_eq!(word, wanted, "{service} {folder} {files}");
    }
    let own = made("gone", "/b/compose/gone", "docker-compose.yaml");
    // What lacks one of the labels, or has a Berth's.
    for lacks in [PROJECT, SERVICE, FOLDER, FILES] {
        let fake = fake();
        let labels: Vec<_> = own.iter().filter(|(key, _)| *key != lacks).copied().collect();
        fake.add_labelled("thing", &labels, false);
        assert_eq!(found(&fake, &scene()).await, [], "{lacks}");
    }
    let fake = fake();
    fake.add_labelled("thing", &[own.clone(), vec![(INSTANCE, "another")]].concat(), false);
    fake.add_labelled("bare", &[], false);
    // Of others what runs is nobody's business.
    fake.add_labelled("theirs", &made("gone", "/u", "x.yaml"), true);
    assert_eq!(found(&fake, &scene()).await, []);
    assert_eq!(composed(&fake.world(), &scene().place).count(), 0);
    fake.add_labelled("runs", &own, true);
    let used = [(LeftKind::Project, "runs".to_owned(), "ours, used")];
    assert_eq!(found(&fake, &scene()).await, used);
    let apps: Vec<_> = composed(&fake.world(), &scene().place).collect();
    assert_eq!(apps, [name("gone")]);
    // Where no folder is known, nothing is ours.
    let none = StrayScene { place: ComposePlace::default(), ..scene() };
    assert_eq!(found(&fake, &none).await, []);
}

#[tokio::test]
async fn networks_and_volumes_are_found_by_their_labels() {
    let fake = fake();
    let theirs = made("gone", "/srv/shop", "/srv/shop/docker-compose.yml");
    fake.add_labelled("shop_gone_1", &theirs, false);
    fake.add_network("berth", &[(INSTANCE, "default"), (PROJECT, "berth-default")]);
    fake.add_network("other", &[(INSTANCE, "another"), (PROJECT, "berth-another")]);
    fake.add_network("shop_default", &[(PROJECT, "shop")]);
    fake.add_network("bank_default", &[(PROJECT, "bank")]);
    fake.add_network("plain", &[]);
    let ours = |app| [(INSTANCE, "default"), (APP, app)];
    fake.add_volume("left", &ours("gone"), 7);
    fake.add_volume("kept", &ours("here"), 7);
    fake.add_volume("foreign", &[(INSTANCE, "another"), (APP, "gone")], 7);
    fake.add_volume("shop_db", &[(PROJECT, "shop")], 7);
    fake.add_volume("shop_mounted", &[(PROJECT, "shop")], 7);
    fake.add_volume("bank_db", &[(PROJECT, "bank")], 7);
    fake.add_volume("plain", &[], 7);
    let wanted = [
        (LeftKind::Project, "shop_gone_1", "theirs"),
        (LeftKind::Network, "berth", "ours"),
        (LeftKind::Network, "shop_default", "theirs"),
        (LeftKind::Volume, "left", "ours"),
        (LeftKind::Volume, "shop_db", "theirs"),
    ];
    let wanted = wanted.map(|(kind, name, word)| (kind, name.to_owned(), word));
    assert_eq!(found(&fake, &scene()).await, wanted);
    // A network is as young as the last app that was in it.
    let around = fake.surroundings().await.unwrap();
    let late = Timestamp::from_millis(1_900_000_000_000);
    let scene = StrayScene { last_gone: Some(late), ..scene() };
    let all = strays(&fake.world(), &around, &scene);
    let since = |name: &str| all.iter().find(|it| it.left.name == name).unwrap().left.since;
    assert_eq!(since("berth"), Some(late));
    assert!(since("shop_default") < Some(late));
}

async fn clean(berth: &Berth, is_dry: bool) -> Value {
    // What was seen at this very moment is not asked again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rules = GcRules { grace: GcRules::GRACE, with_data: true };
    let said = berth.command(Command::CollectGarbage { is_dry, rules }).await.unwrap();
    serde_json::from_str(&said).unwrap()
}

/// What is said of these kinds: what goes, and what stays with its reason.
fn said(done: &Value, field: &str) -> String {
    let kinds = ["project", "network", "volume"];
    let rows = done[field].as_array().unwrap().iter();
    let rows = rows.filter(|row| kinds.iter().any(|kind| row["kind"] == *kind));
    let text = |row: &Value| {
        assert!(row["error"].is_null(), "{row}");
        let why = row["stays"].as_str().or(row["why"].as_str()).unwrap();
        format!(
            "{} {} {}: {why}\n",
            row["kind"].as_str().unwrap(),
            row["name"].as_str().unwrap(),
            row["size"]
        )
    };
    rows.map(text).collect()
}

/// What compose made of the files of two apps, and of one of somebody else. Answers which one runs.
fn stand_about(rig: &Rig) -> ContainerId {
    let folder = rig.folder.path().join("compose").display().to_string();
    let at = |app: &str| format!("{folder}/{app}");
    let files = |app: &str| format!("{folder}/{app}/docker-compose.yaml");
    let (chat, web) = ((at("chat"), files("chat")), (at("web"), files("web")));
    rig.fake.add_labelled("chat_chat_1", &made("chat", &chat.0, &chat.1), false);
    rig.fake.add_labelled("web_web_1", &made("web", &web.0, &web.1), false);
    let runs = rig.fake.add_labelled("chat_chat_2", &made("chat", &chat.0, &chat.1), true);
    rig.fake.add_labelled("shop_chat_1", &made("chat", "/srv/shop", "/srv/shop/x.yml"), false);
    rig.fake.add_network("shop_default", &[(PROJECT, "shop")]);
    rig.fake.add_volume("chat-data", &[(INSTANCE, "default"), (APP, "chat")], 5);
    rig.fake.add_volume("shop_db", &[(PROJECT, "shop")], 6);
    runs
}

/// An app that went a day ago, and another that stays: what compose made of the file of the one goes,
/// the network goes when both are gone, and volumes never do, whatever is said of data.
#[tokio::test(start_paused = true)]
async fn what_compose_made_goes_a_day_after_its_app_and_the_network_after_the_last() {
    let rig = Rig::new().has("chat", "shop/app:1").has("web", "shop/app:2");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.until_running("web").await;
    let runs = stand_about(&rig);
    berth.manifests.remove("chat.yaml");
    berth.until_gone("chat").await;
    let young = clean(&berth, false).await;
    assert_eq!(said(&young, "going"), "");

    tokio::time::sleep(Duration::from_hours(25)).await;
    let dry = clean(&berth, true).await;
    // One of its app's containers runs: all of that app's stay.
    assert_eq!(said(&dry, "going"), "");
    let stays = said(&dry, "staying");
    for line in [
        "project chat_chat_1 1048576: app/chat has a container\n",
        "project chat_chat_2 1048576: whoever runs it uses it\n",
        "project shop_chat_1 1048576: compose project `shop` made it of /srv/shop/x.yml, which is not Berth's: `docker rm shop_chat_1` removes it\n",
        "project web_web_1 1048576: a manifest names app/web, or it is on its way out\n",
        "network shop_default 0: nothing runs in it, and it is of the compose project `shop`, which is not Berth's: `docker network rm shop_default` removes it\n",
        "volume chat-data 5: it is of app/chat, which no manifest names; data is never removed with it: `docker volume rm chat-data` does so\n",
        "volume shop_db 6: it is of the compose project `shop`; data is never removed with it: `docker volume rm shop_db` does so\n",
    ] {
        assert!(stays.contains(line), "{line}{stays}");
    }
    assert_eq!(stays.lines().count(), 7, "{stays}");

    // It stops: from then on it has a day.
    assert!(rig.fake.stop_foreign("chat_chat_2"));
    let done = clean(&berth, false).await;
    let gone = "project chat_chat_1 1048576: compose project `chat` made it of ";
    let going = said(&done, "going");
    assert!(going.starts_with(gone) && going.lines().count() == 1, "{done:#}");
    assert!(rig.fake.labels_of(&runs).is_some(), "it is too young");
    tokio::time::sleep(Duration::from_hours(25)).await;
    assert!(said(&clean(&berth, false).await, "going").starts_with("project chat_chat_2 "));
    assert!(rig.fake.labels_of(&runs).is_none());

    berth.manifests.remove("web.yaml");
    berth.until_gone("web").await;
    rig.fake.remove_foreign("web_web_1");
    assert_eq!(
        said(&clean(&berth, false).await, "going"),
        "",
        "the network was used until just now"
    );
    tokio::time::sleep(Duration::from_hours(25)).await;
    assert!(rig.fake.has_network("berth"));
    assert_eq!(
        said(&clean(&berth, false).await, "going"),
        "network berth 0: no container is in it\n"
    );
    assert!(!rig.fake.has_network("berth") && rig.fake.has_network("shop_default"));
    for volume in ["chat-data", "shop_db"] {
        assert!(rig.fake.has_volume(volume), "{volume}");
    }
    // It is there again as soon as an app needs it.
    berth.manifests.put("late.yaml", &manifest("late", "shop/app:3", ""));
    berth.until_running("late").await;
    assert!(rig.fake.has_network("berth"));
    berth.kill().await;
}

/// While the manifests can't be read nothing goes that depends on them; when the engine refuses the
/// lists, that is said and the rest is cleaned all the same.
#[tokio::test(start_paused = true)]
async fn what_is_not_known_keeps_it() {
    use berth::engine::fault::{Fault, Faulty};
    let rig = Rig::new().has("chat", "shop/app:1");
    let deaf = Faulty::new(std::sync::Arc::new(rig.fake.clone()), |call| match call.kind {
        "surroundings" => Fault::Fail(403),
        _ => Fault::Pass,
    });
    let berth = rig.start_on(std::sync::Arc::new(deaf));
    berth.until_running("chat").await;
    let done = clean(&berth, true).await;
    let unread = done["unread"][0].as_str().unwrap();
    assert!(unread.starts_with("networks, volumes and what compose made: "), "{unread}");
    berth.kill().await;

    let berth = rig.start();
    berth.until_running("chat").await;
    berth.manifests.remove("chat.yaml");
    berth.until_gone("chat").await;
    assert_eq!(said(&clean(&berth, true).await, "staying").lines().count(), 1);
    tokio::time::sleep(Duration::from_hours(25)).await;
    berth.manifests.fail(Some("the disk is gone"));
    berth.until("that is known", |record| record.overview().source_error.is_some()).await;
    let dry = clean(&berth, true).await;
    let stays = said(&dry, "staying");
    assert!(
        stays.starts_with("network berth 0: it is not known which apps there are: "),
        "{stays}"
    );
    assert_eq!(said(&dry, "going"), "");
    berth.kill().await;
}
