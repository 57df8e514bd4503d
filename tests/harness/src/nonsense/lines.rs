//! Lines for the prompt.

use super::c::expression;
use super::{EDGES, length, mutate};
use crate::Dice;

/// Which commands may be among the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that look at the place where the cursor is, and go to others.
    Here,
    /// Also those that step and search, for which the recording should be short.
    Anywhere,
}

/// What lines of noise are made of, and what is put into others.
const PIECES: [&str; 56] = [
    "x",
    "/",
    "i",
    ",",
    "{",
    "}",
    "$",
    "@",
    "#",
    "break",
    "watch",
    "p",
    "*",
    "(",
    ")",
    "0x",
    "-1",
    "shelves",
    ".",
    "..",
    "'",
    "\"",
    "ffffffffffffffff",
    "<<",
    "40",
    "seek",
    "last",
    "step",
    "show",
    "all",
    "if",
    "script",
    "=",
    ";",
    "\\",
    "\u{fe}",
    "$radix",
    "whatis",
    "limit",
    "stop",
    "/[/",
    "@+",
    "@-1",
    "@/",
    "%",
    "->",
    "[",
    "]",
    "?",
    "\u{1f4a5}",
    "\t",
    "\0",
    "0t",
    "0o",
    "{*(char *)0}",
    "$cr3",
];

/// Right lines, of every command but those that leave. `#` is a number where something begins or ends.
const RIGHT: [&str; 111] = [
    "continue",
    "c/c @#",
    "c @+1000",
    "step",
    "step ,5",
    "step/p ,#",
    "step ,#",
    "next",
    "next/p",
    "until",
    "until/p",
    "n",
    "n ,#",
    "finish",
    "rstep",
    "rstep ,20",
    "rnext",
    "rfinish",
    "rcontinue",
    "seek @50%",
    "seek @start",
    "seek @end",
    "seek @#",
    "seek @+#",
    "seek @-#",
    "seek @0.001s",
    "seek @/init/",
    "seek @:here",
    "seek @99999%",
    "when",
    "last {shelves[0].count}",
    "last #,#",
    "first {shelves[0].count > 3}",
    "writes {shelves[0]} limit 3",
    "writes #,# limit 2",
    "calls panic",
    "calls list_add_tail limit 3",
    "calls work.c:73 limit 1",
    "break list_add_tail if {entry}",
    "break work.c:#",
    "break demo/work.c:76,# if {shelf}",
    "break work.c:73",
    "delete work.c:73",
    "show modules/g",
    "calls page_alloc limit 3",
    "exceptions",
    "exceptions # limit #",
    "mark here",
    "mark -d here",
    "mark",
    "history",
    "back",
    "forward",
    "show checkpoints",
    "break panic",
    "break page_alloc,#",
    "break put_on_shelf if {shelf == &shelves[1]}",
    "break #",
    "delete all",
    "delete #",
    "delete #1",
    "watch #,#",
    "watch {shelves[2].weight}",
    "watch/ap #,#",
    "hwatch/r shelves,4",
    "dwatch #",
    "stop exception #",
    "stop interrupt",
    "stop syscall #",
    "stop port #,#",
    "stop msr #,#",
    "stop text /phase/",
    "stop text /(a*)*$/ if {1}",
    "show breaks",
    "show watches",
    "x/gx $rsp,4",
    "x/i panic,#",
    "x/m #,#",
    "x/a #,#",
    "x/bxgdsc #,#",
    "x/Px #,#",
    "xf",
    "xb",
    "",
    "print # + # << #",
    "p/c #",
    "p/p {shelves}",
    "print/x {workers}",
    "p #/#*#%#",
    "search/h panic 4855",
    "search/b # # #,#",
    "pte #",
    "write # #",
    "whatis {*shelves}",
    "trace",
    "trace ,#",
    "bt #,#",
    "alltrace",
    "thread #",
    "thread 1",
    "frame #",
    "show locals",
    "show registers",
    "show all cpus",
    "show sysregs",
    "show idt",
    "ps",
    "dmesg ,#",
    "show console ,#",
    "set $radix #",
    "capture show",
];

/// More of them: the prompt itself.
const SESSION: [&str; 16] = [
    "set $maxwidth #",
    "set $lines #",
    "set $maxoff #",
    "set $work31 #",
    "set $work32 #",
    "set $tabstops #",
    "script a=p 1; run a; run b",
    "script b=run a; x; run a",
    "run a",
    "run b",
    "unscript a",
    "scripts",
    "capture on",
    "capture off",
    "help",
    "digest",
];

