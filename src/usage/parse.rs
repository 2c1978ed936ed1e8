//! The kernel's small text files, read by hand: bytes in, numbers out, nothing allocated for what
//! is not kept.
//!
//! # Guarantees
//! What can't be read is absent, never 0. No input makes these functions fail or panic.

/// The number that a file of one number holds. `max`, which stands for no limit, is none.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    digits(text.trim_ascii())
}

fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The lines of a file.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// The values of these keys in a file of lines such as `key value`, found in one walk. Of a key
/// that is there twice the first counts.
pub(super) fn fields<const N: usize>(text: &[u8], keys: [&[u8]; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in lines(text) {
        let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
        let (key, value) = line.split_at(space);
        if let Some(at) = keys.iter().position(|wanted| *wanted == key)
            && let Some(slot) = found.get_mut(at).filter(|slot| slot.is_none())
        {
            *slot = digits(value.trim_ascii());
        }
    }
    found
}

/// What a block device did for a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) read_bytes: Option<u64>,
    pub(super) written_bytes: Option<u64>,
    pub(super) reads: Option<u64>,
    pub(super) writes: Option<u64>,
}

/// The numbers of a device, written `8:16`.
fn device(word: &[u8]) -> Option<(u32, u32)> {
    let colon = word.iter().position(|byte| *byte == b':')?;
    let part = |word: &[u8]| digits(word).and_then(|number| u32::try_from(number).ok());
    Some((part(word.get(..colon)?)?, part(word.get(colon + 1..)?)?))
}

fn disk_of(disks: &mut Vec<Disk>, (major, minor): (u32, u32)) -> Option<&mut Disk> {
    let at = disks.iter().position(|disk| (disk.major, disk.minor) == (major, minor));
    if at.is_none() {
        disks.push(Disk { major, minor, ..Disk::default() });
    }
    match at {
        Some(at) => disks.get_mut(at),
        None => disks.last_mut(),
    }
}

/// Which of the two files of cgroup v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blkio {
    Bytes,
    Operations,
}

/// `blkio.throttle.io_service_bytes_recursive` and its sister: `8:0 Read 4096`.
pub(super) fn blkio(text: &[u8], what: Blkio, disks: &mut Vec<Disk>) {
    for line in lines(text) {
        let mut words = words(line);
        let (Some(numbers), Some(kind), Some(value)) =
            (words.next().and_then(device), words.next(), words.next().and_then(digits))
        else {
            continue;
        };
        if !matches!(kind, b"Read" | b"Write") {
            continue;
        }
        let Some(disk) = disk_of(disks, numbers) else { continue };
        let slot = match (what, kind == b"Read") {
            (Blkio::Bytes, true) => &mut disk.read_bytes,
            (Blkio::Bytes, false) => &mut disk.written_bytes,
            (Blkio::Operations, true) => &mut disk.reads,
            (Blkio::Operations, false) => &mut disk.writes,
        };
        *slot = Some(value);
    }
}

/// `io.stat` of cgroup v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
pub(super) fn io_stat(text: &[u8], disks: &mut Vec<Disk>) {
    for line in lines(text) {
        let mut words = words(line);
        let Some(numbers) = words.next().and_then(device) else { continue };
        let mut words = words.peekable();
        if words.peek().is_none() {
            continue;
        }
        let Some(disk) = disk_of(disks, numbers) else { continue };
        for word in words {
            let Some(equals) = word.iter().position(|byte| *byte == b'=') else { continue };
            let value = word.get(equals + 1..).and_then(digits);
            match word.get(..equals) {
                Some(b"rbytes") => disk.read_bytes = value,
                Some(b"wbytes") => disk.written_bytes = value,
                Some(b"rios") => disk.reads = value,
                Some(b"wios") => disk.writes = value,
                _ => {}
            }
        }
    }
}

/// How long something waited, in microseconds: some of the tasks, and all of them at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub(super) some: Option<u64>,
    pub(super) full: Option<u64>,
}

/// A pressure file: `some avg10=0.00 avg60=0.00 avg300=0.00 total=5`.
pub(super) fn pressure(text: &[u8]) -> Pressure {
    let mut seen = Pressure::default();
    for line in lines(text) {
        let mut words = words(line);
        let kind = words.next();
        let total = words.find_map(|word| word.strip_prefix(b"total=")).and_then(digits);
        match kind {
            Some(b"some") => seen.some = total,
            Some(b"full") => seen.full = total,
            _ => {}
        }
    }
    seen
}

