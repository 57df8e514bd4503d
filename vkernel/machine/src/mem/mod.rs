//! Guest physical memory: the RAM itself, what is known of each page, and digests of it.
//!
//! Knows nothing of processors or devices; `crate::system::System` joins it with the translation caches and
//! the platform.

mod capture;
mod digest;
mod pages;
mod ram;

pub use digest::page_hash;
pub use pages::{PageBytes, PageMap};
pub use ram::{Memory, PAGE_BYTES, PageTableLevel};
