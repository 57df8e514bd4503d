//! What a word at the prompt can become: commands, symbols, variables and registers; in braces, variables that can be seen
//! from the frame, and members of what stands before a `.` or `->`.

use super::commands::{COMMANDS, system};
use super::{Ddb, variables};
use std::fmt;
use std::sync::Arc;

/// More candidates than this are of no use to anybody.
const CANDIDATES_MAX: usize = 200;

/// Gives names that stand for something in an expression of C.
type Names<'w> = Box<dyn Fn(&str) -> Vec<String> + 'w>;

/// What a face completes words from.
pub struct Words<'w> {
    /// Names of symbols, sorted.
    symbols: Arc<Vec<String>>,
    /// The members of what an expression names.
    members: Names<'w>,
    /// The variables of the frame.
    locals: Names<'w>,
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("symbols", &self.symbols.len()).finish_non_exhaustive()
    }
}

impl Ddb<'_> {
    /// What can be completed where the guest stands.
    pub fn words(&mut self) -> Words<'_> {
        let symbols = self.debugger.symbols();
        let count = symbols.len();
        if self.known_words.as_ref().is_none_or(|(known, _)| *known != count) {
            self.known_words = Some((count, Arc::new(symbols.names())));
        }
        let symbols = self.known_words.as_ref().map(|(_, names)| Arc::clone(names)).unwrap_or_default();
        let debugger = &self.debugger;
        Words {
            symbols,
            members: Box::new(|text| debugger.c_members(text)),
            locals: Box::new(|_| debugger.c_locals()),
        }
    }
}

impl Words<'_> {
    /// What the word that ends at `at` can become: where it begins, and the candidates.
    #[must_use]
    pub fn complete(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = &line[..at];
        let inside = before.rfind('{').filter(|open| !before[*open..].contains('}'));
        // In C a dot stands before a member, at the prompt it is a part of some names.
        let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' && inside.is_none();
        let start = before
            .rfind(|c: char| !in_word(c))
            .map_or(0, |index| index + before[index..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        if before[..start].ends_with('$') {
            return (start, variables_with(word));
        }
        let mut found = match inside {
            Some(open) => self.in_braces(&before[open + 1..start], word),
            None => match commands_with(before[..start].trim(), word) {
                Some(commands) => commands,
                None => self.symbols_with(word),
            },
        };
        found.truncate(CANDIDATES_MAX);
        (start, found)
    }

    fn in_braces(&self, before: &str, word: &str) -> Vec<String> {
        let before = before.trim_end();
        let of = before.strip_suffix("->").or_else(|| before.strip_suffix('.'));
        let mut found = match of {
            Some(of) => (self.members)(operand(of)),
            None => [(self.locals)(word), self.symbols_with(word)].concat(),
        };
        found.retain(|name| name.starts_with(word));
        found.sort_unstable();
        found.dedup();
        found
    }

    fn symbols_with(&self, word: &str) -> Vec<String> {
        let first = self.symbols.partition_point(|name| name.as_str() < word);
        let found = self.symbols[first..].iter().take_while(|name| name.starts_with(word));
        found.take(CANDIDATES_MAX).cloned().collect()
    }
}

/// The words of a command that can follow those before; `None` where something else stands.
fn commands_with(earlier: &str, word: &str) -> Option<Vec<String>> {
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
    (!commands.is_empty() || earlier.is_empty()).then_some(commands)
}

fn variables_with(prefix: &str) -> Vec<String> {
    let registers = variables::GENERAL.iter().map(|(name, _)| *name);
    let segments = variables::SEGMENTS.iter().map(|(name, _)| *name);
    let own = ["radix", "maxoff", "maxwidth", "tabstops", "lines", "icount", "rip", "rflags"];
    let all = registers.chain(segments).chain(own).chain(system::NAMES);
    let mut found: Vec<String> = all.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
    found.sort_unstable();
    found
}

/// The expression at the end of a text that a `.` or `->` behind it would be about: names, members, calls and indices, and
/// what is in brackets, as in `a->b[2].c` and `((struct s *)p)`.
fn operand(text: &str) -> &str {
    let mut rest = text.trim_end();
    loop {
        rest = match rest.chars().next_back() {
            Some(')') => before_bracket(rest, '(', ')'),
            Some(']') => before_bracket(rest, '[', ']'),
            _ => {
                let name = rest.trim_end_matches(|c: char| c.is_alphanumeric() || "_$".contains(c));
                let shorter = name.trim_end();
                // What stands in front of a member belongs to it.
                match shorter.strip_suffix("->").or_else(|| shorter.strip_suffix('.')) {
                    Some(of) => of.trim_end(),
                    None => return text[name.len()..].trim(),
                }
            }
        };
        if rest.is_empty() || !rest.ends_with(|c: char| c.is_alphanumeric() || "_$)]".contains(c)) {
            return text[rest.len()..].trim();
        }
    }
}

/// What stands before the bracket that the last character closes; nothing if it is not there.
fn before_bracket(text: &str, open: char, close: char) -> &str {
    let mut depth = 0;
    for (index, c) in text.char_indices().rev() {
        depth += i32::from(c == close) - i32::from(c == open);
        if depth == 0 {
            return &text[..index];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_by_what_can_stand_there() {
        let symbols = ["main", "main_loop", "other"].map(str::to_owned).to_vec();
        let members = |of: &str| match of {
            "current->mm" => vec!["pgd".to_owned(), "owner".to_owned()],
            _ => Vec::new(),
        };
        let words = Words {
            symbols: Arc::new(symbols),
            members: Box::new(members),
            locals: Box::new(|_| vec!["mask".to_owned()]),
        };
        let complete = |line: &str| {
            let (start, found) = words.complete(line, line.len());
            (start, found.join(" "))
        };
        assert_eq!(words.complete("conti", 5), (0, vec!["continue".to_owned()]));
        for (line, start, found) in [
            ("show reg", 5, "registers"),
            ("b mai", 2, "main main_loop"),
            ("p $radi", 3, "radix"),
            ("p {ma", 3, "main main_loop mask"),
            ("p {x > current->mm->", 20, "owner pgd"),
            ("p {current->mm.p", 15, "pgd"),
            ("p {other->p", 10, ""),
            ("p {x} ot", 6, "other"),
        ] {
            assert_eq!(complete(line), (start, found.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_member_is_of_what_stands_right_before_it() {
        for (text, expected) in [
            ("x + a->b[i + 1].c", "a->b[i + 1].c"),
            ("(a)", "(a)"),
            ("!((struct s *)$rdi)->next", "((struct s *)$rdi)->next"),
            ("a == per_cpu(runqueues, 1).curr", "per_cpu(runqueues, 1).curr"),
            ("*p", "p"),
            ("]", "]"),
            ("", ""),
        ] {
            assert_eq!(operand(text), expected, "{text}");
        }
    }
}
