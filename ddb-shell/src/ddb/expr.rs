//! Expressions, as ddb(4) has them, evaluated as they are read.
//!
//! Binary operators, lowest first: `||`, `&&`, comparisons, shifts, `+ - |`, `* / % # &`; unary `- * ! ~`. `#` rounds up
//! to a multiple. Terms: numbers, symbols, `$variables` and `$registers`, `.` (dot), `..` (the start of the last line
//! examined), `+` (the next address), `'` or `"` (the last address given), `( )`, and C in braces. All arithmetic is
//! of 64 bits and wraps.

use super::lexer::{LexError, Lexer, Token};

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// A word that cannot be read.
    #[error(transparent)]
    Lex(#[from] LexError),
    /// No such symbol.
    #[error("Symbol `{0}` not found")]
    Symbol(String),
    /// No such variable or register.
    #[error("Unknown variable `${0}`")]
    Variable(String),
    /// Something else should follow.
    #[error("Expression syntax error after `{0}`")]
    Syntax(String),
    /// Brackets or operators within each other, without end.
    #[error("The expression is nested too deeply")]
    Nesting,
    /// A divisor of zero.
    #[error("Division by 0")]
    Division,
    /// A shift by more than 63, or by a negative number.
    #[error("Cannot shift by {0}")]
    Shift(i64),
    /// Memory that cannot be read.
    #[error("{0}")]
    Memory(String),
    /// An expression of C without a value.
    #[error("{0}")]
    C(String),
}

/// What names mean.
pub trait Scope {
    /// The address of a symbol.
    fn symbol(&self, name: &str) -> Option<u64>;
    /// The value of a variable or register.
    fn variable(&self, name: &str) -> Option<u64>;
    /// Eight bytes of memory.
    ///
    /// # Errors
    /// They are not mapped.
    fn load(&self, vaddr: u64) -> Result<u64, String>;
    /// The value of an expression of C.
    ///
    /// # Errors
    /// It has none.
    fn c_value(&self, text: &str) -> Result<u64, String>;
    /// Dot: the address last looked at.
    fn dot(&self) -> u64;
    /// The address behind it.
    fn next_address(&self) -> u64;
    /// The start of the last line examined.
    fn line_start(&self) -> u64;
    /// The address last given.
    fn last_given(&self) -> u64;
}

/// Reads an expression and gives its value; `None` if there is none.
///
/// # Errors
/// Words that make no expression, or have no value.
pub fn optional(lexer: &mut Lexer<'_>, scope: &dyn Scope) -> Result<Option<u64>, ExprError> {
    match lexer.peek()? {
        Token::End | Token::Place(_) | Token::Mark("," | "=" | ")" | "/" | "?" | ";") => Ok(None),
        _ => expression(lexer, scope).map(Some),
    }
}

/// Reads an expression and gives its value.
///
/// # Errors
/// As [`optional`], or there is none.
pub fn expression(lexer: &mut Lexer<'_>, scope: &dyn Scope) -> Result<u64, ExprError> {
    nested(lexer, scope, 0)
}

/// Brackets and unary operators within each other, before an expression is refused: the reading is recursive.
const DEPTH_MAX: usize = 100;

fn nested(lexer: &mut Lexer<'_>, scope: &dyn Scope, depth: usize) -> Result<u64, ExprError> {
    if depth > DEPTH_MAX {
        return Err(ExprError::Nesting);
    }
    binary(lexer, scope, 0, depth)
}

/// The operators by precedence, the loosest first.
const LEVELS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-", "|"],
    &["*", "/", "%", "#", "&"],
];

fn binary(lexer: &mut Lexer<'_>, scope: &dyn Scope, level: usize, depth: usize) -> Result<u64, ExprError> {
    let Some(operators) = LEVELS.get(level) else { return unary(lexer, scope, depth) };
    let mut left = binary(lexer, scope, level + 1, depth)?;
    while let Ok(Token::Mark(operator)) = lexer.peek() {
        if !operators.contains(&operator) {
            break;
        }
        lexer.next()?;
        if lexer.peek()? == Token::End {
            return Err(ExprError::Syntax(operator.to_owned()));
        }
        let right = binary(lexer, scope, level + 1, depth)?;
        left = apply(operator, left, right)?;
    }
    Ok(left)
}

fn apply(operator: &str, left: u64, right: u64) -> Result<u64, ExprError> {
    let divided = |by: fn(u64, u64) -> Option<u64>| by(left, right).ok_or(ExprError::Division);
    let shifted = |by: fn(u64, u32) -> u64| {
        let count = u32::try_from(right).ok().filter(|count| *count < 64);
        count.map(|count| by(left, count)).ok_or(ExprError::Shift(right as i64))
    };
    Ok(match operator {
        "||" => u64::from(left != 0 || right != 0),
        "&&" => u64::from(left != 0 && right != 0),
        "==" => u64::from(left == right),
        "!=" => u64::from(left != right),
        "<=" => u64::from(left <= right),
        ">=" => u64::from(left >= right),
        "<" => u64::from(left < right),
        ">" => u64::from(left > right),
        "<<" => shifted(|value, count| value << count)?,
        ">>" => shifted(|value, count| value >> count)?,
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "|" => left | right,
        "*" => left.wrapping_mul(right),
        "/" => divided(u64::checked_div)?,
        "%" => divided(u64::checked_rem)?,
        "&" => left & right,
        // Rounds up to a multiple.
        _ => divided(|left, right| {
            Some(left.wrapping_add(right.wrapping_sub(1)).checked_div(right)?.wrapping_mul(right))
        })?,
    })
}

