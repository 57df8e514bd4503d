//! Lines as real kernels print them, and what they mean.

use super::*;
use FailureKind::{Lockdep, Oops, Panic, Sanitizer, Stuck, Warn};

/// A console line, and the kind, severity and title it must have.
type Case = (&'static str, FailureKind, FailOn, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("[    1.402345] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
     Panic, FailOn::Panic, "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"),
    ("[    3.3][    T1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300",
     Panic, FailOn::Panic, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300"),
    ("~ # [   12.345678] Kernel panic - not syncing: sysrq triggered crash",
     Panic, FailOn::Panic, "Kernel panic - not syncing: sysrq triggered crash"),
    ("panic: bcache: block 3 is cached twice", Panic, FailOn::Panic, "panic: bcache: block 3 is cached twice"),
    ("[    5.103456][  T113] BUG: kernel NULL pointer dereference, address: 0000000000000000",
     Oops, FailOn::Oops, "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    ("[    5.103456] BUG: unable to handle page fault for address: ffffc90000115000",
     Oops, FailOn::Oops, "BUG: unable to handle page fault for address: ffffc90000115000"),
    ("[    5.103460] Oops: 0002 [#1] PREEMPT SMP NOPTI", Oops, FailOn::Oops, "Oops"),
    ("[    5.103460] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI", Oops, FailOn::Oops, "Oops"),
    ("[    5.1] general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] PREEMPT SMP",
     Oops, FailOn::Oops, "general protection fault, probably for non-canonical address 0xdead000000000122"),
    ("[    5.1] Oops: general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP",
     Oops, FailOn::Oops, "general protection fault, probably for non-canonical address 0xdead000000000122"),
    ("[    5.1] general protection fault: 0000 [#1] SMP", Oops, FailOn::Oops, "general protection fault"),
    ("[    5.103456] kernel BUG at mm/slub.c:435!", Oops, FailOn::Oops, "kernel BUG at mm/slub.c:435!"),
    ("[    5.103456] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", Oops, FailOn::Oops, "invalid opcode"),
    ("[    5.103456] divide error: 0000 [#1] SMP", Oops, FailOn::Oops, "divide error"),
    ("[    5.1] traps: PANIC: double fault, error_code: 0x0", Oops, FailOn::Oops, "traps: PANIC: double fault, error_code: 0x0"),
    ("[    5.1] BUG: scheduling while atomic: sh/123/0x00000002", Oops, FailOn::Oops, "BUG: scheduling while atomic: sh/123/0x00000002"),
    ("[    5.1] BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x1a4/0x240 [test_kasan]",
     Sanitizer, FailOn::Oops, "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x1a4/0x240 [test_kasan]"),
    ("[    5.1] BUG: KCSAN: data-race in tick_nohz_next_event / tick_sched_timer",
     Sanitizer, FailOn::Oops, "BUG: KCSAN: data-race in tick_nohz_next_event / tick_sched_timer"),
    ("[    5.1] BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143",
     Sanitizer, FailOn::Oops, "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143"),
    ("[    5.1] UBSAN: shift-out-of-bounds in lib/x.c:3:4", Sanitizer, FailOn::Warn, "UBSAN: shift-out-of-bounds in lib/x.c:3:4"),
    ("[   62.5] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
     Sanitizer, FailOn::Warn, "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
    ("[    5.1] WARNING: possible circular locking dependency detected",
     Lockdep, FailOn::Warn, "WARNING: possible circular locking dependency detected"),
    ("[    5.1] WARNING: inconsistent lock state", Lockdep, FailOn::Warn, "WARNING: inconsistent lock state"),
    ("[    5.1] WARNING: suspicious RCU usage", Lockdep, FailOn::Warn, "WARNING: suspicious RCU usage"),
    ("[    5.1] WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
     Lockdep, FailOn::Warn, "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"),
    ("[    5.1] [ BUG: Invalid wait context ]", Lockdep, FailOn::Oops, "[ BUG: Invalid wait context ]"),
    ("[  242.9] INFO: task touch:101 blocked for more than 120 seconds.",
     Stuck, FailOn::Oops, "INFO: task touch:101 blocked for more than 120 seconds."),
    ("[   48.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [modprobe:78]",
     Stuck, FailOn::Oops, "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [modprobe:78]"),
    ("[   20.1] NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
     Stuck, FailOn::Oops, "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"),
    ("[   20.1] watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1",
     Stuck, FailOn::Oops, "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1"),
    ("[   21.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
     Stuck, FailOn::Oops, "rcu: INFO: rcu_preempt self-detected stall on CPU"),
    ("[   21.1] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
     Stuck, FailOn::Oops, "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
    ("[   21.1] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
     Stuck, FailOn::Oops, "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!"),
    ("[    5.1] WARNING: CPU: 1 PID: 77 at kernel/fork.c:123 copy_process+0x1c2/0x1d40",
     Warn, FailOn::Warn, "WARNING: at kernel/fork.c:123 copy_process+0x1c2/0x1d40"),
    ("[    5.1] WARNING: kernel/fork.c:123 at copy_process+0x1c2/0x1d40, CPU#1: swapper/77",
     Warn, FailOn::Warn, "WARNING: kernel/fork.c:123 at copy_process+0x1c2/0x1d40, CPU#1: swapper/77"),
    ("\u{1b}[1;31m[    5.103456] BUG: Bad page state in process sh  pfn:1234\u{1b}[0m",
     Oops, FailOn::Oops, "BUG: Bad page state in process sh  pfn:1234"),
];

#[test]
fn lines_of_real_kernels_are_recognised_with_kind_severity_and_title() {
    for (line, kind, severity, title) in CASES {
        let message = classify(&without_prefix(line), false);
        let found = message.map(|message| (message.kind, message.severity, message.title));
        assert_eq!(found, Some((*kind, *severity, (*title).to_owned())), "{line}");
    }
}

#[test]
fn harmless_lines_mean_nothing() {
    for line in [
        "[    0.0] Linux version 6.1.0-56-cloud-amd64",
        "[    0.5] NMI watchdog: Perf NMI watchdog permanently disabled",
        "[    0.5] watchdog: Delayed init of the lockup detector failed: -19",
        "[    0.5] rcu: Hierarchical RCU implementation.",
        "[    0.5] rcu: INFO: something about a grace period",
        "[    0.5] WARNING: this line is of some program",
        "[    0.5] WARNING: arrived at home",
        "[    0.5] Warning: unable to open an initial console.",
        "[    0.5] INFO: task list is empty",
        "[    0.5] kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
        "[    0.5] Kernel panic_on_oops is off",
        "[    0.5] overflow: no",
        "[    0.5] invalid opcode in the middle of nothing",
        "[    0.5] Debug: BUG: in the middle",
        "",
        "[",
        "\u{1b}[",
    ] {
        assert_eq!(classify(&without_prefix(line), true), None, "{line}");
    }
}

#[test]
fn prefixes_of_every_kind_are_taken_off() {
    for line in [
        "words",
        "[    1.234567] words",
        "[12345.234567] words",
        "[    1.234567][    T1] words",
        "[    1.234567][   C12] words",
        "[   T12] words",
        "<4>[    1.234567] words",
        "/ # [    1.234567] words",
        "\u{1b}[0m[    1.234567] words",
    ] {
        assert_eq!(without_prefix(line), "words", "{line}");
    }
    assert_eq!(without_prefix("[ BUG: bad ]"), "[ BUG: bad ]");
    assert_eq!(without_prefix("a [1.5] b"), "a [1.5] b");
}

#[test]
fn only_panics_without_a_reason_of_their_own_are_consequences() {
    let is_consequence = |text: &str| {
        classify(&format!("Kernel panic - not syncing: {text}"), true).is_some_and(|m| m.is_consequence)
    };
    for text in [
        "Fatal exception",
        "Fatal exception in interrupt",
        "softlockup: hung tasks",
        "hung_task: blocked tasks",
    ] {
        assert!(is_consequence(text), "{text}");
    }
    assert!(!is_consequence("sysrq triggered crash") && !is_consequence("Out of memory"));
}
