//! Hostile guests: tiny kernels made from a number, each a mixture of what a machine must survive (wild page tables,
//! storms of device accesses, garbage in descriptor tables, faults in fault handlers, code that rewrites itself), in
//! real, protected, PAE and long mode, on 1 to 4 vCPUs.
//!
//! Whatever they do, the engines agree to the last bit, a saved machine goes on as the one it was saved from, a
//! recording replays, and the machine neither panics nor hangs. How a guest ends is nobody's business.
#![forbid(unsafe_code)]

pub mod code;
pub mod guest;
pub mod image;
pub mod layout;
pub mod record;
pub mod run;
pub mod snippets;
pub mod survey;
