//! Held against what a real client sent (`hf_xet` 1.8): the bytes and hashes below are its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::model::Digest;

/// Three chunks, the last of them packed.
const XORB: &str = "\
APMAAADzAAAAAAAAAAAAPwAAgD8AAMA/AAAAQAAAIEAAAEBAAABgQAAAgEAAAJBAAACgQAAAsEAAAMBAAADQQAAA4E\
AAAPBAAAAAQQAACEEAABBBAAAYQQAAIEEAAChBAAAwQQAAOEEAAEBBAABIQQAAUEEAAFhBAABgQQAAaEEAAHBBAAB4\
QQAAgEEAAIRBAACIQQAAjEEAAJBBAACUQQAAmEEAAJxBAACgQQAApEEAAKhBAACsQQAAsEEAALRBAAC4QQAAvEEAAM\
BBAADEQQAAyEEAAMxBAADQQQAA1EEAANhBAADcQQAA4EEAAORBAADoQQAA7EF4eXoABQAAAAUAAGhlbGxvADAAAAGQ\
AQAEIk0YYECCIQAAAP8FdGhlIHF1aWNrIGJyb3duIGZveAoUAP9kYG4gZm94CgAAAAA=";
const XORB_HASH: &str = "486452c812db5f8d537b7468062aa12b8ddd1b1198efb0300cb0bd5fd1bac92f";
/// The shard that names them: three files.
const SHARD: &str = "\
SEZSZXBvTWV0YURhdGEAVWlnRWp7gVeDpb3ZXM3RSqkCAAAAAAAAAAAAAAAAAAAAGcOGM4N7th7YfVT9q93I+fd2j0\
r3ABma7hq3QiI+GBwAAADAAQAAAAAAAAAAAAAAjV/bEshSZEgroSoGaHR7UzCw75gRG92NL8m60V+9sAwAAAAA8wAA\
AAAAAAABAAAAYcKmfekRaDOjwwhpCuftt3kWCM/9/AwS1FbKsLkbGRMAAAAAAAAAAAAAAAAAAAAASF5Y2LT+N3pUJS\
WHATtJiNztdiJzWkxmqWm8m/K4SiIAAAAAAAAAAAAAAAAAAAAAJ61sCDoho0i1LiNH/qqBE+y/6zyWGinfIrRe9O9y\
GQcAAADAAQAAAAAAAAAAAAAAjV/bEshSZEgroSoGaHR7UzCw75gRG92NL8m60V+9sAwAAAAABQAAAAEAAAACAAAAat\
RW8El2HX96aNfuDB15AdMWiejmQtq8z3yanSxL2s0AAAAAAAAAAAAAAAAAAAAADqOwX7pN8iye4rnFKjvoJl5Cpx9c\
HhYbJJiLk2IzBHMAAAAAAAAAAAAAAAAAAAAAZGpbkoK8WtspTjySUbmy4gVGC2QtZR01a0TrlS5WPGYAAADAAQAAAA\
AAAAAAAAAAjV/bEshSZEgroSoGaHR7UzCw75gRG92NL8m60V+9sAwAAAAAkAEAAAIAAAADAAAAnB+abLcIOZ400rui\
5dH3YxcPMBXGWVIYArdsdhWidmEAAAAAAAAAAAAAAAAAAAAAwthW+9fiv2ceIo7UFeK7uqASpnULeroiJlPl7UW3zm\
wAAAAAAAAAAAAAAAAAAAAA//////////////////////////////////////////8AAAAAAAAAAAAAAAAAAAAAjV/b\
EshSZEgroSoGaHR7UzCw75gRG92NL8m60V+9sAwAAAAAAwAAAIgCAAAAAAAAMJNcQbKIs5aC3q4GRV42mk2hoF+nF+\
E5v4TPl5dsQT0AAAAA8wAAAAAAAAAAAAAACwWY2RK6dpA+lA93v8iVnLeCCknHVa1swsIFKipY8WzzAAAABQAAAAAA\
AAAAAAAAEincoLWXwetMxNulc1CIc4ual+eHQin+VmzuXy/UZWv4AAAAkAEAAAAAAAAAAAAA//////////////////\
////////////////////////8AAAAAAAAAAAAAAAAAAAAA";
/// The hash of each file and its SHA-256, how long it is, and which chunk it is.
const FILES: [(&str, &str, u32, u32); 3] = [
    (
        "1eb67b833386c319f9c8ddabfd547dd89a1900f74a8f76f71c183e2242b71aee",
        "7a37feb4d8585e4888493b0187252554664c5a732276eddc224ab8f29bbc69a9",
        243,
        0,
    ),
    (
        "48a3213a086cad271381aafe47232eb5df291a963cebbfec071972eff45eb422",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        5,
        1,
    ),
    (
        "db5abc82925b6a64e2b2b951923c4e29351d652d640b4605663c562e95eb446b",
        "67bfe2d7fb56d8c2babbe215d48e221e22ba7a0b75a612a06cceb745ede55326",
        400,
        2,
    ),
];
/// How a client cut 1,500,000 bytes of [`noise`], and what the chunks and the file are called then.
const CUTS: [usize; 27] = [
    10536, 62603, 15850, 40636, 11221, 82940, 131_072, 29766, 34284, 36041, 21661, 39275, 131_072,
    99550, 131_072, 10734, 26331, 53469, 131_072, 97196, 8829, 14808, 125_371, 16104, 87322, 27172,
    24013,
];
const NOISE_XORB: &str = "494b73d1c92b654f7593e8eec57058c7ef9cb25390fda0dbddf3e0c022f46f87";
const NOISE_FILE: &str = "dca526d393f9a3a1cb4d92d19f698b31d91f7af642d3754103ac96d33aa7e565";

