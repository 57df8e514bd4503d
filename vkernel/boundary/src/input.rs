//! What comes in while the machine runs.

use crate::VirtualTime;
use serde::{Deserialize, Serialize};

/// One thing that entered the machine. The list is closed: a new source of nondeterminism is a new variant
/// here, and every `match` on it (none has a `_` arm) then asks what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Bytes typed at, or piped to, the console.
    Console(Vec<u8>),
    /// A frame that arrived on network interface `nic`.
    Frame {
        /// Which vke.
        nic: u8,
        /// The raw Ethernet frame.
        bytes: Vec<u8>,
    },
    /// The size of the terminal changed. Guests read it from fw_cfg (`opt/org.vkernel/window-size`).
    WindowSize {
        /// Characters a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Somebody pressed the ACPI power button.
    PowerButton,
    /// Under a host clock: an idle machine continues at this guest time, earlier than its next deadline.
    Wake(VirtualTime),
    /// The host failed to serve a disk request. Success is derived and therefore no input.
    DiskStatus(DiskStatus),
    /// A debugger wrote to the live machine.
    Operator(Operator),
    /// Reserved for devices that live outside the machine.
    External(External),
}

/// A host failure on disk request number `request` of disk `disk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Which vkd or vcd.
    pub disk: u8,
    /// Ordinal of the request on that disk, from 0.
    pub request: u64,
    /// The host's errno.
    pub errno: i32,
}

/// A write by a debugger into the live machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Bytes into guest physical memory.
    WriteMemory {
        /// Guest physical address.
        paddr: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A general register (0 to 15 in encoding order), RIP (16) or RFLAGS (17) of one vCPU.
    WriteRegister {
        /// Which vCPU.
        vcpu: u8,
        /// Which register.
        register: u8,
        /// Its new value.
        value: u64,
    },
}

/// Reserved: what a device outside the machine may do to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum External {
    /// The answer to a register read.
    Read {
        /// Which external device.
        device: u16,
        /// The value it returned.
        value: u64,
    },
    /// A write to guest memory.
    Dma {
        /// Which external device.
        device: u16,
        /// Guest physical address.
        paddr: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A change of an interrupt line.
    Interrupt {
        /// Which external device.
        device: u16,
        /// Its level.
        asserted: bool,
    },
}

impl External {
    /// Which device it is.
    #[must_use]
    pub fn device(&self) -> u16 {
        match self {
            External::Read { device, .. }
            | External::Dma { device, .. }
            | External::Interrupt { device, .. } => *device,
        }
    }
}

/// Recorded for people. The machine never sees a note, and no digest depends on one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// SIGQUIT arrived.
    Quit,
    /// A debugger attached.
    Attach,
    /// A debugger detached.
    Detach,
    /// A named place.
    Bookmark(String),
    /// The host's wall clock, in nanoseconds since 1970, about once a second.
    WallClock(u64),
    /// A detected failure, as `kind: title`.
    Failure(String),
}
