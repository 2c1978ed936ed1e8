//! Quantities as Kubernetes writes them (`500m`, `16Gi`) and durations as Go writes them (`1h30m`).

use std::time::Duration;

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a size.
    #[error("`{0}` is not a size: write bytes or a number with a unit, like `512Mi` or `16Gi`")]
    Bytes(String),
    /// Not an amount of CPU.
    #[error("`{0}` is not an amount of CPU: write cores or thousandths, like `2`, `0.5` or `500m`")]
    Cpus(String),
    /// Not a duration.
    #[error("`{0}` is not a duration: write numbers with units, like `30s`, `5m` or `1h30m`")]
    Duration(String),
}

/// Reads a size in bytes: a whole number, optionally with `k M G T` (powers of 1000) or
/// `Ki Mi Gi Ti` (powers of 1024).
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let wrong = || QuantityError::Bytes(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads an amount of CPU in thousandths of a core: `2`, `0.5`, `1.25` or `500m`.
pub fn parse_millicpus(text: &str) -> Result<u64, QuantityError> {
    let wrong = || QuantityError::Cpus(text.to_owned());
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse().map_err(|_| wrong());
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(part) || 3 < part.len() {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|m| m.checked_add(part)).ok_or_else(wrong)
}

/// Reads a duration: one or more numbers with the units `ms`, `s`, `m`, `h`, `d`; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let wrong = || QuantityError::Duration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let number: u64 = rest[..rest.len() - digits.len()].parse().map_err(|_| wrong())?;
        let after = digits.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let ms = match &digits[..digits.len() - after.len()] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(ms).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// Shows bytes in the largest binary unit that leaves a number of at most four digits.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    for (unit, shift) in UNITS {
        let size = 1_u64 << shift;
        if size <= bytes {
            let (whole, part) = (bytes >> shift, ((bytes & (size - 1)) * 10) >> shift);
            return if part == 0 {
                format!("{whole}{unit}")
            } else {
                format!("{whole}.{part}{unit}")
            };
        }
    }
    format!("{bytes}")
}

/// Shows a duration the way people say it: at most two units, seconds as the smallest but for
/// durations below ten seconds.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 10 && duration.subsec_millis() != 0 {
        return format!("{}.{}s", seconds, duration.subsec_millis() / 100);
    }
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let pair = |a: u64, ua: &str, b: u64, ub: &str| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") }
    };
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => pair(m, "m", s, "s"),
        (0, _, _) => pair(h, "h", m, "m"),
        _ => pair(d, "d", h, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        assert_eq!(parse_bytes("16Gi"), Ok(16 << 30));
        assert_eq!(parse_bytes("1k"), Ok(1000));
        assert_eq!(parse_bytes("7"), Ok(7));
        for bad in ["", "Gi", "1.5Gi", "-1", "1GiB", "99999999999Ti", "ä"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_are_cores_or_thousandths() {
        assert_eq!(parse_millicpus("500m"), Ok(500));
        assert_eq!(parse_millicpus("0.5"), Ok(500));
        assert_eq!(parse_millicpus("2"), Ok(2000));
        for bad in ["", "-1", "1.2345", ".5", "1.", "x"] {
            assert!(parse_millicpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "m", "5x", "-5s", "5 s", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_shown_short() {
        assert_eq!(format_bytes(1536 << 20), "1.5Gi");
        assert_eq!(format_bytes(12), "12");
        // What is whole in a unit is shown whole, the smallest unit and the largest numbers too.
        for whole in [1, 100, 400, 1023] {
            for (unit, shift) in [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)] {
                assert_eq!(format_bytes(whole << shift), format!("{whole}{unit}"));
            }
        }
        assert_eq!(format_bytes(1023), "1023");
        assert_eq!(format_bytes((1 << 20) - 1), "1023.9Ki");
        assert_eq!(format_bytes(u64::MAX), "16777215.9Ti");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(format_duration(Duration::from_secs(3661)), "1h1m");
        assert_eq!(format_duration(Duration::from_secs(120)), "2m");
    }
}
