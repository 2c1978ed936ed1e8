//! Single values of compose files: variables, words, sizes, durations, ports.

use crate::model::{format_bytes, format_duration, parse_bytes, parse_duration};

/// How deep variables may stand in each other's defaults.
const DEPTH_MAX: usize = 8;
/// The longest text that variables may make.
const TEXT_MAX: usize = 64 * 1024;

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${NAME:+other}` and their
/// forms without `:`; `$$` is a dollar. What is missing is told to `missing`.
pub(super) fn interpolate(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(String),
) -> String {
    replace(text, lookup, missing, 0)
}

fn replace(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(String),
    depth: usize,
) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            done.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = closing(after) else {
                missing(format!("`{}` has no closing brace", shown(text)));
                return done;
            };
            done.push_str(&braced(&after[..end], lookup, missing, depth));
            rest = &after[end + 1..];
        } else {
            let name = name_at(rest);
            if name.is_empty() {
                done.push('$');
            } else {
                done.push_str(&required(name, lookup, missing));
            }
            rest = &rest[name.len()..];
        }
        if TEXT_MAX < done.len() {
            missing("variables make too long a text of it".to_owned());
            return String::new();
        }
    }
    done.push_str(rest);
    done
}

/// Where the brace closes that opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn name_at(text: &str) -> &str {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !legal(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

fn required(
    name: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(String),
) -> String {
    lookup(name).unwrap_or_else(|| {
        missing(format!(
            "the variable {} is not set: set it in .env or the environment",
            shown(name)
        ));
        String::new()
    })
}

fn braced(
    inner: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(String),
    depth: usize,
) -> String {
    let name = name_at(inner);
    let rest = &inner[name.len()..];
    let (counts_empty, operator) = match rest.strip_prefix(':') {
        Some(rest) => (false, rest),
        None => (true, rest),
    };
    if name.is_empty() || DEPTH_MAX < depth {
        missing(format!("`${{{}}}` is not a variable", shown(inner)));
        return String::new();
    }
    if rest.is_empty() {
        return required(name, lookup, missing);
    }
    let value = lookup(name).filter(|value| counts_empty || !value.is_empty());
    let mut chars = operator.chars();
    let (mark, word) = (chars.next(), chars.as_str());
    match mark {
        Some('-') => value.unwrap_or_else(|| replace(word, lookup, missing, depth + 1)),
        Some('+') => match value {
            Some(_) => replace(word, lookup, missing, depth + 1),
            None => String::new(),
        },
        Some('?') => value.unwrap_or_else(|| {
            let why = if word.is_empty() { "it must be set" } else { word };
            missing(format!("the variable {} is not set: {}", shown(name), shown(why)));
            String::new()
        }),
        _ => {
            missing(format!("`${{{}}}` is not a variable", shown(inner)));
            String::new()
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A line as words, the way a shell splits it; none when a quote does not close.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (Some('"'), '\\') => {
                let next = chars.next()?;
                if !"\"\\$`".contains(next) {
                    word.get_or_insert_default().push('\\');
                }
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// A size: a number of bytes, or one with `b k m g t` (all powers of 1024).
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return None,
    };
    let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    let part = part.get(..part.len().min(6))?;
    let millionths: u64 = if part.is_empty() { 0 } else { format!("{part:0<6}").parse().ok()? };
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1 << shift)?.checked_add((millionths << shift.min(40)) / 1_000_000)
}

/// A size as a manifest has it.
pub(in crate::compose) fn shown_bytes(bytes: u64) -> String {
    let short = format_bytes(bytes);
    if parse_bytes(&short) == Ok(bytes) { short } else { bytes.to_string() }
}

/// Cores as a manifest has them, to the thousandth.
pub(super) fn cpus(text: &str) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let is_fit = whole.len() < 7 && is_number(whole) && is_number(part) && text != ".";
    if !is_fit || text.is_empty() {
        return None;
    }
    let part = format!("{:0<3}", part.get(..part.len().min(3))?);
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let millis = whole * 1000 + part.parse::<u64>().ok()?;
    (millis != 0).then(|| format!("{millis}m"))
}

/// A duration as a manifest has it: `1m30s`, `1.5s`, `90`.
pub(super) fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return duration(&format!("{text}s"));
    }
    if let Ok(duration) = parse_duration(text) {
        return Some(exact(duration));
    }
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds: f64 = number.parse().ok()?;
    let factor = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let duration = std::time::Duration::try_from_secs_f64(seconds * factor).ok()?;
    Some(exact(std::time::Duration::from_millis(u64::try_from(duration.as_millis()).ok()?)))
}

