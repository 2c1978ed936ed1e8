//! What looks like a secret in a text beside a model: whoever may read the model may read it.
//!
//! Only shapes that providers have made to be found are looked for, so that nothing else is taken for
//! one. What was found is never shown: its line is.

use super::{
    Report, Safety,
    input::{Result, Source, read_up_to},
};

/// How much of a text is looked through.
const MOST: usize = 1 << 20;

/// How a secret begins, how many characters follow at least, and what it is.
const SHAPES: [(&str, usize, &str); 10] = [
    ("AKIA", 16, "an access key of AWS"),
    ("ASIA", 16, "an access key of AWS"),
    ("AIza", 35, "a key of Google's interfaces"),
    ("ghp_", 36, "a token of GitHub"),
    ("gho_", 36, "a token of GitHub"),
    ("ghs_", 36, "a token of GitHub"),
    ("github_pat_", 60, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("hf_", 34, "a token of a Hugging Face Hub or of Berth"),
    ("xoxb-", 40, "a token of Slack"),
];

/// Looks through a text.
pub(super) fn search(source: &dyn Source, report: &mut Report) -> Result<()> {
    let length = usize::try_from(source.size()).unwrap_or(MOST).min(MOST);
    let mut bytes = vec![0; length];
    let got = read_up_to(source, 0, &mut bytes)?;
    for (line, number) in bytes[..got].split(|byte| *byte == b'\n').zip(1_usize..) {
        if let Some(what) = found(line) {
            let detail = format!("line {number} has what looks like {what}");
            report.find(Safety::Safe, "text.secret", detail);
        }
    }
    Ok(())
}

/// What a line seems to have.
fn found(line: &[u8]) -> Option<&'static str> {
    let is_key = || {
        let begins = position(line, b"-----BEGIN ").map(|at| &line[at..]);
        begins.is_some_and(|rest| position(rest, b"PRIVATE KEY-----").is_some())
    };
    let of_shape = SHAPES.iter().find(|(begin, tail, _)| has(line, begin.as_bytes(), *tail));
    of_shape.map(|(_, _, what)| *what).or_else(|| is_key().then_some("a private key"))
}

fn has(line: &[u8], begin: &[u8], tail: usize) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let mut at = 0;
    while let Some(next) = position(&line[at..], begin) {
        let start = at + next;
        at = start + 1;
        // In the middle of a word nothing begins, and the word is not gone through again.
        if start != 0 && is_word(&line[start - 1]) {
            continue;
        }
        let rest = &line[start + begin.len()..];
        let word = rest.iter().take_while(|byte| is_word(byte)).count();
        // What a person writes in the place of one is the same letter again and again.
        let is_varied = rest[..word].windows(2).filter(|two| two[0] != two[1]).count() * 2 >= word;
        if tail <= word && is_varied {
            return true;
        }
    }
    false
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    // To compare whole parts at each place costs a call at each.
    let is_it = |part: &[u8]| part.first() == what.first() && part == what;
    text.windows(what.len()).position(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_providers_made_to_be_found_is_taken_for_a_secret() {
        let token = |begin: &str, count: usize| {
            let letters = "aZ3xQ9bT7".chars().cycle().take(count);
            format!("{begin}{}", letters.collect::<String>())
        };
        for (line, what) in [
            (format!("token: \"{}\"", token("hf_", 34)), "Hugging Face"),
            (format!("{{\"k\":\"{}\"}}", token("AKIA", 16)), "AWS"),
            (token("ghp_", 36), "GitHub"),
            (format!("x={} y", token("xoxb-", 50)), "Slack"),
            (format!("-----BEGIN {}PRIVATE KEY-----", "RSA "), "private key"),
        ] {
            assert!(found(line.as_bytes()).is_some_and(|it| it.contains(what)), "{what}");
        }
        for line in [
            String::new(),
            "hf_hub_download(repo, filename)".to_owned(),
            format!("hf_{}", "x".repeat(40)),
            format!("self{}", token("hf_", 40)),
            token("AKIA", 12),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
            "-----BEGIN CERTIFICATE-----".to_owned(),
        ] {
            assert_eq!(found(line.as_bytes()), None, "{line}");
        }
    }

    /// A word is gone through once, however often a beginning stands in it: each time anew would be
    /// a hundred thousand million steps here.
    #[test]
    fn a_long_word_of_beginnings_is_looked_through_once() {
        let word = "AKIA".repeat(MOST / 4);
        assert_eq!(found(format!("x{word}").as_bytes()), None);
        assert!(found(word.as_bytes()).is_some());
    }
}
