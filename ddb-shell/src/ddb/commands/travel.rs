//! Going back, going anywhere, and asking the past.

use super::super::dispatch::Arguments;
use super::super::lexer::Token;
use super::super::symbolic::label;
use super::super::{CommandError, Ddb, INTERRUPTED};
use super::{Command, Group, Repeats};
use crate::debugger::Why;
use crate::debugger::place;
use crate::debugger::stepping::linear_rip;
use crate::exceptions::exception_name;
use boundary::{Icount, Mark};
use machine::{Machine, Space, StopReason, StopSet, Watchpoint};
use replay::{Arrival, Hit, Query};
use std::fmt::Write as _;

/// Answers of a query that are printed unless a count says otherwise.
const ANSWERS: u64 = 20;

/// Answers of a query that are printed at most.
const ANSWERS_MAX: u64 = 100_000;

/// The longest object whose changes are looked for.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// `rstep`
pub const RSTEP: Command = Command {
    names: &["rstep", "rs"],
    usage: "[,COUNT]",
    help: "Takes COUNT instructions (1) of this vCPU back.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let range = ddb.range(&mut arguments)?;
        let why = ddb.debugger.step_back(range.count.unwrap_or(1))?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `rnext`
pub const RNEXT: Command = Command {
    names: &["rnext", "rn"],
    usage: "[,COUNT]",
    help: "Goes back to the beginning of the source line before, over calls; without source lines, to the instruction before.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let range = ddb.range(&mut arguments)?;
        let why = ddb.debugger.next_lines_back(range.count.unwrap_or(1))?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `rfinish`
pub const RFINISH: Command = Command {
    names: &["rfinish"],
    usage: "",
    help: "Goes back to the call of the function that the cursor is in.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let why = ddb.debugger.finish_back()?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `rcontinue`
pub const RCONTINUE: Command = Command {
    names: &["rcontinue", "rc"],
    usage: "",
    help: "Goes back to the last stop before the cursor: before the instruction of a breakpoint, and before the instruction that met a watchpoint or event.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let why = ddb.debugger.run_back()?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `seek`
pub const SEEK: Command = Command {
    names: &["seek", "goto"],
    usage: "PLACE",
    help: "Goes to a place: @12345 (instructions since power-on, decimal), @+1000, @-1000, @45%, @1.25s (guest time), @start, @end, @fail, @:bookmark, @/regular expression/ (when the console had printed it).",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let text = arguments.lexer.take_rest();
        if text.is_empty() {
            return Err(CommandError::said(format!("Where to? seek {}", SEEK.usage)));
        }
        let place = place::parse(text)?;
        let why = ddb.debugger.seek(&place)?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `when`
pub const WHEN: Command = Command {
    names: &["when"],
    usage: "",
    help: "Says where in time the cursor is: place, share of the recording, guest time, and how many instructions each vCPU has executed.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let now = ddb.debugger.now();
        let time = ddb.debugger.machine().now();
        let end = ddb.debugger.target.end();
        let percent = now.icount.0 as f64 * 100.0 / end.icount.0.max(1) as f64;
        let share = format!("{percent:.2}% of {end}, ");
        let _ = writeln!(ddb.out, "{}: {share}guest time {time}", place::shown(now));
        for (vcpu, cpu) in ddb.debugger.machine().cpus().iter().enumerate() {
            let _ = writeln!(ddb.out, "  vCPU {vcpu}: {} instructions", cpu.own_counts);
        }
        Ok(())
    },
};

/// `last`
pub const LAST: Command = Command {
    names: &["last"],
    usage: "{EXPRESSION} | ADDRESS[,LENGTH]",
    help: "Goes back to the instruction that last changed an object: what an expression of C names, or LENGTH bytes (8) at ADDRESS. The cursor stands before that instruction; `step` shows the change.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let (address, length_bytes) = ddb.object(&mut arguments, 8)?;
        ddb.end(&mut arguments.lexer)?;
        if length_bytes > OBJECT_BYTES_MAX {
            return Err(CommandError::said(format!("An object is of {OBJECT_BYTES_MAX:#x} bytes at most")));
        }
        let set = writes_to(address, length_bytes);
        let vcpu = ddb.debugger.vcpu;
        let here = ddb.peek(vcpu, address, length_bytes);
        // A write of the value that was there already changes nothing. What is compared is the memory behind the
        // write with the memory now: the last change is where it was different before.
        let hit = ddb.last_change(&set, address, length_bytes, here)?;
        match hit {
            Some(hit) => {
                ddb.look_at(hit.place)?;
                ddb.debugger.vcpu = usize::from(hit.vcpu);
                ddb.debugger.arrived();
                let before = ddb.peek(usize::from(hit.vcpu), address, length_bytes);
                let after = ddb.after(hit, address, length_bytes)?;
                ddb.say_change(address, &before, &after);
                ddb.say_stop(&Why::Done, None);
                Ok(())
            }
            None => Err(CommandError::said("Nothing in the recording before here has changed it.")),
        }
    },
};

/// `first`
pub const FIRST: Command = Command {
    names: &["first"],
    usage: "{EXPRESSION}",
    help: "Goes to the first place from the start at which an expression of C holds. What it reads is watched, so that this takes one replay; an expression over registers is not asked at every instruction: break at a place with `if` instead. The braces may be left out.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let text = ddb.c_text(&mut arguments, &FIRST)?;
        let watched = ddb.debugger.c_watched(&text).map_err(CommandError::Said)?;
        let holds = ddb.debugger.c_condition(&text, None).map_err(CommandError::Said)?;
        let watch =
            watched.into_iter().flat_map(|(address, length_bytes)| writes_to(address, length_bytes).watch);
        let set = StopSet { watch: watch.collect(), ..StopSet::default() };
        let condition = |machine: &Machine, vcpu: u8, _: StopReason| holds(machine, usize::from(vcpu));
        let workers = ddb.debugger.workers;
        let past = ddb.debugger.target.past()?;
        let end = past.end();
        let query = Query { stops: &set, condition: &condition, workers };
        let hits = past.all_hits(Mark::default(), end, query, 1)?;
        match hits.list.first() {
            Some(hit) => {
                past.seek(replay::settled(hit.found.icount))?;
                ddb.debugger.vcpu = usize::from(hit.vcpu);
                ddb.debugger.arrived();
                ddb.say_stop(&Why::Done, None);
                Ok(())
            }
            None if hits.interrupted => Err(CommandError::said(INTERRUPTED)),
            None => Err(CommandError::said("It never becomes true by a write to what it reads.")),
        }
    },
};

/// `writes`
pub const WRITES: Command = Command {
    names: &["writes"],
    usage: "{EXPRESSION} | ADDRESS[,LENGTH] [limit COUNT]",
    help: "Lists every write in the whole recording to an object, or to LENGTH bytes (8) at ADDRESS, with the place to seek to.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let (address, length_bytes) = ddb.object(&mut arguments, 8)?;
        let limit = ddb.limit(&mut arguments)?;
        ddb.list_hits(&writes_to(address, length_bytes), limit, &|ddb, hit| {
            let value = ddb.after(hit, address, length_bytes.min(8))?;
            Ok(format!("= {}", bytes_text(&value)))
        })
    },
};

/// `calls`
pub const CALLS: Command = Command {
    names: &["calls"],
    usage: "FUNCTION [limit COUNT]",
    help: "Lists every call of a function in the whole recording, with its arguments, and the place to seek to; by debug information also where it was inlined. Without that, arguments are the registers in which the ABI passes them.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        if arguments.lexer.peek()? == Token::End {
            return Err(CommandError::said(format!("calls {}", CALLS.usage)));
        }
        let word = arguments.lexer.rest().split_whitespace().next().unwrap_or_default();
        let name = word.rsplit(':').next().unwrap_or_default().to_owned();
        let places = ddb.code(&mut arguments)?;
        let limit = ddb.limit(&mut arguments)?;
        let set = StopSet { execute: places, ..StopSet::default() };
        ddb.list_hits(&set, limit, &|ddb, hit| {
            ddb.look_at(hit.place)?;
            Ok(ddb.debugger.call_text(usize::from(hit.vcpu), &name))
        })
    },
};

