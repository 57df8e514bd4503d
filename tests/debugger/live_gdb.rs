//! The real gdb on a guest that is running.

use crate::support::program::{Ran, Sandbox};
use harness::guests;
use std::path::Path;

/// Boots the demonstration kernel with `options` beside `then`.
fn beside_a_guest(sandbox: &Sandbox, options: &str, then: &str) -> Ran {
    beside(sandbox, &guests::built("demo"), options, then)
}

/// Boots `kernel` with `options`, gdb's socket being `$SOCKET`; runs `then` in a shell beside it, which finds the guest's number
/// in `$guest` and the kernel's file in `$KERNEL`; and prints all that was said.
fn beside(sandbox: &Sandbox, kernel: &Path, options: &str, then: &str) -> Ran {
    let socket = sandbox.file("gdb socket");
    let ran = sandbox.script(&format!(
        "exec 2>&1\n\
         KERNEL='{}' SOCKET='{}'\n\
         \"$VKERNEL\" boot --clock virtual --gdb=\"$SOCKET\" {options} \"$KERNEL\" </dev/null >console 2>said & guest=$!\n\
         while ! grep -q 'target remote' said && kill -0 $guest; do sleep 0.02; done\n\
         {then}\n\
         wait $guest; echo \"status $?\"; cat said",
        kernel.display(),
        socket.display()
    ));
    ran.expect(0, &[]);
    ran
}

/// A run of gdb with these commands.
fn gdb(sandbox: &Sandbox, name: &str, commands: &str) -> String {
    let script = sandbox.write(name, commands);
    format!(
        "gdb -nx -batch -ex 'set architecture i386:x86-64' -ex \"symbol-file $KERNEL\" -ex \"target remote $SOCKET\" -x '{}'",
        script.display()
    )
}

#[test]
fn gdb_goes_forwards_and_back_in_a_live_guest_and_what_it_writes_replays() {
    let sandbox = Sandbox::new();
    let session = gdb(
        &sandbox,
        "session",
        "bt 1\n\
         info threads\n\
         set $entry = $icount\n\
         set var workers[1].number = 7\n\
         watch shelves[1].weight\n\
         continue\n\
         continue\n\
         reverse-continue\n\
         printf \"later %d\\n\", $icount > $entry\n\
         reverse-stepi\n\
         monitor when\n\
         monitor seek @start\n\
         maintenance flush register-cache\n\
         printf \"start %d\\n\", $icount == 0\n\
         continue\n\
         printf \"again %d\\n\", $icount > $entry\n\
         reverse-continue\n\
         print page_alloc()\n\
         monitor drop\n\
         delete\n\
         detach\n",
    );
    let ran = beside_a_guest(&sandbox, "-U --stop-at put_on_shelf --append fixed", &session);
    super::expect_in_order(
        &ran,
        &[
            "#0  put_on_shelf (shelf=shelf@entry=",
            "vCPU 0",
            "vCPU 1",
            "Hardware watchpoint 1: shelves[1].weight",
            "Old value = 0",
            "Old value = ",
            "Old value = ",
            "later 1",
            "% of @",
            "start 1",
            "again 1",
            "Old value = ",
            "$1 = (void *) 0xffff8",
            "Stopped at",
            "(gdb has not seen that",
            "detached]",
            "status 0",
            "the guest stands at @",
            "power off at @",
        ],
    );
    sandbox.run(["trace", "verify", "--full", "latest"]).expect(0, &[]);
    let events = sandbox.run(["trace", "events", "latest"]);
    assert_eq!(events.stdout.matches("operator wrote").count(), 1, "the call was in a diversion: {events}");
}

#[test]
fn control_c_stops_a_running_guest_and_another_gdb_can_follow() {
    let sandbox = Sandbox::new();
    // A watchdog of gdb's own process sends it SIGINT, as a terminal would.
    let first = gdb(&sandbox, "first", "continue\nprintf \"stopped %d\\n\", $icount > 0\ndetach\n");
    let second = gdb(&sandbox, "second", "printf \"second %d\\n\", $icount > 0\nkill\n");
    let then = format!("{first} & gdb=$!; sleep 2; kill -INT $gdb; wait $gdb\n{second}");
    let ran = beside_a_guest(&sandbox, "--append 'fixed rounds=100000000'", &then);
    super::expect_in_order(
        &ran,
        &["received signal SIGINT", "stopped 1", "detached]", "second 1", "killed]", "status 0", "quit at @"],
    );
    sandbox.run(["replay", "latest"]).expect(0, &[]);
}

#[test]
fn a_guest_that_is_not_to_be_written_to_is_not() {
    let sandbox = Sandbox::new();
    let session = gdb(&sandbox, "session", "set var shelves[0].weight = 7\nkill\n");
    let ran = beside_a_guest(
        &sandbox,
        "--stop-at put_on_shelf",
        &format!("{session}; {}", gdb(&sandbox, "end", "kill\n")),
    );
    super::expect_in_order(&ran, &["Cannot access memory at address"]);
}

#[test]
fn a_function_that_ran_before_its_name_was_known_is_stopped_at() {
    let sandbox = Sandbox::new();
    let commands = "monitor trace ,1\nmonitor continue @+10\nmonitor when\nkill\n";
    // Debian's kernel has no symbols but those that it unpacks.
    let session = gdb(&sandbox, "session", commands).replace("-ex \"symbol-file $KERNEL\" ", "");
    let options = "--initrd none --stop-at x86_64_start_kernel";
    let ran = beside(&sandbox, &guests::debian().kernel, options, &session);
    super::expect_in_order(&ran, &["#0 x86_64_start_kernel+0x0/", "% of @", "killed]", "status 0"]);
}

#[test]
fn a_guest_stops_at_the_event_that_was_named() {
    for (event, expected) in [
        ("put_on_shelf,2", "put_on_shelf (shelf="),
        ("'interrupt'", "trap_stubs ("),
        ("'port 3f8'", "outb ("),
        ("'@/phase 2 of/'", "serial_"),
        ("@1_000_000", "at 1000000"),
        ("@0.01s", "time 10"),
    ] {
        let sandbox = Sandbox::new();
        let commands = "bt 1\nprintf \"at %lu\\n\", $icount\nmonitor when\nmonitor p/d $icount\nkill\n";
        let ran =
            beside_a_guest(&sandbox, &format!("--stop-at {event}"), &gdb(&sandbox, "session", commands));
        let text = ran.stdout.replace("guest time 0.010", "time 10");
        assert!(text.contains(expected), "--stop-at {event} should stop where there is {expected}: {ran}");
    }
    let sandbox = Sandbox::new();
    sandbox
        .run(["boot", "--stop-at", "nobody", "--gdb=localhost:0", "demo:"])
        .expect(129, &["--stop-at nobody: Symbol `nobody` not found"]);
    sandbox.run(["boot", "--stop-at", "panic", "demo:"]).expect(129, &["--stop-at needs a terminal"]);
    sandbox
        .run(["explore", "--", "--gdb", "demo:"])
        .expect(129, &["--gdb in BOOT-ARGS: what fails is recorded"]);
    sandbox.run(["boot", "--gdb=localhost:99999", "demo:"]).expect(255, &["--gdb localhost:99999"]);
}
