//! How a run ended, and the bytes of that.

use crate::bytes::{Bytes, put_blob, put_mark, put_varint};
use crate::error::Flaw;
use crate::event::ConsoleState;
use boundary::{Digest, Mark, VirtualTime};
use std::fmt;

/// The last words of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The place where the run ended.
    pub mark: Mark,
    /// Guest time at that place.
    pub virtual_time: VirtualTime,
    /// Digest of the machine there, computed from scratch; absent if the machine could not be asked any more.
    pub digest: Option<Digest>,
    /// Everything the guest wrote to the console.
    pub console: ConsoleState,
    /// What vkernel exited with.
    pub exit_status: u8,
    /// Why it ended.
    pub ending: Ending,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered off.
    PowerOff,
    /// The guest asked for a reset, and `--no-reboot` was given.
    Reset,
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
    /// A failure was detected.
    Failure {
        /// What kind of failure.
        kind: FailureKind,
        /// One line: `BUG: unable to handle page fault for address: 0xdead0000`.
        title: String,
        /// The place `@fail`: where a debugger opens.
        place: Mark,
    },
    /// The `--limit` was reached.
    Limit,
    /// Every vCPU is halted, nothing is pending, and nothing can come in.
    Hang,
    /// The operator ended it, from the debugger.
    Quit,
    /// vkernel was ended by this signal.
    Signal(u8),
    /// vkernel could not go on, for a reason of the host.
    HostTrouble {
        /// The reason, in one line.
        reason: String,
    },
}

/// What kind of failure was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureKind {
    /// The kernel panicked.
    Panic = 0,
    /// The kernel printed an oops or hit a BUG.
    Oops = 1,
    /// The kernel printed a warning, and `--fail-on warn` was given.
    Warn = 2,
    /// A vCPU shut down after its third fault.
    TripleFault = 3,
    /// The text of `--fail` appeared on the console.
    FailText = 4,
    /// The run was over without the text of `--expect`.
    ExpectMissing = 5,
    /// The guest's watchdogs found a stuck CPU or task: hung task, soft or hard lockup, RCU stall.
    Stuck = 6,
    /// A checker compiled into the guest's kernel found something: KASAN, KCSAN, KMSAN, KFENCE, UBSAN, kmemleak.
    Sanitizer = 7,
    /// The guest's lock validator found something.
    Lockdep = 8,
    /// The guest resets again and again, and prints nothing.
    ResetLoop = 9,
}

impl End {
    /// Whether the guest failed, in the sense of exit status 1. Host trouble and a quit are no failures of the guest.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.ending {
            Ending::Failure { .. } | Ending::Limit | Ending::Hang => true,
            // `--ok-exit` decides what a debug exit means, and so does what resets and power-offs were expected.
            Ending::DebugExit(_) | Ending::PowerOff | Ending::Reset => self.exit_status != 0,
            Ending::Quit | Ending::Signal(_) | Ending::HostTrouble { .. } => false,
        }
    }

    /// Whether all went well: the guest ended by itself, with exit status 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.ending, Ending::PowerOff | Ending::Reset | Ending::DebugExit(_))
            && self.exit_status == 0
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_mark(&mut bytes, self.mark);
        put_varint(&mut bytes, self.virtual_time.0);
        bytes.push(self.digest.is_some().into());
        if let Some(digest) = self.digest {
            bytes.extend_from_slice(&digest.0.to_le_bytes());
        }
        put_varint(&mut bytes, self.console.length_bytes);
        bytes.extend_from_slice(&self.console.hash.to_le_bytes());
        bytes.push(self.exit_status);
        self.ending.encode(&mut bytes);
        bytes
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<End, Flaw> {
        let mut bytes = Bytes(payload);
        let end = End {
            mark: bytes.mark()?,
            virtual_time: VirtualTime(bytes.varint()?),
            digest: if bytes.flag()? { Some(Digest(bytes.u128()?)) } else { None },
            console: ConsoleState { length_bytes: bytes.varint()?, hash: bytes.u64()? },
            exit_status: bytes.u8()?,
            ending: Ending::decode(&mut bytes)?,
        };
        if bytes.is_empty() { Ok(end) } else { Err(Flaw("something follows the ending in its chunk")) }
    }
}

