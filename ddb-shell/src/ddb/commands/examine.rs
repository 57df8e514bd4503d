//! `examine`: memory in the formats of ddb(4).

use super::super::dispatch::Arguments;
use super::super::symbolic::{label, source_line};
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use std::fmt::Write as _;

/// How an item is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The letter: one of `xzoducasSpmiIr`.
    letter: char,
    /// Bytes of an item.
    size_bytes: usize,
}

impl Format {
    /// Words of four bytes in hexadecimal: what `x` shows at first.
    #[must_use]
    pub fn hexadecimal() -> Format {
        Format { letter: 'x', size_bytes: 4 }
    }
}

/// The largest number.
const NUMBER_BYTES_MAX: usize = 8;
/// Longest string that `x/s` shows.
const STRING_BYTES_MAX: usize = 4096;

/// `examine`
pub const EXAMINE: Command = Command {
    names: &["examine", "x"],
    usage: "[/FORMAT] [ADDRESS][,COUNT]",
    help: "Displays memory. As in gdb, a decimal COUNT may stand before FORMAT instead. Sizes: b h l g (or q): 1, 2, 4, 8 bytes. Formats: x hexadecimal, z signed hexadecimal, o octal, d signed, u unsigned decimal, r in $radix, c character, s string, a the address as symbol, p or S the pointer stored there as symbol, m dump with text, i instruction, I in Intel syntax. P: ADDRESS is physical. The format sticks, and an empty line goes on.",
    group: Group::Memory,
    repeats: Repeats::Walk,
    run: |ddb, mut arguments| {
        let mut count = None;
        if let Some(modifier) = arguments.modifier {
            let (before, letters) = leading_count(modifier)?;
            count = before;
            ddb.examine_format = formats(letters, &ddb.examine_format)?;
            ddb.examines_physical = letters.contains('P');
        }
        let range = if arguments.is_repeated {
            super::super::dispatch::Range { address: ddb.dot, is_given: false, count: None }
        } else {
            ddb.range(&mut arguments)?
        };
        if count.is_some() && range.count.is_some() {
            return Err(CommandError::said(
                "A count stands before the format or behind the address, not both",
            ));
        }
        ddb.examine(range.address, count.or(range.count).unwrap_or(1))
    },
};

/// `xf`
pub const XF: Command = Command {
    names: &["xf"],
    usage: "",
    help: "Displays forwards from where the last examine ended, in its format.",
    group: Group::Memory,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        ddb.examine(ddb.next, 1)
    },
};

/// `xb`
pub const XB: Command = Command {
    names: &["xb"],
    usage: "",
    help: "Displays backwards: the item before the one the last examine began with.",
    group: Group::Memory,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let bytes: usize = ddb.examine_format.iter().map(|format| format.size_bytes).sum();
        ddb.examine(ddb.dot.wrapping_sub(bytes as u64), 1)
    },
};

/// Splits the count off that gdb's users write before the format: `x/10i`.
fn leading_count(modifier: &str) -> Result<(Option<u64>, &str), CommandError> {
    let letters = modifier.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &modifier[..modifier.len() - letters.len()];
    if digits.is_empty() {
        return Ok((None, letters));
    }
    let count = digits.parse().map_err(|_| CommandError::said(format!("{digits} is too large a count")))?;
    Ok((Some(count), letters))
}

/// Reads the letters of a modifier: a size holds for the formats behind it.
fn formats(modifier: &str, before: &[Format]) -> Result<Vec<Format>, CommandError> {
    // That of a line of a dump is none for anything else.
    let sticking = before.first().map(|format| format.size_bytes).filter(|size| *size <= NUMBER_BYTES_MAX);
    let mut size_bytes = sticking.unwrap_or(4);
    let mut formats = Vec::new();
    for letter in modifier.chars() {
        match letter {
            'b' => size_bytes = 1,
            'h' => size_bytes = 2,
            'l' => size_bytes = 4,
            'g' | 'q' | 'L' => size_bytes = 8,
            'P' => {}
            'c' => formats.push(Format { letter, size_bytes: 1 }),
            'p' | 'S' => formats.push(Format { letter, size_bytes: 8 }),
            'm' => formats.push(Format { letter, size_bytes: 16 }),
            'x' | 'z' | 'o' | 'd' | 'u' | 'r' | 's' | 'a' | 'i' | 'I' => {
                formats.push(Format { letter, size_bytes });
            }
            _ => {
                return Err(CommandError::said(format!(
                    "Bad modifier `{letter}`: sizes are b h l g, formats x z o d u r c s a p S m i I, and P for physical"
                )));
            }
        }
    }
    if formats.is_empty() {
        let letter = before.first().map_or('x', |format| format.letter);
        let letter = if "xzodur".contains(letter) { letter } else { 'x' };
        formats.push(Format { letter, size_bytes });
    }
    Ok(formats)
}

