//! What the store does not do: more than it may, more than the disk holds, half of anything.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use berth::{
    model::Digest,
    store::{Depot, Figures, Immutable, Key, Settings, Store, disk::Machine},
};
use rustix::io::Errno;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::faulty::{Fault, Faulty};
use crate::api::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server over a store that behaves so.
async fn stage(change: impl FnOnce(&mut Settings)) -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    change(&mut settings);
    (Stage::with_models(Depot::new(settings)).await, folder)
}

/// Fault S04: before a disk is full.
#[tokio::test]
async fn what_is_too_large_is_refused_before_and_while_it_comes() {
    let (stage, _folder) = stage(|settings| {
        (settings.file_max, settings.project_max) = (Some(1000), Some(1500));
    })
    .await;
    let put = async |name: &str, size: usize| {
        stage.ask("PUT", &format!("/models/p/a/1/{name}"), &[], &"x".repeat(size)).await
    };
    assert_eq!(put("large", 1001).await.status, 413);
    assert_eq!(put("one", 1000).await.status, 201);
    let full = put("two", 501).await;
    assert_eq!(full.status, 413);
    assert!(full.body.contains("`p` may have 1500 bytes, and has 1000"), "{full:?}");
    assert_eq!(put("two", 500).await.status, 201);
    assert_eq!(put("one", 900).await.status, 201, "what is replaced makes room");
    // A form does not say how long its file is.
    let form = format!(
        "--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{}\r\n--X--\r\n",
        "x".repeat(1001)
    );
    let path = "/models/upload?project_id=q&app_name=a&version=1&model_name=m";
    let answer = stage
        .ask("POST", path, &[("content-type", "multipart/form-data; boundary=X")], &form)
        .await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(stage.get("/models/q").await.json()["total_models"], 0);
}

#[tokio::test]
async fn releases_stay_as_they_are_where_the_operator_says_so() {
    let (stage, _folder) = stage(|settings| {
        settings.immutable = Immutable::Releases;
        settings.immutable_of.insert("draft".to_owned(), Immutable::Off);
        settings.immutable_of.insert("fixed".to_owned(), Immutable::Versions);
    })
    .await;
    for (project, version, again) in [("draft", "1.0.0", 201), ("fixed", "main", 409)] {
        let path = format!("/models/{project}/a/{version}/m");
        assert_eq!(stage.ask("PUT", &path, &[], "one").await.status, 201, "{project}");
        assert_eq!(stage.ask("PUT", &path, &[], "two").await.status, again, "{project}");
        let gone = if again == 409 { 409 } else { 200 };
        assert_eq!(stage.ask("DELETE", &path, &[], "").await.status, gone, "{project}");
    }
    for (version, again) in [("1.0.0", 409), ("main", 201), ("1.0.0-rc.1", 201)] {
        let path = format!("/models/p/a/{version}/m");
        assert_eq!(stage.ask("PUT", &path, &[], "one").await.status, 201, "{version}");
        assert_eq!(stage.ask("PUT", &path, &[], "two").await.status, again, "{version}");
    }
}

/// Faults S03, S04, S15: those of the disk have a status and a text of their own, and leave nothing.
#[tokio::test]
async fn a_disk_that_is_full_or_fails_is_told_apart() {
    for (errno, status, text) in [
        (Errno::NOSPC, 507, "Upload failed: no space left on the device"),
        (Errno::DQUOT, 507, "Upload failed: no space left on the device"),
        (Errno::IO, 500, "Upload failed: the content can't be written: Input/output error"),
        (
            Errno::XDEV,
            500,
            "Upload failed: the content can't be written: Invalid cross-device link",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        drop(
            Store::open(Settings::new(&root), Arc::new(Machine), Arc::<Figures>::default())
                .unwrap(),
        );
        // Opening makes some changes: it asks for folders that are there.
        let disk = Arc::new(Faulty::new(Arc::new(Machine), Fault::Never));
        let store = Store::open(Settings::new(&root), Arc::clone(&disk) as _, Arc::default());
        drop(store.unwrap());
        let disk = Faulty::new(Arc::new(Machine), Fault::From(disk.changes() + 1, errno));
        let depot = Depot::on(Settings::new(&root), Arc::new(disk));
        let stage = Stage::with_models(depot).await;
        let answer = stage.ask("PUT", "/models/p/a/1/m", &[], "content").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(text), "{answer:?}");
        assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
        let names: Vec<_> =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [".store"]);
        assert_eq!(fs::read_dir(root.join(".store/uploads")).unwrap().count(), 0);
    }
}

