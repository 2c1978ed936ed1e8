//! Contents that come as chunks, made by hand: what is right becomes a file, and nothing else does.

use berth::{
    model::Digest,
    xet::{FileHash, Hash, Malformed, XorbReader, chunk_hash},
};
use serde_json::json;

use super::{Hub, line};

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [&[0], &length[..3], &[0], &length[..3], bytes].concat()
}

fn xorb(chunks: &[&[u8]]) -> (Hash, Vec<u8>) {
    let body: Vec<u8> = chunks.iter().flat_map(|bytes| chunk(bytes)).collect();
    let mut reader = XorbReader::default();
    reader.push::<Malformed>(&body, |_| Ok(())).unwrap();
    (reader.finish().unwrap(), body)
}

fn file_hash(chunks: &[&[u8]]) -> Hash {
    let mut hash = FileHash::default();
    for bytes in chunks {
        hash.push(chunk_hash(bytes), bytes.len() as u64);
    }
    hash.finish()
}

fn record(hash: &[u8; 32], words: [u32; 4]) -> Vec<u8> {
    [hash.to_vec(), words.iter().flat_map(|word| word.to_le_bytes()).collect()].concat()
}

/// A shard with one file, of one part of a xorb.
fn shard(file: Hash, xorb: Hash, (bytes, from, to): (u32, u32, u32), whole: &[u8]) -> Vec<u8> {
    let mut body = b"HFRepoMetaData".to_vec();
    body.resize(48, 0);
    body.extend(record(&file.0, [1 << 30, 1, 0, 0]));
    body.extend(record(&xorb.0, [0, bytes, from, to]));
    let digest = Hash::parse(Digest::of_bytes(whole).as_str()).unwrap();
    body.extend(record(&digest.0, [0; 4]));
    body.extend(record(&[0xff; 32], [0; 4]));
    body.extend(record(&[0xff; 32], [0; 4]));
    body
}

