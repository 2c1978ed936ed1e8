//! A plan: who dies when. Its name is all that is needed to play it again.

use std::{fmt, str::FromStr, time::Duration};

use berth::engine::fault::{Fault, Occurrence};

use super::stage::Memory;

/// How long an answer is on its way, and so how much of what follows from a call Berth may still
/// hear before it dies.
const ANSWER: Duration = Duration::from_millis(5);
/// Half of what long work takes on this stage.
const HALF_WAY: Duration = Duration::from_millis(500);
/// How much later the engine gets to a call whose caller is dead: before, while and after the next
/// Berth does the same.
const LATE_MS: [u64; 3] = [20, 200, 2000];

/// When in the life of a call Berth dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// It is not sent.
    Before,
    /// It is sent. The engine does it later.
    Sent,
    /// The engine has done it and not answered.
    Applied,
    /// The answer is on its way; of a stream, a part of it has come, and of long work a half.
    Answering,
}

impl Moment {
    /// In the order of time.
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::Sent, Self::Applied, Self::Answering];

    /// What happens to this call.
    pub(crate) fn fault(self, call: &Occurrence, at: u64) -> Fault {
        let is_long = matches!(call.kind, "build" | "pull");
        match self {
            Self::Before => Fault::CrashBefore,
            Self::Sent => {
                let turn = usize::try_from(at).unwrap() % LATE_MS.len();
                Fault::CrashSent(Duration::from_millis(LATE_MS[turn]))
            }
            Self::Applied => Fault::CrashAfter,
            Self::Answering => Fault::CrashDuring(if is_long { HALF_WAY } else { ANSWER }),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Sent => "sent",
            Self::Applied => "applied",
            Self::Answering => "answering",
        }
    }
}

/// What a Berth dies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    /// The call with this number, at this moment.
    Call(u64, Moment),
    /// In the middle of the stream of events: the hint with this number is not heard.
    Hint(u64),
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(at, moment) => write!(f, "{at}.{}", moment.word()),
            Self::Hint(at) => write!(f, "{at}.hint"),
        }
    }
}

/// Who dies when: the first Berth, the second, and so on; what the next one remembers; and the
/// seed from which the calls' durations are drawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Plan {
    pub(crate) workload: String,
    pub(crate) deaths: Vec<Death>,
    pub(crate) memory: Memory,
    pub(crate) seed: u64,
}

impl Plan {
    /// One death.
    pub(crate) fn single(workload: &str, death: Death, memory: Memory, seed: u64) -> Self {
        Self { workload: slug(workload), deaths: vec![death], memory, seed }
    }

    /// The same, and the next Berth dies too.
    pub(crate) fn and(&self, death: Death) -> Self {
        let mut plan = self.clone();
        plan.deaths.push(death);
        plan
    }

    /// A number that is the same for the same plan, and otherwise like any other: to draw a sample.
    pub(crate) fn lot(&self) -> u64 {
        draw(&[self.to_string().as_bytes()])
    }
}

/// A number that these bytes give.
pub(crate) fn draw(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mixed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

/// A workload's name as it is written in a plan's.
pub(crate) fn slug(name: &str) -> String {
    name.replace(',', "").replace(' ', "-")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.workload)?;
        for death in &self.deaths {
            write!(f, "/{death}")?;
        }
        write!(f, "/{}/{}", self.memory.word(), self.seed)
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no plan: one is `create/7.applied/kept/0`, as a failure prints it")
        };
        let parts: Vec<_> = text.split('/').collect();
        let [workload, deaths @ .., memory, seed] = parts.as_slice() else { return Err(wrong()) };
        let deaths = deaths.iter().map(|death| {
            let (at, word) = death.split_once('.')?;
            let at = at.parse().ok()?;
            let moment = Moment::ALL.into_iter().find(|moment| moment.word() == word);
            match moment {
                Some(moment) => Some(Death::Call(at, moment)),
                None => (word == "hint").then_some(Death::Hint(at)),
            }
        });
        Ok(Self {
            workload: (*workload).to_owned(),
            deaths: deaths.collect::<Option<_>>().ok_or_else(wrong)?,
            memory: Memory::ALL.into_iter().find(|m| m.word() == *memory).ok_or_else(wrong)?,
            seed: seed.parse().map_err(|_| wrong())?,
        })
    }
}

#[test]
fn a_plan_is_found_again_by_its_name() {
    for text in
        ["create/7.applied/kept/0", "pause-and-resume/3.sent/12.hint/lost/42", "delete/early/1"]
    {
        assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
    }
    for text in ["", "create", "create/7/kept/0", "create/7.later/kept/0", "create/7.sent/kept/x"] {
        assert!(text.parse::<Plan>().unwrap_err().contains("is no plan"), "{text}");
    }
}
