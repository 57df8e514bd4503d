//! The bytes of events (`docs/trace-format.md`, "Events").
//!
//! A chunk of events starts with its number and the place of its first event, and has its own dictionary, so it
//! decodes without any other chunk. Then each event: a tag, its distance from the event before, and a body. The first
//! event has no distance: its place is that of the chunk.
//!
//! Landmarks are the bulk, so a landmark costs a tag, the distance and six bytes of hashes: the tag of one whose (kind,
//! vCPU, vector) was seen before in the chunk is its index in the dictionary.

use crate::bytes::{Bytes, put_blob, put_mark, put_varint};
use crate::error::Flaw;
use crate::event::{ConsoleState, Event};
use crate::format::MAX_EVENT_BYTES;
use boundary::{
    Digest, DiskStatus, External, Icount, Input, Landmark, LandmarkKind, Mark, Note, Operator, PowerEvent,
    TripleFault, TripleFaultStep, VirtualTime,
};

/// Set in a tag: the place's `seq` follows instead of being the expected one.
const EXPLICIT_SEQ: u8 = 0x80;
/// Tags from here name landmarks by dictionary index.
const DICTIONARY: u8 = 0x40;
const DICTIONARY_ENTRIES: usize = 0x40;

mod tag {
    pub const LANDMARK: u8 = 0x01;
    pub const DIGEST: u8 = 0x02;
    pub const CONSOLE_STATE: u8 = 0x03;
    pub const POWER_OFF: u8 = 0x08;
    pub const RESET: u8 = 0x09;
    pub const TRIPLE_FAULT: u8 = 0x0a;
    pub const DEBUG_EXIT: u8 = 0x0b;
    pub const CONSOLE: u8 = 0x10;
    pub const FRAME: u8 = 0x11;
    pub const WINDOW_SIZE: u8 = 0x12;
    pub const POWER_BUTTON: u8 = 0x13;
    pub const WAKE: u8 = 0x14;
    pub const DISK_STATUS: u8 = 0x15;
    pub const WRITE_MEMORY: u8 = 0x16;
    pub const WRITE_REGISTER: u8 = 0x17;
    pub const EXTERNAL_READ: u8 = 0x18;
    pub const EXTERNAL_DMA: u8 = 0x19;
    pub const EXTERNAL_INTERRUPT: u8 = 0x1a;
    pub const QUIT: u8 = 0x20;
    pub const ATTACH: u8 = 0x21;
    pub const DETACH: u8 = 0x22;
    pub const BOOKMARK: u8 = 0x23;
    pub const WALL_CLOCK: u8 = 0x24;
    pub const FAILURE: u8 = 0x25;
}

/// A landmark's (kind, vCPU, vector).
type Source = [u8; 3];

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    OutOfOrder { previous: Mark },
    TooLarge { length_bytes: usize },
}

/// Collects the events of one chunk after the other.
#[derive(Debug, Default)]
pub(crate) struct EventEncoder {
    sequence: u64,
    previous: Option<Mark>,
    dictionary: Vec<Source>,
    /// The chunk so far; empty when it has no event.
    payload: Vec<u8>,
}

impl EventEncoder {
    pub(crate) fn length_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Appends an event, or leaves everything as it was.
    pub(crate) fn push(&mut self, mark: Mark, event: &Event) -> Result<(), Refused> {
        if let Some(previous) = self.previous.filter(|previous| mark < *previous) {
            return Err(Refused::OutOfOrder { previous });
        }
        let start = self.payload.len();
        let place_at = if start == 0 {
            put_varint(&mut self.payload, self.sequence);
            put_mark(&mut self.payload, mark);
            None
        } else {
            self.previous
        };
        let tag_at = self.payload.len();
        self.payload.push(0);
        let explicit = place_at.is_some_and(|previous| put_distance(&mut self.payload, previous, mark));
        let tag = put_event(&mut self.payload, &mut self.dictionary, event);
        self.payload[tag_at] = tag | if explicit { EXPLICIT_SEQ } else { 0 };

        let length_bytes = self.payload.len() - start;
        if length_bytes > MAX_EVENT_BYTES {
            self.payload.truncate(start);
            return Err(Refused::TooLarge { length_bytes });
        }
        self.previous = Some(mark);
        Ok(())
    }

