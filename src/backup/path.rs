//! Paths as text that every tool can show: names may be any bytes.

use std::fmt::Write as _;

/// A path as text. Control characters, `%` and what is no UTF-8 become `%` and two digits.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || letter.is_control() {
                let mut buffer = [0; 4];
                letter.encode_utf8(&mut buffer).bytes().for_each(|byte| put(&mut text, byte));
            } else {
                text.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| put(&mut text, *byte));
    }
    text
}

fn put(text: &mut String, byte: u8) {
    let _ = write!(text, "%{byte:02X}");
}

/// The bytes of a path that was written as text.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_text_of_its_own() {
        for name in [&b"a b"[..], b"100%", b"\xff\xfe", "é\n".as_bytes(), b"%41", b"\x1b[31m"] {
            let text = escape(name);
            assert!(text.chars().all(|c| !c.is_control()));
            assert_eq!(unescape(&text).as_deref(), Some(name), "{text}");
        }
        for bad in ["%", "%4", "%zz", "a%é"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
