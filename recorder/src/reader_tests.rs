//! What a reader promises of whole, torn, damaged and growing traces.

use super::*;
use crate::TraceWriter;
use crate::info::TraceInfo;
use crate::testing::{
    any_end, any_events, blake3_u64, failure, meta, power_off, power_on, quiet_boot, stored,
};
use boundary::Icount;
use proptest::prelude::*;

/// A trace with so many events in a chunk, as bytes.
fn recorded(events: &[(Mark, Event)], per_chunk: usize, end: Option<&End>) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.vkt");
    let mut writer = TraceWriter::create(&path, &power_on(b"kernel"), &meta(5)).unwrap();
    for chunk in events.chunks(per_chunk) {
        for (mark, event) in chunk {
            writer.event(*mark, event).unwrap();
        }
        writer.flush().unwrap();
    }
    match end {
        Some(end) => writer.finish(end).unwrap(),
        None => drop(writer),
    }
    std::fs::read(path).unwrap()
}

fn open(bytes: &[u8]) -> Result<TraceReader, TraceError> {
    TraceReader::from_bytes(Path::new("t.vkt"), bytes.to_vec())
}

/// The events that can be read and the error that stopped it.
fn read(reader: &TraceReader) -> (Vec<(Mark, Event)>, Option<TraceError>) {
    let mut events = Vec::new();
    for item in reader.events() {
        match item {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_trace_reads_back_as_it_was_written(
        events in any_events(80), per_chunk in 1usize..20, end in any_end(),
    ) {
        let reader = open(&recorded(&events, per_chunk, Some(&end))).unwrap();
        prop_assert_eq!(reader.power_on(), &power_on(b"kernel"));
        prop_assert_eq!(reader.meta(), &meta(5));
        prop_assert_eq!(reader.ending(), Some(&end));
        prop_assert_eq!(reader.tail(), Tail::Complete);
        let (read, error) = read(&reader);
        prop_assert!(error.is_none());
        prop_assert_eq!(read, stored(&events));
    }

    #[test]
    fn reading_from_a_place_gives_what_lies_at_it_and_after(
        events in any_events(80), per_chunk in 1usize..9, pick: prop::sample::Index,
    ) {
        prop_assume!(!events.is_empty());
        let reader = open(&recorded(&events, per_chunk, None)).unwrap();
        let from = events[pick.index(events.len())].0;
        let expected: Vec<_> = stored(&events).into_iter().filter(|(mark, _)| *mark >= from).collect();
        let read: Vec<_> = reader.events_from(from).map(Result::unwrap).collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(reader.last_mark().unwrap(), events[events.len() - 1].0);
    }
}

#[test]
fn every_truncation_reads_up_to_its_last_whole_chunk() {
    let events = quiet_boot(300);
    let bytes = recorded(&events, 10, Some(&power_off(events[events.len() - 1].0)));
    let whole = open(&bytes).unwrap();
    let start_end = whole.start.end();
    let ends: Vec<u64> = whole.event_chunks.iter().map(ChunkRef::end).collect();
    for length in 0..bytes.len() {
        let opened = open(&bytes[..length]);
        if (length as u64) < start_end {
            let error = opened.unwrap_err();
            assert!(matches!(error, TraceError::TooShort { .. }), "{length}: {error}");
            continue;
        }
        let reader = opened.unwrap();
        let chunks = ends.iter().filter(|end| **end <= length as u64).count();
        let (read, error) = read(&reader);
        assert!(error.is_none(), "{length}");
        assert_eq!(read, events[..(chunks * 10).min(events.len())], "{length}");
        let boundary = if chunks == 0 { start_end } else { ends[chunks - 1] };
        let torn = Tail::Torn { offset_bytes: boundary };
        assert_eq!(reader.tail(), if boundary == length as u64 { Tail::Open } else { torn });
        assert_eq!(reader.ending(), None);
    }
}

#[test]
fn every_flipped_bit_is_damage_at_its_chunk_after_the_events_before_it() {
    let events = quiet_boot(120);
    let bytes = recorded(&events, 30, Some(&failure(events[events.len() - 1].0)));
    let whole = open(&bytes).unwrap();
    let mut starts: Vec<u64> = whole.event_chunks.iter().map(|chunk| chunk.offset_bytes).collect();
    starts.push(whole.end_chunk.unwrap().offset_bytes);
    for bit in 0..bytes.len() * 8 {
        let at = (bit / 8) as u64;
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match open(&flipped) {
            Err(error) => {
                assert!(at < whole.start.end(), "bit {bit}: {error}");
                assert!(
                    matches!(error, TraceError::NotATrace { .. } | TraceError::Damaged { .. }),
                    "bit {bit}"
                );
            }
            Ok(reader) => {
                let before = starts.iter().rposition(|start| *start <= at).unwrap();
                let (read, error) = read(&reader);
                assert_eq!(read.len(), (before * 30).min(events.len()), "bit {bit}");
                assert_eq!(read, events[..read.len()], "bit {bit}");
                let Some(TraceError::Damaged { offset_bytes, .. }) = error else {
                    panic!("bit {bit}: {error:?}")
                };
                assert_eq!(offset_bytes, starts[before], "bit {bit}");
            }
        }
    }
}

#[test]
fn thousands_of_random_corruptions_give_events_or_an_error() {
    let events = quiet_boot(60);
    let bytes = recorded(&events, 20, Some(&power_off(events[events.len() - 1].0)));
    for round in 0..6000u64 {
        let mut corrupt = bytes.clone();
        for change in 0..1 + round % 5 {
            let noise = blake3_u64(round * 8 + change);
            let at = (noise >> 16) as usize % corrupt.len().max(1);
            match noise % 4 {
                0 if !corrupt.is_empty() => corrupt[at] = (noise >> 8) as u8,
                1 => drop(corrupt.drain(at..(at + 40).min(corrupt.len()))),
                2 => corrupt.extend_from_within(at..),
                _ => corrupt.truncate(at),
            }
        }
        if let Ok(reader) = open(&corrupt) {
            let info = TraceInfo::of(&reader).unwrap();
            let read: Vec<_> = reader.events().map_while(Result::ok).collect();
            assert!(read.is_sorted_by_key(|(mark, _)| *mark), "round {round}");
            assert_eq!(read.len() as u64, info.events.values().sum::<u64>());
            assert_eq!(read, events[..read.len()], "round {round}: a check was passed by other bytes");
        }
    }
}

/// Checks are sound but what they guard is nonsense: what a hostile file can do and an accident cannot.
#[test]
fn well_framed_nonsense_is_an_error() {
    let mut sealer = crate::format::Sealer::new();
    let prefix = recorded(&[], 1, None);
    for round in 0..4000u64 {
        let noise = crate::image_id(&round.to_le_bytes()).0;
        // Small values first: they make headers and tags that decode for a while.
        let mut payload: Vec<u8> = noise.iter().map(|byte| byte % (1 + (round % 0x50) as u8)).collect();
        payload[0] = 0;
        let frame = sealer.seal(ChunkKind::Events, &payload);
        let reader = open(&[&prefix[..], &frame].concat()).unwrap();
        let (events, error) = read(&reader);
        assert!(events.len() <= payload.len());
        assert!(events.is_sorted_by_key(|(mark, _)| *mark));
        if let Some(error) = error {
            assert!(error.to_string().contains(&format!("at byte {}", prefix.len())), "{error}");
        }
        let end = open(&[&prefix[..], &sealer.seal(ChunkKind::End, &payload)].concat()).unwrap();
        assert!(end.ending().is_some() == (end.tail() == Tail::Complete));
    }
}

#[test]
fn chunks_that_are_repeated_or_left_out_are_noticed() {
    let events = quiet_boot(30);
    let bytes = recorded(&events, 10, None);
    let chunks = open(&bytes).unwrap().event_chunks;
    let frame = |index: usize| &bytes[chunks[index].offset_bytes as usize..chunks[index].end() as usize];
    let start = &bytes[..chunks[0].offset_bytes as usize];
    for (order, good) in [(vec![0, 2], 10), (vec![0, 1, 1], 20), (vec![1, 0, 2], 0)] {
        let mut mixed = start.to_vec();
        order.iter().for_each(|index| mixed.extend_from_slice(frame(*index)));
        let (events, error) = read(&open(&mixed).unwrap());
        assert_eq!(events.len(), good);
        assert!(error.unwrap().to_string().contains("missing or repeated"));
    }
}

#[test]
fn a_newer_version_is_named_with_ours() {
    let mut bytes = recorded(&[], 1, None);
    let header = FileHeader { version: FORMAT_VERSION + 6, packed: false }.to_bytes();
    bytes[..FILE_HEADER_BYTES].copy_from_slice(&header);
    let message = open(&bytes).unwrap_err().to_string();
    assert!(message.contains("t.vkt has format version 7"), "{message}");
    assert!(message.contains("reads versions 1 to 1"), "{message}");
}

#[test]
fn a_growing_trace_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.vkt");
    let mut writer = TraceWriter::create(&path, &power_on(b"k"), &meta(0)).unwrap();
    let mut reader = TraceReader::open(&path).unwrap();
    let events = quiet_boot(20);
    for (index, (mark, event)) in events.iter().enumerate() {
        writer.event(*mark, event).unwrap();
        writer.flush().unwrap();
        reader.refresh().unwrap();
        assert_eq!(reader.events_from(*mark).map(Result::unwrap).collect::<Vec<_>>(), events[index..=index]);
    }
    assert_eq!(reader.tail(), Tail::Open);
    writer.finish(&power_off(Mark::before(Icount(u64::MAX)))).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.tail(), Tail::Complete);
}

#[test]
fn what_is_no_trace_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("vmlinuz");
    std::fs::write(&kernel, "MZ").unwrap();
    assert!(matches!(TraceReader::open(&kernel), Err(TraceError::NotATrace { .. })));
    for odd in [directory.path(), Path::new("/dev/zero"), Path::new("/nowhere/t.vkt")] {
        let error = TraceReader::open(odd).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot open trace {}", odd.display())), "{error}");
    }
}

#[test]
fn info_counts_what_is_there() {
    let events = quiet_boot(200);
    let end = power_off(events[events.len() - 1].0);
    let bytes = recorded(&events, 50, Some(&end));
    let info = TraceInfo::of(&open(&bytes).unwrap()).unwrap();
    assert_eq!((info.landmarks(), info.events["digest"], info.event_chunks), (200, 2, 5));
    assert_eq!((info.file_bytes, info.trace_bytes), (bytes.len() as u64, bytes.len() as u64));
    assert_eq!(info.last_mark, end.mark);
    assert!(info.damage.is_none());
}
