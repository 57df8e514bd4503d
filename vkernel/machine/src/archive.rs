//! Saving, loading and digesting state, by one description of each type.
//!
//! A type says once, in [`persist!`], which fields it has; saving, loading and digesting all walk that list.
//! The macro destructures exhaustively, so a new field does not compile until somebody decides about it.
//! The bytes are a private format between a `save` and a `load` of the same build: checkpoints are a cache.
//! What a trace stores is defined in `recorder`, never here.

use std::collections::VecDeque;

/// A type whose state can be saved, loaded and digested.
pub trait Persist {
    /// Writes `self` to the archive, or replaces it by what the archive holds.
    fn persist(&mut self, archive: &mut Archive);
}

/// A one-way stream of state: either being written or being read.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    direction: Direction,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Write,
    Read { at: usize },
}

impl Archive {
    /// An empty archive, to save into.
    #[must_use]
    pub fn writer() -> Archive {
        Archive { bytes: Vec::new(), direction: Direction::Write }
    }

    /// An archive to load from.
    #[must_use]
    pub fn reader(bytes: Vec<u8>) -> Archive {
        Archive { bytes, direction: Direction::Read { at: 0 } }
    }

    /// Whether state is being loaded. For types that rebuild what they do not save.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        matches!(self.direction, Direction::Read { .. })
    }

    /// Saves or loads one value.
    pub fn field<T: Persist + ?Sized>(&mut self, value: &mut T) {
        value.persist(self);
    }

    /// Saves or loads raw bytes of a length both sides know.
    ///
    /// # Panics
    /// When loading past the end: the bytes did not come from a save of the same type.
    pub fn raw(&mut self, value: &mut [u8]) {
        match &mut self.direction {
            Direction::Write => self.bytes.extend_from_slice(value),
            Direction::Read { at } => {
                let end = *at + value.len();
                assert!(end <= self.bytes.len(), "archive ends early: it was saved by another type");
                value.copy_from_slice(&self.bytes[*at..end]);
                *at = end;
            }
        }
    }

    /// The bytes saved, or, after loading, nothing left over.
    ///
    /// # Panics
    /// When loading ended before the end of the archive.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        if let Direction::Read { at } = self.direction {
            assert_eq!(at, self.bytes.len(), "archive has bytes left over: it was saved by another type");
        }
        self.bytes
    }

    fn length(&mut self, length: usize) -> usize {
        let mut stored = length as u64;
        self.field(&mut stored);
        stored as usize
    }
}

/// Saves `value` to bytes.
#[must_use]
pub fn save<T: Persist + ?Sized>(value: &mut T) -> Vec<u8> {
    let mut archive = Archive::writer();
    archive.field(value);
    archive.finish()
}

/// Replaces `value` by what [`save`] wrote.
pub fn load<T: Persist + ?Sized>(value: &mut T, bytes: Vec<u8>) {
    let mut archive = Archive::reader(bytes);
    archive.field(value);
    let _ = archive.finish();
}

macro_rules! persist_integer {
    ($($integer:ty),*) => {$(
        impl Persist for $integer {
            fn persist(&mut self, archive: &mut Archive) {
                let mut bytes = self.to_le_bytes();
                archive.raw(&mut bytes);
                *self = <$integer>::from_le_bytes(bytes);
            }
        }
    )*};
}
persist_integer!(u8, u16, u32, u64, u128, i8, i16, i32, i64);

impl Persist for bool {
    fn persist(&mut self, archive: &mut Archive) {
        let mut byte = u8::from(*self);
        archive.field(&mut byte);
        *self = byte != 0;
    }
}

impl Persist for usize {
    fn persist(&mut self, archive: &mut Archive) {
        *self = archive.length(*self);
    }
}

impl<T: Persist, const N: usize> Persist for [T; N] {
    fn persist(&mut self, archive: &mut Archive) {
        self.iter_mut().for_each(|element| archive.field(element));
    }
}

impl<T: Persist + Default> Persist for Vec<T> {
    fn persist(&mut self, archive: &mut Archive) {
        let length = archive.length(self.len());
        self.resize_with(length, T::default);
        self.iter_mut().for_each(|element| archive.field(element));
    }
}

impl<T: Persist + Default> Persist for VecDeque<T> {
    fn persist(&mut self, archive: &mut Archive) {
        let length = archive.length(self.len());
        self.resize_with(length, T::default);
        self.iter_mut().for_each(|element| archive.field(element));
    }
}

impl<T: Persist + Default> Persist for Option<T> {
    fn persist(&mut self, archive: &mut Archive) {
        let mut present = self.is_some();
        archive.field(&mut present);
        if present {
            archive.field(self.get_or_insert_with(T::default));
        } else {
            *self = None;
        }
    }
}

impl<A: Persist, B: Persist> Persist for (A, B) {
    fn persist(&mut self, archive: &mut Archive) {
        archive.field(&mut self.0);
        archive.field(&mut self.1);
    }
}

impl Persist for String {
    fn persist(&mut self, archive: &mut Archive) {
        let mut bytes = std::mem::take(self).into_bytes();
        archive.field(&mut bytes);
        *self = String::from_utf8(bytes).expect("a saved string is UTF-8");
    }
}

impl Persist for boundary::VirtualTime {
    fn persist(&mut self, archive: &mut Archive) {
        archive.field(&mut self.0);
    }
}

/// Implements [`Persist`] for a struct by naming all its fields. Fields after `skip:` are configuration or
/// caches, which their owner rebuilds.
///
/// `persist!(Pit { channels, speaker; skip: frequency });`
#[macro_export]
macro_rules! persist {
    ($name:ty { $($field:ident),* $(,)? $(; skip: $($skipped:ident),* $(,)?)? }) => {
        impl $crate::archive::Persist for $name {
            fn persist(&mut self, archive: &mut $crate::archive::Archive) {
                let Self { $($field,)* $($($skipped: _,)*)? } = self;
                $(archive.field($field);)*
            }
        }
    };
}

/// Implements [`Persist`] for a fieldless enum by naming all its variants; the default is the first.
///
/// `persist_enum!(Activity { Running, Halted, WaitForSipi });`
#[macro_export]
macro_rules! persist_enum {
    ($name:ident { $first:ident $(, $variant:ident)* $(,)? }) => {
        impl $crate::archive::Persist for $name {
            fn persist(&mut self, archive: &mut $crate::archive::Archive) {
                const ALL: &[$name] = &[$name::$first $(, $name::$variant)*];
                // A variant missing from ALL does not compile here.
                match self { $name::$first => {} $($name::$variant => {})* }
                let mut index = ALL.iter().position(|other| other == self).expect("every variant is in ALL") as u8;
                archive.field(&mut index);
                *self = ALL[usize::from(index)];
            }
        }
    };
}
