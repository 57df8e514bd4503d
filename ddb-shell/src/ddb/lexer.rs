//! The words of a line, as ddb(4) reads them: numbers in the radix `$radix`, symbols, operators; and what BSD has
//! not: C expressions in braces and places in time.
//!
//! A number begins with a digit, so that `dead` is a symbol and `0dead` a number. `0x`, `0o` and `0t` choose
//! hexadecimal, octal and decimal. Letters of a symbol are those of C, `:`, and anything behind a backslash.

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A number.
    Number(u64),
    /// A symbol, command or other name.
    Name(String),
    /// A variable or register, without its `$`.
    Variable(String),
    /// A C expression, without its braces.
    Braces(String),
    /// A place in time, with its `@`.
    Place(String),
    /// Anything else: an operator or separator, one or two characters.
    Mark(&'static str),
    /// The end of the line.
    End,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    /// A letter that is no digit of the radix.
    #[error(
        "Bad character in number: `{0}`; a symbol begins with a letter, a number in another radix with 0x, 0o or 0t"
    )]
    Digit(char),
    /// More than 64 bits.
    #[error("The number `{0}` does not fit into 64 bits")]
    TooLarge(String),
    /// A character that begins no word.
    #[error("Bad character `{0}`")]
    Character(char),
    /// A brace without its counterpart.
    #[error("A `{{` without its `}}`")]
    Unclosed,
}

/// Longest first.
const MARKS: [&str; 32] = [
    "||", "&&", "==", "!=", "<=", ">=", "<<", ">>", "..", ".", "+", "-", "*", "/", "%", "#", "&", "|", "^",
    "~", "!", "<", ">", "(", ")", ",", "=", "'", "\"", ";", "?", "[",
];

/// Reads a line word by word.
#[derive(Clone, Debug)]
pub struct Lexer<'t> {
    text: &'t str,
    at: usize,
    radix: u32,
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '\\'
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '\\'
}

impl<'t> Lexer<'t> {
    /// Reads `text`, with numbers in `radix` where they do not say their own.
    #[must_use]
    pub fn new(text: &'t str, radix: u32) -> Lexer<'t> {
        Lexer { text, at: 0, radix }
    }

    /// What has not been read yet, without leading blanks.
    #[must_use]
    pub fn rest(&self) -> &'t str {
        self.text[self.at..].trim_start()
    }

