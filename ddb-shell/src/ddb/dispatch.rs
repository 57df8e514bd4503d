//! From a line to a command: names, unique prefixes, modifiers, addresses, counts, and the empty line.

use super::commands::{COMMANDS, Command, Repeats};
use super::expr::{self, ExprError, Scope};
use super::hints::no_such_command;
use super::lexer::{Lexer, Token};
use super::{CommandError, Ddb};
use std::fmt::Write as _;

/// What follows a command.
pub struct Arguments<'t> {
    /// What follows a slash directly behind its name.
    pub modifier: Option<&'t str>,
    /// The rest.
    pub lexer: Lexer<'t>,
    /// The line is empty: the command is repeated.
    pub is_repeated: bool,
}

/// `[address][,count]`
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Dot if none was given.
    pub address: u64,
    /// Whether one was given.
    pub is_given: bool,
    /// The count, if one was given.
    pub count: Option<u64>,
}

impl Scope for Ddb<'_> {
    fn symbol(&self, name: &str) -> Option<u64> {
        let symbols = self.debugger.symbols();
        // BSD's `table:symbol`: a module is a table, everything else that stands there is the kernel.
        match name.rsplit_once(':') {
            Some((table, name)) => symbols.address_in(table.trim_end_matches(':'), name),
            None => symbols.address_of(name),
        }
    }

    fn variable(&self, name: &str) -> Option<u64> {
        Ddb::variable(self, name)
    }

    fn load(&self, vaddr: u64) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let read = self.debugger.machine().peek_virtual(self.debugger.vcpu, vaddr, &mut bytes);
        read.map(|()| u64::from_le_bytes(bytes)).map_err(|error| error.to_string())
    }

    fn c_value(&self, text: &str) -> Result<u64, String> {
        self.debugger.c_value(text)
    }

    fn dot(&self) -> u64 {
        self.dot
    }

    fn next_address(&self) -> u64 {
        self.next
    }

    fn line_start(&self) -> u64 {
        self.line_start
    }

    fn last_given(&self) -> u64 {
        self.last_given
    }
}

/// What a word means among the first (or further) words of commands.
pub enum Found {
    /// This command.
    One(&'static Command),
    /// The first word of several, such as `show`.
    Table(&'static str),
    /// Nothing.
    None,
    /// The beginnings of these.
    Many(Vec<&'static str>),
}

/// The commands whose names begin with these words; the last word may be the beginning of one. Exact names win.
pub fn find(words: &[&str]) -> Found {
    let depth = words.len();
    let (last, before) = words.split_last().expect("a command has a name");
    let named = COMMANDS.iter().flat_map(|command| command.names.iter().map(move |name| (*name, command)));
    let here: Vec<(&'static str, &'static str, &'static Command)> = named
        .filter(|(name, _)| name.split(' ').take(depth - 1).eq(before.iter().copied()))
        .filter_map(|(name, command)| Some((name.split(' ').nth(depth - 1)?, name, command)))
        .filter(|(word, ..)| word.starts_with(last))
        .collect();
    let exact: Vec<_> = here.iter().copied().filter(|(word, ..)| word == last).collect();
    let candidates = if exact.is_empty() { here } else { exact };
    let mut words: Vec<&'static str> = candidates.iter().map(|(word, ..)| *word).collect();
    words.sort_unstable();
    words.dedup();
    let is_one_command = candidates.windows(2).all(|pair| std::ptr::eq(pair[0].2, pair[1].2));
    match (words.as_slice(), candidates.first()) {
        (_, None) => Found::None,
        ([word], Some((_, _, command))) => {
            // `show` alone, or a word that is a command and a table, such as `show all`.
            let own = candidates.iter().find(|(_, name, _)| name.split(' ').count() == depth);
            match own {
                Some((_, _, own)) => Found::One(own),
                None if is_one_command && candidates.len() == 1 && depth > 1 => Found::One(command),
                None => Found::Table(word),
            }
        }
        // Several spellings of one command.
        (_, Some((_, name, command))) if is_one_command && name.split(' ').count() == depth => {
            Found::One(command)
        }
        _ => Found::Many(words),
    }
}

impl Ddb<'_> {
    /// Executes a line; what it prints is in `out`.
    pub(super) fn execute_line(&mut self, line: &str) {
        let line = line.trim();
        let depth = self.diversion_depth();
        let result = if line.is_empty() { self.repeat() } else { self.parse_and_run(line) };
        if let Err(error) = result {
            let _ = match self.hint(line, &error) {
                Some(hint) => writeln!(self.out, "{error}; {hint}"),
                None => writeln!(self.out, "{error}"),
            };
        }
        self.say_if_diverted(depth);
    }

    fn repeat(&mut self) -> Result<(), CommandError> {
        let Some(command) = self.repeated else { return Ok(()) };
        let arguments = Arguments { modifier: None, lexer: self.lexer(""), is_repeated: true };
        self.dot = self.next;
        (command.run)(self, arguments)
    }

    /// A lexer in the radix of the moment.
    pub(super) fn lexer<'t>(&self, text: &'t str) -> Lexer<'t> {
        Lexer::new(text, self.variables.radix as u32)
    }

    pub(super) fn parse_and_run(&mut self, line: &str) -> Result<(), CommandError> {
        self.debugger.find_symbols();
        let mut lexer = self.lexer(line);
        let command = self.command(line, &mut lexer)?;
        let Some(command) = command else { return Ok(()) };
        let modifier = lexer.modifier();
        self.repeated = (command.repeats != Repeats::Never).then_some(command);
        let result = (command.run)(self, Arguments { modifier, lexer, is_repeated: false });
        if command.repeats == Repeats::Again {
            self.next = self.dot;
        }
        result
    }

    /// Reads the name of a command. `None` if a table was shown instead.
    fn command(
        &mut self,
        line: &str,
        lexer: &mut Lexer<'_>,
    ) -> Result<Option<&'static Command>, CommandError> {
        let mut words: Vec<String> = Vec::new();
        loop {
            let before = lexer.clone();
            let word = match lexer.next() {
                Ok(Token::Name(word)) => word,
                Ok(Token::Mark("?")) if words.is_empty() => "help".to_owned(),
                _ if words.is_empty() => {
                    return Err(CommandError::said("?  A line begins with a command; `help` lists them"));
                }
                _ => {
                    *lexer = before;
                    self.list_table(&words);
                    return Ok(None);
                }
            };
            words.push(word);
            let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
            match find(&borrowed) {
                Found::One(command) => {
                    // `show all procs` goes on where `show all` could end.
                    let longer = match lexer.peek() {
                        Ok(Token::Name(next)) => {
                            let mut deeper = borrowed.clone();
                            deeper.push(&next);
                            match find(&deeper) {
                                Found::One(longer) if !std::ptr::eq(longer, command) => Some(longer),
                                _ => None,
                            }
                        }
                        _ => None,
                    };
                    if longer.is_some() {
                        lexer.next()?;
                    }
                    return Ok(Some(longer.unwrap_or(command)));
                }
                Found::Table(word) => {
                    words.pop();
                    words.push(word.to_owned());
                }
                Found::None => return Err(no_such_command(&borrowed.join(" "), line)),
                Found::Many(names) => {
                    let (word, names) = (borrowed.join(" "), names.join(", "));
                    return Err(CommandError::said(format!("Ambiguous: {word} could be {names}")));
                }
            }
        }
    }

