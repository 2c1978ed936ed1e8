//! Protocol buffers, as far as `BuildKit` is understood.

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number, or a truth.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, up to the first that can't be read.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut bytes)?;
            let number = key >> 3;
            match key & 7 {
                0 => return Some((number, Field::Number(varint(&mut bytes)?))),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    let (value, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    return Some((number, Field::Bytes(value)));
                }
                1 => bytes = bytes.get(8..)?,
                5 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A field of bytes, written.
pub(super) fn bytes_field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while 0x7f < length {
        out.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or(0));
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
        bytes_field(number, value)
    }

    pub(in super::super) fn number(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    #[test]
    fn what_is_written_reads_back() {
        let long = vec![7; 70_000];
        let message = [bytes(1, b"a"), number(2, 5), bytes(3, &long)].concat();
        let read: Vec<_> = fields(&message).collect();
        assert_eq!(
            read,
            [(1, Field::Bytes(b"a")), (2, Field::Number(5)), (3, Field::Bytes(&long))]
        );
    }

    #[test]
    fn a_message_that_breaks_off_ends_there() {
        let message = [number(1, 5), bytes(2, b"abc")].concat();
        for end in 0..message.len() {
            assert!(fields(&message[..end]).count() < 2);
        }
        assert_eq!(fields(&[0xff; 20]).count(), 0);
        // A length beyond everything, and kinds that are passed over.
        assert_eq!(fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]).count(), 0);
        assert_eq!(
            fields(&[0x0d, 1, 2, 3, 4, 0x08, 9]).collect::<Vec<_>>(),
            [(1, Field::Number(9))]
        );
    }
}
