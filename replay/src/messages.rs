//! What kernels print when something is wrong, as a table: pattern, kind, severity, title.
//!
//! Linux 5.10 to 6.18 (kernel/panic.c, arch/x86/kernel/{dumpstack,traps}.c, arch/x86/mm/fault.c, kernel/watchdog.c,
//! kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/locking/lockdep.c, lib/ubsan.c, mm/kasan/report.c,
//! kernel/kcsan/report.c), Xen, GNU Mach, the BSDs, and the demonstration kernel. Lines of user programs are not
//! told from the kernel's by anything but their words. Left out: other systems' oopses.

use crate::watch::FailOn;
use recorder::FailureKind;

/// What a line of a kernel means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// How bad.
    pub severity: FailOn,
    /// One line that says what happened.
    pub title: String,
    /// The next line belongs to the title.
    pub wants_next_line: bool,
    /// A line further down in a report that may have begun with a better one.
    pub is_inner: bool,
    /// A panic for no reason of its own: what was reported before is the reason.
    pub is_consequence: bool,
}

/// How a title is made of a line without its time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Title {
    /// It is the line.
    Line,
    /// The line without the error code, counter and configuration at its end: `: 0000 [#1] PREEMPT SMP NOPTI`.
    WithoutErrorCode,
    /// `WARNING: CPU: 1 PID: 2 at FILE:LINE function`, without processor and process.
    Warning,
    /// The line and the one after it.
    WithNextLine,
}

/// Whose words they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Linux,
    /// Of systems that are not Linux: under Linux a user program may say this.
    Others,
}

struct Row {
    starts: &'static str,
    kind: FailureKind,
    severity: FailOn,
    title: Title,
    whose: Whose,
    is_inner: bool,
}

const fn row(starts: &'static str, kind: FailureKind, severity: FailOn) -> Row {
    Row { starts, kind, severity, title: Title::Line, whose: Whose::Linux, is_inner: false }
}

impl Row {
    const fn title(self, title: Title) -> Row {
        Row { title, ..self }
    }

    const fn inner(self) -> Row {
        Row { is_inner: true, ..self }
    }

    const fn of_others(self) -> Row {
        Row { whose: Whose::Others, ..self }
    }
}

use FailOn::{Oops as SeverityOops, Panic as SeverityPanic, Warn as SeverityWarn};
use FailureKind::{Lockdep, Oops, Panic, Sanitizer, Stuck, Warn};

