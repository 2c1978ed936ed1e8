//! Families of series, written as Prometheus' text format 0.0.4.

use std::fmt::Write as _;

use crate::model::Timestamp;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, until whatever counts starts anew.
    Counter,
}

/// A family that is being written. Its head comes with its first sample: a family without samples
/// leaves no trace.
pub struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
    help: &'static str,
    kind: Kind,
    is_begun: bool,
}

impl<'a> Family<'a> {
    /// A gauge without samples.
    pub fn gauge(out: &'a mut String, name: &'static str, help: &'static str) -> Self {
        Self { out, name, help, kind: Kind::Gauge, is_begun: false }
    }

    /// A counter without samples.
    pub fn counter(out: &'a mut String, name: &'static str, help: &'static str) -> Self {
        Self { out, name, help, kind: Kind::Counter, is_begun: false }
    }

    /// Adds a sample with these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.begin();
        if !labels.is_empty() {
            self.out.push('{');
            for (at, (label, value)) in labels.iter().enumerate() {
                if 0 < at {
                    self.out.push(',');
                }
                push_label(self.out, label, value);
            }
            self.out.push('}');
        }
        push_value(self.out, value);
    }

    /// Adds a sample whose labels are written already, without braces.
    pub fn labelled(&mut self, labels: &str, value: f64) {
        self.begin();
        self.out.push('{');
        self.out.push_str(labels);
        self.out.push('}');
        push_value(self.out, value);
    }

    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            let kind = match self.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let (name, help) = (self.name, self.help);
            let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.out.push_str(self.name);
    }
}

/// A label with its value, escaped.
pub fn push_label(out: &mut String, label: &str, value: &str) {
    out.push_str(label);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_value(out: &mut String, value: f64) {
    let _ = if value.is_nan() {
        writeln!(out, " NaN")
    } else if value.is_infinite() {
        writeln!(out, " {}Inf", if value < 0.0 { '-' } else { '+' })
    } else {
        writeln!(out, " {value}")
    };
}

/// A whole number as a value. Beyond 2⁵³ the last digits are rounded, as Prometheus does itself.
#[expect(clippy::cast_precision_loss, reason = "Prometheus keeps every value so")]
pub fn whole(number: u64) -> f64 {
    number as f64
}

/// A moment as a value: seconds since 1970.
pub fn moment(at: Timestamp) -> f64 {
    let ms = u64::try_from(at.as_millis()).unwrap_or(0);
    whole(ms) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_head_and_its_samples() {
        let mut out = String::new();
        let mut family = Family::gauge(&mut out, "berth_x", "What it is.");
        family.sample(&[], 1.5);
        family.sample(&[("app", "a\"b\\c\nd"), ("of", "é")], 1e15);
        family.labelled("app=\"x\"", f64::INFINITY);
        let mut empty = Family::counter(&mut out, "berth_y_total", "Nothing.");
        let _ = &mut empty;
        assert_eq!(
            out,
            "# HELP berth_x What it is.\n# TYPE berth_x gauge\nberth_x 1.5\n\
             berth_x{app=\"a\\\"b\\\\c\\nd\",of=\"é\"} 1000000000000000\nberth_x{app=\"x\"} +Inf\n"
        );
    }
}
