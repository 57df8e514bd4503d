//! The ddb prompt: lines come in, text goes out.
//!
//! The habits are those of ddb(4) on DragonFly and FreeBSD: unique prefixes of commands, `$radix` 16, dot and next, an
//! empty line that repeats, formats that stick. Time travel has commands in the same manner, and C expressions stand in
//! braces. What a command does is in [`commands`], one file for each kind.

mod commands;
mod completion;
mod disassembly;
mod dispatch;
mod docs;
pub mod expr;
mod hints;
pub mod lexer;
mod pager;
mod prompt;
mod scripts;
mod stop_at;
mod symbolic;
mod terminal;
#[cfg(test)]
mod tests;
mod variables;

use crate::debugger::place::{PlaceError, shown};
use crate::debugger::stepping::linear_rip;
use crate::debugger::target::TargetError;
use crate::debugger::{DebugError, Debugger, Why};
use crate::gdb::Ended;
use crate::kernel::current_task;
use commands::examine::Format;
pub use completion::Words;
use disassembly::Disassembler;
pub use docs::{manual, names_of_commands};
use expr::ExprError;
pub use prompt::{Answer, Face, Left, prompt};
use scripts::Scripts;
use std::fmt::Write as _;
use std::sync::Arc;
pub use terminal::{LineEditor, PlainLines};
use variables::Variables;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// An expression without a value.
    #[error(transparent)]
    Expression(#[from] ExprError),
    /// The session's.
    #[error(transparent)]
    Debug(#[from] DebugError),
    /// Words behind what the command takes.
    #[error("?  `{0}` is more than the command takes")]
    Surplus(String),
    /// Anything else: what is wrong, and what would be right.
    #[error("{0}")]
    Said(String),
}

impl From<lexer::LexError> for CommandError {
    fn from(error: lexer::LexError) -> CommandError {
        ExprError::from(error).into()
    }
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> CommandError {
        DebugError::from(error).into()
    }
}

impl From<PlaceError> for CommandError {
    fn from(error: PlaceError) -> CommandError {
        DebugError::from(error).into()
    }
}

impl CommandError {
    /// Says what is wrong.
    fn said(text: impl Into<String>) -> CommandError {
        CommandError::Said(text.into())
    }
}

/// How much one line may print: more than anybody reads, for a count can ask for more than there is memory.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// What is said of a command that was ended by ^C.
const INTERRUPTED: &str = "Interrupted.";
/// What is said where it would be more.
const TOO_MUCH: &str = "No more than 16 MB are printed at once.";
/// How much `capture` keeps.
const CAPTURED_BYTES_MAX: usize = 4 << 20;

/// Waits for a gdb at an address and serves it; gives how that ended, or why nobody came.
pub type GdbGate<'a> = Box<dyn FnMut(&mut Ddb<'a>, &str) -> Result<Ended, String> + 'a>;

/// The state of a prompt.
pub struct Ddb<'a> {
    /// The session.
    pub debugger: Debugger<'a>,
    /// How gdb is let in from the prompt; `None` while it is.
    pub gdb_gate: Option<GdbGate<'a>>,
    /// What the command being executed has printed.
    out: String,
    dot: u64,
    /// Behind the last item examined.
    next: u64,
    /// The start of the last line examined.
    line_start: u64,
    last_given: u64,
    examine_format: Vec<Format>,
    print_format: char,
    variables: Variables,
    scripts: Scripts,
    /// What an empty line repeats.
    repeated: Option<&'static commands::Command>,
    disassembler: Disassembler,
    left: Option<Left>,
    /// The hint about `next` and `n` has been given.
    has_hinted: bool,
    capturing: bool,
    captured: String,
    /// Addresses of `examine` are physical.
    examines_physical: bool,
    /// Names of symbols, with how many symbols there were when they were gathered.
    known_words: Option<(usize, Arc<Vec<String>>)>,
}

