//! The loop of the prompt, over a face: a terminal with a line editor, or plain lines.

use super::commands::COMMANDS;
use super::pager;
use super::{Ddb, Words};
use crate::debugger::Why;
use std::sync::Arc;

/// How a prompt was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// By `quit`.
    Quit,
    /// The input has ended: a live guest goes on, without a debugger.
    Detached,
    /// The guest has ended.
    Ended,
}

/// What a face has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A line.
    Line(String),
    /// ^C instead of a line.
    Interrupted,
    /// The end of the input.
    Eof,
}

/// Where lines come from and text goes to.
pub trait Face {
    /// Reads a line.
    fn read(&mut self, prompt: &str, words: &Words) -> Answer;
    /// Prints.
    fn print(&mut self, text: &str);
    /// Waits for a key; `None` if there are no keys.
    fn key(&mut self) -> Option<char>;
    /// Whether there is somebody to press them.
    fn has_keys(&self) -> bool;
    /// Asks a question whose answer is yes or no.
    fn confirm(&mut self, question: &str) -> bool;
}

/// Runs the prompt until it is left. It is entered for the reason `why`; `commands` are executed first.
pub fn prompt(ddb: &mut Ddb<'_>, face: &mut dyn Face, why: &Why, commands: &[String]) -> Left {
    let entered = ddb.enter(why);
    pager::print(face, &entered, 0);
    if let Some(left) = settle(ddb, face) {
        return left;
    }
    for command in commands {
        face.print(&format!("{}{command}\n", ddb.prompt_text()));
        let printed = ddb.execute(command);
        face.print(&printed);
        if let Some(left) = settle(ddb, face) {
            return left;
        }
    }
    loop {
        let words = ddb.words();
        match face.read(&ddb.prompt_text(), &words) {
            Answer::Line(line) => {
                let printed = ddb.execute(&line);
                pager::print(face, &printed, ddb.page_lines());
            }
            Answer::Interrupted => {}
            Answer::Eof => return Left::Detached,
        }
        if let Some(left) = settle(ddb, face) {
            return left;
        }
    }
}

/// Whether the last command has left the prompt.
fn settle(ddb: &mut Ddb<'_>, face: &mut dyn Face) -> Option<Left> {
    match ddb.take_left()? {
        Left::Quit if ddb.debugger.target.is_live() => {
            face.confirm("End the guest? (y or n) ").then_some(Left::Quit)
        }
        left => Some(left),
    }
}

impl Ddb<'_> {
    /// What can be completed: commands, symbols, variables.
    pub fn words(&mut self) -> Words {
        let symbols = self.debugger.symbols();
        let count = symbols.len();
        if self.known_words.as_ref().is_none_or(|(known, _)| *known != count) {
            self.known_words = Some((count, Arc::new(symbols.names())));
        }
        let symbols = self.known_words.as_ref().map(|(_, names)| Arc::clone(names)).unwrap_or_default();
        Words { symbols }
    }
}

impl Words {
    /// What the word that ends at `at` can become: where it begins, and the candidates.
    #[must_use]
    pub fn complete(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        const CANDIDATES_MAX: usize = 200;
        let before = &line[..at];
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || "_.".contains(c)))
            .map_or(0, |index| index + before[index..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let earlier = before[..start].trim();
        if before[..start].ends_with('$') {
            return (start, self.variables(word));
        }
        // The word of a command, or a further one behind `show`.
        let names = COMMANDS.iter().flat_map(|command| command.names);
        let mut commands: Vec<String> = names
            .filter_map(|name| {
                let rest =
                    if earlier.is_empty() { name } else { name.strip_prefix(earlier)?.strip_prefix(' ')? };
                rest.split(' ').next().filter(|next| next.starts_with(word)).map(str::to_owned)
            })
            .collect();
        commands.sort_unstable();
        commands.dedup();
        if !commands.is_empty() || earlier.is_empty() {
            return (start, commands);
        }
        let first = self.symbols.partition_point(|name| name.as_str() < word);
        let found = self.symbols[first..].iter().take_while(|name| name.starts_with(word));
        (start, found.take(CANDIDATES_MAX).cloned().collect())
    }

    fn variables(&self, prefix: &str) -> Vec<String> {
        let registers = super::variables::GENERAL.iter().map(|(name, _)| *name);
        let segments = super::variables::SEGMENTS.iter().map(|(name, _)| *name);
        let own = ["radix", "maxoff", "maxwidth", "tabstops", "lines", "icount", "rip", "rflags"];
        let all = registers.chain(segments).chain(own).chain(super::commands::system::NAMES);
        let mut found: Vec<String> = all.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_by_what_can_stand_there() {
        let symbols = ["main", "main_loop", "other"].map(str::to_owned).to_vec();
        let words = Words { symbols: Arc::new(symbols) };
        assert_eq!(words.complete("conti", 5), (0, vec!["continue".to_owned()]));
        assert_eq!(words.complete("show reg", 8), (5, vec!["registers".to_owned()]));
        assert_eq!(words.complete("b mai", 5), (2, vec!["main".to_owned(), "main_loop".to_owned()]));
        assert_eq!(words.complete("p $radi", 7), (3, vec!["radix".to_owned()]));
    }
}
