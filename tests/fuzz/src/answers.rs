//! What comes in pieces: events, output in frames, the progress of builds and pulls. However it is cut, it says
//! the same.

use crate::{
    engine::docker,
    readers::{JSON_WORDS, MIB, Target},
};

/// What is read twice, whole and in pieces, is no larger than this: its cost is counted once.
const TWICE_MAX: usize = 256 << 10;
/// A short longest line, so that there are longer ones.
const LINE_MAX: usize = 16 << 10;
/// As much of a command's output as is kept.
const TAIL_MAX: usize = 4096;

pub(crate) const EVENTS: Target = Target {
    name: "events",
    bytes_max: MIB,
    seeds: &[
        "{\"Action\":\"die\",\"Actor\":{\"ID\":\"0a\",\"Attributes\":{\"name\":\"chat-01234567\",\"exitCode\":\"137\",\"dev.berth.instance\":\"home\",\"dev.berth.app\":\"chat\",\"dev.berth.generation\":\"1\",\"dev.berth.spec-hash\":\"v1:0123456789abcdef\"}},\"timeNano\":1700000000000000000}\n",
        "{\"Action\":\"rename\",\"Actor\":{\"Attributes\":{\"oldName\":\"/a\",\"name\":\"b\"}}}\r\n\n{\"time\":9223372036854775807}\n",
    ],
    words: JSON_WORDS,
    read: read_events,
};

pub(crate) const FRAMES: Target = Target {
    name: "frames",
    bytes_max: MIB,
    seeds: &[
        "\u{1}\0\0\0\0\0\0\u{3}one\u{2}\0\0\0\0\0\0\u{4}two\n\0\0\0\0\0\0\0\0",
        "\u{1}\0\0\0\u{7f}\0\0\0x",
    ],
    words: &["\u{1}\0\0\0\0\0\0\u{1}", "\u{2}\0\0\0", "\0", "\u{3}", "\n", "\u{7f}"],
    read: read_frames,
};

pub(crate) const BUILD: Target = Target {
    name: "build-progress",
    bytes_max: MIB,
    seeds: &[
        "{\"stream\":\"Step 1/2 : FROM x\\n\"}\r\n{\"status\":\"Downloading\",\"id\":\"l\",\"progressDetail\":{\"current\":1,\"total\":2}}\n{\"aux\":{\"ID\":\"sha256:1\"}}\n",
        "{\"id\":\"moby.buildkit.trace\",\"aux\":\"CkgKR3NoYTI1NjphYmMSBnN0ZXA=\"}\n{\"stream\":\"\\u001b[91mERROR: x\\r\\n\"}\n{\"error\":\"e\",\"errorDetail\":{\"message\":\"failed to solve: process \\\"x\\\" did not complete successfully: exit code: 1\"}}",
    ],
    words: &[
        "{\"stream\":\"",
        "\"}\n",
        "\\n",
        "\\r",
        "\\u001b[",
        "\\u001b",
        "moby.buildkit.trace",
        "\"aux\":\"",
        "CkgKR3No",
        "GgsKAWEYASIEbGluZQ==",
        "null",
        "{}",
        "\r\n",
        "\"error\":",
        "\"errorDetail\":{\"message\":\"",
    ],
    read: read_build,
};

pub(crate) const PULL: Target = Target {
    name: "pull-progress",
    bytes_max: MIB,
    seeds: &[
        "{\"status\":\"Pulling from acme/x\",\"id\":\"1\"}\n{\"status\":\"Downloading\",\"id\":\"l\",\"progressDetail\":{\"current\":1,\"total\":2}}\n{\"status\":\"Pull complete\",\"id\":\"l\",\"progressDetail\":{}}\r\n",
        "{\"status\":\"Downloading\",\"id\":\"m\",\"progressDetail\":{\"current\":9223372036854775807,\"total\":-1}}\n{\"status\":\"Downloading\",\"id\":\"n\",\"progressDetail\":{\"current\":-9223372036854775808,\"total\":9223372036854775807}}\n{\"errorDetail\":{\"message\":\"toomanyrequests\"},\"error\":\"e\"}",
    ],
    words: &[
        "{\"status\":\"Downloading\",\"id\":\"",
        "\",\"progressDetail\":{\"current\":1,\"total\":",
        "}}\n",
        "9223372036854775807",
        "-9223372036854775808",
        "0",
        "null",
        "{}",
        "\\n",
        "\\r",
        "\\u001b[",
        "\r\n",
        "\"error\":",
        "\"errorDetail\":{\"message\":\"",
    ],
    read: read_pull,
};

/// Cuts an input into pieces, in a way that follows from it alone.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut next = bytes.iter().fold(bytes.len(), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = if next >> 63 == 0 { 12 } else { 4000 };
        let (piece, left) = rest.split_at(rest.len().min(1 + (next >> 33) % longest));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn read_events(bytes: &[u8]) {
    let see = |hint: &crate::engine::Hint| {
        assert!(!hint.is_urgent || hint.app.is_some(), "nothing of ours is urgent");
    };
    let whole = docker::hints(&[bytes], LINE_MAX, see);
    if bytes.len() <= TWICE_MAX {
        assert_eq!(whole, docker::hints(&pieces(bytes), LINE_MAX, see));
    }
}

fn read_frames(bytes: &[u8]) {
    let (whole, is_framed) = docker::framed(&[bytes]);
    let expected = plainly(bytes);
    assert!((&whole, is_framed) == (&expected.0, expected.1), "it is read in another way");
    if bytes.len() <= TWICE_MAX {
        let cut = docker::framed(&pieces(bytes));
        assert!((whole.as_slice(), is_framed) == (cut.0.as_slice(), cut.1), "cut, it is another");
    }
    let end = docker::end_of(&pieces(bytes), TAIL_MAX);
    let expected = &whole[whole.len().saturating_sub(TAIL_MAX)..];
    assert_eq!(end.as_deref(), is_framed.then_some(expected));
}

/// The same as simply as it can be said.
fn plainly(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let [0..=2, 0, 0, 0, a, b, c, d] = *head else { return (all, false) };
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let (body, left) = rest.split_at(size.min(rest.len()));
        all.extend_from_slice(body);
        bytes = left;
    }
    (all, true)
}

fn read_build(bytes: &[u8]) {
    let whole = docker::build::log_of(&[bytes]);
    if bytes.len() <= TWICE_MAX {
        assert_eq!(whole, docker::build::log_of(&pieces(bytes)));
    }
}

fn read_pull(bytes: &[u8]) {
    let whole = docker::pull_of(&[bytes]);
    if bytes.len() <= TWICE_MAX {
        assert_eq!(whole, docker::pull_of(&pieces(bytes)));
    }
}
