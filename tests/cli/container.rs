//! Where there is little: no terminal, no home, nothing to write to, no rights, process 1.

use crate::support::program::{Ran, Sandbox, VKERNEL};
use std::process::Command;

/// Without any of the variables that say where recordings live.
fn homeless(command: &mut Command) -> &mut Command {
    command.env_remove("VKERNEL_DIR").env_remove("HOME").env_remove("XDG_DATA_HOME")
}

#[test]
fn without_a_home_the_message_says_what_to_set_and_each_way_out_works() {
    let sandbox = Sandbox::new();
    let boot =
        |options: &[&str]| sandbox.run_with(["-m", "64m"].iter().chain(options).chain(&["demo:"]), homeless);
    boot(&[]).expect(255, &["no place to keep recordings", "VKERNEL_DIR", "--no-record"]);
    boot(&["--no-record"]).expect(0, &["power off"]);
    boot(&["--trace", "t.vkt"]).expect(0, &["there is no store to keep the images in", "power off"]);
    sandbox.run_with(["replay", "./t.vkt"], homeless).expect(255, &["image demo:", "--image FILE"]);
    sandbox.run_with(["ls"], homeless).expect(255, &["VKERNEL_DIR"]);
    sandbox.run_with(["demo"], homeless).expect(255, &["VKERNEL_DIR"]);
    let home = sandbox.file("home");
    sandbox.run_with(["-m", "64m", "demo:"], |command| homeless(command).env("HOME", &home)).expect(0, &[]);
    assert!(home.join(".local/share/vkernel/traces").is_dir());
}

#[test]
fn a_read_only_store_is_read_and_refused_for_recording_with_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.run(["-m", "64m", "demo:"]).expect(0, &[]);
    let read_only = "mount --bind store store && mount -o remount,bind,ro store &&";
    let ran = sandbox.script_with_mounts(&format!("{read_only} exec $VKERNEL -m 64m demo:"));
    ran.expect(
        255,
        &["Read-only file system", "set VKERNEL_DIR to a directory you can write", "--no-record"],
    );
    for reading in
        ["replay", "trace verify", "trace info", "ls", "trace events", "trace pack latest -o p.vkt"]
    {
        sandbox.script_with_mounts(&format!("{read_only} exec $VKERNEL {reading}")).expect(0, &[]);
    }
    let ran = sandbox.script_with_mounts(&format!("{read_only} exec $VKERNEL rm latest"));
    ran.expect(255, &["cannot remove", "Read-only file system"]);
}

#[test]
fn a_read_only_home_is_refused_with_what_to_do() {
    let sandbox = Sandbox::new();
    let ran = sandbox.script_with_mounts(
        "mkdir home && mount --bind home home && mount -o remount,bind,ro home && unset VKERNEL_DIR && \
         export HOME=$PWD/home && exec $VKERNEL -m 64m demo:",
    );
    ran.expect(
        255,
        &["home/.local", "Read-only file system", "set VKERNEL_DIR to a directory you can write"],
    );
}

#[test]
fn every_closed_or_odd_stream_is_survived() {
    let sandbox = Sandbox::new();
    for streams in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "</dev/null", "0</dev/zero", "<kernel.txt"] {
        sandbox.write("kernel.txt", "typed\n");
        sandbox.script(&format!("exec $VKERNEL -m 64m --limit 1Mi demo: {streams}")).expect(1, &[]);
    }
}

#[test]
fn without_a_controlling_terminal_and_as_process_1_it_runs_and_ends_by_signals() {
    let sandbox = Sandbox::new();
    let boot = format!("{VKERNEL} -m 64m demo:");
    sandbox.script(&format!("exec setsid -w {boot} </dev/null")).expect(0, &["power off"]);
    let namespace = "unshare --user --map-root-user --pid --fork";
    sandbox.script(&format!("exec {namespace} {boot}")).expect(0, &["power off"]);
    // A signal whose default action would end any other process, to process 1: 128 and its number.
    let script = "unshare --user --map-root-user --pid --fork --mount-proc sh -c \
                  'exec $VKERNEL -m 64m --engine reference demo:' & \
                  sleep 1; pid=$(pgrep -P $!); kill -USR1 $pid; wait $!; echo $?";
    let ran = sandbox.script(script);
    assert!(ran.stdout.ends_with("138\n"), "{ran}");
}

#[test]
fn an_ordinary_user_needs_no_rights() {
    let sandbox = Sandbox::new();
    // The user can neither see the directory of the tests nor the program in it; both are handed over.
    let script = format!(
        "as=; test $(id -u) = 0 && as='setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs'; \
         d=$(mktemp -d) && cp {VKERNEL} $d/vkernel && chmod 755 $d $d/vkernel && mkdir -m 777 $d/s && cd / && \
         export VKERNEL_DIR=$d/s && $as $d/vkernel -m 64m demo: && $as $d/vkernel replay; \
         status=$?; rm -rf $d; exit $status"
    );
    let ran: Ran = sandbox.script(&script);
    ran.expect(0, &["power off, as recorded"]);
}
