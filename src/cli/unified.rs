//! What differs between two texts: line by line, or as another program shows it.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::{Error, Exit};

/// How many lines around a change are shown.
const AROUND: usize = 3;
/// The program that shows differences instead, as a command with arguments.
const PROGRAM: &str = "BERTH_EXTERNAL_DIFF";

/// One line of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Out(&'a str),
    In(&'a str),
}

/// The differences of two texts in the form of `diff -u`; empty when there are none.
pub(super) fn unified(from: (&str, &str), to: (&str, &str)) -> String {
    let lines = compare(&from.1.lines().collect::<Vec<_>>(), &to.1.lines().collect::<Vec<_>>());
    let changed: Vec<_> =
        (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    if changed.is_empty() {
        return String::new();
    }
    let mut text = format!("--- {}\n+++ {}\n", from.0, to.0);
    let mut at = 0;
    while let Some(first) = changed.iter().copied().find(|change| at <= *change) {
        let start = first.saturating_sub(AROUND).max(at);
        let mut end = first;
        for change in changed.iter().copied().filter(|change| first <= *change) {
            if end + 2 * AROUND < change {
                break;
            }
            end = change;
        }
        let end = (end + AROUND + 1).min(lines.len());
        hunk(&lines, start, end, &mut text);
        at = end;
    }
    text
}

fn hunk(lines: &[Line<'_>], start: usize, end: usize, text: &mut String) {
    let old = |lines: &[Line<'_>]| lines.iter().filter(|l| !matches!(l, Line::In(_))).count();
    let new = |lines: &[Line<'_>]| lines.iter().filter(|l| !matches!(l, Line::Out(_))).count();
    let (before, part) = (&lines[..start], &lines[start..end]);
    let place = |before: usize, count: usize| match count {
        0 => format!("{before},0"),
        1 => (before + 1).to_string(),
        count => format!("{},{count}", before + 1),
    };
    let (from, to) = (place(old(before), old(part)), place(new(before), new(part)));
    let _ = writeln!(text, "@@ -{from} +{to} @@");
    for line in part {
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Out(line) => ('-', line),
            Line::In(line) => ('+', line),
        };
        let _ = writeln!(text, "{mark}{line}");
    }
}

/// The lines of both, with the longest common part kept.
fn compare<'a>(from: &[&'a str], to: &[&'a str]) -> Vec<Line<'a>> {
    let (rows, columns) = (from.len(), to.len());
    // How many lines the ends from here on have in common.
    let mut common = vec![vec![0_usize; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            common[i][j] = if from[i] == to[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < rows || j < columns {
        if i < rows && j < columns && from[i] == to[j] {
            lines.push(Line::Same(from[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == columns || (i < rows && common[i][j + 1] <= common[i + 1][j]) {
            lines.push(Line::Out(from[i]));
            i += 1;
        } else {
            lines.push(Line::In(to[j]));
            j += 1;
        }
    }
    lines
}

/// The program of `BERTH_EXTERNAL_DIFF`; none when nobody names one.
pub(super) fn program() -> Option<Vec<String>> {
    let words = env::var(PROGRAM).ok()?;
    let words: Vec<_> = words.split_whitespace().map(ToOwned::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut tries = 0_u32;
        loop {
            let path = env::temp_dir().join(format!("berth-diff-{}-{tries}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 100 => {
                    tries += 1;
                }
                made => return made.map(|()| Self(path)),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has a program show the differences of two folders of texts. Whether it found some.
pub(super) fn external(
    program: &[String],
    texts: &[(String, String, String)],
) -> Result<bool, Error> {
    let folder = Folder::new()?;
    let (before, after) = (folder.0.join("before"), folder.0.join("after"));
    for path in [&before, &after] {
        fs::create_dir(path)?;
    }
    for (name, from, to) in texts {
        let put = |folder: &Path, text: &str| fs::write(folder.join(format!("{name}.yaml")), text);
        put(&before, from)?;
        put(&after, to)?;
    }
    let failed = |why: String| {
        Error::new(Exit::Trouble, format!("`{}` did not show the differences", program.join(" ")))
            .why(why)
            .fix(format!("unset {PROGRAM}, or name a program that takes two folders"))
    };
    let mut command = Command::new(&program[0]);
    let status = command.args(&program[1..]).arg(&before).arg(&after).status();
    let status = status.map_err(|error| failed(error.to_string()))?;
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(failed(status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_as_diff_u_writes_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n";
        let new = "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        assert_eq!(
            unified(("old", old), ("new", new)),
            "--- old\n+++ new\n@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -9,3 +9,4 @@\n i\n j\n k\n+l\n"
        );
        assert_eq!(unified(("a", old), ("b", old)), "");
        assert_eq!(unified(("a", ""), ("b", "x\n")), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(unified(("a", "x\ny\n"), ("b", "")), "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-x\n-y\n");
    }
}
