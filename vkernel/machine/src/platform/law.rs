//! The law every device's state obeys, for their tests: what is saved is all there is.

use crate::archive::{Persist, load, save};

/// Saves `device`, loads it into `fresh`, saves that: both must be the same bytes.
pub fn assert_saves_and_loads<T: Persist>(device: &mut T, fresh: &mut T) {
    let saved = save(device);
    assert_ne!(saved, save(fresh), "the device did nothing worth saving");
    load(fresh, saved.clone());
    assert_eq!(save(fresh), saved);
}
