//! Debian's stock cloud kernel with a busybox initrd: boots, is recorded, replays, and its failures are told.
//!
//! Each test boots once or twice and asserts everything about that boot, because a boot takes seconds.

mod another_make;
mod crash;
mod failures;
mod gdb;
mod inside;
mod module;
pub mod prompt;
mod shell;
mod vmcore;

use harness::{Run, Vkernel, reported_digest};

/// The latest recording replays to the same console, the same status and the same words, and `trace verify` agrees.
fn expect_the_same_again(vkernel: &Vkernel, live: &Run, words: &str) {
    live.expect_said(words);
    let replay = vkernel.run(&["replay", "latest"]);
    replay.expect_status(live.status);
    replay.expect_said("as recorded");
    if live.status != 0 {
        replay.expect_said(words);
    }
    assert!(replay.stdout == live.stdout, "the console differs: {replay}");
}

fn expect_every_digest_to_hold(vkernel: &Vkernel) {
    let verify = vkernel.run(&["trace", "verify", "--full", "latest"]);
    verify.expect_status(0);
    verify.expect_console("every landmark and digest agrees");
}

fn latest_digest(vkernel: &Vkernel) -> String {
    let info = vkernel.run(&["trace", "info", "latest"]);
    info.expect_status(0);
    reported_digest(&info)
}
