//! Figures as text: Prometheus' exposition format 0.0.4, written straight into one buffer.

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    Whole(u64),
    /// Shown in seconds.
    Nanos(u64),
    /// Shown in seconds.
    Micros(u64),
    /// Shown in seconds.
    Millis(u64),
    Float(f64),
}

/// Writes the head of a family.
pub(super) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
        out.push_str(part);
    }
}

/// Writes a sample. `labels` is empty, or what stands between the braces.
pub(super) fn line(out: &mut String, name: &str, labels: &[&str], figure: Figure) {
    out.push_str(name);
    if labels.iter().any(|part| !part.is_empty()) {
        out.push('{');
        for part in labels {
            out.push_str(part);
        }
        out.push('}');
    }
    out.push(' ');
    push(out, figure);
    out.push('\n');
}

fn push(out: &mut String, figure: Figure) {
    match figure {
        Figure::Whole(number) => push_scaled(out, number, 0),
        Figure::Nanos(number) => push_scaled(out, number, 9),
        Figure::Micros(number) => push_scaled(out, number, 6),
        Figure::Millis(number) => push_scaled(out, number, 3),
        Figure::Float(number) => out.push_str(&format!("{number}")),
    }
}

/// Writes `number` divided by ten to the power of `places`, without zeros at the end.
fn push_scaled(out: &mut String, mut number: u64, places: usize) {
    // Twenty digits and a point, from the last one on.
    let mut letters = [b'0'; 22];
    let (mut at, mut end, mut written) = (letters.len(), letters.len(), 0);
    loop {
        if written == places && places != 0 && at != end {
            at -= 1;
            letters[at] = b'.';
        }
        let digit = u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if digit == 0 && written < places && at == end {
            // A zero behind the last digit that says something.
            at -= 1;
            end = at;
        } else {
            at -= 1;
            letters[at] = b'0' + digit;
        }
        written += 1;
        if number == 0 && places < written {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&letters[at..end]).unwrap_or("0"));
}

/// Appends a label to what stands between the braces.
pub(super) fn label(out: &mut String, key: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(key);
    out.push_str("=\"");
    super::parse::push_escaped(out, value);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact() {
        for (figure, text) in [
            (Figure::Whole(0), "0"),
            (Figure::Whole(u64::MAX), "18446744073709551615"),
            (Figure::Nanos(1), "0.000000001"),
            (Figure::Nanos(1_500_000_000), "1.5"),
            (Figure::Nanos(2_000_000_000), "2"),
            (Figure::Nanos(u64::MAX), "18446744073.709551615"),
            (Figure::Micros(10_203), "0.010203"),
            (Figure::Micros(u64::MAX), "18446744073709.551615"),
            (Figure::Nanos(0), "0"),
            (Figure::Nanos(100), "0.0000001"),
            (Figure::Nanos(10_000_000_000), "10"),
            (Figure::Whole(1_000), "1000"),
            (Figure::Millis(1_700_000_000_120), "1700000000.12"),
            (Figure::Float(0.5), "0.5"),
        ] {
            let mut out = String::new();
            push(&mut out, figure);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn a_line_has_braces_only_for_labels() {
        let (mut out, mut labels) = (String::new(), String::new());
        line(&mut out, "a", &[], Figure::Whole(1));
        label(&mut labels, "x", "1");
        label(&mut labels, "y", "\"");
        line(&mut out, "a", &[&labels, ",z=\"3\""], Figure::Whole(2));
        assert_eq!(out, "a 1\na{x=\"1\",y=\"\\\"\",z=\"3\"} 2\n");
    }
}
