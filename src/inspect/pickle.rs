//! Pickles, read opcode by opcode. Nothing is built: of the loader's stack only strings are kept,
//! because a pickle says with them what it imports.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    rc::Rc,
};

use super::{
    Format, Import, Limits, Report, Safety,
    input::{Fault, Input, Result, Source, Span, broken},
    rating::rate,
};

/// The longest string that can be a module or a name.
const LONGEST: usize = 4096;
/// How deep the stack and how large the memo may be.
const MOST: usize = 1 << 20;
/// `torch.save` of old writes this number first, then four more pickles.
const LEGACY: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const OF_LEGACY: usize = 5;
/// So many imports are remembered as rated.
const SEEN_MAX: usize = 1_000;
/// How many pickles are read that stand one after the other.
const PICKLES: usize = 64;

/// What stands on the loader's stack, as far as it matters.
#[derive(Clone)]
enum Item {
    Text(Rc<str>),
    Mark,
    Other,
}

/// A loader that loads nothing.
struct Machine<'a> {
    stack: Vec<Item>,
    memo: BTreeMap<u32, Item>,
    report: &'a mut Report,
    /// What it imports, by module: what is said again and again is rated once.
    seen: BTreeMap<String, BTreeSet<String>>,
    /// Whether anything was called or built.
    is_active: bool,
    is_legacy: bool,
}

/// Whether a text begins as a pickle of protocol 0 that calls something: with a name, or with the
/// arguments.
pub(super) fn begins_plainly(head: &[u8]) -> bool {
    let is_text = matches!(head, [b'(', b'S', b'\'' | b'"', ..]);
    if is_text || matches!(head, [b'(', b'I', b'0'..=b'9', ..]) {
        return true;
    }
    let head = head.strip_prefix(b"(").unwrap_or(head);
    let mut lines = head.split(|byte| *byte == b'\n');
    let is_word = |line: &[u8]| {
        !line.is_empty()
            && line.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte))
    };
    let first = lines.next().and_then(|line| line.strip_prefix(b"c"));
    first.is_some_and(is_word)
        && lines.next().is_some_and(is_word)
        && lines.next().and_then(<[u8]>::first).is_some_and(|byte| b"(p]q}t)NIFLSV".contains(byte))
}

/// Reads a file of pickles.
pub(super) fn read(source: &dyn Source, limits: &Limits, report: &mut Report) -> Result<()> {
    report.format = Format::Pickle;
    scan(Span::new(source, 0, u64::MAX), u64::MAX, limits.opcodes, report)
}

/// Reads pickles from a stream, up to a number of bytes.
pub(super) fn scan(
    from: impl Read,
    bytes: u64,
    mut opcodes: u64,
    report: &mut Report,
) -> Result<()> {
    let mut input = Input::new(from, bytes, "more pickled bytes than are looked at");
    let mut of_legacy = 0;
    for nth in 0..PICKLES {
        let Some(next) = input.peek()? else {
            return if nth == 0 { Err(Fault::End) } else { Ok(()) };
        };
        let mut machine = Machine {
            stack: Vec::new(),
            memo: BTreeMap::new(),
            report,
            seen: BTreeMap::new(),
            is_active: false,
            is_legacy: false,
        };
        let end = machine.run(&mut input, &mut opcodes);
        let (is_active, is_legacy) = (machine.is_active, machine.is_legacy);
        if is_legacy && nth == 0 {
            of_legacy = OF_LEGACY;
        }
        match end {
            Ok(()) => {}
            // What follows a whole pickle may be data. What ran in it before it broke runs.
            Err(Fault::Broken(_) | Fault::End) if nth != 0 && !is_active && next != 0x80 => {
                return Ok(());
            }
            Err(fault) => return Err(fault),
        }
        if nth + 1 == of_legacy {
            // The tensors' bytes.
            report.fact("legacy", true);
            return Ok(());
        }
    }
    Err(Fault::Limit("more pickles than are looked at"))
}

