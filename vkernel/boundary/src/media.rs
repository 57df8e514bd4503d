//! Immutable images, named by their content.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The identity of an image: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(pub [u8; 32]);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the machine gets the images that [`crate::PowerOn`] names. Content-addressed and immutable by law,
/// so that reading one is no input.
pub trait Media: Sync {
    /// The bytes of an image, or `None` if this source does not have it.
    fn image(&self, id: ImageId) -> Option<Arc<Vec<u8>>>;
}
