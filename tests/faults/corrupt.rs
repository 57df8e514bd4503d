//! Truncated and flipped traces: each opens to its last good chunk or is refused with an offset. Never a panic, a hang
//! or a wrong replay. The suite tries 1,000; `VKERNEL_CORRUPTIONS=100000 cargo test --release corrupted` more.

use crate::support::recording::Demo;
use machine::{EngineKind, Interrupt};
use recorder::{Tail, TraceError, TraceReader};
use replay::{PlayError, Player, Progress};
use std::path::Path;

const CORRUPTIONS: u64 = 1000;
/// Of the run that is corrupted: short, but with every kind of event that a boot has, in many chunks.
const COUNTS: u64 = 2_000_000;
const STEP_COUNTS: u64 = 100_000;

/// Numbers that look random and are the same in every run.
fn noise(round: u64) -> u64 {
    let mut z = round.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The bytes of round `round`, and the first byte that is wrong or missing.
fn corrupted(bytes: &[u8], round: u64) -> (Vec<u8>, u64) {
    let noise = noise(round);
    let at = (noise >> 8) as usize % bytes.len();
    let mut corrupt = bytes.to_vec();
    match noise % 4 {
        0 => corrupt.truncate(at),
        // Zeros instead of what was there: a page that a host never wrote.
        1 => {
            let end = (at + 64).min(bytes.len());
            corrupt[at..end].iter_mut().for_each(|byte| *byte = !*byte);
        }
        _ => corrupt[at] ^= 1 << (noise >> 2 & 7),
    }
    (corrupt, at as u64)
}

#[test]
fn corrupted_traces_open_to_their_last_good_chunk_or_are_refused_with_an_offset() {
    let demo = Demo::new(2);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("t.vkt");
    let whole = demo.record(&path, COUNTS, STEP_COUNTS);
    assert_eq!(whole.tail(), Tail::Complete);
    let bytes = std::fs::read(&path).expect("the trace");
    let rounds = std::env::var("VKERNEL_CORRUPTIONS").ok().map(|text| text.parse().expect("a number"));
    let rounds = rounds.unwrap_or(CORRUPTIONS);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (demo, bytes) = (&demo, &bytes);
            scope.spawn(move || {
                for round in (worker..rounds).step_by(2) {
                    try_one(demo, bytes, round);
                }
            });
        }
    });
}

fn try_one(demo: &Demo, bytes: &[u8], round: u64) {
    let (corrupt, at) = corrupted(bytes, round);
    let what = format!("round {round}, from byte {at} of {}", bytes.len());
    let reader = match TraceReader::from_bytes(Path::new("t.vkt"), corrupt) {
        Ok(reader) => reader,
        Err(TraceError::NotATrace { .. }) => {
            assert!(at < 8, "{what}: not taken for a trace");
            return;
        }
        Err(error @ (TraceError::Damaged { .. } | TraceError::TooShort { .. })) => {
            assert!(error.to_string().contains("at byte "), "{what}: {error}");
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let player = Player::new(&reader, &demo.images, EngineKind::Interp, Interrupt::default());
    let mut player = player.unwrap_or_else(|error| panic!("{what}: {error}"));
    match player.play_to_end(&mut |_, _| {}) {
        Ok(Progress::Ended) => {
            assert!(matches!(reader.tail(), Tail::Open | Tail::Torn { .. }), "{what}: {:?}", reader.tail());
            assert_eq!(reader.ending(), None, "{what}");
        }
        Err(PlayError::Damaged { place, error: TraceError::Damaged { offset_bytes, .. } }) => {
            assert!(offset_bytes <= at, "{what}: the damage is said to be at {offset_bytes}");
            assert!(player.machine.mark() >= place, "{what}: replayed to {}", player.machine.mark());
            let good = reader.events().map_while(Result::ok).count();
            assert!(
                good == 0 || place > boundary::Mark::default(),
                "{what}: {good} events and nothing replayed"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}
