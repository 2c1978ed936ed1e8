//! Uploads that are sent in parts side by side, and put together: tus' concatenation.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use berth::{
    model::Digest,
    store::{Danger, Depot, Immutable, PARTS_MAX, Settings},
};
use serde_json::json;

use super::inspection::open;
use crate::api::stage::{Answer, Stage};

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const PART: (&str, &str) = ("content-type", "application/offset+octet-stream");
const PLACE: &str = "/uploads?project_id=p&app_name=a&version=1&model_name=m";

fn header(answer: &Answer, name: &str) -> Option<String> {
    let begins = format!("{name}: ");
    let mut lines = answer.head.lines();
    lines.find_map(|line| line.strip_prefix(&begins)).map(str::to_owned)
}

/// The addresses of the parts that are open.
async fn open_parts(stage: &Stage) -> Vec<String> {
    let all = stage.get("/uploads").await.json();
    let items = all["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["url"].as_str().unwrap().to_owned()).collect()
}

/// Begins a part that will be so long, with what comes first; answers its address.
async fn part(stage: &Stage, length: usize, body: &str) -> String {
    let before = open_parts(stage).await;
    let length = length.to_string();
    let headers = [TUS, PART, ("upload-length", length.as_str()), ("upload-concat", "partial")];
    let begun = stage.ask("POST", PLACE, &headers, body).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let all = open_parts(stage).await;
    let url = all.into_iter().find(|url| !before.contains(url)).unwrap();
    assert_eq!(header(&begun, "location").unwrap(), url.to_lowercase());
    url
}

async fn join_as(stage: &Stage, path: &str, concat: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&[TUS, ("upload-concat", concat)], more].concat();
    stage.ask("POST", path, &headers, "").await
}

async fn join(stage: &Stage, urls: &[&str]) -> Answer {
    join_as(stage, PLACE, &format!("final;{}", urls.join(" ")), &[]).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(header(answer, "tus-resumable").as_deref(), Some("1.0.0"), "{answer:?}");
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn parts_that_came_side_by_side_are_one_model() {
    let stage = Stage::start().await;
    let options = stage.ask("OPTIONS", "/uploads", &[], "").await;
    let known = header(&options, "tus-extension").unwrap();
    assert!(known.split(',').any(|it| it == "concatenation"), "{known}");
    assert!(!known.contains("unfinished"), "{known}");
    let one = part(&stage, 4, "0123").await;
    let two = part(&stage, 6, "45").await;
    let empty = part(&stage, 0, "").await;
    let head = stage.ask("HEAD", &two, &[TUS], "").await;
    let seen = ["upload-concat", "upload-offset", "upload-length"].map(|name| header(&head, name));
    assert_eq!(seen.map(Option::unwrap), ["partial", "2", "6"]);
    assert_eq!(stage.get(&two).await.json()["concat"], "partial");
    let early = join(&stage, &[&one, &two]).await;
    assert_eq!(refusal(&early), (409, "model.conflict".to_owned()));
    assert!(early.body.contains(&two) && early.body.contains("2 of 6 bytes"), "{early:?}");
    for (at, body) in [("2", "67"), ("4", "89"), ("6", "")] {
        let headers = [TUS, PART, ("upload-offset", at)];
        assert_eq!(stage.ask("PATCH", &two, &headers, body).await.status, 204, "{at}");
    }
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0, "a part is no model");
    // As a client sends it: with whole addresses, names as metadata, and what it must be.
    let sum = Digest::of_bytes(b"0123456789");
    let pairs = [("filename", "w.bin"), ("description", "in parts"), ("sha256", sum.as_str())];
    let pairs = pairs.map(|(name, value)| format!("{name} {}", STANDARD.encode(value)));
    let (metadata, address) = (pairs.join(","), stage.address);
    let concat = format!("final;http://{address}{one} {two} http://proxy:1/below{empty}");
    let joined = join_as(&stage, PLACE, &concat, &[("upload-metadata", &metadata)]).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    assert_eq!(header(&joined, "content-location").as_deref(), Some("/models/p/a/1/m"));
    let info = stage.get("/models/p/a/1/m/info").await.json();
    let wanted = json!([sum.as_str(), 10, "w.bin", "in parts"]);
    let told =
        ["sha256", "size", "original_filename", "description"].map(|name| info[name].clone());
    assert_eq!(json!(told), wanted);
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "0123456789");
    assert_eq!(open_parts(&stage).await, Vec::<String>::new());
    assert_eq!(stage.ask("HEAD", &one, &[TUS], "").await.status, 404, "what was used is gone");
    let again = join(&stage, &[&one, &two]).await;
    assert_eq!(refusal(&again), (404, "upload.nothing".to_owned()));
}