    /// Lists what can follow these words, in columns of twelve.
    fn list_table(&mut self, words: &[String]) {
        let depth = words.len();
        let names = COMMANDS.iter().flat_map(|command| command.names);
        let mut following: Vec<&str> = names
            .filter(|name| name.split(' ').take(depth).eq(words.iter().map(String::as_str)))
            .filter_map(|name| name.split(' ').nth(depth))
            .collect();
        following.sort_unstable();
        following.dedup();
        self.columns(&following);
    }

    /// Prints names in columns of twelve.
    pub(super) fn columns(&mut self, names: &[&str]) {
        let per_line = (self.variables.max_width as usize / 12).max(1);
        for line in names.chunks(per_line) {
            let line: String = line.iter().map(|name| format!("{name:<12}")).collect();
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    /// Reads `[address][,count]`, to the end of the line.
    pub(super) fn range(&mut self, arguments: &mut Arguments<'_>) -> Result<Range, CommandError> {
        let range = self.range_within(arguments)?;
        self.end(&mut arguments.lexer)?;
        Ok(range)
    }

    /// Reads `[address][,count]`.
    pub(super) fn range_within(&mut self, arguments: &mut Arguments<'_>) -> Result<Range, CommandError> {
        let lexer = &mut arguments.lexer;
        let address = expr::optional(lexer, self)?;
        let count = self.count(lexer)?;
        if let Some(address) = address {
            self.dot = address;
            self.last_given = address;
        }
        Ok(Range { address: self.dot, is_given: address.is_some(), count })
    }

    /// Reads `[,count]`.
    pub(super) fn count(&self, lexer: &mut Lexer<'_>) -> Result<Option<u64>, CommandError> {
        if !lexer.accept(",") {
            return Ok(None);
        }
        let count = expr::optional(lexer, self)?;
        count.map(Some).ok_or_else(|| CommandError::said("Count missing behind the comma"))
    }

    /// The end of the line must be here.
    pub(super) fn end(&self, lexer: &mut Lexer<'_>) -> Result<(), CommandError> {
        match lexer.peek()? {
            Token::End => Ok(()),
            _ => Err(CommandError::Surplus(lexer.rest().to_owned())),
        }
    }

    /// Reads an expression that must be there.
    pub(super) fn value(&self, lexer: &mut Lexer<'_>, what: &str) -> Result<u64, CommandError> {
        match expr::optional(lexer, self)? {
            Some(value) => Ok(value),
            None => Err(ExprError::Syntax(what.to_owned()).into()),
        }
    }

    /// Reads a decimal number, as pids and vCPUs are given whatever the radix is.
    pub(super) fn decimal(&self, lexer: &mut Lexer<'_>) -> Result<Option<u64>, CommandError> {
        lexer.set_radix(10);
        let value = expr::optional(lexer, self);
        lexer.set_radix(self.variables.radix as u32);
        Ok(value?)
    }
}