impl Machine<'_> {
    /// Reads up to the end of one pickle.
    fn run<R: Read>(&mut self, input: &mut Input<R>, opcodes: &mut u64) -> Result<()> {
        loop {
            *opcodes = opcodes.checked_sub(1).ok_or(Fault::Limit("more opcodes than are read"))?;
            let code = input.u8()?;
            if code == b'.' {
                return Ok(());
            }
            let is_known = self.push_text(code, input)?
                || self.push_plain(code, input)?
                || self.move_items(code, input)?
                || self.act(code, input)?;
            if !is_known {
                let at = input.taken().saturating_sub(1);
                return broken(format!("byte {at}: {code:#04x} is no opcode of a pickle"));
            }
            if MOST < self.stack.len() || MOST < self.memo.len() {
                return Err(Fault::Limit("a deeper pickle than is followed"));
            }
        }
    }

    /// Opcodes that push a string.
    fn push_text<R: Read>(&mut self, code: u8, input: &mut Input<R>) -> Result<bool> {
        let text = match code {
            b'S' => input.line(LONGEST)?.and_then(|line| unquoted(&line)),
            b'V' => input.line(LONGEST)?.filter(|line| !line.contains(&b'\\')),
            _ => {
                let length = match code {
                    b'U' | 0x8c => input.u8()?.into(),
                    b'T' | b'X' => input.u32()?.into(),
                    0x8d => input.u64()?,
                    _ => return Ok(false),
                };
                input.bytes(length, LONGEST)?
            }
        };
        let text = text.and_then(|text| String::from_utf8(text).ok());
        self.stack.push(text.map_or(Item::Other, |text| Item::Text(text.into())));
        Ok(true)
    }

    /// Opcodes that push what is no string.
    fn push_plain<R: Read>(&mut self, code: u8, input: &mut Input<R>) -> Result<bool> {
        match code {
            b'F' | b'I' | b'L' => drop(input.line(0)?),
            b'K' => input.skip(1)?,
            b'M' => input.skip(2)?,
            b'J' => input.skip(4)?,
            b'G' => input.skip(8)?,
            b'N' | b']' | b'}' | b')' | 0x88 | 0x89 | 0x8f | 0x97 => {}
            b'C' => {
                let count = input.u8()?;
                input.skip(count.into())?;
            }
            b'B' => {
                let count = input.u32()?;
                input.skip(count.into())?;
            }
            0x8e | 0x96 => {
                let count = input.u64()?;
                input.skip(count)?;
            }
            0x8a => {
                let count = input.u8()?;
                let digits = input.bytes(count.into(), 255)?;
                self.is_legacy |= digits.as_deref() == Some(&LEGACY);
            }
            0x8b => {
                let count = i32::from_le_bytes(input.array()?);
                let Ok(count) = u64::try_from(count) else {
                    return broken("a number of a negative length");
                };
                input.skip(count)?;
            }
            _ => return Ok(false),
        }
        self.stack.push(Item::Other);
        Ok(true)
    }

    /// Opcodes that rearrange the stack, and the memo.
    fn move_items<R: Read>(&mut self, code: u8, input: &mut Input<R>) -> Result<bool> {
        match code {
            b'(' => self.stack.push(Item::Mark),
            b'0' | b'a' => self.pop(1),
            b'1' | b'e' | b'u' | 0x90 => self.pop_to_mark(),
            b'2' => {
                let top = self.top();
                self.stack.push(top);
            }
            b's' => self.pop(2),
            b'l' | b'd' | b't' | 0x91 => {
                self.pop_to_mark();
                self.stack.push(Item::Other);
            }
            0x85..=0x87 => {
                self.pop(usize::from(code - 0x84));
                self.stack.push(Item::Other);
            }
            b'g' | b'h' | b'j' => {
                let at = index(code == b'g', code == b'h', input)?;
                let item = at.and_then(|at| self.memo.get(&at).cloned()).unwrap_or(Item::Other);
                self.stack.push(item);
            }
            b'p' | b'q' | b'r' => {
                let at = index(code == b'p', code == b'q', input)?;
                let top = self.top();
                if let Some(at) = at {
                    self.memo.insert(at, top);
                }
            }
            0x94 => {
                let at = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                let top = self.top();
                self.memo.insert(at, top);
            }
            0x80 => match input.u8()? {
                0..=5 => {}
                other => return broken(format!("protocol {other} of pickle is not known")),
            },
            0x95 => input.skip(8)?,
            0x98 => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes by which a loader imports, calls and builds.
    fn act<R: Read>(&mut self, code: u8, input: &mut Input<R>) -> Result<bool> {
        match code {
            b'c' | b'i' => {
                let module = input.line(LONGEST)?.and_then(|line| String::from_utf8(line).ok());
                let name = input.line(LONGEST)?.and_then(|line| String::from_utf8(line).ok());
                self.import(module.as_deref(), name.as_deref());
                if code == b'i' {
                    self.is_active = true;
                    self.pop_to_mark();
                }
            }
            0x93 => {
                let name = self.stack.pop();
                let module = self.stack.pop();
                let text = |item: &Option<Item>| match item {
                    Some(Item::Text(text)) => Some(Rc::clone(text)),
                    _ => None,
                };
                self.import(text(&module).as_deref(), text(&name).as_deref());
            }
            0x82..=0x84 => {
                input.skip(1 << (code - 0x82))?;
                self.report.find(
                    Safety::Dangerous,
                    "pickle.extension",
                    "it names an import by a number that only its loader's process knows",
                );
            }
            b'R' | 0x81 => {
                self.is_active = true;
                self.pop(2);
            }
            0x92 => {
                self.is_active = true;
                self.pop(3);
            }
            b'o' => {
                self.is_active = true;
                self.pop_to_mark();
            }
            b'b' => {
                self.is_active = true;
                self.pop(1);
                return Ok(true);
            }
            b'P' => drop(input.line(0)?),
            b'Q' => self.pop(1),
            _ => return Ok(false),
        }
        self.stack.push(Item::Other);
        Ok(true)
    }

    fn top(&self) -> Item {
        self.stack.last().cloned().unwrap_or(Item::Other)
    }

    fn pop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len().saturating_sub(count));
    }

    fn pop_to_mark(&mut self) {
        let mark = self.stack.iter().rposition(|item| matches!(item, Item::Mark));
        self.stack.truncate(mark.unwrap_or(0));
    }

    fn import(&mut self, module: Option<&str>, name: Option<&str>) {
        if let (Some(module), Some(name)) = (module, name) {
            if self.seen.get(module).is_some_and(|names| names.contains(name)) {
                return;
            }
            if self.report.imports.len() < SEEN_MAX {
                self.seen.entry(module.to_owned()).or_default().insert(name.to_owned());
            }
        }
        let said = |text: Option<&str>| text.unwrap_or("?").to_owned();
        let safety = match (module, name) {
            (Some(module), Some(name)) => rate(module, name),
            // It hides what it imports.
            _ => Safety::Dangerous,
        };
        self.report.import(Import { module: said(module), name: said(name), safety });
    }
}

/// The number of a place in the memo: in a line, in a byte, or in four.
fn index<R: Read>(is_line: bool, is_byte: bool, input: &mut Input<R>) -> Result<Option<u32>> {
    if is_line {
        let line = input.line(20)?;
        let text = line.and_then(|line| String::from_utf8(line).ok());
        return Ok(text.and_then(|text| text.trim().parse().ok()));
    }
    if is_byte { Ok(Some(input.u8()?.into())) } else { Ok(Some(input.u32()?)) }
}

/// What stands between the quotes, when it can be read without knowing Python's escapes.
fn unquoted(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let quote = *line.first().filter(|byte| b"'\"".contains(byte))?;
    let inner = line.strip_prefix(&[quote])?.strip_suffix(&[quote])?;
    (!inner.contains(&b'\\')).then(|| inner.to_vec())
}
