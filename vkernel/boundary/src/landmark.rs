//! Derived events that let a replay prove itself.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of derived event a [`Landmark`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LandmarkKind {
    /// A vCPU took an interrupt that its own local APIC timer, the PIT or the HPET raised.
    Timer,
    /// A vCPU took an interrupt, INIT or start-up that another vCPU (or itself) sent.
    Ipi,
    /// A vCPU took an interrupt that a device raised.
    Device,
    /// A device finished a request it had been given.
    Completion,
}

/// A derived event, with enough of the state around it to catch a replay that went astray.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landmark {
    /// What happened.
    pub kind: LandmarkKind,
    /// To which vCPU.
    pub vcpu: u8,
    /// The interrupt vector; for [`LandmarkKind::Completion`], the device number.
    pub vector: u8,
    /// Hash of that vCPU's registers just before.
    pub registers_hash: u32,
    /// Rolling hash of every port, MMIO, MSR and TSC read since the last landmark.
    pub reads_hash: u32,
}

/// A digest of the whole machine: every vCPU, every device, all of RAM. Equal digests are the definition of
/// "the same".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
