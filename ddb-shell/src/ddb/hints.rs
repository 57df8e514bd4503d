//! What a line may have been meant to be that makes no sense here: words of gdb, of Linux's scripts for it, of crash and of kdb,
//! and C without its braces.

use super::expr::ExprError;
use super::{CommandError, Ddb};

/// What is typed elsewhere, and the command that does it here. Of two words the second may be abbreviated, as gdb has it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("info registers", "show registers"),
    ("info all-registers", "show registers"),
    ("info locals", "show locals"),
    ("info args", "show locals"),
    ("info breakpoints", "show breaks"),
    ("info watchpoints", "show watches"),
    ("info threads", "show all cpus"),
    ("info frame", "frame"),
    ("info symbol", "print/a"),
    ("info line", "x/i"),
    ("info", "show"),
    ("backtrace", "trace"),
    ("up", "frame"),
    ("down", "frame"),
    ("stepi", "step"),
    ("si", "step"),
    ("nexti", "n"),
    ("ni", "n"),
    ("advance", "continue"),
    ("reverse-continue", "rcontinue"),
    ("reverse-stepi", "rstep"),
    ("rsi", "rstep"),
    ("reverse-step", "rnext"),
    ("reverse-nexti", "rnext"),
    ("rni", "rnext"),
    ("reverse-next", "rnext"),
    ("reverse-finish", "rfinish"),
    ("tbreak", "break"),
    ("hbreak", "break"),
    ("bp", "break"),
    ("bl", "show breaks"),
    ("bc", "delete"),
    ("rwatch", "watch/r"),
    ("awatch", "watch/a"),
    ("catch", "stop"),
    ("disassemble", "x/i"),
    ("disas", "x/i"),
    ("dis", "x/i"),
    ("md", "examine"),
    ("rd", "examine"),
    ("find", "search"),
    ("vtop", "pte"),
    ("inspect", "print"),
    ("output", "print"),
    ("struct", "whatis"),
    ("log", "dmesg"),
    ("mod", "show modules"),
    ("lsmod", "show modules"),
    ("task", "show thread"),
    ("foreach", "alltrace"),
    ("btp", "trace"),
    ("bta", "alltrace"),
    ("lx-ps", "ps"),
    ("lx-dmesg", "dmesg"),
    ("lx-lsmod", "show modules"),
    ("lx-symbols", "show modules"),
    ("detach", "quit"),
    ("kill", "quit"),
];

/// The command here that does what `line` says in another debugger.
fn here(line: &str) -> Option<&'static str> {
    let mut words = line.split(|letter: char| letter.is_whitespace() || letter == '/');
    let (first, second) = (words.next()?, words.next().unwrap_or_default());
    let is_meant = |typed: &str| match typed.split_once(' ') {
        Some((word, further)) => first == word && !second.is_empty() && further.starts_with(second),
        None => first == typed,
    };
    ELSEWHERE.iter().find(|(typed, _)| is_meant(typed)).map(|(_, command)| *command)
}

/// What is said of a line that begins with no command, but with these words.
pub(super) fn no_such_command(words: &str, line: &str) -> CommandError {
    CommandError::said(match here(line) {
        Some(command) => format!("No such command: {words}; here it is `{command}`"),
        None => format!("No such command: {words}; `help` lists them"),
    })
}

impl Ddb<'_> {
    /// What to do about a line that went wrong with `error`: perhaps it has C without braces.
    pub(super) fn hint(&self, line: &str, error: &CommandError) -> Option<String> {
        let line = line.trim_end();
        let behind_command = line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        let (from, name) = match error {
            CommandError::Expression(ExprError::Symbol(name)) => (&line[line.find(name)?..], name.as_str()),
            CommandError::Expression(ExprError::Syntax(_)) | CommandError::Surplus(_) => (behind_command, ""),
            _ => return None,
        };
        let up_to = |end: &[char]| from.split(end).next().unwrap_or_default().trim_end();
        let candidates = [from, up_to(&[',']), up_to(&[',', ' ']), name, behind_command];
        // A number or a symbol means the same in braces and outside.
        let is_meant = |text: &&str| {
            (*text == name || text.contains(['[', '.', '(', '>', '&', '*'])) && self.debugger.is_c(text)
        };
        let text = candidates.into_iter().find(is_meant)?;
        Some(format!("C stands in braces: {{{text}}}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::{Found, find};
    use super::*;

    fn is_command(line: &str) -> bool {
        let words: Vec<&str> = line.split('/').next().unwrap_or_default().split(' ').collect();
        matches!(find(&words), Found::One(_) | Found::Table(_))
    }

    #[test]
    fn every_word_of_another_debugger_leads_to_a_command_and_is_none_itself() {
        for (typed, command) in ELSEWHERE {
            assert!(is_command(command), "{command}");
            // What the lexer takes for one word ends at a minus.
            let first = typed.split(['-', ' ']).next().expect("a word");
            assert!(matches!(find(&[first]), Found::None | Found::Many(_)), "{typed} is a command");
        }
    }

    #[test]
    fn the_second_word_may_be_abbreviated() {
        assert_eq!(here("info reg rip"), Some("show registers"));
        assert_eq!(here("info b"), Some("show breaks"));
        assert_eq!(here("info"), Some("show"));
        assert_eq!(here("info nothing"), Some("show"));
        assert_eq!(here("nothing"), None);
        assert_eq!(here("disas /r main"), Some("x/i"));
        assert_eq!(here("reverse-stepi 3"), Some("rstep"));
    }
}