fn unary(lexer: &mut Lexer<'_>, scope: &dyn Scope, depth: usize) -> Result<u64, ExprError> {
    if depth > DEPTH_MAX {
        return Err(ExprError::Nesting);
    }
    match lexer.peek()? {
        Token::Mark("-") => {
            lexer.next()?;
            Ok(unary(lexer, scope, depth + 1)?.wrapping_neg())
        }
        Token::Mark("!") => {
            lexer.next()?;
            Ok(u64::from(unary(lexer, scope, depth + 1)? == 0))
        }
        Token::Mark("~") => {
            lexer.next()?;
            Ok(!unary(lexer, scope, depth + 1)?)
        }
        Token::Mark("*") => {
            lexer.next()?;
            let vaddr = unary(lexer, scope, depth + 1)?;
            scope.load(vaddr).map_err(ExprError::Memory)
        }
        _ => term(lexer, scope, depth),
    }
}

fn term(lexer: &mut Lexer<'_>, scope: &dyn Scope, depth: usize) -> Result<u64, ExprError> {
    match lexer.next()? {
        Token::Number(value) => Ok(value),
        Token::Name(name) => scope.symbol(&name).ok_or(ExprError::Symbol(name)),
        Token::Variable(name) => scope.variable(&name).ok_or(ExprError::Variable(name)),
        Token::Braces(text) => scope.c_value(&text).map_err(ExprError::C),
        Token::Mark(".") => Ok(scope.dot()),
        Token::Mark("..") => Ok(scope.line_start()),
        Token::Mark("+") => Ok(scope.next_address()),
        Token::Mark("'" | "\"") => Ok(scope.last_given()),
        Token::Mark("(") => {
            let value = nested(lexer, scope, depth + 1)?;
            if lexer.accept(")") { Ok(value) } else { Err(ExprError::Syntax("(".to_owned())) }
        }
        Token::Mark(mark) => Err(ExprError::Syntax(mark.to_owned())),
        Token::Place(place) => Err(ExprError::Syntax(place)),
        Token::End => Err(ExprError::Syntax("the end of the line".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Scope for Fixed {
        fn symbol(&self, name: &str) -> Option<u64> {
            (name == "main").then_some(0x1000)
        }
        fn variable(&self, name: &str) -> Option<u64> {
            (name == "rax").then_some(7)
        }
        fn load(&self, vaddr: u64) -> Result<u64, String> {
            Ok(vaddr + 1)
        }
        fn c_value(&self, text: &str) -> Result<u64, String> {
            Ok(text.len() as u64)
        }
        fn dot(&self) -> u64 {
            0x20
        }
        fn next_address(&self) -> u64 {
            0x30
        }
        fn line_start(&self) -> u64 {
            0x40
        }
        fn last_given(&self) -> u64 {
            0x50
        }
    }

    fn value(text: &str) -> Result<u64, ExprError> {
        let mut lexer = Lexer::new(text, 16);
        let value = expression(&mut lexer, &Fixed)?;
        assert_eq!(lexer.rest(), "", "{text}");
        Ok(value)
    }

    #[test]
    fn operators_bind_as_in_the_manual() {
        for (text, result) in [
            ("10+2*3", 0x16),
            ("1+2<<4", 0x30),
            ("1001#1000", 0x2000),
            ("1000#1000", 0x1000),
            ("8000000000000000>>3f", 1),
            ("main+10==1010 && $rax", 1),
            ("!1 || ~0 == -1", 1),
            ("*(main+8)", 0x1009),
            (". + .. + + + '", 0x20 + 0x40 + 0x30 + 0x50),
            ("{a->b}", 4),
            ("2*-1", 0u64.wrapping_sub(2)),
            ("0ff & 0f | 10", 0x1f),
        ] {
            assert_eq!(value(text), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_says_why() {
        assert_eq!(value("1/0"), Err(ExprError::Division));
        assert_eq!(value("1#0"), Err(ExprError::Division));
        assert_eq!(value("1<<40"), Err(ExprError::Shift(0x40)));
        assert_eq!(value("nobody"), Err(ExprError::Symbol("nobody".to_owned())));
        assert_eq!(value("$nobody"), Err(ExprError::Variable("nobody".to_owned())));
        assert_eq!(value("1+"), Err(ExprError::Syntax("+".to_owned())));
        assert_eq!(value("(1"), Err(ExprError::Syntax("(".to_owned())));
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        for (open, close) in [("(", ")"), ("-", ""), ("!", ""), ("~", ""), ("*", ""), ("-(", ")")] {
            let nested = |times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
            assert!(value(&nested(50)).is_ok(), "{open}");
            assert_eq!(value(&nested(100_000)[..100_000]), Err(ExprError::Nesting), "{open}");
        }
        assert_eq!(value(&"1+".repeat(100_000)[..199_999]), Ok(100_000), "a row is not nested");
    }
}
