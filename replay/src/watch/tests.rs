//! What the watch makes of reports as kernels print them.

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

const OOPS: &str = "\
[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    3.1] #PF: supervisor write access in kernel mode
[    3.1] Oops: 0002 [#1] PREEMPT SMP NOPTI
[    3.1] ---[ end trace 0000000000000000 ]---
";

#[test]
fn a_panic_by_consequence_is_called_by_its_cause_even_if_only_panics_are_failures() {
    let text = format!("{OOPS}[    3.2] Kernel panic - not syncing: Fatal exception in interrupt\n");
    let watch = watch_all(FailOn::Panic, &text);
    let failure = watch.failure().expect("a failure");
    assert_eq!(failure.title, "BUG: kernel NULL pointer dereference, address: 0000000000000008");
    assert_eq!(failure.kind, FailureKind::Oops);
    assert_eq!(failure.place.icount.0 as usize, OOPS.find('\n').unwrap());
    assert!(watch_all(FailOn::Panic, OOPS).failure().is_none(), "an oops alone is none");
    let text = format!("{OOPS}[    3.2] Kernel panic - not syncing: VFS: no root\n");
    let title = watch_all(FailOn::Panic, &text).failure().map(|failure| failure.title.clone());
    assert_eq!(title.as_deref(), Some("Kernel panic - not syncing: VFS: no root"), "a reason of its own");
}

#[test]
fn of_several_reports_the_latest_is_the_cause() {
    let text = format!(
        "{OOPS}[    9.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [sh:17]\n\
         [    9.1] Kernel panic - not syncing: softlockup: hung tasks\n"
    );
    let failure = watch_all(FailOn::Panic, &text).failure().cloned().expect("a failure");
    assert_eq!(failure.kind, FailureKind::Stuck);
    assert_eq!(failure.title, "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [sh:17]");
}

#[test]
fn where_the_kernel_began_to_report_is_the_place() {
    let mut watch = Watch::new(FailOn::Oops, None, None);
    let at = |icount| Mark::before(Icount(icount));
    watch.entered(at(100), FailureKind::Panic, "panic was called: no %s");
    let failure = watch.failure().cloned().expect("known without a word");
    assert_eq!((failure.title.as_str(), failure.place), ("panic was called: no %s", at(100)));
    assert!(watch.is_wordless() && !watch.is_complete());
    watch.print(at(900), b"[    1.0] Kernel panic - not syncing: no root\n");
    let failure = watch.failure().cloned().expect("still");
    assert_eq!((failure.title.as_str(), failure.place), ("Kernel panic - not syncing: no root", at(100)));
    assert!(!watch.is_wordless());
}

#[test]
fn an_entry_below_the_severity_only_gives_its_report_the_place() {
    let mut watch = Watch::new(FailOn::Panic, None, None);
    let at = |icount| Mark::before(Icount(icount));
    watch.entered(at(50), FailureKind::Oops, "an oops");
    assert!(watch.failure().is_none());
    watch.print(at(60), OOPS.as_bytes());
    watch.entered(at(70), FailureKind::Panic, "panic was called");
    watch.print(at(80), b"Kernel panic - not syncing: Fatal exception\n");
    let failure = watch.failure().expect("the panic");
    assert_eq!((failure.kind, failure.place), (FailureKind::Oops, at(50)));
}

#[test]
fn a_title_may_go_on_in_the_next_line() {
    let text = "[    2.0] UBSAN: array-index-out-of-bounds in lib/x.c:12:3\n\
                [    2.0] index 5 is out of range for type 'int [4]'\n";
    let failure = watch_all(FailOn::Warn, text).failure().cloned().expect("a failure");
    assert_eq!(failure.kind, FailureKind::Sanitizer);
    assert_eq!(
        failure.title,
        "UBSAN: array-index-out-of-bounds in lib/x.c:12:3: index 5 is out of range for type 'int [4]'"
    );
    let text = "(XEN) Panic on CPU 0:\n(XEN) dom0 kernel not specified.\n";
    let failure = watch_all(FailOn::Panic, text).failure().cloned().expect("a failure");
    assert_eq!(failure.title, "(XEN) Panic on CPU 0: (XEN) dom0 kernel not specified.");
}

#[test]
fn a_program_under_linux_that_says_panic_is_no_panic() {
    assert!(watch_all(FailOn::Panic, "panic: index out of range\n").failure().is_some());
    let text = "[    0.0] Linux version 6.1.0\npanic: runtime error: index out of range\n";
    assert!(watch_all(FailOn::Warn, text).failure().is_none());
}

#[test]
fn what_was_logged_but_never_printed_gives_words_but_not_the_text_of_expect() {
    let any = || -> Option<Pattern> { Some(Box::new(|line| !line.is_empty())) };
    let mut watch = Watch::new(FailOn::Panic, None, any());
    watch.logged(Mark::default(), "[    0.1] Kernel panic - not syncing: early");
    assert_eq!(watch.failure().map(|failure| failure.kind), Some(FailureKind::Panic));
    assert!(watch.misses_expected());
}

#[test]
fn the_task_is_the_one_that_the_report_names() {
    let linux = "Linux version 6.12\nKernel panic - not syncing: x\n\
         CPU: 0 UID: 0 PID: 1 Comm: my init Not tainted 6.12 #1\nCPU: 1 PID: 2 Comm: other Tainted: G\n";
    assert_eq!(watch_all(FailOn::Panic, linux).task(), Some("my init"));
    assert_eq!(watch_all(FailOn::Panic, "panic: y\ncpu 1, thread worker1\n").task(), Some("worker1"));
    let before = "CPU: 0 PID: 7 Comm: early Not tainted 6.1\nKernel panic - not syncing: z\n";
    assert_eq!(watch_all(FailOn::Panic, before).task(), None, "that report was of something else");
}
