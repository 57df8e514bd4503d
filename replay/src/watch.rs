//! Watching a guest for failures: what a kernel says when it dies, and where it goes to say it.
//!
//! The words are in [`crate::messages`]; beside them stand the texts the user asked for. Works on complete lines; only
//! the text asked for by `--fail` and `--expect` may stand in an unfinished one. A timeline that knows where the
//! guest's `panic` and its like begin says when they are entered: that place is the failure's, exact to the
//! instruction, and it is known even if nothing is ever printed.

use crate::messages::{Message, classify, without_prefix};
use boundary::Mark;
use recorder::FailureKind;

/// From which severity on a message of the kernel is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FailOn {
    /// Only a panic.
    Panic,
    /// An oops or BUG too.
    #[default]
    Oops,
    /// A warning too.
    Warn,
}

/// A test of a console line: `--fail` and `--expect` come as compiled patterns of whatever kind the caller
/// has.
pub type Pattern = Box<dyn Fn(&[u8]) -> bool + Send>;

/// A failure that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The line that says so, without its time stamp.
    pub title: String,
    /// Where the kernel began to report it, else where it was printed.
    pub place: Mark,
}

/// Which report a line that is still to come belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latest {
    Failure,
    Cause,
}

/// Reads the console as it is printed.
pub struct Watch {
    fail_on: FailOn,
    fail: Option<Pattern>,
    expect: Option<Pattern>,
    line: Vec<u8>,
    expected_seen: bool,
    /// The system has said that it is Linux.
    is_linux: bool,
    has_just_said_linux: bool,
    failure: Option<Failure>,
    /// The failure is known only by the function that was entered: its own words are still to come.
    is_wordless: bool,
    /// The latest report that is no failure by itself, but may be the reason for one.
    cause: Option<Failure>,
    /// Such a report is being printed.
    cause_is_open: bool,
    /// Where functions that report were entered for the last time, until their words come.
    entered: Vec<(FailureKind, Mark)>,
    /// The next line completes a title.
    wants_next_line: Option<Latest>,
    /// The task that the report of the failure names.
    task: Option<String>,
    /// The last line that belongs to the report of the failure has been printed.
    complete: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("fail_on", &self.fail_on).field("failure", &self.failure).finish()
    }
}

/// Longest line that is kept for matching; a guest may print without ever ending a line.
const LONGEST_LINE: usize = 4096;

impl Watch {
    /// Watches for kernel messages from `fail_on` on, for `fail`, and for `expect`.
    #[must_use]
    pub fn new(fail_on: FailOn, fail: Option<Pattern>, expect: Option<Pattern>) -> Watch {
        Watch {
            fail_on,
            fail,
            expect,
            line: Vec::new(),
            expected_seen: false,
            is_linux: false,
            has_just_said_linux: false,
            failure: None,
            is_wordless: false,
            cause: None,
            cause_is_open: false,
            entered: Vec::new(),
            wants_next_line: None,
            task: None,
            complete: false,
        }
    }

