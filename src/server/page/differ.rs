//! The exact difference between two texts, line by line.

/// A line of both texts, or of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// ` `, `+` or `-`.
    pub(super) sign: char,
    /// Its number in the old text, and in the new one.
    pub(super) old: Option<usize>,
    pub(super) new: Option<usize>,
    pub(super) text: String,
}

/// How many lines around a difference are shown.
const AROUND: usize = 3;
/// Beyond so many pairs of lines nothing is compared: all of the old goes, all of the new comes.
const PAIRS_MAX: usize = 4_000_000;

/// The difference; empty when there is none. What is far from any difference is left out.
pub(super) fn lines(old: &str, new: &str) -> Vec<Row> {
    let (a, b): (Vec<_>, Vec<_>) = (old.split('\n').collect(), new.split('\n').collect());
    let rows = whole(&a, &b);
    let is_near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(rows.len()));
        rows[from..to].iter().any(|row| row.sign != ' ')
    };
    let near: Vec<_> = (0..rows.len()).filter(|at| is_near(*at)).collect();
    near.into_iter().map(|at| rows[at].clone()).collect()
}

/// Both texts in one, by their longest common lines.
fn whole(a: &[&str], b: &[&str]) -> Vec<Row> {
    let same_begin = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (&a[same_begin..], &b[same_begin..]);
    let same_end = a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a_mid, b_mid) = (&a_rest[..a_rest.len() - same_end], &b_rest[..b_rest.len() - same_end]);
    let mut rows = Rows { all: Vec::new(), old: 0, new: 0 };
    for line in &a[..same_begin] {
        rows.both(line);
    }
    middle(a_mid, b_mid, &mut rows);
    for line in &a_rest[a_rest.len() - same_end..] {
        rows.both(line);
    }
    rows.all
}

fn middle(a: &[&str], b: &[&str], rows: &mut Rows) {
    if PAIRS_MAX < a.len().saturating_mul(b.len()) {
        for line in a {
            rows.gone(line);
        }
        for line in b {
            rows.come(line);
        }
        return;
    }
    // How many lines the rests from (i, j) on have in common.
    let width = b.len() + 1;
    let mut common = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            rows.both(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if common[i * width + j + 1] <= common[(i + 1) * width + j] {
            rows.gone(a[i]);
            i += 1;
        } else {
            rows.come(b[j]);
            j += 1;
        }
    }
    for line in &a[i..] {
        rows.gone(line);
    }
    for line in &b[j..] {
        rows.come(line);
    }
}

struct Rows {
    all: Vec<Row>,
    old: usize,
    new: usize,
}

impl Rows {
    fn put(&mut self, sign: char, text: &str) {
        self.old += usize::from(sign != '+');
        self.new += usize::from(sign != '-');
        let (old, new) =
            (Some(self.old).filter(|_| sign != '+'), Some(self.new).filter(|_| sign != '-'));
        self.all.push(Row { sign, old, new, text: text.to_owned() });
    }

    fn both(&mut self, line: &str) {
        self.put(' ', line);
    }

    fn gone(&mut self, line: &str) {
        self.put('-', line);
    }

    fn come(&mut self, line: &str) {
        self.put('+', line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(rows: &[Row], other: char) -> String {
        let own = rows.iter().filter(|row| row.sign != other).map(|row| row.text.as_str());
        own.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn both_texts_can_be_read_from_a_difference() {
        let texts =
            ["", "a", "a\nb\nc", "a\nx\nc", "c\nb\na", "a\nb\nc\n", "x\na\nb\nc", "a\n\n\nb"];
        for old in texts {
            for new in texts {
                let (a, b): (Vec<_>, Vec<_>) =
                    (old.split('\n').collect(), new.split('\n').collect());
                let rows = whole(&a, &b);
                assert_eq!((side(&rows, '+').as_str(), side(&rows, '-').as_str()), (old, new));
                assert_eq!(lines(old, new).is_empty(), old == new);
            }
        }
    }

    #[test]
    fn what_is_far_away_is_left_out() {
        let old: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[50] = "x".to_owned();
        let rows = lines(&old.join("\n"), &new.join("\n"));
        assert_eq!(rows.len(), 2 * AROUND + 2);
        assert_eq!(rows.iter().find(|row| row.sign == '+').and_then(|row| row.new), Some(51));
    }
}