/// What went over a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    name: Vec<u8>,
    /// Its name between quotes, ready to be written.
    pub(super) quoted: String,
    /// Bytes, packets, errors, drops: received, then sent.
    pub(super) received: [u64; 4],
    pub(super) sent: [u64; 4],
}

impl Interface {
    fn named(name: &[u8]) -> Self {
        let mut quoted = "\"".to_owned();
        push_escaped(&mut quoted, &String::from_utf8_lossy(name));
        quoted.push('"');
        Self { name: name.to_owned(), quoted, ..Self::default() }
    }
}

/// `/proc/<pid>/net/dev` without the loopback and interfaces whose names begin so, over what was
/// read of it before.
pub(super) fn net_dev(text: &[u8], left_out: Option<&[u8]>, all: &mut Vec<Interface>) {
    let mut at = 0;
    for line in lines(text) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, rest) = line.split_at(colon);
        let name = name.trim_ascii();
        if name == b"lo" || left_out.is_some_and(|begin| name.starts_with(begin)) {
            continue;
        }
        let mut numbers = [0_u64; 12];
        let mut words = words(rest.get(1..).unwrap_or_default()).map(digits);
        if !numbers.iter_mut().all(|slot| words.next().flatten().map(|n| *slot = n).is_some()) {
            continue;
        }
        let [rx, rxp, rxe, rxd, _, _, _, _, tx, txp, txe, txd] = numbers;
        if all.get(at).is_none_or(|known| known.name != name) {
            all.truncate(at);
            all.push(Interface::named(name));
        }
        if let Some(slot) = all.get_mut(at) {
            (slot.received, slot.sent) = ([rx, rxp, rxe, rxd], [tx, txp, txe, txd]);
        }
        at += 1;
    }
    all.truncate(at);
}

/// Appends a label's value. Format: the text exposition format 0.0.4, `label_value`.
pub(super) fn push_escaped(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_or_nothing() {
        assert_eq!(number(b"42\n"), Some(42));
        for bad in ["", "\n", "max\n", "-1", "1 2", "18446744073709551616", "0x1", "\u{0}"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn fields_are_found_whole_and_in_any_order() {
        let text = b"total_rss 5\nrss 1\nrss 2\nshort\ncache x\n\xff\xfe 3\ninactive_file 7";
        let found = fields(text, [b"rss", b"cache", b"inactive_file", b"swap"]);
        assert_eq!(found, [Some(1), None, Some(7), None]);
    }

    #[test]
    fn block_devices_of_both_versions_are_the_same() {
        let mut v1 = Vec::new();
        blkio(b"8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n", Blkio::Bytes, &mut v1);
        blkio(b"8:0 Read 1\n8:0 Write 2\nTotal 3\n", Blkio::Operations, &mut v1);
        let mut v2 = Vec::new();
        io_stat(b"8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1\n", &mut v2);
        assert_eq!(v1, v2);
        assert_eq!((v1[0].read_bytes, v1[0].writes), (Some(10), Some(2)));
        let mut none = Vec::new();
        blkio(b"Total 0\n:: Read 1\n8:0 Read\n", Blkio::Bytes, &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn pressure_and_interfaces_are_read() {
        let text = b"some avg10=0.00 avg60=0.10 avg300=0.00 total=12\nfull avg10=0 total=x\n";
        assert_eq!(pressure(text), Pressure { some: Some(12), full: None });
        let text = b"Inter-|\n face |bytes\n lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:486 5 1 2 0 0 0 0 90 6 3 4 0 0 0 0\nbad: 1 2\n";
        let mut all = Vec::new();
        net_dev(text, None, &mut all);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].received, all[0].sent), ([486, 5, 1, 2], [90, 6, 3, 4]));
        // What is read again takes the place of what was there, in whatever order it comes.
        net_dev(b"veth1: 1 1 1 1 0 0 0 0 1 1 1 1\na\"b:1 1 1 1 0 0 0 0 1 1 1 1\neth0:2 2 2 2 0 0 0 0 2 2 2 2\n", Some(b"veth"), &mut all);
        let labels: Vec<_> = all.iter().map(|i| (i.quoted.as_str(), i.received[0])).collect();
        assert_eq!(labels, [("\"a\\\"b\"", 1), ("\"eth0\"", 2)]);
        net_dev(b"eth0:3 2 2 2 0 0 0 0 2 2 2 2\n", Some(b"veth"), &mut all);
        assert_eq!((all.len(), all[0].received[0]), (1, 3));
    }

    #[test]
    fn a_label_can_not_break_out_of_its_quotes() {
        let mut out = String::new();
        push_escaped(&mut out, "a\"b\\c\nd");
        assert_eq!(out, "a\\\"b\\\\c\\nd");
    }
}