    /// Reads the rest as it stands.
    pub fn take_rest(&mut self) -> &'t str {
        let rest = self.rest().trim_end();
        self.at = self.text.len();
        rest
    }

    /// Reads `FILE:LINE`, if that stands here: a file has a dot in its name, a line is decimal.
    pub fn source_line(&mut self) -> Option<(String, u64)> {
        let rest = self.rest();
        let word = &rest[..rest.find([' ', '\t', ',']).unwrap_or(rest.len())];
        let (file, line) = word.rsplit_once(':')?;
        let is_file = file.rsplit('/').next().is_some_and(|name| name.contains('.'));
        let line = line.parse().ok().filter(|_| is_file)?;
        self.at = self.text.len() - rest.len() + word.len();
        Some((file.to_owned(), line))
    }

    /// Numbers that do not say their radix are read in this one from now on.
    pub fn set_radix(&mut self, radix: u32) {
        self.radix = radix;
    }

    /// The modifier directly behind a command: `/x` or `/10`.
    pub fn modifier(&mut self) -> Option<&'t str> {
        let rest = self.text[self.at..].strip_prefix('/')?;
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += 1 + length;
        Some(&rest[..length])
    }

    /// The next word, left where it is.
    ///
    /// # Errors
    /// As [`Lexer::next`].
    pub fn peek(&self) -> Result<Token, LexError> {
        self.clone().next()
    }

    /// Reads the next word if it is this mark.
    pub fn accept(&mut self, mark: &str) -> bool {
        let mut ahead = self.clone();
        let is_it = matches!(ahead.next(), Ok(Token::Mark(found)) if found == mark);
        if is_it {
            *self = ahead;
        }
        is_it
    }

    /// Reads the next word.
    ///
    /// # Errors
    /// It is none.
    #[expect(clippy::should_implement_trait, reason = "a line ends by a token, not by None")]
    pub fn next(&mut self) -> Result<Token, LexError> {
        let rest = self.rest();
        self.at = self.text.len() - rest.len();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if first.is_ascii_digit() {
            return self.number(rest);
        }
        if is_name_start(first) {
            return Ok(Token::Name(self.name(rest)));
        }
        match first {
            '$' => {
                self.at += 1;
                Ok(Token::Variable(self.name(&rest[1..])))
            }
            '{' => self.braces(rest),
            '@' => Ok(Token::Place(self.place(rest))),
            _ => {
                let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
                let mark = mark.ok_or(LexError::Character(first))?;
                self.at += mark.len();
                Ok(Token::Mark(mark))
            }
        }
    }

    fn name(&mut self, rest: &str) -> String {
        let mut name = String::new();
        let mut characters = rest.chars().peekable();
        let mut length = 0;
        while let Some(&c) = characters.peek() {
            // A dot belongs to a name where a letter follows, as in symbols that gcc made (`foo.isra.0`).
            let is_inner_dot = c == '.'
                && !name.is_empty()
                && characters.clone().nth(1).is_some_and(|next| next.is_ascii_alphanumeric());
            if !is_name(c) && !is_inner_dot {
                break;
            }
            characters.next();
            length += c.len_utf8();
            let taken = if c == '\\' { characters.next() } else { Some(c) };
            if let Some(taken) = taken {
                name.push(taken);
                length += if c == '\\' { taken.len_utf8() } else { 0 };
            }
        }
        self.at += length;
        name
    }

    fn number(&mut self, rest: &str) -> Result<Token, LexError> {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let text = &rest[..length];
        let lower = text.to_ascii_lowercase();
        let (digits, radix) = match (lower.get(..2), self.radix) {
            (Some("0x"), _) => (&lower[2..], 16),
            (Some("0o"), _) => (&lower[2..], 8),
            (Some("0t"), _) => (&lower[2..], 10),
            (_, radix) => (&lower[..], radix),
        };
        let digits: String = digits.chars().filter(|&c| c != '_').collect();
        if let Some(wrong) = digits.chars().find(|c| !c.is_digit(radix)) {
            return Err(LexError::Digit(wrong));
        }
        let value = u64::from_str_radix(&digits, radix).map_err(|_| LexError::TooLarge(text.to_owned()))?;
        self.at += length;
        Ok(Token::Number(value))
    }

    fn braces(&mut self, rest: &str) -> Result<Token, LexError> {
        let mut depth = 0;
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += index + 1;
                return Ok(Token::Braces(rest[1..index].trim().to_owned()));
            }
        }
        Err(LexError::Unclosed)
    }

    /// A place ends at a blank or comma; one that is a regular expression, at its second slash.
    fn place(&mut self, rest: &str) -> String {
        let length = match rest.strip_prefix("@/") {
            Some(pattern) => pattern.find('/').map_or(rest.len(), |end| end + 3),
            None => rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len()),
        };
        self.at += length;
        rest[..length].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Token>, LexError> {
        let mut lexer = Lexer::new(text, 16);
        let mut tokens = Vec::new();
        loop {
            match lexer.next()? {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    fn name(text: &str) -> Token {
        Token::Name(text.to_owned())
    }

    #[test]
    fn numbers_are_in_the_radix_unless_they_say_another() {
        let numbers = all("10 0t10 0o17 0xdead_beef 0dead").unwrap();
        assert_eq!(numbers, [0x10, 10, 15, 0xdead_beef, 0xdead].map(Token::Number));
        assert_eq!(all("dead").unwrap(), [name("dead")]);
        assert_eq!(all("0t1f"), Err(LexError::Digit('f')));
        assert_eq!(all("10000000000000000"), Err(LexError::TooLarge("10000000000000000".to_owned())));
    }

    #[test]
    fn names_hold_colons_escapes_and_the_dots_that_compilers_make() {
        assert_eq!(
            all("a:b \\+x foo.isra.0 foo.").unwrap()[..3],
            [name("a:b"), name("+x"), name("foo.isra.0")]
        );
        assert_eq!(all("foo.").unwrap(), [name("foo"), Token::Mark(".")]);
    }

    #[test]
    fn places_and_c_expressions_are_single_words() {
        assert_eq!(
            all("{a->b + {c}} @1_000 @/a b/ @:x,5").unwrap(),
            [
                Token::Braces("a->b + {c}".to_owned()),
                Token::Place("@1_000".to_owned()),
                Token::Place("@/a b/".to_owned()),
                Token::Place("@:x".to_owned()),
                Token::Mark(","),
                Token::Number(5)
            ]
        );
        assert_eq!(all("{a"), Err(LexError::Unclosed));
    }
}