/// Fault S12: one client has so many uploads at once, and others have theirs.
#[tokio::test]
async fn one_client_does_not_take_the_places_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let depot = Depot::new(Settings::new(folder.path().join("models")));
    let stage =
        Stage::kept_in(Arc::new(depot), |server| server.uploads_per_address = Some(2)).await;
    let connect = async |from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((std::net::IpAddr::from(from), 0).into()).unwrap();
        socket.connect(stage.address).await.unwrap()
    };
    let put = async |from: [u8; 4], name: &str| {
        let mut stream = connect(from).await;
        let head = format!(
            "PUT /models/p/a/1/{name} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = String::new();
        let reading = stream.read_to_string(&mut said);
        tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        said.to_ascii_lowercase()
    };
    let (greedy, modest) = ([127, 7, 0, 1], [127, 7, 0, 2]);
    // Berth asks for the content only once the upload has its place.
    let mut open = Vec::new();
    for name in ["one", "two"] {
        let mut stream = connect(greedy).await;
        let head = format!(
            "PUT /models/p/a/1/{name} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 12];
        let reading = stream.read_exact(&mut asked);
        tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100");
        open.push(stream);
    }
    let refused = put(greedy, "more").await;
    assert!(refused.starts_with("http/1.1 429"), "{refused}");
    assert!(refused.contains("\r\nretry-after: "), "{refused}");
    assert!(put(modest, "other").await.starts_with("http/1.1 201"));
    drop(open);
    // Berth hears of the end of the others in its own time.
    let stored = async { while !put(greedy, "more").await.starts_with("http/1.1 201") {} };
    tokio::time::timeout(PATIENCE, stored).await.expect("no place was given back");
}

/// Fault S01.
#[tokio::test]
async fn half_an_upload_is_none() {
    let stage = Stage::start().await;
    for head in [
        "PUT /models/p/a/1/m HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n",
        "POST /models/upload?project_id=p&app_name=a&version=1&model_name=m HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=X\r\ncontent-length: 100000\r\n\r\n--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 50_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut said)).await.unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    }
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    let uploads = stage.folder.path().join("models/.store/uploads");
    // Who writes what came may have its end after the answer.
    let gone = async {
        while 0 < fs::read_dir(&uploads).unwrap().count() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("half of it is left");
}

/// Fault S12: the head of a part that never ends does not fill the memory.
#[tokio::test]
async fn a_form_without_an_end_is_given_up() {
    let stage = Stage::start().await;
    let body = format!(
        "--X\r\ncontent-disposition: form-data; name=\"file\"; x=\"{}",
        "x".repeat(12 << 20)
    );
    let path = "/models/upload?project_id=p&app_name=a&version=1&model_name=m";
    let headers = [("content-type", "multipart/form-data; boundary=X")];
    let answer = stage.ask("POST", path, &headers, &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let text = format!(
        "--X\r\ncontent-disposition: form-data; name=\"description\"\r\n\r\n{}\r\n--X--\r\n",
        "x".repeat(70_000)
    );
    assert_eq!(stage.ask("POST", path, &headers, &text).await.status, 413);
}

/// Begins a download and reads its head.
async fn begin(stage: &Stage) -> TcpStream {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = "GET /models/p/a/1/m HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
    assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
    stream
}

async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that breaks off has said what it has said.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

/// Fault S06: a reader keeps what it reads.
#[tokio::test]
async fn who_reads_a_model_reads_all_of_it_whatever_happens_to_its_name() {
    let stage = Stage::start().await;
    let content = "0123456789abcdef".repeat(1 << 20);
    assert_eq!(stage.ask("PUT", "/models/p/a/1/m", &[], &content).await.status, 201);
    let deleted = begin(&stage).await;
    assert_eq!(stage.ask("PUT", "/models/p/a/1/m", &[], "another").await.status, 201);
    assert_eq!(stage.ask("DELETE", "/models/p/a/1/m", &[], "").await.status, 200);
    assert_eq!(Digest::of_bytes(&rest(deleted).await), Digest::of_bytes(content.as_bytes()));
}

/// Fault S14, by hand: a file that somebody has made shorter ends its downloads, and nothing else.
#[tokio::test]
async fn a_file_that_was_cut_off_breaks_a_download_and_not_the_server() {
    let stage = Stage::start().await;
    let content = "0123456789abcdef".repeat(2 << 20);
    assert_eq!(stage.ask("PUT", "/models/p/a/1/m", &[], &content).await.status, 201);
    let stream = begin(&stage).await;
    let path = stage.folder.path().join("models/p/a/1/m/model");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(rest(stream).await.len() < content.len());
    assert_eq!(stage.get("/health").await.status, 200);
    // What is there now is another file, and is said to be one.
    let now = stage.get("/models/p/a/1/m").await;
    assert_eq!((now.status, now.body.len()), (200, 100), "{}", now.head);
}

/// A folder of the server before Berth is taken as it is, and its digests are remembered.
#[test]
fn an_old_volume_mounts_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    for number in 0..200 {
        let model = root.join(format!("p/app/{}/m{}", number / 10, number % 10));
        fs::create_dir_all(&model).unwrap();
        let name = if number % 2 == 0 { "model" } else { "model.onnx" };
        fs::write(model.join(name), format!("content {number}")).unwrap();
        if number % 3 == 0 {
            let text = r#"{"project_id": "p", "description": "old", "upload_timestamp": "2024-05-01T10:00:00.123456+00:00"}"#;
            fs::write(model.join("metadata.json"), text).unwrap();
        }
    }
    fs::create_dir_all(root.join("p/app/0/empty")).unwrap();
    fs::write(root.join("README"), "no model").unwrap();
    let open =
        || Arc::new(Store::open(Settings::new(&root), Arc::new(Machine), Arc::default()).unwrap());
    let store = open();
    let all = store.list(&berth::store::Query::default());
    assert_eq!((all.total, store.unread().len()), (200, 200));
    let key = Key::new("p", "app", "0", "m3").unwrap();
    let entry = store.get(&key).unwrap();
    assert!(entry.listed().contains("\"description\":\"old\"") && entry.sha256.is_none());
    let digest = store.hash(&key, || true).unwrap();
    assert_eq!(digest, Digest::of_bytes(b"content 3"));
    drop(store);
    let store = open();
    assert_eq!(store.get(&key).unwrap().sha256, Some(digest.clone()), "it was forgotten");
    let file = root.join("p/app/0/m3/model.onnx");
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"!").unwrap();
    drop(store);
    assert_eq!(open().get(&key).unwrap().sha256, None, "another content has another digest");
}