    /// Closes the chunk: its payload, or `None` if it has no events. The next one starts afresh.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        if self.payload.is_empty() {
            return None;
        }
        self.sequence += 1;
        self.dictionary.clear();
        Some(std::mem::take(&mut self.payload))
    }
}

/// The `seq` an event has unless its tag says otherwise.
fn expected_seq(previous: Mark, icount: Icount) -> Option<u32> {
    if icount == previous.icount { previous.seq.checked_add(1) } else { Some(0) }
}

/// Appends the distance of `mark` from `previous`; returns whether `seq` had to be written.
fn put_distance(bytes: &mut Vec<u8>, previous: Mark, mark: Mark) -> bool {
    put_varint(bytes, mark.icount.0 - previous.icount.0);
    let explicit = expected_seq(previous, mark.icount) != Some(mark.seq);
    if explicit {
        put_varint(bytes, mark.seq.into());
    }
    explicit
}

/// Appends the body and returns the tag.
fn put_event(bytes: &mut Vec<u8>, dictionary: &mut Vec<Source>, event: &Event) -> u8 {
    match event {
        Event::Input(input) => put_input(bytes, input),
        Event::Landmark(landmark) => put_landmark(bytes, dictionary, *landmark),
        Event::Digest(digest) => {
            bytes.extend_from_slice(&digest.0.to_le_bytes());
            tag::DIGEST
        }
        Event::Console(state) => {
            put_varint(bytes, state.length_bytes);
            bytes.extend_from_slice(&state.hash.to_le_bytes());
            tag::CONSOLE_STATE
        }
        Event::Power(power) => put_power(bytes, power),
        Event::Note(note) => put_note(bytes, note),
    }
}

fn put_landmark(bytes: &mut Vec<u8>, dictionary: &mut Vec<Source>, landmark: Landmark) -> u8 {
    let kind = match landmark.kind {
        LandmarkKind::Timer => 0,
        LandmarkKind::Ipi => 1,
        LandmarkKind::Device => 2,
        LandmarkKind::Completion => 3,
    };
    let source = [kind, landmark.vcpu, landmark.vector];
    let tag = match dictionary.iter().position(|entry| *entry == source) {
        Some(index) => DICTIONARY + index as u8,
        None => {
            bytes.extend_from_slice(&source);
            if dictionary.len() < DICTIONARY_ENTRIES {
                dictionary.push(source);
            }
            tag::LANDMARK
        }
    };
    bytes.extend_from_slice(&landmark.registers_hash.to_le_bytes());
    bytes.extend_from_slice(&(landmark.reads_hash as u16).to_le_bytes());
    tag
}

fn put_power(bytes: &mut Vec<u8>, power: &PowerEvent) -> u8 {
    match power {
        PowerEvent::Off => tag::POWER_OFF,
        PowerEvent::Reset => tag::RESET,
        PowerEvent::TripleFault(fault) => {
            bytes.push(fault.vcpu);
            put_varint(bytes, fault.steps.len() as u64);
            for step in &fault.steps {
                bytes.push(step.vector);
                bytes.push(u8::from(step.error_code.is_some()) | u8::from(step.cr2.is_some()) << 1);
                step.error_code.into_iter().for_each(|code| bytes.extend_from_slice(&code.to_le_bytes()));
                step.cr2.into_iter().for_each(|cr2| bytes.extend_from_slice(&cr2.to_le_bytes()));
                bytes.extend_from_slice(&step.rip.to_le_bytes());
                put_blob(bytes, step.reason.as_bytes());
            }
            tag::TRIPLE_FAULT
        }
        PowerEvent::DebugExit(value) => {
            bytes.extend_from_slice(&value.to_le_bytes());
            tag::DEBUG_EXIT
        }
    }
}