impl Hub {
    /// Where chunks are sent to, and the token for it.
    async fn chunks_of(&self, token: &str, repo: &str) -> (String, String) {
        let path = format!("/api/models/{repo}/xet-write-token/main");
        let told = self.by(token, "GET", &path, b"").await.json();
        let url = told["casUrl"].as_str().unwrap().to_owned();
        let path = url.split_once("://").unwrap().1.split_once('/').unwrap().1.to_owned();
        (format!("/{path}"), told["accessToken"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn chunks_become_a_file_once_a_shard_names_them() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[]).await;
    let (at, token) = hub.chunks_of(&hub.scoped, "conformance/a").await;
    let (one, two, three) = (vec![1_u8; 9000], vec![2_u8; 130], vec![3_u8; 70_000]);
    let chunks = [one.as_slice(), &two, &three];
    let (hash, body) = xorb(&chunks);
    let to = format!("{at}/v1/xorbs/default/{hash}");
    let grant = format!("{at}/v1/xorb-grants/default/{hash}");
    assert_eq!(hub.by(&token, "POST", &grant, b"{}").await.status, 404);
    let put = hub.by(&token, "POST", &to, &body).await;
    assert_eq!((put.status, put.body.as_str()), (200, r#"{"was_inserted":true}"#));
    let again = [body.as_slice(), b"XETBLOB and what follows"].concat();
    let put = hub.by(&token, "POST", &to, &again).await;
    assert_eq!((put.status, put.body.as_str()), (200, r#"{"was_inserted":false}"#));
    assert_eq!(hub.by(&token, "POST", &grant, b"{}").await.status, 200);
    assert_eq!(hub.uploads().len(), 1, "it waits");

    let rest = [two.as_slice(), &three].concat();
    let (bytes, name) = (u32::try_from(rest.len()).unwrap(), file_hash(&chunks[1..]));
    let of_rest = shard(name, hash, (bytes, 1, 3), &rest);
    let made = hub.by(&token, "POST", &format!("{at}/v2/shards"), &of_rest).await;
    assert_eq!((made.status, made.body.as_str()), (200, "{\"type\":\"result\"}\n"));
    assert_eq!(hub.uploads().len(), 1, "a chunk of it is in no file yet");
    let whole = [one.as_slice(), &rest].concat();
    let of_all = shard(file_hash(&chunks), hash, (bytes + 9000, 0, 3), &whole);
    let made = hub.by(&token, "POST", &format!("{at}/v1/shards"), &of_all).await;
    assert_eq!((made.status, made.body.as_str()), (200, r#"{"result":1}"#));
    assert_eq!(hub.uploads(), Vec::<String>::new(), "now all of it is in files");
    // From there on, its chunks are those of the files.
    let made = hub.by(&token, "POST", &format!("{at}/v1/shards"), &of_rest).await;
    assert_eq!(made.status, 200, "{made:?}");

    let last = hub.ask("GET", "/api/v1/audit?limit=1", "").await.json()["items"][0].clone();
    assert_eq!(
        (&last["who"]["name"], &last["object"]),
        (&json!("scoped"), &json!("content/conformance"))
    );
    assert_eq!(last["after"]["sha256"], json!([Digest::of_bytes(&rest)]), "{last:#}");

    let oid = Digest::of_bytes(&whole);
    let line = line("lfsFile", &json!({ "path": "m.bin", "algo": "sha256", "oid": oid }));
    assert_eq!(hub.commit("conformance/a", "main", &[line]).await.status, 200);
    let head = hub.ask("HEAD", "/conformance/a/resolve/main/m.bin", "").await;
    assert!(head.has(&format!("content-length: {}", whole.len())), "{head:?}");
    assert!(head.has(&format!("etag: \"{oid}\"")), "{head:?}");
}

#[tokio::test]
async fn chunks_and_shards_that_are_wrong_become_nothing() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[]).await;
    let (at, token) = hub.chunks_of(&hub.all, "conformance/a").await;
    let long = vec![7_u8; 20_000];
    let chunks = [long.as_slice(), b"end"];
    let (hash, body) = xorb(&chunks);
    let to = format!("{at}/v1/xorbs/default/{hash}");
    let head = |packed: u32, kind: u8, length: u32| {
        let (packed, length) = (packed.to_le_bytes(), length.to_le_bytes());
        [&[0], &packed[..3], &[kind], &length[..3]].concat()
    };
    let bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        body[..body.len() - 1].to_vec(),
        body[..8].to_vec(),
        body[..20_008].to_vec(),
        [body.as_slice(), b"x"].concat(),
        [&head(3, 0, 3), b"abc".as_slice()].concat(),
        head(0xff_ffff, 0, 0xff_ffff),
        head(0xff_ffff, 1, 100),
        head(0, 0, 0),
        [head(4, 1, 100), b"none".to_vec()].concat(),
        [head(4, 3, 4), b"none".to_vec()].concat(),
        chunk(b"x").repeat(8193),
        chunk(&vec![0; 128 << 10]).repeat(513),
    ];
    for bytes in bad {
        let answer = hub.by(&token, "POST", &to, &bytes).await;
        assert_eq!(answer.status, 400, "{} bytes: {answer:?}", bytes.len());
    }
    for wrong in ["xyz", &"0".repeat(63), &"A".repeat(64)] {
        let path = format!("{at}/v1/xorbs/default/{wrong}");
        assert_eq!(hub.by(&token, "POST", &path, &body).await.status, 400);
    }
    let shards = format!("{at}/v1/shards");
    let (name, whole) = (file_hash(&chunks), [long.as_slice(), b"end"].concat());
    let good = shard(name, hash, (20_003, 0, 2), &whole);
    assert_eq!(hub.by(&token, "POST", &shards, &good).await.status, 400, "its xorb never came");
    assert_eq!(hub.by(&token, "POST", &to, &body).await.status, 200);
    for wrong in [
        Vec::new(),
        b"x".repeat(500),
        good[..96].to_vec(),
        good[..143].to_vec(),
        shard(hash, hash, (20_003, 0, 2), &whole),
        shard(name, hash, (20_003, 0, 2), b"another"),
        shard(name, hash, (20_003, 0, 3), &whole),
        shard(name, hash, (20_004, 0, 2), &whole),
        shard(name, hash, (3, 2, 1), &whole),
        shard(name, hash, (u32::MAX, 0, u32::MAX), &whole),
        shard(name, name, (20_003, 0, 2), &whole),
    ] {
        let answer = hub.by(&token, "POST", &shards, &wrong).await;
        assert_eq!(answer.status, 400, "{} bytes: {answer:?}", wrong.len());
        let path = format!("{at}/v2/shards");
        let told = hub.by(&token, "POST", &path, &wrong).await;
        assert!(told.status == 400 || told.body.contains(r#""type":"error""#), "{told:?}");
    }
    let blobs = hub.folder.path().join("models/.store/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "nothing became a content");
    assert_eq!(hub.by(&token, "POST", &shards, &good).await.status, 200);
}

#[tokio::test]
async fn a_token_for_chunks_opens_those_of_its_project_only() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[]).await;
    hub.repo("other/b", &[]).await;
    let (at, token) = hub.chunks_of(&hub.all, "conformance/a").await;
    let (hash, body) = xorb(&[b"one", b"two"]);
    let to = format!("{at}/v1/xorbs/default/{hash}");
    assert_eq!(hub.by(&token, "POST", &to, &body).await.status, 200);
    let shards = format!("{at}/v1/shards");
    let good = shard(file_hash(&[b"one", b"two"]), hash, (6, 0, 2), b"onetwo");
    // The token is for chunks and for nothing else, and no other is for them.
    for token in [hub.all.as_str(), "", "xet.9999999999.all..conformance", &token[1..]] {
        assert_eq!(hub.by(token, "POST", &shards, &good).await.status, 401, "{token}");
    }
    let as_other = token.replace(".conformance", ".other");
    assert_eq!(hub.by(&as_other, "POST", &shards, &good).await.status, 401);
    assert_eq!(hub.by(&token, "GET", "/api/models/conformance/a", b"").await.status, 401);
    // Who is limited to a project does not get at the chunks of others.
    let (at_b, token_b) = hub.chunks_of(&hub.all, "other/b").await;
    let (secret, sent) = xorb(&[b"secret of another"]);
    let path = format!("{at_b}/v1/xorbs/default/{secret}");
    assert_eq!(hub.by(&token_b, "POST", &path, &sent).await.status, 200);
    let (_, limited) = hub.chunks_of(&hub.scoped, "conformance/a").await;
    let theirs =
        shard(file_hash(&[b"secret of another"]), secret, (17, 0, 1), b"secret of another");
    assert_eq!(hub.by(&limited, "POST", &shards, &theirs).await.status, 400);
    assert_eq!(hub.by(&token, "POST", &shards, &good).await.status, 200);
}
