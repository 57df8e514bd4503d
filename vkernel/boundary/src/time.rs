//! Places and times. Three units that must never be confused, hence three types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Counts of the machine since power-on: one for each retired instruction, each iteration of a REP string
/// instruction (at least one), and each delivery of an exception or interrupt, over all vCPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Icount(pub u64);

/// Guest time since power-on, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VirtualTime(pub u64);

/// A place in the life of a machine: before the `seq`-th happening at `icount`.
///
/// At one icount several things can happen without an instruction in between: inputs, timers, an idle
/// jump, a change of vCPU. `seq` numbers them from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The count before which the place lies.
    pub icount: Icount,
    /// How many happenings at that count are already over.
    pub seq: u32,
}

impl Mark {
    /// The place before anything happens at `icount`.
    #[must_use]
    pub fn before(icount: Icount) -> Mark {
        Mark { icount, seq: 0 }
    }
}

impl VirtualTime {
    /// Saturating sum of a time and a span, both in nanoseconds.
    #[must_use]
    pub fn plus(self, span_ns: u64) -> VirtualTime {
        VirtualTime(self.0.saturating_add(span_ns))
    }
}

/// Prints as every place is printed: `@12345678`, and `@12345678+2` for the third happening there.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.icount.0)?;
        if self.seq > 0 {
            write!(f, "+{}", self.seq)?;
        }
        Ok(())
    }
}

/// Prints as seconds with nanoseconds: `1.250000000s`.
impl fmt::Display for VirtualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}
