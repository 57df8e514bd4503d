//! Words of C: names, numbers, operators.

use super::ExprError;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    /// `$name`, without the dollar.
    Register(&'a str),
    /// A number and what its suffix says.
    Integer(Integer),
    Operator(&'static str),
    End,
}

/// An integer literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    pub value: u64,
    /// Written in decimal: then it is never unsigned by itself.
    pub is_decimal: bool,
    pub is_unsigned: bool,
    pub is_long: bool,
    /// A character constant, of type `char` here, so that it prints as one.
    pub is_char: bool,
}

/// The longest first.
const OPERATORS: [&str; 33] = [
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "->", "::", "+", "-", "*", "/", "%", "&", "|", "^", "~",
    "!", "<", ">", "?", ":", "(", ")", "[", "]", ".", ",", "@", "{", "}",
];

/// Words with the places where they begin.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token<'_>, usize)>, ExprError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = text.len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = if is_name_start(first) {
            let length = name_length(rest);
            (Token::Name(&rest[..length]), length)
        } else if first == '$' {
            let length = name_length(&rest[1..]);
            if length == 0 {
                return Err(syntax("a register's name is missing", rest));
            }
            (Token::Register(&rest[1..=length]), length + 1)
        } else if first.is_ascii_digit() {
            integer(rest)?
        } else if first == '\'' {
            character(rest)?
        } else {
            let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator));
            let operator = operator.ok_or_else(|| syntax("this is no part of an expression", rest))?;
            (Token::Operator(operator), operator.len())
        };
        tokens.push((token, at));
        at += length;
    }
    tokens.push((Token::End, text.len()));
    Ok(tokens)
}

/// How much of a text is shown where it could not be read on.
const REST_CHARACTERS: usize = 60;

pub(super) fn syntax(message: &str, rest: &str) -> ExprError {
    let mut shown: String = rest.chars().take(REST_CHARACTERS).collect();
    if shown.is_empty() {
        shown.push_str("the end");
    } else if shown.len() < rest.len() {
        shown.push_str("...");
    }
    ExprError::Syntax { message: message.to_owned(), rest: shown }
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn name_length(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    end.unwrap_or(text.len())
}

fn integer(rest: &str) -> Result<(Token<'_>, usize), ExprError> {
    let length = name_length(rest);
    let word = rest[..length].to_ascii_lowercase();
    let without_suffix = match word.starts_with("0x") {
        true => word.trim_end_matches(['u', 'l']),
        false => word.trim_end_matches(['u', 'l', 'U', 'L']),
    };
    let suffix = &word[without_suffix.len()..];
    let (digits, radix) = match without_suffix {
        hexadecimal if hexadecimal.starts_with("0x") => (&hexadecimal[2..], 16),
        binary if binary.starts_with("0b") => (&binary[2..], 2),
        octal if octal.starts_with('0') && octal.len() > 1 => (&octal[1..], 8),
        decimal => (decimal, 10),
    };
    let is_sound_suffix = matches!(suffix, "" | "u" | "l" | "ul" | "lu" | "ll" | "ull" | "llu");
    let value = u64::from_str_radix(digits, radix).ok().filter(|_| is_sound_suffix);
    let value = value.ok_or_else(|| syntax("this is no number", rest))?;
    let integer = Integer {
        value,
        is_decimal: radix == 10,
        is_unsigned: suffix.contains('u'),
        is_long: suffix.contains('l'),
        is_char: false,
    };
    Ok((Token::Integer(integer), length))
}

fn character(rest: &str) -> Result<(Token<'_>, usize), ExprError> {
    let wrong = || syntax("this is no character", rest);
    let inner = &rest[1..];
    let end = inner.char_indices().skip(1).find(|&(at, c)| c == '\'' && &inner[..at] != "\\");
    let body = &inner[..end.ok_or_else(wrong)?.0];
    let value = match body.strip_prefix('\\') {
        None if body.len() == 1 => body.as_bytes()[0],
        None => return Err(wrong()),
        Some("n") => b'\n',
        Some("t") => b'\t',
        Some("r") => b'\r',
        Some("0") => 0,
        Some("\\") => b'\\',
        Some("'") => b'\'',
        Some("\"") => b'"',
        Some(other) => match other.strip_prefix('x') {
            Some(digits) => u8::from_str_radix(digits, 16).map_err(|_| wrong())?,
            None => u8::from_str_radix(other, 8).map_err(|_| wrong())?,
        },
    };
    let integer = Integer {
        value: i64::from(value as i8) as u64,
        is_decimal: true,
        is_unsigned: false,
        is_long: false,
        is_char: true,
    };
    Ok((Token::Integer(integer), body.len() + 2))
}
