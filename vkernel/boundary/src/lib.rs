//! The boundary: everything that can pass between the machine and the world, as closed types.
//!
//! The machine is a pure function of its inputs. For that to hold, nothing nondeterministic may reach it
//! except through the types of this crate, each occurrence stamped with a [`Mark`], a place in time:
//!
//! - [`PowerOn`] is the full description of the machine at its start. It is the first thing in a trace.
//! - [`Input`] is what comes in while it runs: console bytes, the power button, a wake-up under a host
//!   clock. Recorded, because it cannot be derived.
//! - [`Landmark`] is a derived event written down so that a replay can prove itself.
//! - [`Note`] is recorded for people, ignored by the machine, and part of no digest.
//! - [`Output`] is what leaves the machine.
//! - [`Media`] gives it immutable images by their content.
//!
//! Not here, because derived from the above: the TSC and every timer, IPIs, device latencies, RDRAND,
//! the interleaving of vCPUs. This crate does no input or output itself and knows nothing of processors,
//! traces or terminals.
#![forbid(unsafe_code)]

mod input;
mod landmark;
mod media;
mod output;
mod power_on;
mod time;
mod world;

pub use input::{DiskStatus, External, Input, Note, Operator};
pub use landmark::{Digest, Landmark, LandmarkKind};
pub use media::{ImageId, Media};
pub use output::{Output, PowerEvent, TripleFault, TripleFaultStep};
pub use power_on::{Boot, BootProtocol, CpuidLeaf, Image, PowerOn, Role, Rules, Topology};
pub use time::{Icount, Mark, VirtualTime};
pub use world::{Arrival, World};