/// What nests, or goes on: what it begins with, what is repeated, what is in the middle, what closes each.
const DEEP: [[&str; 4]; 22] = [
    ["p ", "(", "1", ")"],
    ["p ", "-", "1", ""],
    ["p ", "*", "0", ""],
    ["p ", "!", "1", ""],
    ["p ", "1+", "1", ""],
    ["p ", "1<<", "1", ""],
    ["p ", "{", "1", "}"],
    ["p {", "(", "1", ")}"],
    ["p {", "*", "shelves}", ""],
    ["p {", "1+", "1}", ""],
    ["p {", "1?", "1", ":1}"],
    ["p {shelves", ".books", "}", ""],
    ["p {shelves", "->next", "}", ""],
    ["p {shelves", "[0]", "}", ""],
    ["p {", "(int)", "1}", ""],
    ["p {", "sizeof ", "1}", ""],
    ["p {(int", "*", ")0}", ""],
    ["p {(int", "[2]", ")0}", ""],
    ["seek @/", "(", "a", ")"],
    ["", "show ", "all", ""],
    ["x/", "x", " panic", ""],
    ["p ", "1 ", "1", ""],
];

/// So many lines, none of which ends in a line feed or leaves the prompt.
#[must_use]
pub fn lines(dice: &mut Dice, count: usize, scope: Scope) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let mut line = line(dice);
        line.retain(|byte| *byte != b'\n');
        if !leaves(&line) && (scope == Scope::Anywhere || !travels(&line)) {
            lines.push(line);
        }
    }
    lines
}

/// One line; it may be one that leaves.
pub(super) fn line(dice: &mut Dice) -> Vec<u8> {
    match dice.below(20) {
        0..=3 => {
            let words: Vec<&str> = (0..1 + dice.below(7)).map(|_| dice.pick(&PIECES)).collect();
            words.join(dice.pick(&["", " "])).into_bytes()
        }
        4..=6 => right(dice).into_bytes(),
        7..=13 => {
            let mut line = right(dice).into_bytes();
            mutate(&mut line, &PIECES, dice);
            line
        }
        14..=17 => {
            let command = dice.pick(&[
                "p",
                "p/p",
                "whatis",
                "watch",
                "last",
                "first",
                "writes",
                "break panic if",
                "p 1 +",
            ]);
            let depth = 1 + dice.below(4) as u32;
            format!("{command} {{{}}}", expression(depth, dice)).into_bytes()
        }
        18 => {
            let [start, open, middle, close] = DEEP[dice.below(DEEP.len() as u64) as usize];
            let times = length(dice);
            format!("{start}{}{middle}{}", open.repeat(times), close.repeat(times)).into_bytes()
        }
        _ => {
            let times = length(dice);
            format!("{}{}", right(dice), dice.pick(&PIECES).repeat(times)).into_bytes()
        }
    }
}

/// A right line with numbers in it.
fn right(dice: &mut Dice) -> String {
    let list: &[&str] = if dice.below(8) == 0 { &SESSION } else { &RIGHT };
    let mut line = String::new();
    for piece in dice.pick(list).split_inclusive('#') {
        match piece.strip_suffix('#') {
            Some(before) => line = line + before + dice.pick(&EDGES),
            None => line += piece,
        }
    }
    line
}

/// Whether there is a word in it that could leave the prompt, or wait for a gdb.
fn leaves(line: &[u8]) -> bool {
    // A backslash within a word is not part of it.
    let text = String::from_utf8_lossy(line).replace('\\', "");
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| ["q", "qu", "qui", "quit", "exi", "exit", "gd", "gdb"].contains(&word))
}

/// Whether it could be a command that replays much, by how it begins.
fn travels(line: &[u8]) -> bool {
    const BEGINNINGS: [&str; 11] = ["ex", "wr", "ca", "f", "la", "u", "n", "c", "r", "m", "s"];
    let text = String::from_utf8_lossy(line);
    let word = text.trim_start().trim_start_matches('\\');
    let looks = ["se @", "seek @", "set", "show", "scripts", "ma", "ma"];
    BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
        && !looks.iter().any(|beginning| word.starts_with(beginning))
}