/// Columns of a number: what its bytes can need, and a blank.
fn width(format: Format) -> usize {
    match (format.letter, format.size_bytes) {
        ('c', _) => 4,
        ('o', bytes) => bytes * 3 + 2,
        (_, bytes) => (bytes * 2 + 2).max(bytes * 5 / 2 + 2),
    }
}

/// A number in a format.
fn number(bytes: &[u8], letter: char, radix: u64) -> String {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(word);
    let unused = 64 - 8 * bytes.len() as u32;
    let signed = (value << unused) as i64 >> unused;
    let sign = if signed < 0 { "-" } else { "" };
    match letter {
        'z' => format!("{sign}{:x}", signed.unsigned_abs()),
        'o' => format!("{value:o}"),
        'd' => signed.to_string(),
        'u' => value.to_string(),
        'r' if radix == 10 => value.to_string(),
        'r' if radix == 8 => format!("{value:o}"),
        'c' => character(value as u8),
        _ => format!("{value:x}"),
    }
}

/// A character; what does not print, in octal.
fn character(byte: u8) -> String {
    if (b' '..0x7f).contains(&byte) { char::from(byte).to_string() } else { format!("\\{byte:03o}") }
}

impl Ddb<'_> {
    fn bytes_at(&self, address: u64, into: &mut [u8]) -> Result<(), CommandError> {
        let machine = self.debugger.machine();
        let read = if self.examines_physical {
            machine.peek_physical(address, into)
        } else {
            machine.peek_virtual(self.debugger.vcpu, address, into)
        };
        read.map_err(|error| CommandError::said(error.to_string()))
    }

    /// Displays `count` times what the format says from `address`.
    fn examine(&mut self, address: u64, count: u64) -> Result<(), CommandError> {
        let formats = self.examine_format.clone();
        let mut line = String::new();
        let mut at = address;
        self.line_start = address;
        let mut result = Ok(());
        'items: for _ in 0..count {
            for format in &formats {
                self.dot = at;
                match self.go_on().and_then(|()| self.item(*format, at, &mut line)) {
                    Ok(next) => at = next,
                    Err(error) => {
                        result = Err(error);
                        break 'items;
                    }
                }
            }
        }
        self.end_line(&mut line);
        self.next = at;
        result
    }

    fn end_line(&mut self, line: &mut String) {
        if !line.is_empty() {
            let _ = writeln!(self.out, "{}", line.trim_end());
            line.clear();
        }
    }

    fn begin_line(&mut self, at: u64, line: &mut String) {
        self.end_line(line);
        self.line_start = at;
        let name = match self.examines_physical {
            true => format!("{at:#x}"),
            false => label(self.debugger.symbols(), at, self.variables.max_offset),
        };
        let _ = write!(line, "{name}:\t");
    }

    /// Puts one item on the line; gives the address behind it.
    fn item(&mut self, format: Format, at: u64, line: &mut String) -> Result<u64, CommandError> {
        match format.letter {
            'i' | 'I' => self.instruction(format.letter == 'I', at, line),
            's' => self.string(at, line),
            'm' => self.dump(at, line),
            'a' => {
                self.begin_line(at, line);
                let _ = write!(line, "= {at:#x}");
                self.end_line(line);
                Ok(at.wrapping_add(format.size_bytes as u64))
            }
            'p' | 'S' => {
                let mut bytes = [0; 8];
                self.bytes_at(at, &mut bytes)?;
                self.begin_line(at, line);
                let pointer = u64::from_le_bytes(bytes);
                line.push_str(&label(self.debugger.symbols(), pointer, self.variables.max_offset));
                self.end_line(line);
                Ok(at.wrapping_add(8))
            }
            letter => {
                let mut bytes = [0; 8];
                let bytes = &mut bytes[..format.size_bytes];
                self.bytes_at(at, bytes)?;
                let columns = width(format);
                let used = line.rfind('\t').map_or(0, |tab| line.len() - tab + 16);
                if line.is_empty() || used + columns > self.variables.max_width as usize {
                    self.begin_line(at, line);
                }
                let text = number(bytes, letter, self.variables.radix);
                let _ = write!(line, "{text:<columns$}");
                Ok(at.wrapping_add(format.size_bytes as u64))
            }
        }
    }

    fn instruction(&mut self, is_intel: bool, at: u64, line: &mut String) -> Result<u64, CommandError> {
        let mut first = [0];
        self.bytes_at(at, &mut first)?;
        self.begin_line(at, line);
        self.disassembler.is_intel = is_intel;
        let (text, length) = self.disassembler.at(&self.debugger, self.debugger.vcpu, at);
        self.disassembler.is_intel = false;
        line.push_str(&text);
        line.push_str(&source_line(self.debugger.symbols(), at));
        self.end_line(line);
        Ok(at.wrapping_add(length as u64))
    }

    fn string(&mut self, at: u64, line: &mut String) -> Result<u64, CommandError> {
        self.begin_line(at, line);
        let mut address = at;
        for length in 0..=STRING_BYTES_MAX {
            let mut byte = [0];
            if let Err(error) = self.bytes_at(address, &mut byte) {
                if length == 0 {
                    line.clear();
                    return Err(error);
                }
                break;
            }
            address = address.wrapping_add(1);
            if byte[0] == 0 {
                break;
            }
            line.push_str(&character(byte[0]));
        }
        self.end_line(line);
        Ok(address)
    }

    fn dump(&mut self, at: u64, line: &mut String) -> Result<u64, CommandError> {
        let mut bytes = [0; 16];
        self.bytes_at(at, &mut bytes)?;
        self.begin_line(at, line);
        for group in bytes.chunks(4) {
            for byte in group {
                let _ = write!(line, "{byte:02x}");
            }
            line.push(' ');
        }
        line.push(' ');
        line.extend(
            bytes.iter().map(|&byte| if (b' '..0x7f).contains(&byte) { char::from(byte) } else { '.' }),
        );
        self.end_line(line);
        Ok(at.wrapping_add(16))
    }

    /// Formats a value as `print` does.
    pub(super) fn formatted(&self, value: u64, letter: char) -> Result<String, CommandError> {
        Ok(match letter {
            'a' => label(self.debugger.symbols(), value, self.variables.max_offset),
            'x' | 'z' | 'o' | 'd' | 'u' | 'r' => {
                let text = number(&value.to_le_bytes(), letter, self.variables.radix);
                format!("{text:>11}")
            }
            'c' => character(value as u8),
            _ => {
                return Err(CommandError::said(format!(
                    "Bad modifier `{letter}`: print takes a x z o d u r c"
                )));
            }
        })
    }
}

