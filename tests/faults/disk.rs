//! Full disks. A recording may end early; the guest does not, and what was written replays.

use crate::support::program::Sandbox;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_disk_that_fills_up_ends_the_recording_and_not_the_guest() {
    let sandbox = Sandbox::new();
    // The trace of this run takes more than the 8 kB that there are.
    let ran = sandbox.script_with_mounts(
        "mkdir small && mount -t tmpfs -o size=8k none small && \
         $VKERNEL -m 64m -n 4 --trace small/t.vkt demo:; status=$?; cp small/t.vkt t.vkt; exit $status",
    );
    ran.expect(
        255,
        &["recording has ended, the guest goes on: cannot write trace small/t.vkt: No space left"],
    );
    ran.expect(255, &["the recording is incomplete, what is in it replays"]);
    assert!(ran.stdout.contains("init: done"), "the guest came to its own end\n{ran}");
    let (said, ended) = (ran.stderr.find("recording has ended"), ran.stderr.find("power off at"));
    assert!(said < ended, "it is said at once\n{ran}");
    assert_eq!(ran.stderr.matches("recording has ended").count(), 1, "it is said once\n{ran}");
    sandbox
        .run(["replay", "./t.vkt"])
        .expect(0, &["did not live to write an ending", "all that is in it agrees"]);
}

#[test]
fn a_failed_guest_has_failed_even_if_its_recording_is_lost() {
    let sandbox = Sandbox::new();
    let ran = sandbox.script_with_mounts(
        "mkdir small && mount -t tmpfs -o size=4k none small && \
         $VKERNEL -m 64m -n 4 --fail 'phase 4' --trace small/t.vkt demo:",
    );
    ran.expect(1, &["recording has ended", "the guest printed what --fail asked for"]);
}

#[test]
fn a_file_size_limit_is_as_a_full_disk() {
    let sandbox = Sandbox::new();
    // In blocks of 512 bytes.
    sandbox.run(["-m", "64m", "--limit", "1ki", "demo:"]).expect(1, &[]);
    let ran = sandbox.script("ulimit -f 8; exec $VKERNEL -m 64m -n 4 --trace t.vkt demo:");
    ran.expect(255, &["recording has ended, the guest goes on", "File too large", "power off at"]);
    sandbox.run(["replay", "./t.vkt"]).expect(0, &["all that is in it agrees"]);
}

#[test]
fn a_store_without_room_for_the_kernel_is_said_before_the_guest_starts_and_keeps_nothing() {
    let sandbox = Sandbox::new();
    let ran = sandbox.script_with_mounts(
        "mkdir store && mount -t tmpfs -o size=64k none store && $VKERNEL -m 64m demo:; status=$?; \
         find store -type f; exit $status",
    );
    ran.expect(255, &["No space left", "--no-record runs without a recording", "VKERNEL_DIR"]);
    assert_eq!(ran.stdout, "", "neither a trace nor half an image\n{ran}");
}

#[test]
fn a_console_that_cannot_be_written_ends_the_run_with_the_reason() {
    let sandbox = Sandbox::new();
    sandbox
        .script("exec $VKERNEL -m 64m demo: >/dev/full")
        .expect(255, &["stdout cannot be written: No space left"]);
    sandbox
        .script("exec $VKERNEL replay >/dev/full")
        .expect(255, &["stdout cannot be written: No space left"]);
    sandbox.script("exec $VKERNEL trace info >/dev/full").expect(255, &["cannot write to stdout"]);
}

#[test]
fn a_recording_is_its_owners_alone() {
    let sandbox = Sandbox::new();
    sandbox.script("umask 0; $VKERNEL -m 64m demo:; $VKERNEL trace pack latest -o p.vkt").expect(0, &[]);
    let mode = |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    for folder in ["", "traces", "images"] {
        assert_eq!(mode(&sandbox.store().join(folder)), 0o700, "{folder}");
    }
    let images = std::fs::read_dir(sandbox.store().join("images")).expect("images").flatten();
    let files =
        sandbox.traces().into_iter().chain(images.map(|entry| entry.path())).chain([sandbox.file("p.vkt")]);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
