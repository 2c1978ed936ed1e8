//! Pointers: the small files that stand for large ones.

const POINTER_BYTES_MAX: usize = 1024;
const FIRST_LINE: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Which bytes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workspace::worker) struct Pointer {
    /// Their sha256, as 64 digits.
    pub(in crate::workspace::worker) oid: String,
    /// How many they are.
    pub(in crate::workspace::worker) size: u64,
}

/// Whether a file stands for another one.
pub(in crate::workspace::worker) fn is_pointer(data: &[u8]) -> bool {
    data.len() <= POINTER_BYTES_MAX && data.starts_with(FIRST_LINE)
}

/// Reads a pointer. None when it is not written as it should be.
pub(in crate::workspace::worker) fn parse(data: &[u8]) -> Option<Pointer> {
    let text = std::str::from_utf8(data).ok()?;
    let (mut oid, mut size) = (None, None);
    for line in text.lines().skip(1) {
        match line.split_once(' ')? {
            ("oid", value) => {
                let hash = value.strip_prefix("sha256:")?;
                let legal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let is_hash = hash.len() == 64 && hash.bytes().all(legal);
                oid = Some(hash.to_owned()).filter(|_| is_hash && oid.is_none());
                oid.as_ref()?;
            }
            ("size", value) => {
                let is_number =
                    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                size = Some(value.parse().ok()?).filter(|_| is_number && size.is_none());
                size?;
            }
            // What an extension has made of it can't be undone here.
            (key, _) if key.starts_with("ext-") => return None,
            _ => {}
        }
    }
    Some(Pointer { oid: oid?, size: size? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_and_anything_else_is_not_taken_for_one() {
        let oid = "0123456789abcdef".repeat(4);
        let good =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n");
        assert!(is_pointer(good.as_bytes()));
        assert_eq!(parse(good.as_bytes()), Some(Pointer { oid: oid.clone(), size: 12 }));
        for bad in [
            good.replace("sha256", "md5"),
            good.replace("size 12", "size -1"),
            good.replace("size 12", "size +1"),
            good.replace("size 12", "size"),
            good.replace("size 12\n", ""),
            good.replace("0123", "0123/"),
            good.replace("abcdef", "ABCDEF"),
            good.replace("oid", "ext-0-x sha256:00\noid"),
            format!("{good}size 13\n"),
            format!("{good}oid sha256:{oid}\n"),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        let long = format!("{good}{}", "x".repeat(1024));
        assert!(!is_pointer(long.as_bytes()) && !is_pointer(b"version 1\n") && !is_pointer(b""));
    }
}
