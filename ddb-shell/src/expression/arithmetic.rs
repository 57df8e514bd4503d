//! Numbers as C has them: their lengths and signs, promotions and conversions. A number is kept in 64 bits, extended by
//! its sign.

use super::ExprError;
use super::parser::Binary;
use crate::symbols::types::{Shape, TypeError, TypeRef, Types};

/// The kind of a scalar that can be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    /// 1, 2, 4 or 8.
    pub size_bytes: u64,
    pub is_signed: bool,
    pub is_boolean: bool,
}

impl Scalar {
    /// The kind of a type; `None` for what is no scalar, or one that is not computed with.
    pub fn of(types: &Types<'_>, type_ref: &TypeRef) -> Result<Option<Scalar>, TypeError> {
        let (_, found) = types.resolve(type_ref)?;
        let size_bytes = found.size_bytes.unwrap_or(0);
        let (is_signed, is_boolean) = match &found.shape {
            Shape::Integer { is_signed, .. } => (*is_signed, false),
            Shape::Boolean => (false, true),
            Shape::Enumeration { is_signed, .. } => (*is_signed, false),
            Shape::Pointer(_) => (false, false),
            _ => return Ok(None),
        };
        let is_computable = matches!(size_bytes, 1 | 2 | 4 | 8);
        Ok(is_computable.then_some(Scalar { size_bytes, is_signed, is_boolean }))
    }

    /// An integer of expressions.
    pub fn integer(size_bytes: u64, is_signed: bool) -> Scalar {
        Scalar { size_bytes, is_signed, is_boolean: false }
    }

    /// The integer promotion: what fits an `int` becomes one.
    pub fn promoted(self) -> Scalar {
        if self.size_bytes < 4 { Scalar::integer(4, true) } else { Scalar { is_boolean: false, ..self } }
    }

    /// The kind that two operands are converted to.
    pub fn common(self, other: Scalar) -> Scalar {
        let (left, right) = (self.promoted(), other.promoted());
        let size_bytes = left.size_bytes.max(right.size_bytes);
        let is_unsigned = [left, right].iter().any(|it| it.size_bytes == size_bytes && !it.is_signed);
        Scalar::integer(size_bytes, !is_unsigned)
    }

    /// The number made to fit: cut, and extended by its sign.
    pub fn fit(self, number: u64) -> u64 {
        if self.is_boolean {
            return u64::from(number != 0);
        }
        let unused_bits = 64 - 8 * self.size_bytes as u32;
        match self.is_signed {
            true => (((number << unused_bits) as i64) >> unused_bits) as u64,
            false => number << unused_bits >> unused_bits,
        }
    }

    /// The number in some bytes of memory.
    pub fn number_in(self, bytes: &[u8]) -> u64 {
        let mut whole = [0; 8];
        let length = bytes.len().min(self.size_bytes as usize);
        whole[..length].copy_from_slice(&bytes[..length]);
        self.fit(u64::from_le_bytes(whole))
    }

    /// The bytes of a number.
    pub fn bytes(self, number: u64) -> Vec<u8> {
        number.to_le_bytes()[..self.size_bytes as usize].to_vec()
    }

    /// Computes. Both numbers are of this kind, but for the right one of a shift. Comparisons give 0 or 1.
    pub fn compute(self, operator: Binary, left: u64, right: u64) -> Result<u64, ExprError> {
        let bits = 8 * self.size_bytes;
        let (signed_left, signed_right) = (left as i64, right as i64);
        let is_less = |or_equal: bool, left: u64, right: u64| {
            let is_less = if self.is_signed { (left as i64) < right as i64 } else { left < right };
            u64::from(is_less || or_equal && left == right)
        };
        let number = match operator {
            Binary::Multiply => left.wrapping_mul(right),
            Binary::Divide | Binary::Remainder if right == 0 => return Err(ExprError::DivisionByZero),
            Binary::Divide if self.is_signed => signed_left.wrapping_div(signed_right) as u64,
            Binary::Divide => left / right,
            Binary::Remainder if self.is_signed => signed_left.wrapping_rem(signed_right) as u64,
            Binary::Remainder => left % right,
            Binary::Add => left.wrapping_add(right),
            Binary::Subtract => left.wrapping_sub(right),
            Binary::ShiftLeft => left << (right % bits),
            Binary::ShiftRight if self.is_signed => (signed_left >> (right % bits)) as u64,
            Binary::ShiftRight => left >> (right % bits),
            Binary::BitAnd => left & right,
            Binary::BitXor => left ^ right,
            Binary::BitOr => left | right,
            Binary::Less => return Ok(is_less(false, left, right)),
            Binary::LessOrEqual => return Ok(is_less(true, left, right)),
            Binary::Greater => return Ok(is_less(false, right, left)),
            Binary::GreaterOrEqual => return Ok(is_less(true, right, left)),
            Binary::Equal => return Ok(u64::from(left == right)),
            Binary::NotEqual => return Ok(u64::from(left != right)),
            Binary::And => return Ok(u64::from(left != 0 && right != 0)),
            Binary::Or => return Ok(u64::from(left != 0 || right != 0)),
        };
        Ok(self.fit(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: Scalar = Scalar { size_bytes: 4, is_signed: true, is_boolean: false };
    const UNSIGNED: Scalar = Scalar { size_bytes: 4, is_signed: false, is_boolean: false };
    const LONG: Scalar = Scalar { size_bytes: 8, is_signed: true, is_boolean: false };

    #[test]
    fn operands_are_converted_to_a_common_kind_as_in_c() {
        let char_kind = Scalar::integer(1, false);
        assert_eq!(char_kind.common(char_kind), INT);
        assert_eq!(INT.common(UNSIGNED), UNSIGNED);
        assert_eq!(LONG.common(UNSIGNED), LONG);
        assert_eq!(LONG.common(Scalar::integer(8, false)), Scalar::integer(8, false));
    }

    #[test]
    fn numbers_are_cut_and_extended() {
        assert_eq!(INT.fit(0xffff_ffff), u64::MAX);
        assert_eq!(UNSIGNED.fit(u64::MAX), 0xffff_ffff);
        assert_eq!(Scalar::integer(1, true).number_in(&[0x80, 1]), (-128_i64) as u64);
        assert_eq!(Scalar { size_bytes: 1, is_signed: false, is_boolean: true }.fit(0x100), 1);
    }

    #[test]
    fn signs_decide_how_to_divide_shift_and_compare() {
        let minus_8 = (-8_i64) as u64;
        assert_eq!(INT.compute(Binary::Divide, minus_8, 3), Ok((-2_i64) as u64));
        assert_eq!(INT.compute(Binary::ShiftRight, minus_8, 1), Ok((-4_i64) as u64));
        assert_eq!(UNSIGNED.compute(Binary::ShiftRight, 0xffff_fff8, 1), Ok(0x7fff_fffc));
        assert_eq!(INT.compute(Binary::Less, minus_8, 1), Ok(1));
        assert_eq!(UNSIGNED.compute(Binary::Less, 0xffff_fff8, 1), Ok(0));
        assert_eq!(INT.compute(Binary::Divide, 1, 0), Err(ExprError::DivisionByZero));
        assert_eq!(LONG.compute(Binary::Divide, i64::MIN as u64, u64::MAX), Ok(i64::MIN as u64));
    }
}
