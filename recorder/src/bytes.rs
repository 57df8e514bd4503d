//! Reading and writing plain values in a chunk: little-endian integers, varints, counted bytes.
//!
//! A varint is unsigned LEB128: seven bits a byte, low bits first, the high bit set on all but the last byte. Only
//! the shortest form of a number is accepted, so that a value has exactly one encoding.

use crate::error::Flaw;
use boundary::{Icount, Mark};

/// What is left to read of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

const SHORT: Flaw = Flaw("a value runs past the end of its chunk");

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Flaw> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Flaw> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Flaw("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Flaw> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest {
                    Ok(value)
                } else {
                    Err(Flaw("a varint is longer than it needs to be"))
                };
            }
        }
        Err(Flaw("a varint exceeds 64 bits"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, Flaw> {
        u32::try_from(self.varint()?).map_err(|_| Flaw("a number exceeds 32 bits"))
    }

    pub(crate) fn mark(&mut self) -> Result<Mark, Flaw> {
        Ok(Mark { icount: Icount(self.varint()?), seq: self.varint_u32()? })
    }

    /// Counted bytes. The count is checked against what is there before anything is allocated.
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], Flaw> {
        let length = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, Flaw> {
        let bytes = self.blob()?;
        let text = std::str::from_utf8(bytes).map_err(|_| Flaw("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(crate) fn put_mark(bytes: &mut Vec<u8>, mark: Mark) {
    put_varint(bytes, mark.icount.0);
    put_varint(bytes, mark.seq.into());
}

pub(crate) fn put_blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    put_varint(bytes, blob.len() as u64);
    bytes.extend_from_slice(blob);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_has_one_encoding_that_reads_back(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reading = Bytes(&bytes);
            prop_assert_eq!(reading.varint(), Ok(value));
            prop_assert!(reading.is_empty());
        }
    }

    #[test]
    fn longer_forms_and_overflow_are_refused() {
        assert!(Bytes(&[0x80, 0x00]).varint().is_err());
        assert!(Bytes(&[0xff; 10]).varint().is_err());
        let mut just_too_large = [0xff; 10];
        just_too_large[9] = 0x02;
        assert!(Bytes(&just_too_large).varint().is_err());
        just_too_large[9] = 0x01;
        assert_eq!(Bytes(&just_too_large).varint(), Ok(u64::MAX));
    }

    #[test]
    fn a_count_larger_than_the_chunk_is_refused_before_allocating() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert!(Bytes(&bytes).blob().is_err());
    }
}
