//! What clients of the Hub send: chunks, files made of them, commits.

use crate::readers::{JSON_WORDS, MIB, Target};

#[allow(dead_code, reason = "not all of it is read here")]
#[path = "../../../../src/server/hub/lines.rs"]
mod lines;
#[allow(dead_code, unused_imports, reason = "not all of it is read here")]
#[path = "../../../../src/xet/mod.rs"]
mod xet;

pub(crate) const XORB: Target = Target {
    name: "xorb",
    // What is unpacked may be 255 times as long.
    bytes_max: 64 << 10,
    seeds: &["\0\u{3}\0\0\0\u{3}\0\0abc", "\0\u{1}\0\0\0\u{1}\0\0aXETBLOB"],
    words: &["XETBLOB", "\0\u{1}\0\0\0\u{1}\0\0a", "\u{4}\"M\u{18}", "\0\0\0\0", "\u{1}", "\u{2}"],
    read: read_xorb,
};

pub(crate) const SHARD: Target = Target {
    name: "shard",
    bytes_max: MIB,
    seeds: &["HFRepoMetaData\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
    words: &["HFRepoMetaData", "\0\0\0\0", "\u{1}\0\0\0", "\u{7f}\u{7f}\u{7f}\u{7f}"],
    read: read_shard,
};

pub(crate) const COMMIT: Target = Target {
    name: "commit",
    bytes_max: MIB,
    seeds: &[
        "{\"key\":\"header\",\"value\":{\"summary\":\"s\",\"description\":\"d\",\"parentCommit\":\"0\"}}\n{\"key\":\"file\",\"value\":{\"path\":\"a/b\",\"content\":\"YQ==\",\"encoding\":\"base64\"}}\n",
        "{\"key\":\"lfsFile\",\"value\":{\"path\":\"b\",\"algo\":\"sha256\",\"oid\":\"x\",\"size\":1}}\r\n\n{\"key\":\"deletedFolder\",\"value\":{\"path\":\"c\"}}",
    ],
    words: JSON_WORDS,
    read: read_commit,
};

/// Parts of an input in two ways: as a whole, and cut where it says so itself.
fn ways(bytes: &[u8]) -> [Vec<&[u8]>; 2] {
    let step = bytes.first().map_or(1, |first| usize::from(*first) * 37 + 1);
    [vec![bytes], bytes.chunks(step).collect()]
}

fn read_xorb(bytes: &[u8]) {
    let read = |parts: &[&[u8]]| {
        let (mut reader, mut lengths) = (xet::XorbReader::default(), Vec::new());
        for part in parts {
            reader.push::<xet::Malformed>(part, |chunk| {
                assert!(!chunk.is_empty() && chunk.len() <= xet::CHUNK_MAX);
                lengths.push(chunk.len());
                Ok(())
            })?;
        }
        assert!(lengths.len() <= xet::CHUNKS_MAX);
        assert!(lengths.iter().sum::<usize>() as u64 <= xet::XORB_MAX);
        reader.finish().map(|hash| (hash, lengths))
    };
    let [whole, cut] = ways(bytes).map(|parts| read(&parts));
    assert_eq!(whole, cut);
}

fn read_shard(bytes: &[u8]) {
    let read = |parts: &[&[u8]]| {
        let mut reader = xet::ShardReader::default();
        parts.iter().try_for_each(|part| reader.push(part))?;
        reader.finish()
    };
    let [whole, cut] = ways(bytes).map(|parts| read(&parts));
    assert_eq!(whole, cut);
    let terms = whole.iter().flatten().map(|file| file.terms.len()).sum::<usize>();
    assert!(terms * 48 <= bytes.len(), "more parts than were sent");
}

fn read_commit(bytes: &[u8]) {
    let read = |parts: &[&[u8]]| {
        let (mut all, mut found) = (lines::Lines::default(), String::new());
        for part in parts.iter().chain([&&b"\n"[..]]) {
            all.push(part);
            loop {
                match all.next_line() {
                    Ok(Some(lines::Line::File { content, encoding, .. })) => {
                        let length = lines::content(content, encoding.as_deref()).map(|it| it.len());
                        found += &format!("{:?}", length.ok());
                    }
                    Ok(Some(line)) => found += &format!("{line:?}"),
                    Ok(None) => break,
                    Err(flaw) => return found + &format!("{flaw:?}"),
                }
            }
        }
        found
    };
    let [whole, cut] = ways(bytes).map(|parts| read(&parts));
    assert_eq!(whole, cut);
}
