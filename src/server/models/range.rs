//! Parts of a content that a client asks for (RFC 9110, section 14).

/// How many parts are sent at once. Whoever asks for more is refused.
const PARTS_MAX: usize = 64;

/// What of a content is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    Whole,
    /// These parts, from a first to a last byte, in order.
    Parts(Vec<(u64, u64)>),
    /// The header makes no sense.
    Malformed,
    /// There is no such part.
    Nothing,
}

/// Reads a `Range` header. A unit that is not known asks for everything.
pub(super) fn read(text: &str, size: u64) -> Asked {
    let Some((unit, list)) = text.split_once('=') else { return Asked::Malformed };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in list.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        count += 1;
        if PARTS_MAX < count {
            return Asked::Nothing;
        }
        match part(spec, size) {
            Some(part) => parts.extend(part),
            None => return Asked::Malformed,
        }
    }
    match (count, parts.is_empty()) {
        (0, _) => Asked::Malformed,
        (_, true) => Asked::Nothing,
        _ => Asked::Parts(joined(parts)),
    }
}

/// One part; none of it for one beyond the end, nothing for what is no part.
#[expect(clippy::option_option, reason = "no part, and no part of this content, are two things")]
fn part(spec: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What is too large for a number is beyond every end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.trim().is_empty() {
        let length = number(last.trim())?.min(size);
        return Some((0 < length).then(|| (size - length, size - 1)));
    }
    let first = number(first.trim())?;
    let last = match last.trim() {
        "" => u64::MAX,
        last => number(last)?,
    };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.min(size - 1))))
}

/// Parts that touch are one, so that nothing is sent twice.
fn joined(mut parts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    parts.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (first, last) in parts {
        match all.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_the_standard_says() {
        let parts = |list: &[(u64, u64)]| Asked::Parts(list.to_vec());
        for (text, asked) in [
            ("bytes=0-0", parts(&[(0, 0)])),
            ("bytes=0-", parts(&[(0, 99)])),
            ("bytes=90-200", parts(&[(90, 99)])),
            ("bytes=-10", parts(&[(90, 99)])),
            ("bytes=-1000", parts(&[(0, 99)])),
            ("bytes=0-9, 20-29,", parts(&[(0, 9), (20, 29)])),
            ("bytes=20-29,0-9", parts(&[(0, 9), (20, 29)])),
            ("bytes=0-9,5-20,21-30", parts(&[(0, 30)])),
            ("bytes=0-9,500-", parts(&[(0, 9)])),
            ("Bytes = 5-6", parts(&[(5, 6)])),
            ("bytes=0-99999999999999999999999", parts(&[(0, 99)])),
            ("items=0-5", Asked::Whole),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
        ] {
            assert_eq!(read(text, 100), asked, "{text}");
        }
        for bad in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=--5",
            "bytes=5",
            "bytes=-",
            "bytes=+1-2",
            "bytes=1-2;3-4",
        ] {
            assert_eq!(read(bad, 100), Asked::Malformed, "{bad}");
        }
        assert_eq!(read("bytes=0-", 0), Asked::Nothing);
        assert_eq!(read("bytes=-5", 0), Asked::Nothing);
        let many = format!("bytes={}", "0-0,".repeat(65));
        assert_eq!(read(&many, 100), Asked::Nothing);
    }
}