/// What an argument list is for `print`.
pub(super) fn print_letter(arguments: &Arguments<'_>, before: char) -> char {
    arguments.modifier.and_then(|modifier| modifier.chars().next()).unwrap_or(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_holds_for_the_formats_behind_it_and_sticks() {
        let before = [Format::hexadecimal()];
        assert_eq!(formats("gx", &before).unwrap(), [Format { letter: 'x', size_bytes: 8 }]);
        assert_eq!(formats("h", &before).unwrap(), [Format { letter: 'x', size_bytes: 2 }]);
        let several = formats("bxgd", &before).unwrap();
        assert_eq!(several, [Format { letter: 'x', size_bytes: 1 }, Format { letter: 'd', size_bytes: 8 }]);
        assert!(formats("y", &before).is_err());
        assert_eq!(leading_count("10i").unwrap(), (Some(10), "i"));
        assert_eq!(leading_count("gx").unwrap(), (None, "gx"));
        assert!(leading_count("99999999999999999999x").is_err());
        let dump = formats("m", &several).unwrap();
        for modifier in ["x", "P", "", "s", "a"] {
            assert_eq!(formats(modifier, &dump).unwrap()[0].size_bytes, 4, "{modifier} behind a dump");
        }
    }

    #[test]
    fn numbers_are_shown_in_every_format() {
        let bytes = 0xffff_fff6u32.to_le_bytes();
        for (letter, text) in
            [('x', "fffffff6"), ('z', "-a"), ('d', "-10"), ('u', "4294967286"), ('o', "37777777766")]
        {
            assert_eq!(number(&bytes, letter, 16), text);
        }
        assert_eq!((character(b'a'), character(10)), ("a".to_owned(), "\\012".to_owned()));
    }
}
