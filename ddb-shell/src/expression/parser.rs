//! From words to a tree, by C's precedences.

use super::ExprError;
use super::lexer::{Integer, Token, syntax, tokens};
use super::type_name::TypeName;

/// A tree of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Integer(Integer),
    Name(String),
    Register(String),
    Unary(Unary, Box<Tree>),
    Binary(Binary, Box<Tree>, Box<Tree>),
    Conditional(Box<Tree>, Box<Tree>, Box<Tree>),
    Member(Box<Tree>, String),
    Arrow(Box<Tree>, String),
    Index(Box<Tree>, Box<Tree>),
    Cast(TypeName, Box<Tree>),
    SizeOfType(TypeName),
    SizeOf(Box<Tree>),
    ContainerOf(Box<Tree>, TypeName, Vec<Designator>),
    OffsetOf(TypeName, Vec<Designator>),
    /// A CPU's copy of a variable.
    PerCpu(String, Box<Tree>),
    /// A CPU's copy of what a per-CPU pointer points to.
    PerCpuPointer(Box<Tree>, Box<Tree>),
    /// gdb's `first@count`.
    Repeat(Box<Tree>, Box<Tree>),
}

/// A step from a structure to a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Designator {
    Member(String),
    Index(Tree),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Negate,
    Plus,
    Complement,
    Not,
    Dereference,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Multiply,
    Divide,
    Remainder,
    Add,
    Subtract,
    ShiftLeft,
    ShiftRight,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    BitAnd,
    BitXor,
    BitOr,
    And,
    Or,
}

/// Operators by how strongly they bind, the weakest first.
const LEVELS: [&[(&str, Binary)]; 10] = [
    &[("||", Binary::Or)],
    &[("&&", Binary::And)],
    &[("|", Binary::BitOr)],
    &[("^", Binary::BitXor)],
    &[("&", Binary::BitAnd)],
    &[("==", Binary::Equal), ("!=", Binary::NotEqual)],
    &[
        ("<=", Binary::LessOrEqual),
        (">=", Binary::GreaterOrEqual),
        ("<", Binary::Less),
        (">", Binary::Greater),
    ],
    &[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Remainder)],
];

/// Brackets within brackets, before the text is refused: the parser is recursive.
const DEPTH_MAX: usize = 100;

/// Operators and members in a row, in the whole text: each makes the tree deeper, and what walks it is recursive.
const ROW_MAX: usize = 200;

