//! Versions of Python: what a project asks for, and which Pythons are that.

use std::fmt::Write as _;

/// The second numbers of the Pythons 3 that official images exist for.
pub(super) const KNOWN: std::ops::RangeInclusive<u16> = 8..=14;

/// One condition: an operator and a version of one to three numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    operator: Operator,
    version: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// What a project asks for: all conditions of one of the alternatives hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted(Vec<Vec<Clause>>);

impl Wanted {
    /// Reads `3.11`, `>=3.10,<3.13`, `~=3.10`, and poetry's `^3.10`, `~3.10` and `||`. None of what
    /// it can't read.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(alternative).collect::<Option<Vec<_>>>()?;
        Some(Self(alternatives))
    }

    /// Whether some release of Python `3.minor` is what is asked for.
    pub(super) fn allows(&self, minor: u16) -> bool {
        self.0.iter().any(|all| all.iter().all(|clause| clause.allows(minor)))
    }

    /// The allowed one that is nearest to `preferred`: itself, an older one, a newer one.
    pub(super) fn nearest(&self, preferred: u16) -> Option<u16> {
        let older = KNOWN.rev().filter(|minor| *minor <= preferred);
        let newer = KNOWN.filter(|minor| preferred < *minor);
        older.chain(newer).find(|minor| self.allows(*minor))
    }

    /// The same as a Python expression about `v`, the first two numbers of a version.
    pub(super) fn expression(&self) -> String {
        let mut text = String::from("v in (");
        for minor in (0..=KNOWN.end() + 1).filter(|minor| self.allows(*minor)) {
            let _ = write!(text, "(3, {minor}), ");
        }
        text.push(')');
        // Versions to come are all alike.
        if self.allows(KNOWN.end() + 1) {
            let _ = write!(text, " or (3, {}) < v < (4,)", KNOWN.end());
        }
        text
    }
}

impl Clause {
    fn allows(&self, minor: u16) -> bool {
        let Some((&major, rest)) = self.version.split_first() else { return true };
        // The least and the greatest release of `3.minor`.
        let least = [3, minor, 0];
        let greatest = [3, minor, u16::MAX];
        let mut bound = [major, 0, 0];
        bound.iter_mut().skip(1).zip(rest).for_each(|(number, said)| *number = *said);
        let is_it = major == 3 && rest.first().is_none_or(|said| *said == minor);
        match self.operator {
            Operator::Is => is_it,
            // One release less is no Python less.
            Operator::IsNot => !is_it || 1 < rest.len(),
            Operator::AtLeast => bound <= greatest,
            Operator::Above if rest.len() < 2 => bound < least,
            Operator::Above => bound < greatest,
            Operator::AtMost => least <= bound,
            Operator::Below => least < bound,
        }
    }
}

fn alternative(text: &str) -> Option<Vec<Clause>> {
    let mut all = Vec::new();
    let glued = glue(text);
    for part in glued.split([',', ' ']).filter(|part| !part.is_empty()) {
        let split = part.find(|c: char| !"=<>!~^".contains(c)).unwrap_or(part.len());
        let (operator, version) = part.split_at(split);
        if version == "*" && operator.is_empty() {
            continue;
        }
        let version = numbers(version)?;
        let next = |at: usize| {
            let mut next = version.clone();
            next.truncate(at + 1);
            if let Some(number) = next.last_mut() {
                *number = number.saturating_add(1);
            }
            next
        };
        let range = |from: Vec<u16>, to: Vec<u16>| {
            let at_least = Clause { operator: Operator::AtLeast, version: from };
            [at_least, Clause { operator: Operator::Below, version: to }]
        };
        let operator = match operator {
            "" | "=" | "==" | "===" => Operator::Is,
            "!=" => Operator::IsNot,
            ">=" => Operator::AtLeast,
            ">" => Operator::Above,
            "<=" => Operator::AtMost,
            "<" => Operator::Below,
            "~=" => {
                let last = version.len().checked_sub(2)?;
                all.extend(range(version.clone(), next(last)));
                continue;
            }
            "~" => {
                let at = usize::from(1 < version.len());
                all.extend(range(version.clone(), next(at)));
                continue;
            }
            "^" => {
                all.extend(range(version.clone(), next(0)));
                continue;
            }
            _ => return None,
        };
        all.push(Clause { operator, version });
    }
    (!all.is_empty() || text.contains('*')).then_some(all)
}

/// `>= 3.10` as `>=3.10`.
fn glue(text: &str) -> String {
    let mut glued = String::new();
    for c in text.trim().chars() {
        if c == ' ' && glued.ends_with(['=', '<', '>', '!', '~', '^']) {
            continue;
        }
        glued.push(c);
    }
    glued
}

/// One to three numbers; `3.11.*` is `3.11`.
fn numbers(text: &str) -> Option<Vec<u16>> {
    let text = text.strip_suffix(".*").unwrap_or(text);
    let read = |number: &str| {
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        // `3.13.0rc1` is 3.13.0 here.
        let is_clean = number.chars().all(|c| c.is_ascii_alphanumeric());
        number[..digits].parse().ok().filter(|_| is_clean)
    };
    let numbers: Option<Vec<u16>> = text.split('.').take(3).map(read).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Vec<u16> {
        let wanted = Wanted::parse(text).unwrap_or_else(|| unreachable!("{text}"));
        KNOWN.filter(|minor| wanted.allows(*minor)).collect()
    }

    #[test]
    fn what_a_project_asks_for_is_understood() {
        for (text, expected) in [
            ("3.11", &[11][..]),
            ("==3.11.4", &[11]),
            ("3.11.*", &[11]),
            (">=3.12", &[12, 13, 14]),
            (">= 3.10, <3.13", &[10, 11, 12]),
            (">3.12", &[13, 14]),
            (">3.12.1", &[12, 13, 14]),
            ("<=3.9", &[8, 9]),
            ("<3.9.5", &[8, 9]),
            ("~=3.12", &[12, 13, 14]),
            ("~=3.12.1", &[12]),
            ("^3.12", &[12, 13, 14]),
            ("~3.12", &[12]),
            (">=3.8,!=3.9.*", &[8, 10, 11, 12, 13, 14]),
            (">=3.13,!=3.13.1", &[13, 14]),
            ("3.9 || ^3.13", &[9, 13, 14]),
            ("*", &[8, 9, 10, 11, 12, 13, 14]),
            ("2.7", &[]),
            (">=3", &[8, 9, 10, 11, 12, 13, 14]),
            ("<4.0", &[8, 9, 10, 11, 12, 13, 14]),
        ] {
            assert_eq!(allowed(text), expected, "{text}");
        }
        for text in ["", "pypy", ">=x", "@3", "three", "3.11<"] {
            assert_eq!(Wanted::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_nearest_python_is_taken() {
        let nearest = |text: &str| Wanted::parse(text).and_then(|wanted| wanted.nearest(12));
        assert_eq!(nearest(">=3.9"), Some(12));
        assert_eq!(nearest("<3.12"), Some(11));
        assert_eq!(nearest(">=3.13"), Some(13));
        assert_eq!(nearest("2.7"), None);
    }

    #[test]
    fn the_build_can_check_it() {
        let expression = |text: &str| Wanted::parse(text).map(|wanted| wanted.expression());
        assert_eq!(expression("3.11").as_deref(), Some("v in ((3, 11), )"));
        let open = expression(">=3.13").unwrap_or_default();
        assert_eq!(open, "v in ((3, 13), (3, 14), (3, 15), ) or (3, 14) < v < (4,)");
    }
}