    /// The guest printed `bytes` at `place`.
    pub fn print(&mut self, place: Mark, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.asked_for(place, &line);
                    self.kernel_line(place, &String::from_utf8_lossy(&line));
                }
                b'\r' => {}
                _ if self.line.len() >= LONGEST_LINE => self.line.clear(),
                _ => {
                    self.line.push(byte);
                    continue;
                }
            }
        }
        let line = std::mem::take(&mut self.line);
        self.asked_for(place, &line);
        self.line = line;
    }

    /// The kernel has logged a line that never reached the console: it counts as the kernel's words, but not as
    /// what the console showed.
    pub fn logged(&mut self, place: Mark, line: &str) {
        self.kernel_line(place, line);
    }

    /// A vCPU enters a function in which the kernel reports a failure of this kind: `Panic`, `Oops` or `Warn`.
    /// `title` is what is known of the reason.
    pub fn entered(&mut self, place: Mark, kind: FailureKind, title: &str) {
        self.entered.retain(|(entered, _)| *entered != kind);
        self.entered.push((kind, place));
        let severity = match kind {
            FailureKind::Panic => FailOn::Panic,
            FailureKind::Warn => FailOn::Warn,
            _ => FailOn::Oops,
        };
        if self.fail_on >= severity && self.failure.is_none() {
            self.failure = Some(Failure { kind, title: title.to_owned(), place });
            self.is_wordless = true;
        }
    }

    /// The user's patterns, also in a line that is not finished.
    fn asked_for(&mut self, place: Mark, line: &[u8]) {
        if let Some(expect) = &self.expect {
            self.expected_seen |= expect(line);
        }
        if let Some(fail) = &self.fail
            && self.failure.is_none()
            && fail(line)
        {
            let title = format!("`{}` matches --fail", without_prefix(&String::from_utf8_lossy(line)));
            self.failure = Some(Failure { kind: FailureKind::FailText, title, place });
        }
    }

    fn kernel_line(&mut self, place: Mark, line: &str) {
        let text = without_prefix(line);
        if text.starts_with("Linux version ") {
            self.is_linux = true;
            self.has_just_said_linux = true;
        }
        let continued = match self.wants_next_line.take() {
            Some(Latest::Failure) => self.failure.as_mut(),
            Some(Latest::Cause) => self.cause.as_mut(),
            None => None,
        };
        if let Some(report) = continued {
            report.title = format!("{}: {}", report.title.trim_end_matches(':'), text.trim());
        }
        if let Some(message) = classify(&text, self.is_linux) {
            self.reported(place, message);
        }
        if self.failure.is_some() && self.task.is_none() {
            self.task = task_in(&text).map(str::to_owned);
        }
        if text.starts_with("---[ end ") {
            self.complete |= self.failure.is_some();
            self.cause_is_open = false;
        }
    }

    fn reported(&mut self, place: Mark, message: Message) {
        let place = self.entry_of(message.kind).unwrap_or(place);
        let report = Failure { kind: message.kind, title: message.title, place };
        if message.severity > self.fail_on {
            if !(message.is_inner && self.cause_is_open) {
                self.cause = Some(report);
                self.cause_is_open = true;
                self.wants_next_line = message.wants_next_line.then_some(Latest::Cause);
            }
            return;
        }
        // A panic that follows an oops is its consequence: the oops stays the title, but the report goes on until
        // the panic is over.
        self.complete = false;
        if self.failure.is_some() && !self.is_wordless {
            return;
        }
        let cause = self.cause.take().filter(|_| message.is_consequence);
        self.wants_next_line = (message.wants_next_line && cause.is_none()).then_some(Latest::Failure);
        self.failure = Some(cause.unwrap_or(report));
        self.is_wordless = false;
    }

    /// Where the function was entered that prints messages of this kind, if it was since the last one.
    fn entry_of(&mut self, kind: FailureKind) -> Option<Mark> {
        let found = self.entered.iter().position(|(entered, _)| *entered == kind)?;
        Some(self.entered.remove(found).1)
    }

    /// From which severity on something is a failure.
    #[must_use]
    pub fn fail_on(&self) -> FailOn {
        self.fail_on
    }

    /// Whether the system has said since the last call that it is Linux.
    pub fn take_linux_banner(&mut self) -> bool {
        std::mem::take(&mut self.has_just_said_linux)
    }

    /// The first failure seen, or the report that led to it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether the words for the failure are missing so far.
    #[must_use]
    pub fn is_wordless(&self) -> bool {
        self.is_wordless
    }

    /// The task that was running when it failed, if the kernel's report names it.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// Whether the kernel has finished its report of the failure.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete || matches!(&self.failure, Some(failure) if failure.kind == FailureKind::FailText)
    }

    /// Whether the text of `--expect` is missing so far.
    #[must_use]
    pub fn misses_expected(&self) -> bool {
        self.expect.is_some() && !self.expected_seen
    }
}

/// The task in a line of a failure's report: Linux's `CPU: 1 PID: 42 Comm: kworker/1:1 Not tainted 6.1.0`
/// (lib/dump_stack.c), and the demonstration kernel's `cpu 1, thread worker1`.
fn task_in(text: &str) -> Option<&str> {
    if let Some((_, rest)) = text.split_once(" Comm: ").filter(|_| text.starts_with("CPU: ")) {
        let ends = [" Kdump: loaded", " Not tainted", " Tainted: "];
        let end = ends.iter().filter_map(|end| rest.find(end)).min()?;
        return Some(&rest[..end]);
    }
    text.strip_prefix("cpu ")?.split_once(", thread ").map(|(_, thread)| thread)
}

#[cfg(test)]
mod tests;