/// The first row that fits counts, so the special ones stand before the general ones.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("Kernel panic - not syncing", Panic, SeverityPanic),
    row("panic: ", Panic, SeverityPanic).of_others(),
    row("panic {cpu", Panic, SeverityPanic).of_others(),
    row("(XEN) Panic on CPU ", Panic, SeverityPanic).of_others().title(Title::WithNextLine),

    row("BUG: KASAN: ", Sanitizer, SeverityOops),
    row("BUG: KCSAN: ", Sanitizer, SeverityOops),
    row("BUG: KMSAN: ", Sanitizer, SeverityOops),
    row("BUG: KFENCE: ", Sanitizer, SeverityOops),
    row("UBSAN: ", Sanitizer, SeverityWarn).title(Title::WithNextLine),
    row("kmemleak: ", Sanitizer, SeverityWarn),

    row("watchdog: BUG: soft lockup - CPU#", Stuck, SeverityOops),
    row("NMI watchdog: BUG: soft lockup - CPU#", Stuck, SeverityOops),
    row("BUG: soft lockup - CPU#", Stuck, SeverityOops),
    row("BUG: workqueue lockup - pool", Stuck, SeverityOops),
    row("watchdog: Watchdog detected hard LOCKUP on cpu", Stuck, SeverityOops),
    row("NMI watchdog: Watchdog detected hard LOCKUP on cpu", Stuck, SeverityOops),
    row("Watchdog detected hard LOCKUP on cpu", Stuck, SeverityOops),
    row("watchdog: CPU", Stuck, SeverityOops),
    row("INFO: task ", Stuck, SeverityOops),
    row("rcu: INFO: ", Stuck, SeverityOops),
    row("INFO: rcu_", Stuck, SeverityOops),

    row("BUG: MAX_LOCK", Lockdep, SeverityWarn),
    row("BUG: MAX_STACK_TRACE_ENTRIES", Lockdep, SeverityWarn),
    row("[ BUG: ", Lockdep, SeverityOops),
    row("WARNING: possible ", Lockdep, SeverityWarn),
    row("WARNING: inconsistent lock state", Lockdep, SeverityWarn),
    row("WARNING: bad unlock balance detected", Lockdep, SeverityWarn),
    row("WARNING: bad contention detected", Lockdep, SeverityWarn),
    row("WARNING: held lock freed", Lockdep, SeverityWarn),
    row("WARNING: lock held when returning to user space", Lockdep, SeverityWarn),
    row("WARNING: Nested lock was not taken", Lockdep, SeverityWarn),
    row("WARNING: suspicious RCU usage", Lockdep, SeverityWarn),
    row("WARNING: SOFTIRQ-", Lockdep, SeverityWarn),
    row("WARNING: HARDIRQ-", Lockdep, SeverityWarn),
    row("WARNING: RECLAIM_FS-", Lockdep, SeverityWarn),
    row("INFO: trying to register non-static key", Lockdep, SeverityWarn),

    row("kernel BUG at ", Oops, SeverityOops),
    row("BUG: ", Oops, SeverityOops),
    row("Unable to handle kernel ", Oops, SeverityOops),
    row("PANIC: double fault", Oops, SeverityOops),
    row("traps: PANIC: double fault", Oops, SeverityOops),
    row("Internal error: ", Oops, SeverityOops).inner(),
    row("general protection fault", Oops, SeverityOops).title(Title::WithoutErrorCode),
    row("Oops: ", Oops, SeverityOops).title(Title::WithoutErrorCode).inner(),
    row("WARNING: CPU: ", Warn, SeverityWarn).title(Title::Warning),
];

/// Exceptions whose report is their name, an error code and a counter: `divide error: 0000 [#1] SMP`.
const EXCEPTIONS: [&str; 12] = [
    "divide error",
    "int3",
    "overflow",
    "bounds",
    "invalid opcode",
    "invalid TSS",
    "segment not present",
    "stack segment",
    "alignment check",
    "double fault",
    "simd exception",
    "Bad pagetable",
];

/// Panics that follow from something reported before, after `Kernel panic - not syncing: `.
const CONSEQUENCES: [&str; 12] = [
    "Fatal exception",
    "kernel: panic_on_warn set",
    "panic_on_warn set",
    "KASAN: panic_on_warn set",
    "UBSAN: panic_on_warn set",
    "KCSAN: panic_on_warn set",
    "kasan.fault=panic set",
    "softlockup: hung tasks",
    "hung_task: blocked tasks",
    "Hard LOCKUP",
    "RCU Stall",
    "Attempted to kill",
];

/// What a line means, if it means a failure. `text` has no time stamp any more; `is_linux` says that this system
/// has said that it is Linux.
#[must_use]
pub fn classify(text: &str, is_linux: bool) -> Option<Message> {
    let found =
        ROWS.iter().find(|row| text.starts_with(row.starts) && (row.whose == Whose::Linux || !is_linux));
    if let Some(row) = found {
        return is_meant(row, text).then(|| message(row, text));
    }
    if let Some(exception) = EXCEPTIONS.iter().find(|name| text.starts_with(**name)) {
        let row = row(exception, Oops, SeverityOops).title(Title::WithoutErrorCode).inner();
        return has_error_code(text).then(|| message(&row, text));
    }
    is_located_warning(text).then(|| message(&row("WARNING: ", Warn, SeverityWarn), text))
}