fn put_input(bytes: &mut Vec<u8>, input: &Input) -> u8 {
    match input {
        Input::Console(typed) => {
            put_blob(bytes, typed);
            tag::CONSOLE
        }
        Input::Frame { nic, bytes: frame } => {
            bytes.push(*nic);
            put_blob(bytes, frame);
            tag::FRAME
        }
        Input::WindowSize { columns, rows } => {
            bytes.extend_from_slice(&columns.to_le_bytes());
            bytes.extend_from_slice(&rows.to_le_bytes());
            tag::WINDOW_SIZE
        }
        Input::PowerButton => tag::POWER_BUTTON,
        Input::Wake(time) => {
            put_varint(bytes, time.0);
            tag::WAKE
        }
        Input::DiskStatus(status) => {
            bytes.push(status.disk);
            put_varint(bytes, status.request);
            bytes.extend_from_slice(&status.errno.to_le_bytes());
            tag::DISK_STATUS
        }
        Input::Operator(Operator::WriteMemory { paddr, bytes: written }) => {
            put_varint(bytes, *paddr);
            put_blob(bytes, written);
            tag::WRITE_MEMORY
        }
        Input::Operator(Operator::WriteRegister { vcpu, register, value }) => {
            bytes.extend_from_slice(&[*vcpu, *register]);
            bytes.extend_from_slice(&value.to_le_bytes());
            tag::WRITE_REGISTER
        }
        Input::External(external) => put_external(bytes, external),
    }
}

fn put_external(bytes: &mut Vec<u8>, external: &External) -> u8 {
    match external {
        External::Read { device, value } => {
            bytes.extend_from_slice(&device.to_le_bytes());
            bytes.extend_from_slice(&value.to_le_bytes());
            tag::EXTERNAL_READ
        }
        External::Dma { device, paddr, bytes: written } => {
            bytes.extend_from_slice(&device.to_le_bytes());
            put_varint(bytes, *paddr);
            put_blob(bytes, written);
            tag::EXTERNAL_DMA
        }
        External::Interrupt { device, asserted } => {
            bytes.extend_from_slice(&device.to_le_bytes());
            bytes.push((*asserted).into());
            tag::EXTERNAL_INTERRUPT
        }
    }
}

fn put_note(bytes: &mut Vec<u8>, note: &Note) -> u8 {
    match note {
        Note::Quit => tag::QUIT,
        Note::Attach => tag::ATTACH,
        Note::Detach => tag::DETACH,
        Note::Bookmark(name) => {
            put_blob(bytes, name.as_bytes());
            tag::BOOKMARK
        }
        Note::WallClock(wall_ns) => {
            put_varint(bytes, *wall_ns);
            tag::WALL_CLOCK
        }
        Note::Failure(title) => {
            put_blob(bytes, title.as_bytes());
            tag::FAILURE
        }
    }
}

/// Reads the events of one chunk.
#[derive(Debug)]
pub(crate) struct EventDecoder {
    payload: Vec<u8>,
    /// What is left of `payload`, counted from its end so that no self-reference is needed.
    remaining: usize,
    dictionary: Vec<Source>,
    /// Number of the chunk.
    pub sequence: u64,
    /// Place of its first event.
    pub base: Mark,
    previous: Option<Mark>,
}

impl EventDecoder {
    pub(crate) fn new(payload: Vec<u8>) -> Result<EventDecoder, Flaw> {
        let mut bytes = Bytes(&payload);
        let sequence = bytes.varint()?;
        let base = bytes.mark()?;
        if bytes.is_empty() {
            return Err(Flaw("a chunk of events has none"));
        }
        let remaining = bytes.0.len();
        Ok(EventDecoder { payload, remaining, dictionary: Vec::new(), sequence, base, previous: None })
    }

    /// The next event of the chunk.
    pub(crate) fn next(&mut self) -> Result<Option<(Mark, Event)>, Flaw> {
        let mut bytes = Bytes(&self.payload[self.payload.len() - self.remaining..]);
        if bytes.is_empty() {
            return Ok(None);
        }
        let tag = bytes.u8()?;
        let explicit_seq = tag & EXPLICIT_SEQ != 0;
        let mark = match self.previous {
            Some(previous) => take_place(&mut bytes, previous, explicit_seq)?,
            None if explicit_seq => return Err(Flaw("the first event of a chunk has a place of its own")),
            None => self.base,
        };
        let event = take_event(&mut bytes, &mut self.dictionary, tag & !EXPLICIT_SEQ)?;
        self.previous = Some(mark);
        self.remaining = bytes.0.len();
        Ok(Some((mark, event)))
    }
}