/// `exceptions`
pub const EXCEPTIONS: Command = Command {
    names: &["exceptions"],
    usage: "[VECTOR] [limit COUNT]",
    help: "Lists every exception in the whole recording, or those of one vector (decimal, or a name as in #PF), with the place to seek to.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let exceptions = ddb.exceptions(&mut arguments)?;
        let limit = ddb.limit(&mut arguments)?;
        let set = StopSet { exceptions, ..StopSet::default() };
        ddb.list_hits(&set, limit, &|ddb, hit| {
            let StopReason::Exception { vector, error_code, rip } = hit.reason else {
                return Ok(String::new());
            };
            let code = error_code.map_or_else(String::new, |code| format!(" error code {code:#x}"));
            let at = label(ddb.debugger.symbols(), rip, ddb.variables.max_offset);
            Ok(format!("{}{code} at {at}", exception_name(vector)))
        })
    },
};

/// `mark`
pub const MARK: Command = Command {
    names: &["mark", "bookmark"],
    usage: "[NAME | -d NAME]",
    help: "Calls this place NAME, to be sought as @:NAME; -d forgets a name; alone, lists them.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let words: Vec<&str> = arguments.lexer.take_rest().split_whitespace().collect();
        match words.as_slice() {
            [] => {
                for (name, mark) in ddb.debugger.bookmarks() {
                    let _ = writeln!(ddb.out, "@:{name:<20} {}", place::shown(*mark));
                }
                Ok(())
            }
            ["-d", name] if ddb.debugger.remove_bookmark(name) => Ok(()),
            ["-d", name] => {
                Err(CommandError::said(format!("There is no bookmark `{name}`; `mark` lists them")))
            }
            [name] if name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) => {
                ddb.debugger.set_bookmark(name);
                let here = place::shown(ddb.debugger.now());
                let _ = writeln!(ddb.out, "@:{name} is {here}");
                Ok(())
            }
            _ => Err(CommandError::said("A bookmark is one word of letters, digits, `_`, `-` and `.`")),
        }
    },
};

