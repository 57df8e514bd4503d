//! What the integration tests share.

pub mod program;
pub mod recording;
pub mod tiny;

pub use harness::{files_below, root};