fn take_place(bytes: &mut Bytes<'_>, previous: Mark, explicit_seq: bool) -> Result<Mark, Flaw> {
    let icount =
        previous.icount.0.checked_add(bytes.varint()?).ok_or(Flaw("a place is beyond the last icount"))?;
    let icount = Icount(icount);
    let expected = expected_seq(previous, icount);
    let seq = if explicit_seq { Some(bytes.varint_u32()?) } else { expected };
    let mark = Mark { icount, seq: seq.ok_or(Flaw("a place is beyond the last seq"))? };
    if mark < previous {
        return Err(Flaw("an event lies before the one it follows"));
    }
    if explicit_seq && seq == expected {
        return Err(Flaw("a place is longer than it needs to be"));
    }
    Ok(mark)
}

fn take_event(bytes: &mut Bytes<'_>, dictionary: &mut Vec<Source>, tag: u8) -> Result<Event, Flaw> {
    Ok(match tag {
        DICTIONARY.. | tag::LANDMARK => Event::Landmark(take_landmark(bytes, dictionary, tag)?),
        tag::DIGEST => Event::Digest(Digest(bytes.u128()?)),
        tag::CONSOLE_STATE => {
            Event::Console(ConsoleState { length_bytes: bytes.varint()?, hash: bytes.u64()? })
        }
        tag::POWER_OFF..=tag::DEBUG_EXIT => Event::Power(take_power(bytes, tag)?),
        tag::CONSOLE..=tag::EXTERNAL_INTERRUPT => Event::Input(take_input(bytes, tag)?),
        tag::QUIT => Event::Note(Note::Quit),
        tag::ATTACH => Event::Note(Note::Attach),
        tag::DETACH => Event::Note(Note::Detach),
        tag::BOOKMARK => Event::Note(Note::Bookmark(bytes.text()?)),
        tag::WALL_CLOCK => Event::Note(Note::WallClock(bytes.varint()?)),
        tag::FAILURE => Event::Note(Note::Failure(bytes.text()?)),
        _ => return Err(Flaw("an event has an unknown tag")),
    })
}

fn take_landmark(bytes: &mut Bytes<'_>, dictionary: &mut Vec<Source>, tag: u8) -> Result<Landmark, Flaw> {
    let source = if tag >= DICTIONARY {
        let index = usize::from(tag - DICTIONARY);
        *dictionary.get(index).ok_or(Flaw("a landmark refers to one that was not there"))?
    } else {
        let source: Source = bytes.array()?;
        if dictionary.contains(&source) {
            return Err(Flaw("a landmark repeats what the dictionary has"));
        }
        if dictionary.len() < DICTIONARY_ENTRIES {
            dictionary.push(source);
        }
        source
    };
    let [kind, vcpu, vector] = source;
    let kind = match kind {
        0 => LandmarkKind::Timer,
        1 => LandmarkKind::Ipi,
        2 => LandmarkKind::Device,
        3 => LandmarkKind::Completion,
        _ => return Err(Flaw("a landmark is of an unknown kind")),
    };
    Ok(Landmark { kind, vcpu, vector, registers_hash: bytes.u32()?, reads_hash: bytes.u16()?.into() })
}

fn take_power(bytes: &mut Bytes<'_>, tag: u8) -> Result<PowerEvent, Flaw> {
    Ok(match tag {
        tag::POWER_OFF => PowerEvent::Off,
        tag::RESET => PowerEvent::Reset,
        tag::DEBUG_EXIT => PowerEvent::DebugExit(bytes.u32()?),
        _ => {
            let vcpu = bytes.u8()?;
            let mut steps = Vec::new();
            for _ in 0..bytes.varint()? {
                steps.push(take_triple_fault_step(bytes)?);
            }
            PowerEvent::TripleFault(TripleFault { vcpu, steps })
        }
    })
}

fn take_triple_fault_step(bytes: &mut Bytes<'_>) -> Result<TripleFaultStep, Flaw> {
    let vector = bytes.u8()?;
    let present = bytes.u8()?;
    if present > 3 {
        return Err(Flaw("a fault has unknown flags"));
    }
    Ok(TripleFaultStep {
        vector,
        error_code: if present & 1 != 0 { Some(bytes.u32()?) } else { None },
        cr2: if present & 2 != 0 { Some(bytes.u64()?) } else { None },
        rip: bytes.u64()?,
        reason: bytes.text()?,
    })
}

