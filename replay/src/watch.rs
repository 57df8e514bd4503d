//! Watching the console for failures: what a kernel says when it dies.
//!
//! Linux's words for panics, oopses and warnings (kernel/panic.c, arch/x86/kernel/dumpstack.c), and the texts
//! the user asked for. Works on complete lines; only the text asked for by `--fail` and `--expect` may stand
//! in an unfinished one.

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
    /// Where it was printed.
    pub place: Mark,
}

/// Reads the console as it is printed.
pub struct Watch {
    fail_on: FailOn,
    fail: Option<Pattern>,
    expect: Option<Pattern>,
    line: Vec<u8>,
    expected_seen: bool,
    failure: Option<Failure>,
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
            failure: None,
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
                    self.kernel_line(place, &line);
                }
                b'\r' => {}
                _ if self.line.len() >= LONGEST_LINE => self.line.clear(),
                _ => {
                    self.line.push(byte);
                    continue;
                }
            }
        }
        self.asked_for(place);
    }

    /// The user's patterns, also in a line that is not finished.
    fn asked_for(&mut self, place: Mark) {
        if let Some(expect) = &self.expect {
            self.expected_seen |= expect(&self.line);
        }
        if let Some(fail) = &self.fail
            && self.failure.is_none()
            && fail(&self.line)
        {
            let title =
                format!("`{}` matches --fail", without_time_stamp(&String::from_utf8_lossy(&self.line)));
            self.failure = Some(Failure { kind: FailureKind::FailText, title, place });
        }
    }

    fn kernel_line(&mut self, place: Mark, line: &[u8]) {
        let whole = String::from_utf8_lossy(line);
        let text = without_time_stamp(&whole);
        if let Some(expect) = &self.expect {
            self.expected_seen |= expect(line);
        }
        if let Some(fail) = &self.fail
            && self.failure.is_none()
            && fail(line)
        {
            let title = format!("`{text}` matches --fail");
            self.failure = Some(Failure { kind: FailureKind::FailText, title, place });
        }
        if let Some(kind) = classify(text, self.fail_on) {
            // A panic that follows an oops is its consequence: the oops stays the title, but the report goes
            // on until the panic is over.
            self.complete = false;
            if self.failure.is_none() {
                self.failure = Some(Failure { kind, title: text.to_owned(), place });
            }
        }
        if self.failure.is_some() && self.task.is_none() {
            self.task = task_in(text).map(str::to_owned);
        }
        self.complete |= self.failure.is_some() && text.starts_with("---[ end ");
    }

    /// The first failure seen.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
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

/// What a line of the kernel means, if it means a failure.
fn classify(text: &str, fail_on: FailOn) -> Option<FailureKind> {
    if text.starts_with("Kernel panic - not syncing") || text.starts_with("panic: ") {
        return Some(FailureKind::Panic);
    }
    const OOPS: [&str; 6] = [
        "BUG: ",
        "Oops: ",
        "kernel BUG at ",
        "general protection fault",
        "Unable to handle kernel ",
        "int3: ",
    ];
    if fail_on >= FailOn::Oops && OOPS.iter().any(|start| text.starts_with(start)) {
        return Some(FailureKind::Oops);
    }
    (fail_on >= FailOn::Warn && text.starts_with("WARNING: ")).then_some(FailureKind::Warn)
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

/// A printk line without its `[    1.234567] ` and caller prefix.
fn without_time_stamp(line: &str) -> &str {
    let mut text = line.trim_start();
    for _ in 0..2 {
        let Some(rest) = text.strip_prefix('[') else { break };
        let Some((stamp, after)) = rest.split_once(']') else { break };
        let is_stamp = stamp.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ' ' | 'T' | 'C'));
        if !is_stamp {
            break;
        }
        text = after.trim_start();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use boundary::Icount;

    fn watch_all(fail_on: FailOn, text: &str) -> Watch {
        let mut watch = Watch::new(fail_on, None, None);
        for (at, byte) in (0..).zip(text.bytes()) {
            watch.print(Mark::before(Icount(at)), &[byte]);
        }
        watch
    }

    #[test]
    fn a_panic_is_seen_with_its_title_and_place() {
        let text = "[    1.5] hello\r\n[    1.6] Kernel panic - not syncing: VFS: no root\r\n";
        let watch = watch_all(FailOn::Panic, text);
        let failure = watch.failure().expect("the panic");
        assert_eq!(failure.kind, FailureKind::Panic);
        assert_eq!(failure.title, "Kernel panic - not syncing: VFS: no root");
        assert_eq!(failure.place.icount.0 as usize, text.len() - 1);
        assert!(!watch.is_complete());
    }

    #[test]
    fn an_oops_stays_the_title_when_a_panic_follows_and_the_report_ends_with_the_panic() {
        let text = "BUG: kernel NULL pointer dereference, address: 0\n---[ end trace 0000 ]---\n";
        let mut watch = watch_all(FailOn::Oops, text);
        assert!(watch.is_complete());
        watch.print(Mark::default(), b"Kernel panic - not syncing: Fatal exception\n");
        assert!(!watch.is_complete());
        watch.print(Mark::default(), b"---[ end Kernel panic - not syncing ]---\n");
        assert!(watch.is_complete());
        assert_eq!(watch.failure().map(|failure| failure.kind), Some(FailureKind::Oops));
    }

    #[test]
    fn an_oops_is_no_failure_when_only_panics_are() {
        assert!(watch_all(FailOn::Panic, "BUG: bad\n").failure().is_none());
        assert!(watch_all(FailOn::Oops, "WARNING: CPU: 0\n").failure().is_none());
        assert!(watch_all(FailOn::Warn, "WARNING: CPU: 0\n").failure().is_some());
    }

    #[test]
    fn the_task_is_the_one_that_the_report_names() {
        let linux = "Kernel panic - not syncing: x\n\
            CPU: 0 UID: 0 PID: 1 Comm: my init Not tainted 6.12 #1\nCPU: 1 PID: 2 Comm: other Tainted: G\n";
        assert_eq!(watch_all(FailOn::Panic, linux).task(), Some("my init"));
        assert_eq!(watch_all(FailOn::Panic, "panic: y\ncpu 1, thread worker1\n").task(), Some("worker1"));
        let before = "CPU: 0 PID: 7 Comm: early Not tainted 6.1\nKernel panic - not syncing: z\n";
        assert_eq!(watch_all(FailOn::Panic, before).task(), None, "that report was of something else");
    }

    #[test]
    fn asked_for_text_is_seen_in_an_unfinished_line() {
        let contains = |word: &'static str| -> Option<Pattern> {
            Some(Box::new(move |line| String::from_utf8_lossy(line).contains(word)))
        };
        let mut watch = Watch::new(FailOn::Oops, contains("bad"), contains("login:"));
        assert!(watch.misses_expected());
        watch.print(Mark::default(), b"host login: ");
        assert!(!watch.misses_expected());
        assert!(watch.failure().is_none());
        watch.print(Mark::default(), b"bad");
        assert_eq!(watch.failure().map(|failure| failure.kind), Some(FailureKind::FailText));
    }
}
