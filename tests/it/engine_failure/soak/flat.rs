//! Whether a figure grows: judged by the line through all that was seen, and by its ends.

/// What was seen of one figure, hour by hour.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// How much it may grow over all hours: so much, or a tenth of what it is where that is more.
    pub(super) slack: f64,
    pub(super) seen: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    let count = f64::from(u32::try_from(values.len()).unwrap());
    values.iter().sum::<f64>() / count
}

impl Series {
    /// How much the line that fits best rises from the first hour to the last.
    fn rise(&self) -> f64 {
        let at = |nth: usize| f64::from(u32::try_from(nth).unwrap());
        let times: Vec<_> = (0..self.seen.len()).map(at).collect();
        let (middle, level) = (mean(&times), mean(&self.seen));
        let pairs = times.iter().zip(&self.seen);
        let together: f64 = pairs.map(|(time, value)| (time - middle) * (value - level)).sum();
        let spread: f64 = times.iter().map(|time| (time - middle).powi(2)).sum();
        together / spread * at(self.seen.len() - 1)
    }

    /// How much more the last third has than the first.
    fn more(&self) -> f64 {
        let third = self.seen.len().div_ceil(3);
        mean(&self.seen[self.seen.len() - third..]) - mean(&self.seen[..third])
    }

    /// Why it is not flat.
    pub(super) fn trouble(&self) -> Option<String> {
        assert!(3 <= self.seen.len(), "{}: too few hours to judge by", self.name);
        let allowed = self.slack.max(mean(&self.seen) / 10.0);
        let (rise, more) = (self.rise(), self.more());
        let grows = allowed < rise || allowed < more;
        grows.then(|| {
            let Self { name, seen, .. } = self;
            format!("{name} grows: by {rise:.1} (line), {more:.1} (ends), {allowed:.1} allowed: {seen:.1?}")
        })
    }
}

fn series(seen: impl IntoIterator<Item = f64>) -> Series {
    Series { name: "it", slack: 4.0, seen: seen.into_iter().collect() }
}

/// A judge that never objects would let everything pass.
#[test]
fn what_leaks_is_told_from_what_is_noisy() {
    let noise = |nth: u32| f64::from(nth * 7919 % 13) - 6.0;
    assert_eq!(series((0..20).map(|nth| 100.0 + noise(nth))).trouble(), None);
    assert_eq!(series([30.0; 3]).trouble(), None);
    let leaks = series((0..20).map(|nth| 100.0 + noise(nth) + f64::from(nth)));
    assert!(leaks.trouble().is_some_and(|why| why.contains("it grows")), "{leaks:?}");
    // One descriptor an hour, among few; and a step at half time that stays.
    assert!(series((0..20).map(|nth| 30.0 + f64::from(nth))).trouble().is_some());
    assert!(series([30.0, 30.0, 30.0, 30.0, 40.0, 40.0, 40.0, 40.0]).trouble().is_some());
    // What becomes less is nobody's trouble.
    assert_eq!(series((0..20).map(|nth| 100.0 - f64::from(nth))).trouble(), None);
}