impl Ending {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Ending::PowerOff => bytes.push(0),
            Ending::Reset => bytes.push(1),
            Ending::DebugExit(value) => {
                bytes.push(2);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Ending::Failure { kind, title, place } => {
                bytes.push(3);
                bytes.push(*kind as u8);
                put_blob(bytes, shortened(title).as_bytes());
                put_mark(bytes, *place);
            }
            Ending::Limit => bytes.push(4),
            Ending::Hang => bytes.push(5),
            Ending::Quit => bytes.push(6),
            Ending::Signal(number) => bytes.extend_from_slice(&[7, *number]),
            Ending::HostTrouble { reason } => {
                bytes.push(8);
                put_blob(bytes, shortened(reason).as_bytes());
            }
        }
    }

    fn decode(bytes: &mut Bytes<'_>) -> Result<Ending, Flaw> {
        Ok(match bytes.u8()? {
            0 => Ending::PowerOff,
            1 => Ending::Reset,
            2 => Ending::DebugExit(bytes.u32()?),
            3 => Ending::Failure {
                kind: FailureKind::decode(bytes.u8()?)?,
                title: bytes.text()?,
                place: bytes.mark()?,
            },
            4 => Ending::Limit,
            5 => Ending::Hang,
            6 => Ending::Quit,
            7 => Ending::Signal(bytes.u8()?),
            8 => Ending::HostTrouble { reason: bytes.text()? },
            _ => return Err(Flaw("the ending is of an unknown kind")),
        })
    }
}

/// Titles and reasons are one line of a guest's making; a trace keeps at most 1000 bytes of one.
fn shortened(text: &str) -> &str {
    let end =
        text.char_indices().map(|(at, character)| at + character.len_utf8()).take_while(|end| *end <= 1000);
    &text[..end.last().unwrap_or(0)]
}

impl FailureKind {
    fn decode(number: u8) -> Result<FailureKind, Flaw> {
        use FailureKind::{
            ExpectMissing, FailText, Lockdep, Oops, Panic, ResetLoop, Sanitizer, Stuck, TripleFault, Warn,
        };
        [Panic, Oops, Warn, TripleFault, FailText, ExpectMissing, Stuck, Sanitizer, Lockdep, ResetLoop]
            .into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(Flaw("the failure is of an unknown kind"))
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Panic => "panic",
            FailureKind::Oops => "oops",
            FailureKind::Warn => "warning",
            FailureKind::TripleFault => "triple fault",
            FailureKind::FailText => "--fail text",
            FailureKind::ExpectMissing => "--expect text missing",
            FailureKind::Stuck => "stuck",
            FailureKind::Sanitizer => "checker",
            FailureKind::Lockdep => "lockdep",
            FailureKind::ResetLoop => "reset loop",
        })
    }
}

/// As `vkernel ls` prints it: `panic: Attempted to kill init!`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::PowerOff => f.write_str("power off"),
            Ending::Reset => f.write_str("reset"),
            Ending::DebugExit(value) => write!(f, "debug exit {value:#x}"),
            Ending::Failure { kind, title, .. } => write!(f, "{kind}: {title}"),
            Ending::Limit => f.write_str("limit reached"),
            Ending::Hang => f.write_str("hang"),
            Ending::Quit => f.write_str("quit"),
            Ending::Signal(number) => write!(f, "signal {number}"),
            Ending::HostTrouble { reason } => write!(f, "host trouble: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{any_end, power_off};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_end_reads_back(end in any_end()) {
            prop_assert_eq!(End::decode(&end.encode()), Ok(end));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            if let Ok(end) = End::decode(&bytes) {
                prop_assert_eq!(end.encode(), bytes);
            }
        }
    }

    #[test]
    fn endings_are_judged_as_the_exit_status_table_says() {
        let with = |ending, exit_status| End { ending, exit_status, ..power_off(Mark::default()) };
        assert!(with(Ending::PowerOff, 0).succeeded());
        assert!(with(Ending::PowerOff, 1).failed(), "without the given --expect");
        assert!(with(Ending::Hang, 1).failed());
        assert!(with(Ending::DebugExit(0), 1).failed());
        assert!(with(Ending::DebugExit(5), 0).succeeded(), "with --ok-exit 5");
        let full_disk = with(Ending::HostTrouble { reason: "disk full".into() }, 255);
        assert!(!full_disk.failed() && !full_disk.succeeded());
    }

    #[test]
    fn a_monstrous_title_is_cut_at_a_character() {
        let title = "ä".repeat(4000);
        let ending = Ending::Failure { kind: FailureKind::Panic, title, place: Mark::default() };
        let end = End { ending, ..power_off(Mark::default()) };
        let Ending::Failure { title, .. } = End::decode(&end.encode()).unwrap().ending else { panic!() };
        assert_eq!(title, "ä".repeat(500));
    }
}
