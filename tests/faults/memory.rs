//! A byte of guest RAM that changes behind all bookkeeping during a replay is noticed, and located.

use crate::support::recording::Demo;
use boundary::{Icount, Mark};
use machine::{EngineKind, Interrupt};
use recorder::TraceReader;
use replay::{Divergence, Evidence, Narrowed, PlayError, Player, narrow};

const COUNTS: u64 = 6_000_000;
const STEP_COUNTS: u64 = 1_000_000;
const FLIPPED_AT: u64 = 2_500_000;
const ENGINE: EngineKind = EngineKind::Interp;

/// Replays, flips a bit of the byte at `offset` on the way, and gives what was noticed and what it came down to.
fn flip(demo: &Demo, reader: &TraceReader, full: bool, offset: usize) -> (Box<Divergence>, Narrowed) {
    let mut player = Player::new(reader, &demo.images, ENGINE, Interrupt::default()).expect("it opens");
    player.full = full;
    player.play(Mark::before(Icount(FLIPPED_AT)), &mut |_, _| {}).expect("nothing is wrong yet");
    player.machine.ram_behind_the_tracking()[offset] ^= 0x10;
    match player.play_to_end(&mut |_, _| {}) {
        Err(PlayError::Divergence(divergence)) => {
            let found =
                narrow(reader, &demo.images, ENGINE, &divergence, &player.machine).expect("it replays");
            (divergence, found)
        }
        other => panic!("a flipped byte at {offset:#x} was not noticed: {other:?}"),
    }
}

#[test]
fn a_byte_flipped_behind_the_tracking_is_caught_by_the_next_full_digest_or_the_last_one_and_located() {
    let demo = Demo::new(2);
    let directory = tempfile::tempdir().expect("a directory");
    let reader = demo.record(&directory.path().join("t.vkt"), COUNTS, STEP_COUNTS);
    // The last page of RAM, which this kernel has not come to use.
    let offset = (64 << 20) - 4096 + 123;
    for (full, place) in [(false, COUNTS), (true, 3_000_000)] {
        let (divergence, found) = flip(&demo, &reader, full, offset);
        assert!(matches!(divergence.evidence, Evidence::Digest { .. }), "{divergence}");
        assert_eq!(divergence.place.icount.0, place, "{divergence}");
        let said = found.to_string();
        assert!(
            said.contains(&format!("physical address {offset:#x} holds 0x10, should hold 0x00")),
            "{said}"
        );
        assert!(matches!(found, Narrowed::Memory { bytes: 1, .. }), "{said}");
    }
}

#[test]
fn a_flipped_byte_of_the_kernel_itself_is_caught_and_located() {
    let demo = Demo::new(1);
    let directory = tempfile::tempdir().expect("a directory");
    let reader = demo.record(&directory.path().join("t.vkt"), u64::MAX, 8_000_000);
    let mut player = Player::new(&reader, &demo.images, ENGINE, Interrupt::default()).expect("it opens");
    player.play(Mark::before(Icount(FLIPPED_AT)), &mut |_, _| {}).expect("nothing is wrong yet");
    let words = b"init: done";
    let ram = player.machine.system().mem.ram();
    let offset =
        ram.windows(words.len()).position(|window| window == words).expect("its last words are in memory");
    drop(player);
    let (_, found) = flip(&demo, &reader, false, offset);
    let Narrowed::Memory { paddr, found, expected, .. } = found else { panic!("{found}") };
    assert_eq!((paddr, found, expected), (offset as u64, b'i' ^ 0x10, b'i'));
}