impl<'a> Ddb<'a> {
    /// A prompt for a session.
    #[must_use]
    pub fn new(debugger: Debugger<'a>) -> Ddb<'a> {
        Ddb {
            debugger,
            gdb_gate: None,
            out: String::new(),
            dot: 0,
            next: 0,
            line_start: 0,
            last_given: 0,
            examine_format: vec![Format::hexadecimal()],
            print_format: 'a',
            variables: Variables::default(),
            scripts: Scripts::default(),
            repeated: None,
            disassembler: Disassembler::default(),
            left: None,
            has_hinted: false,
            capturing: false,
            captured: String::new(),
            examines_physical: false,
            known_words: None,
        }
    }

    /// What is printed when the prompt is entered, and the script for it.
    pub fn enter(&mut self, why: &Why) -> String {
        self.debugger.find_symbols();
        self.say_stop(why, None);
        let reason = scripts::reason(why, &self.debugger);
        self.run_entry_script(reason);
        std::mem::take(&mut self.out)
    }

    /// Executes a line and gives what it printed. An empty line repeats the last command.
    pub fn execute(&mut self, line: &str) -> String {
        self.debugger.interrupt.clear();
        self.execute_line(line);
        let printed = std::mem::take(&mut self.out);
        let printed = self.expand_tabs(&printed);
        if self.capturing {
            let room = CAPTURED_BYTES_MAX.saturating_sub(self.captured.len()).min(printed.len());
            let end = (0..=room).rev().find(|&at| printed.is_char_boundary(at)).unwrap_or(0);
            self.captured.push_str(&printed[..end]);
        }
        printed
    }

    /// How the prompt was left by the last line, if it was.
    pub fn take_left(&mut self) -> Option<Left> {
        self.left.take()
    }

    /// Lines of a page; 0 if output is not to be paged.
    #[must_use]
    pub fn page_lines(&self) -> usize {
        self.variables.lines as usize
    }

    /// What the prompt looks like: the vCPU's number if there are several, and whether this is a diversion, or the past of
    /// one or of a live guest.
    #[must_use]
    pub fn prompt_text(&self) -> String {
        let target = &self.debugger.target;
        let past = match (target.diversion().is_some(), target.is_in_the_past()) {
            (true, true) => "(diversion, past)",
            (true, false) => "(diversion)",
            (false, true) => "(past)",
            (false, false) => "",
        };
        if self.debugger.machine().cpus().len() > 1 {
            format!("db{{{}}}{past}> ", self.debugger.vcpu)
        } else {
            format!("db{past}> ")
        }
    }

    /// Whether there is room for more of what a command prints.
    fn has_room(&self) -> bool {
        self.out.len() < OUTPUT_BYTES_MAX
    }

    /// Whether a command that may take long and print much can go on.
    fn go_on(&self) -> Result<(), CommandError> {
        if self.debugger.interrupt.is_raised() {
            return Err(CommandError::said(INTERRUPTED));
        }
        if self.has_room() { Ok(()) } else { Err(CommandError::said(TOO_MUCH)) }
    }

    /// Tabs become blanks, as the BSDs print them.
    fn expand_tabs(&self, text: &str) -> String {
        let stops = (self.variables.tab_stops as usize).clamp(1, 16);
        let mut expanded = String::with_capacity(text.len());
        let mut column = 0;
        for c in text.chars() {
            match c {
                '\t' => {
                    let blanks = stops - column % stops;
                    expanded.extend(std::iter::repeat_n(' ', blanks));
                    column += blanks;
                }
                '\n' => {
                    expanded.push('\n');
                    column = 0;
                }
                _ => {
                    expanded.push(c);
                    column += 1;
                }
            }
        }
        expanded
    }

    /// Prints where the guest has come to stand, and why.
    fn say_stop(&mut self, why: &Why, counts: Option<u64>) {
        if let Some(counts) = counts {
            let _ = writeln!(self.out, "After {counts} instructions,");
        }
        match why {
            Why::Start => self.out.push_str("The recording begins here.\n"),
            // What came of it is said by whoever ran it.
            Why::End if self.debugger.target.is_live() => {
                self.left = Some(Left::Ended);
                return;
            }
            Why::End if self.debugger.target.diversion().is_some() => {
                self.out.push_str("The diversion ends here: the guest is off, or nothing can wake it.\n");
            }
            Why::End => self.out.push_str("The recording ends here.\n"),
            Why::Interrupted => self.out.push_str("Interrupted.\n"),
            Why::Done | Why::Entry { .. } => {}
        }
        let word = self.describe_entry(why);
        let vcpu = self.debugger.vcpu;
        let location = self.location(vcpu);
        let place = shown(self.debugger.now());
        let task = current_task(self.debugger.machine(), vcpu, self.debugger.symbols());
        let task = task.map_or_else(String::new, |task| format!(" {task}"));
        let _ = writeln!(self.out, "[ vCPU {vcpu}{task} {place} ]");
        let _ = writeln!(self.out, "{word}\t{location}");
        self.dot = linear_rip(&self.debugger.machine().cpus()[vcpu]);
        self.next = self.dot;
    }

    /// Symbol, colon, instruction: where a vCPU is.
    fn location(&mut self, vcpu: usize) -> String {
        self.disassembler.location(&self.debugger, vcpu, self.variables.max_offset)
    }
}
