//! serde values as bytes: the only file that uses bincode.
//!
//! bincode is pinned at 2.0.1 (its last release that compiles) and used with `legacy()`: fixed-width
//! little-endian integers, 64-bit lengths, 32-bit variant numbers. Those bytes are also what bincode 1 wrote and what other crates
//! read, so the format outlives the dependency. Only cold data passes here: the start of a trace, the headers
//! of a checkpoint cache. Events are coded by hand (`wire`), because their bytes must not depend on a derive.

use bincode::config;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// What one value may occupy, in bytes. Guards against lengths that hostile bytes claim.
const LIMIT_BYTES: usize = 64 << 20;

/// The bytes are not an encoding of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes do not decode to the expected structure")]
pub struct Undecodable;

/// The bytes of a value.
///
/// # Panics
/// If the value's `Serialize` gives up, which derived ones of plain data never do.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config::legacy())
        .expect("derived Serialize of plain data does not fail")
}

/// The value of all of `bytes`.
///
/// # Errors
/// When they are no encoding of `T`, or something follows it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let limited = config::legacy().with_limit::<LIMIT_BYTES>();
    match bincode::serde::decode_from_slice(bytes, limited) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => Err(Undecodable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_fixed_width_and_little_endian() {
        assert_eq!(encode(&(1u32, "a", Some(2u16))), [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a', 1, 2, 0]);
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let bytes = encode(&(7u64, String::from("seven")));
        assert_eq!(decode(&bytes), Ok((7u64, String::from("seven"))));
        assert_eq!(decode::<(u64, String)>(&bytes[..bytes.len() - 1]), Err(Undecodable));
        assert_eq!(decode::<(u64, String)>(&[&bytes[..], &[0]].concat()), Err(Undecodable));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        assert_eq!(decode::<Vec<u64>>(&u64::MAX.to_le_bytes()), Err(Undecodable));
        assert_eq!(decode::<String>(&(1u64 << 40).to_le_bytes()), Err(Undecodable));
    }
}
