//! AES-NI (FIPS 197; SDM vol. 1 12.13) and carry-less multiplication (SDM vol. 2, PCLMULQDQ).
//!
//! A round is four tables' worth of lookups, as usual in software; the tables are computed when this is
//! compiled. The state is in columns: byte 4c + r of the register is row r of column c.

use super::Width;
use super::lanes::*;

/// Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// The S-box: the inverse in GF(2^8), then an affine map.
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    // 3 generates the multiplicative group, and `inverse` goes around it the other way.
    let (mut element, mut inverse) = (1u8, 1u8);
    loop {
        let spread = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        table[element as usize] = spread ^ 0x63;
        element = multiply(element, 3);
        inverse = multiply(inverse, 0xf6);
        if element == 1 {
            break;
        }
    }
    // Zero has no inverse; the standard takes zero for it.
    table[0] = 0x63;
    table
};

const INVERSE_SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        table[SBOX[index] as usize] = index as u8;
        index += 1;
    }
    table
};

/// For every byte its product with the first column of a circulant matrix, as a column.
const fn column_table(substitution: Option<&[u8; 256]>, column: [u8; 4]) -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = match substitution {
            Some(map) => map[index],
            None => index as u8,
        };
        table[index] = u32::from_le_bytes([
            multiply(byte, column[0]),
            multiply(byte, column[1]),
            multiply(byte, column[2]),
            multiply(byte, column[3]),
        ]);
        index += 1;
    }
    table
}

/// SubBytes, then MixColumns.
static ENCRYPT: [u32; 256] = column_table(Some(&SBOX), [2, 1, 1, 3]);
/// InvSubBytes, then InvMixColumns.
static DECRYPT: [u32; 256] = column_table(Some(&INVERSE_SBOX), [14, 9, 13, 11]);
/// InvMixColumns alone.
static UNMIX: [u32; 256] = column_table(None, [14, 9, 13, 11]);

/// For every column: its rows looked up in `table`, row r taken from `step * r` columns further on.
fn mix(state: u128, table: &[u32; 256], step: usize) -> u128 {
    let bytes = split_u8(state);
    join_u32(std::array::from_fn(|column| {
        (0..4).fold(0, |sum, row| {
            let byte = bytes[4 * ((column + step * row) % 4) + row];
            sum ^ table[usize::from(byte)].rotate_left(8 * row as u32)
        })
    }))
}

/// The same without mixing: the last round.
fn substitute(state: u128, map: &[u8; 256], step: usize) -> u128 {
    let bytes = split_u8(state);
    join_u8(std::array::from_fn(|index| {
        let (column, row) = (index / 4, index % 4);
        map[usize::from(bytes[4 * ((column + step * row) % 4) + row])]
    }))
}

/// ShiftRows takes row r from r columns further on.
const SHIFT: usize = 1;
/// InvShiftRows takes it from r columns before.
const UNSHIFT: usize = 3;

pub fn aesenc(state: u128, key: u128, _: Width) -> u128 {
    mix(state, &ENCRYPT, SHIFT) ^ key
}

pub fn aesenclast(state: u128, key: u128, _: Width) -> u128 {
    substitute(state, &SBOX, SHIFT) ^ key
}

pub fn aesdec(state: u128, key: u128, _: Width) -> u128 {
    mix(state, &DECRYPT, UNSHIFT) ^ key
}

pub fn aesdeclast(state: u128, key: u128, _: Width) -> u128 {
    substitute(state, &INVERSE_SBOX, UNSHIFT) ^ key
}

pub fn aesimc(_: u128, key: u128, _: Width) -> u128 {
    mix(key, &UNMIX, 0)
}

/// AESKEYGENASSIST: SubWord and RotWord of doublewords 1 and 3, with the round constant.
pub fn aeskeygenassist(_: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let words = split_u32(substitute(b, &SBOX, 0));
    let constant = u32::from(immediate);
    join_u32([words[1], words[1].rotate_right(8) ^ constant, words[3], words[3].rotate_right(8) ^ constant])
}

/// PCLMULQDQ: the product of two quadwords as polynomials over GF(2), four bits at a time.
pub fn pclmulqdq(a: u128, b: u128, immediate: u8, _: Width) -> u128 {
    let a = u128::from(split_u64(a)[usize::from(immediate & 1)]);
    let b = split_u64(b)[usize::from(immediate >> 4 & 1)];
    let mut multiples = [0; 16];
    for index in 1..16 {
        multiples[index] = multiples[index / 2] << 1 ^ if index & 1 != 0 { a } else { 0 };
    }
    (0..16).rev().fold(0, |product, digit| product << 4 ^ multiples[(b >> (4 * digit)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendix B: the first round of its example.
    #[test]
    fn the_standards_example_round_comes_out() {
        let state = u128::from_be_bytes(*b"\x19\x3d\xe3\xbe\xa0\xf4\xe2\x2b\x9a\xc6\x8d\x2a\xe9\xf8\x48\x08");
        let key = u128::from_be_bytes(*b"\xa0\xfa\xfe\x17\x88\x54\x2c\xb1\x23\xa3\x39\x39\x2a\x6c\x76\x05");
        let next = u128::from_be_bytes(*b"\xa4\x9c\x7f\xf2\x68\x9f\x35\x2b\x6b\x5b\xea\x43\x02\x6a\x50\x49");
        let swap = u128::swap_bytes;
        assert_eq!(aesenc(swap(state), swap(key), Width::Sse), swap(next));
    }

    #[test]
    fn a_polynomial_times_a_power_of_x_is_a_shift() {
        let a = 0x8000_0000_0000_0001_u128;
        assert_eq!(pclmulqdq(a, 1 << 63, 0, Width::Sse), a << 63);
        assert_eq!(pclmulqdq(a << 64, 3 << 64, 0x11, Width::Sse), a ^ a << 1);
    }
}