/// A duration without a loss.
pub fn exact(duration: std::time::Duration) -> String {
    let short = format_duration(duration);
    match parse_duration(&short) {
        Ok(same) if same == duration => short,
        _ if duration.subsec_millis() == 0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// A published port as the short form has it: host address, host port, container port, transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) address: Option<String>,
    pub(super) host: Option<u16>,
    pub(super) container: u16,
    pub(super) protocol: String,
}

/// Reads `[[address:]host:]container[/protocol]`, each port maybe a range.
pub(super) fn ports(text: &str) -> Option<Vec<Port>> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (before, container) = match text.rsplit_once(':') {
        Some((before, container)) => (Some(before), container),
        None => (None, text),
    };
    let (address, host) = match before {
        None => (None, None),
        Some(before) => match before.rsplit_once(':') {
            Some((address, host)) => (Some(address.trim_matches(['[', ']'])), Some(host)),
            None => (None, Some(before)),
        },
    };
    let containers = range(container)?;
    let hosts = match host.filter(|host| !host.is_empty()) {
        None => vec![None; containers.len()],
        Some(host) => range(host)?.into_iter().map(Some).collect(),
    };
    if hosts.len() != containers.len() {
        return None;
    }
    let port = |(host, container)| Port {
        address: address.filter(|address| !address.is_empty()).map(ToOwned::to_owned),
        host,
        container,
        protocol: protocol.to_owned(),
    };
    Some(hosts.into_iter().zip(containers).map(port).collect())
}

/// A port, or some in a row.
pub(super) fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last && last - first < 100).then(|| (first..=last).collect())
}

/// The variables of an `.env` file.
pub fn dotenv(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for line in text.lines() {
        let line = line.trim_start().strip_prefix("export ").unwrap_or(line).trim();
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let inner = |quote: char| value.strip_prefix(quote).and_then(|v| v.split_once(quote));
        let value = match (inner('"'), inner('\'')) {
            (Some((inside, _)), _) => inside.replace("\\n", "\n").replace("\\\"", "\""),
            (None, Some((inside, _))) => inside.to_owned(),
            (None, None) => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
        };
        pairs.push((name.trim().to_owned(), value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> (String, Vec<String>) {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        let mut missing = Vec::new();
        (interpolate(text, &lookup, &mut |why| missing.push(why)), missing)
    }

    #[test]
    fn variables_are_replaced_and_missing_ones_named() {
        for (text, value) in [
            ("$A-${A}.$$A", "a-a.$A"),
            ("${B:-x}${E:-y}${E-z}", "xy"),
            ("${B:-${A}${B-$$}}", "a$"),
            ("${A:+set}${B+set}", "set"),
            ("5$ $", "5$ $"),
        ] {
            assert_eq!(filled(text), (value.to_owned(), vec![]), "{text}");
        }
        for (text, why) in [
            ("$B", "the variable B is not set: set it in .env or the environment"),
            ("${B:?give B}", "the variable B is not set: give B"),
            ("${A", "`${A` has no closing brace"),
            ("${}", "`${}` is not a variable"),
        ] {
            assert_eq!(filled(text).1, [why], "{text}");
        }
    }

    #[test]
    fn a_line_is_split_as_a_shell_does() {
        let split = |line| words(line).map(|words| words.join("|"));
        assert_eq!(split("a 'b c' \"d \\\" e\" f\\ g ''").as_deref(), Some("a|b c|d \" e|f g|"));
        assert_eq!(split("a 'b"), None);
    }

    #[test]
    fn amounts_are_read_as_compose_reads_them() {
        assert_eq!(bytes("512m").map(shown_bytes).as_deref(), Some("512Mi"));
        assert_eq!(bytes("1.5g"), Some(3 << 29));
        assert_eq!(bytes("1000001").map(shown_bytes).as_deref(), Some("1000001"));
        assert_eq!((bytes("x"), bytes("99999999999999999999t"), bytes("")), (None, None, None));
        assert_eq!(cpus("1.5").as_deref(), Some("1500m"));
        assert_eq!(cpus(".25").as_deref(), Some("250m"));
        assert_eq!((cpus("0"), cpus("1.x"), cpus(".")), (None, None, None));
        assert_eq!(duration("1m30s").as_deref(), Some("1m30s"));
        assert_eq!(duration("1.5s").as_deref(), Some("1500ms"));
        assert_eq!(duration("90").as_deref(), Some("1m30s"));
        assert_eq!(duration("5us"), None);
    }

    #[test]
    fn ports_are_read_in_every_short_form() {
        let one = |text: &str| {
            let ports = ports(text)?;
            let show =
                |p: &Port| format!("{:?} {:?} {} {}", p.address, p.host, p.container, p.protocol);
            Some(ports.iter().map(show).collect::<Vec<_>>().join("; "))
        };
        assert_eq!(one("80").as_deref(), Some("None None 80 tcp"));
        assert_eq!(one("8080:80/udp").as_deref(), Some("None Some(8080) 80 udp"));
        assert_eq!(one("127.0.0.1::80").as_deref(), Some("Some(\"127.0.0.1\") None 80 tcp"));
        assert_eq!(one("[::1]:81:80").as_deref(), Some("Some(\"::1\") Some(81) 80 tcp"));
        assert_eq!(one("1-2:3-4").as_deref(), Some("None Some(1) 3 tcp; None Some(2) 4 tcp"));
        for bad in ["", "x", "1-2:3", "0", "70000", "2-1"] {
            assert_eq!(one(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_env_file_is_read_with_quotes_and_remarks() {
        let text = "# no\nA=1 # one\nexport B=\"x # y\"\nC='$D'\n\nbad\nE=\n";
        let pairs: Vec<_> = dotenv(text).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["A=1", "B=x # y", "C=$D", "E="]);
    }
}
