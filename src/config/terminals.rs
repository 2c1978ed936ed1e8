//! The options of terminals in the containers of apps.

use std::time::Duration;

use super::Reader;
use super::builds::limit;

/// More than anybody looks at, and each keeps a connection and a command.
const TERMINALS_MAX: usize = 256;

/// How many terminals there may be, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminals {
    /// How many may be open; 0 is none at all.
    pub max: usize,
    /// How long nothing need be typed or written in one before it is ended.
    pub idle: Duration,
}

impl Reader {
    pub(super) fn terminals(&mut self) -> Option<Terminals> {
        let max = self.one("terminals-max", count);
        let idle = self.one("terminal-idle-timeout", limit);
        Some(Terminals { max: max?, idle: idle? })
    }
}

fn count(text: &str) -> Result<usize, String> {
    let wrong = || format!("write a number from 0 to {TERMINALS_MAX}; 0 switches terminals off");
    text.parse().ok().filter(|number| *number <= TERMINALS_MAX).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Terminals, String> {
        let flags = [(name, vec![value.to_owned()])].into();
        let layers = Layers { flags, ..Layers::default() };
        Config::read(&layers).map(|config| config.terminals).map_err(|e| e.0[0].to_string())
    }

    #[test]
    fn so_many_for_so_long() {
        let usual = read("terminals-max", "16").unwrap();
        assert_eq!((usual.max, usual.idle), (16, Duration::from_mins(15)));
        assert_eq!(read("terminals-max", "0").unwrap().max, 0);
        let short = read("terminal-idle-timeout", "2s").unwrap();
        assert_eq!(short.idle, Duration::from_secs(2));
        for (name, value, word) in [
            ("terminals-max", "257", "256"),
            ("terminals-max", "-1", "256"),
            ("terminal-idle-timeout", "0s", "1s"),
        ] {
            let error = read(name, value).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}