/// What was put together is looked at as what it is, also after a restart; nothing is added to it.
#[tokio::test]
async fn what_was_put_together_says_so_and_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("models"));
    let mut stage = Stage::with_models(Depot::new(settings.clone())).await;
    let one = part(&stage, 3, "abc").await;
    let left = part(&stage, 3, "xyz").await;
    // The same part may be in it twice.
    assert_eq!(join(&stage, &[&one, &one]).await.status, 201);
    let partial = folder.path().join("models/.store/partial");
    let names = std::fs::read_dir(&partial).unwrap().map(|it| it.unwrap().file_name());
    let mut ids: Vec<_> = names.filter_map(|it| it.into_string().ok()).collect();
    ids.retain(|name| name.strip_suffix(".json").is_some_and(|id| !left.contains(id)));
    let [whole] = &ids[..] else { panic!("{ids:?}") };
    let whole = format!("/uploads/{}", whole.trim_end_matches(".json"));
    for round in 0..2 {
        let head = stage.ask("HEAD", &whole, &[TUS], "").await;
        let seen = ["upload-concat", "upload-offset", "upload-length"];
        let seen = seen.map(|name| header(&head, name).unwrap());
        assert_eq!(seen, [format!("final;{one} {one}").to_lowercase(), "6".into(), "6".into()]);
        for body in ["", "more"] {
            let headers = [TUS, PART, ("upload-offset", "6")];
            let refused = stage.ask("PATCH", &whole, &headers, body).await;
            assert_eq!(refusal(&refused), (403, "upload.final".to_owned()));
        }
        let nested = join(&stage, &[&left, &whole]).await;
        assert_eq!(refusal(&nested), (409, "model.conflict".to_owned()), "{nested:?}");
        assert!(nested.body.contains("is no part"), "{nested:?}");
        assert_eq!(stage.get("/models/p/a/1/m").await.body, "abcabc");
        assert_eq!(open_parts(&stage).await, [left.as_str()], "it stays");
        if round == 0 {
            stage.stop.cancel();
            stage.served.await.unwrap();
            stage = Stage::with_models(open(&settings).await).await;
        }
    }
    assert_eq!(stage.ask("DELETE", &whole, &[TUS], "").await.status, 204);
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "abcabc", "only the note of it goes");
}