/// `history`
pub const HISTORY: Command = Command {
    names: &["history"],
    usage: "",
    help: "Lists the places where the cursor has stood; `back` and `forward` go through them.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let (visited, at) = ddb.debugger.visited();
        let lines: Vec<String> = visited
            .iter()
            .enumerate()
            .map(|(index, mark)| {
                let sign = if index == at { '*' } else { ' ' };
                format!("{sign} {}", place::shown(*mark))
            })
            .collect();
        for line in lines {
            let _ = writeln!(ddb.out, "{line}");
        }
        Ok(())
    },
};

/// `back`
pub const BACK: Command = Command {
    names: &["back"],
    usage: "",
    help: "Goes to the place where the cursor stood before this one.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, arguments| revisit(ddb, arguments, -1),
};

/// `forward`
pub const FORWARD: Command = Command {
    names: &["forward"],
    usage: "",
    help: "Undoes `back`.",
    group: Group::Time,
    repeats: Repeats::Again,
    run: |ddb, arguments| revisit(ddb, arguments, 1),
};

fn revisit(ddb: &mut Ddb<'_>, mut arguments: Arguments<'_>, steps: isize) -> Result<(), CommandError> {
    ddb.end(&mut arguments.lexer)?;
    let why = ddb.debugger.revisit(steps)?;
    ddb.say_stop(&why, None);
    Ok(())
}