/// Parses a whole text. `is_type` knows the names of typedefs.
pub(super) fn parse(text: &str, is_type: &dyn Fn(&str) -> bool) -> Result<Tree, ExprError> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0, row: 0, is_type };
    let tree = parser.conditional()?;
    match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.error("the expression should end")),
    }
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token<'a>, usize)>,
    at: usize,
    depth: usize,
    row: usize,
    is_type: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    pub fn peek(&self) -> &Token<'a> {
        self.peek_after(0)
    }

    fn peek_after(&self, ahead: usize) -> &Token<'a> {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)].0
    }

    pub fn take(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub fn is_next(&self, operator: &str) -> bool {
        matches!(self.peek(), Token::Operator(next) if *next == operator)
    }

    pub fn accept(&mut self, operator: &str) -> bool {
        let is_next = self.is_next(operator);
        self.at += usize::from(is_next);
        is_next
    }

    pub fn expect(&mut self, operator: &str) -> Result<(), ExprError> {
        if self.accept(operator) { Ok(()) } else { Err(self.error(&format!("`{operator}` is missing"))) }
    }

    pub fn error(&self, message: &str) -> ExprError {
        let at = self.tokens[self.at.min(self.tokens.len() - 1)].1;
        syntax(message, &self.text[at..])
    }

    pub fn is_type(&self, name: &str) -> bool {
        (self.is_type)(name)
    }

    pub fn conditional(&mut self) -> Result<Tree, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the expression is nested too deeply"));
        }
        let mut tree = self.binary(0)?;
        if self.accept("?") {
            let yes = self.conditional()?;
            self.expect(":")?;
            let no = self.conditional()?;
            tree = Tree::Conditional(Box::new(tree), Box::new(yes), Box::new(no));
        }
        self.depth -= 1;
        Ok(tree)
    }

    fn binary(&mut self, level: usize) -> Result<Tree, ExprError> {
        let Some(operators) = LEVELS.get(level) else { return self.repeat() };
        let mut left = self.binary(level + 1)?;
        while let Some((word, operator)) = operators.iter().find(|(word, _)| self.is_next(word)) {
            self.expect(word)?;
            self.lengthen()?;
            let right = self.binary(level + 1)?;
            left = Tree::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    /// The tree becomes deeper by an operator behind it.
    fn lengthen(&mut self) -> Result<(), ExprError> {
        self.row += 1;
        if self.row > ROW_MAX { Err(self.error("the expression is too long")) } else { Ok(()) }
    }

    fn repeat(&mut self) -> Result<Tree, ExprError> {
        let first = self.unary()?;
        if !self.accept("@") {
            return Ok(first);
        }
        Ok(Tree::Repeat(Box::new(first), Box::new(self.unary()?)))
    }

    fn unary(&mut self) -> Result<Tree, ExprError> {
        const OPERATORS: [(&str, Unary); 6] = [
            ("-", Unary::Negate),
            ("+", Unary::Plus),
            ("~", Unary::Complement),
            ("!", Unary::Not),
            ("*", Unary::Dereference),
            ("&", Unary::Address),
        ];
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the expression is nested too deeply"));
        }
        let tree = if let Some((word, operator)) = OPERATORS.iter().find(|(word, _)| self.is_next(word)) {
            self.expect(word)?;
            Tree::Unary(*operator, Box::new(self.unary()?))
        } else if self.accept("&&") {
            return Err(self.error("there are no addresses of labels"));
        } else if *self.peek() == Token::Name("sizeof") {
            self.take();
            self.size_of()?
        } else if self.is_next("(") && self.starts_type(1) {
            self.expect("(")?;
            let name = TypeName::parse(self)?;
            self.expect(")")?;
            Tree::Cast(name, Box::new(self.unary()?))
        } else {
            self.postfix()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn starts_type(&self, ahead: usize) -> bool {
        matches!(self.peek_after(ahead), Token::Name(name) if TypeName::starts_with(name) || self.is_type(name))
    }

    fn size_of(&mut self) -> Result<Tree, ExprError> {
        if self.is_next("(") && self.starts_type(1) {
            self.expect("(")?;
            let name = TypeName::parse(self)?;
            self.expect(")")?;
            return Ok(Tree::SizeOfType(name));
        }
        Ok(Tree::SizeOf(Box::new(self.unary()?)))
    }

    fn postfix(&mut self) -> Result<Tree, ExprError> {
        let mut tree = self.primary()?;
        loop {
            if ["[", "->", "."].iter().any(|operator| self.is_next(operator)) {
                self.lengthen()?;
            }
            if self.accept("[") {
                let index = self.conditional()?;
                self.expect("]")?;
                tree = Tree::Index(Box::new(tree), Box::new(index));
            } else if self.accept("->") {
                tree = Tree::Arrow(Box::new(tree), self.name()?);
            } else if self.accept(".") {
                tree = Tree::Member(Box::new(tree), self.name()?);
            } else if self.is_next("(") {
                return Err(self.error("functions of the guest cannot be called"));
            } else {
                return Ok(tree);
            }
        }
    }

    pub fn name(&mut self) -> Result<String, ExprError> {
        match self.take() {
            Token::Name(name) => Ok(name.to_owned()),
            _ => {
                self.at -= 1;
                Err(self.error("a name is missing"))
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, ExprError> {
        if self.accept("(") {
            let tree = self.conditional()?;
            self.expect(")")?;
            return Ok(tree);
        }
        let is_call = *self.peek_after(1) == Token::Operator("(");
        match self.peek().clone() {
            Token::Integer(integer) => {
                self.take();
                Ok(Tree::Integer(integer))
            }
            Token::Register(name) => {
                self.take();
                Ok(Tree::Register(name.to_owned()))
            }
            Token::Name(name) if is_call => self.macro_call(name),
            Token::Name(name) => {
                self.take();
                Ok(Tree::Name(name.to_owned()))
            }
            _ => Err(self.error("a value is missing")),
        }
    }

    /// What a kernel's headers define as macros, which no debug information has.
    fn macro_call(&mut self, name: &str) -> Result<Tree, ExprError> {
        if !["container_of", "offsetof", "per_cpu", "per_cpu_ptr"].contains(&name) {
            self.take();
            return Err(self.error("functions of the guest cannot be called"));
        }
        self.take();
        self.expect("(")?;
        let tree = match name {
            "container_of" => {
                let pointer = self.conditional()?;
                self.expect(",")?;
                let (of, path) = self.type_and_path()?;
                Tree::ContainerOf(Box::new(pointer), of, path)
            }
            "offsetof" => {
                let (of, path) = self.type_and_path()?;
                Tree::OffsetOf(of, path)
            }
            "per_cpu" => {
                let variable = self.name()?;
                self.expect(",")?;
                Tree::PerCpu(variable, Box::new(self.conditional()?))
            }
            _ => {
                let pointer = self.conditional()?;
                self.expect(",")?;
                Tree::PerCpuPointer(Box::new(pointer), Box::new(self.conditional()?))
            }
        };
        self.expect(")")?;
        Ok(tree)
    }

    fn type_and_path(&mut self) -> Result<(TypeName, Vec<Designator>), ExprError> {
        let of = TypeName::parse(self)?;
        self.expect(",")?;
        let mut path = vec![Designator::Member(self.name()?)];
        loop {
            if self.accept(".") {
                path.push(Designator::Member(self.name()?));
            } else if self.accept("[") {
                path.push(Designator::Index(self.conditional()?));
                self.expect("]")?;
            } else {
                return Ok((of, path));
            }
        }
    }
}
