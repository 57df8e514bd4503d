//! Holds the worked example of `docs/trace-format.md` against what the writer writes, byte for byte.

use crate::testing::{meta, power_off, power_on};
use crate::{ConsoleState, Event, Tail, TraceReader, TraceWriter};
use boundary::{Icount, Input, Landmark, LandmarkKind, Mark};
use std::path::Path;

/// The bytes in the blocks marked `hex` of the page: what stands between the offset and the bar of each line.
fn documented() -> Vec<u8> {
    let page = include_str!("../../docs/trace-format.md");
    let blocks = page.split("```").filter_map(|block| block.strip_prefix("hex\n"));
    let mut bytes = Vec::new();
    for line in blocks.flat_map(str::lines) {
        let (offset, rest) = line.split_once(' ').unwrap();
        assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "{line}");
        let hex = rest.split('|').next().unwrap().split_whitespace();
        bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

fn written() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("example.vkt");
    let mut writer = TraceWriter::create(&path, &power_on(b"kernel"), &meta(1_795_230_855)).unwrap();
    let timer = |registers_hash, reads_hash| {
        Event::Landmark(Landmark {
            kind: LandmarkKind::Timer,
            vcpu: 0,
            vector: 0xec,
            registers_hash,
            reads_hash,
        })
    };
    let mut console = ConsoleState::default();
    console.absorb(b"login: ");
    let mark = |icount, seq| Mark { icount: Icount(icount), seq };
    writer.event(mark(1000, 0), &timer(0x1111_1111, 0x2222_3333)).unwrap();
    writer.event(mark(251_000, 2), &timer(0x4444_4444, 0x5555_6666)).unwrap();
    writer.event(mark(251_000, 3), &Event::Console(console)).unwrap();
    writer.flush().unwrap();
    writer.event(mark(300_000, 0), &Event::Input(Input::Console(b"ls\n".to_vec()))).unwrap();
    let mut end = power_off(mark(400_000, 0));
    end.console = console;
    writer.finish(&end).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn the_documented_bytes_are_the_written_bytes() {
    let (documented, written) = (documented(), written());
    let differs = documented.iter().zip(&written).position(|(a, b)| a != b);
    assert_eq!((differs, documented.len()), (None, written.len()), "written: {written:02x?}");
}

#[test]
fn the_documented_bytes_are_a_trace() {
    let reader = TraceReader::from_bytes(Path::new("example.vkt"), documented()).unwrap();
    assert_eq!(reader.tail(), Tail::Complete);
    assert_eq!(reader.events().filter_map(Result::ok).count(), 4);
}
