//! The loop of the prompt, over a face: a terminal with a line editor, or plain lines.

use super::pager;
use super::{Ddb, Words};
use crate::debugger::Why;

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
    fn read(&mut self, prompt: &str, words: &Words<'_>) -> Answer;
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
        let text = ddb.prompt_text();
        let answer = face.read(&text, &ddb.words());
        match answer {
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