fn take_input(bytes: &mut Bytes<'_>, tag: u8) -> Result<Input, Flaw> {
    Ok(match tag {
        tag::CONSOLE => Input::Console(bytes.blob()?.to_vec()),
        tag::FRAME => Input::Frame { nic: bytes.u8()?, bytes: bytes.blob()?.to_vec() },
        tag::WINDOW_SIZE => Input::WindowSize { columns: bytes.u16()?, rows: bytes.u16()? },
        tag::POWER_BUTTON => Input::PowerButton,
        tag::WAKE => Input::Wake(VirtualTime(bytes.varint()?)),
        tag::DISK_STATUS => Input::DiskStatus(DiskStatus {
            disk: bytes.u8()?,
            request: bytes.varint()?,
            errno: bytes.u32()?.cast_signed(),
        }),
        tag::WRITE_MEMORY => {
            Input::Operator(Operator::WriteMemory { paddr: bytes.varint()?, bytes: bytes.blob()?.to_vec() })
        }
        tag::WRITE_REGISTER => Input::Operator(Operator::WriteRegister {
            vcpu: bytes.u8()?,
            register: bytes.u8()?,
            value: bytes.u64()?,
        }),
        tag::EXTERNAL_READ => Input::External(External::Read { device: bytes.u16()?, value: bytes.u64()? }),
        tag::EXTERNAL_DMA => Input::External(External::Dma {
            device: bytes.u16()?,
            paddr: bytes.varint()?,
            bytes: bytes.blob()?.to_vec(),
        }),
        tag::EXTERNAL_INTERRUPT => {
            Input::External(External::Interrupt { device: bytes.u16()?, asserted: bytes.flag()? })
        }
        _ => return Err(Flaw("an event has an unknown tag")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{any_events, stored};
    use proptest::prelude::*;

    fn decode(payload: Vec<u8>) -> Result<Vec<(Mark, Event)>, Flaw> {
        let mut decoder = EventDecoder::new(payload)?;
        let mut events = Vec::new();
        while let Some(event) = decoder.next()? {
            events.push(event);
        }
        Ok(events)
    }

    proptest! {
        #[test]
        fn all_events_read_back_in_order(events in any_events(60)) {
            let mut encoder = EventEncoder::default();
            for (mark, event) in &events {
                encoder.push(*mark, event).unwrap();
            }
            let decoded = encoder.take().map(decode).transpose().unwrap().unwrap_or_default();
            prop_assert_eq!(decoded, stored(&events));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(0u8..0x48, 0..60)) {
            if let Ok(events) = decode(bytes.clone()) {
                let sequence = Bytes(&bytes).varint().unwrap();
                let mut encoder = EventEncoder { sequence, ..EventEncoder::default() };
                for (mark, event) in &events {
                    encoder.push(*mark, event).unwrap();
                }
                prop_assert_eq!(encoder.take(), Some(bytes));
            }
        }
    }

    #[test]
    fn a_repeated_landmark_costs_its_tag_its_distance_and_six_bytes() {
        let landmark = |registers_hash| {
            Event::Landmark(Landmark {
                kind: LandmarkKind::Timer,
                vcpu: 1,
                vector: 0xec,
                registers_hash,
                reads_hash: 7,
            })
        };
        let mut encoder = EventEncoder::default();
        encoder.push(Mark::before(Icount(1_000_000)), &landmark(1)).unwrap();
        let before = encoder.length_bytes();
        encoder.push(Mark::before(Icount(2_000_000)), &landmark(2)).unwrap();
        assert_eq!(encoder.length_bytes() - before, 1 + 3 + 6);
    }

    #[test]
    fn a_refused_event_leaves_the_chunk_as_it_was() {
        let mut encoder = EventEncoder::default();
        let small = Event::Note(Note::Quit);
        let large = Event::Input(Input::Console(vec![0; MAX_EVENT_BYTES]));
        assert!(matches!(encoder.push(Mark::default(), &large), Err(Refused::TooLarge { .. })));
        encoder.push(Mark::before(Icount(5)), &small).unwrap();
        let length_bytes = encoder.length_bytes();
        assert!(matches!(encoder.push(Mark::before(Icount(4)), &small), Err(Refused::OutOfOrder { .. })));
        assert!(matches!(encoder.push(Mark::before(Icount(9)), &large), Err(Refused::TooLarge { .. })));
        assert_eq!(encoder.length_bytes(), length_bytes);
        let payload = encoder.take().unwrap();
        assert_eq!(decode(payload).unwrap(), [(Mark::before(Icount(5)), small)]);
    }
}
