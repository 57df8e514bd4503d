//! What a trace can hold between its start and its end.

use boundary::{Digest, ImageId, Input, Landmark, Note, Operator, PowerEvent};
use serde::{Deserialize, Serialize};
use std::fmt;

/// About the recording, for people and for finding the right vkernel. Not an input of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the vkernel that recorded.
    pub vkernel_version: String,
    /// The host's wall clock when recording began, in seconds since 1970.
    pub started_s: u64,
    /// The arguments of that vkernel, its own name first.
    pub command_line: Vec<String>,
    /// That vkernel's executable, if the store keeps it.
    pub executable: Option<ImageId>,
}

/// One event. Each is stamped with its place, a [`boundary::Mark`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something came in. The machine cannot be replayed without it.
    Input(Input),
    /// Something derived, by which a replay proves itself. The reader returns it [`as_recorded`].
    Landmark(Landmark),
    /// The digest of the machine at this place.
    Digest(Digest),
    /// What the guest has written to the console up to this place.
    Console(ConsoleState),
    /// The machine ended or restarted itself here.
    Power(PowerEvent),
    /// For people.
    Note(Note),
}

/// What a trace keeps of a landmark: the low 16 bits of `reads_hash`, the rest whole.
///
/// Both hashes are incompressible and landmarks are the bulk of a trace, so two bytes are saved where they cost
/// least: a wrong read that slips through (one in 65536) nearly always reaches a register and is caught there. A
/// player compares `as_recorded(derived) == recorded`.
#[must_use]
pub fn as_recorded(landmark: Landmark) -> Landmark {
    Landmark { reads_hash: landmark.reads_hash & 0xffff, ..landmark }
}

/// Length and hash of everything the guest wrote to the console so far.
///
/// The bytes themselves are derived and not recorded. The hash is 64-bit FNV-1a: its whole state is one number, so a
/// checkpoint can carry it and a replay from the middle can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// How many bytes.
    pub length_bytes: u64,
    /// Their hash.
    pub hash: u64,
}

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Default for ConsoleState {
    /// Nothing written yet.
    fn default() -> ConsoleState {
        ConsoleState { length_bytes: 0, hash: FNV_OFFSET_BASIS }
    }
}

impl ConsoleState {
    /// The guest wrote these bytes as well.
    pub fn absorb(&mut self, bytes: &[u8]) {
        self.length_bytes = self.length_bytes.wrapping_add(bytes.len() as u64);
        self.hash =
            bytes.iter().fold(self.hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    }
}

impl Event {
    /// The kind of the event in a word or two, the same for every event of that kind. `trace info` counts by it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Input(input) => match input {
                Input::Console(_) => "console input",
                Input::Frame { .. } => "network frame",
                Input::WindowSize { .. } => "window size",
                Input::PowerButton => "power button",
                Input::Wake(_) => "wake",
                Input::DiskStatus(_) => "disk status",
                Input::Operator(_) => "operator write",
                Input::External(_) => "external device",
            },
            Event::Landmark(_) => "landmark",
            Event::Digest(_) => "digest",
            Event::Console(_) => "console state",
            Event::Power(_) => "power",
            Event::Note(_) => "note",
        }
    }
}

/// One line, without the place: `timer vcpu 0 vector 0xec registers 1f2e3d4c reads 9a8b`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Input(input) => write_input(f, input),
            Event::Landmark(landmark) => {
                let kind = format!("{:?}", landmark.kind).to_lowercase();
                write!(f, "{kind} vcpu {} vector {:#04x} ", landmark.vcpu, landmark.vector)?;
                write!(f, "registers {:08x} reads {:04x}", landmark.registers_hash, landmark.reads_hash)
            }
            Event::Digest(digest) => write!(f, "digest {digest}"),
            Event::Console(state) => {
                write!(f, "console {} bytes, hash {:016x}", state.length_bytes, state.hash)
            }
            Event::Power(event) => write!(f, "power {event:?}"),
            Event::Note(note) => match note {
                Note::Bookmark(name) => write!(f, "bookmark {name}"),
                Note::Failure(title) => write!(f, "failure {title}"),
                Note::WallClock(wall_ns) => write!(f, "wall clock {wall_ns} ns"),
                Note::Quit | Note::Attach | Note::Detach => {
                    write!(f, "{}", format!("{note:?}").to_lowercase())
                }
            },
        }
    }
}

fn write_input(f: &mut fmt::Formatter<'_>, input: &Input) -> fmt::Result {
    match input {
        Input::Console(bytes) => write!(f, "console input \"{}\"", bytes.escape_ascii()),
        Input::Frame { nic, bytes } => write!(f, "frame of {} bytes on vke{nic}", bytes.len()),
        Input::WindowSize { columns, rows } => write!(f, "window size {columns}x{rows}"),
        Input::PowerButton => write!(f, "power button"),
        Input::Wake(time) => write!(f, "wake at {time}"),
        Input::DiskStatus(status) => {
            write!(f, "disk {} request {} failed with errno {}", status.disk, status.request, status.errno)
        }
        Input::Operator(Operator::WriteMemory { paddr, bytes }) => {
            write!(f, "operator wrote {} bytes at {paddr:#x}", bytes.len())
        }
        Input::Operator(Operator::WriteRegister { vcpu, register, value }) => {
            write!(f, "operator set register {register} of vcpu {vcpu} to {value:#x}")
        }
        Input::External(external) => write!(f, "external {external:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_hash_is_fnv_1a_and_does_not_depend_on_pieces() {
        // The published test vector of FNV-1a for "foobar".
        let mut whole = ConsoleState::default();
        whole.absorb(b"foobar");
        assert_eq!(whole, ConsoleState { length_bytes: 6, hash: 0x8594_4171_f739_67e8 });
        let mut pieces = ConsoleState::default();
        pieces.absorb(b"foo");
        pieces.absorb(b"");
        pieces.absorb(b"bar");
        assert_eq!(pieces, whole);
    }
}