fn sent(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let (mut state, mut bytes) = (1_u64, Vec::with_capacity(length + 4));
    while bytes.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&u32::try_from(state >> 32).unwrap().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What a xorb has, read in parts of a length.
fn read(body: &[u8], part: usize) -> Result<(Hash, Vec<Vec<u8>>), Malformed> {
    let (mut reader, mut chunks) = (XorbReader::default(), Vec::new());
    for part in body.chunks(part) {
        reader.push::<Malformed>(part, |chunk| {
            chunks.push(chunk.to_vec());
            Ok(())
        })?;
    }
    Ok((reader.finish()?, chunks))
}

fn shard(body: &[u8], part: usize) -> Result<Vec<FileInfo>, Malformed> {
    let mut reader = ShardReader::default();
    body.chunks(part).try_for_each(|part| reader.push(part))?;
    reader.finish()
}

#[test]
fn a_xorb_and_a_shard_of_a_client_are_read() {
    let body = sent(XORB);
    let (hash, chunks) = read(&body, body.len()).unwrap();
    assert_eq!(hash.to_string(), XORB_HASH);
    assert_eq!(Hash::parse(XORB_HASH), Some(hash));
    for part in [1, 7, 8, 9, 100] {
        assert_eq!(read(&body, part).unwrap(), (hash, chunks.clone()), "in parts of {part}");
    }
    let with_end = [body.as_slice(), b"XETBLOB\x01 and more"].concat();
    assert_eq!(read(&with_end, 5).unwrap(), (hash, chunks.clone()));
    let files = shard(&sent(SHARD), 31).unwrap();
    assert_eq!(files, shard(&sent(SHARD), 1000).unwrap());
    assert_eq!(files.len(), FILES.len());
    for (file, (name, sha256, bytes, at)) in files.iter().zip(FILES) {
        let term = Term { xorb: hash, bytes, from: at, to: at + 1 };
        assert_eq!((file.hash.to_string().as_str(), &file.terms), (name, &vec![term]));
        let chunk = &chunks[usize::try_from(at).unwrap()];
        assert_eq!(file.sha256, Some(Digest::of_bytes(chunk)));
        assert_eq!(Digest::of_bytes(chunk).as_str(), sha256);
        let mut whole = FileHash::default();
        whole.push(chunk_hash(chunk), u64::from(bytes));
        assert_eq!(whole.finish(), file.hash);
    }
}

#[test]
fn many_chunks_have_the_hash_that_a_client_finds() {
    let bytes = noise(CUTS.iter().sum());
    let (mut xorb, mut file, mut rest) = (Many::default(), FileHash::default(), bytes.as_slice());
    for length in CUTS {
        let (chunk, after) = rest.split_at(length);
        xorb.push(chunk_hash(chunk), length as u64);
        file.push(chunk_hash(chunk), length as u64);
        rest = after;
    }
    assert_eq!(xorb.finish().unwrap().to_string(), NOISE_XORB);
    assert_eq!(file.finish().to_string(), NOISE_FILE);
    assert_eq!(FileHash::default().finish(), Hash([0; 32]));
    assert_eq!(Many::default().finish(), None);
}

#[test]
fn bytes_that_were_sorted_come_back() {
    use std::io::Write as _;
    for length in [1, 2, 3, 4, 5, 1001, 1002, 1003, 1004] {
        let plain: Vec<u8> = (0..length).map(|at: usize| u8::try_from(at % 200).unwrap()).collect();
        let grouped: Vec<u8> =
            (0..4).flat_map(|first| plain.iter().skip(first).step_by(4).copied()).collect();
        let mut packer = lz4_flex::frame::FrameEncoder::new(Vec::new());
        packer.write_all(&grouped).unwrap();
        let packed = packer.finish().unwrap();
        let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let (short, long) = (word(packed.len()), word(length));
        let body = [&[0], &short[..3], &[2], &long[..3], &packed].concat();
        assert_eq!(read(&body, 64).unwrap().1, [plain]);
    }
}

/// Whatever a client sends, in whatever parts: it is read or refused, and nothing is taken for more
/// than has come.
#[test]
fn what_is_broken_anywhere_is_refused_or_has_another_hash() {
    let (xorb, good) = (sent(XORB), Hash::parse(XORB_HASH).unwrap());
    for end in 0..xorb.len() {
        assert!(!read(&xorb[..end], 50).is_ok_and(|(hash, _)| hash == good), "{end}");
    }
    let named = shard(&sent(SHARD), 48).unwrap();
    for at in 0..xorb.len() * 8 {
        let mut other = xorb.clone();
        other[at / 8] ^= 1 << (at % 8);
        if let Ok((hash, chunks)) = read(&other, 300) {
            let is_same = chunks == read(&xorb, 300).unwrap().1;
            assert_eq!(hash == good, is_same, "bit {at}");
        }
    }
    let body = sent(SHARD);
    for end in 0..body.len() {
        let read = shard(&body[..end], 48);
        assert!(read.is_err() || read.as_ref() == Ok(&named), "{end}");
    }
    for at in 0..body.len() * 8 {
        let mut other = body.clone();
        other[at / 8] ^= 1 << (at % 8);
        let files = shard(&other, 1000).unwrap_or_default();
        let terms: usize = files.iter().map(|file| file.terms.len()).sum();
        assert!(files.len() + terms <= body.len() / 48, "bit {at}");
    }
}

#[test]
fn hashes_are_read_as_they_are_shown() {
    let shown = "0123456789abcdef00000000000000000000000000000000ffffffffffffffff";
    let hash = Hash::parse(shown).unwrap();
    assert_eq!((hash.0[0], hash.0[7], hash.to_string().as_str()), (0xef, 0x01, shown));
    for bad in ["", "0", &shown[1..], &shown.to_uppercase(), &format!("{}é", &shown[2..])] {
        assert_eq!(Hash::parse(bad), None, "{bad}");
    }
}