fn message(row: &Row, text: &str) -> Message {
    let panic = text.strip_prefix("Kernel panic - not syncing: ").unwrap_or_default();
    Message {
        kind: row.kind,
        severity: row.severity,
        title: title(row.title, text),
        wants_next_line: row.title == Title::WithNextLine,
        is_inner: row.is_inner,
        is_consequence: CONSEQUENCES.iter().any(|start| panic.starts_with(start)),
    }
}

/// Rows whose beginning alone is too little to go by.
fn is_meant(row: &Row, text: &str) -> bool {
    match row.starts {
        "INFO: task " => {
            text.contains(" blocked for more than ") || text.contains(" blocked in I/O wait for ")
        }
        "rcu: INFO: " | "INFO: rcu_" => text.contains("stall"),
        "watchdog: CPU" => text.contains("Watchdog detected hard LOCKUP"),
        "kmemleak: " => text.contains("new suspected memory leaks"),
        "UBSAN: " => text.contains(" in "),
        _ => true,
    }
}

fn title(title: Title, text: &str) -> String {
    match title {
        Title::Line | Title::WithNextLine => text.trim_end().to_owned(),
        Title::WithoutErrorCode => {
            let end = error_code_at(text).unwrap_or(text.len());
            // From 6.11 on `Oops: ` stands before the exception's name.
            let text = &text[..end];
            text.strip_prefix("Oops: ").filter(|rest| !rest.is_empty()).unwrap_or(text).trim_end().to_owned()
        }
        Title::Warning => match text.split_once(" at ") {
            Some((_, place)) => format!("WARNING: at {}", place.trim_end()),
            None => text.trim_end().to_owned(),
        },
    }
}

fn has_error_code(text: &str) -> bool {
    error_code_at(text).is_some()
}

/// Where `: 0000 [#1]` begins.
fn error_code_at(text: &str) -> Option<usize> {
    let counter = text.find(" [#")?;
    let at = text[..counter].rfind(": ")?;
    let code = &text[at + 2..counter];
    (code.len() >= 4 && code.chars().all(|digit| digit.is_ascii_hexdigit())).then_some(at)
}

/// `WARNING: kernel/fork.c:123 at copy_process+0x1/0x2, CPU#0: swapper/1`, as Linux says it from 6.18 on.
fn is_located_warning(text: &str) -> bool {
    let Some((place, _)) = text.strip_prefix("WARNING: ").and_then(|rest| rest.split_once(" at ")) else {
        return false;
    };
    let line = place.rsplit_once(':').map(|(file, line)| (!file.contains(' '), line));
    line.is_some_and(|(is_file, line)| {
        is_file && !line.is_empty() && line.bytes().all(|c| c.is_ascii_digit())
    })
}

/// A console line without what stands before the kernel's words: escape sequences, a prompt that was there first, a
/// syslog level, time stamp and caller, as in `# <4>[    1.234567][    T1] words`.
#[must_use]
pub fn without_prefix(line: &str) -> String {
    let plain = without_escapes(line);
    let from = plain.match_indices('[').map(|(at, _)| at).find(|at| is_time_stamp(&plain[*at..]));
    let mut text = plain[from.unwrap_or(0)..].trim_start();
    for _ in 0..2 {
        let Some((stamp, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
            break;
        };
        if !stamp.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ' ' | 'T' | 'C')) {
            break;
        }
        text = after.trim_start();
    }
    text.to_owned()
}

/// Whether a text begins with `[    1.234567]`.
fn is_time_stamp(text: &str) -> bool {
    let Some((stamp, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return false };
    stamp.trim_start().split_once('.').is_some_and(|(seconds, fraction)| {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        is_number(seconds) && fraction.len() == 6 && is_number(fraction)
    })
}

/// Removes terminal sequences: `ESC [ ... letter`.
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = match after.strip_prefix('[') {
            Some(sequence) => {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic());
                end.map_or("", |end| &sequence[end + 1..])
            }
            None => after,
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests;