/// What is said of an answer of a query.
type Describe<'d> = &'d dyn Fn(&mut Ddb<'_>, Hit) -> Result<String, CommandError>;

/// Stops behind every write to these bytes.
fn writes_to(address: u64, length_bytes: u64) -> StopSet {
    let watch = Watchpoint { space: Space::Linear, address, length_bytes, read: false, write: true };
    StopSet { watch: vec![watch], ..StopSet::default() }
}

/// Bytes in memory as a number if they are 1, 2, 4 or 8, else one by one.
fn bytes_text(bytes: &[u8]) -> String {
    match bytes.len() {
        1 | 2 | 4 | 8 => {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            format!("{:#x}", u64::from_le_bytes(word))
        }
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// Memory; what is not mapped reads as nothing.
fn peek(machine: &Machine, vcpu: usize, address: u64, length_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; length_bytes.min(OBJECT_BYTES_MAX) as usize];
    match machine.peek_virtual(vcpu, address, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

impl Ddb<'_> {
    fn peek(&self, vcpu: usize, address: u64, length_bytes: u64) -> Vec<u8> {
        peek(self.debugger.machine(), vcpu, address, length_bytes)
    }

    /// The last write before the cursor behind which the object was as it is here, and before which it was not.
    fn last_change(
        &mut self,
        set: &StopSet,
        address: u64,
        length_bytes: u64,
        here: Vec<u8>,
    ) -> Result<Option<Hit>, CommandError> {
        let (start, workers) = (self.debugger.now(), self.debugger.workers);
        let differs = |machine: &Machine, vcpu: u8, _: StopReason| {
            peek(machine, usize::from(vcpu), address, length_bytes) != here
        };
        let query = Query { stops: set, condition: &differs, workers };
        let (other, interrupted) = self.debugger.target.past()?.last_hit(query)?;
        if interrupted {
            return Err(CommandError::said(INTERRUPTED));
        }
        // Behind that write it was something else: the next one has changed it, or, without any such, the first of all.
        let from = other.map_or(Mark::default(), |hit| hit.found);
        let hit = self.and_back(|ddb| {
            ddb.look_at(from)?;
            match ddb.debugger.target.run(Some(start), Query::new(set))? {
                Arrival::Stopped { vcpu, reason } => {
                    let found = ddb.debugger.now();
                    let place = replay::settled(Icount(found.icount.0 - 1));
                    let rip = ddb.debugger.machine().cpus()[usize::from(vcpu)].rip;
                    Ok(Some(Hit { place, found, vcpu, reason, rip }))
                }
                Arrival::Interrupted => Err(CommandError::said(INTERRUPTED)),
                _ => Ok(None),
            }
        })?;
        let Some(hit) = hit else { return Ok(None) };
        self.and_back(|ddb| {
            ddb.look_at(hit.place)?;
            Ok((ddb.peek(usize::from(hit.vcpu), address, length_bytes) != here).then_some(hit))
        })
    }

    /// Goes to a place to look. What is seen elsewhere, because somebody interrupted the way, would be a wrong answer.
    fn look_at(&mut self, place: Mark) -> Result<(), CommandError> {
        match self.debugger.target.past()?.seek(place)? {
            Arrival::Interrupted => Err(CommandError::said(INTERRUPTED)),
            _ => Ok(()),
        }
    }

    /// Does what moves the cursor, and moves it back, also where somebody has interrupted it.
    fn and_back<T>(
        &mut self,
        look: impl FnOnce(&mut Self) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let here = self.debugger.now();
        let result = look(self);
        if result.is_err() {
            // What was interrupted has ended; the way back is not meant.
            self.debugger.interrupt.clear();
        }
        self.look_at(here)?;
        result
    }

    /// The object behind the write that a hit is. The cursor stays.
    fn after(&mut self, hit: Hit, address: u64, length_bytes: u64) -> Result<Vec<u8>, CommandError> {
        self.and_back(|ddb| {
            ddb.look_at(hit.found)?;
            Ok(ddb.peek(usize::from(hit.vcpu), address, length_bytes))
        })
    }

    fn say_change(&mut self, address: u64, before: &[u8], after: &[u8]) {
        let name = label(self.debugger.symbols(), address, self.variables.max_offset);
        let text = |bytes: &[u8]| if bytes.is_empty() { "not mapped".to_owned() } else { bytes_text(bytes) };
        if after.len() <= 8 {
            let _ = writeln!(self.out, "{name}: {} becomes {}", text(before), text(after));
        } else {
            let differs = before.iter().zip(after).position(|(a, b)| a != b).unwrap_or(0);
            let _ = writeln!(self.out, "{name}: {} bytes, the first change at +{differs:#x}", after.len());
        }
    }

    /// Reads `limit COUNT`, to the end of the line.
    fn limit(&mut self, arguments: &mut Arguments<'_>) -> Result<usize, CommandError> {
        let mut limit = ANSWERS;
        if let Token::Name(word) = arguments.lexer.peek()?
            && word == "limit"
        {
            arguments.lexer.next()?;
            limit = self.decimal(&mut arguments.lexer)?.unwrap_or(ANSWERS);
        }
        self.end(&mut arguments.lexer)?;
        Ok(limit.min(ANSWERS_MAX) as usize)
    }

    /// Prints one of the answers of a query.
    fn say_hit(&mut self, hit: Hit, describe: Describe<'_>) -> Result<(), CommandError> {
        self.go_on()?;
        let what = describe(self, hit)?;
        let at = match hit.reason {
            StopReason::Execute => String::new(),
            _ => {
                self.look_at(hit.place)?;
                let cpu = &self.debugger.machine().cpus()[usize::from(hit.vcpu)];
                let rip = linear_rip(cpu);
                label(self.debugger.symbols(), rip, self.variables.max_offset)
            }
        };
        let place = place::shown(hit.place);
        let line = format!("{place:<16} vCPU {:<2} {at} {what}", hit.vcpu);
        let _ = writeln!(self.out, "{}", line.trim_end());
        Ok(())
    }

    /// Lists what a query finds in the whole recording, one line each, with what `describe` says of it.
    fn list_hits(&mut self, set: &StopSet, limit: usize, describe: Describe<'_>) -> Result<(), CommandError> {
        let workers = self.debugger.workers;
        let past = self.debugger.target.past()?;
        let end = past.end();
        let hits = past.all_hits(Mark::default(), end, Query::new(set).by(workers), limit)?;
        self.and_back(|ddb| hits.list.iter().try_for_each(|hit| ddb.say_hit(*hit, describe)))?;
        let shown = hits.list.len() as u64;
        if hits.interrupted {
            let _ = writeln!(self.out, "Interrupted: these are not all.");
        } else if hits.total == 0 {
            let _ = writeln!(self.out, "None in the whole recording.");
        } else if hits.total > shown {
            let _ = writeln!(self.out, "{shown} of {}; `limit COUNT` shows more.", hits.total);
        }
        Ok(())
    }
}
