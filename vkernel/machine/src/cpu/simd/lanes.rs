//! A vector register as an array of lanes, lowest first.

/// Defines, for one lane type: split a vector, join lanes, and combine two vectors lane by lane.
macro_rules! lanes {
    ($($lane:ident $split:ident $join:ident $zip:ident;)*) => { $(
        #[inline]
        pub fn $split(vector: u128) -> [$lane; 16 / size_of::<$lane>()] {
            let bytes = vector.to_le_bytes();
            let (chunks, _) = bytes.as_chunks();
            std::array::from_fn(|index| $lane::from_le_bytes(chunks[index]))
        }

        #[inline]
        pub fn $join(lanes: [$lane; 16 / size_of::<$lane>()]) -> u128 {
            let mut bytes = [0; 16];
            let (chunks, _) = bytes.as_chunks_mut();
            for (chunk, lane) in chunks.iter_mut().zip(lanes) {
                *chunk = lane.to_le_bytes();
            }
            u128::from_le_bytes(bytes)
        }

        #[inline]
        pub fn $zip(a: u128, b: u128, combine: impl Fn($lane, $lane) -> $lane) -> u128 {
            let (a, b) = ($split(a), $split(b));
            $join(std::array::from_fn(|index| combine(a[index], b[index])))
        }
    )* };
}

lanes! {
    u8 split_u8 join_u8 zip_u8;
    i8 split_i8 join_i8 zip_i8;
    u16 split_u16 join_u16 zip_u16;
    i16 split_i16 join_i16 zip_i16;
    u32 split_u32 join_u32 zip_u32;
    i32 split_i32 join_i32 zip_i32;
    u64 split_u64 join_u64 zip_u64;
    i64 split_i64 join_i64 zip_i64;
}