/// Whatever is wrong with it: nothing is stored, and no part is lost.
#[tokio::test]
async fn what_makes_no_sense_is_refused_and_takes_no_part() {
    let stage = Stage::start().await;
    let one = part(&stage, 3, "abc").await;
    let headers = [TUS, ("upload-length", "3")];
    assert_eq!(stage.ask("POST", PLACE, &headers, "").await.status, 201);
    let all = open_parts(&stage).await;
    let plain = all.iter().find(|url| **url != one).unwrap();
    let good = format!("final;{one}");
    let many = format!("final;{}", format!("{one} ").repeat(PARTS_MAX + 1));
    let other = Digest::of_bytes(b"other");
    let (wrong, checked) = (format!("{PLACE}&sha256={other}"), format!("{PLACE}&sha256=12"));
    let invalid = "upload.invalid";
    for (path, concat, more, status, code) in [
        (PLACE, "final;/uploads/none", None, 404, "upload.nothing"),
        (PLACE, "final;/files/x", None, 404, "upload.nothing"),
        (PLACE, "final;", None, 400, invalid),
        (PLACE, "nonsense", None, 400, invalid),
        (PLACE, &many, None, 400, invalid),
        (PLACE, &format!("final;{plain}"), None, 409, "model.conflict"),
        (PLACE, &good, Some(("upload-length", "3")), 400, "upload.length"),
        (PLACE, &good, Some(("upload-defer-length", "1")), 400, "upload.length"),
        (&wrong, &good, None, 400, "model.digest"),
        (&checked, &good, None, 400, "model.digest"),
        (PLACE, &good, Some(("if-match", "*")), 412, "model.precondition"),
        ("/uploads", &good, None, 422, ""),
    ] {
        let answer = join_as(&stage, path, concat, more.as_slice()).await;
        assert_eq!(
            refusal(&answer),
            (status, code.to_owned()),
            "{concat:.60} {more:?}: {answer:?}"
        );
        assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
        assert_eq!(stage.ask("HEAD", &one, &[TUS], "").await.status, 200, "{concat:.60}");
    }
    let body = [TUS, PART, ("upload-concat", good.as_str())];
    let answer = stage.ask("POST", PLACE, &body, "more").await;
    assert_eq!(refusal(&answer), (400, invalid.to_owned()), "{answer:?}");
    let most = format!("final;{}", format!("{one} ").repeat(PARTS_MAX));
    let tried = format!("{PLACE}&dryRun=true");
    let dry = join_as(&stage, &tried, &most, &[]).await;
    assert_eq!((dry.status, &dry.json()["length"]), (200, &json!(3 * PARTS_MAX)), "{dry:?}");
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    assert_eq!(join_as(&stage, PLACE, &most, &[]).await.status, 201);
    assert_eq!(stage.get("/models/p/a/1/m").await.body.len(), 3 * PARTS_MAX);
}

/// It goes by the rules that uploads go by: room, what may be changed, what is inside.
#[tokio::test]
async fn what_is_put_together_is_checked_as_any_upload() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.file_max = Some(8);
    settings.project_max = Some(20);
    settings.immutable = Immutable::Versions;
    let stage = Stage::with_models(Depot::new(settings)).await;
    let five = [part(&stage, 5, "01234").await, part(&stage, 5, "56789").await];
    let three = part(&stage, 3, "abc").await;
    let refused = join(&stage, &[&five[0], &five[1]]).await;
    assert_eq!(refusal(&refused), (413, "model.too-large".to_owned()), "larger than a file may be");
    // With the other parts, it would be more than the project may have: these count.
    let refused = join(&stage, &[three.as_str(); 2]).await;
    assert_eq!(refused.status, 201, "six and ten are not more than twenty: {refused:?}");
    let next = "/uploads?project_id=p&app_name=a&version=1&model_name=n";
    let concat = format!("final;{} {}", five[0], &five[0]);
    let refused = join_as(&stage, next, &concat, &[]).await;
    assert_eq!(refusal(&refused), (413, "model.too-large".to_owned()));
    let refused = join(&stage, &[&five[0]]).await;
    assert_eq!(refusal(&refused), (409, "model.immutable".to_owned()), "{refused:?}");
    let joined = join_as(&stage, next, &format!("final;{}", five[0]), &[]).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    assert_eq!(open_parts(&stage).await, [five[1].as_str()]);

    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.policy.danger = Danger::Block;
    let stage = Stage::with_models(Depot::new(settings)).await;
    // Loading the two together runs a program; neither of them is anything alone.
    let pickle = "cos\nsystem\n(S'true'\ntR.";
    let (begin, end) = pickle.split_at(7);
    let one = part(&stage, begin.len(), begin).await;
    let two = part(&stage, end.len(), end).await;
    let refused = join(&stage, &[&one, &two]).await;
    assert_eq!(refusal(&refused), (403, "model.blocked".to_owned()), "{refused:?}");
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    assert_eq!(open_parts(&stage).await.len(), 2);
    assert_eq!(join(&stage, &[&two, &one]).await.status, 201);
}
