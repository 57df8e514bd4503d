//! Two faces of the prompt: a line editor on the terminal, and plain lines for scripts and pipes.
//!
//! The editor uses /dev/tty, never stdout, which belongs to the guest's console.

use super::Words;
use super::prompt::{Answer, Face};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History};
use rustyline::validate::Validator;
use rustyline::{Behavior, CompletionType, Config, Context, Editor, Helper};
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// Lines kept from session to session.
const HISTORY_LINES: usize = 1000;

/// A line editor with history and completion.
pub struct LineEditor<W> {
    config: Config,
    /// The lines so far: each line has an editor of its own, for what it completes from is the session's meanwhile.
    history: FileHistory,
    history_file: Option<PathBuf>,
    terminal: W,
    keys: Box<dyn FnMut() -> Option<char>>,
}

/// Completes from the words of the moment.
struct Completions<'w> {
    words: &'w Words<'w>,
}

impl Completer for Completions<'_> {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.words.complete(line, at))
    }
}

impl Hinter for Completions<'_> {
    type Hint = String;
}

impl Highlighter for Completions<'_> {}
impl Validator for Completions<'_> {}
impl Helper for Completions<'_> {}

impl<W: Write> LineEditor<W> {
    /// An editor that prints to `terminal`, with the history of this file; `keys` waits for a key of the pager.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn new(
        terminal: W,
        history_file: Option<PathBuf>,
        keys: Box<dyn FnMut() -> Option<char>>,
    ) -> rustyline::Result<LineEditor<W>> {
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_LINES)?
            .auto_add_history(false)
            .build();
        let mut history = FileHistory::with_config(&config);
        if let Some(file) = &history_file {
            // The first session has none yet.
            let _ = history.load(file);
        }
        Ok(LineEditor { config, history, history_file, terminal, keys })
    }

    /// Lets a line be edited.
    fn edit(&mut self, prompt: &str, words: Option<&Words<'_>>) -> rustyline::Result<String> {
        let history = std::mem::take(&mut self.history);
        let mut editor = Editor::with_history(self.config.clone(), history)?;
        editor.set_helper(words.map(|words| Completions { words }));
        let line = editor.readline(prompt);
        self.history = std::mem::take(editor.history_mut());
        line
    }
}

impl<W: Write> Face for LineEditor<W> {
    fn read(&mut self, prompt: &str, words: &Words<'_>) -> Answer {
        match self.edit(prompt, Some(words)) {
            Ok(line) => {
                if !line.trim().is_empty()
                    && self.history.add(&line).is_ok()
                    && let Some(file) = &self.history_file
                {
                    // A history that cannot be kept is no reason to lose a session.
                    let _ = self.history.save(file);
                }
                Answer::Line(line)
            }
            Err(ReadlineError::Interrupted) => Answer::Interrupted,
            Err(_) => Answer::Eof,
        }
    }

    fn print(&mut self, text: &str) {
        // A terminal that is gone ends the session when the next line is read.
        let _ = self.terminal.write_all(text.as_bytes()).and_then(|()| self.terminal.flush());
    }

    fn key(&mut self) -> Option<char> {
        (self.keys)()
    }

    fn has_keys(&self) -> bool {
        true
    }

    fn confirm(&mut self, question: &str) -> bool {
        let answer = self.edit(question, None);
        matches!(answer, Ok(answer) if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes"))
    }
}

/// Lines from anywhere; each is shown behind its prompt, so that what comes out reads like a session.
pub struct PlainLines<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> PlainLines<R, W> {
    /// Reads lines from `input`, prints to `output`.
    pub fn new(input: R, output: W) -> PlainLines<R, W> {
        PlainLines { input, output }
    }

    fn line(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let length = self.input.read_until(b'\n', &mut bytes).ok()?;
        (length > 0).then(|| String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())
    }
}

impl<R: BufRead, W: Write> Face for PlainLines<R, W> {
    fn read(&mut self, prompt: &str, _: &Words<'_>) -> Answer {
        let Some(line) = self.line() else { return Answer::Eof };
        self.print(&format!("{prompt}{line}\n"));
        Answer::Line(line)
    }

    fn print(&mut self, text: &str) {
        // Whoever closed the output does not want it.
        let _ = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
    }

    fn key(&mut self) -> Option<char> {
        None
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn confirm(&mut self, question: &str) -> bool {
        self.print(question);
        let answer = self.line().unwrap_or_default();
        self.print(&format!("{answer}\n"));
        answer.trim().to_ascii_lowercase().starts_with('y')
    }
}
