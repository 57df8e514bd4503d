//! Little-endian reading of untrusted images, and writing of the structures handed to a kernel.
//!
//! Everything read from an image goes through [`View`], whose every access is checked and whose error names
//! the offset. The writers work on buffers of ours at constant offsets, so they may simply index.

use super::BootError;

/// The bytes of an image of a known format, read with checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    format: &'static str,
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// A view of all of `bytes`; `format` names the image in errors.
    pub(crate) fn new(format: &'static str, bytes: &'a [u8]) -> View<'a> {
        View { format, bytes }
    }

    /// Length of the image.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// `length_bytes` bytes at `offset`.
    pub(crate) fn slice(&self, offset: u64, length_bytes: u64) -> Result<&'a [u8], BootError> {
        let inside = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length_bytes).ok()?)?;
            self.bytes.get(start..end)
        };
        inside().ok_or(BootError::Truncated {
            format: self.format,
            offset,
            length_bytes,
            file_bytes: self.length_bytes(),
        })
    }

    fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], BootError> {
        let mut value = [0; N];
        value.copy_from_slice(self.slice(offset, N as u64)?);
        Ok(value)
    }

    pub(crate) fn u8(&self, offset: u64) -> Result<u8, BootError> {
        Ok(self.array::<1>(offset)?[0])
    }

    pub(crate) fn u16(&self, offset: u64) -> Result<u16, BootError> {
        self.array(offset).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, offset: u64) -> Result<u32, BootError> {
        self.array(offset).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self, offset: u64) -> Result<u64, BootError> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// An error about what stands at `offset`.
    pub(crate) fn malformed(&self, offset: u64, problem: impl Into<String>) -> BootError {
        BootError::Malformed { format: self.format, offset, problem: problem.into() }
    }
}

/// Writes one byte at a constant offset of a buffer of ours.
pub(crate) fn put_u8(buffer: &mut [u8], offset: usize, value: u8) {
    buffer[offset] = value;
}

/// Writes 16 bits at a constant offset of a buffer of ours.
pub(crate) fn put_u16(buffer: &mut [u8], offset: usize, value: u16) {
    buffer[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

/// Writes 32 bits at a constant offset of a buffer of ours.
pub(crate) fn put_u32(buffer: &mut [u8], offset: usize, value: u32) {
    buffer[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes 64 bits at a constant offset of a buffer of ours.
pub(crate) fn put_u64(buffer: &mut [u8], offset: usize, value: u64) {
    buffer[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_little_endian_and_checked() {
        let view = View::new("test image", &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(view.u8(8).unwrap(), 9);
        assert_eq!(view.u16(1).unwrap(), 0x0302);
        assert_eq!(view.u32(5).unwrap(), 0x0908_0706);
        assert_eq!(view.u64(1).unwrap(), 0x0908_0706_0504_0302);
        assert!(view.u64(2).is_err());
        assert!(view.slice(u64::MAX, 2).is_err());
        assert!(view.slice(2, u64::MAX).is_err());
        assert_eq!(view.slice(9, 0).unwrap(), &[] as &[u8]);
    }

    #[test]
    fn an_error_names_the_offset_and_the_length_of_the_file() {
        let error = View::new("test image", &[0; 4]).u32(0x20).unwrap_err().to_string();
        assert!(
            error.contains("0x20") && error.contains("test image") && error.contains("4 bytes"),
            "{error}"
        );
    }

    #[test]
    fn writers_write_little_endian() {
        let mut buffer = [0; 16];
        put_u8(&mut buffer, 0, 1);
        put_u16(&mut buffer, 1, 0x0302);
        put_u32(&mut buffer, 3, 0x0706_0504);
        put_u64(&mut buffer, 7, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(buffer, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0]);
    }
}
