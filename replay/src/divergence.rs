//! A divergence, as a value: what a trace says and what a replay did instead.

use boundary::{Digest, Landmark, Mark, PowerEvent};
use recorder::ConsoleState;
use std::fmt;

/// The first place at which a replay and its trace disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The last place at which they were seen to agree.
    pub agreed: Mark,
    /// The place of the disagreement.
    pub place: Mark,
    /// What disagrees.
    pub evidence: Evidence,
}

/// What disagrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Another landmark, or one at another place, or none.
    Landmark {
        /// As the trace says.
        recorded: Option<(Mark, Landmark)>,
        /// As the replay did.
        replayed: Option<(Mark, Landmark)>,
    },
    /// Another state of the machine.
    Digest {
        /// As the trace says.
        recorded: Digest,
        /// As the replay computed.
        replayed: Digest,
    },
    /// Other console output.
    Console {
        /// As the trace says.
        recorded: ConsoleState,
        /// As the replay printed.
        replayed: ConsoleState,
    },
    /// Another power event, or one where the other has none.
    Power {
        /// As the trace says.
        recorded: Option<PowerEvent>,
        /// As the replay did.
        replayed: Option<PowerEvent>,
    },
    /// The replay is idle for ever before the place the trace goes on to.
    Stuck,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay diverges from the trace between {} and {}: ", self.agreed, self.place)?;
        match &self.evidence {
            Evidence::Landmark { recorded, replayed } => {
                write!(f, "the trace has {}, the replay {}", Shown(recorded), Shown(replayed))
            }
            Evidence::Digest { recorded, replayed } => {
                write!(f, "the trace has digest {recorded}, the replay {replayed}")
            }
            Evidence::Console { recorded, replayed } => write!(
                f,
                "the trace has {} console bytes with hash {:016x}, the replay {} with {:016x}",
                recorded.length_bytes, recorded.hash, replayed.length_bytes, replayed.hash
            ),
            Evidence::Power { recorded, replayed } => {
                write!(f, "the trace has power event {recorded:?}, the replay {replayed:?}")
            }
            Evidence::Stuck => write!(f, "the replay is idle for ever, the trace goes on"),
        }
    }
}

impl std::error::Error for Divergence {}

struct Shown<'a>(&'a Option<(Mark, Landmark)>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => write!(f, "no landmark"),
            Some((mark, landmark)) => write!(
                f,
                "{:?} vector {:#04x} on vCPU {} at {mark} (registers {:08x}, reads {:04x})",
                landmark.kind, landmark.vector, landmark.vcpu, landmark.registers_hash, landmark.reads_hash
            ),
        }
    }
}
